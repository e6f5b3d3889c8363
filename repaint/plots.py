"""Pictures about pictures: before/after strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from repaint.lab.holes import Hole

__all__ = ["holes_sheet", "strip"]

GAP, HEADER = 4, 22


def strip(rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], scale: int = 2) -> Image.Image:
    """Equal tiles in a grid with a title over each column.

    Args:
        rows: tiles of one size, (H, W, 3) uint8; every row has len(titles) of them.
        titles: one a column.
        scale: whole-number magnification; pixels stay sharp.
    """
    height, width = (side * scale for side in rows[0][0].shape[:2])
    size = len(titles) * (width + GAP) + GAP, HEADER + len(rows) * (height + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, title in enumerate(titles):
        left = GAP + column * (width + GAP)
        draw.text((left + width / 2, HEADER / 2), title, fill="black", font=font, anchor="mm")
        for row, tiles in enumerate(rows):
            tile = Image.fromarray(tiles[column]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(tile, (left, HEADER + row * (height + GAP)))
    return sheet


def holes_sheet(
    holes: Sequence[Hole], filled: Mapping[str, Sequence[Sequence[NDArray[np.uint8]]]], each: int = 3
) -> Image.Image:
    """The first holes of each group: masked, then every way of filling.

    Args:
        holes: of one size, as `repaint.lab.holes` gives them.
        filled: name of a way to its results for each hole; the first of them is shown.
        each: rows per group.
    """
    rows, shown = [], dict.fromkeys((hole.group for hole in holes), 0)
    for i, hole in enumerate(holes):
        shown[hole.group] += 1
        if shown[hole.group] <= each:
            masked = np.where(hole.mask[..., None], np.uint8(160), hole.image)
            rows.append([masked, *(images[i][0] for images in filled.values())])
    return strip(rows, ["masked", *filled])
