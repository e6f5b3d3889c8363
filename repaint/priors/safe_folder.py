"""Checks of a prior's folder before it is loaded: it may hold weights and configs, but no code.

Configs may name only classes of diffusers and transformers, and only weight files in their own folder. Symbolic links
are followed, because the Hub's cache consists of them: their targets are parsed as configs or weights, and no error
shows their contents.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from packaging.version import Version

from repaint.checks import shown
from repaint.errors import PriorError

__all__ = ["PICKLES", "check_folder", "check_pickle", "is_kind_of", "pickles_are_safe", "read_json"]

PICKLES = "2.10"  # older torch may run code in a pickle, even with weights_only=True: CVE-2025-32434, CVE-2026-24747
CODE = {"auto_map", "custom_pipeline"}  # config entries that name code in the folder
KERNELS = {
    "attn_implementation",
    "_attn_implementation",
}  # names an algorithm or, as owner/name, code on the Hub
LAYERS = 1000  # more than any network has; building one with a million layers takes too long
CURE = "If you trust the folder, load it with diffusers and pass the pipeline to RePaintPipeline.from_pipe."


def check_folder(folder: Path, index: Mapping[str, Any]) -> None:
    """Raise an error for a folder in diffusers layout that is unsafe to load, before any part of it is loaded.

    Args:
        folder: the prior's folder.
        index: the contents of its model_index.json.
    Raises:
        PriorError: too many layers, custom code, a class of another library, a class that loads code, weights outside
            of the folder, or pickled weights where torch is too old to read them safely.
    """
    name = index.get("_class_name")
    if name is not None and not isinstance(name, str):
        raise PriorError(f"{folder}: _class_name={shown(name)} must be the name of a diffusers pipeline. {CURE}")
    _check_config(folder / "model_index.json", index)
    for part, entry in index.items():
        if isinstance(entry, list) and len(entry) == 2:
            _check_class(folder, part, *entry)
    for path in (*folder.glob("*config.json"), *folder.glob("*/*config.json")):
        _check_config(path, read_json(path))
    for path in (*folder.glob("*.index*.json"), *folder.glob("*/*.index*.json")):
        _check_shards(path, read_json(path))
    for path in (*folder.glob("*pytorch_model*.bin"), *folder.glob("*/*pytorch_model*.bin")):
        if not any(path.parent.glob("*.safetensors")):
            check_pickle(path)


def pickles_are_safe() -> bool:
    """Return whether this torch reads only tensors from a pickle."""
    return Version(torch.__version__).release >= Version(PICKLES).release


def check_pickle(path: Path) -> None:
    """Raise an error for a pickled file where torch is too old to read it safely.

    Raises:
        PriorError: torch is too old.
    """
    if not pickles_are_safe():
        raise PriorError(
            f"{path} is a pickle, and torch {torch.__version__} may run code inside it (CVE-2026-24747). Update torch "
            f"to {PICKLES} or newer, or get the weights as safetensors."
        )


def is_kind_of(found: object, base: type) -> bool:
    """Return whether an object is a subclass of `base`. Names in a folder may also be those of modules or functions."""
    return isinstance(found, type) and issubclass(found, base)


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file, or None where it cannot be read; loading then raises the error."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _check_class(folder: Path, part: str, library: Any, name: Any) -> None:
    from diffusers import pipelines

    if library is None or name is None:  # an empty part
        return
    known = isinstance(library, str) and (library in ("diffusers", "transformers") or hasattr(pipelines, library))
    if not known or not isinstance(name, str):
        raise PriorError(
            f"{folder}: {part}={library}.{name} must be a class of diffusers or transformers (no other code is run). "
            f"{CURE}"
        )
    if name.startswith("Auto") and library == "transformers":
        raise PriorError(
            f"{folder}: {part}=transformers.{name} may load code from the folder. Name the class itself in "
            "model_index.json."
        )


def _check_config(path: Path, config: Any) -> None:
    for key, value in _entries(config):
        if key in CODE or (key in KERNELS and "/" in str(value)):
            raise PriorError(f"{path} names custom code ({key}), which is never run. {CURE}")
        counts = value if isinstance(value, list) else [value]
        if "layers" in key and any(isinstance(count, (int, float)) and count > LAYERS for count in counts):
            raise PriorError(
                f"{path}: {key}={shown(value)} must be at most {LAYERS}. Save or download the prior again."
            )


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield every (key, value) of nested mappings and lists."""
    left = [config]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield from one.items()
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _check_shards(path: Path, index: Any) -> None:
    shards = index.get("weight_map") if isinstance(index, dict) else None
    for shard in dict.fromkeys(map(str, shards.values())) if isinstance(shards, dict) else ():
        if shard in ("", "..") or PurePosixPath(shard).name != shard or PureWindowsPath(shard).name != shard:
            raise PriorError(
                f"{path}: weight file {shard!r} must be in the same folder. Save or download the prior again."
            )
