"""Choose the prior of a diffusers pipeline by class names and configs, or explain why there is none."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repaint.errors import PriorError
from repaint.priors.codecs import CODECS
from repaint.priors.dit import DiTPrior
from repaint.priors.driven import DrivenPrior
from repaint.priors.flow import FluxPrior, StableDiffusion3Prior
from repaint.priors.latent import AUTOENCODERS, LatentPrior
from repaint.priors.pipeline_prior import SPACES
from repaint.priors.pixel import PixelPrior
from repaint.priors.text import StableDiffusionPrior

__all__ = ["BY_PARTS", "SUPPORTED", "family_of", "space_of"]

BY_PARTS = (PixelPrior, LatentPrior, DiTPrior)  # the others wrap a whole pipeline, which encodes their prompts
SUPPORTED = (
    f"UNet2DModel in pixel space or over {', '.join(AUTOENCODERS)}, DiTTransformer2DModel over these, and "
    "text-to-image pipelines of diffusers (docs/pipelines.md)"
)
# Pipelines whose guided prediction needs nothing but the prompts, with their variants of the same weights.
PLAIN: dict[str, Any] = {
    "StableDiffusionPipeline": StableDiffusionPrior,
    "StableDiffusionImg2ImgPipeline": StableDiffusionPrior,
    "StableDiffusionInpaintPipeline": StableDiffusionPrior,
    "StableDiffusionXLPipeline": StableDiffusionPrior,
    "StableDiffusionXLImg2ImgPipeline": StableDiffusionPrior,
    "StableDiffusionXLInpaintPipeline": StableDiffusionPrior,
    "StableDiffusion3Pipeline": StableDiffusion3Prior,
    "StableDiffusion3Img2ImgPipeline": StableDiffusion3Prior,
    "StableDiffusion3InpaintPipeline": StableDiffusion3Prior,
    "FluxPipeline": FluxPrior,
    "FluxImg2ImgPipeline": FluxPrior,
    "FluxInpaintPipeline": FluxPrior,
}
EXTRAS = ("controlnet", "adapter", "image_encoder")  # parts that change what a plain pipeline predicts


@dataclass(frozen=True)
class Refusal:
    """Why pipelines are not supported.

    Attributes:
        names: a pattern of class names.
        why: the end of the sentence "A NAME ...".
    """

    names: str
    why: str


REFUSALS = [
    Refusal(
        r"UnCLIP(Image|Pipeline)(?<!StableUnCLIPPipeline)|StableCascade|Wuerstchen",
        "makes an image in several stages, each with its own diffusion model, so that no single walk can keep pixels. "
        "Use a model with one stage, such as Stable Diffusion XL.",
    ),
    Refusal(
        r"^Kandinsky.*Combined",
        "holds a prior and a decoder. Wrap the decoder, KandinskyV22Pipeline, and pass image_embeds and "
        "negative_image_embeds of the KandinskyV22PriorPipeline.",
    ),
    Refusal(
        r"Kandinsky.*Prior|FluxPriorRedux",
        "makes embeddings and no image. Wrap the pipeline that takes them, and pass them as its arguments.",
    ),
    Refusal(
        r"VersatileDiffusion|UniDiffuser",
        "shares its network between images and texts in a form of its own. Use StableDiffusionPipeline with a model of "
        "Stable Diffusion.",
    ),
    Refusal(r"Marigold", "predicts depth, normals or materials of an image and makes none. Use a text-to-image model."),
    Refusal(
        r"Amused|VQDiffusion|LLaDA|DiffusionGemma",
        "samples discrete tokens, which have no Gaussian noise. Use a model of continuous samples.",
    ),
    Refusal(r"Audio|Music|AceStep|Spectrogram|DanceDiffusion", "makes sound. Use a text-to-image model."),
    Refusal(r"ShapE|Proteina", "makes shapes and no images. Use a text-to-image model."),
    Refusal(
        r"Cosmos2TextToImage",
        "has noise levels of its own (x0 + sigma eps, up to sigma 80) in a flow scheduler. Use another text-to-image "
        "model, such as Sana or Qwen-Image.",
    ),
    Refusal(
        r"HunyuanImagePipeline|Ideogram4",
        "guides each prediction by the number of its step, which a walk with jumps does not have. Use another "
        "text-to-image model, such as Qwen-Image.",
    ),
    Refusal(
        r"GlmImage",
        "plans each image as tokens, which a language model draws without seeing yours, and from torch's global "
        "generator. Use another text-to-image model, such as Qwen-Image.",
    ),
    Refusal(
        r"BlipDiffusion",
        "writes a subject's image into its prompt by an encoder of its own. Use a StableDiffusionPipeline with an "
        "IP-Adapter.",
    ),
    Refusal(r"DreamLite", "takes one prompt at a time, and no batch. Use another text-to-image model, such as Sana."),
    Refusal(
        r"LongCatImageEdit",
        "makes images of about a million pixels in the shape of its reference image, whatever is cut from yours. Wrap "
        "a QwenImageEditPipeline or a FluxKontextPipeline.",
    ),
    Refusal(
        r"Video|AnimateDiff|PIAPipeline|Cosmos|LTX|I2V|T2V|TI2VA|Latte|Helios|Lucy|Mochi|Allegro|^Wan|"
        r"EasyAnimate|ConsisID|SkyReels|AnyFlow|SanaWM|Skyreels|ChronoEdit",
        "makes videos. Use a text-to-image model.",
    ),
    Refusal(
        r"Upscale|SuperResolution|SRPipeline|HunyuanImageRefiner",
        "enlarges or refines an image that its network takes as further input. Use a text-to-image model.",
    ),
    Refusal(
        r"Inpaint|Fill|PaintByExample|^RePaintPipeline$|VisualCloze",
        "is a method or a model for inpainting itself. Wrap the text-to-image pipeline of the model, or use it in "
        "diffusers.",
    ),
    Refusal(
        r"(?<!StableUnCLIP)Img2Img|Depth2Img|Emb2Emb",
        "starts from an image. Wrap the text-to-image pipeline of the same model: "
        "AutoPipelineForText2Image.from_pipe(pipe).",
    ),
    Refusal(
        r"InstructPix2Pix|Pix2PixZero|DiffEdit|LEdits|CycleDiffusion|JoyImageEdit|ImageLayered|FiboEdit|ModelEditing",
        "edits a whole image by a method of its own. Wrap the text-to-image pipeline of the model.",
    ),
    Refusal(
        r"Panorama|Paradigms|AttendAndExcite|SAGPipeline|SemanticStable",
        "works on the sample or the noise levels of its own scheduler between two steps. Wrap the ordinary "
        "pipeline of the model.",
    ),
    Refusal(
        r"SanaSprint",
        "is a consistency model on trigonometric noise levels, which are not supported. Wrap a SanaPipeline.",
    ),
    Refusal(
        r"GLIGEN|V22Controlnet",
        "takes boxes or hints of the whole image, which a cropped image would misplace. Wrap the ordinary pipeline of "
        "the model.",
    ),
    Refusal(r"Modular", "is assembled from blocks. Build the ordinary pipeline of the model from its components."),
    Refusal(r"Onnx", "runs on another runtime. Load the model with PyTorch."),
    Refusal(r"LDM3D", "makes depth maps with its images. Wrap a StableDiffusionPipeline."),
    Refusal(r"KarrasVe", "uses a scheduler of its own, which is not supported. Wrap a ScoreSdeVePipeline."),
]


def family_of(kinds: Mapping[str, str], config: Mapping[str, Any] | None = None, pipeline: type | None = None) -> Any:
    """Return the class of prior for a pipeline, from the class names of its parts.

    Args:
        kinds: name of each part to the name of its class.
        config: of its UNet.
        pipeline: the class of the pipeline; None: only its parts are known.
    Raises:
        PriorError: not supported; the message says what to use instead.
    """
    config = config or {}
    if pipeline is not None:
        refuse(pipeline)
    if "scheduler" not in kinds:
        raise PriorError("This pipeline has no scheduler, so its noise levels are unknown. Add a scheduler to it.")
    denoiser = kinds.get("unet") or kinds.get("transformer")
    if denoiser is None:
        raise PriorError(f"This pipeline has no denoiser, only {', '.join(kinds)}. Supported are {SUPPORTED}.")
    if config.get("in_channels") == 9:
        raise PriorError(
            "UNets with 9 input channels are not supported: they are trained for inpainting and take the mask as "
            "input. Use the ordinary text-to-image model, or diffusers' StableDiffusionInpaintPipeline."
        )
    space = kinds.get(space_of(kinds))
    if pipeline is not None and space is None:
        _refuse_without_autoencoder(pipeline)
    name = "" if pipeline is None else pipeline.__name__
    prompted = any(part in kinds for part in ("text_encoder", "bert"))
    if denoiser == "UNet2DModel" and (space is None or space in AUTOENCODERS) and not prompted:
        return PixelPrior if space is None else LatentPrior
    if denoiser == "DiTTransformer2DModel" and space in AUTOENCODERS:
        return DiTPrior
    if name in PLAIN:
        _refuse_inputs(name, config)
    extra = any(part in kinds for part in EXTRAS) or any(config.get(key) for key in CONDITIONED)
    if name in PLAIN and not extra and space in AUTOENCODERS:
        return PLAIN[name]
    if name in PLAIN and re.search("Img2Img|Inpaint", name):
        raise PriorError(
            f"A {name} with an image encoder or an IP-Adapter is not supported. Wrap the text-to-image pipeline of the "
            "same model: AutoPipelineForText2Image.from_pipe(pipe)."
        )
    if pipeline is None and space in CODECS:
        raise PriorError(f"pipe must be given for a {denoiser} (it encodes the prompts).")
    if pipeline is None or not is_conditional(pipeline) or (space is not None and space not in CODECS):
        where = f"over {space}" if space else "in pixel space"
        raise PriorError(f"A {denoiser} {where} is not supported. Supported are {SUPPORTED}.")
    return DrivenPrior


def _refuse_without_autoencoder(pipeline: type) -> None:
    """Raise an error for a pipeline of latents, whose autoencoder was left out."""
    taken = inspect.signature(pipeline.__init__).parameters  # type: ignore[misc]
    for name in SPACES:
        if name in taken and taken[name].default is inspect.Parameter.empty:
            raise PriorError(
                f"This {pipeline.__name__} has no autoencoder (its {name} is None). Set that of its model."
            )


CONDITIONED = ("encoder_hid_dim_type", "time_cond_proj_dim")  # entries of a UNet's config: IP-Adapter, LCM


INPUTS = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "addition_embed_type")
SERVED = (
    None,
    "text_proj",
    "ip_image_proj",
    "text",
    "text_time",
)  # with inputs that pipelines give


def _refuse_inputs(name: str, config: Mapping[str, Any]) -> None:
    """Raise an error for a UNet with an input that its pipeline does not provide."""
    for key in INPUTS:
        if (value := config.get(key)) not in SERVED:
            raise PriorError(
                f"A {name} with {key}={value!r} in its UNet is not supported, because that UNet needs more inputs than "
                "a prompt. Use the pipeline that its model was published with, such as StableUnCLIPPipeline."
            )


def refuse(pipeline: type) -> None:
    """Raise an error for a pipeline that is not supported.

    Raises:
        PriorError: see `REFUSALS`; or a class whose call is not that of an image pipeline.
    """
    name = pipeline.__name__
    if name in PLAIN:
        return
    for refusal in REFUSALS:
        if re.search(refusal.names, name):
            raise PriorError(f"A {name} is not supported: it {refusal.why}")
    parameters = inspect.signature(pipeline.__call__).parameters
    if "num_frames" in parameters:
        raise PriorError(f"A {name} is not supported: it makes videos. Use a text-to-image model.")


def is_conditional(pipeline: type) -> bool:
    """Return whether a pipeline takes a prompt, or embeddings or an image in its place."""
    taken = inspect.signature(pipeline.__call__).parameters
    return not taken.keys().isdisjoint({"prompt", "image_embeds", "image"})


def space_of(kinds: Mapping[str, str]) -> str:
    """Return the name of the part that is the autoencoder, or "" if there is none."""
    return next((name for name in SPACES if name in kinds), "")
