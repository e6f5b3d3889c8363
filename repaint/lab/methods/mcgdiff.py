"""MCGdiff: a particle filter whose known part is drawn from proposal times observation."""

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
from repaint.sampling.prediction import weighted
from repaint.sampling.state import Carry

__all__ = ["MCGdiff"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class MCGdiff(KernelDefaults):
    """Weigh the particles, draw their ancestors, and draw the known part from N(mean, s^2) times N(alpha x0, v).

    With v = sigma^2 + kappa alpha^2, and mean and s those of `ddim(1)`: the log weight is that of
    N(mean_K; alpha_dst x0, s^2 + v_dst) / N(x_K; alpha_src x0, v_src); with g = s^2 / (s^2 + v_dst),

        known:    x_dst = g alpha_dst x0 + (1 - g) mean + sqrt(g v_dst) z
        unknown:  x_dst = mean + s z

    The result is one particle. Exact for infinitely many particles and steps; observations without noise.

    Attributes:
        particles: P, for each image.
        kappa: > 0.
    Source:
        Cardoso et al. 2023 (arXiv 2308.07983), Alg. 1. The start of the known part is the paper's.
    """

    carries: ClassVar[tuple[str, ...]] = ("particles",)

    particles: int = 64
    kappa: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "particles", checked_particles("mcgdiff", self.particles))
        if not (is_number(self.kappa) and 0 < self.kappa < math.inf):
            raise InputError(f"mcgdiff(kappa={shown(self.kappa)}) must be finite and above 0.")

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Predict, weigh, resample and draw."""
        src, dst, count = step.src, step.dst, self.particles
        x0, known = step.x0[:, None], step.known[:, None]
        shape = (len(step.x), count, *step.x.shape[1:])
        v_src, v_dst = self._variance(src), self._variance(dst)
        x = step.carry["particles"] if "particles" in step.carry else self._start(step, shape, v_src)
        prediction = step.model.predict(flat(x), src)
        s = posterior(src, dst).small_std
        rest = math.sqrt(max(0.0, dst.sigma**2 - s**2))
        mean = weighted((dst.alpha, prediction.x0_hat), (rest, prediction.eps_hat)).reshape(shape)
        log = log_normal(mean, dst.alpha * x0, s**2 + v_dst) - log_normal(x, src.alpha * x0, v_src)
        log_weights = torch.where(known, log, 0.0).flatten(2).sum(2)
        mean = chosen_ancestors(mean, ancestors(log_weights, step.draws))
        g, z = s**2 / (s**2 + v_dst), step.draws.another().reshape(shape) if s > 0 else torch.zeros_like(mean)
        observed = g * dst.alpha * x0 + (1 - g) * mean + math.sqrt(g * v_dst) * z
        x = torch.where(known, observed, mean + s * z)
        return x[:, 0].clone(), {"particles": x}

    def _variance(self, level: Level) -> float:
        return level.sigma**2 + self.kappa * level.alpha**2

    def _start(self, step: KernelStep, shape: tuple[int, ...], v: float) -> Tensor:
        """Draw pure noise, conditioned on the observation in the known part."""
        z, prior = step.draws.another().reshape(shape), step.src.sigma**2
        g = prior / (prior + v)
        observed = g * step.src.alpha * step.x0[:, None] + math.sqrt(g * v) * z
        return torch.where(step.known[:, None], observed, step.src.sigma * z)
