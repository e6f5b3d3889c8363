"""Every error this library raises on purpose. Catch `RepaintError` to catch them all.

RepaintError (ValueError)
├── InputError         an image, mask, argument or file that cannot be used
├── ScheduleError      a walk or preset that is malformed, leaves its range or does not end clean
├── NoiseLevelError    a noise schedule or a pair of levels that cannot be served
├── PriorError         a model that cannot be loaded or does not fit
│   └── OutOfMemory    nor does its batch fit into the memory there is
├── StateError         a saved state that is damaged or belongs to another run
└── NonFiniteError     the model or the sampler produced NaN or infinity
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from numbers import Real

__all__ = [
    "InputError",
    "NoiseLevelError",
    "NonFiniteError",
    "OutOfMemory",
    "PriorError",
    "RepaintError",
    "ScheduleError",
    "StateError",
    "is_number",
    "nearest",
    "shown",
]


class RepaintError(ValueError):
    """Base of all deliberate errors: the message names what was seen, the rule, and the way out."""


class InputError(RepaintError):
    """An image, mask, argument or file that cannot be used."""


class ScheduleError(RepaintError):
    """A walk or preset that is malformed, leaves its range or does not end clean."""


class NoiseLevelError(RepaintError):
    """A noise schedule or a pair of levels that cannot be served."""


class PriorError(RepaintError):
    """A model that cannot be loaded or does not fit."""


class OutOfMemory(PriorError):
    """A batch that does not fit into the memory there is."""


class StateError(RepaintError):
    """A saved state that is damaged or belongs to another run."""


class NonFiniteError(RepaintError):
    """The model or the sampler produced NaN or infinity."""


def is_number(value: object) -> bool:
    """Whether it is a real number that float64 holds, infinity and NaN among them: no text, array, or 10**400."""
    try:
        return isinstance(value, Real) and float(value) is not None
    except OverflowError:
        return False


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 20
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Its repr on one line, cut short where it is long, as that of nested YAML aliases is without end."""
    return " ".join(_SHORT.repr(value).split())


def nearest(word: object, choices: Iterable[str]) -> str:
    """' Did you mean X?' for the closest choice, or '' where none is close or it is no word."""
    found = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5) if isinstance(word, str) else []
    return f" Did you mean {found[0]!r}?" if found else ""
