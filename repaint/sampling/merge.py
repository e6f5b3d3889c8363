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
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry

__all__ = ["Fresh", "KnownPart", "Merge", "Predicted", "Trajectory", "merge_known", "over_relaxed"]

Batch = Float[Tensor, "b *shape"]


class KnownPart:
    """The known part of x before the next merge. Each view is computed when it is read.

    Args:
        x: (B, ...) the sample at `level`; None before the walk begins.
        x0: (B, ...) the clean sample; meaningful where it is known.
        level: the level of x.
        prediction: the model's prediction at `level`; None before the walk begins and after a renoise.
    """

    def __init__(self, x: Batch | None, x0: Batch, level: Level, prediction: Prediction | None = None) -> None:
        self.x, self.x0, self.level, self.prediction = x, x0, level, prediction

    @property
    def eps_hat(self) -> Batch | None:
        """The noise that the model sees in x, without classifier-free guidance; None without a prediction."""
        return None if self.prediction is None else self.prediction.known_eps

    @property
    def n(self) -> Batch:
        """The noise in x now, as a new tensor: n of x = alpha x0 + sigma n. The level must not be clean."""
        assert self.x is not None
        return torch.sub(self.x, self.x0, alpha=self.level.alpha).div_(self.level.sigma)


@runtime_checkable
class Merge(Protocol):
    """A rule for the known part's noise.

    Attributes:
        after_renoise: apply the rule after a renoise too. False keeps the known part that the renoise carried up.
    """

    @property
    def after_renoise(self) -> bool: ...

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        """Compute the known part's noise n at `dst`.

        Args:
            known: the known part at the level before.
            dst: the level that x has now.
            draws: random numbers of this move.
            carry: what this rule returned at the move before; empty at the start. It survives renoises.
        Returns:
            (n, carry). n is (B, ...) and is not changed afterwards if it is also in the carry.
        """
        ...


@dataclass(frozen=True)
class Fresh:
    """New noise at every level: RePaint."""

    after_renoise = False

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        return draws.z, {}


@dataclass(frozen=True)
class Trajectory:
    """One forward path of the known part, drawn once and replayed.

    A branch of a run with another merge continues on the path through its present known part.
    """

    after_renoise = True

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        if "path" in carry:
            path = carry["path"]
        elif known.x is None:
            path = draws.another()
        else:
            path = known.n
        return path, {"path": path}


@dataclass(frozen=True)
class Predicted:
    """Between new noise (lam = 0) and the noise that the model sees in the known part (lam = inf).

    Attributes:
        lam: strength, >= 0. 5 to 10 is the bidirectional guidance of LanPaint (arXiv 2502.03491); inf is the delayed
            form of decoupled inpainting guidance (DInG, arXiv 2512.18365).
        relax: over-relaxation, in [1, 2): see `over_relaxed`. 1 disables it.
    """

    lam: float = math.inf
    relax: float = 1.0
    after_renoise = False

    def __post_init__(self) -> None:
        if not self.lam >= 0:
            raise InputError(f"predicted(lam={self.lam}) must be at least 0 (inf is allowed).")
        if not 1 <= self.relax < 2:
            raise InputError(f"predicted(relax={self.relax}) must be in [1, 2) (1 disables it; 2 diverges).")

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        eps_hat = known.eps_hat
        if eps_hat is None:
            return draws.z, {}
        if self.relax > 1:
            eps_hat = over_relaxed(eps_hat, known.n, known.level, self.relax)
        if math.isinf(self.lam):
            return eps_hat, {}
        pull, kick = self.lam / (1 + self.lam), math.sqrt(1 / (1 + self.lam))
        return weighted((pull, eps_hat), (kick, draws.z)), {}


def over_relaxed(eps_hat: Batch, noise: Batch, level: Level, relax: float) -> Batch:
    """Step beyond the noise that the model sees in the known part, away from the noise that is there.

    Taking eps_hat for the next noise is an iteration whose fixed point is a known part that the model predicts to be
    exactly x0. Its error shrinks by 1 - c per call, where c = alpha^2 s / (alpha^2 s + sigma^2) in a direction of
    variance s: hardly at all at high noise. This is successive over-relaxation by 1 / c for s = 1, at most `relax`;
    below 2 it converges in every direction.

    Args:
        eps_hat: (B, ...) the model's prediction at `level`.
        noise: (B, ...) the noise in x, n of x = alpha x0 + sigma n. Its memory is reused for the result.
        level: the level of x.
        relax: the largest factor, in [1, 2).
    """
    factor = min(relax, 1 + (level.sigma / level.alpha) ** 2) if level.alpha > 0 else relax
    return noise.mul_(1 - factor).add_(eps_hat, alpha=factor)


def merge_known(
    x: Batch,
    x0: Batch,
    noise: Batch | None,
    known: Bool[Tensor, "b *shape"],
    level: Level,
    out: Batch | None = None,
) -> Batch:
    """Set the known part of x to alpha x0 + sigma n; at the clean level to x0, bit for bit.

    Args:
        x: (B, ...) the sample at `level`.
        x0: (B, ...) the clean sample; read only where `known`.
        noise: (B, ...) n; not read at the clean level.
        known: (B, ...) True where the input is kept.
        out: (B, ...) memory for the result, which may be that of `noise`; None allocates it.
    """
    if level.sigma == 0:
        return torch.where(known, x0, x)
    assert noise is not None
    placed = torch.mul(noise, level.sigma, out=out).add_(x0, alpha=level.alpha)
    return torch.where(known, placed, x, out=out)
