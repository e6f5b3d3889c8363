"""LoRA weights for the diffusers pipeline of a prior."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from repaint.checks import nearest, shown
from repaint.errors import InputError, PriorError, warn
from repaint.priors.foreign_errors import one_line
from repaint.priors.quiet_loading import quiet
from repaint.sampling.prior import Prior

__all__ = ["load_lora"]


FILES = ("weight_name", "subfolder", "revision", "token", "cache_dir", "force_download", "proxies", "local_files_only")
OPTIONS = (*FILES, "adapter_name", "hotswap", "low_cpu_mem_usage")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def load_lora(prior: Prior, path: str | Path, **options: Any) -> None:
    """Load LoRA weights into the pipeline of a prior.

    Args:
        prior: around a diffusers pipeline.
        path: a file, a folder or a Hub id.
        **options: passed to the pipeline's `load_lora_weights`, such as weight_name and adapter_name.
    Raises:
        PriorError: a prior without such a pipeline, peft is missing, a path that does not exist, an adapter name in
            use, or weights that do not fit the model.
        InputError: another option.
    Warns:
        UserWarning: some of the weights have no place in the model.
    """
    for option, value in options.items():
        if option not in OPTIONS:
            cure = nearest(option, OPTIONS).strip() or f"It takes {', '.join(OPTIONS)}."
            raise InputError(f"{option}={shown(value)} is not an argument of load_lora_weights. {cure}")
    pipeline, name = prior.pipeline, type(prior).__name__
    if pipeline is None or not hasattr(pipeline, "load_lora_weights"):
        raise PriorError(f"A {name} takes no LoRA weights: it does not wrap a text-to-image pipeline of diffusers.")
    if not Path(path).exists() and not (HUB_ID.fullmatch(str(path)) and not str(path).endswith(SUFFIXES)):
        raise PriorError(f"lora={str(path)!r} must be a file, a folder or a Hub id (owner/name) that exists.")
    before = _layers(pipeline)
    try:
        with quiet("diffusers"), quiet("transformers"):
            expected = _tensors(pipeline, path, options)
            pipeline.load_lora_weights(str(path), **options)
    except Exception as error:  # diffusers raises errors of any class for weights of another model
        said = one_line(error)
        raise PriorError(
            f"lora={str(path)!r} cannot be loaded into a {type(pipeline).__name__} ({said}). {_cure(error, said)}"
        ) from error
    loaded = expected if options.get("hotswap") else _layers(pipeline) - before
    if loaded == 0:  # diffusers only logs this
        raise PriorError(
            f"lora={str(path)!r} holds no weights for a {type(pipeline).__name__}. Pass weights of this model."
        )
    if loaded < expected:
        warn(
            f"lora={str(path)!r}: {expected - loaded} of {expected} tensors have no place in this "
            f"{type(pipeline).__name__} and are ignored. Pass weights of this model.",
        )


def _cure(error: Exception, said: str) -> str:
    """Return what to do about an error of diffusers that reads `said`."""
    if "peft" in said.lower() and "backend" in said.lower():
        return "Install peft."
    if "already in use" in said:
        return "Pass another adapter_name."
    if isinstance(error, OSError) or "weight_name" in said:
        return "Check the path and weight_name."
    return "Pass weights of this model."


def _tensors(pipeline: Any, path: str | Path, options: dict[str, Any]) -> int:
    """Return the number of tensors of LoRA layers in a file, in diffusers' layout."""
    given = {name: value for name, value in options.items() if name in FILES}
    if hasattr(pipeline, "unet"):
        given["unet_config"] = pipeline.unet.config
    found = pipeline.lora_state_dict(str(path), **given)
    state = found[0] if isinstance(found, tuple) else found
    return sum("lora_" in name for name in state)


def _layers(pipeline: Any) -> int:
    """Return the number of tensors of LoRA layers in a pipeline."""
    parts = (part for part in pipeline.components.values() if hasattr(part, "named_parameters"))
    return sum("lora_" in name for part in parts for name, _ in part.named_parameters())
