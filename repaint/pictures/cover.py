"""Cover a hole with overlapping windows of one size, so that the cost follows the hole and not its bounding box."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

__all__ = ["cover"]


def cover(
    hole: Bool[np.ndarray, "height width"], size: tuple[int, int], context: int, most: float = math.inf
) -> list[tuple[int, int]] | None:
    """Choose windows so that each pixel of the hole lies at least `context` pixels inside one of them.

    The border of the image is exempt: no pixels lie beyond it. Greedy: the topmost remaining pixel gets the window that
    holds most of what remains, of three around it; the window is then centred on these pixels.

    Args:
        hole: True where pixels are painted.
        size: (height, width) of a window, at most those of the hole's image and at least 2 * context + 1.
        context: smallest distance of the hole's pixels from the border of their window.
        most: largest number of windows.
    Returns:
        (top, left) of each window; None if this takes more than `most`.

    >>> hole = np.zeros((40, 100), dtype=bool)
    >>> hole[20, 10:90] = True
    >>> cover(hole, (32, 32), 4)
    [(4, 6), (4, 30), (4, 54), (4, 68)]
    """
    remaining = hole.copy()
    last = hole.shape[0] - size[0], hole.shape[1] - size[1]
    places: list[tuple[int, int]] = []
    for row in np.flatnonzero(hole.any(axis=1)).tolist():
        while remaining[row, column := int(remaining[row].argmax())]:
            if len(places) + 1 > most:
                return None
            lefts = (column - context, column - (size[1] - 1 - context), column - size[1] // 2)
            tried = [_inner(_inside((row - context, left), last), size, context, last) for left in lefts]
            best = max(tried, key=lambda part: np.count_nonzero(remaining[part]))
            rows, columns = np.nonzero(remaining[best])
            top = best[0].start + (int(rows.min() + rows.max()) + 1 - size[0]) // 2
            left = best[1].start + (int(columns.min() + columns.max()) + 1 - size[1]) // 2
            places.append(_inside((top, left), last))
            remaining[_inner(places[-1], size, context, last)] = False
    return places


def _inside(place: tuple[int, int], last: tuple[int, int]) -> tuple[int, int]:
    """Shift a window into the image."""
    return min(max(place[0], 0), last[0]), min(max(place[1], 0), last[1])


def _inner(place: tuple[int, int], size: tuple[int, int], context: int, last: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a window that have enough context or lie at the border of the image."""
    rows, columns = (
        slice(start + context * (start > 0), start + length - context * (start < end))
        for start, length, end in zip(place, size, last, strict=True)
    )
    return rows, columns
