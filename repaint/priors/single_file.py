"""Checkpoints in a single file, as Stable Diffusion models are often shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repaint.errors import PriorError
from repaint.priors.foreign_errors import one_line
from repaint.priors.quiet_loading import quiet
from repaint.priors.safe_folder import read_json

__all__ = ["SUFFIXES", "load_single_file"]

SUFFIXES = (".safetensors",)
UNET = "model.diffusion_model.input_blocks.0.0.weight"
# Prefix of the type that diffusers infers for a checkpoint -> the pipeline, and part of a tensor name that must occur:
# diffusers infers "v1" for everything that it does not recognise.
PIPELINES = {
    "v1": ("StableDiffusionPipeline", UNET),
    "v2": ("StableDiffusionPipeline", UNET),
    "xl_base": ("StableDiffusionXLPipeline", UNET),
    "playground": ("StableDiffusionXLPipeline", UNET),
    "sd3": ("StableDiffusion3Pipeline", "joint_blocks.0."),
    "flux-dev": ("FluxPipeline", "double_blocks.0."),
    "flux-schnell": ("FluxPipeline", "double_blocks.0."),
}


def load_single_file(path: Path, torch_dtype: Any, config: str | Path | None, **hub: Any) -> Any:
    """Load a diffusers pipeline from one `.safetensors` file.

    Args:
        path: a checkpoint in the layout of the original repository.
        torch_dtype: floating type of the model.
        config: a folder in diffusers layout with the configs and tokenizers of the same architecture, which needs no
            weights; None: diffusers looks for them in the Hub's cache or on the Hub.
        **hub: see `repaint.priors.load.load`; for the configs.
    Raises:
        PriorError: an unknown architecture, weights without their VAE or text encoder, or no configs.
    """
    import diffusers

    name = _declared(Path(config)) if config is not None else _recognised(path)
    options = hub if config is None else {"config": str(config), "local_files_only": True}
    try:
        with quiet("diffusers"), quiet("transformers"):
            return getattr(diffusers, name).from_single_file(
                str(path), torch_dtype=torch_dtype, safety_checker=None, **options
            )
    except Exception as error:  # as diffusers raises errors of any class for damaged files
        cure = "Check the file and the folder." if config else "Pass config=, a folder with the configs of its model."
        raise PriorError(f"{path}: cannot be loaded as a {name} ({one_line(error)}). {cure}") from error


def _declared(folder: Path) -> str:
    """Return the class of the pipeline that a folder declares."""
    import diffusers

    index = read_json(folder / "model_index.json")
    name = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(name, str) or not isinstance(getattr(diffusers, name, None), type):
        raise PriorError(f"config={str(folder)!r} must be a folder whose model_index.json names a diffusers pipeline.")
    return name


def _recognised(path: Path) -> str:
    """Return the class of the pipeline whose tensors a file holds."""
    from diffusers.loaders import single_file_utils
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: _Shape(tuple(one.get_shape())) for name, one in tensors.items()}
    except (OSError, SafetensorError) as error:
        raise PriorError(f"{path}: cannot be read ({error}). Download it again.") from error
    kind = str(single_file_utils.infer_diffusers_model_type(shapes))
    found = [pipeline for start, pipeline in PIPELINES.items() if kind.startswith(start)]
    if not found or not any(found[0][1] in name for name in shapes):
        raise PriorError(
            f"{path}: not a checkpoint of Stable Diffusion 1, 2, XL, 3 or Flux. Pass a file in the layout of the "
            "original repository, with its VAE and text encoder; load LoRA weights with --lora or load_lora_weights."
        )
    return found[0][0]


class _Shape:
    """A tensor of which only the shape is read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
