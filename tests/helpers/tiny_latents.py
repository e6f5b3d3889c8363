"""Tiny latent, text-conditioned and flow pipelines of diffusers' classes, with random weights from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

__all__ = [
    "AUTOENCODERS",
    "TEXT",
    "tiny_dit",
    "tiny_flux",
    "tiny_sd",
    "tiny_sd3",
    "tiny_sdxl",
    "tiny_vae",
    "without_zeros",
]

SD_BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def seeded(build: Callable[[], Any], seed: int = 0) -> Any:
    """Return `build()` with the random weights of a seed. Global random numbers are not consumed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def without_zeros(net: Any) -> Any:
    """Give random values to the parameters of a network that are zero at first, as in the zero layers of a ControlNet.

    With them, its inputs change nothing, and a test that compares predictions could not tell when they are dropped.
    """
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return net.eval()


def tiny_vae(kind: str, **config: Any) -> Any:
    """Return an autoencoder of factor 2 with 4 latent channels."""
    wide: dict[str, Any] = {
        "block_out_channels": (8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
    }
    small: dict[str, Any] = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
    small |= {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1), "latent_channels": 4}
    build = {
        "AutoencoderKL": lambda: AutoencoderKL(**(wide | config)),
        "VQModel": lambda: VQModel(**(wide | {"num_vq_embeddings": 16} | config)),
        "AutoencoderTiny": lambda: AutoencoderTiny(**(small | config)),
    }
    return seeded(build[kind])


AUTOENCODERS = ["AutoencoderKL", "VQModel", "AutoencoderTiny"]


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a tokenizer with one token per character, CLIP's file layout and its window of 77 tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    names = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocab = {name: number for number, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    try:
        return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)
    except TypeError:  # transformers before 5
        return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per letter and T5's padding (0) and end (1), without a sentencepiece file."""
    vocab = {name: number for number, name in enumerate(["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    )


def clip(cls: type, width: int = 8, seed: int = 0) -> Any:
    config = CLIPTextConfig(
        vocab_size=90,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=width,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return seeded(lambda: cls(config).eval(), seed)


def t5() -> T5EncoderModel:
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return seeded(lambda: T5EncoderModel(config).eval())


def tiny_unet(width: int, **config: Any) -> UNet2DConditionModel:
    small: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": width,
    }
    return seeded(lambda: UNet2DConditionModel(**(small | config)))


def tiny_sd(folder: Path, prediction_type: str = "epsilon", **unet: Any) -> StableDiffusionPipeline:
    """Return a tiny Stable Diffusion 1.x or, with "v_prediction", 2.x."""
    scheduler = DDIMScheduler(**SD_BETAS, clip_sample=False, set_alpha_to_one=False, prediction_type=prediction_type)
    return StableDiffusionPipeline(
        vae=tiny_vae("AutoencoderKL"),
        text_encoder=clip(CLIPTextModel),
        tokenizer=tokenizer(folder),
        unet=tiny_unet(8, **unet),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sdxl(folder: Path) -> StableDiffusionXLPipeline:
    """Return a tiny Stable Diffusion XL with its published Euler scheduler."""
    unet = tiny_unet(
        16,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 8,
    )
    return StableDiffusionXLPipeline(
        vae=tiny_vae("AutoencoderKL"),
        text_encoder=clip(CLIPTextModel),
        text_encoder_2=clip(CLIPTextModelWithProjection, seed=1),
        tokenizer=tokenizer(folder / "1"),
        tokenizer_2=tokenizer(folder / "2"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**SD_BETAS, timestep_spacing="leading"),
        add_watermarker=False,
    )


def tiny_sd3(folder: Path, third: bool = False, layers: int = 1, **scheduler: Any) -> StableDiffusion3Pipeline:
    """Return a tiny Stable Diffusion 3, with or without its third text encoder."""
    transformer = seeded(
        lambda: SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=layers,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pooled_projection_dim=16,
            pos_embed_max_size=16,
        )
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**({"shift": 3.0} | scheduler)),
        vae=tiny_vae("AutoencoderKL", shift_factor=0.0609, scaling_factor=1.5305),
        text_encoder=clip(CLIPTextModelWithProjection),
        tokenizer=tokenizer(folder / "1"),
        text_encoder_2=clip(CLIPTextModelWithProjection, seed=1),
        tokenizer_2=tokenizer(folder / "2"),
        text_encoder_3=t5() if third else None,
        tokenizer_3=t5_tokenizer() if third else None,
    )


def tiny_flux(folder: Path, guidance_embeds: bool = True, dynamic: bool = True) -> FluxPipeline:
    """Return a tiny Flux: "dev" with distilled guidance and dynamic shift, or "schnell" with neither."""
    transformer = seeded(
        lambda: FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=8,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(2, 2, 4),
        )
    )
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=dynamic, shift=3.0 if dynamic else 1.0)
    return FluxPipeline(
        scheduler=scheduler,
        vae=tiny_vae("AutoencoderKL", shift_factor=0.1159, scaling_factor=0.3611),
        text_encoder=clip(CLIPTextModel),
        tokenizer=tokenizer(folder),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer,
    )


def tiny_dit(names: dict[int, str] | None = None, **config: Any) -> DiTPipeline:
    """Return a tiny DiT for images of 16 x 16 pixels, with the 1000 classes that diffusers' pipeline assumes."""
    small: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 2,
        "sample_size": 8,
        "num_embeds_ada_norm": 1000,
    }
    transformer = seeded(lambda: DiTTransformer2DModel(**(small | config)).eval())
    return DiTPipeline(transformer, tiny_vae("AutoencoderKL"), DDIMScheduler(clip_sample=False), id2label=names)


TEXT: dict[str, Callable[[Path], Any]] = {
    "sd1": tiny_sd,
    "sd2": lambda folder: tiny_sd(folder, "v_prediction"),
    "sdxl": tiny_sdxl,
    "sd3": tiny_sd3,
    "flux": tiny_flux,
}
