"""Tiny pipelines of the image transformers that diffusers has, without text encoders: their prompts are embeddings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from PIL import Image

from helpers.tiny_latents import seeded, tiny_vae, without_zeros

__all__ = ["TRANSFORMERS", "embeds", "pictures"]

Made = tuple[
    Any, dict[str, Any], str
]  # the pipeline, its arguments for a batch (of two if it can), and what it predicts
FLOW = "flow_prediction"


def embeds(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures() -> list[Image.Image]:
    values = np.random.default_rng(1).integers(0, 256, (2, 32, 64, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in values]


def ones(*shape: int, dtype: torch.dtype = torch.long) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype)


def made(name: str, network: Callable[[], Any], vae: Any, scheduler: Any, **parts: Any) -> Any:
    """Return a pipeline of a class with None for all parts that are not given."""
    cls = getattr(diffusers, name)
    takes = inspect.signature(cls.__init__).parameters
    given: dict[str, Any] = {"scheduler": scheduler, **parts}
    given["transformer" if "transformer" in takes else "unet"] = without_zeros(seeded(network))
    for part in ("vae", "movq", "vqvae"):
        if part in takes:
            given[part] = vae
    required = {key for key, entry in takes.items() if entry.default is entry.empty and key not in ("self", "kwargs")}
    pipe = cls(**{key: given.get(key) for key in takes if key in given or key in required})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flow(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**config)


def small_vae(**config: Any) -> Any:
    return tiny_vae("AutoencoderKL", shift_factor=0.1, scaling_factor=0.4, **config)


def deep_vae(**config: Any) -> Any:
    """Return an autoencoder of factor 8, which some pipelines take for granted."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return small_vae(block_out_channels=(8,) * 4, **blocks, **config)


def negative(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with a negative value for each positive one."""
    doubled = dict(given)
    for name, value in given.items():
        if name == "attention_mask":
            doubled["negative_attention_mask"] = value
        else:
            doubled[f"negative_{name}"] = value if value.dtype in (torch.long, torch.bool) else value.flip(1) * 0.5
    return doubled


FLUX = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}


def chroma() -> Made:
    network = partial(
        diffusers.ChromaTransformer2DModel,
        in_channels=16, joint_attention_dim=16, axes_dims_rope=(4, 4, 8), approximator_num_channels=8,
        approximator_hidden_dim=16, approximator_layers=1, **FLUX,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6, dtype=torch.bool)})
    pipe = made("ChromaPipeline", network, small_vae(), flow(use_dynamic_shifting=True))
    return pipe, given | {"guidance_scale": 4.0}, FLOW


def kontext() -> Made:
    network = partial(
        diffusers.FluxTransformer2DModel,
        patch_size=1, in_channels=16, joint_attention_dim=16, pooled_projection_dim=8, guidance_embeds=True,
        axes_dims_rope=(4, 4, 8), **FLUX,
    )  # fmt: skip
    given = {"prompt_embeds": embeds(2, 6, 16), "pooled_prompt_embeds": embeds(2, 8), "guidance_scale": 3.0}
    given["image"] = pictures()
    return made("FluxKontextPipeline", network, small_vae(), flow(use_dynamic_shifting=True)), given, FLOW


def z_image() -> Made:
    network = partial(
        diffusers.ZImageTransformer2DModel,
        in_channels=4, dim=48, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 8, 8], axes_lens=[64, 64, 64],
    )  # fmt: skip
    given: dict[str, Any] = {"prompt_embeds": list(embeds(2, 6, 16)), "guidance_scale": 4.0}
    given["negative_prompt_embeds"] = list(embeds(2, 5, 16, seed=1))
    return made("ZImagePipeline", network, small_vae(), flow(shift=3.0)), given, FLOW


def qwen_vae(levels: int = 2) -> Any:
    """Return an autoencoder of factor 2 ** (levels - 1)."""
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.5, 2.0, 0.8, 1.2]
    return seeded(
        lambda: diffusers.AutoencoderKLQwenImage(
            base_dim=8, z_dim=4, dim_mult=[1] * (levels - 1) + [2], num_res_blocks=1,
            temperal_downsample=[False] * (levels - 1), latents_mean=mean,
            latents_std=std,
        )
    )  # fmt: skip


def qwen() -> Made:
    network = partial(
        diffusers.QwenImageTransformer2DModel,
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_embeds_mask": ones(2, 6)})
    pipe = made("QwenImagePipeline", network, qwen_vae(), flow(use_dynamic_shifting=True))
    return pipe, given | {"true_cfg_scale": 4.0}, FLOW


def flux2_vae() -> Any:
    vae = seeded(
        lambda: diffusers.AutoencoderKLFlux2(
            block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4, layers_per_block=1,
        )
    )  # fmt: skip
    vae.bn.running_mean.copy_(embeds(16) * 0.3)
    vae.bn.running_var.copy_(embeds(16).abs() + 0.5)
    return vae


def flux2(name: str = "Flux2Pipeline", guidance: bool = True) -> Made:
    network = partial(
        diffusers.Flux2Transformer2DModel,
        in_channels=16, joint_attention_dim=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=guidance,
        timestep_guidance_channels=16, **FLUX,
    )  # fmt: skip
    given = {"prompt_embeds": embeds(2, 6, 16), "guidance_scale": 3.0, "image": pictures()[0].resize((64, 64))}
    if not guidance:
        given["negative_prompt_embeds"] = embeds(2, 6, 16, seed=1)
    return made(name, network, flux2_vae(), flow(use_dynamic_shifting=True)), given, FLOW


def sana() -> Made:
    network = partial(
        diffusers.SanaTransformer2DModel,
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=16,
        sample_size=8,
    )  # fmt: skip
    vae = seeded(
        lambda: diffusers.AutoencoderDC(
            latent_channels=4, attention_head_dim=4, encoder_block_types=("ResBlock", "ResBlock"),
            decoder_block_types=("ResBlock", "ResBlock"), encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8), encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), ()), decoder_qkv_multiscales=((), ()), scaling_factor=0.41,
        )
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6)})
    return made("SanaPipeline", network, vae, flow(shift=3.0)), given | {"guidance_scale": 4.5}, FLOW


def pixart(name: str = "PixArtAlphaPipeline") -> Made:
    network = partial(
        diffusers.PixArtTransformer2DModel,
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        cross_attention_dim=16, sample_size=8, caption_channels=16, use_additional_conditions=False,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6)})
    pipe = made(name, network, tiny_vae("AutoencoderKL"), DDIMScheduler(clip_sample=False))
    return pipe, given | {"guidance_scale": 4.5}, "epsilon"


def lumina2() -> Made:
    network = partial(
        diffusers.Lumina2Transformer2DModel,
        sample_size=8, in_channels=4, hidden_size=24, num_layers=1, num_refiner_layers=1, num_attention_heads=2,
        num_kv_heads=1, multiple_of=8, axes_dim_rope=(4, 4, 4), axes_lens=(64, 64, 64), cap_feat_dim=16,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6)})
    return made("Lumina2Pipeline", network, deep_vae(), flow(shift=6.0)), given | {"guidance_scale": 4.0}, FLOW


def lumina() -> Made:
    network = partial(
        diffusers.LuminaNextDiT2DModel,
        sample_size=8, in_channels=4, hidden_size=24, num_layers=1, num_attention_heads=3, num_kv_heads=1,
        multiple_of=16, cross_attention_dim=16,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6)})
    return made("LuminaPipeline", network, deep_vae(), flow()), given | {"guidance_scale": 4.0}, FLOW


def hidream() -> Made:
    network = partial(
        diffusers.HiDreamImageTransformer2DModel,
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[16, 16], text_emb_dim=8, num_routed_experts=2,
        num_activated_experts=2, axes_dims_rope=(4, 2, 2), max_resolution=(16, 32), llama_layers=[0, 1],
        force_inference_output=True,
    )  # fmt: skip
    given: dict[str, Any] = {
        "prompt_embeds_t5": embeds(2, 6, 16), "prompt_embeds_llama3": embeds(2, 2, 6, 16, seed=1),
        "pooled_prompt_embeds": embeds(2, 8, seed=2), "negative_prompt_embeds_t5": embeds(2, 6, 16, seed=3),
        "negative_prompt_embeds_llama3": embeds(2, 2, 6, 16, seed=4),
        "negative_pooled_prompt_embeds": embeds(2, 8, seed=5), "guidance_scale": 4.0,
    }  # fmt: skip
    return made("HiDreamImagePipeline", network, small_vae(), flow(shift=3.0)), given, FLOW


def auraflow() -> Made:
    network = partial(
        diffusers.AuraFlowTransformer2DModel,
        sample_size=32, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, caption_projection_dim=16, pos_embed_max_size=256,
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16), "prompt_attention_mask": ones(2, 6)})
    pipe = made("AuraFlowPipeline", network, tiny_vae("AutoencoderKL"), flow(shift=1.73))
    return pipe, given | {"guidance_scale": 3.5}, FLOW


def cogview4() -> Made:
    network = partial(
        diffusers.CogView4Transformer2DModel,
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2, text_embed_dim=16,
        time_embed_dim=8, condition_dim=4, sample_size=16, rope_axes_dim=(64, 64),
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16)})
    scheduler = flow(use_dynamic_shifting=True, time_shift_type="linear", base_shift=0.25, max_shift=0.75)
    return (
        made("CogView4Pipeline", network, tiny_vae("AutoencoderKL"), scheduler),
        given | {"guidance_scale": 5.0},
        FLOW,
    )


def cogview3() -> Made:
    network = partial(
        diffusers.CogView3PlusTransformer2DModel,
        in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2, text_embed_dim=16,
        time_embed_dim=8, condition_dim=4, sample_size=16, pos_embed_max_size=32,
    )  # fmt: skip
    given = {"prompt_embeds": embeds(2, 6, 16)}  # negative ones are set to zero
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=4.0
    )
    pipe = made("CogView3PlusPipeline", network, tiny_vae("AutoencoderKL"), scheduler)
    return pipe, given | {"guidance_scale": 5.0}, "v_prediction"


def hunyuan_dit(name: str = "HunyuanDiTPipeline") -> Made:
    network = partial(
        diffusers.HunyuanDiT2DModel,
        num_attention_heads=2, attention_head_dim=8, in_channels=4, patch_size=2, sample_size=16, hidden_size=16,
        num_layers=4, cross_attention_dim=16, cross_attention_dim_t5=16, pooled_projection_dim=8, text_len=6,
        text_len_t5=5, use_style_cond_and_image_meta_size=False,
    )  # fmt: skip
    given = negative(
        {
            "prompt_embeds": embeds(2, 6, 16), "prompt_embeds_2": embeds(2, 5, 16, seed=1),
            "prompt_attention_mask": ones(2, 6), "prompt_attention_mask_2": ones(2, 5),
        }
    )  # fmt: skip
    scheduler = DDPMScheduler(prediction_type="v_prediction", clip_sample=False)
    pipe = made(name, network, deep_vae(), scheduler, requires_safety_checker=False)
    return pipe, given | {"guidance_scale": 5.0}, "v_prediction"


def movq(levels: int = 2) -> Any:
    return seeded(
        lambda: diffusers.VQModel(
            block_out_channels=(32,) * levels, down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels, latent_channels=4, num_vq_embeddings=16,
            norm_type="spatial", vq_embed_dim=4,
        )
    )  # fmt: skip


def kandinsky_unet(hidden: str, added: str) -> Callable[[], Any]:
    return partial(
        diffusers.UNet2DConditionModel,
        sample_size=8, in_channels=4, out_channels=8,
        block_out_channels=(32, 64), down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", layers_per_block=1, attention_head_dim=4,
        cross_attention_dim=8, encoder_hid_dim=8, encoder_hid_dim_type=hidden,
        addition_embed_type=added, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip


def kandinsky22() -> Made:
    network = kandinsky_unet("image_proj", "image")
    given = negative({"image_embeds": embeds(2, 8)}) | {"guidance_scale": 4.0}
    scheduler = DDPMScheduler(
        beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, variance_type="learned_range"
    )
    return made("KandinskyV22Pipeline", network, movq(), scheduler), given, "epsilon"


def kandinsky21() -> Made:
    network = kandinsky_unet("text_image_proj", "text_image")
    given = negative({"image_embeds": embeds(2, 8)}) | {"guidance_scale": 4.0, "prompt": ["a red cat", "two dogs"]}
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False)
    pipe = made("KandinskyPipeline", network, movq(), scheduler)

    def encode(prompt: list[str], *_rest: Any) -> tuple[torch.Tensor, ...]:
        """Return embeddings that depend on the prompts, after those without."""
        rows = torch.cat([embeds(1, 6, 8, seed=sum(map(ord, each))) for each in prompt])
        rows = torch.cat([0 * rows, rows])
        return rows[:, 0], rows, ones(len(rows), 6)

    pipe._encode_prompt = encode  # which takes no embeddings
    return pipe, given, "epsilon"


def kandinsky3() -> Made:
    network = partial(
        diffusers.Kandinsky3UNet,
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=2,
        block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=16,
    )  # fmt: skip
    given = {
        "prompt_embeds": embeds(2, 6, 16), "negative_prompt_embeds": embeds(2, 6, 16, seed=1),
        "attention_mask": ones(2, 6, dtype=torch.bool), "negative_attention_mask": ones(2, 6, dtype=torch.bool),
        "guidance_scale": 3.0,
    }  # fmt: skip
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=True, thresholding=False)
    return made("Kandinsky3Pipeline", network, movq(levels=4), scheduler), given, "epsilon"


def deepfloyd() -> Made:
    network = partial(
        diffusers.UNet2DConditionModel,
        sample_size=32, in_channels=3, out_channels=6, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", attention_head_dim=4,
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), cross_attention_dim=32,
        encoder_hid_dim=16, addition_embed_type="text", addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm", resnet_time_scale_shift="scale_shift", act_fn="gelu",
    )  # fmt: skip
    given = negative({"prompt_embeds": embeds(2, 6, 16)}) | {"guidance_scale": 7.0}
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.5,
        prediction_type="epsilon", variance_type="learned_range",
    )  # fmt: skip
    pipe = made("IFPipeline", network, None, scheduler, requires_safety_checker=False)
    pipe.register_to_config(requires_safety_checker=False)
    return pipe, given, "epsilon"


def ovis() -> Made:
    network = partial(
        diffusers.OvisImageTransformer2DModel,
        in_channels=16,
        out_channels=16,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
        **FLUX,
    )
    given = negative({"prompt_embeds": embeds(2, 6, 16)}) | {"guidance_scale": 5.0}
    return made("OvisImagePipeline", network, small_vae(), flow(use_dynamic_shifting=True)), given, FLOW


def prx() -> Made:
    network = partial(
        diffusers.PRXTransformer2DModel,
        in_channels=4,
        context_in_dim=16,
        hidden_size=32,
        num_heads=2,
        depth=1,
        axes_dim=[8, 8],
    )
    given = negative({"prompt_embeds": embeds(1, 6, 16), "prompt_attention_mask": ones(1, 6, dtype=torch.bool)})
    pipe = made("PRXPipeline", network, small_vae(), flow(shift=3.0), default_sample_size=32)
    return pipe, given | {"guidance_scale": 4.0}, FLOW


def sana_pag() -> Made:
    pipe, given, kind = sana()
    parts = dict(pipe.components)
    return quiet(diffusers.SanaPAGPipeline(**parts, pag_applied_layers="transformer_blocks.0")), given, kind


def pixart_pag() -> Made:
    pipe, given, kind = pixart("PixArtSigmaPipeline")
    return quiet(diffusers.PixArtSigmaPAGPipeline(**pipe.components, pag_applied_layers="blocks.0")), given, kind


def hunyuan_pag() -> Made:
    pipe, given, kind = hunyuan_dit()
    parts = dict(pipe.components) | {"requires_safety_checker": False}
    return quiet(diffusers.HunyuanDiTPAGPipeline(**parts, pag_applied_layers="blocks.0")), given, kind


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


TRANSFORMERS: dict[str, Callable[[], Made]] = {
    "ChromaPipeline": chroma,
    "FluxKontextPipeline": kontext,
    "ZImagePipeline": z_image,
    "QwenImagePipeline": qwen,
    "Flux2Pipeline": flux2,
    "Flux2KleinPipeline": lambda: flux2("Flux2KleinPipeline", guidance=False),
    "SanaPipeline": sana,
    "PixArtAlphaPipeline": pixart,
    "PixArtSigmaPipeline": lambda: pixart("PixArtSigmaPipeline"),
    "Lumina2Pipeline": lumina2,
    "LuminaPipeline": lumina,
    "HiDreamImagePipeline": hidream,
    "AuraFlowPipeline": auraflow,
    "CogView4Pipeline": cogview4,
    "CogView3PlusPipeline": cogview3,
    "HunyuanDiTPipeline": hunyuan_dit,
    "KandinskyV22Pipeline": kandinsky22,
    "KandinskyPipeline": kandinsky21,
    "Kandinsky3Pipeline": kandinsky3,
    "IFPipeline": deepfloyd,
    "OvisImagePipeline": ovis,
    "PRXPipeline": prx,
    "SanaPAGPipeline": sana_pag,
    "PixArtSigmaPAGPipeline": pixart_pag,
    "HunyuanDiTPAGPipeline": hunyuan_pag,
}
