"""Where the levels of a grid lie: on the model's clock, or by noise alone.

A form by noise depends only on the ratio sigma / alpha. The same text then means the same noise for every beta schedule
and for VP, VE and flow models, up to the model's least and most noise. A form on the clock does not: of 25 "quadratic"
levels the second noisiest has sigma / alpha = 74 for linear betas, 8.2 for cosine betas and 9.3 for Stable Diffusion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from repaint.checks import is_number, shown
from repaint.errors import NoiseLevelError
from repaint.sampling import parts

__all__ = ["CLOCK", "SPACINGS", "Karras", "LogSNR", "NoiseSpacing", "Spacing", "evenly", "read_spacing"]

Spacing = str
"""The text of a spacing: one of `CLOCK`, "karras(rho, top)" or "logsnr(top)"."""

CLOCK = ("leading", "trailing", "linspace", "quadratic", "root")
Array = NDArray[np.float64]


@runtime_checkable
class NoiseSpacing(Protocol):
    """A spacing by noise.

    Attributes:
        top: largest sigma / alpha used; inf uses all that the model has.
    """

    @property
    def top(self) -> float: ...

    def ratios(self, least: float, most: float, count: int) -> Array:
        """Return `count` rising values of sigma / alpha, from `least` to `most`; one value is `most`."""
        ...


@dataclass(frozen=True)
class Karras:
    """Levels whose sigma / alpha is even in its rho-th root.

    Attributes:
        rho: at least 1; larger values put more levels at low noise.
        top: see `NoiseSpacing`.
        bottom: least sigma / alpha used; 0 uses the least that the model has.
    Source:
        Karras et al. 2022 (arXiv 2206.00364), eq. 5, with sigma / alpha for their sigma.
    """

    rho: float = 4.0
    top: float = 80.0
    bottom: float = 0.0

    def __post_init__(self) -> None:
        if not (is_number(self.rho) and 1 <= self.rho <= 1000):
            raise NoiseLevelError(f"karras(rho={shown(self.rho)}) must be from 1 to 1000 (4 and 7 are usual).")
        _check_top("karras", self.top)
        if not (is_number(self.bottom) and 0 <= self.bottom < self.top):
            raise NoiseLevelError(f"karras(bottom={shown(self.bottom)}) must be at least 0 and below top={self.top}.")

    def ratios(self, least: float, most: float, count: int) -> Array:
        least = min(max(least, self.bottom), most)
        low, high = least ** (1 / self.rho), most ** (1 / self.rho)
        return np.asarray(evenly(low, high, count) ** self.rho)


@dataclass(frozen=True)
class LogSNR:
    """Levels even in log(sigma / alpha), half the negative log signal-to-noise ratio.

    Attributes:
        top: see `NoiseSpacing`.
    """

    top: float = math.inf

    def __post_init__(self) -> None:
        _check_top("logsnr", self.top)

    def ratios(self, least: float, most: float, count: int) -> Array:
        return np.asarray(np.exp(evenly(math.log(least), math.log(most), count)))


SPACINGS = {"karras": Karras, "logsnr": LogSNR}


def read_spacing(text: Spacing) -> str | NoiseSpacing:
    """Read a spacing: a name of `CLOCK` as it is, or a form by noise.

    Raises:
        NoiseLevelError: an unknown spacing, or an argument out of range.

    >>> read_spacing("karras(7)")
    Karras(rho=7, top=80.0, bottom=0.0)
    """
    if text in CLOCK:
        return text
    known: dict[str, Callable[..., Any]] = {**dict.fromkeys(CLOCK, _without_arguments), **SPACINGS}
    spacing: NoiseSpacing = parts.build("spacing", text, known, NoiseLevelError)
    return spacing


def _without_arguments(*_args: object, **_kwargs: object) -> None:
    raise TypeError(f"{', '.join(CLOCK)} take no arguments")


def _check_top(name: str, top: float) -> None:
    if not (is_number(top) and top > 0):
        raise NoiseLevelError(f"{name}(top={shown(top)}) must be above 0 (a sigma / alpha; inf is allowed).")


def evenly(first: float, last: float, count: int) -> Array:
    """Space `count` points evenly from first to last; one point is the last, the noisiest level."""
    return np.linspace(first, last, count) if count > 1 else np.array([float(last)])
