"""CoPaint: gradient steps on x itself at each level, through the network, then a deterministic step down."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_integer, is_number, shown
from repaint.errors import InputError
from repaint.sampling.kernel import KernelDefaults, KernelStep
from repaint.sampling.levels import Level
from repaint.sampling.prediction import weighted
from repaint.sampling.state import Carry

__all__ = ["CoPaint"]

Batch = Float[Tensor, "b *shape"]
TRIES = 10  # most shortened steps of one gradient step
NOISE = 1e-5  # a growth of L by less than this share of |x0|^2 is rounding, which must not decide a step


@dataclass(frozen=True)
class CoPaint(KernelDefaults):
    """Descend L = |R|^2 + c |x - x_start|^2 with R = m (x0 - x0_hat(x)), then take a step of `ddim(0)`.

    The step size is mu = mu0 growth^j alpha / alpha_1 at j levels below the noisiest; the weight c is c0 c_growth^j.
    While L grows, a step is shortened by .8, at one call each. Sums are those of one image. A call serves as the end of
    one gradient step and the start of the next: the published program makes 1 + 2 steps calls a level, of which
    1 + steps differ.

    Attributes:
        steps: gradient steps at a level, at least 1.
        mu0, growth: of the step size, > 0.
        c0, c_growth: of the weight, at least 0 and > 0. .01 and 1 on ImageNet.
    Source:
        Zhang et al. 2023 (arXiv 2304.03322). Constants for CelebA-HQ. It clips x0_hat; here the prior decides on that.
    """

    steps: int = 2
    mu0: float = 0.02
    growth: float = 1.012
    c0: float = 1e-4
    c_growth: float = 1.01

    def __post_init__(self) -> None:
        if not (is_integer(self.steps) and self.steps >= 1):
            raise InputError(f"copaint(steps={shown(self.steps)}) must be an integer of at least 1.")
        for name, value in (("mu0", self.mu0), ("growth", self.growth), ("c_growth", self.c_growth)):
            if not (is_number(value) and 0 < value < math.inf):
                raise InputError(f"copaint({name}={shown(value)}) must be finite and above 0.")
        if not (is_number(self.c0) and 0 <= self.c0 < math.inf):
            raise InputError(f"copaint(c0={shown(self.c0)}) must be finite and at least 0.")

    def calls(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the model calls of a step in which no gradient step is shortened."""
        return self.steps + 1

    def gradients(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the backward passes of a step."""
        return self.steps

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Descend, and step down."""
        src, dst = step.src, step.dst
        done = step.steps - step.index
        start, x = step.x, step.x
        weight = self.c0 * self.c_growth**done
        # alpha at the cleanest training level is 1 within a ten-thousandth.
        mu = torch.full(_ones(x), self.mu0 * self.growth**done * src.alpha, dtype=x.dtype, device=x.device)

        def loss(x: Batch, x0_hat: Batch) -> Tensor:
            residual = torch.where(step.known, step.x0 - x0_hat, 0.0)
            return _squared(residual) + weight * _squared(x - start)

        allowed = NOISE * _squared(torch.where(step.known, step.x0, 0.0))
        prediction, pullback = step.model.linearised(x, src)
        for _ in range(self.steps):
            before = loss(x, prediction.x0_hat)
            residual = torch.where(step.known, step.x0 - prediction.x0_hat, 0.0)
            descent = weighted((2.0, pullback(residual)), (-2.0 * weight, x - start))
            moved = x + mu * descent
            prediction, pullback = step.model.linearised(moved, src)
            for _ in range(TRIES):
                grew = loss(moved, prediction.x0_hat) > before + allowed
                if not bool(grew.any()):
                    break
                mu = torch.where(grew, 0.8 * mu, mu)
                moved = x + mu * descent
                prediction, pullback = step.model.linearised(moved, src)
            x = moved
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        return weighted((dst.alpha, prediction.x0_hat), (dst.sigma, prediction.eps_hat)), {}


def _ones(x: Batch) -> tuple[int, ...]:
    return (len(x), *(1,) * (x.ndim - 1))


def _squared(x: Batch) -> Float[Tensor, "b *ones"]:
    """Compute the squared norm of each image."""
    return x.square().flatten(1).sum(1).reshape(_ones(x))
