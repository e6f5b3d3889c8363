"""Pixel-space priors: a diffusers `UNet2DModel`, unconditional or class-conditional."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repaint.checks import is_integer, nearest, shown
from repaint.errors import PriorError, joined_lines
from repaint.priors.distilled import usual_schedule
from repaint.priors.networks import floating_type, side_of
from repaint.priors.preconditioning import EDM, Consistency, Plain, Preconditioning, preconditioning_of
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction, from_output, split_variance
from repaint.sampling.prior import Conditions, PriorDefaults, each_of
from repaint.sampling.spacing import Spacing

if TYPE_CHECKING:
    from diffusers import SchedulerMixin, UNet2DModel

__all__ = ["PixelPrior"]

SHAPES = re.compile(r"\b(shapes?|sizes?|channels|dimensions?)\b")


class PixelPrior(PriorDefaults):
    """Wrap a `UNet2DModel` whose samples are images: variance-preserving, flow-matching or variance-exploding.

    Prediction type, clipping, noise levels, preconditioning and learned variance are read from the configs of the model
    and the scheduler.

    Args:
        unet: the model. It may be in half precision; x stays in float32.
        scheduler: any scheduler with the noise path that the model was trained on.
        class_names: names of the classes 0 ... n - 1. If the model has exactly one class more than names, the last is
            a null class, which enables classifier-free guidance.
        preconditioning: how the network is scaled, for variance-exploding models whose scheduler does not determine it.
            None: read from the scheduler. See `repaint.priors.preconditioning`.
    Raises:
        PriorError: channels or a time embedding that do not fit such a prior, or an unknown variance-exploding
            scheduler.
    """

    serves: tuple[str, ...] = ("class_labels", "guidance_scale", "guidance_interval")
    network: Any
    default_guidance_scale = 1.0  # where class labels are given
    memory_format = torch.channels_last  # on a CPU, convolutions over whole images take 3 to 17 % less time

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        class_names: Mapping[int, str] | None = None,
        preconditioning: Preconditioning | None = None,
    ) -> None:
        config = unet.config
        if config.out_channels not in (config.in_channels, 2 * config.in_channels):
            raise PriorError(
                f"A {type(unet).__name__} with {config.in_channels} channels in and {config.out_channels} out is not "
                "supported: it must return as many channels as it takes, or twice as many with a learned variance."
            )
        if (kind := config.get("class_embed_type")) is not None:
            raise PriorError(
                f"A {type(unet).__name__} with class_embed_type={kind!r} is not supported, because it takes an "
                "embedding with each image. Use an unconditional model, or one with num_class_embeds."
            )
        if config.get("time_embedding_type") == "learned":
            raise PriorError(
                f"A {type(unet).__name__} with time_embedding_type='learned' is not supported, because it takes only "
                "whole timesteps, and noise levels lie between them. Use a model with a positional time embedding."
            )
        self.preconditioning = preconditioning or preconditioning_of(scheduler)
        self._check_preconditioning(config, scheduler)
        self.network = unet.eval()
        self.scheduler = scheduler
        self.class_names = dict(class_names or {})
        self.num_classes = int(config.get("num_class_embeds") or 0)
        self.preferred_size = side_of(config)
        self.clip = Clip.from_config(scheduler.config)
        self.default_schedule = usual_schedule(scheduler)
        self._labels: Int[Tensor, " b"] | None = None
        self._guidance_scale, self._guides_at = 1.0, Conditions().guides_at

    @property
    def unet(self) -> Any:
        """The model; the same object as `network`."""
        return self.network

    @property
    def channels(self) -> int:
        return int(self.unet.config.in_channels)

    @property
    def multiple_of(self) -> int:
        return int(2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def device(self) -> torch.device:
        return torch.device(self.unet.device)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if floating_type(self.unet) == torch.float64 else torch.float32

    @property
    def null_class(self) -> int | None:
        """The label that means "no class", or None where the model was not trained with one."""
        named = len(self.class_names)
        return named if named and self.num_classes == named + 1 else None

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PixelPrior:
        """Move the model in place. Returns this prior."""
        if device is not None:
            self.unet.to(device)
        if dtype is not None:
            self.unet.to(dtype)
        return self

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the scheduler's noise levels; see `Prior.schedule`."""
        return NoiseSchedule.from_scheduler(self.scheduler, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> PixelPrior:
        """Return this prior for `count` images of given classes; see `Prior.conditioned`.

        Raises:
            PriorError: an unknown or missing class, guidance without a null class, or a prompt.
        """
        conditions.refuse_beyond(self.serves, "a prior without a text encoder")
        default = 1.0 if conditions.class_labels is None else self.default_guidance_scale
        scale = default if conditions.guidance_scale is None else float(conditions.guidance_scale)
        labels = self._label_numbers(count, conditions.class_labels)
        if scale != 1 and (conditions.class_labels is None or self.null_class is None):
            why = "no class_labels are given" if self.null_class is not None else "this model has no null class"
            raise PriorError(f"guidance_scale={scale:g} must be left out or 1: {why}.")
        bound = copy.copy(self)
        bound._guidance_scale, bound._guides_at = scale, conditions.guides_at
        bound._labels = None if labels is None else torch.tensor(labels, device=self.device)
        return bound

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the prediction; see `Prior.denoise`."""
        scales = self.preconditioning.at(level)
        scaled, labels, variance, unguided = scales.scaled(x), self._labels, None, None
        if labels is None or self._guidance_scale == 1 or not self._guides_at(level):
            output = self._forward(scaled, scales.c_noise, labels)
        else:
            null = torch.full_like(labels, self.null_class or 0)
            both = self._forward(torch.cat([scaled, scaled]), scales.c_noise, torch.cat([null, labels]))
            without, output = both.chunk(2)
            # Extrapolating a learned variance could make it negative; a scale below 1 interpolates.
            channels, scale = self.unet.config.in_channels, self._guidance_scale
            if scale > 1:
                unguided = scales.denoised(x, output[:, :channels])
            c = channels if scale > 1 else output.shape[1]
            guided = without[:, :c] + scale * (output[:, :c] - without[:, :c])
            output = torch.cat([guided, output[:, c:]], dim=1)
        if self.unet.config.out_channels == 2 * self.unet.config.in_channels:
            output, variance = split_variance(output, self.scheduler.config.get("variance_type"))
        kind, output = self.preconditioning.predicts, scales.denoised(x, output)
        return from_output(kind, output, x, level, clip=self.clip, variance=variance, unguided=unguided)

    def _forward(
        self, x: Float[Tensor, "b c h w"], clock: float, labels: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b c2 h w"]:
        t = torch.full((len(x),), clock, dtype=x.dtype, device=x.device)
        cast = x.to(floating_type(self.unet), memory_format=self.memory_format)
        try:
            output: Tensor = self.unet(cast, t, class_labels=labels, return_dict=False)[0]
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
            # diffusers accepts any config, so a wrong value fails only here, as a wrong shape does in torch.
            # Errors of the device and of its memory are not caught.
            if isinstance(error, RuntimeError) and not (type(error) is RuntimeError and SHAPES.search(str(error))):
                raise
            raise PriorError(
                f"The {type(self.unet).__name__} fails because its config does not fit its weights or images "
                f"({joined_lines(repr(error))}). Save or download the model again."
            ) from error
        return output.to(x.dtype, memory_format=torch.contiguous_format)

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Bool[Tensor, "b 1 h w"]]:
        """Scale the image to the model's training range: [-1, 1], or [0, 1] for score-SDE models."""
        low = self.preconditioning.low
        return (1 - low) / 2 * image + (1 + low) / 2, known

    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale a sample back to [-1, 1], the inverse of `encode`."""
        low = self.preconditioning.low
        return (x - (1 + low) / 2) / ((1 - low) / 2)

    def _check_preconditioning(self, config: Any, scheduler: Any) -> None:
        """Raise an error for a network that contradicts its preconditioning."""
        if isinstance(self.preconditioning, Plain):
            return
        kind, name = type(self.preconditioning).__name__, type(scheduler).__name__
        family = NoiseSchedule.from_scheduler(scheduler, 1).family
        if family != "VE":
            raise PriorError(
                f"preconditioning={kind} must be left out with a {name} ({family}): it applies only to "
                "variance-exploding schedulers, whose alpha is 1."
            )
        if config.out_channels != config.in_channels:
            raise PriorError(
                f"A UNet with {config.in_channels} channels in and {config.out_channels} out does not fit a {name}: "
                "variance-exploding models have no learned variance."
            )
        if config.get("time_embedding_type") == "fourier" and isinstance(self.preconditioning, (EDM, Consistency)):
            raise PriorError(
                f"A UNet with a Fourier time embedding does not fit a {name}: both take the logarithm of the noise "
                "level. Use the ScoreSdeVeScheduler that the UNet was trained with."
            )

    def _label_numbers(self, count: int, labels: Any) -> list[int] | None:
        if not self.num_classes:
            if labels is not None:
                raise PriorError(f"class_labels={shown(labels)} must be left out: this model is unconditional.")
            return None
        if labels is None:
            if self.null_class is None:
                raise PriorError(
                    f"class_labels must be given as numbers from 0 to {self.num_classes - 1} (this model has no null "
                    "class)."
                )
            return [self.null_class] * count
        return [self._label_number(label) for label in each_of("class_labels", labels, count)]

    def _label_number(self, label: Any) -> int:
        if isinstance(label, str):
            return self._named(label)
        if not is_integer(label) or not 0 <= label < self.num_classes:
            raise PriorError(f"class_labels: {shown(label)} must be a class from 0 to {self.num_classes - 1}.")
        return int(label)

    def _named(self, label: str) -> int:
        """Return the class with this name. ImageNet's classes have several names, separated by commas: each matches."""
        numbers: dict[str, set[int]] = {}
        for number, names in self.class_names.items():
            for name in (names, *names.split(",")):
                numbers.setdefault(name.strip(), set()).add(number)
        found = sorted(numbers.get(label, ()))
        if len(found) > 1:
            raise PriorError(
                f"class_labels: {label!r} names several classes ({', '.join(map(str, found))}). Pass a number."
            )
        if not found:
            listed = ", ".join(list(self.class_names.values())[:20]) or f"numbers from 0 to {self.num_classes - 1}"
            more = f", and {len(self.class_names) - 20} more" if len(self.class_names) > 20 else ""
            raise PriorError(f"class_labels: {label!r} must be one of {listed}{more}.{nearest(label, numbers)}")
        return found[0]
