"""Tiny pixel-space priors: UNets of two levels with random weights from a seed, milliseconds per call."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from repaint.pipeline import RePaintPipeline
from repaint.priors.pixel import PixelPrior

__all__ = ["TINY_NCSNPP", "tiny_folder_pipeline", "tiny_pipe", "tiny_unet"]

# The options that make a UNet2DModel a small version of the NCSN++ of google/ncsnpp-celebahq-256.
TINY_NCSNPP: dict[str, Any] = {
    "time_embedding_type": "fourier",
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "block_out_channels": (32, 32),
    "mid_block_scale_factor": 2**0.5,
    "center_input_sample": False,
    "add_attention": True,
}


def tiny_unet(seed: int = 0, **config: Any) -> UNet2DModel:
    """Return a UNet2DModel of 8 and 16 channels with the weights of a seed. Global random numbers are not consumed."""
    small: dict[str, Any] = {
        "sample_size": 512,  # larger than the images in most tests, so that they are not cropped
        "layers_per_block": 1,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
        "norm_num_groups": 4,
        "add_attention": False,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNet2DModel(**(small | config))


def tiny_folder_pipeline(seed: int = 0, **config: Any) -> DDPMPipeline:
    """Return a diffusers pipeline around a tiny UNet, to be saved with `save_pretrained` or wrapped."""
    return DDPMPipeline(tiny_unet(seed, **config), DDPMScheduler())


def tiny_pipe(
    names: tuple[str, ...] = (), *, scheduler: dict[str, Any] | None = None, seed: int = 0, **config: Any
) -> RePaintPipeline:
    """Return a pipeline without a progress bar. With names, it is class-conditional and has a null class."""
    if names:
        config["num_class_embeds"] = len(names) + 1
    pipe = RePaintPipeline(
        PixelPrior(tiny_unet(seed, **config), DDPMScheduler(**(scheduler or {})), dict(enumerate(names)))
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
