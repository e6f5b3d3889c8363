"""LanPaint: Langevin dynamics of all entries at each level, known ones included, then a deterministic step down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_integer, is_number, shown
from repaint.errors import InputError
from repaint.sampling.kernel import KernelDefaults, KernelStep
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.renewal import renewed
from repaint.sampling.state import Carry

__all__ = ["LanPaint", "Oscillator"]

Batch = Float[Tensor, "b *shape"]


class Oscillator:
    """The exact solution of du = q dt, dq = G (k (w - u) - q) dt + G sqrt(2) dW over a time h, for one entry.

    With M = [[0, 1], [-G k, -G]] the mean of (u - w, q) is multiplied by e^(M h), and the noise has the covariance
    S - e^(M h) S e^(M h)^T with S = diag(1 / k, G). An infinite G is the overdamped limit: an Ornstein-Uhlenbeck step
    of u, and q is not used.

    Args:
        k: stiffness, > 0.
        friction: G > 0, or inf.
        h: time, > 0.
    Raises:
        InputError: a time so short that its noise is below the rounding of float64.
    """

    def __init__(self, k: float, friction: float, h: float) -> None:
        self.overdamped = math.isinf(friction)
        if self.overdamped:
            self.decay, self.kick = math.exp(-k * h), math.sqrt(-math.expm1(-2 * k * h) / k)
            return
        drift = torch.tensor([[0.0, 1.0], [-friction * k, -friction]], dtype=torch.float64, device="cpu")
        stationary = torch.tensor([[1 / k, 0.0], [0.0, friction]], dtype=torch.float64, device="cpu")
        self.mean = torch.linalg.matrix_exp(h * drift)
        self.noise, failed = torch.linalg.cholesky_ex(stationary - self.mean @ stationary @ self.mean.T)
        if int(failed):
            raise InputError(
                f"h={h:g} must be larger at friction {friction:g} (its noise is below float64's rounding)."
            )

    def __call__(self, u: Batch, q: Batch, z_u: Batch, z_q: Batch) -> tuple[Batch, Batch]:
        """Advance (u - w, q) with two draws of noise."""
        if self.overdamped:
            return weighted((self.decay, u), (self.kick, z_u)), q
        (a, b), (c, d) = self.mean.tolist()
        (e, _), (f, g) = self.noise.tolist()
        return weighted((a, u), (b, q), (e, z_u)), weighted((c, u), (d, q), (f, z_u), (g, z_q))


@dataclass(frozen=True)
class LanPaint(KernelDefaults):
    """Inner iterations of Langevin dynamics of all entries, in units u = x / sigma, then `ddim(0)`.

    With x0_hat and eps_hat of the model frozen, an entry is drawn to w with stiffness k:

        unknown:  w = alpha x0_hat / sigma,                          k = 1
        known:    w = alpha x0 / sigma + lam / (1 + lam) eps_hat,    k = 1 + lam

    Before the inner iterations, the known part is set to its own path. The first iteration is one `Oscillator` step of
    time h. Each later one is half a step with the former w, a call, a kick by the change of w, and the other half. A
    last call gives the step down.

    Attributes:
        inner: iterations at a level, at least 0.
        lam: strength on the known part, at least 0.
        h: time of an iteration, > 0.
        friction: phi in G = phi^2 k, > 0; inf is the overdamped dynamics of version 2.
        floor: the share f of version 2. With v = sigma^2 / (alpha^2 + sigma^2), the time is h max(1, f / v) and the
            number of iterations inner min(1, v / f), rounded to even. 0 is the same everywhere.
        stop: 1 leaves out the inner iterations before the step to clean, 0 keeps them.
        path: of the known part before the inner iterations: "markov" is one path of the forward process, "fixed" the
            noise of the start at every level.
    Source:
        Zheng et al. 2025 (arXiv 2502.03491v3). Constants of the paper's benchmark: inner 5 or 10, lam 8, h .15,
        friction 15, path "markov" on 20 "leading" levels. Those of version 2.1.0 of the program: inner 5, lam 5, h .2,
        friction inf, floor 1, stop 1, path "fixed".
    """

    inner: int = 5
    lam: float = 8.0
    h: float = 0.15
    friction: float = 15.0
    floor: float = 0.0
    stop: int = 0
    path: Literal["markov", "fixed"] = "markov"

    def __post_init__(self) -> None:
        if not (is_integer(self.inner) and self.inner >= 0):
            raise InputError(f"lanpaint(inner={shown(self.inner)}) must be an integer of at least 0.")
        if self.stop not in (0, 1):
            raise InputError(f"lanpaint(stop={shown(self.stop)}) must be 0 or 1.")
        for name, value, least in (("lam", self.lam, 0), ("floor", self.floor, 0)):
            if not (is_number(value) and least <= value < math.inf):
                raise InputError(f"lanpaint({name}={shown(value)}) must be finite and at least {least}.")
        if not (is_number(self.h) and 0 < self.h <= 100):
            raise InputError(f"lanpaint(h={shown(self.h)}) must be above 0 and at most 100.")
        if not (is_number(self.friction) and self.friction > 0):
            raise InputError(f"lanpaint(friction={shown(self.friction)}) must be above 0 (inf is overdamped).")
        if self.path not in ("markov", "fixed"):
            raise InputError(f"lanpaint(path={shown(self.path)}) must be markov or fixed.")

    def iterations(self, src: Level, dst: Level) -> int:
        """Return the inner iterations at `src` before the step to `dst`."""
        if self.stop and dst.sigma == 0:
            return 0
        return round(self.inner * min(1.0, self._share(src) / self.floor)) if self.floor else self.inner

    def calls(self, src: Level, dst: Level) -> int:
        """Return the model calls of a step: one more than its inner iterations."""
        return self.iterations(src, dst) + 1

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Set the known part to its path, iterate, and step down."""
        src, dst = step.src, step.dst
        noise = step.carry["noise"] if "noise" in step.carry else step.draws.another()
        x = step.merged(weighted((src.alpha, step.x0), (src.sigma, noise)), step.x)
        count = self.iterations(src, dst)
        if count:
            x = self._iterated(step, x, count)
        prediction = step.model.predict(x, src)
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        return weighted((dst.alpha, prediction.x0_hat), (dst.sigma, prediction.eps_hat)), {
            "noise": self._next(step, noise)
        }

    def _iterated(self, step: KernelStep, x: Batch, count: int) -> Batch:
        sigma, h = step.src.sigma, self.h * (max(1.0, self.floor / self._share(step.src)) if self.floor else 1.0)
        stiffness = (1.0, 1.0 + self.lam)  # of unknown and known entries
        frictions = [self.friction**2 * k for k in stiffness]
        whole, half = (
            [Oscillator(k, g, time) for k, g in zip(stiffness, frictions, strict=True)] for time in (h, h / 2)
        )
        kicks = [k * h * (1.0 if math.isinf(g) else g) for k, g in zip(stiffness, frictions, strict=True)]
        overdamped = math.isinf(self.friction)
        u = x / sigma
        q = u if overdamped else step.merged(*(math.sqrt(g) * z for g, z in self._drawn(step, frictions)))
        w = self._centre(step, step.model.predict(x, step.src))
        u, q = self._moved(step, whole, u, q, w)
        for _ in range(count - 1):
            u, q = self._moved(step, half, u, q, w)
            before, w = w, self._centre(step, step.model.predict(sigma * u, step.src))
            kick = step.merged(kicks[1] * (w - before), kicks[0] * (w - before))
            u, q = (u + kick, q) if overdamped else (u, q + kick)
            u, q = self._moved(step, half, u, q, before)
        return sigma * u

    def _drawn(self, step: KernelStep, frictions: list[float]) -> list[tuple[float, Batch]]:
        z = step.draws.another()
        return [(frictions[1], z), (frictions[0], z)]

    def _moved(self, step: KernelStep, parts: list[Oscillator], u: Batch, q: Batch, w: Batch) -> tuple[Batch, Batch]:
        z_u = step.draws.another()
        z_q = z_u if parts[0].overdamped else step.draws.another()
        unknown, known = (part(u - w, q, z_u, z_q) for part in parts)
        return step.merged(known[0], unknown[0]) + w, step.merged(known[1], unknown[1])

    def _centre(self, step: KernelStep, prediction: Prediction) -> Batch:
        gain, pull = step.src.alpha / step.src.sigma, self.lam / (1 + self.lam)
        known = weighted((gain, step.x0), (pull, prediction.eps_hat))
        return step.merged(known, gain * prediction.x0_hat)

    def _next(self, step: KernelStep, noise: Batch) -> Batch:
        """Return the noise of the known part's path at `dst`."""
        if self.path == "fixed":
            return noise
        share = renewed("posterior", step.src, step.dst)
        return weighted((math.sqrt(1 - share), noise), (math.sqrt(share), step.draws.another()))

    @staticmethod
    def _share(level: Level) -> float:
        return level.sigma**2 / (level.alpha**2 + level.sigma**2)
