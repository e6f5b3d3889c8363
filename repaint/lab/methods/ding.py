"""DInG: a likelihood that uses the noise predicted at a proxy drawn at the level below."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.sampling.kernel import KernelDefaults, KernelStep
from repaint.sampling.levels import Level
from repaint.sampling.prediction import weighted
from repaint.sampling.renewal import Zeta, checked_zeta, renewed
from repaint.sampling.state import Carry

__all__ = ["DInG"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class DInG(KernelDefaults):
    """Predict at a proxy of the next level, and step with the known part's noise as predicted there.

    With s^2 = zeta sigma_dst^2, mean = alpha_dst x0_hat + sqrt(sigma_dst^2 - s^2) eps_hat, the proxy mean + s z and its
    prediction eps_p, t = alpha_dst sigma_y and g = s^2 / (s^2 + t^2):

        unknown:  x_dst = mean + s z
        known:    x_dst = (1 - g) mean + g (alpha_dst x0 + sigma_dst eps_p) + sqrt(g) t z

    Two model calls a step, one for the last. Its delayed form, eps_p = eps_hat, is the merge `predicted(inf)` with the
    solver `renew(zeta)`. Under classifier-free guidance, eps_p is the prediction without it, as in all merges here.

    Attributes:
        zeta: in [0, 1], or a rule of `repaint.sampling.renewal`; (1-alpha)^2 is the published "square".
        sigma_y: std of the noise of the observation, at least 0; .01 is published, where it is also added to x0. Here
            x0 has none.
    Source:
        Moufad et al. 2025 (arXiv 2512.18365, ICLR 2026).
    """

    zeta: Zeta = "(1-alpha)^2"
    sigma_y: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeta", checked_zeta("ding", self.zeta))
        if not (is_number(self.sigma_y) and 0 <= self.sigma_y < math.inf):
            raise InputError(f"ding(sigma_y={shown(self.sigma_y)}) must be finite and at least 0.")

    def calls(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the model calls of a step: 2, or 1 onto the clean level."""
        return 2 if dst.sigma > 0 else 1

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Draw the proxy, predict there, and step down."""
        dst, draws = step.dst, step.draws
        prediction = step.model.predict(step.x, step.src)
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        share = renewed(self.zeta, step.src, dst)
        s = dst.sigma * math.sqrt(share)
        mean = weighted((dst.alpha, prediction.x0_hat), (dst.sigma * math.sqrt(1 - share), prediction.eps_hat))
        proxy = weighted((1, mean), (s, draws.another()))
        eps_hat = step.model.predict(proxy, dst).known_eps
        t = dst.alpha * self.sigma_y
        g = s**2 / (s**2 + t**2) if t > 0 else 1.0
        z = draws.another()
        known = weighted((1 - g, mean), (g * dst.alpha, step.x0), (g * dst.sigma, eps_hat), (math.sqrt(g) * t, z))
        return step.merged(known, weighted((1, mean), (s, z))), {}
