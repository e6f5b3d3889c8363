"""The folder of results: its settings file, and the results of earlier runs in it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repaint.checks import shown
from repaint.errors import InputError
from repaint.files import atomic_path, check_place
from repaint.folders.tasks import Task
from repaint.pictures.pairs import RESULTS, picture_suffixes

__all__ = ["SETTINGS", "check_settings", "write_settings"]

SETTINGS = RESULTS
RESULT_SUFFIXES = (".png", ".tif")


def check_settings(
    out: Path, settings: Mapping[str, Any], todo: Sequence[Task] = (), *, overwrite: bool = False
) -> None:
    """Check that a folder is new, or holds results of the same settings.

    Args:
        out: the folder; it may be missing, but its parent must exist.
        settings: JSON-serialisable; everything that determines a result besides the image and mask. The entry
            "repaint" is the version of the library.
        todo: all tasks of this run.
        overwrite: accept a folder with other settings if all its images are earlier results of these tasks;
            `write_settings` then deletes them.
    Raises:
        InputError: the folder cannot be used; the message names the settings that differ, the version of repaint
            that wrote them, or the images that would be mixed with results of other settings.
    """
    if not out.parent.is_dir():
        raise InputError(f"Cannot write {out}: no folder {out.parent}. Create it first.")
    check_place(out / SETTINGS if out.is_dir() else out)
    if not out.is_dir() and (out.exists() or out.suffix.lower() in picture_suffixes()):
        raise InputError(f"Cannot write {out}: many images need a folder for their results, not a file. Pass a folder.")
    found = _read_settings(out)
    if found is None:
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise InputError(f"{out}: the folder is not empty and has no {SETTINGS}. Pass a new folder.")
        return
    before, now = _flat(found), _flat(settings)
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not differ:
        return
    if overwrite:
        if others := _other_images(out, todo):
            named = f"{', '.join(str(path.relative_to(out)) for path in others[:3])}{', ...' * (len(others) > 3)}"
            raise InputError(
                f"{out} has {len(others)} image{'s' * (len(others) > 1)} that --overwrite would not replace ({named}), "
                "so that results of two settings would be mixed. Remove them, or pass another --out."
            )
        return
    if "repaint" in differ:
        version = found.get("repaint")
        writer = f"version {shown(version)}" if isinstance(version, str) else "an unknown version"
        raise InputError(
            f"{out} was made by {writer} of repaint, but this is {shown(settings.get('repaint'))}. "
            "Pass another --out, or --overwrite to replace its results."
        )
    changes = (f"{name} was {shown(before.get(name))} and is now {shown(now.get(name))}" for name in differ[:3])
    raise InputError(
        f"{out} was made with other settings: {'; '.join(changes)}. "
        "Pass another --out, or --overwrite to replace its results."
    )


def write_settings(out: Path, settings: Mapping[str, Any], todo: Sequence[Task] = ()) -> None:
    """Create the folder with its settings file. If it had other settings, delete the earlier results of these tasks."""
    out.mkdir(exist_ok=True)
    found = _read_settings(out)
    if found == settings:
        return
    if found is not None:
        for path in _earlier(todo):
            path.unlink(missing_ok=True)
    with atomic_path(out / SETTINGS) as draft:
        draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten settings: entries of mappings, such as a method, get dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def _earlier(todo: Sequence[Task]) -> set[Path]:
    """List the files that earlier results of the tasks can have."""
    return {task.stem.with_name(task.stem.name + suffix) for task in todo for suffix in RESULT_SUFFIXES}


def _other_images(out: Path, todo: Sequence[Task]) -> list[Path]:
    """List the images in a folder of results that are not of these tasks, without nested folders of results."""
    own, others = _earlier(todo), []
    for folder, inside, names in os.walk(out):
        place = Path(folder)
        inside[:] = [name for name in inside if not (place / name / SETTINGS).exists()]
        images = (place / name for name in names if Path(name).suffix in RESULT_SUFFIXES and not name.startswith("."))
        others += [path for path in images if path not in own]
    return sorted(others)


def _read_settings(out: Path) -> dict[str, Any] | None:
    path = out / SETTINGS
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read {path}: {error}. Pass a new folder.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a repaint settings file. Pass a new folder.")
    return found
