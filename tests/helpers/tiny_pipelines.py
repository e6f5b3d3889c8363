"""Tiny pipelines that change what Stable Diffusion predicts, with random weights from a seed."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel

from helpers.tiny_latents import seeded, tiny_sd, tiny_sdxl, without_zeros

__all__ = ["SEVERAL", "controlnet_for", "sd_like", "sd_parts", "several_controlnets"]


def controlnet_for(unet: Any) -> ControlNetModel:
    """Return a ControlNet that has an effect."""
    return without_zeros(seeded(lambda: ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))))


def t2i_adapter() -> T2IAdapter:
    return seeded(lambda: T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=2))


def sd_parts(folder: Path, cls: type) -> dict[str, Any]:
    """Return the parts that a pipeline class around Stable Diffusion takes."""
    takes = inspect.signature(cls.__init__).parameters
    xl = "text_encoder_2" in takes
    parts = dict((tiny_sdxl if xl else tiny_sd)(folder).components)
    if "adapter" in takes:  # it adds to a block after its downsampler, which the last block of real models lacks
        unet = parts["unet"].config
        turned = {"down_block_types": unet.down_block_types[::-1], "up_block_types": unet.up_block_types[::-1]}
        parts["unet"] = seeded(lambda: UNet2DConditionModel.from_config({**unet, **turned}))
    if "controlnet" in takes:
        parts["controlnet"] = controlnet_for(parts["unet"])
    if "adapter" in takes:
        parts["adapter"] = t2i_adapter()
    required = {name for name, entry in takes.items() if entry.default is entry.empty and name != "self"}
    return {name: parts.get(name) for name in takes if name in parts or name in required}


def sd_like(folder: Path, name: str, **parts: Any) -> Any:
    """Return a tiny pipeline of a class around Stable Diffusion or its XL."""
    cls = getattr(diffusers, name)
    checks = "requires_safety_checker" in inspect.signature(cls.__init__).parameters
    options = {"requires_safety_checker": False} if checks else {}
    pipe = cls(**sd_parts(folder, cls) | options | parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def several_controlnets(pipe: Any, multi: type) -> Any:
    """Add a second, different ControlNet to a pipeline with one, in diffusers' class for several."""
    config = {key: value for key, value in pipe.controlnet.config.items() if not key.startswith("_")}
    second = without_zeros(seeded(lambda: type(pipe.controlnet)(**config), seed=1))
    pipe.controlnet = multi([pipe.controlnet, second])
    return pipe


def several_adapters() -> Any:
    """Return a pipeline with two different T2I-Adapters."""
    pipe = sd_like(Path(tempfile.mkdtemp()), "StableDiffusionAdapterPipeline")
    second = seeded(lambda: T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=2), seed=1)
    pipe.adapter = diffusers.MultiAdapter([pipe.adapter, second])
    return pipe


def several_sd_controlnets(name: str) -> Any:
    return several_controlnets(sd_like(Path(tempfile.mkdtemp()), name), diffusers.MultiControlNetModel)


SEVERAL: dict[str, Callable[[], Any]] = {
    "StableDiffusionControlNetPipeline": lambda: several_sd_controlnets("StableDiffusionControlNetPipeline"),
    "StableDiffusionXLControlNetPipeline": lambda: several_sd_controlnets("StableDiffusionXLControlNetPipeline"),
    "StableDiffusionAdapterPipeline": several_adapters,
}
