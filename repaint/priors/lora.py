"""LoRA weights for the diffusers pipeline of a prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repaint.errors import PriorError
from repaint.priors.quiet_loading import quiet
from repaint.sampling.prior import Prior

__all__ = ["load_lora"]


def load_lora(prior: Prior, path: str | Path, **options: Any) -> None:
    """Load LoRA weights into the pipeline of a prior.

    Args:
        prior: around a diffusers pipeline.
        path: a file, a folder or a Hub id.
        **options: passed to the pipeline's `load_lora_weights`, such as weight_name and adapter_name.
    Raises:
        PriorError: a prior without such a pipeline, peft is missing, or weights that do not fit the model.
    """
    pipeline, name = prior.pipeline, type(prior).__name__
    if pipeline is None or not hasattr(pipeline, "load_lora_weights"):
        raise PriorError(f"A {name} takes no LoRA weights: it does not wrap a text-to-image pipeline of diffusers.")
    before = _layers(pipeline)
    try:
        with quiet("diffusers"), quiet("transformers"):
            pipeline.load_lora_weights(str(path), **options)
    except Exception as error:  # diffusers raises errors of any class for weights of another model
        said = " ".join(str(error).split())[:200] or type(error).__name__
        cure = (
            "Install peft." if "peft" in said.lower() and "backend" in said.lower() else "Pass weights of this model."
        )
        raise PriorError(
            f"lora={str(path)!r} cannot be loaded into a {type(pipeline).__name__} ({said}). {cure}"
        ) from (error)
    if _layers(pipeline) == before:  # diffusers only logs this
        raise PriorError(
            f"lora={str(path)!r} holds no weights for a {type(pipeline).__name__}. Pass weights of this model."
        )


def _layers(pipeline: Any) -> int:
    """Return the number of tensors of LoRA layers in a pipeline."""
    parts = (part for part in pipeline.components.values() if hasattr(part, "named_parameters"))
    return sum("lora_" in name for part in parts for name, _ in part.named_parameters())
