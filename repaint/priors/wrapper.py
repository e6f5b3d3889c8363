"""A base for priors around another prior: everything that `Prior` declares is forwarded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.spacing import Spacing

__all__ = ["PriorWrapper"]

W = TypeVar("W", bound="PriorWrapper")


class PriorWrapper:
    """Forward every attribute and method of `Prior` to another prior. Subclasses override what differs.

    Args:
        prior: the wrapped prior.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    @property
    def channels(self) -> int:
        return self.prior.channels

    @property
    def multiple_of(self) -> int:
        return self.prior.multiple_of

    @property
    def device(self) -> torch.device:
        return self.prior.device

    @property
    def dtype(self) -> torch.dtype:
        return self.prior.dtype

    @property
    def preferred_size(self) -> int | None:
        return self.prior.preferred_size

    @property
    def latent_factor(self) -> int:
        return self.prior.latent_factor

    @property
    def serves(self) -> tuple[str, ...]:
        return self.prior.serves

    @property
    def aligned(self) -> tuple[str, ...]:
        return self.prior.aligned

    @property
    def network(self) -> nn.Module | None:
        return self.prior.network

    @property
    def autoencoder(self) -> nn.Module | None:
        return self.prior.autoencoder

    @property
    def pipeline(self) -> Any:
        return self.prior.pipeline

    @property
    def class_names(self) -> Mapping[int, str]:
        return self.prior.class_names

    @property
    def num_classes(self) -> int:
        return self.prior.num_classes

    @property
    def default_schedule(self) -> str:
        return self.prior.default_schedule

    @property
    def smallest_size(self) -> int | None:
        return self.prior.smallest_size

    @property
    def largest_hole(self) -> int | None:
        return self.prior.largest_hole

    @property
    def clip(self) -> Clip | None:
        return self.prior.clip

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the wrapped prior's levels; see `Prior.schedule`."""
        return self.prior.schedule(steps, spacing)

    def conditioned(self: W, count: int, conditions: Conditions) -> W:
        """Return this wrapper around the conditioned prior; see `Prior.conditioned`."""
        bound = copy.copy(self)
        bound.prior = self.prior.conditioned(count, conditions)
        return bound

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Return the wrapped prior's prediction; see `Prior.denoise`."""
        return self.prior.denoise(x, level)

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
        """Encode with the wrapped prior; see `Prior.encode`."""
        return self.prior.encode(image, known)

    def decode(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b c h w"]:
        """Decode with the wrapped prior; see `Prior.decode`."""
        return self.prior.decode(x)

    def to(self: W, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> W:
        """Move the model in place. Returns this wrapper."""
        self.prior.to(device, dtype)
        return self

    def release(self) -> None:
        """Release the wrapped prior; see `Prior.release`."""
        self.prior.release()
