"""Benchmark masks by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from repaint.checks import nearest, shown
from repaint.errors import InputError
from repaint.pictures.masks import Keep

__all__ = [
    "GENERATORS",
    "alternating_lines",
    "box",
    "checkerboard",
    "circle",
    "expand",
    "freeform",
    "generate",
    "half",
    "strokes",
    "super_resolve",
]


def _keep_outside(hole: NDArray[np.bool_]) -> Keep:
    """(H, W) bool to a keep mask; where a pattern does not fit a tiny size, the centre pixel alone is the hole."""
    if not hole.any():
        hole[hole.shape[0] // 2, hole.shape[1] // 2] = True
    return torch.from_numpy(~hole).float()[None]


def _blank(height: int, width: int) -> NDArray[np.bool_]:
    if height < 1 or width < 1:
        raise InputError(f"Mask of {height} x {width}: each side is at least 1 pixel. Give the image's size.")
    return np.zeros((height, width), dtype=bool)


def _check_share(share: float, most: float) -> None:
    if not 0 < share <= most:
        raise InputError(f"share is {share}: it must lie in (0, {most}]. Give a fraction, not a percentage.")


def box(
    height: int,
    width: int,
    share: float = 0.5,
    *,
    top: int | None = None,
    left: int | None = None,
    h: int | None = None,
    w: int | None = None,
) -> Keep:
    """A rectangular hole, centred unless it is placed.

    Args:
        height: of the mask, pixels.
        width: of the mask, pixels.
        share: side of the hole as a share of the mask's side, in (0, 1]; used where `h` or `w` is not given.
        top: first row of the hole.
        left: first column of the hole.
        h: rows of the hole.
        w: columns of the hole.
    Raises:
        InputError: a hole that is empty or leaves the mask.
    """
    hole = _blank(height, width)
    _check_share(share, 1)
    h = max(1, round(share * height)) if h is None else h
    w = max(1, round(share * width)) if w is None else w
    top = (height - h) // 2 if top is None else top
    left = (width - w) // 2 if left is None else left
    if min(top, left) < 0 or min(h, w) < 1 or top + h > height or left + w > width:
        raise InputError(
            f"Box of {h} x {w} at row {top}, column {left} in a mask of {height} x {width}: it must lie inside. "
            f"Move or shrink it."
        )
    hole[top : top + h, left : left + w] = True
    return _keep_outside(hole)


def circle(height: int, width: int, radius: float = 0.25) -> Keep:
    """A round hole in the centre; `radius` as a share of the shorter side, > 0.

    Raises:
        InputError: another radius.
    """
    hole = _blank(height, width)
    if not radius > 0:
        raise InputError(f"Circle of radius {radius}: it must be positive, a share of the shorter side. Give 0.25.")
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    hole |= distance <= max(radius * min(height, width), distance.min())
    return _keep_outside(hole)


def half(height: int, width: int, side: str = "left") -> Keep:
    """One half is the hole: `side` is "left", "right", "top" or "bottom". Of an odd length the known half is larger.

    Raises:
        InputError: another side.
    """
    hole = _blank(height, width)
    rows, columns = max(1, height // 2), max(1, width // 2)
    parts = {
        "left": np.s_[:, :columns],
        "right": np.s_[:, -columns:],
        "top": np.s_[:rows, :],
        "bottom": np.s_[-rows:, :],
    }
    if side not in parts:
        raise InputError(
            f"Half {side!r}: it must be one of {', '.join(parts)}.{nearest(side, parts)} Choose one of these."
        )
    hole[parts[side]] = True
    return _keep_outside(hole)


def expand(height: int, width: int, share: float = 0.25) -> Keep:
    """Only a central window is known, `share` of each side in (0, 1); all around is hole (RePaint's Expand)."""
    hole = ~_blank(height, width)
    _check_share(share, 1)
    h, w = max(1, int(share * height)), max(1, int(share * width))
    top, left = (height - h) // 2, (width - w) // 2
    hole[top : top + h, left : left + w] = False
    return _keep_outside(hole)


def alternating_lines(height: int, width: int) -> Keep:
    """Every second row is hole, beginning with the second (RePaint's Alternating Lines)."""
    hole = _blank(height, width)
    hole[1::2] = True
    return _keep_outside(hole)


def super_resolve(height: int, width: int, factor: int = 2) -> Keep:
    """Only every `factor`-th pixel in both directions is known, from the first on (RePaint's Super-Resolve 2x).

    Raises:
        InputError: a factor below 2.
    """
    hole = ~_blank(height, width)
    if factor < 2:
        raise InputError(f"Super-resolution by {factor}: the factor is an integer of at least 2. Give 2 or 4.")
    hole[::factor, ::factor] = False
    return _keep_outside(hole)


def checkerboard(height: int, width: int, cell: int = 8) -> Keep:
    """Squares of `cell` pixels, known and hole in turn, the first one known.

    Raises:
        InputError: cells of less than 1 pixel.
    """
    hole = _blank(height, width)
    if cell < 1:
        raise InputError(f"Checkerboard of {cell}-pixel cells: a cell is at least 1 pixel. Give 8.")
    rows, columns = np.ogrid[:height, :width]
    hole |= (rows // cell + columns // cell) % 2 == 1
    return _keep_outside(hole)


def strokes(height: int, width: int, brush: str = "thick", seed: int = 0) -> Keep:
    """Brush strokes, thin (a sixth of the picture) or thick (about two fifths).

    Args:
        height: pixels.
        width: pixels.
        brush: "thin" is 1.5 to 4 % of the shorter side wide, "thick" 10 to 25 %.
        seed: of the strokes.
    Raises:
        InputError: another brush.
    Source:
        The narrow and wide masks that RePaint takes from Suvorov et al. 2022 (LaMa, arXiv 2109.07161), in kind: chains
        of segments drawn narrow or wide. Not their numbers.
    """
    kinds = {"thin": (1 / 6, 0.015, 0.04), "thick": (0.4, 0.10, 0.25)}
    if brush not in kinds:
        raise InputError(f"Strokes with brush {brush!r}: it must be thin or thick.{nearest(brush, kinds)} Choose one.")
    share, thinnest, thickest = kinds[brush]
    return _keep_outside(_painted(_blank(height, width), np.random.default_rng(seed), share, thinnest, thickest))


def freeform(height: int, width: int, seed: int = 0, share: float = 0.25) -> Keep:
    """Free-form brush strokes until `share` of the picture is hole.

    Args:
        height: pixels.
        width: pixels.
        seed: of the strokes.
        share: of the picture, in (0, 0.9].
    Raises:
        InputError: another share.
    Source:
        After the description in Yu et al. 2019 (arXiv 1806.03589), supplementary: polylines that zigzag by random
        angles, with random lengths and widths and rounded joints, flipped at random. There the number of strokes is
        drawn; here the share is, since benchmarks sort masks by it.
    """
    _check_share(share, 0.9)
    rng = np.random.default_rng(seed)
    hole = _painted(_blank(height, width), rng, share, thinnest=0.03, thickest=0.12)
    hole = hole[:: rng.choice([1, -1]), :: rng.choice([1, -1])].copy()
    return _keep_outside(hole)


def _painted(
    hole: NDArray[np.bool_], rng: np.random.Generator, share: float, thinnest: float, thickest: float
) -> NDArray[np.bool_]:
    """Zigzag strokes until `share` of the picture is covered; brush widths as shares of the shorter side.

    Stops after the segment that reaches the share, so it overshoots by less than one segment.
    """
    height, width = hole.shape
    short = min(height, width)
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    while True:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        brush = max(1, round(rng.uniform(thinnest, thickest) * short))
        heading = rng.uniform(0, 2 * math.pi)
        for joint in range(rng.integers(4, 13)):
            # Every second segment turns back, which makes a scribble of what would be a spiral.
            angle = heading + rng.uniform(0.2, 0.8) * math.pi * (-1) ** joint
            length = rng.uniform(0.1, 0.4) * short
            end_x = min(max(x + length * math.cos(angle), 0), width - 1)
            end_y = min(max(y + length * math.sin(angle), 0), height - 1)
            draw.line([x, y, end_x, end_y], fill=1, width=brush)
            for tip_x, tip_y in ((x, y), (end_x, end_y)):
                draw.ellipse([tip_x - brush / 2, tip_y - brush / 2, tip_x + brush / 2, tip_y + brush / 2], fill=1)
            x, y = end_x, end_y
            hole = np.array(canvas)
            if hole.mean() >= share:
                return hole


GENERATORS: dict[str, Callable[..., Keep]] = {
    "alternating_lines": alternating_lines,
    "box": box,
    "checkerboard": checkerboard,
    "circle": circle,
    "expand": expand,
    "freeform": freeform,
    "half": half,
    "strokes": strokes,
    "super_resolve": super_resolve,
}


def generate(name: str, height: int, width: int, **options: Any) -> Keep:
    """A benchmark mask by name: (1, height, width) float32, 1 keeps the input pixel, at least one pixel is hole.

    Args:
        name: a key of `GENERATORS`.
        height: pixels, >= 1.
        width: pixels, >= 1.
        options: what that generator takes beside its size.
    Raises:
        InputError: an unknown name or option, or a value that the generator refuses.
    """
    if name not in GENERATORS:
        raise InputError(
            f"No mask {name!r}: there are {', '.join(GENERATORS)}.{nearest(name, GENERATORS)} Use one of these."
        )
    allowed = [key for key in inspect.signature(GENERATORS[name]).parameters if key not in ("height", "width")]
    for key in options:
        if key not in allowed:
            raise InputError(
                f"Mask {name} has no option {key!r}: it takes {', '.join(allowed) or 'none'}.{nearest(key, allowed)} "
                f"Drop or rename it."
            )
    try:
        return GENERATORS[name](height, width, **options)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # of a text, a fraction or a list where a number stands
        given = ", ".join(f"{key}={shown(value)}" for key, value in options.items())
        raise InputError(f"Mask {name}({given}) cannot be drawn ({error}). Correct its options.") from error
