"""TDS: a particle filter twisted by the gradient of the reconstruction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.sampling.kernel import KernelDefaults, KernelStep
from repaint.sampling.levels import Level, posterior
from repaint.sampling.population import ancestors, checked_particles, chosen_ancestors, flat, log_normal
from repaint.sampling.state import Carry

__all__ = ["TDS"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class TDS(KernelDefaults):
    """Propose by DDPM from an x0_hat shifted along the gradient, and weigh by the twisting function psi.

    log psi = -|R|^2 / (2 r^2) with R = m (x0 - x0_hat) and r^2 = q sigma^2 / (sigma^2 + q alpha^2). The proposal is
    DDPM's posterior from x0_hat + sigma^2 J^T R / (alpha r^2), clipped as the model's own x0_hat is, of the learned
    variance where the model has one. The weight is p(x_dst | x_src) psi_dst / (psi_src proposal); systematic resampling
    at every level. At the last step the unknown part is the untwisted mean, weighed by N(x0; x0_hat_K, sigma^2) / psi.
    The result is one particle.

    Attributes:
        particles: P, for each image.
        q: variance of the data that r assumes, > 0; .12 for MNIST, 1 is PiGDM's r.
    Source:
        Wu et al. 2023 (arXiv 2306.17775), Alg. 1.
    """

    carries: ClassVar[tuple[str, ...]] = ("particles", "log_weight")

    particles: int = 4
    q: float = 0.12

    def __post_init__(self) -> None:
        object.__setattr__(self, "particles", checked_particles("tds", self.particles))
        if not (is_number(self.q) and 0 < self.q < math.inf):
            raise InputError(f"tds(q={shown(self.q)}) must be finite and above 0.")

    def gradients(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the backward passes of a step: one for each particle."""
        return self.particles

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Predict, weigh the particles with the weights of the previous step, resample, and propose."""
        src, dst = step.src, step.dst
        shape = (len(step.x), self.particles, *step.x.shape[1:])
        x0, known = step.x0[:, None], step.known[:, None]
        if "particles" in step.carry:
            x, log = step.carry["particles"], step.carry["log_weight"]
        else:
            x = src.sigma * step.draws.another().reshape(shape)
            log = torch.zeros(shape[:2], dtype=x.dtype, device=x.device)
        prediction, pullback = step.model.linearised(flat(x), src)
        x0_hat = prediction.x0_hat.reshape(shape)
        residual = torch.where(known, x0 - x0_hat, 0.0)
        r2 = self.q * src.sigma**2 / (src.sigma**2 + self.q * src.alpha**2)
        psi = -0.5 * _squares(residual) / r2
        gradient = pullback(flat(residual)).reshape(shape) / r2
        index = ancestors(log + psi, step.draws, "systematic")
        x, x0_hat, gradient = (chosen_ancestors(each, index) for each in (x, x0_hat, gradient))
        psi = psi.gather(1, index)
        if dst.sigma == 0:
            last = torch.where(known, log_normal(x0, x0_hat, src.sigma**2), 0.0).flatten(2).sum(2) - psi
            chosen = ancestors(last, step.draws)[:, :1]
            return chosen_ancestors(x0_hat, chosen)[:, 0].clone(), {"particles": x0_hat, "log_weight": last}
        q = posterior(src, dst)
        std = torch.full((), q.small_std, dtype=x.dtype, device=x.device)
        if prediction.variance is not None:
            v = chosen_ancestors(prediction.variance.reshape(shape), index)
            std = torch.exp(v * math.log(q.large_std) + (1 - v) * math.log(q.small_std))
        shift = torch.zeros_like(x)
        if src.alpha > 0:
            moved_x0 = step.model.clipped(flat(x0_hat + src.sigma**2 / src.alpha * gradient)).reshape(shape)
            shift = q.x0_gain * (moved_x0 - x0_hat)
        z = step.draws.another().reshape(shape)
        moved = q.x0_gain * x0_hat + q.x_gain * x + shift + std * z
        # log p - log proposal, with the same std: -(|moved - mean|^2 - |z std|^2) / 2 std^2.
        ratio = (-0.5 * ((shift / std + z).square() - z.square())).flatten(2).sum(2)
        return moved[:, 0].clone(), {"particles": moved, "log_weight": ratio - psi}


def _squares(x: Float[Tensor, "b p *shape"]) -> Float[Tensor, "b p"]:
    return x.square().flatten(2).sum(2)
