"""A base for priors that hold a whole diffusers pipeline: where it is, and how it moves."""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from repaint.sampling.prior import PriorDefaults

__all__ = ["PipelinePrior"]

P = TypeVar("P", bound="PipelinePrior")


class PipelinePrior(PriorDefaults):
    """A prior whose components stay in the pipeline that was wrapped, and are shared with it.

    Attributes:
        pipeline: the diffusers pipeline.
    """

    pipeline: Any

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the sampler's x. The pipeline computes in its own."""
        return torch.float32

    def to(self: P, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> P:
        """Move the whole pipeline in place. Returns this prior."""
        if device is not None:
            self.pipeline.to(device)
        if dtype is not None:
            self.pipeline.to(dtype)
        return self
