"""Load with diffusers and transformers without their logs, from several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from repaint.warning_filters import without_future_warnings

__all__ = ["LOADING", "SILENCES", "Silence", "quiet"]

# diffusers and transformers patch torch's modules while they load, for all threads.
LOADING = threading.Lock()


class Silence:
    """Silence the log and progress bars of a library while any thread loads with it.

    The libraries log the same errors that they raise.
    """

    def __init__(self, library: str) -> None:
        self._library, self._lock, self._threads = library, threading.Lock(), 0
        self._verbosity, self._bars = 0, True

    def __enter__(self) -> None:
        logging: Any = import_module(f"{self._library}.utils.logging")
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._verbosity, self._bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
                logging.set_verbosity(logging.CRITICAL)
                logging.disable_progress_bar()

    def __exit__(self, *_error: object) -> None:
        logging: Any = import_module(f"{self._library}.utils.logging")
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                logging.set_verbosity(self._verbosity)
                if self._bars:
                    logging.enable_progress_bar()


SILENCES = {library: Silence(library) for library in ("diffusers", "transformers")}


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Silence a library's log, its progress bars, and its warnings of renamed arguments."""
    with SILENCES[library], without_future_warnings():  # torch_dtype, which newer releases call dtype
        yield
