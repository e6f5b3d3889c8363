"""Load a prior from a bundled name, a folder, a Hub id or a diffusers pipeline. Only configs decide its class."""

from __future__ import annotations

import inspect
import json
import os
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from repaint.checks import nearest, shown, whole_number
from repaint.errors import InputError, PriorError
from repaint.priors.distilled import DISTILLED
from repaint.priors.dit import DiTPrior
from repaint.priors.families import BY_PARTS, family_of, space_of
from repaint.priors.foreign_errors import one_line
from repaint.priors.guided_diffusion import fixed_heads, set_heads
from repaint.priors.latent import LatentPrior
from repaint.priors.networks import check_floating, has_ip_adapter, kind_of
from repaint.priors.pixel import PixelPrior
from repaint.priors.private_randomness import PrivateRandomness
from repaint.priors.quiet_loading import LOADING, SILENCES, quiet
from repaint.priors.safe_folder import check_folder, is_kind_of, pickles_are_safe, read_json
from repaint.priors.single_file import SUFFIXES, load_single_file
from repaint.sampling import presets
from repaint.sampling.prior import Prior, PriorDefaults

__all__ = ["BUNDLED", "bundled", "default_schedule", "load", "prior_from_components", "prior_from_pipe"]

BUNDLED = Path(__file__).resolve().parent / "bundled"


def bundled() -> list[str]:
    """Return the names of the priors that ship with the package, sorted.

    >>> "emoji" in bundled()
    True
    """
    return sorted(path.parent.name for path in BUNDLED.glob("*/model_index.json"))


def load(
    name: str | Path,
    *,
    torch_dtype: Any = torch.float32,
    variant: str | None = None,
    config: str | Path | None = None,
    **hub: Any,
) -> Prior:
    """Load a prior. Threads may call this at the same time; they load one after the other.

    >>> load("textures").class_names[0]
    'brick'

    Args:
        name: a bundled name, a folder in diffusers layout, a Hub id such as "google/ddpm-celebahq-256", or a checkpoint
            in one `.safetensors` file.
        torch_dtype: floating type of the model; x and all noise arithmetic stay in float32.
        variant: variant of the weight files, such as "fp16", as in diffusers. None: the ordinary files or, in a folder
            without them, its only variant.
        config: for a single file: a folder with the configs and tokenizers of its model, see `load_single_file`.
        **hub: how files are downloaded from the Hub: revision, token, cache_dir, local_files_only, force_download,
            proxies.
    Raises:
        PriorError: an unknown name, an unreachable Hub, an incomplete or unsafe folder, a variant that it lacks, or an
            unsupported model.
        InputError: an argument that this function does not have or that has no meaning for this prior, or a torch_dtype
            that is not a floating type.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise InputError(
            f"prior={shown(name)} must be a name, a folder or a Hub id. Make a pipeline of a Prior with "
            "RePaintPipeline(prior), and of one of diffusers with RePaintPipeline.from_pipe(pipeline)."
        )
    _check_arguments(torch_dtype, hub)
    if Path(name).suffix in SUFFIXES and Path(name).is_file():
        if variant is not None:
            raise InputError(f"variant={shown(variant)} must be left out: a single file has no variants.")
        with LOADING, PrivateRandomness():
            return prior_from_pipe(load_single_file(Path(name), torch_dtype, config, **hub))
    if config is not None:
        raise InputError(
            f"config={str(config)!r} must be left out: only single files need it, and a folder has its own."
        )
    folder = _find(name, variant, hub)
    _check_variant(folder, variant)
    declared = _declared(folder)
    with LOADING, PrivateRandomness():
        prior = _from_folder(folder, torch_dtype, variant or _only_variant(folder))
    for attribute, value in declared.items():
        setattr(prior, attribute, value)
    return prior


# The keyword arguments of `DiffusionPipeline.download` that have a meaning here.
HUB = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")
CURES = {
    "dtype": "Pass torch_dtype=.",
    "device_map": "Call .to(device) on the pipeline, or enable_model_cpu_offload().",
    "device": "Call .to(device) on the pipeline.",
    "scheduler": "Load the pipeline with diffusers, set its scheduler, and pass it to RePaintPipeline.from_pipe.",
    "custom_pipeline": "Load the pipeline with diffusers and pass it to RePaintPipeline.from_pipe.",
    "class_names": "Load the pipeline with diffusers and pass both to RePaintPipeline.from_pipe(pipe, class_names).",
    "quantization_config": "Load the pipeline with diffusers and pass it to RePaintPipeline.from_pipe.",
}


def _check_arguments(torch_dtype: Any, hub: Mapping[str, Any]) -> None:
    """Raise an error for a keyword argument that `load` does not have, or a torch_dtype that is not one."""
    for name, value in hub.items():
        if name not in HUB:
            allowed = ["torch_dtype", "variant", "config", *HUB]
            cure = CURES.get(name) or nearest(name, allowed).strip() or f"It takes {', '.join(allowed)}."
            raise InputError(f"{name}={shown(value)} is not an argument of from_pretrained. {cure}")
    named = getattr(torch, torch_dtype, None) if isinstance(torch_dtype, str) else None
    meant = f" Did you mean {named}?" if isinstance(named, torch.dtype) else ""
    check_floating("torch_dtype", torch_dtype, f" Or pass 'auto'.{meant}")


def _only_variant(folder: Path) -> str | None:
    """Return the variant of a folder's weights if no part has ordinary ones and all have the same variant."""
    found = _variants(folder)
    return found.pop() if len(found) == 1 else None


def _check_variant(folder: Path, variant: str | None) -> None:
    """Raise an error for a variant that no part of a folder has."""
    if variant is None:
        return
    files = [path.name for path in (*folder.glob("*"), *folder.glob("*/*"))]
    if not any(f".{variant}." in name or f".{variant}-" in name for name in files):
        names = ", ".join(sorted(name for name in _variants(folder) if name is not None))
        there = f"one of {names}" if names else "left out"
        raise PriorError(f"variant={shown(variant)} must be {there}: {folder} has no weights of that name.")


def _variants(folder: Path) -> set[str | None]:
    """Return the variants of a folder's weights; None is the ordinary one."""
    paths = (*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors"))
    return {match["variant"] for path in paths if (match := WEIGHTS.fullmatch(path.name))}


WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>\w+?))?(?:-\d+-of-\d+)?\.safetensors")


def default_schedule(name: str | Path) -> str:
    """Return the preset that a prior uses where the caller gives none, before its weights are loaded.

    >>> default_schedule("textures")
    'fast'

    Args:
        name: see `load`; the files of a Hub id are downloaded.
    Raises:
        PriorError: an unknown name, an unreachable Hub, or a wrong card.json.
    """
    if Path(name).suffix in SUFFIXES and Path(name).is_file():
        return PriorDefaults.default_schedule
    declared: str = _declared(_find(name, None, {})).get("default_schedule", PriorDefaults.default_schedule)
    return declared


def _find(name: str | Path, variant: str | None, hub: Mapping[str, Any]) -> Path:
    """Return the folder of a prior, downloaded first if it is on the Hub."""
    for folder in (BUNDLED / str(name) if str(name) in bundled() else None, Path(name)):
        if folder is not None and folder.is_dir():
            if hub.get("revision") is not None:
                raise InputError(f"revision={shown(hub['revision'])} must be left out: {folder} is not on the Hub.")
            return folder
    if _looks_like_hub_id(str(name)):
        return _download(str(name), variant, hub)
    if Path(name).is_file():
        raise PriorError(
            f"{name}: a checkpoint in one file must be {' or '.join(SUFFIXES)} (others may hold code). Load it with "
            "diffusers and pass the pipeline to RePaintPipeline.from_pipe."
        )
    raise PriorError(
        f"prior={str(name)!r} must be a folder, a Hub id (owner/name) or one of {', '.join(bundled())}."
        f"{nearest(str(name), bundled())}"
    )


def _declared(folder: Path) -> dict[str, Any]:
    """Return the attributes of `Prior` that a folder's card.json sets. The file and each of its entries are optional.

    Raises:
        PriorError: a file that is not a JSON object, an unknown preset, or a limit that is not a size.
    """
    file = folder / "card.json"
    distilled = _config(folder, "scheduler", "scheduler_config.json").get("_class_name") in DISTILLED
    declared: dict[str, Any] = {"default_schedule": "turbo"} if distilled else {}
    if not file.exists():
        return declared
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PriorError(f"{file}: cannot be read ({one_line(error)}). Correct or remove it.") from error
    if not isinstance(card, dict):
        raise PriorError(f"{file} must hold a JSON object (it contains a {type(card).__name__}). Correct or remove it.")
    if (preset := card.get("schedule")) is not None:
        if not isinstance(preset, str) or preset not in presets.available():  # a name only: no path to other files
            raise PriorError(
                f"{file}: schedule={shown(preset)} must be one of {', '.join(presets.available())}."
                f"{nearest(preset, presets.available())}"
            )
        declared["default_schedule"] = preset
    hints = {"largest_hole": "thickness of a hole in pixels", "smallest_size": "side of an image in pixels"}
    for name, hint in hints.items():
        if (number := card.get(name)) is not None:
            declared[name] = whole_number(f"{file}: {name}", number, 1, error=PriorError, hint=hint)
    return declared


def prior_from_pipe(pipe: Any, labels: Mapping[Any, str] | None = None) -> Prior:
    """Return a prior around a diffusers pipeline, whose components are shared, not copied.

    Its parts are those that it has now. In text-to-image pipelines, another scheduler or denoiser that is set later is
    read, too, and another autoencoder is refused. After any other change, make a new prior.

    Args:
        pipe: the pipeline.
        labels: class number to class name. None: the pipeline's `id2label`.
    Raises:
        PriorError: see `prior_from_components`.
    """
    named = labels or dict(pipe.config).get("id2label") or _by_number(getattr(pipe, "labels", None))
    return prior_from_components(pipe.components, named, pipe)


def _by_number(labels: Any) -> dict[int, str]:
    """Return class number -> names, from the name -> number mapping that a DiTPipeline keeps of its id2label."""
    names: dict[int, list[str]] = {}
    for name, number in (labels or {}).items():
        names.setdefault(number, []).append(name)
    return {number: ", ".join(each) for number, each in names.items()}


def prior_from_components(
    components: Mapping[str, Any], labels: Mapping[Any, str] | None = None, pipe: Any = None
) -> Prior:
    """Return a prior around the parts of a diffusers pipeline, which are shared, not copied.

    Args:
        components: name to module, as in `DiffusionPipeline.components`. Unused entries are ignored.
        labels: class number to class name, as in a pipeline's `id2label`.
        pipe: the pipeline itself, which text-conditioned priors need to encode prompts.
    Raises:
        PriorError: no scheduler, an inpainting UNet, or an unsupported model class.
    """
    kinds = {name: kind_of(part) for name, part in components.items() if part is not None}
    unet = components.get("unet")
    config = dict(getattr(unet, "config", {}))
    network = unet if unet is not None else components.get("transformer")
    if network is not None and has_ip_adapter(network):
        config["encoder_hid_dim_type"] = "ip_image_proj"
    family = family_of(kinds, config, None if pipe is None else type(pipe))
    scheduler = components.get("scheduler")
    if family is PixelPrior:
        return PixelPrior(unet, scheduler, _class_names(labels))
    if family is LatentPrior:
        return LatentPrior(unet, scheduler, components[space_of(kinds)], _class_names(labels))
    if family is DiTPrior:
        return DiTPrior(components["transformer"], scheduler, components[space_of(kinds)], _class_names(labels))
    prior: Prior = family(pipe)
    return prior


def _class_names(labels: Any) -> dict[int, str]:
    try:
        return {int(number): str(name) for number, name in (labels or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise PriorError(
            f"id2label={shown(labels)} must map class numbers to names (correct it in model_index.json)."
        ) from error


def _from_folder(folder: Path, torch_dtype: torch.dtype, variant: str | None) -> Prior:
    index_file = folder / "model_index.json"
    try:
        index = json.loads(index_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if (folder / "modular_model_index.json").exists():
            raise PriorError(_modular(folder)) from error
        raise PriorError(
            f"{folder} has no model_index.json. Save the whole diffusers pipeline there with save_pretrained, not only "
            "its UNet."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise PriorError(f"{index_file}: cannot be read ({error}). Download or save it again.") from error
    if not isinstance(index, dict):
        raise PriorError(f"{index_file} must map parts to classes (it contains a {type(index).__name__}).")
    check_folder(folder, index)
    entries = {name: entry for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2}
    kinds = {name: str(cls) for name, (_, cls) in entries.items() if cls}  # an empty part is [null, null]
    old_name = kinds.get("transformer") == "Transformer2DModel"  # the class name in the published DiT folders
    if old_name and _config(folder, "transformer").get("norm_type") == "ada_norm_zero":
        kinds["transformer"] = "DiTTransformer2DModel"
    named = "_class_name" in index or "text_encoder" in kinds
    cls = _pipeline_class(folder, index.get("_class_name")) if named else None
    family = family_of(kinds, _config(folder, "unet"), cls)
    model: dict[str, Any] = {"torch_dtype": torch_dtype, "variant": variant}
    if not pickles_are_safe():
        model["use_safetensors"] = True
    names = [name for name in ("unet", "transformer", space_of(kinds)) if name in kinds]
    lean = family not in BY_PARTS  # these models are large, so no float32 copy is made first
    parts = {name: _load_part(folder, name, kinds[name], low_cpu_mem_usage=lean, **model) for name in names}
    parts["scheduler"] = _load_part(folder, "scheduler", kinds["scheduler"])
    if family in BY_PARTS:
        return prior_from_components(parts, _class_names(index.get("id2label")))
    prior: Prior = family(_load_pipeline(folder, cls, kinds, parts, model))
    return prior


def _modular(folder: Path) -> str:
    return (
        f"{folder} is a modular repository, which is not supported. Build the ordinary pipeline of the model from its "
        "components in diffusers, and pass that to RePaintPipeline.from_pipe."
    )


def _pipeline_class(folder: Path, name: Any) -> Any:
    """Return the class of a folder's pipeline."""
    import diffusers

    if str(name).endswith("ModularPipeline"):
        raise PriorError(_modular(folder))
    cls: Any = getattr(diffusers, str(name), None)
    if not is_kind_of(cls, diffusers.DiffusionPipeline):
        raise PriorError(f"{folder}: _class_name={name} must be a pipeline of this diffusers. Update diffusers.")
    return cls


def _load_pipeline(
    folder: Path, cls: Any, kinds: Mapping[str, str], parts: Mapping[str, Any], model: Mapping[str, Any]
) -> Any:
    """Load a whole diffusers pipeline, which encodes prompts, around parts that are already loaded."""
    # Empty parts are None, and no safety checker is loaded.
    takes = inspect.signature(cls.__init__).parameters.values()
    wanted = {entry.name for entry in takes if entry.default is entry.empty and entry.name != "self"}
    absent = dict.fromkeys(wanted - set(kinds) | wanted & {"safety_checker"})
    encoders = {part: kind for part, kind in kinds.items() if part.startswith("text_encoder")}
    parts = {
        **parts,
        **{part: _load_part(folder, part, kind, "transformers", **model) for part, kind in encoders.items()},
    }
    try:
        with quiet("diffusers"), quiet("transformers"):
            return cls.from_pretrained(folder, local_files_only=True, **model, **absent, **parts)
    except Exception as error:  # as in _load_part
        raise PriorError(f"{folder}: cannot be loaded ({one_line(error)}). Save or download it again.") from error


def _config(folder: Path, name: str, file: str = "config.json") -> Mapping[str, Any]:
    """Return a part's config, or an empty one where it cannot be read; loading then raises the error."""
    config = read_json(_part_folder(folder, name) / file)
    return config if isinstance(config, dict) else {}


def _part_folder(folder: Path, name: str) -> Path:
    """Return a part's subfolder or, as in older pipelines, the root."""
    return folder / name if (folder / name).is_dir() else folder


def _load_part(folder: Path, name: str, kind: str, library: str = "diffusers", **options: Any) -> Any:
    """Load one part by its class name in diffusers or transformers. Only models have `options`."""
    package: Any = import_module(library)
    where = _part_folder(folder, name)
    cls: Any = getattr(package, kind, None)
    if cls is None:
        raise PriorError(f"{folder}: {name}={library}.{kind} must be a class of this {library}. Update {library}.")
    model = "PreTrainedModel" if library == "transformers" else "ModelMixin" if options else "SchedulerMixin"
    if not is_kind_of(cls, getattr(package, model)):
        raise PriorError(f"{folder}: {name}={library}.{kind} must be a {model}. Save the pipeline again.")
    heads = fixed_heads(_config(folder, name)) if options and library == "diffusers" else None
    if heads:
        options["attention_head_dim"] = 1
    if library == "transformers" and not any(where.glob(f"*.{options['variant']}.*")):
        options["variant"] = None  # a part without this variant
    try:
        with quiet(library):
            if not options:
                return cls.from_pretrained(where, local_files_only=True)
            part, found = cls.from_pretrained(where, local_files_only=True, output_loading_info=True, **options)
    except Exception as error:  # diffusers raises OSError, ValueError, KeyError, SafetensorError, ... for damaged files
        raise PriorError(f"{where}: {name} cannot be loaded ({one_line(error)}). Save or download it again.") from error
    if missing := found["missing_keys"]:
        raise PriorError(
            f"{where}: the weights lack {len(missing)} tensors of their {kind}, such as {min(missing)}. Save or "
            "download them again."
        )
    if heads:
        set_heads(part, heads)
    return part


def _download(name: str, variant: str | None, hub: Mapping[str, Any]) -> Path:
    from diffusers import DiffusionPipeline

    try:
        with SILENCES["diffusers"]:
            return Path(DiffusionPipeline.download(name, variant=variant, **hub))
    except Exception as error:  # the Hub client's errors have no common base class across its versions
        raise PriorError(
            f"{name!r} cannot be downloaded from the Hugging Face Hub ({one_line(error)}). Check the name and the "
            f"network, or pass a folder. Without a network, use {' or '.join(bundled())}."
        ) from error


def _looks_like_hub_id(name: str) -> bool:
    owner, slash, repository = name.partition("/")
    return bool(owner and slash and repository) and "/" not in repository and not name.startswith((".", "~"))
