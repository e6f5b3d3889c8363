"""Correctors: improve a sample without leaving its level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_integer, is_number, shown
from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry

__all__ = ["LONGEST_STEP", "Corrector", "Langevin", "PacedCorrector"]

Batch = Float[Tensor, "b *shape"]
# Of Langevin.h, in relaxation times. At 1000, e^-h is 0 in float64, and much longer exact steps overflow float32;
# averaged steps of 2 and more diverge in directions that the level does not resolve.
LONGEST_STEP = {"exact": 1000, "averaged": 1.9}


@runtime_checkable
class Corrector(Protocol):
    """A rule that improves the unknown part at one level before the step down.

    Attributes:
        iterations: how often it is applied at each level, one model call each.
    """

    @property
    def iterations(self) -> int: ...

    def step(self, x: Batch, prediction: Prediction, level: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        """Apply one iteration.

        Args:
            x: (B, ...) the sample at `level`.
            prediction: the model's prediction of x.
            level: the level of x, before and after.
            draws: random numbers of this iteration.
            carry: what the previous iteration returned; empty at the first of each level.
        Returns:
            (x, carry). Tensors in the carry are not changed afterwards.
        """
        ...


@runtime_checkable
class PacedCorrector(Corrector, Protocol):
    """A corrector whose number of iterations may depend on the level; `iterations` is then the largest.

    Attributes:
        paced: whether it depends on the level.
    """

    @property
    def paced(self) -> bool: ...

    def iterations_at(self, level: Level) -> int:
        """Return how often the corrector is applied at a level."""
        ...


@dataclass(frozen=True)
class Langevin:
    """Langevin dynamics at one level.

    Attributes:
        iterations: how many at each level, before the step down.
        h: step size, > 0, in units of the level's own relaxation time; at most 1.9 with "averaged" (2 diverges).
        noise: "exact" solves the Ornstein-Uhlenbeck process with x0_hat frozen,
                   x <- x - (1 - e^-h) sigma eps_hat + sigma sqrt(1 - e^-2h) z,
               which loses variance where the data are resolved. "averaged" is the Leimkuhler-Matthews step,
                   x <- x - h sigma eps_hat + sigma sqrt(2h) (z_before + z) / 2,
               with each draw used twice: exact for every Gaussian. Use at least two iterations with it.
        pace: "even" is the same at every level. "noise" moves the work to the noisy levels: with v = sigma^2 / rho^2,
            rho^2 = alpha^2 + sigma^2, the step size is h / v, at most the largest allowed, and the number of iterations
            is multiplied by v and rounded.
    Source:
        Leimkuhler & Matthews 2013 (Appl. Math. Res. Express 2013(1), 34-56), in a level's own units. The pace "noise"
        follows LanPaint 2.1.0 (after arXiv 2502.03491).
    """

    iterations: int = 1
    h: float = 0.6
    noise: Literal["exact", "averaged"] = "exact"
    pace: Literal["even", "noise"] = "even"

    def __post_init__(self) -> None:
        if not (is_integer(self.iterations) and self.iterations >= 1):
            raise InputError(
                f"langevin(iterations={shown(self.iterations)}) must be an integer of at least 1 (leave the corrector "
                "out for 0)."
            )
        if self.noise not in ("exact", "averaged"):
            raise InputError(f"langevin(noise={shown(self.noise)}) must be exact or averaged.")
        longest = LONGEST_STEP[self.noise]
        if not (is_number(self.h) and 0 < self.h <= longest):
            raise InputError(f"langevin(h={shown(self.h)}) must be above 0 and at most {longest} (0.6 is usual).")
        if self.pace not in ("even", "noise"):
            raise InputError(f"langevin(pace={shown(self.pace)}) must be even or noise.")

    @property
    def paced(self) -> bool:
        """Whether the number of iterations depends on the level."""
        return self.pace != "even"

    def iterations_at(self, level: Level) -> int:
        """Return the number of iterations at a level."""
        return self.iterations if self.pace == "even" else round(self.iterations * _share(level))

    def step(self, x: Batch, prediction: Prediction, level: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        h = self.h if self.pace == "even" else min(self.h / _share(level), LONGEST_STEP[self.noise])
        if self.noise == "averaged":
            before = carry["z"] if "z" in carry else draws.another()
            kick = level.sigma * math.sqrt(h / 2)
            moved = weighted((1, x), (-h * level.sigma, prediction.eps_hat), (kick, before), (kick, draws.z))
            return moved, {"z": draws.z}
        pull, kick = -math.expm1(-h), math.sqrt(-math.expm1(-2 * h))
        return weighted((1, x), (-pull * level.sigma, prediction.eps_hat), (kick * level.sigma, draws.z)), {}


def _share(level: Level) -> float:
    """Compute the share of noise in the variance of x at a level, for data of unit variance."""
    return level.sigma**2 / (level.alpha**2 + level.sigma**2)
