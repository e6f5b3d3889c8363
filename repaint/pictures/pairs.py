"""Pair images with their masks in folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from repaint.errors import InputError

__all__ = ["SUFFIXES", "check_paired", "picture_files", "unique_stems"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def picture_files(folder: Path) -> dict[str, Path]:
    """Stem to picture of a folder, sorted.

    Raises:
        InputError: no folder, an empty one, or two pictures of one stem.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder. Give the folder that the pictures are in.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}). Give another folder.")
    return unique_stems(found)


def unique_stems(found: Sequence[Path]) -> dict[str, Path]:
    """Stem to file.

    Raises:
        InputError: two files of one stem.
    """
    by_stem = {path.stem: path for path in found}
    for path in found:
        if by_stem[path.stem] != path:
            raise InputError(f"{path} and {by_stem[path.stem]} share a name, which pairs them. Rename or remove one.")
    return by_stem


def check_paired(pictures: Mapping[str, object], holes: Mapping[str, object], images: object, masks: object) -> None:
    """Refuse an image without a mask, and a mask without an image.

    Args:
        pictures, holes: stem to what errors call the image or mask.
        images, masks: what errors call the places that they are in.
    Raises:
        InputError: one without a partner; it is named.
    """
    for some, others, what, where in ((pictures, holes, "mask", masks), (holes, pictures, "image", images)):
        if alone := sorted(set(some) - set(others)):
            raise InputError(
                f"{some[alone[0]]} has no {what} in {where} ({len(alone)} such): names must be the same but for the "
                "suffix. Add it, or take the other away."
            )
