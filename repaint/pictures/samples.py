"""Bundled pictures, split into a part that the bundled priors were trained on and a held-out part.

Photographs: five in the public domain (CC0 or NASA) that are included in the scikit-image wheel. The right quarter of
each is held out from `textures`, whose quality is measured on it. Three more, a cat, a woman and a cup, are held out
from `photos`: `repaint demo` restores them.

Glyphs: emoji of Noto Color Emoji (SIL Open Font License 1.1) at 64 x 64 with their Unicode names: all 140 that are held
out from the training of the `emoji` prior, and 140 of its training set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from repaint.checks import nearest, shown
from repaint.errors import InputError
from repaint.pictures.decoding import open_image

__all__ = ["GLYPH_SIZE", "PHOTOGRAPHS", "UNSEEN", "crops", "glyphs", "held_out_crops", "photograph", "unseen"]

Part = Literal["train", "held_out", "whole"]
DATA = Path(__file__).resolve().parent / "data"
GLYPH_SIZE = 64  # pixels

# The order is the class order of the bundled `textures` prior. Values are functions of `skimage.data`.
PHOTOGRAPHS: dict[str, str] = {
    "brick": "brick",
    "grass": "grass",
    "gravel": "gravel",
    "tissue": "immunohistochemistry",
    "sky": "hubble_deep_field",
}


# Photographs of scikit-image's wheel that are held out from the training of the `photos` prior.
UNSEEN = ("chelsea", "astronaut", "coffee")


def photograph(name: str, part: Part = "whole") -> NDArray[np.uint8]:
    """Load a photograph at its original size, or one part of it.

    Args:
        name: a key of `PHOTOGRAPHS`.
        part: "train" is the left three quarters, "held_out" the right quarter.
    Returns:
        (H, W, 3) uint8; the three channels of a grey photograph are equal.
    Raises:
        InputError: the name is unknown.
    """
    if name not in PHOTOGRAPHS:
        raise InputError(f"name={shown(name)} must be one of {', '.join(PHOTOGRAPHS)}.{nearest(name, PHOTOGRAPHS)}")
    from skimage import data

    image: NDArray[np.uint8] = getattr(data, PHOTOGRAPHS[name])()
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    cut = image.shape[1] * 3 // 4
    parts = {"train": slice(cut), "held_out": slice(cut, None), "whole": slice(None)}
    return image[:, parts[part]]


def unseen(name: str) -> NDArray[np.uint8]:
    """Load a photograph that no bundled prior was trained on, at half size.

    Args:
        name: one of `UNSEEN`.
    Returns:
        (H, W, 3) uint8, 150 to 256 pixels high.
    Raises:
        InputError: the name is unknown.

    >>> unseen("chelsea").shape
    (150, 225, 3)
    """
    if name not in UNSEEN:
        raise InputError(f"name={shown(name)} must be one of {', '.join(UNSEEN)}.{nearest(name, UNSEEN)}")
    from skimage import data

    return halve(getattr(data, name)())


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Halve the size by averaging 2 x 2 pixels: (H, W, 3) to (H // 2, W // 2, 3), the training scale of `textures`."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    halved: NDArray[np.uint8] = np.round(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return halved


def held_out_crops(name: str, size: int = 64, count: int | None = None) -> list[NDArray[np.uint8]]:
    """Cut crops from the held-out part at the scale of the prior; see `crops`.

    Args:
        name: a key of `PHOTOGRAPHS`.
        size: side of the square crops, in pixels of the halved photograph; at most the width of the part.
        count: number of crops; see `crops`.
    """
    return crops(halve(photograph(name, "held_out")), size, count)


def crops(picture: NDArray[np.uint8], size: int, count: int | None = None) -> list[NDArray[np.uint8]]:
    """Cut square crops that are spread evenly over a picture.

    Args:
        picture: (H, W, 3).
        size: side in pixels.
        count: number of crops; None: as many as fit without overlap. More than that overlap.
    Returns:
        A list of (size, size, 3) uint8 arrays, the same on every call.
    Raises:
        InputError: the crops are larger than the picture.
    """
    height, width = picture.shape[:2]
    if size > min(height, width):
        raise InputError(f"size={size} must be at most {min(height, width)} (the picture is {height} x {width}).")
    if count is None:
        count = (height // size) * (width // size)
    tops = np.linspace(0, height - size, count).round().astype(int)
    lefts = (np.arange(count) * 7919) % (width - size + 1)
    return [picture[top : top + size, left : left + size].copy() for top, left in zip(tops, lefts, strict=True)]


def glyphs(part: Part = "whole") -> dict[str, NDArray[np.uint8]]:
    """Load emoji by name, in the order of their code points.

    Args:
        part: "train" is 140 of the 1,221 that the `emoji` prior was trained on, "held_out" all 140 that were held out,
            "whole" both.
    Returns:
        Name to (64, 64, 3) uint8.
    """
    names: dict[str, list[str]] = json.loads((DATA / "glyphs.json").read_text(encoding="utf-8"))
    sheet = np.asarray(open_image(DATA / "glyphs.png"))
    rows, columns = sheet.shape[0] // GLYPH_SIZE, sheet.shape[1] // GLYPH_SIZE
    tiles = (
        sheet.reshape(rows, GLYPH_SIZE, columns, GLYPH_SIZE, 3).swapaxes(1, 2).reshape(-1, GLYPH_SIZE, GLYPH_SIZE, 3)
    )
    everything = dict(zip(names["held_out"] + names["train"], tiles, strict=False))  # the last row may not be full
    wanted = everything if part == "whole" else names[part]
    return {name: everything[name] for name in wanted}
