"""How a level is left downwards (solvers), and how a sample is improved while staying on one (the corrector).

A solver's step is a function of (x, prediction, src, dst, z); all coefficients come from (alpha, sigma) in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.levels import Level, posterior
from repaint.sampling.prediction import Prediction, weighted

__all__ = ["DDIM", "DDPM", "History", "Multistep", "Refresh", "Solver"]

Batch = Float[Tensor, "b *shape"]
History = tuple[Batch, Level]  # x0_hat of the step before, and the level that it was predicted at


@runtime_checkable
class Solver(Protocol):
    """A rule for the step from `src` down to `dst`. Write your own with these two members.

    Attributes:
        uses_noise: the rule reads z.
        uses_previous_noise: optional; z is the sum of two draws over the root of 2, each used in two steps.
    """

    uses_noise: bool

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, z: Batch, history: History | None
    ) -> Batch:
        """x at `dst`.

        Args:
            x: (B, ...) the sample at `src`.
            prediction: the model's at `src`.
            z: (B, ...) standard normal noise, to be read here and not kept: its memory is used again afterwards.
            history: the step before; None at the start and after every renoise, where it would be invalid.
        """
        ...


@dataclass(frozen=True)
class DDPM:
    """Ancestral sampling: the posterior mean plus noise.

    Attributes:
        variance: "small" is the posterior's ("beta tilde"; loses variance over few steps), "large" the forward
            step's ("beta"), "learned" what the model predicts between the two.
    Source:
        Ho et al. 2020 (arXiv 2006.11239), eq. 6-7; Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 15. The two bounds
        are those of the grid in use, so skipped steps re-scale a learned variance.
    """

    variance: Literal["small", "large", "learned"] = "small"
    uses_noise = True

    def __post_init__(self) -> None:
        if self.variance not in ("small", "large", "learned"):
            raise InputError(f"ddpm({self.variance}): the variance is small, large or learned. Choose one.")

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, z: Batch, history: History | None
    ) -> Batch:
        q = posterior(src, dst)
        mean = (q.x0_gain, prediction.x0_hat), (q.x_gain, x)
        if dst.sigma == 0:
            return weighted(*mean)  # a clean sample has no noise, whatever the variance choice
        if self.variance != "learned":
            return weighted(*mean, (q.small_std if self.variance == "small" else q.large_std, z))
        if prediction.variance is None:
            raise InputError(
                "ddpm(learned) with a model that predicts no variance: its UNet has as many output as input channels. "
                "Use ddpm(small) or ddpm(large)."
            )
        v = prediction.variance
        std = torch.exp(v * math.log(q.large_std) + (1 - v) * math.log(q.small_std))
        return weighted(*mean).addcmul_(std, z)


@dataclass(frozen=True)
class DDIM:
    """x_dst = alpha x0_hat + sqrt(sigma^2 - s^2) eps_hat + s z, with s = eta times the posterior's std.

    Attributes:
        eta: 0 is deterministic, 1 is DDPM with the small variance.
    Source:
        Song et al. 2021 (arXiv 2010.02502), eq. 12 and 16.
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InputError(f"ddim({self.eta}): eta lies in [0, 1]. Choose one there.")

    @property
    def uses_noise(self) -> bool:
        return self.eta > 0

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, z: Batch, history: History | None
    ) -> Batch:
        s = self.eta * posterior(src, dst).small_std
        rest = math.sqrt(max(0.0, dst.sigma**2 - s**2))  # at eta = 1 rounding may leave less than nothing
        if rest == 0:
            return weighted((dst.alpha, prediction.x0_hat), (s, z))
        return weighted((dst.alpha, prediction.x0_hat), (rest, prediction.eps_hat), (s, z))


@dataclass(frozen=True)
class Multistep:
    """DPM-Solver++(2M): second order from the x0_hat of the step before; first order where there is none.

    Source:
        Lu et al. 2022 (arXiv 2211.01095), Alg. 2.
    """

    uses_noise = False

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, z: Batch, history: History | None
    ) -> Batch:
        if dst.sigma == 0:
            return dst.alpha * prediction.x0_hat
        x0_hat = prediction.x0_hat
        h = dst.log_snr - src.log_snr
        if history is not None and math.isfinite(history[1].log_snr):
            before, level = history
            r = (src.log_snr - level.log_snr) / h
            x0_hat = x0_hat + (x0_hat - before) / (2 * r)
        # At alpha = 0 h is infinite and the step is exactly DDIM's: x carries no signal to extrapolate from.
        return weighted((dst.sigma / src.sigma, x), (-dst.alpha * math.expm1(-h), x0_hat))


@dataclass(frozen=True)
class Refresh:
    """Keep the prediction of x0 and renew its noise: x_dst = alpha x0_hat + sigma z, with all of the noise new.

    What falls into the hole is then settled by the predictions alone, and has as many chances to follow the known part
    as there are steps. The plain form loses variance: in a direction that the level resolves, half of it. Either of
    two things gives it back, at no model call.

    Attributes:
        extrapolate: go on along the change of x0_hat since the step before, by this share of it (scaled by the two
            steps' lengths in log-SNR). 1/2 keeps the variance of every direction that the level resolves.
        noise: "fresh" is new at each step; "averaged" is the sum of two draws over the root of 2, each used in two
            steps: the Leimkuhler-Matthews step of Langevin dynamics at h = 1, which keeps the variance of every
            Gaussian; extrapolate nothing then.
    Source:
        At extrapolate = 0 the multistep sampler of consistency models (Song et al. 2023, arXiv 2303.01469, Alg. 1) with
        a denoiser in their place. Leimkuhler & Matthews 2013 (Appl. Math. Res. Express 2013(1), 34-56), eq. 9.
    """

    extrapolate: float = 0.5
    noise: Literal["fresh", "averaged"] = "fresh"
    uses_noise = True

    def __post_init__(self) -> None:
        if not 0 <= self.extrapolate <= 1:
            raise InputError(f"refresh(extrapolate={self.extrapolate}): a share in [0, 1]. Try 0.5.")
        if self.noise not in ("fresh", "averaged"):
            raise InputError(f"refresh(noise={self.noise}): fresh or averaged. Choose one.")

    @property
    def uses_previous_noise(self) -> bool:
        """Whether z is to be the sum of the draw of the step before and a new one, over the root of 2."""
        return self.noise == "averaged"

    def step(
        self, x: Batch, prediction: Prediction, src: Level, dst: Level, z: Batch, history: History | None
    ) -> Batch:
        x0_hat = prediction.x0_hat
        if dst.sigma == 0:
            return dst.alpha * x0_hat
        if self.extrapolate > 0 and history is not None and math.isfinite(history[1].log_snr):
            before, level = history
            share = self.extrapolate * (dst.log_snr - src.log_snr) / (src.log_snr - level.log_snr)
            x0_hat = x0_hat + share * (x0_hat - before)
        return weighted((dst.alpha, x0_hat), (dst.sigma, z))
