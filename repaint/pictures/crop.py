"""Images of any size: windows around the holes of a large image, and padding to a size that the prior accepts.

Windows are cut out of the image, padded by reflection, filled, unpadded and stitched in. Pixels outside the holes stay
bit-equal. Nothing is resized, unless `Crop.upscale` is set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from repaint.checks import is_number, nearest, shown, whole_number
from repaint.errors import InputError

__all__ = ["Crop", "CropLike", "Window", "as_crop", "pad", "padded_size", "windows_around"]

Boxes = Int[np.ndarray, "n 4"]  # top, left, bottom, right of each; bottom and right are exclusive


@dataclass(frozen=True)
class Crop:
    """Set how windows are cut around the holes of an image that is larger than the prior was trained for.

    All windows of an image have the same size: `size`, or more if the largest hole with its context needs more. Nearby
    holes share a window if they fit into it with their context. An image is not cut if it is no larger than `size`, or
    if the windows would have more pixels than the image.

    Attributes:
        size: side of a window in pixels, rounded up to the prior's multiple. None uses the prior's `preferred_size`;
            a prior without one is never cropped. An image smaller than `size` is used whole.
        context: kept pixels on each side of a group of holes, as a share of the group's height or width, at least 0.
        upscale: enlarge windows that can be smaller than `size` to `size`, by an integer factor, and average the
            result back. Small holes then get finer detail; kept pixels stay bit-equal.
        windows: how to fill a hole that needs more than `size` with its context. True covers it with overlapping
            windows of `size`, cut from one x_t at each level (`repaint.priors.windowed`); False gives the model the
            whole rectangle at once. None uses windows where those of an image hold at most half as many pixels as its
            rectangles, or three quarters along thin holes such as scratches, or where the prior accepts a single size,
            as DiT does.
    Raises:
        InputError: a value is out of range.

    >>> Crop(size=256, context=0.25)
    Crop(size=256, context=0.25, upscale=False, windows=None)
    """

    size: int | None = None
    context: float = 0.5
    upscale: bool = False
    windows: bool | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            whole_number("size", self.size, 1, hint="None uses the prior's preferred size")
        if not (is_number(self.context) and 0 <= self.context < math.inf):
            raise InputError(
                f"context={shown(self.context)} must be finite and at least 0 "
                "(a share of the hole's size; usually 0.5)."
            )


CropLike = Crop | Literal["auto", "off"] | None


def as_crop(crop: CropLike) -> Crop | None:
    """Convert the argument `crop` of a pipeline: "auto" to `Crop()`, and "off" to None, which fills whole images.

    Raises:
        InputError: another word or type.
    """
    if crop is None or isinstance(crop, Crop):
        return crop
    words = {"auto": Crop(), "off": None}
    if not isinstance(crop, str) or crop not in words:
        raise InputError(f"crop={shown(crop)} must be 'auto', 'off', None or a Crop.{nearest(crop, words)}")
    return words[crop]


@dataclass(frozen=True, eq=False)
class Window:
    """A rectangle of an image around a group of holes.

    Attributes:
        top, left: the first row and column.
        own: (height, width) True at the hole pixels that are filled from this window; other holes may reach into it.
        scale: factor by which the window is enlarged for the prior.
    """

    top: int
    left: int
    own: Bool[np.ndarray, "height width"]
    scale: int = 1

    @property
    def place(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the window covers."""
        height, width = self.own.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def windows_around(hole: Bool[np.ndarray, "height width"], crop: Crop, size: int, multiple_of: int) -> list[Window]:
    """Choose the windows of one image, from top to bottom; a single window covers an image that is not cut.

    Args:
        hole: True where pixels are painted, at least one.
        crop: context and upscaling.
        size: smallest side of a window in pixels.
        multiple_of: sides of windows are multiples of it, unless the image is smaller.
    Raises:
        InputError: `size` is below `multiple_of`.

    >>> hole = np.zeros((100, 200), dtype=bool)
    >>> hole[40:50, 150:160] = True
    >>> [(window.top, window.left, window.own.shape) for window in windows_around(hole, Crop(), 32, 8)]
    [(29, 139, (32, 32))]
    """
    if size < multiple_of:
        raise InputError(
            f"size={size} must be at least {multiple_of} (the prior takes multiples of {multiple_of} pixels)."
        )
    image, whole = np.array(hole.shape), Window(0, 0, hole)
    if (image <= size).all():
        return [whole]
    labels, boxes = _components(hole)
    around = 1 + 2 * crop.context
    side, scale = _side((boxes[:, 2:] - boxes[:, :2]).max(axis=0) * around, image, crop, size, multiple_of)
    room = np.where(side == image, image, np.floor(side / around + 1e-9))  # for a group of holes; the rest is context
    groups = _grouped(boxes, room, most=int(image.prod() // (side.prod() * scale**2)))
    if groups is None:
        return [whole]
    owner = np.zeros(len(boxes) + 1, dtype=int)  # group of each label; label 0 is not a hole
    for number, group in enumerate(groups, 1):
        owner[group + 1] = number
    found = []
    for number, group in enumerate(groups, 1):
        middle = (boxes[group, :2].min(axis=0) + boxes[group, 2:].max(axis=0)) / 2
        top, left = np.clip(np.floor(middle - side / 2).astype(int), 0, image - side).tolist()
        own = owner[labels[top : top + side[0], left : left + side[1]]] == number
        found.append(Window(top, left, own, scale))
    return found


def _side(
    wanted: Shaped[np.ndarray, "2"], image: Int[np.ndarray, "2"], crop: Crop, size: int, multiple_of: int
) -> tuple[Int[np.ndarray, "2"], int]:
    """Compute height and width of the windows, and their scale, for `wanted` pixels of hole and context."""
    wanted = np.ceil(np.minimum(wanted, 2.0**31) - 1e-9).astype(int)  # a context of 1e30 overflows an integer
    scale = max(1, size // int(wanted.max())) if crop.upscale else 1
    if scale > 1:
        return np.minimum(size // scale, image), scale
    side = -(-np.maximum(wanted, size) // multiple_of) * multiple_of
    return np.minimum(side, image), 1


def _components(hole: Bool[np.ndarray, "height width"]) -> tuple[Int[np.ndarray, "height width"], Boxes]:
    """Label the holes from 1, connected across corners too, and compute the box of each."""
    from scipy.ndimage import find_objects, label

    labels = np.zeros(hole.shape, dtype=np.int32)
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # labelling 16 million kept pixels is slow
    label(hole[inner], structure=np.ones((3, 3)), output=labels[inner])
    boxes = [(r.start, c.start, r.stop, c.stop) for r, c in find_objects(labels[inner])]
    return labels, np.array(boxes) + np.array([rows[0], columns[0]] * 2)


def _grouped(boxes: Boxes, room: Shaped[np.ndarray, "2"], most: int) -> list[Int[np.ndarray, " k"]] | None:
    """Group the boxes so that each group fits into `room`; None if this takes more than `most` groups.

    Greedy: the topmost remaining box is grouped with all boxes that fit, in the best of three column ranges around it.
    """
    order = np.argsort(boxes[:, 0], kind="stable")
    boxes = boxes[order]
    tops = boxes[:, 0].copy()
    remaining = np.ones(len(boxes), dtype=bool)
    groups: list[Int[np.ndarray, " k"]] = []
    for i, first in enumerate(boxes):
        if not remaining[i]:
            continue
        if len(groups) == most:
            return None
        near = slice(i, int(np.searchsorted(tops, first[0] + room[0])))  # all others begin too far below
        rest, low, high = boxes[near], first[3] - room[1], first[1]
        fits = [
            remaining[near]
            & (rest[:, 2] <= first[0] + room[0])
            & (rest[:, 1] >= start)
            & (rest[:, 3] <= start + room[1])
            for start in (high, low, (low + high) / 2)
        ]
        taken = max(fits, key=np.count_nonzero)
        groups.append(order[near][taken])
        remaining[near] &= ~taken
    return groups


def padded_size(size: tuple[int, int], multiple_of: int) -> tuple[int, int]:
    """Return the height and width to which `pad` pads a size.

    >>> padded_size((30, 64), 32)
    (32, 64)
    """
    height, width = (-(-side // multiple_of) * multiple_of for side in size)
    return height, width


def pad(image: Shaped[Tensor, "*b h w"], multiple_of: int) -> Shaped[Tensor, "*b h_padded w_padded"]:
    """Pad an image or a keep mask by reflection, on the right and at the bottom, to a size that the prior accepts.

    Pixel (0, 0) keeps its place, so the latent cells cover the same pixels as without padding. The reflection does not
    repeat the edge pixel (abc -> abcbab...). It bounces back and forth if the padding is wider than the image, and
    repeats the pixel of a side of length 1. An image and its keep mask are padded consistently.

    Args:
        image: (..., H, W), any values.
        multiple_of: H and W of the result are multiples of it, at least 1.
    Returns:
        The padded tensor; the same object if no padding is needed.
    Raises:
        InputError: `multiple_of` is below 1.

    >>> pad(torch.tensor([[1, 2, 3]]), 4)[0]
    tensor([1, 2, 3, 2])
    """
    whole_number("multiple_of", multiple_of, 1)
    for axis in (-2, -1):
        size = image.shape[axis]
        if missing := -size % multiple_of:
            image = image.index_select(axis, _bounce(size, size + missing, image.device))
    return image


def _bounce(size: int, length: int, device: torch.device) -> Tensor:
    """List the first `length` indices of a back-and-forth walk over 0 ... size - 1 that does not repeat its ends."""
    period = max(2 * (size - 1), 1)
    phase = torch.arange(length, device=device) % period
    return torch.minimum(phase, period - phase)
