"""What a prior's folder may bring: weights, and names of classes that diffusers and transformers have. Never code.

A folder from a stranger is read, not run. Symbolic links are followed, for the Hub's own cache is made of them: what
they lead to is parsed as a config or as weights, and never shown. What a file itself names may not leave its folder.
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

PICKLES = "2.10"  # older torch can be made to run code by a pickle, weights_only or not: CVE-2025-32434, CVE-2026-24747
CODE = {"auto_map", "custom_pipeline"}  # how configs name code that lies beside them
KERNELS = {"attn_implementation", "_attn_implementation"}  # the name of an algorithm; or, owner/name, code of the Hub
LAYERS = 1000  # more than any network has; with a thousand times as many, building one never ends
CURE = (
    "Remove the entry; or, where you trust its source, load it with diffusers and pass it to RePaintPipeline.from_pipe."
)


def check_folder(folder: Path, index: Mapping[str, Any]) -> None:
    """Refuse a folder in diffusers layout that asks for more than is run here, before any of it is loaded.

    Args:
        folder: the prior's.
        index: its model_index.json.
    Raises:
        PriorError: layers without end, code of its own, a class from elsewhere, a class that looks for code, weights
            outside of their folder, or pickled weights where torch is too old to refuse what pickles can bring.
    """
    name = index.get("_class_name")
    if name is not None and not isinstance(name, str):
        raise PriorError(f"{folder} wants the pipeline {name!r}, which is none of diffusers' own. {CURE}")
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
    """Whether this torch reads tensors from a pickle, and nothing else."""
    return Version(torch.__version__).release >= Version(PICKLES).release


def check_pickle(path: Path) -> None:
    """Refuse a pickle where torch is too old.

    Raises:
        PriorError: it is.
    """
    if not pickles_are_safe():
        raise PriorError(
            f"{path} is a pickle, and torch {torch.__version__} can be made to run code by one (CVE-2026-24747): from "
            f"{PICKLES} on it cannot. Update torch, or get the weights as safetensors."
        )


def is_kind_of(found: object, base: type) -> bool:
    """Whether what a name stands for is such a class: names of a folder may lead to modules and functions."""
    return isinstance(found, type) and issubclass(found, base)


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where it cannot be read, which loading then tells."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _check_class(folder: Path, part: str, library: Any, name: Any) -> None:
    from diffusers import pipelines

    if library is None or name is None:  # a part that was left out
        return
    known = isinstance(library, str) and (library in ("diffusers", "transformers") or hasattr(pipelines, library))
    if not known or not isinstance(name, str):
        raise PriorError(f"{folder} wants {library}.{name} as {part}: only diffusers and transformers are run. {CURE}")
    if name.startswith("Auto") and library == "transformers":
        raise PriorError(
            f"{folder} wants transformers.{name} as {part}, which would look for code in the folder. "
            "Name the class itself in model_index.json."
        )


def _check_config(path: Path, config: Any) -> None:
    for key, value in _entries(config):
        if key in CODE or (key in KERNELS and "/" in str(value)):
            raise PriorError(f"{path} asks for code of its own ({key}): none is run. {CURE}")
        counts = value if isinstance(value, list) else [value]
        if "layers" in key and any(isinstance(count, (int, float)) and count > LAYERS for count in counts):
            raise PriorError(f"{path} has {key} {shown(value)}: at most {LAYERS} are built. Save or download it again.")


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Every (key, value) of nested mappings."""
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
                f"{path} takes weights from {shard!r}: they lie beside it. Save or download the prior again."
            )
