"""New space around a picture: how much on each side, in which steps, and the canvas with its mask."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from repaint.checks import shown, whole_number
from repaint.errors import InputError
from repaint.pictures.images import ImageLike, Picture, read_images

__all__ = ["Margins", "as_margins", "extended"]


@dataclass(frozen=True)
class Margins:
    """Pixels to add on each side of a picture, as displayed."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @property
    def largest(self) -> int:
        """The widest of the four."""
        return max(self.left, self.right, self.top, self.bottom)

    def steps(self, width: int | None) -> list[Margins]:
        """Split into steps of at most `width` pixels on each side, from the picture outwards; None: one step.

        >>> Margins(left=50, top=20).steps(30)
        [Margins(left=30, right=0, top=20, bottom=0), Margins(left=20, right=0, top=0, bottom=0)]
        """
        sides = (self.left, self.right, self.top, self.bottom)
        width = self.largest if width is None else width
        rounds = range(0, self.largest, max(1, width))
        return [Margins(*(min(max(side - done, 0), width) for side in sides)) for done in rounds]


def as_margins(
    size: tuple[int, int],
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    aspect: str | float | None = None,
) -> Margins:
    """Compute the margins of a picture from sides, a ratio, or both.

    Args:
        size: (height, width) of the picture as displayed.
        left, right, top, bottom: pixels to add, at least 0.
        aspect: width over height of the result, as "16:9" or a number. After the sides, the shorter direction is
            extended to it, evenly on both sides. None: not extended.
    Raises:
        InputError: a side or ratio out of range, nothing to add, or a result of more pixels than PIL opens.

    >>> as_margins((90, 100), aspect="16:9")
    Margins(left=30, right=30, top=0, bottom=0)
    """
    given = {"left": left, "right": right, "top": top, "bottom": bottom}
    sides = {name: whole_number(name, value, 0, hint="pixels to add") for name, value in given.items()}
    if aspect is not None:
        ratio = _ratio(aspect)
        height, width = size[0] + sides["top"] + sides["bottom"], size[1] + sides["left"] + sides["right"]
        wide, high = max(0, round(height * ratio) - width), max(0, round(width / ratio) - height)
        for first, second, more in (("left", "right", wide), ("top", "bottom", high)):
            sides[first], sides[second] = sides[first] + more // 2, sides[second] + more - more // 2
    if not any(sides.values()):
        raise InputError(
            f"Nothing is added to an image of {size[1]} x {size[0]} pixels. Give left, right, top or bottom in "
            "pixels, or another aspect."
        )
    height, width = size[0] + sides["top"] + sides["bottom"], size[1] + sides["left"] + sides["right"]
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        raise InputError(
            f"The result of {width} x {height} pixels must have at most {limit}, PIL's limit for files that it opens. "
            "Add less, or raise PIL.Image.MAX_IMAGE_PIXELS."
        )
    return Margins(**sides)


def _ratio(aspect: str | float) -> float:
    """Parse a ratio of width to height.

    Raises:
        InputError: not a ratio between 1:20 and 20:1.
    """
    try:
        over, _, under = str(aspect).partition(":")
        ratio = float(over) / float(under or 1)
    except (ValueError, ZeroDivisionError, OverflowError):
        ratio = math.nan
    if not 0.05 <= ratio <= 20:
        raise InputError(f'aspect={shown(aspect)} must be a ratio from 1:20 to 20:1 (such as "16:9" or 1.5).')
    return ratio


def extended(image: ImageLike, margins: Margins) -> tuple[Any, Bool[np.ndarray, "h w"]]:
    """Put an image on a larger canvas.

    Args:
        image: a path, PIL image, array (H, W) or (H, W, C), or tensor (C, H, W).
        margins: of the canvas; what lies there is black.
    Returns:
        (the canvas as a PIL image, array or tensor, its mask: True in the margins, as displayed).
    Raises:
        InputError: several images, or an image that cannot be read.

    >>> canvas, mask = extended(np.ones((2, 3), np.uint8), Margins(left=2))
    >>> canvas.tolist(), mask[0].tolist()
    ([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]], [True, True, False, False, False])
    """
    pictures = read_images(image)
    if len(pictures) != 1:
        raise InputError(f"{len(pictures)} images were passed, but one is extended at a time. Use a loop.")
    picture, rows, columns = pictures[0], (margins.top, margins.bottom), (margins.left, margins.right)
    height, width = picture.size
    mask = np.ones((height + sum(rows), width + sum(columns)), dtype=bool)
    mask[margins.top : margins.top + height, margins.left : margins.left + width] = False
    if isinstance(image, Tensor):
        return F.pad(image, (*columns, *rows)), mask
    canvas = _padded(picture, rows, columns)
    return (canvas.output("pil") if isinstance(canvas.like, Image.Image) else canvas.raw), mask


def _padded(picture: Picture, rows: tuple[int, int], columns: tuple[int, int]) -> Picture:
    sides = [rows, columns] + [(0, 0)] * (picture.raw.ndim - 2)
    return replace(picture, raw=np.pad(picture.raw, sides))
