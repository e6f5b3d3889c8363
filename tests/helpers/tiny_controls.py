"""Tiny pipelines of image transformers that take a further image, or are close to those in `TRANSFORMERS`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import diffusers

from helpers.tiny_latents import seeded, without_zeros
from helpers.tiny_transformers import (
    FLOW,
    FLUX,
    TRANSFORMERS,
    Made,
    embeds,
    flow,
    flux2,
    made,
    negative,
    pictures,
    quiet,
    small_vae,
)

__all__ = ["CONTROLS"]


def controlled(name: str, base: str, controlnet: Callable[[Any], Any]) -> Made:
    """Return the pipeline `base` with a ControlNet that has an effect."""
    pipe, given, kind = TRANSFORMERS[base]()
    net = without_zeros(seeded(lambda: controlnet(pipe.transformer)))
    cls = getattr(diffusers, name)
    takes = inspect.signature(cls.__init__).parameters
    parts = {key: part for key, part in pipe.components.items() if key in takes} | {"controlnet": net}
    options = {"requires_safety_checker": False} if "requires_safety_checker" in takes else {}
    return quiet(cls(**parts, **options)), given | {"control_image": pictures()}, kind


def like(cls: Any, network: Any, **options: Any) -> Any:
    """Return a ControlNet with the config of a network, where it has the same entries."""
    takes = inspect.signature(cls.__init__).parameters
    return cls(**{key: value for key, value in network.config.items() if key in takes} | options)


def qwen_controlnet() -> Made:
    return controlled(
        "QwenImageControlNetPipeline",
        "QwenImagePipeline",
        lambda network: like(diffusers.QwenImageControlNetModel, network),
    )


def cogview4_control() -> Made:
    pipe, given, kind = TRANSFORMERS["CogView4Pipeline"]()
    config = {**pipe.transformer.config, "in_channels": 8}
    parts = pipe.components | {"transformer": seeded(lambda: type(pipe.transformer).from_config(config)).eval()}
    return quiet(diffusers.CogView4ControlPipeline(**parts)), given | {"control_image": pictures()}, kind


def bria() -> Made:
    network = partial(
        diffusers.BriaTransformer2DModel, in_channels=16, joint_attention_dim=16, axes_dims_rope=[0, 8, 8], **FLUX
    )
    given = negative({"prompt_embeds": embeds(2, 6, 16)}) | {"guidance_scale": 5.0}
    return made("BriaPipeline", network, small_vae(), flow(use_dynamic_shifting=True)), given, FLOW


def flux2_kv() -> Made:
    pipe, given, kind = flux2("Flux2KleinPipeline", guidance=False)
    parts = dict(pipe.components)
    return (
        quiet(diffusers.Flux2KleinKVPipeline(**parts)),
        {name: given[name] for name in ("prompt_embeds", "image")},
        kind,
    )


def sana_controlnet() -> Made:
    return controlled(
        "SanaControlNetPipeline",
        "SanaPipeline",
        lambda network: like(diffusers.SanaControlNetModel, network, num_layers=1),
    )


def hunyuan_controlnet() -> Made:
    return controlled(
        "HunyuanDiTControlNetPipeline",
        "HunyuanDiTPipeline",
        lambda network: like(diffusers.HunyuanDiT2DControlNetModel, network, transformer_num_layers=4),
    )


def z_image_controlnet() -> Made:
    """Return the pipeline with a control of more channels than the latents, as in version 2.0."""
    return controlled(
        "ZImageControlNetPipeline",
        "ZImagePipeline",
        lambda network: like(
            diffusers.ZImageControlNetModel, network, control_layers_places=[0], control_refiner_layers_places=[0],
            control_in_dim=6, add_control_noise_refiner="control_layers",
        ),
    )  # fmt: skip


CONTROLS: dict[str, Callable[[], Made]] = {
    "QwenImageControlNetPipeline": qwen_controlnet,
    "CogView4ControlPipeline": cogview4_control,
    "SanaControlNetPipeline": sana_controlnet,
    "HunyuanDiTControlNetPipeline": hunyuan_controlnet,
    "ZImageControlNetPipeline": z_image_controlnet,
    "BriaPipeline": bria,
    "Flux2KleinKVPipeline": flux2_kv,
}
