"""From a name, a folder, a Hub id or a live diffusers pipeline to a Prior: decided by configs, never by names."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    kinds = {name: type(part).__name__ for name, part in components.items() if part is not None}
    _check_parts(kinds, getattr(getattr(unet, "config", None), "in_channels", None))
    return PixelPrior(unet, scheduler, _class_names(labels))


def _check_parts(kinds: Mapping[str, str], in_channels: int | None) -> None:
    """Refuse what no prior here serves, from the classes of a pipeline's parts: gigabytes need not be read for that."""
    if "scheduler" not in kinds:
        raise PriorError("This pipeline has no scheduler: its noise levels are unknown. Add a scheduler to it.")
    if "unet" not in kinds:
        raise PriorError(
            f"This pipeline has no UNet, only {', '.join(kinds)}: supported is UNet2DModel in pixel space. "
            "Use such a model."
        )
    if in_channels == 9:
        raise PriorError(
            "A UNet with 9 input channels was trained for inpainting and takes the mask as input: it belongs to "
            "diffusers' StableDiffusionInpaintPipeline (or its XL form). Here, use the ordinary text-to-image model."
        )
    space = next((name for name in ("vae", "vqvae", "movq") if name in kinds), None)
    if kinds["unet"] != "UNet2DModel" or space is not None:
        where = f"over a {kinds[space]}" if space else "in pixel space"
        raise PriorError(
            f"{kinds['unet']} {where} is not supported: supported is UNet2DModel in pixel space. Use such a model."
        )


def _class_names(labels: Any) -> dict[int, str]:
    try:
        return {int(number): str(name) for number, name in (labels or {}).items()}
    except (AttributeError, ValueError) as error:
        raise PriorError(
            f"id2label is {labels!r}: it maps class numbers to names. Correct it in model_index.json."
        ) from error


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
    if not isinstance(index, dict):
        raise PriorError(f"{index_file} holds a {type(index).__name__}: it maps parts to classes. Save it again.")
    entries = {name: entry for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2}
    kinds = {name: str(cls) for name, (_, cls) in entries.items() if cls}  # a part that was left out is [null, null]
    _check_parts(kinds, _in_channels(folder))
    scheduler = _load_part(folder, "scheduler", kinds["scheduler"])
    unet = _load_part(folder, "unet", kinds["unet"], torch_dtype=torch_dtype, variant=variant, low_cpu_mem_usage=False)
    return prior_from_components({"unet": unet, "scheduler": scheduler}, _class_names(index.get("id2label")))


def _in_channels(folder: Path) -> Any:
    """Input channels by the UNet's config; None where it cannot be read, which loading then tells."""
    try:
        return json.loads((_part_folder(folder, "unet") / "config.json").read_text(encoding="utf-8"))["in_channels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _part_folder(folder: Path, name: str) -> Path:
    """A part's own subfolder, or the root, where older pipelines have it."""
    return folder / name if (folder / name).is_dir() else folder


def _load_part(folder: Path, name: str, kind: str, **options: Any) -> Any:
    """One part by its class name in diffusers; `options` are those of models."""
    import diffusers

    where = _part_folder(folder, name)
    cls = getattr(diffusers, kind, None)
    if cls is None:
        raise PriorError(f"{folder} wants diffusers.{kind} as {name}, which this diffusers lacks. Update diffusers.")
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):  # a model is initialised at random before it is loaded
            if not options:
                return cls.from_pretrained(where, local_files_only=True)
            part, found = cls.from_pretrained(where, local_files_only=True, output_loading_info=True, **options)
    except Exception as error:  # diffusers raises OSError, ValueError, KeyError, SafetensorError, ... for damaged files
        raise PriorError(f"Cannot load {name} from {where}: {_one_line(error)}. Save or download it again.") from error
    if missing := found["missing_keys"]:
        raise PriorError(
            f"The weights in {where} lack {len(missing)} tensors of their {kind}, such as {min(missing)}: these would "
            "be random. Save or download them again."
        )
    return part


@contextmanager
def _quiet() -> Iterator[None]:
    """diffusers logs what its exceptions then say again: a failure is told once."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _download(name: str, variant: str | None, hub: Mapping[str, Any]) -> Path:
    from diffusers import DiffusionPipeline

    try:
        with _quiet():
            return Path(DiffusionPipeline.download(name, variant=variant, **hub))
    except Exception as error:  # the Hub client's errors have no common base class across its versions
        raise PriorError(
            f"Cannot fetch {name!r} from the Hugging Face Hub: {_one_line(error)}. Check the name and the "
            f"network, or download it elsewhere and pass its folder; offline, {', '.join(bundled())} always works."
        ) from error


def _looks_like_hub_id(name: str) -> bool:
    owner, slash, repository = name.partition("/")
    return bool(owner and slash and repository) and "/" not in repository and not name.startswith((".", "~"))


def _one_line(error: Exception) -> str:
    return textwrap.shorten(str(error), 300, placeholder=" …").rstrip(".") or type(error).__name__
