"""Tiny pipelines that change what Stable Diffusion predicts, with random weights from a seed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from helpers.tiny_latents import seeded, tiny_sd, tiny_sdxl

__all__ = ["controlnet_for", "sd_like", "sd_parts", "with_ip_adapter"]


def controlnet_for(unet: Any, seed: int = 3) -> ControlNetModel:
    """Return a ControlNet whose zero convolutions are not zero."""
    net = seeded(lambda: ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "controlnet_" in name or "cond_embedding.conv_out" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return net.eval()


def t2i_adapter() -> T2IAdapter:
    return seeded(lambda: T2IAdapter(channels=[8, 16], num_res_blocks=1, downscale_factor=2))


def image_encoder() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=8, projection_dim=8, num_hidden_layers=1, num_attention_heads=2, image_size=32, intermediate_size=8,
        patch_size=8,
    )  # fmt: skip
    return seeded(lambda: CLIPVisionModelWithProjection(config).eval())


def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(crop_size=32, size=32)


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


def with_ip_adapter(pipe: Any, seed: int = 5) -> Any:
    """Give a pipeline an IP-Adapter: an image encoder, a projection and attention over image tokens."""
    pipe.register_modules(image_encoder=image_encoder(), feature_extractor=image_processor())
    unet = pipe.unet
    width, tokens = unet.config.cross_attention_dim, 4
    generator = torch.Generator().manual_seed(seed)

    def weights(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    projection = {
        "proj.weight": weights(width * tokens, 8),
        "proj.bias": weights(width * tokens),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    attention: dict[str, torch.Tensor] = {}
    number = 1
    for name in unet.attn_processors:
        if name.endswith("attn1.processor"):
            continue
        module = unet.get_submodule(name.removesuffix(".processor"))
        inner = module.to_k.weight.shape[0]
        attention[f"{number}.to_k_ip.weight"] = weights(inner, width)
        attention[f"{number}.to_v_ip.weight"] = weights(inner, width)
        number += 2
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": attention}])
    pipe.set_ip_adapter_scale(0.9)
    return pipe
