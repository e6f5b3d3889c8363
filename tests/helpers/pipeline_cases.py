"""Small copies of diffusers' image pipelines, each with arguments for a run of its own."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
from diffusers import DDIMScheduler, DDPMScheduler, LCMScheduler
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from PIL import Image

from helpers.tiny_controls import CONTROLS
from helpers.tiny_ip_adapters import image_encoder, image_processor, with_ip_adapter
from helpers.tiny_latents import (
    SD_BETAS,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    clip,
    seeded,
    tiny_flux,
    tiny_sd,
    tiny_sd3,
    tiny_sdxl,
    tiny_unet,
    tiny_vae,
    tokenizer,
    without_zeros,
)
from helpers.tiny_multimodal import MULTIMODAL
from helpers.tiny_pipelines import sd_like, several_controlnets
from helpers.tiny_recent import RECENT
from helpers.tiny_transformers import TRANSFORMERS

__all__ = ["CASES", "NO_IP_ADAPTER", "SEVERAL_FLOW", "Case", "folder"]

SIZE = 16, 24
NO_IP_ADAPTER = ("StableDiffusionPipelineSafe", "AltDiffusionPipeline")  # although they take its image
PROMPTS: dict[str, Any] = {"prompt": ["a red cat", "two dogs"], "guidance_scale": 5.0}


class Case:
    """A small pipeline, and a run of it.

    Args:
        build: makes the pipeline, or the pipeline with its arguments.
        given: its arguments, by the names of its `__call__`.
        size: (height, width) in pixels.
    """

    def __init__(
        self, build: Callable[[], Any], given: dict[str, Any] | None = None, size: tuple[int, int] = SIZE
    ) -> None:
        self.build, self.size, self._given = build, size, given

    def made(self) -> tuple[Any, dict[str, Any]]:
        """Return the pipeline and its arguments, with an IP-Adapter if it can have one."""
        if self._given is not None:
            pipe, given = self.build(), self._given
        else:
            pipe, given, _ = self.build()
        pipe.set_progress_bar_config(disable=True)
        broken = type(pipe).__name__ in NO_IP_ADAPTER
        if not broken and "ip_adapter_image" in inspect.signature(pipe.__call__).parameters:
            pipe, given = with_ip_adapter(pipe), given | {"ip_adapter_image": [picture(1)]}
        return pipe, given


def folder() -> Path:
    return Path(tempfile.mkdtemp())


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def two_pictures(name: str = "image") -> dict[str, Any]:
    return PROMPTS | {name: [picture(1), picture(2)]}


def lcm() -> Any:
    scheduler = LCMScheduler(**SD_BETAS)
    return sd_like(
        folder(), "LatentConsistencyModelPipeline", unet=tiny_unet(8, time_cond_proj_dim=8), scheduler=scheduler
    )


def controlnet_xs(xl: bool) -> Any:
    blocks = {"layers_per_block": 2}
    if xl:
        pipe = tiny_sdxl(folder())
        pipe.unet = seeded(lambda: type(pipe.unet).from_config({**pipe.unet.config, **blocks}))
    else:
        pipe = tiny_sd(folder(), **blocks)
    adapter = diffusers.ControlNetXSAdapter
    net = seeded(lambda: adapter.from_unet(pipe.unet, size_ratio=1.0, conditioning_embedding_out_channels=(8, 8)))
    cls = diffusers.StableDiffusionXLControlNetXSPipeline if xl else diffusers.StableDiffusionControlNetXSPipeline
    takes = inspect.signature(cls.__init__).parameters
    options = {"requires_safety_checker": False} if "requires_safety_checker" in takes else {}
    parts = pipe.components | {"controlnet": without_zeros(net)}
    return cls(**{name: part for name, part in parts.items() if name in takes}, **options)


def latent_diffusion() -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    vae = tiny_vae("VQModel", block_out_channels=(8,) * 4, **blocks)
    bert, words = clip(CLIPTextModel), tokenizer(folder())
    scheduler = DDIMScheduler(clip_sample=False)
    return diffusers.LDMTextToImagePipeline(vae, bert, words, tiny_unet(8), scheduler)


def sd3_parts() -> dict[str, Any]:
    absent = ("image_encoder", "feature_extractor")
    return {name: part for name, part in tiny_sd3(folder(), layers=2).components.items() if name not in absent}


def sd3_controlnet() -> Any:
    parts = sd3_parts()
    takes = inspect.signature(diffusers.SD3ControlNetModel.__init__).parameters
    config = {name: value for name, value in parts["transformer"].config.items() if name in takes}
    net = seeded(lambda: diffusers.SD3ControlNetModel(**config))
    return diffusers.StableDiffusion3ControlNetPipeline(**parts, controlnet=without_zeros(net))


def flux_controlnet() -> Any:
    pipe = tiny_flux(folder())
    takes = inspect.signature(diffusers.FluxControlNetModel.__init__).parameters
    config = {name: value for name, value in pipe.transformer.config.items() if name in takes}
    net = seeded(lambda: diffusers.FluxControlNetModel(**config))
    return diffusers.FluxControlNetPipeline(**pipe.components, controlnet=without_zeros(net))


def flux_control() -> Any:
    pipe = tiny_flux(folder())
    config = {name: value for name, value in pipe.transformer.config.items() if not name.startswith("_")}
    config |= {"in_channels": 32, "out_channels": 16}
    transformer = seeded(lambda: type(pipe.transformer).from_config(config))
    absent = ("image_encoder", "feature_extractor")
    parts = {name: part for name, part in pipe.components.items() if name not in absent}
    return diffusers.FluxControlPipeline(**parts | {"transformer": transformer})


def variation() -> Any:
    pipe = tiny_sd(folder())
    return diffusers.StableDiffusionImageVariationPipeline(
        pipe.vae, image_encoder(), pipe.unet, pipe.scheduler, None, image_processor(), requires_safety_checker=False
    )


def controlnet_union() -> Any:
    pipe = tiny_sdxl(folder())
    takes = inspect.signature(diffusers.ControlNetUnionModel.__init__).parameters
    config = {name: value for name, value in pipe.unet.config.items() if name in takes}
    small = {"conditioning_embedding_out_channels": (8, 8), "num_trans_channel": 8, "num_trans_head": 2}
    net = seeded(lambda: diffusers.ControlNetUnionModel(**config | small | {"num_proj_channel": 8}))
    return diffusers.StableDiffusionXLControlNetUnionPipeline(
        **pipe.components, controlnet=without_zeros(net), add_watermarker=False
    )


SEVERAL_FLOW: dict[str, Callable[[], Any]] = {
    "FluxControlNetPipeline": lambda: several_controlnets(flux_controlnet(), diffusers.FluxMultiControlNetModel),
    "StableDiffusion3ControlNetPipeline": lambda: several_controlnets(
        sd3_controlnet(), diffusers.SD3MultiControlNetModel
    ),
}


def unclip_parts() -> dict[str, Any]:
    unet = tiny_unet(8, class_embed_type="projection", projection_class_embeddings_input_dim=16)
    absent = ("safety_checker", "feature_extractor", "image_encoder")
    parts = {name: part for name, part in tiny_sd(folder()).components.items() if name not in absent}
    normalizer = seeded(lambda: StableUnCLIPImageNormalizer(embedding_dim=8))
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    return parts | {"unet": unet, "image_normalizer": normalizer, "image_noising_scheduler": noising}


def unclip() -> Any:
    prior = seeded(
        lambda: diffusers.PriorTransformer(
            num_attention_heads=2, attention_head_dim=4, embedding_dim=8, num_layers=1, num_embeddings=77
        ).eval()
    )
    scheduler = diffusers.UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample")
    return diffusers.StableUnCLIPPipeline(
        **unclip_parts(),
        prior=prior,
        prior_scheduler=scheduler,
        prior_tokenizer=tokenizer(folder()),
        prior_text_encoder=clip(CLIPTextModelWithProjection, seed=2),
    )


def unclip_variation() -> Any:
    return diffusers.StableUnCLIPImg2ImgPipeline(
        **unclip_parts(), image_encoder=image_encoder(), feature_extractor=image_processor()
    )


def sd(name: str, given: dict[str, Any] | None = None) -> Case:
    return Case(lambda: sd_like(folder(), name), PROMPTS if given is None else given)


CASES: dict[str, Case] = {
    **{name: Case(build, size=(32, 64)) for name, build in (TRANSFORMERS | CONTROLS | RECENT | MULTIMODAL).items()},
    "PRXPixelPipeline": Case(RECENT["PRXPixelPipeline"], size=(16, 32)),
    **{name: Case(RECENT[name], size=(64, 128)) for name in ("QwenImageEditPipeline", "QwenImageEditPlusPipeline")},
    "Kandinsky3Pipeline": Case(TRANSFORMERS["Kandinsky3Pipeline"], size=(64, 64)),
    "IFPipeline": Case(TRANSFORMERS["IFPipeline"], size=(8, 16)),
    "StableDiffusionPipeline": Case(lambda: tiny_sd(folder()), PROMPTS),
    "StableDiffusionXLPipeline": Case(lambda: tiny_sdxl(folder()), PROMPTS),
    "StableDiffusion3Pipeline": Case(lambda: tiny_sd3(folder()), PROMPTS),
    "FluxPipeline": Case(lambda: tiny_flux(folder()), PROMPTS),
    **{
        name: sd(name, two_pictures())
        for name in (
            "StableDiffusionControlNetPipeline",
            "StableDiffusionXLControlNetPipeline",
            "StableDiffusionAdapterPipeline",
            "StableDiffusionXLAdapterPipeline",
            "StableDiffusionControlNetPAGPipeline",
            "StableDiffusionXLControlNetPAGPipeline",
        )
    },
    **{
        name: sd(name)
        for name in ("StableDiffusionPAGPipeline", "StableDiffusionXLPAGPipeline", "StableDiffusionPipelineSafe")
        if hasattr(diffusers, name)
    },
    "StableDiffusionControlNetXSPipeline": Case(lambda: controlnet_xs(False), two_pictures()),
    "StableDiffusionXLControlNetXSPipeline": Case(lambda: controlnet_xs(True), two_pictures()),
    "LatentConsistencyModelPipeline": Case(lcm, PROMPTS),
    "LDMTextToImagePipeline": Case(latent_diffusion, PROMPTS, size=(32, 64)),
    "StableDiffusion3ControlNetPipeline": Case(sd3_controlnet, two_pictures("control_image")),
    "StableDiffusion3PAGPipeline": Case(
        lambda: diffusers.StableDiffusion3PAGPipeline(**sd3_parts(), pag_applied_layers=["0"]), PROMPTS
    ),
    "FluxControlNetPipeline": Case(flux_controlnet, two_pictures("control_image")),
    "FluxControlPipeline": Case(flux_control, two_pictures("control_image")),
    "StableDiffusionXLControlNetUnionPipeline": Case(
        controlnet_union,
        PROMPTS | {"control_image": [[picture(1), picture(2)], [picture(3), picture(4)]], "control_mode": [1, 3]},
    ),
    "StableUnCLIPPipeline": Case(unclip, PROMPTS),
    "StableUnCLIPImg2ImgPipeline": Case(unclip_variation, PROMPTS | {"image": [picture(1), picture(2)]}),
    "AltDiffusionPipeline": sd("AltDiffusionPipeline"),
    "StableDiffusionImageVariationPipeline": Case(variation, {"image": picture(1), "guidance_scale": 4.0}),
}
