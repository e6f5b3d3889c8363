"""Tiny pipelines of image transformers of 2025 and 2026, without text encoders: their prompts are embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import torch

from helpers.tiny_latents import t5_tokenizer
from helpers.tiny_transformers import (
    FLOW,
    FLUX,
    TRANSFORMERS,
    Made,
    deep_vae,
    embeds,
    flow,
    flux2_vae,
    made,
    negative,
    ones,
    pictures,
    quiet,
    qwen_vae,
    small_vae,
)

__all__ = ["RECENT"]


def kandinsky5(name: str = "Kandinsky5T2IPipeline") -> Made:
    edits = name == "Kandinsky5I2IPipeline"
    network = partial(
        diffusers.Kandinsky5Transformer3DModel,
        in_visual_dim=4, in_text_dim=16, in_text_dim2=8, time_dim=8, out_visual_dim=4, model_dim=16, ff_dim=16,
        num_text_blocks=1, num_visual_blocks=1, axes_dims=(4, 6, 6), visual_cond=edits,
    )  # fmt: skip
    lengths = torch.tensor([0, 6, 12], dtype=torch.int32)
    given: dict[str, Any] = {"prompt_embeds_qwen": embeds(2, 6, 16), "prompt_embeds_clip": embeds(2, 8, seed=1)}
    given |= {f"negative_{key}": value.flip(1) * 0.5 for key, value in given.items()}
    given |= {"prompt_cu_seqlens": lengths, "negative_prompt_cu_seqlens": lengths, "guidance_scale": 4.0}
    if edits:
        given["image"] = pictures()
    return made(name, network, deep_vae(), flow(shift=5.0)), given, FLOW


def prx_pixel() -> Made:
    network = partial(
        diffusers.PRXTransformer2DModel,
        in_channels=3,
        patch_size=4,
        context_in_dim=16,
        hidden_size=32,
        num_heads=2,
        depth=1,
        axes_dim=[8, 8],
    )
    given = negative({"prompt_embeds": embeds(1, 6, 16), "prompt_attention_mask": ones(1, 6, dtype=torch.bool)})
    pipe = made("PRXPixelPipeline", network, None, flow(shift=3.0), default_sample_size=32, noise_scale=2.0)
    return pipe, given | {"guidance_scale": 4.0}, "sample"


def longcat() -> Made:
    network = partial(
        diffusers.LongCatImageTransformer2DModel,
        in_channels=64,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=[4, 4, 8],
        **FLUX,
    )
    given = {"prompt": ["a red cat", "two dogs"], "guidance_scale": 4.5, "enable_prompt_rewrite": False}
    pipe = made("LongCatImagePipeline", network, small_vae(latent_channels=16), flow(use_dynamic_shifting=True))
    pipe._encode_prompt = embedded  # embeddings alone fail in diffusers
    return pipe, given, FLOW


def embedded(prompts: list[str]) -> torch.Tensor:
    """Return embeddings that depend on the prompts."""
    return torch.cat([embeds(1, 6, 16, seed=sum(map(ord, prompt))) for prompt in prompts])


def omnigen() -> Made:
    network = partial(
        diffusers.OmniGenTransformer2DModel,
        in_channels=4, hidden_size=16, num_attention_heads=2, num_key_value_heads=2, intermediate_size=16,
        num_layers=1, pad_token_id=0, vocab_size=32, time_step_dim=16, pos_embed_max_size=16, rope_scaling=ROPE,
    )  # fmt: skip
    scheduler = flow(invert_sigmas=True, num_train_timesteps=1)
    pipe = made("OmniGenPipeline", network, deep_vae(), scheduler, tokenizer=t5_tokenizer())
    image = "<img><|image_1|></img>"
    given = {"prompt": [f"a cat as in {image}", f"two dogs {image}"], "input_images": [[one] for one in pictures()]}
    return pipe, given, FLOW


ROPE = {"long_factor": [1.0] * 4, "short_factor": [1.0] * 4, "type": "su"}


def ernie() -> Made:
    network = partial(
        diffusers.ErnieImageTransformer2DModel,
        hidden_size=32, num_attention_heads=2, num_layers=1, ffn_hidden_size=32, in_channels=16, out_channels=16,
        text_in_dim=16, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    given: dict[str, Any] = {"prompt_embeds": list(embeds(2, 6, 16)), "guidance_scale": 4.0}
    given["negative_prompt_embeds"] = list(embeds(2, 5, 16, seed=1))
    return made("ErnieImagePipeline", network, flux2_vae(), flow(shift=3.0)), given, FLOW


def krea2() -> Made:
    network = partial(
        diffusers.Krea2Transformer2DModel,
        in_channels=16, num_layers=1, attention_head_dim=16, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=32, timestep_embed_dim=16, text_hidden_dim=16, num_text_layers=2,
        text_num_attention_heads=2, text_num_key_value_heads=1, text_intermediate_size=16,
        num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 2, 16), "prompt_embeds_mask": ones(2, 6, dtype=torch.bool)})
    pipe = made("Krea2Pipeline", network, qwen_vae(), flow(use_dynamic_shifting=True), patch_size=2)
    return pipe, given | {"guidance_scale": 3.0}, FLOW


def nucleus() -> Made:
    network = partial(
        diffusers.NucleusMoEImageTransformer2DModel,
        in_channels=16, out_channels=4, num_layers=5, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 6, 6), num_experts=2, moe_intermediate_dim=16,
        capacity_factors=2.0,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_embeds_mask": ones(2, 6)})
    pipe = made("NucleusMoEImagePipeline", network, qwen_vae(), flow(use_dynamic_shifting=True))
    for number, (name, parameter) in enumerate(pipe.transformer.named_parameters()):
        if "_proj" in name and parameter.ndim == 3:  # of experts, which have no values at first
            parameter.data = embeds(*parameter.shape, seed=number) * 0.2
    return pipe, given | {"guidance_scale": 4.0}, FLOW


def bria_fibo() -> Made:
    network = partial(
        diffusers.BriaFiboTransformer2DModel,
        in_channels=4,
        joint_attention_dim=16,
        text_encoder_dim=8,
        axes_dims_rope=[4, 4, 8],
        **FLUX,
    )
    pipe = made("BriaFiboPipeline", network, qwen_vae(levels=5), flow(use_dynamic_shifting=True))

    def encode_prompt(prompt: list[str], **_options: Any) -> tuple[Any, ...]:
        """Return embeddings that depend on the prompts; without, with as many zeros."""
        rows, mask = embedded(prompt), ones(len(prompt), 6)
        layers = [rows[..., :8], rows[..., 8:]]
        return rows, 0 * rows, torch.zeros(6, 3), mask, mask, layers, [0 * each for each in layers]

    pipe.encode_prompt = encode_prompt  # which takes no embeddings
    return pipe, {"prompt": ["a red cat", "two dogs"], "guidance_scale": 4.0}, FLOW


def qwen_edit(name: str) -> Made:
    """Return an editor of Qwen-Image. Its reference image gets a million pixels, which a factor of 32 makes few."""
    pipe, given, kind = TRANSFORMERS["QwenImagePipeline"]()
    vae = qwen_vae(levels=6)
    parts = {"scheduler": pipe.scheduler, "vae": vae, "transformer": pipe.transformer}
    absent = dict.fromkeys(("text_encoder", "tokenizer", "processor"))
    edit = quiet(getattr(diffusers, name)(**parts, **absent))
    rows = {key: value[:1] if isinstance(value, torch.Tensor) else value for key, value in given.items()}
    return edit, rows | {"image": pictures()[0]}, kind


RECENT: dict[str, Callable[[], Made]] = {
    "Kandinsky5T2IPipeline": kandinsky5,
    "Kandinsky5I2IPipeline": lambda: kandinsky5("Kandinsky5I2IPipeline"),
    "PRXPixelPipeline": prx_pixel,
    "LongCatImagePipeline": longcat,
    "OmniGenPipeline": omnigen,
    "ErnieImagePipeline": ernie,
    "Krea2Pipeline": krea2,
    "NucleusMoEImagePipeline": nucleus,
    "BriaFiboPipeline": bria_fibo,
    "QwenImageEditPipeline": lambda: qwen_edit("QwenImageEditPipeline"),
    "QwenImageEditPlusPipeline": lambda: qwen_edit("QwenImageEditPlusPipeline"),
}
