"""Checks of arguments, and helpers for their error messages."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from numbers import Integral, Real

from repaint.errors import InputError, RepaintError

__all__ = ["is_integer", "is_number", "lacking", "left_out", "nearest", "shown", "whole_number"]


def is_number(value: object) -> bool:
    """Test whether a value is a real number that float64 can hold, including infinity and NaN.

    >>> is_number(1.5), is_number("1.5"), is_number(10**400)
    (True, False, False)
    """
    try:
        return isinstance(value, Real) and float(value) is not None
    except OverflowError:
        return False


def is_integer(value: object) -> bool:
    """Test whether a value is an integer of any type, such as int or numpy.int64, but not a bool.

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
    """Convert an argument of any integer type to int, and check its range.

    Args:
        name: the argument, as the caller spells it.
        value: the value of the argument.
        low, high: the allowed range, both included; None: no upper limit.
        error: the class to raise.
        hint: appended to the message in parentheses.
    Raises:
        error: the value is not an integer, or out of range.

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


def left_out(given: Mapping[str, object], names: Iterable[str], why: str) -> None:
    """Check that keyword arguments which a function sets itself were not given, whatever their value.

    Args:
        given: the keyword arguments.
        names: those that must be absent.
        why: what sets them, and what to use instead.
    Raises:
        InputError: one of them was given.

    >>> left_out({"keep_mask": None}, ["keep_mask"], "restore() makes the mask.")
    Traceback (most recent call last):
    ...
    repaint.errors.InputError: keep_mask must be left out: restore() makes the mask.
    """
    for name in names:
        if name in given:
            raise InputError(f"{name} must be left out: {why}")


def lacking(value: object, protocol: type) -> list[str]:
    """List the members of a protocol that an object lacks.

    >>> from collections.abc import Sequence
    >>> lacking({}, Sequence)
    ['count', 'index']
    """
    return [name for name in dir(protocol) if not name.startswith("_") and not hasattr(value, name)]


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 20
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Format a value for an error message: its repr on one line, shortened if it is long.

    >>> shown(list(range(100)))
    '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...]'
    """
    return " ".join(_SHORT.repr(value).split())


def nearest(word: object, choices: Iterable[str]) -> str:
    """Suggest the closest choice as " Did you mean X?", or return "" if none is close.

    >>> nearest("balnced", ["fast", "balanced"])
    " Did you mean 'balanced'?"
    """
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5) if isinstance(word, str) else []
    return f" Did you mean {found[0]!r}?" if found else ""
