"""Pictures about pictures: before/after strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from repaint.lab.quality import Hole

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


def holes_sheet(holes: Sequence[Hole], filled: Mapping[str, Sequence[NDArray[np.uint8]]], each: int = 3) -> Image.Image:
    """The first holes of each photograph: masked, then every way of filling.

    Args:
        holes: as `lab.quality.held_out_holes` gives them.
        filled: name of a way to its images, one per hole.
        each: rows per photograph.
    """
    rows, shown = [], dict.fromkeys((hole.name for hole in holes), 0)
    for i, hole in enumerate(holes):
        shown[hole.name] += 1
        if shown[hole.name] <= each:
            masked = np.where(hole.mask[..., None], np.uint8(160), hole.image)
            rows.append([masked, *(images[i] for images in filled.values())])
    return strip(rows, ["masked", *filled])
