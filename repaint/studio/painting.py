"""Paint on the canvas: which pixels may change, and how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from repaint.errors import InputError
from repaint.pictures.masks import grow, known
from repaint.studio.inputs import Photo, magnify

__all__ = ["BRUSHES", "PINK", "as_shares", "brush_radius", "check_hole", "graded", "grown", "paint", "painted"]

PINK = (228, 0, 127)
# The first is all that may change; the greys are three quarters, a half and a quarter of it.
BRUSHES: list[Any] = [f"rgb{PINK}", *(f"rgb({grey}, {grey}, {grey})" for grey in (191, 128, 64))]
UNTOUCHED = 254  # opacity of what `paint` draws on a reduced canvas; brushes paint with 255
NEARLY_GREY = 16  # largest difference of channels, because browsers round translucent colours


def brush_radius(photo: Photo) -> int:
    """Return the radius of the brush in pixels of the canvas: a 24th of the longer side, at least one picture pixel."""
    return max(photo.magnified, round(max(photo.size) * photo.magnified / photo.reduced / 24))


def as_shares(hole: NDArray[Any]) -> NDArray[np.uint8]:
    """Return how much each pixel may change, 0 or 255 for a hole; shares are returned as they are."""
    return np.where(hole, np.uint8(255), np.uint8(0)) if hole.dtype == bool else hole


def painted(layers: list[Any], photo: Photo) -> NDArray[np.uint8]:
    """Read how much each pixel may change: 0 is kept, 255 is all.

    Grey paint sets the share, as in `strength=` of the pipeline; any other colour means all. A pixel of a magnified
    picture may change if at least half of its block is painted with at least half opacity. In a reduced picture, one
    pixel of the canvas paints a block; where nothing was painted since `paint`, `photo.drawn` is read instead.

    Args:
        layers: (H, W, 4) uint8 each, of the size of the canvas.
        photo: the picture under them.
    Raises:
        InputError: a layer of another size, because the canvas was cropped or belongs to another picture.
    """
    (height, width), times, block = photo.size, photo.magnified, photo.reduced
    rows, columns = -(-height // block), -(-width // block)
    shares, untouched = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), bool)
    for layer in layers:
        pixels = np.asarray(layer)
        colours, alpha = pixels[..., :3].astype(int), pixels[..., 3] >= 128
        if alpha.shape != (rows * times, columns * times):
            raise InputError(
                f"The canvas is {alpha.shape[1]} x {alpha.shape[0]} and must be {columns * times} x {rows * times}. "
                "Choose the picture again."
            )
        grey = np.ptp(colours, axis=-1) <= NEARLY_GREY
        values = np.where(grey, colours.mean(axis=-1).round(), 255) * alpha
        parts, sums = (
            blocks.reshape(rows, times, columns, times).sum(axis=(1, 3)) for blocks in (alpha.astype(int), values)
        )
        share = np.where(2 * parts >= times**2, sums / np.maximum(parts, 1), 0)
        shares = np.maximum(shares, share.round().astype(np.uint8))
        if block > 1:
            untouched |= pixels[..., 3] == UNTOUCHED
    shares, untouched = (_each_pixel(cells, photo) for cells in (shares, untouched))
    return shares if photo.drawn is None else np.where(untouched, photo.drawn, shares)


def _each_pixel(cells: NDArray[Any], photo: Photo) -> NDArray[Any]:
    """Repeat each pixel of a canvas for the pixels of the picture that it shows."""
    height, width = photo.size
    return cells.repeat(photo.reduced, axis=0).repeat(photo.reduced, axis=1)[:height, :width]


def graded(shares: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Return the map of strengths of a painted canvas; None if all painted pixels may change fully."""
    return None if np.isin(shares, (0, 255)).all() else shares


def grown(hole: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
    """Enlarge a hole by a margin in pixels."""
    found: NDArray[np.bool_] = ~known(grow(torch.from_numpy(~hole).float()[None], margin))[0].numpy()
    return found


def paint(shares: NDArray[Any], photo: Photo, colour: tuple[int, int, int] = PINK) -> Image.Image:
    """Draw a hole, or shares, as a layer of the canvas, (H, W, 4): the inverse of `painted`.

    A pixel of the canvas of a reduced picture shows the largest share of its block.
    """
    shares, block = as_shares(shares), photo.reduced
    if block > 1:
        padded = np.pad(shares, [(0, -side % block) for side in shares.shape])
        rows, columns = (side // block for side in padded.shape)
        shares = padded.reshape(rows, block, columns, block).max(axis=(1, 3))
    layer = np.zeros((*shares.shape, 4), np.uint8)
    layer[..., :3] = shares[..., None]
    layer[shares == 255, :3] = colour
    layer[..., 3] = np.where(shares, UNTOUCHED if block > 1 else 255, 0)
    return magnify(Image.fromarray(layer), photo.magnified)


def check_hole(hole: NDArray[np.bool_]) -> None:
    """Check that a mask has a hole and known pixels.

    Raises:
        InputError: an empty or a full mask.
    """
    if not hole.any():
        raise InputError("The mask is empty. Paint over what to remove, or press Invert mask.")
    if hole.all():
        raise InputError("The mask covers the whole picture. Leave a part unpainted, or press Invert mask.")
