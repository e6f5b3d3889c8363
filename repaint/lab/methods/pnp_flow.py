"""PnP-Flow: an estimate, moved towards the known part and denoised by the mean of several draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_integer, is_number, shown
from repaint.errors import InputError
from repaint.sampling.kernel import KernelDefaults, KernelStep
from repaint.sampling.levels import Level
from repaint.sampling.prediction import weighted
from repaint.sampling.state import Carry

__all__ = ["PnPFlow"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class PnPFlow(KernelDefaults):
    """Move the estimate by s^power of its error on the known part, then take the mean of x0_hat over draws of its
    noise.

    s = sigma / (alpha + sigma), the time of a flow. It is an estimator: its results vary less than the posterior.

    Attributes:
        power: of the step size, > 0; .5 for boxes, .01 for 70 % random pixels.
        draws: model calls of a step, at least 1.
    Source:
        Martin et al. 2024 (arXiv 2410.02423), Alg. 3.
    """

    carries: ClassVar[tuple[str, ...]] = ("estimate",)

    power: float = 0.5
    draws: int = 5

    def __post_init__(self) -> None:
        if not (is_number(self.power) and 0 < self.power < math.inf):
            raise InputError(f"pnp_flow(power={shown(self.power)}) must be finite and above 0.")
        if not (is_integer(self.draws) and self.draws >= 1):
            raise InputError(f"pnp_flow(draws={shown(self.draws)}) must be an integer of at least 1.")

    def calls(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the model calls of a step."""
        return self.draws

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Move and average."""
        src, dst = step.src, step.dst
        estimate = step.carry.get("estimate", step.x0)
        rate = (src.sigma / (src.alpha + src.sigma)) ** self.power
        moved = torch.where(step.known, estimate + rate * (step.x0 - estimate), estimate)
        total = torch.zeros_like(moved)
        for _ in range(self.draws):
            noised = weighted((src.alpha, moved), (src.sigma, step.draws.another()))
            total += step.model.predict(noised, src).x0_hat
        estimate = total / self.draws
        if dst.sigma == 0:
            return estimate, {}
        return weighted((dst.alpha, estimate), (dst.sigma, step.draws.another())), {"estimate": estimate}
