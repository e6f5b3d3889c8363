"""Warning filters in programs with several threads.

`warnings.catch_warnings` sets and restores the filters of the whole process. Where such blocks of two threads overlap,
the one that ends last restores filters of the other one, and warnings stay hidden. The blocks of this module do not
overlap: short ones wait for one another, long ones share their filter.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

__all__ = ["filtered", "without_future_warnings"]

_LOCK = threading.RLock()


@contextmanager
def filtered(action: Literal["error", "ignore"], category: type[Warning] = Warning) -> Iterator[None]:
    """Raise or ignore the warnings of a short block.

    Args:
        action, category: see `warnings.simplefilter`.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield


class _Shared:
    """The filter of the long blocks of all threads: set by the first, and restored by the last one."""

    def __init__(self) -> None:
        self.blocks, self.restore = 0, ExitStack()


_SHARED = _Shared()


@contextmanager
def without_future_warnings() -> Iterator[None]:
    """Ignore `FutureWarning` during a block that may take long, in all threads."""
    with _LOCK:
        _SHARED.blocks += 1
        if _SHARED.blocks == 1:
            _SHARED.restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", FutureWarning)
    try:
        yield
    finally:
        with _LOCK:
            _SHARED.blocks -= 1
            if _SHARED.blocks == 0:
                _SHARED.restore.close()
