"""The protocol between models and the sampler, and the conditions that a model may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from repaint.checks import is_number, shown
from repaint.errors import InputError, PriorError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction
from repaint.sampling.spacing import Spacing

__all__ = ["NAMES", "Conditions", "Prior", "PriorDefaults", "each_of"]


@dataclass(frozen=True)
class Conditions:
    """The conditions of one batch, for a conditional prior. None: not given.

    >>> Conditions(prompt=["a cat", "a dog"], guidance_scale=3.0).split(2)[1].prompt
    'a dog'

    Attributes:
        class_labels: a class number or name for all images, or one for each; numbers may be a tensor.
        prompt, negative_prompt: a text for all images, or one for each.
        prompt_embeds, negative_prompt_embeds: (B, tokens, width) embeddings in place of texts, or for some
            models a list with (tokens, width) for each image, or with a list of them (a text in parts, around images).
        pooled_prompt_embeds, negative_pooled_prompt_embeds: (B, width), for models that also take them.
        guidance_scale: weight of classifier-free guidance (arXiv 2207.12598), at least 0: 1 disables guidance, 0
            ignores the condition.
        guidance_rescale: share in [0, 1] by which the std of the guided prediction moves towards that of the
            conditional one (arXiv 2305.08891).
        guidance_interval: (low, high) of sigma / alpha, 0 <= low < high, in which guidance acts. Elsewhere only the
            conditional prediction is computed, at half the cost (Kynkäänniemi et al. 2024, arXiv 2404.07724).
        arguments: further arguments of a driven diffusers pipeline, by their names in `Prior.serves`.
        size: (height, width) of the padded images in pixels. The pipeline sets it.
        calls: predictions that each image takes, for models that depend on the progress. The pipeline sets it.
        guided: False for distilled models, whose default is then no classifier-free guidance. The pipeline sets it.
        in_order: whether each prediction is the next one of a walk from its start; False in windows and for a walk that
            is resumed. The pipeline sets it.
    Raises:
        InputError: a guidance_scale, guidance_rescale or guidance_interval out of range.
    """

    class_labels: int | str | Sequence[int | str] | Tensor | None = None
    prompt: str | Sequence[str] | None = None
    negative_prompt: str | Sequence[str] | None = None
    prompt_embeds: Tensor | Sequence[Tensor | Sequence[Tensor]] | None = None
    negative_prompt_embeds: Tensor | Sequence[Tensor | Sequence[Tensor]] | None = None
    pooled_prompt_embeds: Tensor | None = None
    negative_pooled_prompt_embeds: Tensor | None = None
    guidance_scale: float | None = None
    guidance_rescale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    calls: int | None = None
    guided: bool = True
    in_order: bool = True

    def __post_init__(self) -> None:
        scale, rescale, interval = self.guidance_scale, self.guidance_rescale, self.guidance_interval
        if scale is not None and not (is_number(scale) and 0 <= scale < math.inf):
            raise InputError(f"guidance_scale={shown(scale)} must be finite and at least 0 (1 disables guidance).")
        if rescale is not None and not (is_number(rescale) and 0 <= rescale <= 1):
            raise InputError(f"guidance_rescale={shown(rescale)} must be from 0 to 1 (0 disables rescaling).")
        if interval is not None and not _is_interval(interval):
            raise InputError(
                f"guidance_interval={shown(interval)} must be two values of sigma / alpha with 0 <= low < high "
                "(such as (0.3, 5); None guides at every level)."
            )

    def given(self) -> dict[str, Any]:
        """Return the conditions that were given, those in `arguments` among them, by name."""
        named = {name: getattr(self, name) for name in NAMES}
        return {name: value for name, value in named.items() if value is not None} | dict(self.arguments)

    def refuse_beyond(self, served: Sequence[str], prior: str) -> None:
        """Raise an error for a condition that a prior does not take.

        Args:
            served: names of the conditions that it takes, such as its `Prior.serves`.
            prior: what the error calls the prior.
        Raises:
            PriorError: another condition was given.
        """
        for name in self.given():
            if name not in served:
                takes = f"only {', '.join(served)}" if served else "no conditions"
                cure = " Use a text-to-image model." if "prompt" in name and "prompt" not in served else ""
                raise PriorError(f"{name} must be left out: {prior} takes {takes}.{cure}")

    def guides_at(self, level: Level) -> bool:
        """Return whether a level lies in the guidance interval."""
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low <= math.exp(-level.log_snr) <= high if level.alpha > 0 else math.isinf(high)

    def split(self, count: int) -> list[Conditions]:
        """Return the conditions of each of `count` images. A single value applies to all of them.

        Raises:
            InputError: a list of another length.
        """
        each = {
            name: each_of(name, getattr(self, name), count) for name in PER_IMAGE if getattr(self, name) is not None
        }
        rows = {name: argument_rows(name, value, count) for name, value in self.arguments.items()}
        return [
            replace(
                self,
                **{name: values[i] for name, values in each.items()},
                arguments={name: values[i] for name, values in rows.items()},
            )
            for i in range(count)
        ]

    @classmethod
    def join(cls, each: Sequence[Conditions], size: tuple[int, int] | None, calls: int | None = None) -> Conditions:
        """Return the conditions of a batch from those of its images. The inverse of `split`.

        Args:
            each: one entry per image.
            size: (height, width) of the padded images in pixels, the same for all.
            calls: predictions that each image takes; None: unknown.
        """
        joined: dict[str, Any] = {}
        for name in PER_IMAGE:
            values = [getattr(one, name) for one in each]
            if values[0] is not None:
                joined[name] = _stacked(values)
        arguments = {name: joined_argument(name, [one.arguments[name] for one in each]) for name in each[0].arguments}
        return replace(each[0], **joined, arguments=arguments, size=size, calls=calls or each[0].calls)


def _is_interval(interval: Any) -> bool:
    """Return whether a value is two numbers (low, high) with 0 <= low < high."""
    ends = list(interval) if isinstance(interval, Sequence) else []
    return len(ends) == 2 and all(map(is_number, ends)) and 0 <= ends[0] < ends[1]


OURS = ("arguments", "size", "calls", "guided", "in_order")
NAMES = tuple(entry.name for entry in fields(Conditions) if entry.name not in OURS)
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
    """Return one value per image, from one value for all or a list with one for each.

    >>> each_of("prompt", "a cat", 2)
    ['a cat', 'a cat']

    Args:
        name: the argument, for the error.
        value: one value, or a list or tensor of `count`.
        count: number of images.
    Raises:
        InputError: neither one value nor a list, or a list of another length.
    """
    if isinstance(value, Tensor) and value.ndim <= 1 and value.dtype in INTEGERS:
        numbers = value.tolist()
        value = numbers[0] if value.shape == (1,) else numbers
    if isinstance(value, (Integral, str)):
        return [value] * count
    try:
        values = list(value)
    except TypeError as error:
        raise InputError(f"{name}={shown(value)} must be one value for all images or a list with one for each.") from (
            error
        )
    if isinstance(value, Tensor) and len(values) == 1:
        return values * count
    if len(values) != count:
        raise InputError(f"{name} has {len(values)} values for {count} images. Pass one for all, or one for each.")
    return values


def argument_rows(name: str, value: Any, count: int) -> list[Any]:
    """Return the value of a pipeline's argument for each image.

    Texts (names with "prompt") may be lists with one for each image, and embeddings and their masks have one row for
    all images or for each. In a batch, a list of reference images has one entry for each image, which may itself be a
    list of several; so does an array or tensor (B, ...). Anything else applies to all.

    Raises:
        InputError: a list of texts or images, or embeddings, of another number.
    """
    if name == REFERENCE and isinstance(value, (np.ndarray, Tensor)) and value.ndim == 4:
        rows = [value[i : i + 1] for i in range(len(value))]
        return rows * count if len(rows) == 1 else each_of(name, rows, count)
    if name == REFERENCE and isinstance(value, list) and count > 1:
        return each_of(name, value, count)
    if isinstance(value, Tensor) and name.endswith(ROWS):
        return each_of(name, value, count)
    if "prompt" in name and isinstance(value, (str, list, tuple)) and all(isinstance(text, str) for text in value):
        return each_of(name, value, count)
    return [value] * count


def joined_argument(name: str, values: Sequence[Any]) -> Any:
    """Return the value of a pipeline's argument for a batch. The inverse of `argument_rows`."""
    if isinstance(values[0], Tensor) and name.endswith(ROWS):
        return _stacked(list(values))
    if isinstance(values[0], str) and "prompt" in name:
        return list(values)
    same = all(value is values[0] for value in values) and (name != REFERENCE or len(values) == 1)
    return values[0] if same else list(values)


def _stacked(values: list[Any]) -> Any:
    """Return tensors of one shape as one; others, and other values, as the list."""
    same = isinstance(values[0], Tensor) and all(value.shape == values[0].shape for value in values)
    return torch.stack(values) if same else values


REFERENCE = "reference_image"
ROWS = ("embeds", "_mask")
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@runtime_checkable
class Prior(Protocol):
    """A diffusion model over samples x, and the maps between images and samples.

    Subclass `PriorDefaults` to write a prior: it supplies the attributes that have a default here.

    Attributes:
        channels: channels of the images that `encode` takes.
        multiple_of: height and width of the padded images are multiples of this number of pixels.
        device: device on which `denoise` takes x.
        dtype: floating type of x, float32 or float64. A model in half precision casts internally.
        preferred_size: side in pixels of the images that the model was trained on. Larger images are cropped around
            their holes. Default None: no such size.
        latent_factor: pixels per latent cell, along each side. Default 1: samples are pixels.
        serves: names of the conditions that `conditioned` accepts: attributes of `Conditions`, or entries of its
            `arguments`. Default ().
        aligned: those of `serves` whose values are images aligned with the input, which are cut and padded with it.
            Default ().
        network: the denoiser. Default None: not a network.
        autoencoder: maps images to latents. Default None: samples are pixels.
        pipeline: the diffusers pipeline that the prior wraps. Default None.
        class_names: class number to name. Default {}.
        num_classes: number of classes that the model embeds, including a null class. Default 0: unconditional.
        default_schedule: name of the preset that is used if the caller gives none. Default "fast".
        smallest_size: side in pixels of the smallest images that the model is good at. Thin holes then get windows
            smaller than `preferred_size`, which cost less. Default None: always `preferred_size`.
        largest_hole: largest thickness in pixels of a hole that the model fills well; see
            `repaint.pictures.masks.thickness`. A thicker hole is filled with a warning. Default None: no limit.
        clip: the clipping of x0_hat in `denoise`, for methods that clip an x0_hat of their own. Default None: none.
    """

    @property
    def channels(self) -> int: ...

    @property
    def multiple_of(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def preferred_size(self) -> int | None: ...

    @property
    def latent_factor(self) -> int: ...

    @property
    def serves(self) -> tuple[str, ...]: ...

    @property
    def aligned(self) -> tuple[str, ...]: ...

    @property
    def network(self) -> nn.Module | None: ...

    @property
    def autoencoder(self) -> nn.Module | None: ...

    @property
    def pipeline(self) -> Any: ...

    @property
    def class_names(self) -> Mapping[int, str]: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def default_schedule(self) -> str: ...

    @property
    def smallest_size(self) -> int | None: ...

    @property
    def largest_hole(self) -> int | None: ...

    @property
    def clip(self) -> Clip | None: ...

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return `steps` noise levels that `denoise` accepts, and the clean level 0."""
        ...

    def conditioned(self, count: int, conditions: Conditions) -> Prior:
        """Return this prior for a batch of `count` images under these conditions. The model is shared, not copied.

        Raises:
            PriorError: a condition that this prior does not take, or a missing one that it needs.
        """
        ...

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Return the model's prediction for x at a level of its own schedule, without drawing random numbers."""
        ...

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
        """Return (x0, known) in the model's space from an image in [-1, 1]. Unknown pixels never affect the result."""
        ...

    def decode(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b c h w"]:
        """Return an image in [-1, 1] from a clean sample."""
        ...

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Prior:
        """Move the model in place. Returns this prior."""
        ...

    def release(self) -> None:
        """Free what predictions hold, after the last one. Default: nothing. Later predictions still work."""
        ...


class PriorDefaults:
    """Defaults for the optional attributes of `Prior`, to be inherited by every prior.

    Set what differs as an attribute of the class or of the instance. Still to be defined: channels, multiple_of,
    device, dtype, schedule, conditioned, denoise, encode, decode and to. See examples/custom_prior.py.

    >>> class MyPrior(PriorDefaults):
    ...     preferred_size = 64
    >>> MyPrior().preferred_size, MyPrior().latent_factor, MyPrior().serves
    (64, 1, ())
    """

    preferred_size: int | None = None
    latent_factor: int = 1
    serves: tuple[str, ...] = ()
    aligned: tuple[str, ...] = ()
    network: nn.Module | None = None
    autoencoder: nn.Module | None = None
    pipeline: Any = None
    class_names: Mapping[int, str] = MappingProxyType({})
    num_classes: int = 0
    default_schedule: str = "fast"
    smallest_size: int | None = None
    largest_hole: int | None = None
    clip: Clip | None = None

    def release(self) -> None:
        """Do nothing; see `Prior.release`."""
