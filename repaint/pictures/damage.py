"""Damage of photographs as holes: scratches, lettering, spots, a missing piece, dust and a wire.

Sizes are in pixels and do not grow with the picture, because real damage does not depend on the crop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from repaint.checks import nearest, shown, whole_number
from repaint.errors import InputError

__all__ = ["DAMAGE", "damage"]

Region = NDArray[np.bool_]
WORDS = ["Wish", "you", "were", "here", "24", "Dec", "1968"]


def _scratches(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw four lines of 3 pixels from border to border."""
    for _ in range(4):
        if rng.random() < 0.5:
            ends = [(rng.uniform(0, width), 0.0), (rng.uniform(0, width), height - 1.0)]
        else:
            ends = [(0.0, rng.uniform(0, height)), (width - 1.0, rng.uniform(0, height))]
        draw.line(ends, fill=1, width=3)


def _lettering(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw lines of words 22 pixels high, 40 pixels apart."""
    font, words = ImageFont.load_default(22), list(rng.permutation(WORDS))
    for number, top in enumerate(range(int(rng.integers(4, 12)), max(5, height - 22), 40)):
        text = " ".join([*words[number % len(words) :], *words] * (1 + width // 300))
        draw.text((float(rng.uniform(-20, 10)), float(top)), text, fill=1, font=font)


def _spots(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw four discs of 16 pixels."""
    for _ in range(4):
        x, y = float(rng.uniform(8, max(9, width - 8))), float(rng.uniform(8, max(9, height - 8)))
        draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill=1)


def _piece(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw one square of 40 pixels."""
    side = min(40, height - 1, width - 1)
    left, top = int(rng.integers(width - side)), int(rng.integers(height - side))
    draw.rectangle([left, top, left + side - 1, top + side - 1], fill=1)


def _dust(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw one dot of 1 to 4 pixels for every 164 pixels: 100 in a picture of 128 x 128."""
    for _ in range(max(1, round(height * width / 164))):
        x, y, radius = float(rng.uniform(0, width)), float(rng.uniform(0, height)), float(rng.uniform(0.3, 1.8))
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=1)


def _wire(draw: ImageDraw.ImageDraw, height: int, width: int, rng: np.random.Generator) -> None:
    """Draw one sagging line of 5 pixels across the picture."""
    left, right, sag = float(rng.uniform(0, height)), float(rng.uniform(0, height)), float(rng.uniform(0, height / 6))
    across = np.linspace(0, 1, 33)
    down = left + (right - left) * across + 4 * sag * across * (1 - across)
    points = [(float(x), float(y)) for x, y in zip(across * (width - 1), down, strict=True)]
    draw.line(points, fill=1, width=5, joint="curve")


DAMAGE: dict[str, Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator], None]] = {
    "scratches": _scratches,
    "lettering": _lettering,
    "spots": _spots,
    "piece": _piece,
    "dust": _dust,
    "wire": _wire,
}


def damage(kind: str, height: int, width: int, seed: int = 0) -> Region:
    """Draw the hole that a kind of damage leaves.

    Args:
        kind: "scratches" (four lines of 3 pixels), "lettering" (22 pixels high), "spots" (four discs of 16 pixels),
            "piece" (a square of 40 pixels), "dust" (dots of up to 4 pixels) or "wire" (a line of 5 pixels).
        height, width: of the picture in pixels, at least 2.
        seed: of places and directions, at least 0.
    Returns:
        (H, W), True in the hole; never empty.
    Raises:
        InputError: an unknown kind, or a size or seed out of range.

    >>> int(damage("piece", 64, 64).sum())
    1600
    """
    if kind not in DAMAGE:
        raise InputError(f"damage={shown(kind)} must be one of {', '.join(DAMAGE)}.{nearest(kind, DAMAGE)}")
    height, width = whole_number("height", height, 2), whole_number("width", width, 2)
    rng = np.random.default_rng([whole_number("seed", seed, 0), list(DAMAGE).index(kind)])
    canvas = Image.new("L", (width, height))  # a bool array from mode "1" has bytes of 255, which SciPy reads as -1
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "1"
    DAMAGE[kind](draw, height, width, rng)
    hole = np.asarray(canvas) > 0
    if not hole.any():
        hole[height // 2, width // 2] = True
    return hole
