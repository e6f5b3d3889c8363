"""Solvers: the step from a level down to a cleaner one. All coefficients come from (alpha, sigma), in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.sampling.levels import Level, posterior
from repaint.sampling.prediction import Prediction, weighted
from repaint.sampling.renewal import Zeta, checked_zeta, renewed
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry, number

__all__ = ["DDIM", "DDPM", "Heun", "Multistep", "Refresh", "Renew", "Solver", "TwoStageSolver"]

Batch = Float[Tensor, "b *shape"]


@runtime_checkable
class Solver(Protocol):
    """A rule for the step from `src` down to `dst`."""

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        """Compute x at `dst`.

        Args:
            x: (B, ...) the sample at `src`.
            prediction: the model's prediction at `src`.
            src, dst: the levels; `dst` is cleaner.
            draws: random numbers of this step.
            carry: what this solver returned at the previous step; empty at the start and after every renoise, which
                makes it invalid.
        Returns:
            (x, carry). Tensors in the carry are not changed afterwards.
        """
        ...


@runtime_checkable
class TwoStageSolver(Solver, Protocol):
    """A solver that predicts once more at the end of a step, and corrects it, except at the clean level."""

    def refine(self, x: Batch, prediction: Prediction, level: Level, carry: Carry) -> tuple[Batch, Carry]:
        """Correct the step that just reached a level.

        Args:
            x: (B, ...) the sample at `level` after `step` and the merge.
            prediction: the model's prediction of it.
            level: the level, `dst` of the step.
            carry: what `step` returned.
        Returns:
            (x, carry), as of `step`.
        """
        ...


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling: the posterior mean plus noise.

    Attributes:
        variance: "small" is the posterior's ("beta tilde"; it loses variance over few steps), "large" the forward
            step's ("beta"), "learned" the model's own, between the two.
    Source:
        Ho et al. 2020 (arXiv 2006.11239), eq. 6-7; Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 15. The two bounds
        are those of the grid in use, so skipped steps rescale a learned variance.
    """

    variance: Literal["small", "large", "learned"] = "small"

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large", "learned"):
            raise InputError(f"ddpm(variance={shown(self.variance)}) must be small, large or learned.")

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        q = posterior(src, dst)
        mean = (q.x0_gain, prediction.x0_hat), (q.x_gain, x)
        if dst.sigma == 0:
            return weighted(*mean), {}  # a clean sample has no noise, for every choice of variance
        if self.variance != "learned":
            return weighted(*mean, (q.small_std if self.variance == "small" else q.large_std, draws.z)), {}
        if prediction.variance is None:
            raise InputError(
                "ddpm(learned) needs a model that predicts its variance as a share of a range (variance_type "
                "'learned_range'). Use ddpm(small) or ddpm(large)."
            )
        v = prediction.variance
        std = torch.exp(v * math.log(q.large_std) + (1 - v) * math.log(q.small_std))
        return weighted(*mean).addcmul_(std, draws.z), {}


@dataclass(frozen=True)
class DDIM:
    """x_dst = alpha x0_hat + sqrt(sigma^2 - s^2) eps_hat + s z, with s = eta times the posterior's std.

    Attributes:
        eta: in [0, 1]; 0 is deterministic, 1 is DDPM with the small variance.
    Source:
        Song et al. 2021 (arXiv 2010.02502), eq. 12 and 16.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not (is_number(self.eta) and 0 <= self.eta <= 1):
            raise InputError(f"ddim(eta={shown(self.eta)}) must be in [0, 1] (0 is deterministic).")

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        s = self.eta * posterior(src, dst).small_std
        rest = math.sqrt(max(0.0, dst.sigma**2 - s**2))  # at eta = 1 rounding can make the difference negative
        terms = [(dst.alpha, prediction.x0_hat)]
        if rest > 0:
            terms.append((rest, prediction.eps_hat))
        if s > 0:
            terms.append((s, draws.z))
        return weighted(*terms), {}


def extrapolated(prediction: Prediction, src: Level, dst: Level, share: float, carry: Carry) -> tuple[Batch, Carry]:
    """Extrapolate x0_hat along its change since the previous step.

    x0_hat + share * (h / h_before) * (x0_hat - x0_hat_before), where h and h_before are the lengths in log-SNR of the
    step from `src` to `dst` and of the previous step. Without a previous step it is x0_hat itself.

    Returns:
        (x0_hat, carry): the carry holds x0_hat and the log-SNR of `src` for the next step.
    """
    x0_hat = prediction.x0_hat
    if not math.isfinite(src.log_snr):  # at alpha = 0 x carries no signal to extrapolate from
        return x0_hat, {}
    after = {"x0_hat": x0_hat, "log_snr": number(src.log_snr)}
    if "x0_hat" not in carry:
        return x0_hat, after
    share = share * (dst.log_snr - src.log_snr) / (src.log_snr - float(carry["log_snr"]))
    return (x0_hat - carry["x0_hat"]).mul_(share).add_(x0_hat), after


@dataclass(frozen=True)
class Multistep:
    """DPM-Solver++(2M): second order with x0_hat of the previous step, first order without one.

    With h = log-SNR of `dst` minus that of `src`, and D = x0_hat extrapolated to the middle of the step:

        x_dst = (sigma_dst / sigma_src) e^(-eta h) x_src + alpha_dst (1 - e^(-(1 + eta) h)) D
                + sigma_dst sqrt(1 - e^(-2 eta h)) z

    Attributes:
        eta: at least 0; 0 is the deterministic solver of the ODE, 1 the solver of the SDE.
    Source:
        Lu et al. 2022 (arXiv 2211.01095), Alg. 2 (eta = 0) and App. E, SDE-DPM-Solver++(2M) (eta = 1).
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not (is_number(self.eta) and 0 <= self.eta < math.inf):
            raise InputError(f"multistep(eta={shown(self.eta)}) must be at least 0 (0 is the ODE, 1 the SDE).")

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        h = dst.log_snr - src.log_snr  # infinite at alpha = 0, where the step is exactly that of x0_hat and new noise
        x0_hat, after = extrapolated(prediction, src, dst, 0.5, carry)
        forgotten = math.exp(-self.eta * h) if self.eta > 0 else 1.0
        terms = [
            (dst.sigma / src.sigma * forgotten, x),
            (-dst.alpha * math.expm1(-(1 + self.eta) * h), x0_hat),
        ]
        if self.eta > 0:
            terms.append((dst.sigma * math.sqrt(-math.expm1(-2 * self.eta * h)), draws.z))
        return weighted(*terms), after


@dataclass(frozen=True)
class Refresh:
    """Keep the prediction of x0 and renew its noise: x_dst = alpha x0_hat + sigma z, with all of the noise new.

    The predictions alone then decide what fills the hole, and can follow the known part at every step. The plain form
    loses variance: half of it in a direction that the level resolves. Either attribute restores it without a model
    call.

    Attributes:
        extrapolate: in [0, 1]; extrapolate x0_hat by this share of its change since the previous step (scaled by the
            two steps' lengths in log-SNR). 1/2 keeps the variance of every direction that the level resolves.
        noise: "fresh" is new at each step. "averaged" is the sum of two draws over the root of 2, each used in two
            steps: the Leimkuhler-Matthews step of Langevin dynamics at h = 1, which keeps the variance of every
            Gaussian. Use extrapolate = 0 with it.
    Source:
        At extrapolate = 0 the multistep sampler of Song et al. 2023 (arXiv 2303.01469, Alg. 1) with a denoiser in place
        of their consistency model; together with the merge `fresh` it is DiffPIR at zeta = 1 (Zhu et al. 2023,
        arXiv 2305.08995, Alg. 1). Leimkuhler & Matthews 2013 (Appl. Math. Res. Express 2013(1), 34-56), eq. 9.
    """

    extrapolate: float = 0.5
    noise: Literal["fresh", "averaged"] = "fresh"

    def __post_init__(self) -> None:
        share = self.extrapolate
        if not (is_number(share) and 0 <= share <= 1):
            raise InputError(f"refresh(extrapolate={shown(share)}) must be in [0, 1] (0.5 keeps the variance).")
        if self.noise not in ("fresh", "averaged"):
            raise InputError(f"refresh(noise={shown(self.noise)}) must be fresh or averaged.")

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        x0_hat = prediction.x0_hat
        after: Carry = {}
        if self.extrapolate > 0:
            x0_hat, after = extrapolated(prediction, src, dst, self.extrapolate, carry)
        if self.noise == "averaged":
            before = carry["z"] if "z" in carry else draws.another()
            after = {**after, "z": draws.z}
            return weighted((dst.alpha, x0_hat), (dst.sigma, (before + draws.z) / math.sqrt(2))), after
        return weighted((dst.alpha, x0_hat), (dst.sigma, draws.z)), after


@dataclass(frozen=True)
class Renew:
    """Draw a share of the noise anew: x_dst = alpha x0_hat + sigma (sqrt(1 - zeta) eps_hat + sqrt(zeta) z).

    zeta = 0 is `ddim(0)`, 1 is `refresh(0)`, and `posterior` is `ddim(1)`. More than the posterior's share is allowed.

    Attributes:
        zeta: the share of the variance, in [0, 1]; or a rule of `repaint.sampling.renewal`.
    Source:
        DiffPIR (Zhu et al. 2023, arXiv 2305.08995), Alg. 1, with the merge `carry`; DDNM (Wang et al. 2023,
        arXiv 2212.00490) in its published code, with the merge `mixed`; the delayed form of DInG (arXiv 2512.18365).
    """

    zeta: Zeta = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeta", checked_zeta("renew", self.zeta))

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        zeta = renewed(self.zeta, src, dst)
        terms = [(dst.alpha, prediction.x0_hat)]
        if zeta < 1:
            terms.append((dst.sigma * math.sqrt(1 - zeta), prediction.eps_hat))
        if zeta > 0:
            terms.append((dst.sigma * math.sqrt(zeta), draws.z))
        return weighted(*terms), {}


@dataclass(frozen=True)
class Heun:
    """Second-order steps of the ODE d(x / alpha) / d(sigma / alpha) = eps: Euler steps, corrected at their ends.

    Each step takes two model calls, except the last, which takes one: 2 N - 1 calls for N levels.

    Steps from pure noise (alpha = 0) are not corrected, nor those whose sigma / alpha falls to less than a third and
    stays above 1. There eps_hat differs from its limit by c / (sigma / alpha)^2, and the correction, which gives the
    end of a step the weight of half of it, makes a larger error than none: at a ratio r the errors are as
    (r + 1 / r) / 2 - 1 to 1 - 1 / r.

    Source:
        Karras et al. 2022 (arXiv 2206.00364), Alg. 1, in x / alpha for any Gaussian path.
    """

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Batch, Carry]:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat, {}
        down = weighted((dst.alpha, prediction.x0_hat), (dst.sigma, prediction.eps_hat))
        if src.alpha == 0 or (dst.sigma > dst.alpha and src.sigma * dst.alpha > 3 * dst.sigma * src.alpha):
            return down, {}
        half = 0.5 * dst.alpha * (dst.sigma / dst.alpha - src.sigma / src.alpha)
        return down, {"eps_hat": prediction.eps_hat, "half": number(half)}

    def refine(self, x: Batch, prediction: Prediction, level: Level, carry: Carry) -> tuple[Batch, Carry]:
        if "half" not in carry:
            return x, {}
        half = float(carry["half"])
        return weighted((1, x), (half, prediction.eps_hat), (-half, carry["eps_hat"])), {}
