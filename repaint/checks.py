"""Checks of arguments, and the words that their errors use."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from numbers import Integral, Real

from repaint.errors import InputError, RepaintError

__all__ = ["is_integer", "is_number", "nearest", "shown", "whole_number"]


def is_number(value: object) -> bool:
    """Whether a value is a real number that float64 holds, infinity and NaN included.

    >>> is_number(1.5), is_number("1.5"), is_number(10**400)
    (True, False, False)
    """
    try:
        return isinstance(value, Real) and float(value) is not None
    except OverflowError:
        return False


def is_integer(value: object) -> bool:
    """Whether a value is an integer of any type, such as int or numpy.int64. A bool is not.

    >>> import numpy as np
    >>> is_integer(np.int64(3)), is_integer(3.0), is_integer(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def whole_number(
    name: str,
    value: object,
    low: int,
    high: int | None = None,
    *,
    error: type[RepaintError] = InputError,
    hint: str = "",
) -> int:
    """A value as int, or one error that names the argument.

    Args:
        name: the argument, as the caller spells it.
        value: any integer type is accepted.
        low, high: the allowed range, both included; high=None is no upper limit.
        error: the class to raise.
        hint: appended in parentheses.
    Raises:
        error: not an integer, or out of range.

    >>> whole_number("steps", 0, 1)
    Traceback (most recent call last):
    ...
    repaint.errors.InputError: steps=0 must be an integer of at least 1.
    """
    if isinstance(value, Integral) and is_integer(value):
        number = int(value)
        if low <= number and (high is None or number <= high):
            return number
    rule = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    raise error(f"{name}={shown(value)} must be {rule}{f' ({hint})' if hint else ''}.")


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 20
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """The repr of a value on one line, shortened where it is long (nested YAML aliases have an endless one).

    >>> shown(list(range(100)))
    '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...]'
    """
    return " ".join(_SHORT.repr(value).split())


def nearest(word: object, choices: Iterable[str]) -> str:
    """' Did you mean X?' for the closest choice, or '' where none is close.

    >>> nearest("balnced", ["fast", "balanced"])
    " Did you mean 'balanced'?"
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5) if isinstance(word, str) else []
    return f" Did you mean {found[0]!r}?" if found else ""
