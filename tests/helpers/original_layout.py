"""Write a tiny Stable Diffusion 1 as one file with the names of the original repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from helpers.tiny_latents import seeded, tiny_sd, tiny_unet, tiny_vae

__all__ = ["four_level_sd", "save_original"]

BLOCKS = 4


def four_level_sd(folder: Path) -> Any:
    """Return a Stable Diffusion of four levels, which the original names assume, with 8 channels each."""
    pipe = tiny_sd(folder)
    wide = (8,) * BLOCKS
    pipe.unet = tiny_unet(
        8,
        block_out_channels=wide,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
    )
    down, up = ("DownEncoderBlock2D",) * BLOCKS, ("UpDecoderBlock2D",) * BLOCKS
    pipe.vae = tiny_vae(
        "AutoencoderKL", block_out_channels=wide, down_block_types=down, up_block_types=up, layers_per_block=2
    )
    assert seeded is not None
    return pipe


UNET = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
VAE = {"conv_norm_out.": "norm_out.", "mid_block.attentions.0.": "mid.attn_1."}
ATTENTION = {"group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.", "to_out.0.": "proj_out."}
for level in range(BLOCKS):
    for number in range(3):
        if number < 2:
            UNET[f"down_blocks.{level}.resnets.{number}."] = f"input_blocks.{3 * level + number + 1}.0."
            UNET[f"down_blocks.{level}.attentions.{number}."] = f"input_blocks.{3 * level + number + 1}.1."
            VAE[f"encoder.down_blocks.{level}.resnets.{number}."] = f"encoder.down.{level}.block.{number}."
            VAE[f"mid_block.resnets.{number}."] = f"mid.block_{number + 1}."
        UNET[f"up_blocks.{level}.resnets.{number}."] = f"output_blocks.{3 * level + number}.0."
        UNET[f"up_blocks.{level}.attentions.{number}."] = f"output_blocks.{3 * level + number}.1."
        VAE[f"decoder.up_blocks.{level}.resnets.{number}."] = f"decoder.up.{3 - level}.block.{number}."
    UNET[f"down_blocks.{level}.downsamplers.0.conv."] = f"input_blocks.{3 * (level + 1)}.0.op."
    UNET[f"up_blocks.{level}.upsamplers.0."] = f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}."
    VAE[f"encoder.down_blocks.{level}.downsamplers.0."] = f"encoder.down.{level}.downsample."
    VAE[f"decoder.up_blocks.{level}.upsamplers.0."] = f"decoder.up.{3 - level}.upsample."


def renamed(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        name = name.replace(ours, theirs) if not ours.startswith("conv_") or name.startswith(ours) else name
    return name


def save_original(pipe: Any, path: Path) -> None:
    """Save a pipeline of `four_level_sd` in the original layout."""
    tensors: dict[str, Tensor] = {}
    for name, value in pipe.unet.state_dict().items():
        if ".resnets." in name:
            for ours, theirs in RESNET.items():
                name = name.replace(ours, theirs)
        tensors["model.diffusion_model." + renamed(name, UNET)] = value
    for name, value in pipe.vae.state_dict().items():
        new = name.replace("conv_shortcut.", "nin_shortcut.").replace("conv_norm_out.", "norm_out.")
        new = renamed(new, VAE)
        if ".attn_1." in new:
            new = new.replace("norm.", "norm.")
            for ours, theirs in ATTENTION.items():
                new = new.replace(ours, theirs)
            if value.ndim == 2:
                value = value[..., None, None]
        tensors["first_stage_model." + new] = value
    for name, value in pipe.text_encoder.state_dict().items():
        prefix = "" if name.startswith("text_model.") else "text_model."
        tensors["cond_stage_model.transformer." + prefix + name] = value
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)
