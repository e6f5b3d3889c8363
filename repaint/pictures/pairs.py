"""Listing the images of a folder, and pairing images with masks of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from repaint.errors import InputError

__all__ = ["SUFFIXES", "check_paired", "picture_files", "unique_stems"]

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


def picture_files(folder: Path) -> dict[str, Path]:
    """Map the stem of each image in a folder to its path, sorted. Hidden files (".name") are ignored.

    Args:
        folder: subfolders are not searched.
    Raises:
        InputError: the folder is missing, has no image, or has two images of one stem.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the folder with the images.")
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    found = sorted(path for path in visible if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder}: the folder has no image ({', '.join(sorted(SUFFIXES))}). Give another folder.")
    return unique_stems(found)


def unique_stems(found: Sequence[Path]) -> dict[str, Path]:
    """Map the stem of each file to its path.

    Raises:
        InputError: two files have the same stem.

    >>> unique_stems([Path("photos/a.jpg"), Path("photos/b.png")]).keys()
    dict_keys(['a', 'b'])
    """
    by_stem = {path.stem: path for path in found}
    for path in found:
        other = by_stem[path.stem]
        if other != path:
            raise InputError(f"{path} and {other} have the same name without suffix. Rename or remove one.")
    return by_stem


def check_paired(pictures: Mapping[str, object], holes: Mapping[str, object], images: object, masks: object) -> None:
    """Refuse an image without a mask, and a mask without an image.

    Args:
        pictures, holes: stem to the image or mask, as named in errors.
        images, masks: the folders of images and masks, as named in errors.
    Raises:
        InputError: an image or mask without a partner; the message names the first one and their number.
    """
    for names, partners, missing, where in ((pictures, holes, "mask", masks), (holes, pictures, "image", images)):
        if alone := sorted(set(names) - set(partners)):
            raise InputError(
                f"{names[alone[0]]} has no {missing} of the same name in {where} ({len(alone)} without one). "
                f"Add the {missing}, or remove the file."
            )
