"""Listing the images of a folder, and pairing images with masks of the same name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from repaint.errors import InputError, warn
from repaint.pictures.decoding import HEIF_SUFFIXES

__all__ = ["RESULTS", "check_paired", "masks_of", "picture_files", "picture_suffixes", "split_masks", "unique_stems"]

RESULTS = "repaint.json"  # the file that marks a folder of results

# Formats that PIL lists, but that are documents, films, data or programs (PostScript).
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF", "PDF", "WAL"}
# Files of these types may lie beside images; any other file that is left out is named in a warning.
_COMPANIONS = {".csv", ".db", ".ini", ".json", ".log", ".md", ".toml", ".txt", ".xml", ".xmp", ".yaml", ".yml"}
_MASK_NAME = re.compile(r"(?P<image>.+)_mask\d*", re.IGNORECASE)


@cache
def picture_suffixes() -> frozenset[str]:
    """List the suffixes of the readable image formats in lower case: those of PIL, and HEIC with pillow-heif."""
    Image.init()
    known = {
        suffix
        for suffix, form in Image.registered_extensions().items()
        if form in Image.OPEN and form not in _NO_PICTURES and suffix not in HEIF_SUFFIXES
    }
    return frozenset(known | set(HEIF_SUFFIXES if find_spec("pillow_heif") else ()))


def picture_files(folder: Path, *, recursive: bool = False, name_others: bool = False) -> dict[str, Path]:
    """Map the name of each image in a folder to its path, sorted. Hidden files and folders (".name") are ignored.

    Args:
        folder: the folder.
        recursive: search subfolders too; then a name is the path within the folder, without its suffix. Folders of
            results, which have a `repaint.json`, are left out.
        name_others: warn of files that are left out because they are not images, and of subfolders.
    Raises:
        InputError: the folder is missing, has no image, or has two images of one name.
    Warns:
        UserWarning: see `name_others`.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the folder with the images.")
    files = sorted(path for path in (folder.rglob("*") if recursive else folder.iterdir()) if path.is_file())
    visible = [path for path in files if not any(_is_hidden(part) for part in path.relative_to(folder).parts)]
    visible = [path for path in visible if not _is_result(path, folder)]
    found = [path for path in visible if path.suffix.lower() in picture_suffixes()]
    others = [path for path in visible if path.suffix.lower() not in picture_suffixes() | _COMPANIONS]
    if others and name_others:
        named = ", ".join(str(path.relative_to(folder)) for path in others[:5])
        warn(
            f"{folder}: {len(others)} file{'' if len(others) == 1 else 's'} left out, not an image that can be read: "
            f"{named}{', ...' if len(others) > 5 else ''}{_heif_hint(others)}",
        )
    inside = [] if recursive else sorted(p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p.name))
    if inside and found and name_others:
        named = ", ".join(path.name for path in inside[:5])
        warn(
            f"{folder}: its subfolders are not searched ({named}{', ...' if len(inside) > 5 else ''}). To search them, "
            "add --recursive.",
        )
    if not found:
        deeper = " To search its subfolders, add --recursive." if inside else ""
        raise InputError(
            f"{folder}: the folder has no image (.png, .jpg, .tif, .webp, and other formats of PIL). "
            f"Give another folder.{deeper}{_heif_hint(others)}"
        )
    return unique_stems(found, folder if recursive else None)


def _is_result(path: Path, folder: Path) -> bool:
    """Test whether a file lies in a folder of results within `folder`."""
    depth = len(path.relative_to(folder).parts) - 1
    return any((parent / RESULTS).exists() for parent in path.parents[:depth])


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _heif_hint(others: Sequence[Path]) -> str:
    heif = any(path.suffix.lower() in HEIF_SUFFIXES for path in others)
    return ". HEIC needs pillow-heif: pip install pillow-heif" if heif else ""


def unique_stems(found: Sequence[Path], folder: Path | None = None) -> dict[str, Path]:
    """Map the stem of each file to its path.

    Args:
        found: the files.
        folder: the names are paths within this folder, without suffix; None: only the stems.
    Raises:
        InputError: two files have the same name.

    >>> unique_stems([Path("photos/a.jpg"), Path("photos/b.png")]).keys()
    dict_keys(['a', 'b'])
    """

    def name(path: Path) -> str:
        return path.stem if folder is None else path.relative_to(folder).with_suffix("").as_posix()

    by_stem = {name(path): path for path in found}
    for path in found:
        other = by_stem[name(path)]
        if other != path:
            raise InputError(f"{path} and {other} have the same name without suffix. Rename or remove one.")
    return by_stem


def masks_of(pictures: Mapping[str, Path], masks: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Sort masks by their images: a mask belongs to NAME if it is called NAME, NAME_mask or NAME_mask001.

    Args:
        pictures: name to image.
        masks: name to mask.
    Returns:
        Name of image to its masks by name. A mask without an image is listed under its own name.

    >>> masks_of({"a": Path("a.png")}, {"a_mask001": Path("a_mask001.png")})
    {'a': {'a_mask001': PosixPath('a_mask001.png')}}
    """
    found: dict[str, dict[str, Path]] = {}
    for name, path in masks.items():
        match = _MASK_NAME.fullmatch(name)
        image = match["image"] if match and name not in pictures else name
        found.setdefault(image, {})[name] = path
    return found


def split_masks(files: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, dict[str, Path]]]:
    """Separate the images from the masks in a folder that holds both, as IOPaint and LaMa write them.

    Args:
        files: name to file.
    Returns:
        The images, and their masks as in `masks_of`.
    """
    images = {}
    for name, path in files.items():
        match = _MASK_NAME.fullmatch(name)
        if not (match and match["image"] in files):
            images[name] = path
    return images, masks_of(images, {name: path for name, path in files.items() if name not in images})


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
