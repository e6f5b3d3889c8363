"""Text-conditioned latent priors: Stable Diffusion 1.x, 2.x and XL, around a live diffusers pipeline.

The pipeline is wrapped, not rebuilt: its prompt encoding, LoRA weights, slicing and offloading work as they do there.
"""

from __future__ import annotations

import copy
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.latent import LatentCodec
from repaint.priors.networks import floating_type, side_of
from repaint.priors.preconditioning import EDM, Plain, preconditioning_of
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.noise import NoiseSchedule, Spacing
from repaint.sampling.prediction import Clip, Prediction, from_output, weighted
from repaint.sampling.prior import Conditions, each_of

__all__ = ["PromptPrior", "StableDiffusionPrior", "guide", "warn_of_cut"]

PROMPTS = ("prompt", "prompt_embeds")
NEGATIVES = ("negative_prompt", "negative_prompt_embeds")
POOLED = ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")


class PromptPrior(ABC):
    """What all text-conditioned priors share: a pipeline, its autoencoder, and prompts per image.

    Args:
        pipe: a live diffusers pipeline with `encode_prompt`, a `vae` and a `scheduler`.
    Raises:
        PriorError: a pipeline without prompts, or a denoiser of other latents than the autoencoder's.
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
    cells_per_token = 1

    def __init__(self, pipe: Any) -> None:
        if not hasattr(pipe, "encode_prompt"):
            raise PriorError(
                f"A {type(pipe).__name__} has no encode_prompt, so that its prompts cannot be read. "
                "Use the text-to-image pipeline of the model."
            )
        self.pipe = pipe
        self.codec = LatentCodec(pipe.vae)
        self._conditions = Conditions()
        self._embeds: dict[str, Any] = {}
        self._alone: dict[str, Any] = {}  # those with the prompt, without those of no prompt
        self._guidance_scale = 1.0
        channels, expected = int(self.model.config.in_channels), self.codec.latent_channels * self.cells_per_token
        if channels != expected:
            raise PriorError(
                f"A {type(self.model).__name__} with {channels} channels in, where its {type(pipe.vae).__name__}'s "
                f"latents give {expected}: it wants more than a noisy image. Use the ordinary text-to-image model."
            )
        self.model.eval()

    @property
    @abstractmethod
    def model(self) -> Any:
        """The denoiser."""

    @property
    def channels(self) -> int:
        return self.codec.channels

    @property
    def multiple_of(self) -> int:
        """The autoencoder's factor: the denoiser takes latents of any size."""
        return self.codec.factor

    @property
    def preferred_size(self) -> int | None:
        """Side in pixels of the images that the model was trained on; None where its config does not say."""
        side = side_of(self.model.config)
        return None if side is None else self.codec.factor * side

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipe._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def guides(self) -> bool:
        """Whether each call runs with and without the prompt."""
        return self._guidance_scale != 1

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PromptPrior:
        """Move the whole pipeline, in place; returns this prior."""
        if device is not None:
            self.pipe.to(device)
        if dtype is not None:
            self.pipe.to(dtype)
        return self

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """The scheduler's noise levels."""
        return NoiseSchedule.from_scheduler(self.pipe.scheduler, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> PromptPrior:
        """This prior for `count` images with their prompts; see `Prior.conditioned`."""
        conditions.refuse_beyond(self.serves, "a text-conditioned prior")
        self._check_embeds(conditions)
        scale = self.default_guidance_scale if conditions.guidance_scale is None else float(conditions.guidance_scale)
        if not 0 <= scale < math.inf:
            raise PriorError(f"guidance_scale {scale}: it is 0 or more, and 1 is no guidance. Raise it.")
        rescale = conditions.guidance_rescale
        if rescale is not None and not 0 <= rescale <= 1:
            raise PriorError(f"guidance_rescale {rescale}: it lies in [0, 1], and 0 is none. Choose one there.")
        bound = copy.copy(self)
        bound._conditions = conditions
        conditions.guides_at(CLEAN)
        bound._guidance_scale = scale
        prompts = None if conditions.prompt is None else texts_of("prompt", conditions.prompt, count)
        negative = conditions.negative_prompt
        negatives = None if negative is None else texts_of("negative_prompt", negative, count)
        with torch.no_grad():
            bound._embeds = bound._encode_prompts(count, prompts, negatives, conditions)
        bound._alone = second_half(bound._embeds) if bound.guides else bound._embeds
        return bound

    def _check_embeds(self, conditions: Conditions) -> None:
        if (conditions.prompt is None) == (conditions.prompt_embeds is None):
            raise PriorError(
                "A text-conditioned prior needs a prompt or prompt_embeds, one of the two. "
                "Pass prompt='' to fill without a description."
            )
        for sort in ("prompt_embeds", "negative_prompt_embeds"):
            embeds, pooled = getattr(conditions, sort), getattr(conditions, sort.replace("prompt", "pooled_prompt"))
            wanted = embeds is not None and POOLED[0] in self.serves
            if (pooled is not None) != wanted:
                name = sort.replace("prompt", "pooled_prompt")
                raise PriorError(f"{sort} and {name} for this prior: it takes both or neither. Pass both.")

    def _ask(
        self, x: Float[Tensor, "b c h w"], level: Level, model: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """(the guided output, that with the prompt alone), or the output and None where nothing guides.

        Args:
            x: what the model sees.
            level: its level.
            model: called with x and the prompts' keyword arguments, with and without the prompt in one batch.
        """
        if not (self.guides and self._conditions.guides_at(level)):
            return model(x, self._alone), None
        without, with_prompt = model(torch.cat([x, x]), self._embeds).chunk(2)
        rescale = self._conditions.guidance_rescale or 0.0
        return guide(without, with_prompt, self._guidance_scale, rescale), with_prompt

    @abstractmethod
    def _encode_prompts(
        self, count: int, prompts: list[str] | None, negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        """The denoiser's keyword arguments that carry the prompts; without the prompt first, where it guides."""

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """See `LatentCodec.encode`."""
        return self.codec.encode(image, known)

    def decode(self, x: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """See `LatentCodec.decode`; afterwards an offloaded pipeline's parts go back to the CPU."""
        image = self.codec.decode(x)
        self.pipe.maybe_free_model_hooks()
        return image


class StableDiffusionPrior(PromptPrior):
    """Stable Diffusion 1.x, 2.x and XL: a `UNet2DConditionModel` with classifier-free guidance.

    Epsilon and v, with betas or preconditioned as EDM (as Playground 2.5 and CosXL are).
    """

    default_guidance_scale = 7.5

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        config = pipe.unet.config
        if config.get("time_cond_proj_dim") is not None or pipe.config.get("requires_aesthetics_score"):
            raise PriorError(
                "A consistency model's or a refiner's UNet takes more than a prompt and is not supported. "
                "Use the base model that it belongs to."
            )
        self.preconditioning = preconditioning_of(pipe.scheduler)
        flows = NoiseSchedule.from_scheduler(pipe.scheduler, 1).family == "flow"
        if flows or not isinstance(self.preconditioning, (Plain, EDM)):
            raise PriorError(
                f"A UNet2DConditionModel with a {type(pipe.scheduler).__name__} is not supported: such models predict "
                "noise or v, with betas (DDIM, Euler, DPM-Solver, ...) or as EDM. Use the scheduler of its training."
            )
        self._clip = Clip.from_config(pipe.scheduler.config)
        self._is_xl = config.get("addition_embed_type") == "text_time"
        if not self._is_xl:
            self.serves = tuple(name for name in self.serves if name not in POOLED)

    @property
    def model(self) -> Any:
        return self.pipe.unet

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """See `Prior.denoise`; with and without the prompt in one batched forward."""
        scales = self.preconditioning.at(level)
        seen = x if scales.c_in == 1 else scales.c_in * x

        def model(seen: Tensor, embeds: dict[str, Any]) -> Tensor:
            t = torch.full((len(seen),), scales.c_noise, device=x.device)
            output: Tensor = self.model(seen.to(floating_type(self.model)), t, **embeds, return_dict=False)[0]
            return output.to(x.dtype)

        output, unguided = self._ask(seen, level, model)
        output = weighted((scales.c_skip, x), (scales.c_out, output))
        if unguided is not None:
            unguided = weighted((scales.c_skip, x), (scales.c_out, unguided))
        return from_output(self.preconditioning.predicts, output, x, level, clip=self._clip, unguided=unguided)

    def _encode_prompts(
        self, count: int, prompts: list[str] | None, negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        if prompts is not None:
            warn_of_cut(self.pipe.tokenizer, prompts + (negatives or []))
        options = given(conditions, "prompt_embeds", "negative_prompt_embeds", *(POOLED if self._is_xl else ()))
        positive, without, *pooled = self.pipe.encode_prompt(
            prompts,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=self.guides,
            negative_prompt=negatives if self.guides else None,
            **options,
        )
        check_count(positive, count)
        embeds: dict[str, Any] = {"encoder_hidden_states": torch.cat([without, positive]) if self.guides else positive}
        if self._is_xl:
            if conditions.size is None:
                raise PriorError("Stable Diffusion XL is told the image size: pass Conditions(size=(height, width)).")
            height, width = conditions.size
            # Original size, crop corner, target size (arXiv 2307.01952, Sec. 2.2).
            told = torch.tensor([[height, width, 0, 0, height, width]], dtype=positive.dtype, device=positive.device)
            embeds["added_cond_kwargs"] = {
                "text_embeds": torch.cat([pooled[1], pooled[0]]) if self.guides else pooled[0],
                "time_ids": told.repeat(len(embeds["encoder_hidden_states"]), 1),
            }
        return embeds


def guide(without: Tensor, with_prompt: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """Classifier-free guidance, and optionally a rescaling to the conditional prediction's own standard deviation.

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
    """Of keyword arguments for two batches in one, nested or not, those of the second."""
    return {
        name: second_half(value) if isinstance(value, dict) else value.chunk(2)[1] for name, value in embeds.items()
    }


def texts_of(name: str, value: str | Sequence[str], count: int) -> list[str]:
    """One text per image from one for all, or one for each."""
    each = each_of(name, value, count)
    for text in each:
        if not isinstance(text, str):
            raise PriorError(f"{name} {text!r}: it is a text, or a list with one for each image. Correct it.")
    return each


def given(conditions: Conditions, *names: str) -> dict[str, Any]:
    """Those conditions as keyword arguments."""
    return {name: getattr(conditions, name) for name in names}


def check_count(embeds: Tensor, count: int) -> None:
    """Refuse ready-made embeddings of another number than the images."""
    if len(embeds) != count:
        raise PriorError(f"prompt_embeds for {len(embeds)} images, and there are {count}: give one for each.")


def warn_of_cut(tokenizer: Any, prompts: Sequence[str], limit: int | None = None) -> None:
    """Warn of prompts longer than the tokenizer's window, naming what is cut.

    Args:
        tokenizer: one of transformers.
        prompts: the texts.
        limit: the window in tokens; default the tokenizer's own.
    """
    limit = int(limit or tokenizer.model_max_length)
    for prompt in dict.fromkeys(prompts):
        ids = tokenizer(prompt, truncation=True, max_length=10**6).input_ids  # no limit; without one it logs a warning
        if len(ids) > limit:
            lost = tokenizer.decode(ids[limit - 1 : -1]).strip()
            warnings.warn(f"The prompt is longer than {limit} tokens: {lost!r} was cut off. Shorten it.", stacklevel=4)
