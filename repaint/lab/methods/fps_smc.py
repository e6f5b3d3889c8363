"""FPS-SMC: a particle filter that follows one noised path of the known part. SMCDiff is a case of it."""

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
from repaint.sampling.population import ancestors, checked_particles, chosen_ancestors, flat, log_normal
from repaint.sampling.prediction import weighted
from repaint.sampling.renewal import Zeta, checked_zeta, renewed
from repaint.sampling.state import Carry

__all__ = ["FPSSMC"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class FPSSMC(KernelDefaults):
    """One path y_b = alpha x0 + sigma n_b, shared by all particles; steps of `renew(zeta)`, weighed by the path.

    n_b = sqrt(1 - zeta) n_a + sqrt(zeta) z, from new noise at the start. With mean = alpha x0_hat + sigma sqrt(1 -
    zeta) eps_hat and t = alpha sigma_y at the level below, the known part is drawn from N(mean, zeta sigma^2) times
    N(y_b; x, t^2), and the weight is N(y_b; mean, zeta sigma^2 + t^2). The result is one particle.

    Attributes:
        particles: P, for each image.
        zeta: in [0, 1], or a rule of `repaint.sampling.renewal`; `posterior` with sigma_y 0 is SMCDiff.
        sigma_y: std of the noise of the observation, at least 0. x0 has none here.
    Source:
        Dou & Song 2024 (ICLR, "Diffusion posterior sampling for linear inverse problem solving: a filtering
        perspective"); SMCDiff: Trippe et al. 2023 (arXiv 2206.04119).
    """

    carries: ClassVar[tuple[str, ...]] = ("particles", "noise")

    particles: int = 5
    zeta: Zeta = 0.95
    sigma_y: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "particles", checked_particles("fps_smc", self.particles))
        object.__setattr__(self, "zeta", checked_zeta("fps_smc", self.zeta))
        if not (is_number(self.sigma_y) and 0 <= self.sigma_y < math.inf):
            raise InputError(f"fps_smc(sigma_y={shown(self.sigma_y)}) must be finite and at least 0.")

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Predict, weigh, resample and draw."""
        src, dst = step.src, step.dst
        shape = (len(step.x), self.particles, *step.x.shape[1:])
        known = step.known[:, None]
        if "particles" in step.carry:
            x, noise = step.carry["particles"], step.carry["noise"]
        else:
            noise = step.draws.another().reshape(shape)[:, 0].clone()
            path = weighted((src.alpha, step.x0), (src.sigma, noise))
            x = torch.where(known, path[:, None], src.sigma * step.draws.another().reshape(shape))
        prediction = step.model.predict(flat(x), src)
        share = renewed(self.zeta, src, dst) if dst.sigma > 0 else 0.0
        s2, t2 = share * dst.sigma**2, (dst.alpha * self.sigma_y) ** 2
        gain = dst.sigma * math.sqrt(1 - share)
        mean = weighted((dst.alpha, prediction.x0_hat), (gain, prediction.eps_hat)).reshape(shape)
        if dst.sigma > 0:
            new = step.draws.another().reshape(shape)[:, 0]
            noise = weighted((math.sqrt(1 - share), noise), (math.sqrt(share), new))
        path = weighted((dst.alpha, step.x0), (dst.sigma, noise))[:, None]
        if s2 + t2 > 0:
            log = torch.where(known, log_normal(path, mean, s2 + t2), 0.0).flatten(2).sum(2)
            mean = chosen_ancestors(mean, ancestors(log, step.draws))
        z = step.draws.another().reshape(shape) if s2 > 0 else torch.zeros_like(mean)
        g = s2 / (s2 + t2) if s2 + t2 > 0 else 1.0  # of the path in the known part
        observed = (1 - g) * mean + g * path + math.sqrt(g * t2) * z
        x = torch.where(known, observed, mean + math.sqrt(s2) * z)
        return x[:, 0].clone(), {"particles": x, "noise": noise}
