"""Errors that models of other libraries raise, in one line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from repaint.errors import PriorError, RepaintError

__all__ = ["explained", "is_out_of_memory", "one_line"]


@contextmanager
def explained(name: str, *passing: type[Exception]) -> Iterator[None]:
    """Raise errors of a model inside the block as a `PriorError` with its name.

    Warnings, errors of this library, and errors that `placement` handles (memory, operators that are missing in
    float16) pass unchanged.

    Args:
        name: of the model's class.
        *passing: further classes of errors that pass.
    Raises:
        PriorError: any other error.
    """
    known: tuple[type[Exception], ...] = (RepaintError, MemoryError, Warning, *passing)
    try:
        yield
    except known:
        raise
    except Exception as error:  # models raise errors of any class
        if is_out_of_memory(error) or "not implemented for 'Half'" in str(error):
            raise
        raise PriorError(f"The {name} raised {type(error).__name__}: {one_line(error)}.") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out: by class, by accelerate's list, or by the message of MPS."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "MPS backend out of memory" in str(error):
        return True
    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))


def one_line(error: Exception) -> str:
    """Return the text of an error in one line without a full stop, or its class if it has no text.

    >>> one_line(ValueError("a   b\\nc."))
    'a b c'
    """
    return textwrap.shorten(str(error), 300, placeholder=" …").rstrip(".") or type(error).__name__
