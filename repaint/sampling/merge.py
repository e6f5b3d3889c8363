"""How the known region enters at a level: x^known = alpha x0 + sigma n. The rules differ only in n.

All are cases of one linear rule, n_dst = A eps_hat + B n + C z, where eps_hat is the prediction at the previous level,
n is the noise in the known part there, and z is new noise:

| rule            | A                    | B            | C                      | what it is                         |
|-----------------|----------------------|--------------|------------------------|------------------------------------|
| none            | -                    | -            | -                      | not merged until the clean level   |
| fresh           | 0                    | 0            | 1                      | RePaint (arXiv 2201.09865, eq. 8a) |
| trajectory      | 0                    | 1            | 0                      | one forward path of the known part |
| predicted(lam)  | lam/(1+lam)          | 0            | (1+lam)^-1/2           | a Gibbs draw, see `Predicted`      |
| carry(zeta)     | 0                    | sqrt(1-zeta) | sqrt(zeta)             | DiffPIR (arXiv 2305.08995)         |
| mixed(zeta)     | sqrt(1-zeta)         | 0            | sqrt(zeta)             | DDNM's code (arXiv 2212.00490)     |
| relaxed(lam, h) | (1-e^-h) lam/(1+lam) | e^-h         | sqrt(1-e^-2h)/(1+lam)^1/2 | LanPaint at one level           |

RePaint's Algorithm 1 (line 5) multiplies z by the variance; its eq. 8a, the standard deviation, is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.renewal import Zeta, checked_zeta, renewed
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry

__all__ = [
    "Carried",
    "Fresh",
    "KnownPart",
    "Linear",
    "LinearMerge",
    "Merge",
    "Mixed",
    "Predicted",
    "Relaxed",
    "Trajectory",
    "Unmerged",
    "Weights",
    "merge_known",
]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class KnownPart:
    """The known part of x before the next merge. Each view is computed when it is read.

    Attributes:
        x: (B, ...) the sample at `level`; None before the walk begins.
        x0: (B, ...) the clean sample; meaningful where it is known.
        level: the level of x.
        prediction: the model's prediction at `level`; None before the walk begins and after a renoise.
        mask: (B, ...) True where the input is kept; None: everywhere.
    """

    x: Batch | None
    x0: Batch
    level: Level
    prediction: Prediction | None = None
    mask: Bool[Tensor, "b *shape"] | None = None

    @property
    def eps_hat(self) -> Batch | None:
        """The noise that the model predicts in x, without classifier-free guidance; None without a prediction."""
        return None if self.prediction is None else self.prediction.known_eps

    @property
    def n(self) -> Batch:
        """The noise in x now, as a new tensor: n of x = alpha x0 + sigma n. The level must not be clean."""
        assert self.x is not None
        return torch.sub(self.x, self.x0, alpha=self.level.alpha).div_(self.level.sigma)

    def mixed(self, eps: float, n: float, *more: tuple[float, Batch]) -> Batch:
        """Return eps * eps_hat + n * n + the further terms; a sum of one tensor with weight 1 is that tensor itself.

        A tensor is read only where its weight is not 0. There must be a prediction.
        """
        terms = list(more)
        if eps or not (n or more):
            assert self.eps_hat is not None
            terms.insert(0, (eps, self.eps_hat))
        if n:  # a new tensor, reused for the sum to save memory
            total = self.n.mul_(n)
            for gain, tensor in terms:
                total.add_(tensor, alpha=gain)
            return total
        return terms[0][1] if [gain for gain, _ in terms] == [1.0] else weighted(*terms)


@runtime_checkable
class Merge(Protocol):
    """A rule for the known part's noise.

    Attributes:
        after_renoise: apply the rule after a renoise too. False keeps the known part that the renoise carried up.
    """

    @property
    def after_renoise(self) -> bool: ...

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch | None, Carry]:
        """Compute the known part's noise n at `dst`.

        Args:
            known: the known part at the level before.
            dst: the level that x has now.
            draws: random numbers of this move.
            carry: what this rule returned at the previous move; empty at the start. It survives renoises.
        Returns:
            (n, carry). n is (B, ...) and is not changed afterwards if it is also in the carry; None leaves the sample
            as it is.
        """
        ...


@dataclass(frozen=True)
class Unmerged:
    """No merge: the sample is free until the clean level, where the known part is x0.

    For methods that use the known part only through guidance. The walk also starts from pure noise everywhere.
    """

    after_renoise = False

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[None, Carry]:
        return None, {}


class Weights(NamedTuple):
    """The weights of n_dst = eps * eps_hat + n * n_src + z * (new noise)."""

    eps: float = 0.0
    n: float = 0.0
    z: float = 0.0


class LinearMerge:
    """A base for rules that are defined by their weights. Without a prediction, n is new noise."""

    after_renoise = False

    def weights(self, src: Level, dst: Level) -> Weights:
        """Return the weights of the move from `src` to `dst`, which is not clean."""
        raise NotImplementedError

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        """Compute the sum. A tensor is read, and noise drawn, only where its weight is not 0."""
        if known.prediction is None:
            return draws.z, {}
        eps, n, z = self.weights(known.level, dst)
        return known.mixed(eps, n, *([(z, draws.z)] if z else [])), {}


@dataclass(frozen=True)
class Linear(LinearMerge):
    """The linear rule with constant weights, for experiments.

    Attributes:
        eps, n, z: the weights of the predicted noise, of the noise in the known part, and of new noise. The variances
            should add up to 1, so that the known part has the noise of its level.
    """

    eps: float = 0.0
    n: float = 0.0
    z: float = 1.0

    def __post_init__(self) -> None:
        for name, weight in (("eps", self.eps), ("n", self.n), ("z", self.z)):
            if not (is_number(weight) and math.isfinite(weight)):
                raise InputError(f"linear({name}={shown(weight)}) must be finite.")
        if not (self.eps or self.n or self.z):
            raise InputError("linear(eps=0, n=0, z=0) must have a weight other than 0.")

    def weights(self, src: Level, dst: Level) -> Weights:
        return Weights(self.eps, self.n, self.z)


@dataclass(frozen=True)
class Fresh(LinearMerge):
    """New noise at every level: RePaint."""

    def weights(self, src: Level, dst: Level) -> Weights:
        return Weights(z=1.0)


@dataclass(frozen=True)
class Trajectory:
    """One forward path of the known part, drawn once and replayed.

    A branch of a run with another merge continues on the path through its current known part.
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
class Predicted(LinearMerge):
    """A rule between new noise (lam = 0) and the noise that the model predicts in the known part (lam = inf).

    With eps_hat frozen it is the exact Gibbs draw of p(x|y) p(y|y0)^(1+lam) / p(y)^lam.

    Attributes:
        lam: strength, >= 0. 5 to 10 is the bidirectional guidance of LanPaint (arXiv 2502.03491); inf is the delayed
            form of decoupled inpainting guidance (DInG, arXiv 2512.18365).
        relax: over-relaxation, in [1, 2); 1 disables it. Using eps_hat as the next noise is an iteration; at its fixed
            point, the model predicts exactly x0 in the known part. The error is multiplied by 1 - c per call, where
            c = alpha^2 s / (alpha^2 s + sigma^2) in a direction of variance s: it hardly shrinks at high noise.
            Successive over-relaxation steps beyond eps_hat, away from n, by 1 / c for s = 1, at most `relax`; below 2
            it converges in every direction.
        guard: >= 0; 0 disables it. A network can predict noise that is implausible as a draw of N(0, I); iterating on
            such predictions diverges. If the root mean square r of the predicted noise over the N entries of the known
            part exceeds b = 1 + 4 / sqrt(2 N), four standard deviations above the value for real noise, the prediction
            is scaled by (b / r)^guard, and new noise restores the variance.
        fade: > 0; the noise level rho = sigma / alpha at which the strength lam / (1 + (rho / fade)^2) is half of lam;
            inf disables it. The iteration amplifies errors along directions in which d eps_hat / dn exceeds 1. An exact
            denoiser has none, because d eps_hat / dn is I minus a multiple of the posterior covariance of x0; a network
            can have some, mostly at high noise, where a smaller strength keeps these errors from growing.
    """

    lam: float = math.inf
    relax: float = 1.0
    guard: float = 0.0
    fade: float = math.inf

    def __post_init__(self) -> None:
        _check_lam("predicted", self.lam)
        if not (is_number(self.fade) and self.fade > 0):
            raise InputError(f"predicted(fade={shown(self.fade)}) must be above 0 (inf disables it).")
        if math.isinf(self.lam) and not math.isinf(self.fade):
            raise InputError(f"predicted(inf, fade={self.fade}) must have a finite strength: infinity does not fade.")
        if not (is_number(self.guard) and 0 <= self.guard < math.inf):
            raise InputError(f"predicted(guard={shown(self.guard)}) must be finite and at least 0 (0 disables it).")
        if not (is_number(self.relax) and 1 <= self.relax < 2):
            raise InputError(f"predicted(relax={shown(self.relax)}) must be in [1, 2) (1 disables it; 2 diverges).")

    def weights(self, src: Level, dst: Level) -> Weights:
        rho = src.sigma / src.alpha if src.alpha > 0 else math.inf
        pull, kick = _gibbs(self.lam if math.isinf(self.fade) else self.lam / (1 + (rho / self.fade) ** 2))
        beyond = min(self.relax, 1 + rho**2)
        return Weights(pull * beyond, pull * (1 - beyond), kick)

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Batch, Carry]:
        """Compute the noise; see `LinearMerge.noise`. With `guard`, each sample has its own scale."""
        if self.guard == 0 or known.eps_hat is None:
            return super().noise(known, dst, draws, carry)
        eps, n, z = self.weights(known.level, dst)
        predicted = known.mixed(eps, n)
        size, bound = _size(predicted, known.mask)
        scale = torch.where(size > bound, (bound / size) ** self.guard, torch.ones_like(size))
        kick = torch.where(size > bound, (1 - (scale * size) ** 2).clamp(min=z**2).sqrt(), torch.full_like(size, z))
        scale, kick = (each.to(predicted.dtype).view(-1, *[1] * (predicted.dim() - 1)) for each in (scale, kick))
        return (predicted * scale).addcmul_(draws.z, kick), {}


@dataclass(frozen=True)
class Carried(LinearMerge):
    """Keep the noise in the known part, and renew a share of it.

    Attributes:
        zeta: share of the variance that is new, in [0, 1]; or a rule of `repaint.sampling.renewal`. `posterior` draws
            from q(x_dst | x_src, x0): one Markov path of the known part, reversed.
    Source:
        DiffPIR (Zhu et al. 2023, arXiv 2305.08995), Alg. 1, for an observation without noise.
    """

    zeta: Zeta = "posterior"

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeta", checked_zeta("carry", self.zeta))

    def weights(self, src: Level, dst: Level) -> Weights:
        zeta = renewed(self.zeta, src, dst)
        return Weights(n=math.sqrt(1 - zeta), z=math.sqrt(zeta))


@dataclass(frozen=True)
class Mixed(LinearMerge):
    """Use the noise that the model predicts, and renew a share of it. The variance is 1 if that of eps_hat is 1.

    Attributes:
        zeta: share of the variance that is new, in [0, 1]; or a rule of `repaint.sampling.renewal`.
    Source:
        DDNM (Wang et al. 2023, arXiv 2212.00490) in its published code, zeta = .85^2.
    """

    zeta: Zeta = 0.7225

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeta", checked_zeta("mixed", self.zeta))

    def weights(self, src: Level, dst: Level) -> Weights:
        zeta = renewed(self.zeta, src, dst)
        return Weights(eps=math.sqrt(1 - zeta), z=math.sqrt(zeta))


@dataclass(frozen=True)
class Relaxed(LinearMerge):
    """An Ornstein-Uhlenbeck step of the noise towards `predicted(lam)`, which it reaches for h -> inf.

    Attributes:
        lam: strength, >= 0; see `Predicted`.
        h: length of the step in the process's own relaxation times, > 0.
    Source:
        LanPaint (Zheng et al. 2025, arXiv 2502.03491), one overdamped step of its dynamics on the known part.
    """

    lam: float = 8.0
    h: float = 1.35

    def __post_init__(self) -> None:
        _check_lam("relaxed", self.lam)
        if not (is_number(self.h) and self.h > 0):
            raise InputError(f"relaxed(h={shown(self.h)}) must be above 0 (inf is predicted(lam)).")

    def weights(self, src: Level, dst: Level) -> Weights:
        pull, kick = _gibbs(self.lam)
        return Weights(-math.expm1(-self.h) * pull, math.exp(-self.h), math.sqrt(-math.expm1(-2 * self.h)) * kick)


def _size(n: Batch, mask: Bool[Tensor, "b *shape"] | None) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Compute the RMS of each sample's noise over its known part, and the largest value that is plausible for noise.

    Rows are summed first, so that the last bits depend neither on the batch nor on the threads.
    """
    rows = (len(n), -1, n.shape[-1])
    here = torch.ones_like(n, dtype=torch.bool) if mask is None else mask.expand_as(n)
    squares = torch.where(here, n, torch.zeros_like(n)).float().square().reshape(rows).sum(-1).sum(-1)
    count = here.reshape(rows).sum(-1).sum(-1).clamp(min=1)
    return (squares / count).sqrt(), 1 + 4 / (2 * count).sqrt()


def _gibbs(lam: float) -> tuple[float, float]:
    """Return the weight of eps_hat and the std of the new noise in `predicted(lam)`."""
    return (1.0, 0.0) if math.isinf(lam) else (lam / (1 + lam), math.sqrt(1 / (1 + lam)))


def _check_lam(part: str, lam: float) -> None:
    if not (is_number(lam) and lam >= 0):
        raise InputError(f"{part}(lam={shown(lam)}) must be at least 0 (inf is allowed).")


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
