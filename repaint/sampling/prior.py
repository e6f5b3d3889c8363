"""The one protocol between models and the sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import shown
from repaint.errors import InputError, PriorError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule, Spacing
from repaint.sampling.prediction import Prediction

__all__ = ["Conditions", "Prior", "each_of"]


@dataclass(frozen=True)
class Conditions:
    """What a caller asks of a conditional prior; None is nothing asked.

    Attributes:
        class_labels: a class number or name for all images, or one for each.
        prompt, negative_prompt: a text for all images, or one for each.
        prompt_embeds, negative_prompt_embeds: (B, tokens, width) ready-made embeddings instead of texts.
        pooled_prompt_embeds, negative_pooled_prompt_embeds: (B, width), for models that want them too.
        guidance_scale: weight of classifier-free guidance (arXiv 2207.12598): 1 is none, 0 ignores the condition.
        guidance_rescale: share in [0, 1] of the guided prediction's std that is put back to the conditional one's.
        guidance_interval: (low, high) of sigma / alpha, between which guidance acts; elsewhere the condition alone is
            asked, at half the cost (Kynkäänniemi et al. 2024, arXiv 2404.07724).
        size: (height, width) of the padded images in pixels; told by the pipeline, not asked by a caller.
    """

    class_labels: int | str | Sequence[int | str] | None = None
    prompt: str | Sequence[str] | None = None
    negative_prompt: str | Sequence[str] | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    size: tuple[int, int] | None = None

    def refuse_beyond(self, served: Sequence[str], prior: str) -> None:
        """Refuse what a prior does not serve.

        Args:
            served: names of the attributes that it serves.
            prior: what the error calls it.
        Raises:
            PriorError: another attribute was asked for.
        """
        asked = [entry.name for entry in fields(self) if getattr(self, entry.name) is not None]
        for name in asked:
            if name not in (*served, "size"):
                takes = ", ".join(served) or "no conditions"
                raise PriorError(f"{name} for {prior}: it takes {takes}. Leave {name} out.")

    def guides_at(self, level: Level) -> bool:
        """Whether a level lies in the guidance interval.

        Raises:
            PriorError: an interval that is none.
        """
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        if not 0 <= low < high:
            raise PriorError(
                f"guidance_interval ({low}, {high}): it goes from a sigma / alpha of 0 or more up to a larger one, "
                "such as (0.3, 5). Leave it out to guide everywhere."
            )
        return low <= math.exp(-level.log_snr) <= high if level.alpha > 0 else math.isinf(high)

    def split(self, count: int) -> list[Conditions]:
        """What is asked for each of `count` images; what was given once serves them all.

        Raises:
            InputError: a list of another length.
        """
        each = {
            name: each_of(name, getattr(self, name), count) for name in PER_IMAGE if getattr(self, name) is not None
        }
        return [replace(self, **{name: values[i] for name, values in each.items()}) for i in range(count)]

    @classmethod
    def join(cls, each: Sequence[Conditions], size: tuple[int, int] | None) -> Conditions:
        """The inverse of `split`, for those images of one padded size that share a batch."""
        joined: dict[str, Any] = {}
        for name in PER_IMAGE:
            values = [getattr(one, name) for one in each]
            if values[0] is not None:
                joined[name] = torch.stack(values) if isinstance(values[0], Tensor) else values
        return replace(each[0], **joined, size=size)


PER_IMAGE = (
    "class_labels",
    "prompt",
    "negative_prompt",
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)


def each_of(name: str, value: Any, count: int) -> list[Any]:
    """One value per image from one for all or one for each.

    Raises:
        InputError: a list of another length.
    """
    if isinstance(value, (Integral, str)):
        return [value] * count
    try:
        values = list(value)
    except TypeError as error:
        raise InputError(f"{name} {shown(value)}: give one for all images, or a list with one for each.") from error
    if isinstance(value, Tensor) and len(values) == 1:
        return values * count
    if len(values) != count:
        what = f"{name.replace('_', ' ')}{'s' if name.endswith('prompt') else ''}"
        raise InputError(f"{len(values)} {what} for {count} images: give one for all, or one for each.")
    return values


@runtime_checkable
class Prior(Protocol):
    """A diffusion model over samples x of some space, and the way between images and that space.

    A prior may also have `preferred_size`, the side in pixels of the images that it was trained on: larger images are
    then cropped around their holes.

    Attributes:
        channels: channels of the images that `encode` takes.
        multiple_of: height and width of those images must be multiples of this; the pipeline pads.
        device: where `denoise` wants x.
        dtype: the floating type of x, float32 or float64; a model in half precision casts inside.
    """

    @property
    def channels(self) -> int: ...

    @property
    def multiple_of(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """The grid of `steps` noise levels that `denoise` understands."""
        ...

    def conditioned(self, count: int, conditions: Conditions) -> Prior:
        """This prior for a batch of `count` images under these conditions; the model is shared, not copied.

        Raises:
            PriorError: a condition that this prior does not take, or lacks.
        """
        ...

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """What the model makes of x at a level of its own schedule. Draws no random numbers."""
        ...

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
        """(x0, known) in the model's space from an image in [-1, 1]; nothing may depend on unknown pixels."""
        ...

    def decode(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b c h w"]:
        """An image in [-1, 1] from a clean sample."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Prior:
        """Move the model; returns this prior."""
        ...
