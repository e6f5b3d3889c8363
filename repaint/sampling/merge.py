"""How the known region enters at a level: x^known = alpha x0 + sigma n. The rules differ in n alone.

| rule           | n                                      | what it is                                          |
|----------------|----------------------------------------|-----------------------------------------------------|
| fresh          | z ~ N(0, I), new at every level        | RePaint (arXiv 2201.09865, eq. 8a)                  |
| trajectory     | one draw, replayed at every level      | a single forward path of the known part             |
| predicted(lam) | lam/(1+lam) eps_hat + (1+lam)^(-1/2) z | the Gibbs draw of p(x|y) p(y|y0)^(1+lam) / p(y)^lam |

RePaint's Algorithm 1 (line 5) multiplies z by the variance; its eq. 8a, the standard deviation, is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.prediction import weighted

__all__ = ["Fresh", "Merge", "Predicted", "Trajectory", "merge_known", "over_relaxed"]

Batch = Float[Tensor, "b *shape"]


@runtime_checkable
class Merge(Protocol):
    """A rule for the known part's noise. Write your own with these three members.

    Attributes:
        uses_noise: the rule reads z.
        uses_path: the rule reads `path`, and must be applied after a renoise too.
        uses_prediction: optional; False is never given eps_hat, which then need not be worked out.
        relax: optional; above 1, eps_hat is what `over_relaxed` makes of the prediction.
    """

    uses_noise: bool
    uses_path: bool

    def noise(self, eps_hat: Batch | None, z: Batch, path: Batch | None) -> Batch:
        """The known part's noise n.

        Args:
            eps_hat: what the model last predicted; None before its first call.
            z: new standard normal noise.
            path: one standard normal draw, the same at every level.
        """
        ...


@dataclass(frozen=True)
class Fresh:
    """New noise at every level: RePaint."""

    uses_noise = True
    uses_path = False
    uses_prediction = False

    def noise(self, eps_hat: Batch | None, z: Batch, path: Batch | None) -> Batch:
        return z


@dataclass(frozen=True)
class Trajectory:
    """One forward path of the known part, drawn once and replayed."""

    uses_noise = False
    uses_path = True
    uses_prediction = False

    def noise(self, eps_hat: Batch | None, z: Batch, path: Batch | None) -> Batch:
        assert path is not None
        return path


@dataclass(frozen=True)
class Predicted:
    """Between new noise (lam = 0) and the noise that the model sees in the known part (lam = inf).

    Attributes:
        lam: strength, >= 0. 5 to 10 is the bidirectional guidance of LanPaint (arXiv 2502.03491); inf is the delayed
            form of decoupled inpainting guidance (DInG, arXiv 2512.18365).
        relax: over-relaxation, in [1, 2): see `over_relaxed`. 1 is none.
    """

    lam: float = math.inf
    relax: float = 1.0

    def __post_init__(self) -> None:
        if not self.lam >= 0:
            raise InputError(f"predicted({self.lam}): the strength is 0 or more, or inf. Choose one.")
        if not 1 <= self.relax < 2:
            raise InputError(f"predicted(relax={self.relax}): it lies in [1, 2); from 2 on it diverges. Try 1.5.")

    @property
    def uses_noise(self) -> bool:
        return math.isfinite(self.lam)

    uses_path = False

    def noise(self, eps_hat: Batch | None, z: Batch, path: Batch | None) -> Batch:
        if eps_hat is None:
            return z
        if math.isinf(self.lam):
            return eps_hat
        pull, kick = self.lam / (1 + self.lam), math.sqrt(1 / (1 + self.lam))
        return weighted((pull, eps_hat), (kick, z))


def over_relaxed(eps_hat: Batch, noise: Batch, level: Level, relax: float) -> Batch:
    """Go further than to what the model sees, from the noise that it saw it in.

    Taking eps_hat for the next noise is an iteration whose fixed point is a known part that the model predicts to be
    just x0. Its error shrinks by 1 - c a call, where c = alpha^2 s / (alpha^2 s + sigma^2) in a direction of variance
    s: hardly at all where noise is high. This is successive over-relaxation by 1 / c for s = 1, at most `relax`;
    below 2 it converges in every direction.

    Args:
        eps_hat: (B, ...) the model's prediction at `level`.
        noise: (B, ...) the noise in x there, n of x = alpha x0 + sigma n.
        level: its level.
        relax: the most, in [1, 2).
    """
    factor = min(relax, 1 + (level.sigma / level.alpha) ** 2) if level.alpha > 0 else relax
    return weighted((1 - factor, noise), (factor, eps_hat))


def merge_known(
    x: Batch,
    x0: Batch,
    noise: Batch | None,
    known: Bool[Tensor, "b *shape"],
    level: Level,
    out: Batch | None = None,
) -> Batch:
    """x with its known part set to alpha x0 + sigma n; at the clean level to x0, bit for bit.

    Args:
        x: (B, ...) the sample at `level`.
        x0: (B, ...) the clean sample; read only where `known`.
        noise: (B, ...) n; not read at the clean level.
        known: (B, ...) True where the input is kept.
        out: (B, ...) memory for the result, which may be that of `noise`; None takes new memory.
    """
    if level.sigma == 0:
        return torch.where(known, x0, x)
    assert noise is not None
    placed = torch.mul(noise, level.sigma, out=out).add_(x0, alpha=level.alpha)
    return torch.where(known, placed, x, out=out)
