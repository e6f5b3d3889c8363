"""A base for priors that hold a whole diffusers pipeline: its codec, device and type, and moving it."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.distilled import usual_schedule
from repaint.priors.foreign_errors import explained
from repaint.sampling.prior import PriorDefaults

__all__ = ["SPACES", "PipelinePrior"]

SPACES = ("vae", "vqvae", "movq")  # names of a pipeline's autoencoder
P = TypeVar("P", bound="PipelinePrior")


class PipelinePrior(PriorDefaults):
    """A prior whose components stay in the pipeline that was wrapped, and are shared with it.

    Attributes:
        pipeline: the diffusers pipeline.
        codec: maps images to the samples of its network, and back; see `repaint.priors.codecs`.
    """

    pipeline: Any
    codec: Any
    _declared_schedule: str | None = None

    @property
    def default_schedule(self) -> str:
        """The preset that was set, else that of `usual_schedule`."""
        return self._declared_schedule or usual_schedule(self.pipeline.scheduler)

    @default_schedule.setter
    def default_schedule(self, name: str) -> None:
        self._declared_schedule = name

    @property
    def channels(self) -> int:
        return int(self.codec.channels)

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the sampler's x. The pipeline computes in its own."""
        return torch.float32

    def check_parts(self) -> None:
        """Check that the pipeline has the autoencoder that was wrapped, and a network without a memory.

        Raises:
            PriorError: another autoencoder, or a cache.
        """
        parts = [getattr(self.pipeline, name, None) for name in SPACES]
        if self.autoencoder is not None and not any(part is self.autoencoder for part in parts):
            raise PriorError("The autoencoder was replaced after wrapping. Wrap the pipeline again with from_pipe.")
        if getattr(self.network, "is_cache_enabled", False):
            raise PriorError(
                f"The {type(self.network).__name__} has a cache, with which predictions depend on those before them. "
                "Call disable_cache() on it."
            )

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """Return (samples, known cells); see `LatentCodec.encode`."""
        encoded: tuple[Tensor, Tensor] = self.codec.encode(image, known)
        return encoded

    def decode(self, x: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """Return images; see `LatentCodec.decode`. Afterwards the parts of an offloaded pipeline go back to the CPU."""
        image: Tensor = self.codec.decode(x)
        self.pipeline.maybe_free_model_hooks()
        return image

    def to(self: P, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> P:
        """Move the whole pipeline in place. Returns this prior."""
        with explained(type(self.pipeline).__name__):  # quantised weights may have to stay where and as they are
            if device is not None:
                self.pipeline.to(device)
            if dtype is not None:
                self.pipeline.to(dtype)
        return self
