"""Any size: windows around the holes of a large image, and padding to a size that a prior takes.

Windows are cut out of the image, padded by reflection, filled, cut back and stitched in; a pixel outside the holes, or
outside the windows, is never touched. Nothing is resized, but see `Crop.upscale`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from repaint.checks import is_number, nearest, shown
from repaint.errors import InputError

__all__ = ["Crop", "CropLike", "Padding", "Window", "as_crop", "pad", "windows_around"]

Boxes = Int[np.ndarray, "n 4"]  # top, left, bottom, right of each; the last two are excluded


@dataclass(frozen=True)
class Crop:
    """How windows are cut around the holes of an image that is larger than the prior was trained for.

    All windows of one image have one size: `size`, or more where its largest hole with its context needs more. Holes
    near each other share a window where that holds them and their context. An image no larger than `size`, or one
    whose windows would hold more pixels than itself, is not cut.

    Attributes:
        size: side of a window in pixels, rounded up to the prior's multiple; None takes the prior's `preferred_size`
            (a prior without one is never cropped). It may exceed the image, which then is taken whole.
        context: kept pixels wanted on each side of a group of holes, as a share of the group's own extent in that
            direction, >= 0.
        upscale: enlarge windows that can be smaller than `size` to it, by a whole factor, and average the result back.
            Small holes get more detail than the picture holds; kept pixels stay bit-equal.
        windows: where a hole and its context need more than `size`: True shows the model overlapping windows of `size`
            at each level (`repaint.priors.windowed`), False all at once; None does the former where the prior draws
            one size only, as DiT does, and the latter elsewhere, which costs half.
    Raises:
        InputError: a value out of range.
    """

    size: int | None = None
    context: float = 0.5
    upscale: bool = False
    windows: bool | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.size, Integral) and not isinstance(self.size, bool)
        if self.size is not None and (not whole or self.size < 1):
            raise InputError(
                f"Crop size {shown(self.size)}: it is a whole number of pixels from 1. "
                "Leave it out for the prior's own."
            )
        if not (is_number(self.context) and 0 <= self.context < math.inf):
            raise InputError(
                f"Crop context {shown(self.context)}: it is a share of the hole from 0; 0.5 is usual. Change it."
            )


CropLike = Crop | Literal["auto", "off"] | None


def as_crop(crop: CropLike) -> Crop | None:
    """What a caller may pass as `crop`: "auto" is `Crop()`, "off" or None fills whole images.

    Raises:
        InputError: another word or type.
    """
    if crop is None or isinstance(crop, Crop):
        return crop
    words = {"auto": Crop(), "off": None}
    if not isinstance(crop, str) or crop not in words:
        raise InputError(f"crop {shown(crop)}: it is 'auto', 'off', None or a Crop.{nearest(crop, words)} Choose one.")
    return words[crop]


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle of an image, and the hole that it is cut for.

    Attributes:
        top, left: its first pixel.
        own: (height, width) True at the hole pixels that are taken from this window; other holes may reach into it.
        scale: how many times larger the prior sees it.
    """

    top: int
    left: int
    own: Bool[np.ndarray, "height width"]
    scale: int = 1

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        height, width = self.own.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def windows_around(hole: Bool[np.ndarray, "height width"], crop: Crop, size: int, multiple_of: int) -> list[Window]:
    """The windows of one image, in reading order; one that is the image itself where it is not cut.

    Args:
        hole: True where pixels are painted, at least one.
        crop: context and upscaling.
        size: side that a window has where nothing asks for more, in pixels.
        multiple_of: sides of windows are multiples of it, unless the image ends before.
    Raises:
        InputError: `size` below `multiple_of`.
    """
    if size < multiple_of:
        raise InputError(
            f"Crop size {size} for a prior that takes multiples of {multiple_of} pixels: it is at least one of them. "
            f"Give {multiple_of} or more."
        )
    image, whole = np.array(hole.shape), Window(0, 0, hole)
    if (image <= size).all():
        return [whole]
    labels, boxes = _components(hole)
    around = 1 + 2 * crop.context
    side, scale = _side((boxes[:, 2:] - boxes[:, :2]).max(axis=0) * around, image, crop, size, multiple_of)
    room = np.where(side == image, image, np.floor(side / around + 1e-9))  # of a group: the rest is context
    groups = _grouped(boxes, room, most=int(image.prod() // (side.prod() * scale**2)))
    if groups is None:
        return [whole]
    found = []
    for group in groups:
        middle = (boxes[group, :2].min(axis=0) + boxes[group, 2:].max(axis=0)) / 2
        top, left = np.clip(np.floor(middle - side / 2).astype(int), 0, image - side).tolist()
        own = np.isin(labels[top : top + side[0], left : left + side[1]], group + 1)
        found.append(Window(top, left, own, scale))
    return found


def _side(
    wanted: Shaped[np.ndarray, "2"], image: Int[np.ndarray, "2"], crop: Crop, size: int, multiple_of: int
) -> tuple[Int[np.ndarray, "2"], int]:
    """Height and width of all windows of an image, and their scale, for that much hole and context."""
    wanted = np.ceil(np.minimum(wanted, 2.0**31) - 1e-9).astype(int)  # a context of 1e30 is no integer
    scale = max(1, size // int(wanted.max())) if crop.upscale else 1
    if scale > 1:
        return np.minimum(size // scale, image), scale
    side = -(-np.maximum(wanted, size) // multiple_of) * multiple_of
    return np.minimum(side, image), 1


def _components(hole: Bool[np.ndarray, "height width"]) -> tuple[Int[np.ndarray, "height width"], Boxes]:
    """The holes numbered from 1, connected over corners too, and the box of each."""
    from scipy.ndimage import find_objects, label

    labels = np.zeros(hole.shape, dtype=np.int32)
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # labelling 16 million kept pixels takes time
    label(hole[inner], structure=np.ones((3, 3)), output=labels[inner])
    boxes = [(r.start, c.start, r.stop, c.stop) for r, c in find_objects(labels[inner])]
    return labels, np.array(boxes) + np.array([rows[0], columns[0]] * 2)


def _grouped(boxes: Boxes, room: Shaped[np.ndarray, "2"], most: int) -> list[Int[np.ndarray, " k"]] | None:
    """Numbers of the boxes of each group, whose common box fits into `room`; None where it takes more than `most`.

    The topmost box that is left takes all that fit with it, in the best of three stretches of columns that hold it.
    """
    left = np.argsort(boxes[:, 0], kind="stable")
    groups: list[Int[np.ndarray, " k"]] = []
    while len(left):
        if len(groups) == most:
            return None
        first, rest = boxes[left[0]], boxes[left]
        low, high = first[3] - room[1], first[1]
        fits = [
            (rest[:, 2] <= first[0] + room[0]) & (rest[:, 1] >= start) & (rest[:, 3] <= start + room[1])
            for start in (high, low, (low + high) / 2)
        ]
        taken = max(fits, key=np.count_nonzero)
        groups.append(left[taken])
        left = left[~taken]
    return groups


@dataclass(frozen=True)
class Padding:
    """What `pad` added, to the right and at the bottom; (height, width) is the size before."""

    height: int
    width: int

    def cut(self, tensor: Shaped[Tensor, "*b h_padded w_padded"]) -> Shaped[Tensor, "*b h w"]:
        """(..., H, W): the part of a padded image, keep mask or result that is no padding."""
        return tensor[..., : self.height, : self.width]


def pad(image: Shaped[Tensor, "*b h w"], multiple_of: int) -> tuple[Shaped[Tensor, "*b h_padded w_padded"], Padding]:
    """Extend an image or a keep mask to the next size a prior takes, by reflection at its right and bottom edge.

    Pixel (0, 0) stays where it is, so a latent grid stands on the same pixels as without padding. The reflection does
    not repeat the edge pixel (abc -> abcbab...), bounces back and forth where the padding is wider than the image, and
    repeats the one pixel of a side of length 1. Padded together, image and keep mask stay consistent.

    Args:
        image: (..., H, W), any values.
        multiple_of: H and W of the result are multiples of it, >= 1.
    Returns:
        The padded tensor (the same one where nothing is missing) and the `Padding` whose `cut` undoes it.
    Raises:
        InputError: `multiple_of` below 1.
    """
    if multiple_of < 1:
        raise InputError(
            f"Padding to multiples of {multiple_of}: it must be at least 1. Give the prior's own multiple."
        )
    height, width = image.shape[-2:]
    padded = image
    for axis, size in ((-2, height), (-1, width)):
        if missing := -size % multiple_of:
            padded = padded.index_select(axis, _bounce(size, size + missing).to(image.device))
    return padded, Padding(height, width)


def _bounce(size: int, length: int) -> Tensor:
    """The first `length` indices of a walk to and fro over 0 ... size - 1 that does not stay at the turning points."""
    period = max(2 * (size - 1), 1)
    phase = torch.arange(length) % period
    return torch.minimum(phase, period - phase)
