"""Text-conditioned latent priors: Stable Diffusion 1.x, 2.x and XL, around a diffusers pipeline.

The pipeline is wrapped, so its prompt encoding, LoRA weights, slicing and offloading work as in diffusers.
"""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import shown
from repaint.errors import PriorError, warn
from repaint.priors.foreign_errors import explained
from repaint.priors.latent import LatentCodec
from repaint.priors.networks import floating_type, has_ip_adapter, side_of
from repaint.priors.pipeline_prior import PipelinePrior
from repaint.priors.preconditioning import EDM, Plain, preconditioning_of
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction, from_output
from repaint.sampling.prior import Conditions, each_of
from repaint.sampling.spacing import Spacing

__all__ = ["ENCODING", "PromptPrior", "StableDiffusionPrior", "guide", "texts_of", "warn_of_cut", "warn_of_guidance"]

# Threads encode prompts one after the other, because a tokenizer is set to pad and cut anew for each call.
ENCODING = threading.Lock()

PROMPTS = ("prompt", "prompt_embeds")
NEGATIVES = ("negative_prompt", "negative_prompt_embeds")
POOLED = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")


class PromptPrior(PipelinePrior, ABC):
    """The base of all text-conditioned priors: a pipeline, its autoencoder, and prompts per image.

    Args:
        pipeline: a diffusers pipeline with `encode_prompt`, a `vae` and a `scheduler`.
    Raises:
        PriorError: a pipeline without prompts, or a denoiser whose channels differ from those of the latents.
    """

    default_guidance_scale = 1.0
    serves: tuple[str, ...] = (
        *PROMPTS,
        *NEGATIVES,
        *POOLED,
        "guidance_scale",
        "guidance_rescale",
        "guidance_interval",
    )
    codec: LatentCodec
    cells_per_token = 1

    def __init__(self, pipeline: Any) -> None:
        if not hasattr(pipeline, "encode_prompt"):
            raise PriorError(
                f"A {type(pipeline).__name__} cannot encode prompts (it has no encode_prompt). Use the text-to-image "
                "pipeline of the model."
            )
        self.pipeline = pipeline
        self.codec = LatentCodec(pipeline.vae)
        self.autoencoder, self.latent_factor = self.codec.vae, self.codec.factor
        side = side_of(self.network.config)
        self.preferred_size = None if side is None else side * self.latent_factor
        self._conditions = Conditions()
        self._embeds: dict[str, Any] = {}
        self._alone: dict[str, Any] = {}  # the part of them that carries the prompt
        self._guidance_scale = 1.0
        channels, expected = int(self.network.config.in_channels), self.codec.latent_channels * self.cells_per_token
        if channels != expected:
            raise PriorError(
                f"A {type(self.network).__name__} with {channels} channels in is not supported: the latents of its "
                f"{type(pipeline.vae).__name__} have {expected}. Use the ordinary text-to-image model."
            )
        self.network.eval()

    @property
    @abstractmethod
    def network(self) -> Any:  # type: ignore[override]
        """The denoiser, read from the pipeline at each access because users may replace it there."""

    @property
    def multiple_of(self) -> int:
        """The autoencoder's factor, because the denoiser takes latents of any size."""
        return self.codec.factor

    @property
    def guides(self) -> bool:
        """Whether each call runs both with and without the prompt."""
        return self._guidance_scale != 1

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the scheduler's noise levels; see `Prior.schedule`."""
        return NoiseSchedule.from_scheduler(self.pipeline.scheduler, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> PromptPrior:
        """Return this prior for `count` images with their prompts; see `Prior.conditioned`.

        Raises:
            PriorError: no prompt, or class labels.
        """
        self.check_parts()
        if has_ip_adapter(self.network):
            raise PriorError("An IP-Adapter was loaded after wrapping. Wrap the pipeline again with from_pipe.")
        conditions.refuse_beyond(self.serves, "a text-conditioned prior")
        self._check_embeds(conditions)
        bound = copy.copy(self)
        bound._conditions, bound._guidance_scale = conditions, self._scale(conditions)
        prompts = None if conditions.prompt is None else texts_of("prompt", conditions.prompt, count)
        negative = conditions.negative_prompt
        negatives = None if negative is None else texts_of("negative_prompt", negative, count)
        if not bound.guides and (any(negatives or []) or conditions.negative_prompt_embeds is not None):
            warn(
                f"negative_prompt has no effect without guidance (the guidance_scale is {bound._guidance_scale:g}). "
                "Leave it out, or pass a larger guidance_scale."
            )
        with torch.no_grad(), explained(type(self.pipeline).__name__), ENCODING:
            bound._embeds = bound._encode_prompts(count, prompts, negatives, conditions)
        bound._alone = second_half(bound._embeds) if bound.guides else bound._embeds
        return bound

    def _scale(self, conditions: Conditions) -> float:
        """Return the guidance scale; 1 by default for a distilled model."""
        if conditions.guidance_scale is None:
            return self.default_guidance_scale if conditions.guided else 1.0
        if not conditions.guided:
            warn_of_guidance(conditions.guidance_scale)
        return float(conditions.guidance_scale)

    def _check_embeds(self, conditions: Conditions) -> None:
        for text in ("prompt", "negative_prompt"):
            if getattr(conditions, text) is not None and getattr(conditions, f"{text}_embeds") is not None:
                raise PriorError(f"{text} and {text}_embeds cannot be given together. Leave one out.")
        if conditions.prompt is None and conditions.prompt_embeds is None:
            raise PriorError(
                "A text-conditioned prior needs either prompt or prompt_embeds. Pass prompt='' to fill without a "
                "description."
            )
        for sort in ("prompt_embeds", "negative_prompt_embeds"):
            embeds, pooled = getattr(conditions, sort), getattr(conditions, sort.replace("prompt", "pooled_prompt"))
            if embeds is not None and not isinstance(embeds, Tensor):
                raise PriorError(f"{sort} must be a tensor (B, tokens, width), not a {type(embeds).__name__}.")
            wanted = embeds is not None and POOLED[0] in self.serves
            if (pooled is not None) != wanted:
                name = sort.replace("prompt", "pooled_prompt")
                raise PriorError(f"{sort} and {name} must be given together for this prior.")

    def _guided(
        self, x: Float[Tensor, "b c h w"], level: Level, model: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Return (guided output, output with the prompt alone), or (output, None) without guidance or below scale 1.

        Args:
            x: the model's input.
            level: level of x.
            model: called with x and the prompts' keyword arguments, with and without the prompt in one batch.
        """
        with explained(type(self.network).__name__):
            if not (self.guides and self._conditions.guides_at(level)):
                return model(x, self._alone), None
            without, with_prompt = model(torch.cat([x, x]), self._embeds).chunk(2)
        rescale = self._conditions.guidance_rescale or 0.0
        output = guide(without, with_prompt, self._guidance_scale, rescale)
        return output, with_prompt if self._guidance_scale > 1 else None  # below 1, nothing is exaggerated

    @abstractmethod
    def _encode_prompts(
        self, count: int, prompts: list[str] | None, negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        """Return the denoiser's keyword arguments for the prompts. With guidance, those without a prompt come first."""


class StableDiffusionPrior(PromptPrior):
    """Wrap Stable Diffusion 1.x, 2.x or XL: a `UNet2DConditionModel` with classifier-free guidance.

    The model predicts noise or v, with betas or with EDM preconditioning (as in Playground 2.5 and CosXL).

    Args:
        pipeline: see `PromptPrior`.
    Raises:
        PriorError: see `PromptPrior`; a consistency model, a refiner, or an unsupported scheduler.
    """

    default_guidance_scale = 7.5

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        config = pipeline.unet.config
        if config.get("time_cond_proj_dim") is not None or pipeline.config.get("requires_aesthetics_score"):
            raise PriorError(
                "Consistency models and refiners are not supported, because their UNets need more inputs than a "
                "prompt. Use the base model."
            )
        self._read_scheduler()
        self._is_xl = config.get("addition_embed_type") == "text_time"
        if self._is_xl:
            self.default_guidance_scale = 5.0
        else:
            self.serves = tuple(name for name in self.serves if name not in POOLED)

    def _read_scheduler(self) -> None:
        """Read the kind of prediction from the pipeline's current scheduler, which users may have replaced."""
        scheduler = self.pipeline.scheduler
        self.preconditioning = preconditioning_of(scheduler)
        flows = NoiseSchedule.from_scheduler(scheduler, 1, shift=1.0).family == "flow"
        if flows or not isinstance(self.preconditioning, (Plain, EDM)):
            raise PriorError(
                f"A UNet2DConditionModel with a {type(scheduler).__name__} is not supported. Use the "
                "scheduler that it was trained with: one with betas (DDIM, Euler, DPM-Solver, ...) or EDM levels."
            )
        self.clip = Clip.from_config(scheduler.config)

    def conditioned(self, count: int, conditions: Conditions) -> StableDiffusionPrior:
        """Return this prior for `count` images; see `PromptPrior.conditioned`.

        Raises:
            PriorError: also a UNet with a guidance embedding, which replaced that of the wrapped pipeline.
        """
        if (width := self.network.config.get("time_cond_proj_dim")) is not None:
            raise PriorError(
                f"A UNet with time_cond_proj_dim={width} was set after wrapping. Wrap the pipeline again with "
                "from_pipe."
            )
        bound = super().conditioned(count, conditions)
        assert isinstance(bound, StableDiffusionPrior)
        bound._read_scheduler()
        return bound

    @property
    def network(self) -> Any:  # type: ignore[override]
        return self.pipeline.unet

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the prediction; see `Prior.denoise`. Runs with and without the prompt in one batch."""
        scales = self.preconditioning.at(level)

        def model(scaled: Tensor, embeds: dict[str, Any]) -> Tensor:
            t = x.new_full((len(scaled),), scales.c_noise)
            output: Tensor = self.network(scaled.to(floating_type(self.network)), t, **embeds, return_dict=False)[0]
            return output.to(x.dtype)

        output, unguided = self._guided(scales.scaled(x), level, model)
        output = scales.denoised(x, output)
        if unguided is not None:
            unguided = scales.denoised(x, unguided)
        return from_output(self.preconditioning.predicts, output, x, level, clip=self.clip, unguided=unguided)

    def _encode_prompts(
        self, count: int, prompts: list[str] | None, negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        if prompts is not None:
            tokenizer = self.pipeline.tokenizer or self.pipeline.tokenizer_2  # XL may have only its second encoder
            warn_of_cut(tokenizer, prompts + (negatives or []))
        options = given(conditions, "prompt_embeds", "negative_prompt_embeds", *(POOLED if self._is_xl else ()))
        positive, without, *pooled = self.pipeline.encode_prompt(
            prompts,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=self.guides,
            negative_prompt=negatives if self.guides else None,
            **options,
        )
        config = self.network.config
        check_embeds(positive, count, config.get("encoder_hid_dim") or config["cross_attention_dim"])
        embeds: dict[str, Any] = {"encoder_hidden_states": torch.cat([without, positive]) if self.guides else positive}
        if self._is_xl:
            if conditions.size is None:
                raise PriorError("size must be given for Stable Diffusion XL: Conditions(size=(height, width)).")
            height, width = conditions.size
            # Original size, crop corner, target size (arXiv 2307.01952, Sec. 2.2).
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=positive.dtype, device=positive.device)
            embeds["added_cond_kwargs"] = {
                "text_embeds": torch.cat([pooled[1], pooled[0]]) if self.guides else pooled[0],
                "time_ids": sizes.repeat(len(embeds["encoder_hidden_states"]), 1),
            }
        return embeds


def guide(without: Tensor, with_prompt: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """Apply classifier-free guidance, and optionally rescale to the conditional prediction's standard deviation.

    >>> guide(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), scale=3.0)
    tensor([3., 1.])

    Args:
        without, with_prompt: (B, C, H, W) predictions without and with the prompt.
        scale: guidance scale, at least 0; 1 returns `with_prompt`.
        rescale: share of the rescaled result, in [0, 1].
    Source:
        Ho & Salimans 2022 (arXiv 2207.12598), eq. 6; Lin et al. 2023 (arXiv 2305.08891), eq. 15-16.
    """
    output = without + scale * (with_prompt - without)
    if rescale == 0:
        return output
    axes = tuple(range(1, output.ndim))
    matched = output * (with_prompt.std(axes, keepdim=True) / output.std(axes, keepdim=True))
    return rescale * matched + (1 - rescale) * output


def second_half(embeds: dict[str, Any]) -> dict[str, Any]:
    """Return the second half of the batch of each keyword argument, nested dicts included."""
    return {
        name: second_half(value) if isinstance(value, dict) else value.chunk(2)[1] for name, value in embeds.items()
    }


def texts_of(name: str, value: str | Sequence[str], count: int) -> list[str]:
    """Return one text per image, from one text for all or a list with one for each.

    Args:
        name: the argument, for errors.
        value: one text, or `count` of them.
        count: number of images.
    Raises:
        PriorError: anything other than texts.
    """
    each = each_of(name, value, count)
    for text in each:
        if not isinstance(text, str):
            raise PriorError(f"{name}={shown(text)} must be a text, or a list with one text for each image.")
    return each


def given(conditions: Conditions, *names: str) -> dict[str, Any]:
    """Return the named conditions as keyword arguments."""
    return {name: getattr(conditions, name) for name in names}


def check_embeds(embeds: Tensor, count: int, width: int | Sequence[int]) -> None:
    """Check the shape of prompt embeddings.

    Args:
        embeds: (B, tokens, width).
        count: number of images.
        width: that the denoiser takes; several must be equal.
    Raises:
        PriorError: not one row for each image, or another width.
    """
    if len(embeds) != count:
        raise PriorError(f"prompt_embeds has {len(embeds)} rows for {count} images. Pass one row for each image.")
    width = width if isinstance(width, int) else width[0]
    if embeds.shape[-1] != width:
        raise PriorError(
            f"prompt_embeds of width {embeds.shape[-1]} must have width {width} for this denoiser (use the text "
            "encoder of its model)."
        )


def warn_of_guidance(scale: float) -> None:
    """Warn if classifier-free guidance acts on a distilled model."""
    if scale > 1:
        warn(
            f"guidance_scale={scale:g} harms models that are distilled to few steps. Leave it out, or use another "
            "schedule.",
        )


def warn_of_cut(tokenizer: Any, prompts: Sequence[str], limit: int | None = None) -> None:
    """Warn if a prompt is longer than the tokenizer's window, and show the part that is cut off.

    Args:
        tokenizer: a tokenizer of transformers.
        prompts: the texts.
        limit: the window in tokens; default the tokenizer's own.
    """
    limit = int(limit or tokenizer.model_max_length)
    for prompt in dict.fromkeys(prompts):
        ids = tokenizer(prompt, truncation=True, max_length=10**6).input_ids  # without a limit it logs a warning
        if len(ids) > limit:
            lost = tokenizer.decode(ids[limit - 1 : -1]).strip()
            warn(f"The prompt is longer than {limit} tokens: {lost!r} is cut off. Shorten it.")
