"""From a name, a folder, a Hub id or a live diffusers pipeline to a Prior: decided by configs, never by names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from repaint.errors import PriorError, nearest
from repaint.priors.base import Prior
from repaint.priors.pixel import PixelPrior

__all__ = ["BUNDLED", "bundled", "load", "prior_from_components"]

BUNDLED = Path(__file__).resolve().parent / "bundled"


def bundled() -> list[str]:
    """Names of the priors that ship with the package, sorted."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/model_index.json"))


def load(
    name: str | Path, *, torch_dtype: torch.dtype = torch.float32, variant: str | None = None, **hub: Any
) -> Prior:
    """Load a prior.

    Args:
        name: a bundled name, a folder in diffusers layout, or a Hub id like "google/ddpm-celebahq-256".
        torch_dtype: the model's floating type; x and all noise arithmetic stay in float32.
        variant: file variant, "fp16" for instance, as in diffusers.
        **hub: passed to `DiffusionPipeline.download` for Hub ids (revision, token, cache_dir, local_files_only).
    Raises:
        PriorError: no such prior, an unreachable Hub, a folder without what a prior needs, or an unsupported model.
    """
    if str(name) in bundled():
        folder = BUNDLED / str(name)
    elif Path(name).is_dir():
        folder = Path(name)
    elif _looks_like_hub_id(str(name)):
        folder = _download(str(name), variant, hub)
    else:
        raise PriorError(
            f"No prior {str(name)!r}: it is no folder, no Hub id (owner/name), and bundled are {', '.join(bundled())}."
            f"{nearest(str(name), bundled())}"
        )
    return _from_folder(folder, torch_dtype, variant)


def prior_from_components(components: Mapping[str, Any], labels: Mapping[Any, str] | None = None) -> Prior:
    """A prior around the parts of a diffusers pipeline; they are shared, not copied.

    Args:
        components: name to module, as in `DiffusionPipeline.components`; other entries than those used are ignored.
        labels: class number to class name, as in a pipeline's `id2label`.
    Raises:
        PriorError: no scheduler, an inpainting UNet, or a model class without a prior here.
    """
    unet, scheduler = components.get("unet"), components.get("scheduler")
    if scheduler is None:
        raise PriorError("This pipeline has no scheduler: its noise levels are unknown. Add a scheduler to it.")
    kind = type(unet).__name__
    if unet is None:
        raise PriorError(
            f"This pipeline has no UNet, only {', '.join(components)}: supported is UNet2DModel in pixel space."
        )
    if getattr(unet.config, "in_channels", None) == 9:
        raise PriorError(
            "A UNet with 9 input channels was trained for inpainting and takes the mask as input: it belongs to "
            "diffusers' StableDiffusionInpaintPipeline (or its XL form). Here, use the ordinary text-to-image model."
        )
    space = next((name for name in ("vae", "vqvae", "movq") if components.get(name) is not None), None)
    if kind != "UNet2DModel" or space is not None:
        where = f"over a {type(components[space]).__name__}" if space else "in pixel space"
        raise PriorError(f"{kind} {where} is not supported: supported is UNet2DModel in pixel space.")
    return PixelPrior(unet, scheduler, {int(number): str(name) for number, name in (labels or {}).items()})


def _from_folder(folder: Path, torch_dtype: torch.dtype, variant: str | None) -> Prior:
    index_file = folder / "model_index.json"
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PriorError(
            f"{folder} has no model_index.json: a prior's folder is what a diffusers pipeline saves with "
            "save_pretrained. Save the whole pipeline, not the UNet alone."
        ) from error
    except (OSError, ValueError) as error:
        raise PriorError(f"Cannot read {index_file}: {error}. Download or save it again.") from error
    if not isinstance(index, dict) or not isinstance(index.get("scheduler"), list):
        raise PriorError(
            f"{folder} names no scheduler in model_index.json: its noise levels are unknown. Save one with it."
        )
    parts = {}
    for name in ("scheduler", "unet"):
        entry = index.get(name)
        if isinstance(entry, list):
            parts[name] = _load_part(folder, name, entry, torch_dtype, variant)
    unread = {
        name: _Unread(name)
        for name, entry in index.items()
        if name not in parts and isinstance(entry, list) and entry[0]
    }
    return prior_from_components({**parts, **unread}, index.get("id2label"))


class _Unread:
    """A pipeline part that is named in model_index.json and not loaded."""

    def __init__(self, name: str) -> None:
        self.name = name


def _load_part(folder: Path, name: str, entry: list[Any], torch_dtype: torch.dtype, variant: str | None) -> Any:
    """One component, from its own subfolder or from the root, as older pipelines have it."""
    import diffusers

    where = folder / name if (folder / name).is_dir() else folder
    cls = getattr(diffusers, str(entry[-1]), None)
    if cls is None:
        raise PriorError(
            f"{folder} wants diffusers.{entry[-1]} as {name}, which this diffusers lacks. Update diffusers."
        )
    try:
        if name == "scheduler":
            return cls.from_pretrained(where)
        return cls.from_pretrained(
            where, torch_dtype=torch_dtype, variant=variant, low_cpu_mem_usage=False, local_files_only=True
        )
    except Exception as error:  # diffusers raises OSError, ValueError, KeyError, SafetensorError, ... for damaged files
        raise PriorError(
            f"Cannot load {name} from {where}: {_first_line(error)}. Save or download it again."
        ) from error


def _download(name: str, variant: str | None, hub: Mapping[str, Any]) -> Path:
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(name, variant=variant, **hub))
    except Exception as error:  # the Hub client's errors have no common base class across its versions
        raise PriorError(
            f"Cannot fetch {name!r} from the Hugging Face Hub: {_first_line(error)}. Check the name and the "
            f"network, or download it elsewhere and pass its folder; offline, {', '.join(bundled())} always works."
        ) from error


def _looks_like_hub_id(name: str) -> bool:
    owner, slash, repository = name.partition("/")
    return bool(owner and slash and repository) and "/" not in repository and not name.startswith((".", "~"))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
