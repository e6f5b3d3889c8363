"""DAPS: decoupled annealing. At each level an ODE to the clean end, Langevin dynamics there, and new noise."""

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

__all__ = ["DAPS"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class DAPS(KernelDefaults):
    """Solve the unconditional ODE to almost clean, move towards the known part, and draw the noise of the next level.

    With S = sigma / alpha of the level: `euler` steps of `ddim(0)` on levels even in the 7th root of sigma / alpha,
    from S to `bottom`, end at X. Then `inner` steps of Langevin dynamics on N(X, S^2) N(y; x_K, tau^2) of step size
    eta_i, which falls linearly from eta to about floor eta over the levels, and x_dst = alpha_dst x + sigma_dst z.

    Attributes:
        euler: model calls of a step, at least 1.
        inner: Langevin steps, at least 0, without the network.
        eta: step size, > 0, in squared units of the sample. eta 2 / tau^2 = 1 sets the known part to y.
        tau: std of the likelihood, > 0.
        floor: of the step size, in [0, 1].
        bottom: sigma / alpha at which the ODE ends, > 0.
    Source:
        Zhang et al. 2024 (arXiv 2407.01521), pixel space. Constants for boxes; 1e-4 for eta at 70 % random pixels.
    """

    euler: int = 5
    inner: int = 100
    eta: float = 5e-5
    tau: float = 0.01
    floor: float = 0.01
    bottom: float = 0.01

    def __post_init__(self) -> None:
        for name, count, least in (("euler", self.euler, 1), ("inner", self.inner, 0)):
            if not (is_integer(count) and count >= least):
                raise InputError(f"daps({name}={shown(count)}) must be an integer of at least {least}.")
        for name, value in (("eta", self.eta), ("tau", self.tau), ("bottom", self.bottom)):
            if not (is_number(value) and 0 < value < math.inf):
                raise InputError(f"daps({name}={shown(value)}) must be finite and above 0.")
        if not (is_number(self.floor) and 0 <= self.floor <= 1):
            raise InputError(f"daps(floor={shown(self.floor)}) must be in [0, 1].")

    def calls(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return the model calls of a step: one at levels that are almost clean or pure noise."""
        return self.euler if self._walks(src, self.bottom) else 1

    @staticmethod
    def _walks(src: Level, bottom: float) -> bool:
        """Test whether the ODE has a step to take from a level."""
        return src.alpha > 0 and src.sigma / src.alpha > 2 * bottom

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Go down by the ODE, move, and draw new noise."""
        end = self._ode(step)
        x, spread = end, (step.src.sigma / step.src.alpha) ** 2 if step.src.alpha > 0 else math.inf
        # Below the noise of the published levels, a step longer than S^2 would diverge.
        eta = min(self.eta * (1 - (1 - self.floor) * (step.steps - step.index) / (step.steps + 1)), spread)
        for _ in range(self.inner):
            likelihood = torch.where(step.known, step.x0 - x, 0.0)
            force = weighted((2 / self.tau**2, likelihood), (1 / spread, end - x))
            x = weighted((1, x), (eta, force), (math.sqrt(2 * eta), step.draws.another()))
        if step.dst.sigma > 0:
            x = weighted((step.dst.alpha, x), (step.dst.sigma, step.draws.another()))
        return x, {}

    def _ode(self, step: KernelStep) -> Batch:
        """Solve the unconditional ODE, and return its end divided by alpha."""
        src, model = step.src, step.model
        least = model.schedule(2, "logsnr(1e9)")[1]  # without a top, pure noise would be one of two
        bottom = max(self.bottom, least.sigma / least.alpha)
        if not self._walks(src, bottom):
            return model.predict(step.x, src).x0_hat
        ratio = src.sigma / src.alpha
        grid = model.schedule(self.euler + 1, f"karras(7, {ratio!r}, bottom={bottom!r})")
        x, here = step.x, src
        for level in reversed(grid.levels[1:-1]):
            prediction = model.predict(x, here)
            x = weighted((level.alpha, prediction.x0_hat), (level.sigma, prediction.eps_hat))
            here = level
        return x / here.alpha
