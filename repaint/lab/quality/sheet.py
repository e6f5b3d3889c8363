"""Draw masked images beside their results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repaint.lab.quality.cases import Hole
from repaint.measure.plots import strip

__all__ = ["holes_sheet"]


def holes_sheet(
    holes: Sequence[Hole], filled: Mapping[str, Sequence[Sequence[NDArray[np.uint8]]]], each: int = 3
) -> Image.Image:
    """Draw the first holes of each group, masked and filled by each method.

    Args:
        holes: of one size; see `repaint.lab.quality.cases`.
        filled: method to its results for each hole, of which the first is drawn.
        each: rows per group.
    """
    rows, shown = [], dict.fromkeys((hole.group for hole in holes), 0)
    for i, hole in enumerate(holes):
        shown[hole.group] += 1
        if shown[hole.group] <= each:
            masked = np.where(hole.mask[..., None], np.uint8(160), hole.image)
            rows.append([masked, *(images[i][0] for images in filled.values())])
    return strip(rows, ["masked", *filled])
