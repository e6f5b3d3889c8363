"""Images with holes and known true content, from the bundled samples or any folder.

| layout | images | masks | white of a mask |
|---|---|---|---|
| two folders | images/NAME.* | masks/NAME.* | repainted |
| RePaint's | gt/NAME.* | gt_keep_masks/NAME.* | kept |
| LaMa's | NAME.* | NAME_mask*.png beside it | repainted |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.pictures.decoding import eight_bit, open_image, upright
from repaint.pictures.mask_shapes import box, half
from repaint.pictures.masks import known, read_keep
from repaint.pictures.metadata import exif_orientation
from repaint.pictures.pairs import check_paired, picture_files
from repaint.pictures.samples import GLYPH_SIZE, PHOTOGRAPHS, Part, glyphs, halve, photograph

__all__ = [
    "Hole",
    "bundled_holes",
    "folder_holes",
    "glyph_holes",
    "texture_holes",
]

STRIP, RIM = 64, 8  # pixels: width of the strip with the texture holes, and its margin on each side


@dataclass(frozen=True)
class Hole:
    """An image with a hole.

    Attributes:
        name: unique in its set.
        group: holes of one group are pooled when patch statistics are compared.
        image: (H, W, 3) uint8, with the true content in the hole.
        mask: (H, W), True in the hole.
        real: (H, W), True where reference patches are taken.
        conditions: keyword arguments for the pipeline: class_labels or prompt.
        source: name of the photograph that the image was cut from; "": it is `name`.
    """

    name: str
    group: str
    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    real: NDArray[np.bool_]
    conditions: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def picture(self) -> str:
        """Name of the picture; holes of the same one are not independent."""
        return self.source or self.name


def texture_holes(size: int = 64, hole: int = 24, per_photograph: int = 13) -> list[Hole]:
    """Make square holes in crops that slide down the held-out part of each photograph.

    Reference patches come from the wider kept side of the crop, at the height of the hole. The 65 default holes do not
    overlap, and neither do the 200 of size=48, hole=16, per_photograph=40.

    Args:
        size: side of the crops in pixels, at most 64.
        hole: side of the holes in pixels.
        per_photograph: holes in each photograph.
    """
    holes, at = [], (size - hole) // 2
    columns = range(RIM, STRIP - RIM - hole + 1, hole)  # left edges of the holes in the strip
    for name in PHOTOGRAPHS:
        part = halve(photograph(name, "held_out"))
        tops = np.linspace(0, part.shape[0] - size, per_photograph).round().astype(int)
        for i, top in enumerate(tops):
            column = columns[i % len(columns)]
            begin = min(max(column - at, 0), STRIP - size)
            left = column - begin
            mask, real = np.zeros((2, size, size), dtype=bool)
            mask[at : at + hole, left : left + hole] = True
            if left < size - left - hole:
                real[at : at + hole, left + hole + 2 :] = True
            else:
                real[at : at + hole, : left - 2] = True
            crop = part[top : top + size, begin : begin + size].copy()
            holes.append(Hole(f"{name} {i}", name, crop, mask, real, {"class_labels": name}, source=name))
    return holes


def glyph_holes(mask: NDArray[np.bool_], part: Part = "held_out", count: int | None = None) -> list[Hole]:
    """Make the same hole in several glyphs, with their names as prompts.

    Reference patches come from all known pixels of each glyph.

    Args:
        mask: (64, 64), True in the hole.
        part: see `repaint.pictures.samples.glyphs`.
        count: number of glyphs, evenly spread; None: all.
    Raises:
        InputError: count is out of range.
    """
    everything = list(glyphs(part).items())
    count = len(everything) if count is None else count
    count = whole_number("count", count, 1, len(everything), hint=f"glyphs of the part {part}")
    chosen = [everything[i * len(everything) // count] for i in range(count)]
    return [Hole(name, "glyphs", image, mask, ~mask, {"prompt": name}) for name, image in chosen]


def bundled_holes(prior: str, *, many: bool = False) -> list[Hole]:
    """Make the test holes of a bundled prior, in images that it was not trained on.

    `textures`: 65 squares in photographs; with many=True, 200 smaller ones. `emoji`: a square of half the side in each
    of 140 glyphs, with their names as prompts; with many=True, also the right half of 70, all without a prompt since
    the prior was not trained on these names.

    Args:
        prior: textures or emoji.
        many: use the larger set.
    Raises:
        InputError: another prior.
    """
    if prior == "textures":
        return texture_holes(size=48, hole=16, per_photograph=40) if many else texture_holes()
    if prior == "emoji":
        middle = glyph_holes(box(GLYPH_SIZE, GLYPH_SIZE, share=0.5)[0].numpy() == 0)
        if not many:
            return middle
        right = glyph_holes(half(GLYPH_SIZE, GLYPH_SIZE, side="right")[0].numpy() == 0, count=70)
        return [replace(hole, conditions={"prompt": ""}) for hole in middle + right]
    raise InputError(f"Prior {prior} has no test images. Pass a folder of images with masks (--images).")


def folder_holes(images: Path, masks: Path | None = None, *, keep_mask: bool = False) -> list[Hole]:
    """Read the images of a folder with their masks; image sizes may differ.

    Args:
        images: folder of images; without `masks`, in the layout of LaMa, with masks beside the images.
        masks: folder of masks named as their images (the suffix may differ).
        keep_mask: white pixels of masks are kept, as in RePaint's data.
    Raises:
        InputError: an empty folder, an image or mask without its counterpart, sizes that differ, a hole that is the
            whole picture, or an image of more than 8 bits.
    """
    pairs = _beside(images) if masks is None else _paired(images, masks)
    holes = []
    for name, image_file, mask_file in pairs:
        stored = open_image(image_file)
        image = eight_bit(upright(stored), image_file)
        given: dict[str, Any] = {"keep_mask" if keep_mask else "mask_image": mask_file}
        keep = read_keep(**given, sizes=[image.shape[:2]], turns=[exif_orientation(stored)])[0]
        mask = ~known(keep)[0].numpy()
        if mask.all():
            raise InputError(
                f"{mask_file}: the hole is the whole picture. Nothing would be kept: check the polarity (keep_mask)."
            )
        if mask.any():
            holes.append(Hole(name, images.name, image, mask, ~mask, source=image_file.stem))
    if not holes:
        raise InputError(f"{masks or images}: no mask has a hole. Check the polarity (keep_mask).")
    return holes


def _paired(images: Path, masks: Path) -> list[tuple[str, Path, Path]]:
    pictures, holes = picture_files(images), picture_files(masks)
    check_paired(pictures, holes, images, masks)
    return [(name, pictures[name], holes[name]) for name in pictures]


def _beside(folder: Path) -> list[tuple[str, Path, Path]]:
    files = picture_files(folder)
    pairs = []
    for stem, path in files.items():
        if match := re.fullmatch(r"(.+)_mask\w*", stem):
            if match[1] not in files:
                raise InputError(f"{path}: the image {match[1]}.* is missing. Add it, or remove the mask.")
            pairs.append((stem, files[match[1]], path))
    if not pairs:
        raise InputError(
            f"{folder}: no image NAME.* has a mask NAME_mask.*. Pass a folder of masks, or rename the masks."
        )
    return pairs
