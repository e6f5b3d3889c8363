"""Pictures about pictures: before/after strips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["strip"]

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
