"""Published models on the fake device, at their real size and configuration, and small ones of the same classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)

from helpers.fake_cuda import CUDA, built
from helpers.guided_reference import published, shapes
from helpers.tiny_latents import SD_BETAS
from repaint.priors.driven import DrivenPrior
from repaint.priors.flow import FluxPrior, StableDiffusion3Prior
from repaint.priors.guided_diffusion import GuidedCheckpoint, Layout, Settings
from repaint.priors.pixel import PixelPrior
from repaint.priors.text import StableDiffusionPrior

__all__ = ["MODELS", "REAL", "SMALL", "TINY_PIXEL", "Model", "pixel"]

TINY_PIXEL: dict[str, Any] = {"sample_size": 16, "block_out_channels": (8, 16), "norm_num_groups": 4} | {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
DDPM_256: dict[str, Any] = {"sample_size": 256, "block_out_channels": (128, 128, 256, 256, 512, 512)} | {
    "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "force_upcast": False,  # fake parameters cannot change their type
}
TINY_VAE = VAE | {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
NO_QUANT = {"use_quant_conv": False, "use_post_quant_conv": False}
VAE_SD3 = VAE | NO_QUANT | {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
VAE_FLUX = VAE | NO_QUANT | {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": 0.1159}
SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
TINY_SD: dict[str, Any] = {"sample_size": 8, "cross_attention_dim": 8, "block_out_channels": (8, 16)} | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "layers_per_block": 1,
}
SDXL: dict[str, Any] = {"sample_size": 128, "cross_attention_dim": 2048, "block_out_channels": (320, 640, 1280)} | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD35_LARGE: dict[str, Any] = {"sample_size": 128, "num_layers": 38, "num_attention_heads": 38, "in_channels": 16} | {
    "joint_attention_dim": 4096,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "pooled_projection_dim": 2048,
    "qk_norm": "rms_norm",
}
TINY_SD3: dict[str, Any] = {"sample_size": 8, "num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8} | {
    "joint_attention_dim": 16,
    "caption_projection_dim": 16,
    "pos_embed_max_size": 16,
    "pooled_projection_dim": 16,
    "in_channels": 16,
    "qk_norm": "rms_norm",
}
FLUX_DEV: dict[str, Any] = {"guidance_embeds": True}
TINY_FLUX: dict[str, Any] = (
    FLUX_DEV
    | {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    | {
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "pooled_projection_dim": 8,
        "axes_dims_rope": (4, 4, 8),
    }
)


def pixel(dtype: torch.dtype, **config: Any) -> PixelPrior:
    network = built(lambda: UNet2DModel(**config), dtype)
    return PixelPrior(network, DDPMScheduler())


def guided_256(dtype: torch.dtype) -> PixelPrior:
    """The unconditional one, as `repaint priors convert` lays it out."""
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes(published(256, 0)).items()}
    layout = Layout.read(state)
    checkpoint = GuidedCheckpoint(state, layout, Settings().completed(layout))
    return PixelPrior(built(lambda: UNet2DModel(**checkpoint._unet_config()), dtype), checkpoint.scheduler())


def stable_diffusion(dtype: torch.dtype, unet: dict[str, Any], vae: dict[str, Any]) -> Any:
    network = built(lambda: UNet2DConditionModel(**unet), dtype)
    autoencoder = built(lambda: AutoencoderKL(**vae), dtype)
    scheduler = DDIMScheduler(**SD_BETAS, clip_sample=False)
    return diffusers.StableDiffusionPipeline(
        autoencoder, None, None, network, scheduler, None, None, requires_safety_checker=False
    )


def stable_diffusion_xl(dtype: torch.dtype) -> Any:
    network = built(lambda: UNet2DConditionModel(**SDXL), dtype)
    autoencoder = built(lambda: AutoencoderKL(**VAE), dtype)
    return diffusers.StableDiffusionXLPipeline(
        autoencoder, None, None, None, None, network, EulerDiscreteScheduler(**SD_BETAS), add_watermarker=False
    )


def stable_diffusion_3(dtype: torch.dtype, transformer: dict[str, Any], vae: dict[str, Any]) -> Any:
    network = built(lambda: diffusers.SD3Transformer2DModel(**transformer), dtype)
    autoencoder = built(lambda: AutoencoderKL(**vae), dtype)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.StableDiffusion3Pipeline(network, scheduler, autoencoder, *(None,) * 6)


def flux(dtype: torch.dtype, transformer: dict[str, Any], vae: dict[str, Any]) -> Any:
    network = built(lambda: diffusers.FluxTransformer2DModel(**transformer), dtype)
    autoencoder = built(lambda: AutoencoderKL(**vae), dtype)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return diffusers.FluxPipeline(scheduler, autoencoder, None, None, None, None, network)


def small_flux(dtype: torch.dtype) -> Any:
    pipe = flux(dtype, TINY_FLUX, TINY_VAE | {"latent_channels": 16})
    pipe.default_sample_size = 8  # for windows of 64 pixels
    return pipe


def embeds(dtype: torch.dtype, width: int, pooled: int | None = None, tokens: int = 77) -> dict[str, Any]:
    given: dict[str, Any] = {"prompt_embeds": torch.zeros(1, tokens, width, device=CUDA, dtype=dtype)}
    if pooled:
        given["pooled_prompt_embeds"] = torch.zeros(1, pooled, device=CUDA, dtype=dtype)
    return given


def both(given: dict[str, Any]) -> dict[str, Any]:
    return given | {f"negative_{name}": value for name, value in given.items()}


def no_conditions(_dtype: torch.dtype) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Model:
    """A model on the fake device.

    Attributes:
        make: makes it in a type: a prior, or a pipeline.
        wrap: the prior of a pipeline; None: it is one.
        side: of its images, in pixels.
        given: makes its conditions in a type, inside `fake_cuda`.
    """

    make: Callable[[torch.dtype], Any]
    wrap: Any
    side: int
    given: Callable[[torch.dtype], dict[str, Any]] = no_conditions

    def prior(self, dtype: torch.dtype) -> Any:
        made = self.make(dtype)
        return made if self.wrap is None else self.wrap(made)


def diffusion_1_5(unet: dict[str, Any], vae: dict[str, Any], side: int, scale: float | None = None) -> Model:
    """Stable Diffusion 1.5 in one size; driven by its own pipeline where a guidance scale is given."""
    wrap, more = (StableDiffusionPrior, {}) if scale is None else (DrivenPrior, {"guidance_scale": scale})
    width = unet["cross_attention_dim"]
    return Model(
        lambda dtype: stable_diffusion(dtype, unet, vae), wrap, side, lambda dtype: both(embeds(dtype, width)) | more
    )


SMALL: dict[str, Model] = {
    "pixel": Model(lambda dtype: pixel(dtype, **TINY_PIXEL), None, 16),
    "text": diffusion_1_5(TINY_SD, TINY_VAE, 64),
    "driven": diffusion_1_5(TINY_SD, TINY_VAE, 64, 5.0),
    "flow": Model(
        lambda dtype: stable_diffusion_3(dtype, TINY_SD3, TINY_VAE | {"latent_channels": 16}),
        StableDiffusion3Prior,
        64,
        lambda dtype: both(embeds(dtype, 16, 16)),
    ),
    "flow in tokens": Model(
        small_flux,
        FluxPrior,
        64,
        lambda dtype: embeds(dtype, 16, 8),
    ),
}
REAL: dict[str, Model] = {
    "guided-diffusion 256": Model(guided_256, None, 256),
    "DDPM 256": Model(lambda dtype: pixel(dtype, **DDPM_256), None, 256),
    "SD 1.5 512": diffusion_1_5(SD15, VAE, 512),
    "SD 1.5 512, driven": diffusion_1_5(SD15, VAE, 512, 7.5),
    "SDXL 1024": Model(stable_diffusion_xl, StableDiffusionPrior, 1024, lambda dtype: both(embeds(dtype, 2048, 1280))),
    "SD 3.5 large 1024": Model(
        lambda dtype: stable_diffusion_3(dtype, SD35_LARGE, VAE_SD3),
        StableDiffusion3Prior,
        1024,
        lambda dtype: both(embeds(dtype, 4096, 2048, 333)),
    ),
    "Flux 1024": Model(
        lambda dtype: flux(dtype, FLUX_DEV, VAE_FLUX), FluxPrior, 1024, lambda dtype: embeds(dtype, 4096, 768, 512)
    ),
}
MODELS = SMALL | REAL
