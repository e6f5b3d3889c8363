"""A prior for tests of code that uses this library: no weights, no download, microseconds per call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, PriorDefaults
from repaint.sampling.spacing import Spacing

__all__ = ["PixelByPixelPrior"]


@dataclass
class PixelByPixelPrior(PriorDefaults):
    """The exact denoiser of independent Gaussian pixels of mean 0 and variance 1/4, for images of any size.

    >>> import numpy as np
    >>> from repaint import RePaintPipeline
    >>> image, hole = np.full((8, 8, 3), 90, np.uint8), np.eye(8)
    >>> out = RePaintPipeline(PixelByPixelPrior())(image, hole, generator=0, output_type="np")
    >>> bool((out.images[0][hole == 0] == 90).all())  # known pixels never change
    True

    Attributes:
        channels: channels of its images.
        multiple_of: height and width of the padded images are multiples of this.
        preferred_size: see `Prior.preferred_size`.
        dtype: floating type of x.
        scheduler: diffusers scheduler or config that the levels are read from. None: DDPM's linear betas.
    """

    channels: int = 3
    multiple_of: int = 1
    preferred_size: int | None = None
    dtype: torch.dtype = torch.float32
    scheduler: Mapping[str, Any] | Any = None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the scheduler's noise levels."""
        return NoiseSchedule.from_scheduler(self.scheduler or {"beta_schedule": "linear"}, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> PixelByPixelPrior:  # noqa: ARG002
        """Return this prior. Raises `PriorError` for any condition."""
        conditions.refuse_beyond(self.serves, "a prior of independent pixels")
        return self

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Return the exact E[x0 | x] and the matching noise."""
        x0_hat = 0.25 * level.alpha / (0.25 * level.alpha**2 + level.sigma**2) * x
        return Prediction(x0_hat, (x - level.alpha * x0_hat) / level.sigma)

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Bool[Tensor, "b 1 h w"]]:
        """Return the input unchanged."""
        return image, known

    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the input unchanged."""
        return x

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PixelByPixelPrior:  # noqa: ARG002
        """Return this prior, which always computes on the CPU in its own dtype."""
        return self
