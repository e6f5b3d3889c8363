"""Tiny pipelines that read a reference image beside the prompt, with a small vision-language model of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from helpers.tiny_latents import seeded
from helpers.tiny_transformers import FLOW, Made, embeds, flow, flux2_vae, made, pictures, small_vae

__all__ = ["MULTIMODAL"]

MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
)


def qwen3_processor() -> Any:
    """Return a processor with one token for each character, and for each 32 x 32 pixels as in the published one."""
    vocab = {name: number for number, name in enumerate(["<pad>", *MARKS, "\n", *map(chr, range(32, 127))])}
    core = Tokenizer(models.WordLevel(vocab, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="?", additional_special_tokens=MARKS
    )
    images = transformers.Qwen2VLImageProcessor(patch_size=16, merge_size=2, min_pixels=1024, max_pixels=4096)
    videos = transformers.Qwen3VLVideoProcessor(patch_size=16)
    return transformers.Qwen3VLProcessor(images, tokenizer, videos, chat_template=CHAT)


def qwen3(processor: Any) -> Any:
    """Return a small Qwen3-VL of two layers for the tokens of a processor."""
    ids = processor.tokenizer.convert_tokens_to_ids
    config = transformers.Qwen3VLConfig(
        text_config={
            "vocab_size": 128, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 16,
            "out_hidden_size": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    return seeded(lambda: transformers.Qwen3VLForConditionalGeneration(config).eval())


def square() -> Image.Image:
    """Return a reference image of 64 x 64 pixels, the least that some pipelines take."""
    return pictures()[0].resize((64, 64))


def stripe() -> Image.Image:
    """Return a mask for `square`: its middle."""
    return Image.fromarray(np.repeat(np.uint8([0, 255, 0]), [24, 16, 24])[None].repeat(64, axis=0))


def z_image_omni() -> Made:
    network = partial(
        diffusers.ZImageTransformer2DModel,
        in_channels=4, dim=48, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        siglip_feat_dim=16, axes_dims=[8, 8, 8], axes_lens=[256, 64, 64],
    )  # fmt: skip
    config = transformers.Siglip2VisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_patches=16, patch_size=8
    )
    siglip = seeded(lambda: transformers.Siglip2VisionModel(config).eval())
    vae = small_vae().to(torch.bfloat16)  # the pipeline encodes in bfloat16
    processor = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    pipe = made("ZImageOmniPipeline", network, vae, flow(shift=3.0), siglip=siglip, siglip_processor=processor)
    texts = [[embeds(6, 16, seed=3 * row + part) for part in range(3)] for row in range(2)]  # around the image
    given = {"prompt_embeds": texts, "negative_prompt_embeds": [[part.flip(1) for part in row] for row in texts]}
    return pipe, given | {"image": [square()], "guidance_scale": 4.0}, FLOW


def bria_fibo2() -> Made:
    network = partial(
        diffusers.BriaFibo2Transformer2DModel,
        in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, cap_feat_dim=32, injection_layer_ids=(1,),
        perceiver_num_layers=1, min_num_gist_tokens=4, max_num_gist_tokens=8, gist_step=4, gist_min_text_len=4,
        gist_max_text_len=64, axes_dims=(4, 6, 6), axes_lens=(256, 64, 64),
    )  # fmt: skip
    processor = qwen3_processor()
    scheduler = flow(use_dynamic_shifting=True)
    pipe = made(
        "BriaFibo2Pipeline", network, flux2_vae(), scheduler, processor=processor, text_encoder=qwen3(processor)
    )
    pipe.text_encoder_out_layers = ((0, 1), (1, 2))  # of two, where the model has 36
    given = {"prompt": ["make it snow", "paint it red"], "negative_prompt": ["bad", "worse"], "image": square()}
    return pipe, given | {"guidance_scale": 4.0, "mask": stripe()}, FLOW


def qwen_image21() -> Made:
    network = partial(
        diffusers.QwenImage21Transformer2DModel,
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2, context_in_dim=16,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = seeded(
        lambda: diffusers.AutoencoderKLQwenImage21(
            base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1,
            temperal_downsample=[False] * 4, latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 2.0, 0.8, 1.2],
        )
    )  # fmt: skip
    processor = qwen3_processor()
    scheduler = flow(use_dynamic_shifting=True)
    pipe = made("QwenImage21Pipeline", network, vae, scheduler, processor=processor, text_encoder=qwen3(processor))
    given = {"prompt": ["make it snow", "paint it red"], "negative_prompt": ["bad", "worse"], "image": [square()]}
    return pipe, given | {"true_cfg_scale": 4.0, "output_resolution": 64}, FLOW


MULTIMODAL: dict[str, Callable[[], Made]] = {
    "ZImageOmniPipeline": z_image_omni,
    "BriaFibo2Pipeline": bria_fibo2,
    "QwenImage21Pipeline": qwen_image21,
}
