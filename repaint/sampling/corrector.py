"""Improve a sample while it stays on one level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, weighted

__all__ = ["LONGEST_STEP", "Langevin"]

Batch = Float[Tensor, "b *shape"]

LONGEST_STEP = 1000  # relaxation times, after which e^-h is 0 in float64; much longer ones overflow float32


@dataclass(frozen=True)
class Langevin:
    """The corrector: Langevin dynamics at one level on the unknown part, one model call an iteration.

    Attributes:
        iterations: how many at each level, before the step down.
        h: step size, > 0, in units of the level's own relaxation time.
        noise: "exact" solves the Ornstein-Uhlenbeck process with x0_hat frozen,
                   x <- x - (1 - e^-h) sigma eps_hat + sigma sqrt(1 - e^-2h) z,
               which loses variance where the data are resolved. "averaged" is the Leimkuhler-Matthews step,
                   x <- x - h sigma eps_hat + sigma sqrt(2h) (z_before + z) / 2,
               each draw used twice: exact for every Gaussian; it wants two iterations or more.
    Source:
        Leimkuhler & Matthews 2013 (Appl. Math. Res. Express 2013(1), 34-56), in a level's own units.
    """

    iterations: int = 1
    h: float = 0.6
    noise: Literal["exact", "averaged"] = "exact"

    def __post_init__(self) -> None:
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise InputError(
                f"langevin(iterations={self.iterations}): a whole number from 1. Leave the corrector out for 0."
            )
        if not 0 < self.h <= LONGEST_STEP:
            raise InputError(f"langevin(h={self.h}): the step size is above 0 and at most {LONGEST_STEP}. Try 0.6.")
        if self.noise not in ("exact", "averaged"):
            raise InputError(f"langevin(noise={self.noise}): exact or averaged. Choose one.")

    @property
    def uses_previous_noise(self) -> bool:
        """Whether `step` reads z_before."""
        return self.noise == "averaged"

    def step(self, x: Batch, prediction: Prediction, level: Level, z: Batch, z_before: Batch | None) -> Batch:
        """One iteration at `level`; z_before is the draw of the iteration before (any draw at the first)."""
        if self.noise == "averaged":
            assert z_before is not None
            kick = level.sigma * math.sqrt(self.h / 2)
            return weighted((1, x), (-self.h * level.sigma, prediction.eps_hat), (kick, z_before), (kick, z))
        pull, kick = -math.expm1(-self.h), math.sqrt(-math.expm1(-2 * self.h))
        return weighted((1, x), (-pull * level.sigma, prediction.eps_hat), (kick * level.sigma, z))
