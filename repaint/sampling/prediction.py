"""Conversion of a model's output to the pair the sampler uses: (x0_hat, eps_hat), with x = alpha x0 + sigma eps.

The four parametrisations (alpha and sigma of any Gaussian path):

    epsilon       e         x0 = (x - sigma e) / alpha
    v_prediction  v = alpha eps - sigma x0
                            x0 = (alpha x - sigma v) / (alpha^2 + sigma^2)     (the divisor is 1 for VP)
    sample        x0        eps = (x - alpha x0) / sigma
    velocity      u = eps - x0
                            x0 = (x - sigma u) / (alpha + sigma)               (the divisor is 1 for flow)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import nearest
from repaint.errors import NoiseLevelError, PriorError
from repaint.sampling.levels import Level
from repaint.sampling.noise import config_number

__all__ = ["PARAMETRISATIONS", "Clip", "Prediction", "from_output", "split_variance", "weighted"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class Prediction:
    """A denoiser's prediction for x at a level.

    Attributes:
        x0_hat: (B, ...) the expected clean sample.
        eps_hat: (B, ...) the matching noise: x = alpha x0_hat + sigma eps_hat always holds.
        variance: (B, ...) in [0, 1] for models with learned variance: the position between the posterior variance (0)
            and the forward variance (1), in the log domain. None for other models.
        unguided: (B, ...) eps_hat before classifier-free guidance extrapolated it. None without guidance.
    """

    x0_hat: Batch
    eps_hat: Batch
    variance: Batch | None = None
    unguided: Batch | None = None

    @property
    def known_eps(self) -> Batch:
        """The noise to use for the known part: the unguided one, since guidance exaggerates eps_hat."""
        return self.eps_hat if self.unguided is None else self.unguided


class _FromX0(Prediction):
    """A prediction that computes eps_hat on first use; most steps with fixed noise never use it."""

    def __init__(self, x0_hat: Batch, x: Batch, level: Level, variance: Batch | None, unguided: Batch | None) -> None:
        vars(self).update(x0_hat=x0_hat, variance=variance, unguided=unguided, _x=x, _level=level)

    @cached_property
    def eps_hat(self) -> Batch:
        x, level = vars(self)["_x"], vars(self)["_level"]
        eps_hat: Batch = torch.sub(x, self.x0_hat, alpha=level.alpha).div_(level.sigma)
        return eps_hat


@dataclass(frozen=True)
class Clip:
    """Clipping of x0_hat to the range of the data. eps_hat is then recomputed, so that both still match x.

    Attributes:
        limit: static clipping to [-limit, limit].
        quantile: dynamic thresholding instead (Saharia et al. 2022, arXiv 2205.11487, Sec. 2.3): each image is
            clamped to s, this quantile of |x0_hat|, and divided by s, with s in [1, max_value]; None: static.
        max_value: upper bound of s.

    >>> Clip(limit=1.0)(torch.tensor([[-3.0, 0.5]])).tolist()
    [[-1.0, 0.5]]
    """

    limit: float = 1.0
    quantile: float | None = None
    max_value: float = 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Clip | None:
        """Read the clipping of a scheduler's config (thresholding, clip_sample, clip_denoised); None: no clipping.

        Raises:
            NoiseLevelError: a range limit that is not a number or is out of range.
        """
        if config.get("thresholding"):
            return cls(
                quantile=config_number(config, "dynamic_thresholding_ratio", 0.995, 0, 1),
                max_value=config_number(config, "sample_max_value", 1.0, 0),
            )
        if config.get("clip_sample") and "snr_shift_scale" not in config:  # which CogVideoX schedulers ignore
            return cls(limit=config_number(config, "clip_sample_range", 1.0, 1e-6))
        return cls() if config.get("clip_denoised") else None  # the key of consistency models

    def __call__(self, x0_hat: Batch) -> Batch:
        largest = torch.finfo(x0_hat.dtype).max  # a limit beyond it is none, and torch refuses it
        if self.quantile is None:
            limit = min(self.limit, largest)
            return x0_hat.clamp(-limit, limit)
        most = min(max(1.0, self.max_value), largest)
        s = torch.quantile(x0_hat.abs().flatten(1), self.quantile, dim=1).clamp(1.0, most)
        s = s.reshape(-1, *(1,) * (x0_hat.ndim - 1))
        return x0_hat.clamp(-s, s) / s


def _x0_from_epsilon(e: Batch, x: Batch, level: Level) -> Batch:
    if level.alpha == 0:
        raise NoiseLevelError(
            "alpha must be above 0 for epsilon predictions (zero terminal SNR leaves x0 undetermined). "
            "Use a scheduler without rescale_betas_zero_snr, or a model that predicts v or x0."
        )
    return torch.sub(x, e, alpha=level.sigma).div_(level.alpha)


def _x0_from_v(v: Batch, x: Batch, level: Level) -> Batch:
    return weighted((level.alpha, x), (-level.sigma, v)).div_(level.alpha**2 + level.sigma**2)


def _x0_from_sample(x0: Batch, x: Batch, level: Level) -> Batch:
    return x0


def _x0_from_velocity(u: Batch, x: Batch, level: Level) -> Batch:
    return torch.sub(x, u, alpha=level.sigma).div_(level.alpha + level.sigma)


# The keys are the values of `prediction_type` in Hugging Face scheduler configs.
PARAMETRISATIONS: dict[str, Callable[[Batch, Batch, Level], Batch]] = {
    "epsilon": _x0_from_epsilon,
    "v_prediction": _x0_from_v,
    "sample": _x0_from_sample,
    "flow_prediction": _x0_from_velocity,
}


def from_output(
    kind: str,
    output: Batch,
    x: Batch,
    level: Level,
    *,
    clip: Clip | None = None,
    variance: Batch | None = None,
    unguided: Batch | None = None,
) -> Prediction:
    """Convert a model's output to a Prediction.

    Args:
        kind: the model's `prediction_type`, a key of PARAMETRISATIONS.
        output: (B, ...) the model's output, without variance channels.
        x: (B, ...) the noisy sample that the model received.
        level: noise level of x; sigma > 0.
        clip: range limit of x0_hat, or None.
        variance: stored in the Prediction.
        unguided: (B, ...) the conditional output, if `output` is the result of classifier-free guidance.
    Raises:
        PriorError: an unknown kind.
        NoiseLevelError: an epsilon prediction at alpha = 0.

    >>> level, x = Level(alpha=0.6, sigma=0.8, t=500), torch.tensor([[1.0]])
    >>> prediction = from_output("sample", torch.tensor([[1.0]]), x, level)
    >>> round(prediction.eps_hat.item(), 4)
    0.5
    """
    if kind not in PARAMETRISATIONS:
        raise PriorError(
            f"prediction_type={kind!r} must be one of {', '.join(PARAMETRISATIONS)}.{nearest(kind, PARAMETRISATIONS)}"
        )
    plain = None if unguided is None else from_output(kind, unguided, x, level, clip=clip).eps_hat
    x0_hat = PARAMETRISATIONS[kind](output, x, level)
    if clip is None and kind == "epsilon":
        # keep eps as predicted: a round trip through x0 loses digits when sigma is small
        return Prediction(x0_hat, output, variance, plain)
    if clip is not None:
        x0_hat = clip(x0_hat)
    return _FromX0(x0_hat, x, level, variance, plain)


def split_variance(output: Float[Tensor, "b c2 *space"], kind: str | None = None) -> tuple[Tensor, Tensor | None]:
    """Split a learned-variance output of 2 C channels into (prediction, position between the variances).

    Args:
        output: of the model.
        kind: the `variance_type` of the model's scheduler. For "learned", the second half is the variance itself and
            not such a position: None is returned in its place.

    The second half v is nominally in [-1, 1]; (v + 1) / 2 interpolates log variances. As in the source, values outside
    [-1, 1] are kept.

    Source:
        Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 15.
    """
    prediction, v = output.chunk(2, dim=1)
    return prediction, None if kind == "learned" else (v + 1) / 2


def weighted(*terms: tuple[float, Batch]) -> Batch:
    """Sum gain * tensor into one new tensor, without temporaries; terms with gain 0 are skipped.

    >>> weighted((2.0, torch.tensor([1.0])), (-0.5, torch.tensor([4.0]))).tolist()
    [0.0]
    """
    (gain, tensor), *rest = [term for term in terms if term[0] != 0] or terms[:1]
    total = gain * tensor
    for gain, tensor in rest:
        total.add_(tensor, alpha=gain)
    return total
