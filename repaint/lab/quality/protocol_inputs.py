"""The pictures and masks of a protocol, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repaint.checks import nearest, whole_number
from repaint.errors import InputError
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.protocols import TestProtocol
from repaint.pictures.decoding import read_upright
from repaint.pictures.mask_shapes import generate
from repaint.pictures.masks import known, read_keep
from repaint.pictures.pairs import picture_files

__all__ = ["chosen_masks", "noisy", "protocol_holes", "protocol_pictures"]

Image = NDArray[np.uint8]


def protocol_pictures(protocol: TestProtocol, folder: Path, *, limit: int | None = None) -> dict[str, Image]:
    """Read the pictures of a protocol, and check their number and sizes.

    Args:
        protocol: see `repaint.lab.quality.protocols`.
        folder: of pictures.
        limit: number of pictures to use, the first ones by name, for a trial; None: the number of the protocol.
    Raises:
        InputError: another number or size of pictures than the protocol's.
    """
    files = picture_files(folder)
    if limit is not None:
        limit = whole_number("limit", limit, 1, len(files), hint=f"pictures in {folder}")
        files = dict(list(files.items())[:limit])
    elif protocol.pictures is not None and len(files) != protocol.pictures:
        raise InputError(
            f"{folder}: {len(files)} pictures, but {protocol.name} needs exactly {protocol.pictures}. For a trial with "
            "fewer, pass --limit."
        )
    pictures = {}
    for name, file in files.items():
        picture = read_upright(file)
        height, width = picture.shape[:2]
        if (height, width) != (protocol.side, protocol.side):
            raise InputError(
                f"{file}: {width} x {height} pixels, but {protocol.name} needs {protocol.side} x "
                f"{protocol.side}. Crop and resize as its data set prescribes."
            )
        pictures[name] = picture
    return pictures


def chosen_masks(protocol: TestProtocol, only: Sequence[str] | None = None, masks: Path | None = None) -> list[str]:
    """List the masks that can be made: those with a generator, or with a folder in `masks`.

    Args:
        protocol: of the masks.
        only: names of masks; None: all.
        masks: see `protocol_holes`.
    Raises:
        InputError: an unknown mask, no such folder, or no mask is left.
    """
    for mask in only or ():
        if mask not in protocol.masks:
            allowed = ", ".join(protocol.masks)
            raise InputError(f"mask={mask} must be one of {allowed} ({protocol.name}).{nearest(mask, protocol.masks)}")
    if masks is not None and not masks.is_dir():
        raise InputError(f"{masks}: no such folder. Pass the folder that holds a folder for each mask.")
    names = [
        mask
        for mask in only or protocol.masks
        if protocol.masks[mask].generator or (masks is not None and (masks / mask).is_dir())
    ]
    if not names:
        raise InputError(f"mask={', '.join(only or ())} exists only as files. Pass its folder with --masks.")
    return names


def protocol_holes(
    protocol: TestProtocol, pictures: Mapping[str, Image], mask: str, masks: Path | None = None
) -> list[Hole]:
    """Make the holes of one mask of a protocol.

    Args:
        protocol: of the masks.
        pictures: name to picture.
        mask: a name of the protocol.
        masks: folder of folders of published masks, MASK/NAME.png with the names of pictures, in which white is kept,
            as in RePaint's data. Masks without such a folder are drawn.
    Returns:
        One hole for each picture.
    Raises:
        InputError: a picture without its mask, or a mask of another size or without a hole.
    """
    shape, holes = protocol.masks[mask], []
    folder = None if masks is None or not (masks / mask).is_dir() else masks / mask
    files = {} if folder is None else picture_files(folder)
    for i, (name, picture) in enumerate(pictures.items()):
        if folder is None:
            options = {**shape.options, "seed": i} if shape.seeded else shape.options
            keep = generate(shape.generator, picture.shape[0], picture.shape[1], **options)
        elif name in files:
            keep = read_keep(keep_mask=files[name], sizes=[picture.shape[:2]])[0]
        else:
            raise InputError(f"{folder}: no mask {name}.* for the picture {name}. Name masks as their pictures.")
        hole = ~known(keep)[0].numpy()
        if not hole.any():
            raise InputError(f"{folder}: the mask {name} has no hole. White is kept; invert it.")
        holes.append(Hole(name, mask, picture, hole, ~hole))
    return holes


def noisy(hole: Hole, std: float, number: int) -> Image:
    """Return the picture with noise in the known part, clipped and rounded to 8 bits.

    Args:
        hole: of the picture.
        std: of the noise, for values in [-1, 1].
        number: of the picture, the seed.
    """
    if std == 0:
        return hole.image
    noise = np.random.default_rng([number, 0]).normal(0, std * 127.5, hole.image.shape)
    noisy = np.clip(np.rint(hole.image + noise), 0, 255).astype(np.uint8)
    return np.where(hole.mask[:, :, None], hole.image, noisy)
