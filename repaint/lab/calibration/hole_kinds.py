"""Kinds of holes for calibration, on the grid of a prior's samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from repaint.pictures.mask_shapes import box, freeform, half
from repaint.pictures.masks import Keep, known

__all__ = ["HOLE_KINDS", "draw_hole", "smooth_projections"]

Region = NDArray[np.bool_]


def _hole(keep: Keep) -> Region:
    """Return the hole of a mask of `mask_shapes`."""
    return ~known(keep)[0].numpy()


def _lines(height: int, width: int, rng: np.random.Generator) -> Region:
    """Draw three straight scratches between random points of opposite borders."""
    canvas = Image.new("L", (width, height))
    draw, brush = ImageDraw.Draw(canvas), max(1, round(min(height, width) / 24))
    for _ in range(3):
        ends = [(float(rng.uniform(0, width)), 0.0), (float(rng.uniform(0, width)), float(height))]
        if rng.random() < 0.5:
            ends = [(0.0, float(rng.uniform(0, height))), (float(width), float(rng.uniform(0, height)))]
        draw.line(ends, fill=1, width=brush)
    return np.asarray(canvas) > 0


def _box(height: int, width: int, rng: np.random.Generator) -> Region:
    """Draw a rectangle of two fifths of each side, anywhere."""
    rows, columns = max(1, round(0.4 * height)), max(1, round(0.4 * width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return _hole(box(height, width, h=rows, w=columns, top=top, left=left))


def _half(height: int, width: int, rng: np.random.Generator) -> Region:
    side = ("left", "right", "top", "bottom")[int(rng.integers(4))]
    return _hole(half(height, width, side))


def _sparse(height: int, width: int, rng: np.random.Generator) -> Region:
    """Keep a random tenth of the pixels."""
    return rng.random((height, width)) >= 0.1


def _freeform(height: int, width: int, rng: np.random.Generator) -> Region:
    return _hole(freeform(height, width, seed=int(rng.integers(2**31))))


HOLE_KINDS: dict[str, Callable[[int, int, np.random.Generator], Region]] = {
    "lines": _lines,
    "box": _box,
    "half": _half,
    "sparse": _sparse,
    "freeform": _freeform,
}


def draw_hole(kind: str, height: int, width: int, seed: int) -> Region:
    """Draw a hole.

    Args:
        kind: a key of `HOLE_KINDS`.
        height, width: of the grid.
        seed: of this hole.
    Returns:
        (H, W), True in the hole; never empty and never everything.
    """
    rng = np.random.default_rng([seed, list(HOLE_KINDS).index(kind)])
    hole = HOLE_KINDS[kind](height, width, rng)
    if hole.all():
        hole[0, 0] = False
    if not hole.any():
        hole[height // 2, width // 2] = True
    return hole


def smooth_projections(hole: Region, channels: int) -> NDArray[np.float64]:
    """Compute the weights of four smooth functions per channel on the values of a hole.

    The functions are the lowest cosines over the whole grid, restricted to the hole: constant, one half wave along each
    axis, and their product.

    Returns:
        (4 channels, channels * pixels of the hole), for values ordered channel by channel.
    """
    rows, columns = np.nonzero(hole)
    down = np.cos(np.pi * (rows + 0.5) / hole.shape[0])
    along = np.cos(np.pi * (columns + 0.5) / hole.shape[1])
    waves = np.stack([np.ones(len(rows)), down, along, down * along]) / len(rows)
    return np.asarray(np.kron(np.eye(channels), waves), dtype=np.float64)
