"""The images of a command, each with its mask, result and seed, and their batches."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from repaint.errors import InputError
from repaint.pictures.metadata import upright_size
from repaint.pictures.pairs import check_paired, masks_of, picture_files, split_masks, unique_stems

__all__ = ["Task", "batches", "is_one_file", "tasks"]


@dataclass(frozen=True)
class Task:
    """One image to inpaint.

    Attributes:
        image, mask: files.
        stem: path of the result without its suffix.
        seed: of the result; `repaint inpaint` on this image alone with this seed gives the same result.
    """

    image: Path
    mask: Path
    stem: Path
    seed: int


def is_one_file(images: Sequence[Path], mask: Path) -> bool:
    """Test whether a command line names one image and its mask, rather than folders, patterns or several images."""
    return len(images) == 1 and not (images[0].is_dir() or mask.is_dir() or _matches(images[0]))


def tasks(images: Sequence[Path], masks: Path, out: Path, seed: int, *, recursive: bool = False) -> list[Task]:
    """List the tasks, sorted by name.

    The seed of a result depends only on `seed` and the name of its image, not on the other images or processes.

    Args:
        images: a folder, or files and patterns such as "photos/*.jpg". Names without suffix must differ.
        masks: one mask for all images, or a folder with masks: NAME, NAME_mask or NAME_mask001, of any suffix, for the
            image NAME. It may be the folder of the images. An image with several masks has a result for each, named
            like the mask.
        out: the folder of results.
        seed: in [0, 2**33).
        recursive: a folder of images, and one of masks, is searched with its subfolders; results keep their places.
    Raises:
        InputError: no images, two images of one name, or an image without a mask.
    """
    pictures = _pictures(images, recursive)
    if not masks.is_dir():
        if not masks.exists():
            raise InputError(f"No file {masks}. Check the path (the current folder is {Path.cwd()}).")
        return [Task(path, masks, out / name, _seed(seed, name)) for name, path in sorted(pictures.items())]
    whole = len(images) == 1 and images[0].is_dir()  # a selection of images does not need all masks of a folder
    if whole and images[0].resolve() == masks.resolve():
        pictures, holes = split_masks(pictures)
    else:
        holes = masks_of(pictures, picture_files(masks, recursive=recursive))
    if not whole:
        holes = {name: found for name, found in holes.items() if name in pictures}
    check_paired(pictures, {name: next(iter(found.values())) for name, found in holes.items()}, images[0], masks)
    return [
        Task(path, mask, out / (name if len(holes[name]) == 1 else own), _seed(seed, name))
        for name, path in sorted(pictures.items())
        for own, mask in sorted(holes[name].items())
    ]


def batches(todo: Sequence[Task], batch: int) -> list[list[Task]]:
    """Group tasks into batches of at most `batch` images of one size.

    The grouping depends only on the tasks, so that a result is computed in the same batch in every process. A `batch`
    of 1 opens no file.
    """
    if batch == 1:
        return [[task] for task in todo]
    groups: dict[tuple[int, int], list[Task]] = {}
    for task in todo:
        groups.setdefault(_size(task.image), []).append(task)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def _pictures(images: Sequence[Path], recursive: bool) -> dict[str, Path]:
    """Map the name of each image, without its suffix, to its path."""
    if len(images) == 1 and images[0].is_dir():
        return picture_files(images[0], recursive=recursive, name_others=True)
    if recursive:
        raise InputError("--recursive needs one folder of images. Pass a folder, or leave it out.")
    found: dict[Path, None] = {}
    for path in images:
        if path.is_dir():
            raise InputError(f"{path}: a folder cannot be combined with other images. Pass one folder, or files.")
        found |= dict.fromkeys(_matches(path) or [path])
    return unique_stems(list(found))


def _matches(pattern: Path) -> list[Path]:
    """List the files that match a pattern; none if the pattern is the name of a file."""
    return [] if pattern.exists() else [Path(text) for text in sorted(glob.glob(str(pattern)))]  # noqa: PTH207


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _size(path: Path) -> tuple[int, int]:
    """Read (height, width) as displayed from the header; (0, 0) if the file cannot be read, which `run` reports."""
    try:
        with Image.open(path) as image:
            return upright_size(image)
    except Exception:  # PIL's decoders raise many types for a damaged header
        return 0, 0
