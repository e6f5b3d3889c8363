"""Noise levels, and the Gaussian algebra between them.

Every model family follows one noise path, x_t = alpha_t * x0 + sigma_t * eps with eps ~ N(0, I):

| family | alpha      | sigma        | models                                        |
|--------|------------|--------------|-----------------------------------------------|
| VP     | sqrt(abar) | sqrt(1-abar) | DDPM, guided-diffusion, Stable Diffusion, LDM |
| VE     | 1          | sigma        | score-SDE VE, EDM, consistency models         |
| flow   | 1 - s      | s            | rectified flow: SD 3, Flux                    |

The sampler uses only (alpha, sigma), in float64, so one implementation serves all three families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from repaint.errors import NoiseLevelError

__all__ = ["CLEAN", "Level", "Posterior", "posterior", "renoise_scales"]


@dataclass(frozen=True)
class Level:
    """One noise level of the sampling grid.

    Attributes:
        alpha: gain of x0, >= 0, unitless.
        sigma: standard deviation of the noise, >= 0.
        t: the model's own time variable, used only by priors (VP: timestep index, VE: sigma, flow: 1000 s).
    """

    alpha: float
    sigma: float
    t: float

    @property
    def log_snr(self) -> float:
        """lambda = log(alpha / sigma), half the log signal-to-noise ratio: inf when clean, -inf for pure noise."""
        if self.sigma == 0:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha > 0 else -math.inf


CLEAN = Level(alpha=1.0, sigma=0.0, t=0.0)


def renoise_scales(src: Level, dst: Level) -> tuple[float, float]:
    """Compute the gain and noise std that carry x from `src` up to the noisier `dst` in one draw.

    x_dst = gain * x_src + std * eps,  gain = alpha_dst / alpha_src,  std^2 = sigma_dst^2 - gain^2 sigma_src^2.

    Args:
        src: level of x now.
        dst: target level, at least as noisy as `src`.
    Returns:
        (gain, std), float64 scalars.
    Raises:
        NoiseLevelError: `dst` is cleaner than `src`, or `src` is pure noise (alpha = 0) and `dst` differs from it.
    Source:
        Lugmayr et al. 2022 (arXiv 2201.09865), Alg. 1 line 10, for any Gaussian path.

    >>> renoise_scales(Level(alpha=1.0, sigma=3.0, t=0), Level(alpha=1.0, sigma=5.0, t=1))
    (1.0, 4.0)
    """
    if src.alpha == 0:
        if dst.alpha == 0 and dst.sigma == src.sigma:
            return 1.0, 0.0
        raise NoiseLevelError(f"Cannot renoise from alpha=0 to {dst}: pure noise contains no signal.")
    gain = dst.alpha / src.alpha
    variance = dst.sigma**2 - (gain * src.sigma) ** 2
    if variance < -1e-12 * dst.sigma**2 or gain > 1 + 1e-12:
        raise NoiseLevelError(f"Cannot renoise from {src} to {dst}: the target must be at least as noisy.")
    return gain, math.sqrt(max(variance, 0.0))


@dataclass(frozen=True)
class Posterior:
    """q(x_dst | x_src, x0) = N(x0_gain * x0 + x_gain * x_src, small_std^2), for a step down from src to dst.

    Attributes:
        x0_gain, x_gain: coefficients of the mean.
        small_std: std of the exact posterior ("beta tilde").
        large_std: std of the forward step from dst to src ("beta"). For VP it is the exact std for data of unit
            variance, an upper bound; for VE it is larger than that, and for flow it can be smaller.
    """

    x0_gain: float
    x_gain: float
    small_std: float
    large_std: float


def posterior(src: Level, dst: Level) -> Posterior:
    """Compute the coefficients of the reverse step from `src` down to the cleaner `dst`.

    Raises:
        NoiseLevelError: `dst` is noisier than `src`.
    Source:
        Ho et al. 2020 (arXiv 2006.11239), eq. 6-7, written in (alpha, sigma) so that it holds for VP, VE and flow.

    >>> posterior(Level(alpha=1.0, sigma=2.0, t=1), Level(alpha=1.0, sigma=1.0, t=0)).x_gain
    0.25
    """
    if dst.sigma == 0:
        # The exact limit: x at a clean target is x0 itself.
        return Posterior(x0_gain=dst.alpha, x_gain=0.0, small_std=0.0, large_std=src.sigma)
    gain, std = renoise_scales(dst, src)
    shrink = (dst.sigma / src.sigma) ** 2
    return Posterior(
        x0_gain=dst.alpha * (std / src.sigma) ** 2,
        x_gain=gain * shrink,
        small_std=std * dst.sigma / src.sigma,
        large_std=std,
    )
