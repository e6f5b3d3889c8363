"""The errors and warnings of this library. Catch `RepaintError` to catch them all.

RepaintError (ValueError)
├── InputError         an image, mask, argument or file that cannot be used
├── ScheduleError      a walk or preset that is malformed, leaves its range or does not end at level 0
├── NoiseLevelError    a noise schedule or a pair of levels that cannot be used
├── PriorError         a model that cannot be loaded or used
│   └── OutOfMemory    a batch that does not fit into memory
├── StateError         a saved state that is damaged or belongs to another run
└── NonFiniteError     the model or the sampler produced NaN or infinity

LargeHoleWarning (UserWarning): a hole that is larger than the prior is made for
MaskWarning (UserWarning): a mask that can be read, but probably means something else
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "InputError",
    "LargeHoleWarning",
    "MaskWarning",
    "NoiseLevelError",
    "NonFiniteError",
    "OutOfMemory",
    "PriorError",
    "RepaintError",
    "ScheduleError",
    "StateError",
    "collected_warnings",
    "joined_lines",
    "warn",
]


class RepaintError(ValueError):
    """Base class of all errors of this library. The message names the value, the rule, and how to fix it."""


class InputError(RepaintError):
    """An image, mask, argument or file that cannot be used."""


class ScheduleError(RepaintError):
    """A walk or preset that is malformed, leaves its range or does not end at level 0."""


class NoiseLevelError(RepaintError):
    """A noise schedule or a pair of levels that cannot be used."""


class PriorError(RepaintError):
    """A model that cannot be loaded or used."""


class OutOfMemory(PriorError):
    """A batch that does not fit into memory."""


class StateError(RepaintError):
    """A saved state that is damaged or belongs to another run."""


class NonFiniteError(RepaintError):
    """The model or the sampler produced NaN or infinity."""


class LargeHoleWarning(UserWarning):
    """A hole that is larger than the prior is made for."""


class MaskWarning(UserWarning):
    """A mask that can be read, but probably means something else."""


class _OfThread(threading.local):
    collected: list[str] | None = None  # where `warn` puts its messages; None: it issues them


_here = _OfThread()


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the messages of this library's warnings in a block, instead of issuing them.

    Unlike `warnings.catch_warnings`, this does not affect other threads.
    """
    outer, found = _here.collected, list[str]()
    _here.collected = found
    try:
        yield found
    finally:
        _here.collected = outer


def joined_lines(text: object) -> str:
    """Put a text, such as that of an error, on one line; an error without a text gives the name of its class.

    >>> joined_lines(ValueError("a\\n  b")), joined_lines(KeyError())
    ('a b', 'KeyError')
    """
    return " ".join(str(text).split()) or type(text).__name__


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points to the line that called this library, from any depth.

    Args:
        message: what was seen, and how to fix it.
        category: of the warning.
    """
    if _here.collected is not None:
        _here.collected.append(message)
        return
    inside = str(Path(__file__).parent) + os.sep
    depth, level, frame = 1, 1, sys._getframe()
    while frame.f_back is not None:
        if frame.f_code.co_filename.startswith(inside):
            level = depth + 1  # the caller of the outermost frame of this library
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, category, stacklevel=level)
