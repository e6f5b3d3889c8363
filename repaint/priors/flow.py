"""Flow-matching priors: the transformers of Stable Diffusion 3 and Flux, around a diffusers pipeline.

x_s = (1 - s) x0 + s eps, and the model predicts the velocity u = eps - x0 (Lipman et al. 2023, arXiv 2210.02747).

`DrivenPrior` predicts the same bits with these pipelines (tests/priors/test_driven.py). These classes remain because
they also take a `guidance_interval`, find the unguided prediction of compiled networks, warn of truncated prompts, know
their noise levels without running the pipeline, and take the img2img and inpainting pipelines of the same weights,
which cannot be driven.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.foreign_errors import explained
from repaint.priors.networks import floating_type
from repaint.priors.sample_layout import pack, unpack
from repaint.priors.text import POOLED, PROMPTS, PromptPrior, check_embeds, given, warn_of_cut
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.prior import Conditions
from repaint.sampling.spacing import Spacing

__all__ = ["FluxPrior", "StableDiffusion3Prior"]


class FlowPrior(PromptPrior):
    """The base of both: the model predicts a velocity, and the noise levels are shifted with the image size."""

    default_spacing: Spacing | None = None

    @property
    def network(self) -> Any:  # type: ignore[override]
        return self.pipeline.transformer

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the scheduler's noise levels, shifted for the image size where its config requires that.

        Raises:
            PriorError: the shift depends on the image size, and the conditions have none; or a scheduler without flow.
        """
        scheduler, shift = self.pipeline.scheduler, None
        config = getattr(scheduler, "config", {})
        if config.get("use_dynamic_shifting"):
            mu = self._mu(config)
            shift = mu if config.get("time_shift_type") == "linear" else math.exp(mu)
        grid = NoiseSchedule.from_scheduler(scheduler, steps, spacing or self.default_spacing, shift=shift)
        if grid.family != "flow":
            raise PriorError(
                f"A {type(self.network).__name__} with a {type(scheduler).__name__} is not supported. Use the "
                "scheduler that it was trained with, a FlowMatchEulerDiscreteScheduler."
            )
        return grid

    def _mu(self, config: Any) -> float:
        """Return the log-shift, linear in the number of the transformer's image tokens (arXiv 2403.03206, 5.3.2)."""
        if self._conditions.size is None:
            raise PriorError(
                "size must be given, because this prior's noise levels depend on it: Conditions(size=(height, width))."
            )
        height, width = self._conditions.size
        tokens = (height // self.multiple_of) * (width // self.multiple_of)
        few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        return float(low + (tokens - few) * (high - low) / (many - few))


class StableDiffusion3Prior(FlowPrior):
    """Wrap Stable Diffusion 3 or 3.5: an `SD3Transformer2DModel` with classifier-free guidance.

    Args:
        pipeline: see `PromptPrior`.
    """

    default_guidance_scale = 7.0

    @property
    def multiple_of(self) -> int:
        return int(self.codec.factor * self.network.config.patch_size)

    def conditioned(self, count: int, conditions: Conditions) -> PromptPrior:
        """Return this prior for `count` images; see `PromptPrior.conditioned`.

        Raises:
            PriorError: also a size beyond the transformer's table of positions.
        """
        limit = self.multiple_of * int(self.network.config.pos_embed_max_size)
        if conditions.size is not None and max(conditions.size) > limit:
            height, width = conditions.size
            raise PriorError(
                f"A window of {width} x {height} pixels must be at most {limit} pixels on each side for this model. "
                "Pass crop=Crop(windows=True), which covers a large hole with windows of the training size."
            )
        return super().conditioned(count, conditions)

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the prediction; see `Prior.denoise`. Runs with and without the prompt in one batch."""

        def model(x: Tensor, embeds: dict[str, Any]) -> Tensor:
            t, cast = x.new_full((len(x),), level.t), x.to(floating_type(self.network))
            output: Tensor = self.network(hidden_states=cast, timestep=t, **embeds, return_dict=False)[0]
            return output.to(x.dtype)

        output, unguided = self._guided(x, level, model)
        return from_output("flow_prediction", output, x, level, unguided=unguided)

    def _encode_prompts(
        self, count: int, prompts: list[str] | None, negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        if prompts is not None:
            # CLIP cuts prompts first. With the third encoder, the model still reads up to 256 tokens.
            third = self.pipeline.text_encoder_3 and self.pipeline.tokenizer_3
            warn_of_cut(third or self.pipeline.tokenizer, prompts + (negatives or []), 256 if third else None)
        positive, without, pooled, pooled_without = self.pipeline.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            prompt_3=None,
            device=self.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=self.guides,
            negative_prompt=negatives if self.guides else None,
            **given(conditions, "prompt_embeds", "negative_prompt_embeds", *POOLED),
        )
        check_embeds(positive, count, self.network.config.joint_attention_dim)
        if not self.guides:
            return {"encoder_hidden_states": positive, "pooled_projections": pooled}
        return {
            "encoder_hidden_states": torch.cat([without, positive]),
            "pooled_projections": torch.cat([pooled_without, pooled]),
        }


class FluxPrior(FlowPrior):
    """Wrap Flux: a `FluxTransformer2DModel` over 2 x 2 packed latents, with guidance distilled into an input.

    Args:
        pipeline: see `PromptPrior`.
    """

    default_guidance_scale = 3.5
    default_spacing: Spacing | None = "trailing"  # diffusers' FluxPipeline passes these levels to the scheduler
    cells_per_token = 4
    serves: tuple[str, ...] = (*PROMPTS, POOLED[0], "guidance_scale")

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        # The size that diffusers' pipeline generates; the transformer's config has none.
        self.preferred_size = self.codec.factor * int(pipeline.default_sample_size)
        if not pipeline.transformer.config.guidance_embeds:
            self.serves = (*PROMPTS, POOLED[0])  # distilled without a scale

    @property
    def multiple_of(self) -> int:
        return 2 * self.codec.factor

    def _scale(self, conditions: Conditions) -> float:
        """Return the guidance scale, which is an input of the model and so harms no distilled model."""
        given = conditions.guidance_scale
        return self.default_guidance_scale if given is None else float(given)

    @property
    def guides(self) -> bool:
        """False, because the scale is an input of the model and one forward pass suffices."""
        return False

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the prediction; see `Prior.denoise`."""
        height, width = x.shape[-2] // 2, x.shape[-1] // 2
        places = torch.cartesian_prod(*(torch.arange(side, device=x.device) for side in (1, height, width)))
        scale = x.new_full((len(x),), self._guidance_scale) if self.network.config.guidance_embeds else None
        with explained(type(self.network).__name__):
            output = self.network(
                hidden_states=pack(x).to(self.network.dtype),
                timestep=torch.full((len(x),), level.t / 1000, device=x.device, dtype=self.network.dtype),
                guidance=scale,
                img_ids=places.to(self.network.dtype),
                **self._embeds,
                return_dict=False,
            )[0]
        return from_output("flow_prediction", unpack(output.to(x.dtype), *x.shape[-2:]), x, level)

    def _encode_prompts(
        self, count: int, prompts: list[str] | None, _negatives: list[str] | None, conditions: Conditions
    ) -> dict[str, Any]:
        if prompts is not None:
            warn_of_cut(self.pipeline.tokenizer_2, prompts, 512)
        embeds, pooled, places = self.pipeline.encode_prompt(
            prompt=prompts,
            prompt_2=None,
            device=self.device,
            num_images_per_prompt=1,
            **given(conditions, "prompt_embeds", "pooled_prompt_embeds"),
        )
        check_embeds(embeds, count, self.network.config.joint_attention_dim)
        return {"encoder_hidden_states": embeds, "pooled_projections": pooled, "txt_ids": places}
