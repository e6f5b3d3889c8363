"""Tiny IP-Adapters: an image encoder, a projection and attention over image tokens."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterTimeImageProjection
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from helpers.tiny_latents import seeded

__all__ = ["image_encoder", "image_processor", "with_ip_adapter"]

TOKENS = 4
WIDTH = 8  # of the encoder's output


def image_encoder() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=8, projection_dim=WIDTH, num_hidden_layers=1, num_attention_heads=2, image_size=32,
        intermediate_size=8, patch_size=8,
    )  # fmt: skip
    return seeded(lambda: CLIPVisionModelWithProjection(config).eval())


def image_processor() -> CLIPImageProcessor:
    return CLIPImageProcessor(crop_size=32, size=32)


def with_ip_adapter(pipe: Any) -> Any:
    """Give a pipeline around Stable Diffusion, its XL, Stable Diffusion 3 or Flux an IP-Adapter."""
    pipe.register_modules(image_encoder=image_encoder(), feature_extractor=image_processor())
    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    if "SD3" in type(network).__name__:
        add_to_sd3(network)
    else:
        network._load_ip_adapter_weights([weights_for(network)])
    pipe.set_ip_adapter_scale(0.9)
    return pipe


def weights_for(network: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Return the weights of an adapter, as in its published file."""
    generator = torch.Generator().manual_seed(5)

    def weights(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    unet = "cross_attention_dim" in network.config
    width = network.config["cross_attention_dim" if unet else "joint_attention_dim"]
    projection = {
        "proj.weight": weights(width * TOKENS, WIDTH),
        "proj.bias": weights(width * TOKENS),
        "norm.weight": torch.ones(width),
        "norm.bias": torch.zeros(width),
    }
    own = [name for name in network.attn_processors if not name.endswith("attn1.processor") and "single" not in name]
    attention: dict[str, torch.Tensor] = {}
    for place, name in enumerate(own):
        inner = network.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        number = 2 * place + 1 if unet else place
        for part in ("to_k_ip", "to_v_ip"):
            attention[f"{number}.{part}.weight"] = weights(inner, width)
            if not unet:
                attention[f"{number}.{part}.bias"] = weights(inner)
    return {"image_proj": projection, "ip_adapter": attention}


def add_to_sd3(network: Any) -> None:
    config = network.config
    width, hidden = config.attention_head_dim * config.num_attention_heads, 64
    network.set_attn_processor(
        {
            name: seeded(lambda: SD3IPAdapterJointAttnProcessor2_0(width, width, config.attention_head_dim, hidden))
            for name in network.attn_processors
        }
    )
    network.image_proj = seeded(
        lambda: IPAdapterTimeImageProjection(
            WIDTH, width, hidden, depth=1, heads=1, num_queries=TOKENS, timestep_in_dim=16
        )
    )
