"""Generators of benchmark masks: boxes, strokes, lines, and the masks of the RePaint paper.

`generate` draws a mask by name. All generators return a keep mask, (1, height, width) float32: 1 keeps the input pixel.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from repaint.checks import is_number, nearest, shown, whole_number
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
    """Draw a rectangular hole, centred unless `top` or `left` is given.

    Args:
        height, width: of the mask, in pixels.
        share: side of the hole as a share of the mask's side, in (0, 1]; used if `h` or `w` is not given.
        top, left: first row and column of the hole.
        h, w: height and width of the hole, in pixels.
    Raises:
        InputError: the hole is empty or exceeds the mask.

    >>> box(4, 6, h=2, w=3, left=0)[0].int()
    tensor([[1, 1, 1, 1, 1, 1],
            [0, 0, 0, 1, 1, 1],
            [0, 0, 0, 1, 1, 1],
            [1, 1, 1, 1, 1, 1]], dtype=torch.int32)
    """
    hole = _blank(height, width)
    _check_share(share, 1)
    h = max(1, round(share * height)) if h is None else whole_number("h", h, 1)
    w = max(1, round(share * width)) if w is None else whole_number("w", w, 1)
    top = (height - h) // 2 if top is None else whole_number("top", top, 0)
    left = (width - w) // 2 if left is None else whole_number("left", left, 0)
    if min(top, left) < 0 or top + h > height or left + w > width:
        raise InputError(
            f"A box of {h} x {w} pixels at row {top}, column {left} must lie inside the mask of {height} x {width} "
            "pixels. Move or shrink it."
        )
    hole[top : top + h, left : left + w] = True
    return _keep_outside(hole)


def circle(height: int, width: int, radius: float = 0.25) -> Keep:
    """Draw a round hole in the centre.

    Args:
        height, width: of the mask, in pixels.
        radius: as a share of the shorter side, above 0.
    Raises:
        InputError: the radius is not above 0.
    """
    hole = _blank(height, width)
    if not (is_number(radius) and radius > 0):
        raise InputError(f"radius={shown(radius)} must be positive (a share of the shorter side, such as 0.25).")
    rows, columns = np.ogrid[:height, :width]
    distance = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    hole |= distance <= max(radius * min(height, width), distance.min())
    return _keep_outside(hole)


def half(height: int, width: int, side: str = "left") -> Keep:
    """Make one half of the picture the hole. If the length is odd, the known half is larger.

    Args:
        height, width: of the mask, in pixels.
        side: "left", "right", "top" or "bottom".
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
        raise InputError(f"side={shown(side)} must be one of {', '.join(parts)}.{nearest(side, parts)}")
    hole[parts[side]] = True
    return _keep_outside(hole)


def expand(height: int, width: int, share: float = 0.25) -> Keep:
    """Keep only a central window; everything around it is the hole (RePaint's "Expand").

    Args:
        height, width: of the mask, in pixels.
        share: side of the window as a share of the mask's side, in (0, 1].
    Raises:
        InputError: the share is out of range.
    """
    hole = ~_blank(height, width)
    _check_share(share, 1)
    h, w = max(1, int(share * height)), max(1, int(share * width))
    top, left = (height - h) // 2, (width - w) // 2
    hole[top : top + h, left : left + w] = False
    return _keep_outside(hole)


def alternating_lines(height: int, width: int) -> Keep:
    """Make every second row the hole, beginning with the second (RePaint's "Alternating Lines")."""
    hole = _blank(height, width)
    hole[1::2] = True
    return _keep_outside(hole)


def super_resolve(height: int, width: int, factor: int = 2) -> Keep:
    """Keep only every `factor`-th pixel in both directions, beginning with the first (RePaint's "Super-Resolve 2x").

    Args:
        height, width: of the mask, in pixels.
        factor: at least 2.
    Raises:
        InputError: the factor is below 2 or not an integer.
    """
    hole = ~_blank(height, width)
    factor = whole_number("factor", factor, 2)
    hole[::factor, ::factor] = False
    return _keep_outside(hole)


def checkerboard(height: int, width: int, cell: int = 8) -> Keep:
    """Draw a checkerboard of known and hole squares; the first square is known.

    Args:
        height, width: of the mask, in pixels.
        cell: side of a square in pixels, at least 1.
    Raises:
        InputError: the cell is below 1 or not an integer.
    """
    hole = _blank(height, width)
    cell = whole_number("cell", cell, 1)
    rows, columns = np.ogrid[:height, :width]
    hole |= (rows // cell + columns // cell) % 2 == 1
    return _keep_outside(hole)


def strokes(height: int, width: int, brush: str = "thick", seed: int = 0) -> Keep:
    """Draw thin brush strokes (a sixth of the picture) or thick ones (about two fifths).

    Args:
        height, width: of the mask, in pixels.
        brush: "thin" is 1.5 to 4 % of the shorter side wide, "thick" 10 to 25 %.
        seed: of the strokes, at least 0.
    Raises:
        InputError: another brush, or a seed out of range.
    Source:
        Like the narrow and wide masks of Suvorov et al. 2022 (LaMa, arXiv 2109.07161) that RePaint uses: chains of
        narrow or wide segments. The numbers are not theirs.
    """
    kinds = {"thin": (1 / 6, 0.015, 0.04), "thick": (0.4, 0.10, 0.25)}
    if brush not in kinds:
        raise InputError(f"brush={shown(brush)} must be 'thin' or 'thick'.{nearest(brush, kinds)}")
    share, thinnest, thickest = kinds[brush]
    rng = np.random.default_rng(whole_number("seed", seed, 0))
    return _keep_outside(_painted(_blank(height, width), rng, share, thinnest, thickest))


def freeform(height: int, width: int, seed: int = 0, share: float = 0.25) -> Keep:
    """Draw free-form brush strokes until they cover a share of the picture.

    Args:
        height, width: of the mask, in pixels.
        seed: of the strokes, at least 0.
        share: of the picture, in (0, 0.9]; the last segment may exceed it.
    Raises:
        InputError: a share or seed out of range.
    Source:
        As described in Yu et al. 2019 (arXiv 1806.03589), supplementary: polylines that zigzag by random angles, with
        random lengths and widths and rounded joints, flipped at random. They draw the number of strokes; here the
        share is given, because benchmarks sort masks by it.
    """
    _check_share(share, 0.9)
    rng = np.random.default_rng(whole_number("seed", seed, 0))
    hole = _painted(_blank(height, width), rng, share, thinnest=0.03, thickest=0.12)
    hole = hole[:: rng.choice([1, -1]), :: rng.choice([1, -1])].copy()
    return _keep_outside(hole)


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
    """Draw a benchmark mask by name.

    Args:
        name: a key of `GENERATORS`.
        height, width: in pixels, at least 1.
        options: the other arguments of that generator.
    Returns:
        (1, height, width) float32, 1 keeps the input pixel; at least one pixel is hole.
    Raises:
        InputError: an unknown name or option, or a value that the generator refuses.

    >>> generate("checkerboard", 2, 6, cell=2).shape
    torch.Size([1, 2, 6])
    """
    if name not in GENERATORS:
        raise InputError(f"mask={shown(name)} must be one of {', '.join(GENERATORS)}.{nearest(name, GENERATORS)}")
    allowed = [key for key in inspect.signature(GENERATORS[name]).parameters if key not in ("height", "width")]
    for key in options:
        if key not in allowed:
            raise InputError(
                f"Mask {name} has no option {shown(key)}; its options: {', '.join(allowed) or 'none'}."
                f"{nearest(key, allowed)}"
            )
    try:
        return GENERATORS[name](height, width, **options)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:  # for example text in place of a number
        given = ", ".join(f"{key}={shown(value)}" for key, value in options.items())
        raise InputError(f"Mask {name}({given}) cannot be drawn ({error}). Correct its options.") from error


def _painted(
    hole: NDArray[np.bool_], rng: np.random.Generator, share: float, thinnest: float, thickest: float
) -> NDArray[np.bool_]:
    """Draw zigzag strokes until they cover `share` of the picture; brush widths are shares of the shorter side.

    Drawing stops after the segment that reaches the share, so the excess is less than one segment.
    """
    height, width = hole.shape
    short = min(height, width)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    while True:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        brush = max(1, round(rng.uniform(thinnest, thickest) * short))
        heading = rng.uniform(0, 2 * math.pi)
        for joint in range(rng.integers(4, 13)):
            # Every second segment turns back, so the stroke zigzags instead of making a spiral.
            angle = heading + rng.uniform(0.2, 0.8) * math.pi * (-1) ** joint
            length = rng.uniform(0.1, 0.4) * short
            end_x = min(max(x + length * math.cos(angle), 0), width - 1)
            end_y = min(max(y + length * math.sin(angle), 0), height - 1)
            draw.line([x, y, end_x, end_y], fill=1, width=brush)
            for tip_x, tip_y in ((x, y), (end_x, end_y)):
                draw.ellipse([tip_x - brush / 2, tip_y - brush / 2, tip_x + brush / 2, tip_y + brush / 2], fill=1)
            x, y = end_x, end_y
            hole = np.asarray(canvas) > 0
            if hole.mean() >= share:
                return hole


def _keep_outside(hole: NDArray[np.bool_]) -> Keep:
    """Convert an (H, W) bool hole to a keep mask; an empty hole, as in a tiny mask, becomes the centre pixel."""
    if not hole.any():
        hole[hole.shape[0] // 2, hole.shape[1] // 2] = True
    return torch.from_numpy(~hole).float()[None]


def _blank(height: int, width: int) -> NDArray[np.bool_]:
    """Make an empty hole, once the size is checked."""
    return np.zeros((whole_number("height", height, 1), whole_number("width", width, 1)), dtype=bool)


def _check_share(share: float, most: float) -> None:
    if not (is_number(share) and 0 < share <= most):
        raise InputError(f"share={shown(share)} must lie in (0, {most}] (a fraction, not a percentage).")
