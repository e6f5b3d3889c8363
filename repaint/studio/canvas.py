"""Event handlers of the canvas: pictures, masks and found damage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError
from repaint.pictures.decoding import upright
from repaint.pictures.detection import Tone, detect_damage
from repaint.pictures.margins import Margins
from repaint.studio.inputs import Photo, extended_photo, read_mask, read_photo, sample
from repaint.studio.page_errors import errors_on_page
from repaint.studio.painting import BRUSHES, as_shares, brush_radius, paint, painted

__all__ = [
    "chosen_photo",
    "clear",
    "extend",
    "find_damage",
    "fit_brush",
    "invert",
    "take_mask",
    "take_sample",
    "take_upload",
    "tools",
]


def tools(radius: int) -> dict[str, Any]:
    """Make the brush and the eraser of the canvas, as arguments of `gradio.ImageEditor`."""
    brush = gr.Brush(default_size=radius, colors=BRUSHES, default_color=BRUSHES[0], color_mode="fixed")
    return {"brush": brush, "eraser": gr.Eraser(default_size=radius)}


def fit_brush(photo: Photo | None) -> Any:
    """Return an update of the canvas that fits its brush to a picture."""
    return gr.skip() if photo is None else gr.update(**tools(brush_radius(photo)))


@errors_on_page
def take_upload(path: str | None) -> tuple[Any, Any, str]:
    """Return (photo, canvas, description) for an uploaded picture."""
    if path is None:
        return None, None, ""
    return _taken(read_photo(path))


@errors_on_page
def take_sample(name: str | None) -> tuple[Any, Any, str]:
    """Return (photo, canvas, description) for the name of a bundled picture."""
    return (None, None, "") if name is None else _taken(sample(name))


def _taken(photo: Photo, shares: Any = None) -> tuple[Photo, dict[str, Any], str]:
    height, width = photo.size
    about = f"{photo.name}: {width} x {height} pixels, mode {photo.image.mode}"
    about += f", shown and painted at 1/{photo.reduced} of its size" * (photo.reduced > 1)
    return *_drawn(photo, np.zeros(photo.size, bool) if shares is None else shares), about


def _drawn(photo: Photo, shares: NDArray[Any]) -> tuple[Photo, dict[str, Any]]:
    """Set the canvas to a hole, or to shares."""
    photo = replace(photo, drawn=as_shares(shares))
    return photo, {"background": photo.canvas(), "layers": [paint(shares, photo)], "composite": None}


def chosen_photo(photo: Photo | None) -> Photo:
    """Return the picture of the page.

    Raises:
        InputError: there is none.
    """
    if photo is None:
        raise InputError("There is no picture to fill. Upload one, or choose a sample.")
    return photo


@errors_on_page
def invert(photo: Photo | None, value: Any) -> tuple[Photo, dict[str, Any]]:
    """Return (photo, canvas) with the mask inverted."""
    photo = chosen_photo(photo)
    return _drawn(photo, painted(value["layers"] if value else [], photo) == 0)


@errors_on_page
def clear(photo: Photo | None) -> tuple[Photo, dict[str, Any]]:
    """Return (photo, canvas) with an empty mask."""
    photo = chosen_photo(photo)
    return _drawn(photo, np.zeros(photo.size, bool))


@errors_on_page
def take_mask(photo: Photo | None, path: str) -> tuple[Photo, dict[str, Any]]:
    """Return (photo, canvas) with an uploaded mask; white is repainted."""
    photo = chosen_photo(photo)
    hole, grey = read_mask(path, photo.size)
    if grey:
        gr.Warning(
            f"{grey} grey pixels of the mask were rounded to black or white. `repaint inpaint` keeps soft edges."
        )
    return _drawn(photo, hole)


@errors_on_page
def extend(photo: Photo | None, value: Any, *sides: Any) -> tuple[Photo, dict[str, Any], str]:
    """Return (larger photo, canvas, description) for the pixels to add left, right, above and below."""
    photo = chosen_photo(photo)
    margins = Margins(*(int(side or 0) for side in sides))
    if margins.largest == 0:
        raise InputError("There is nothing to add. Set the pixels to add on one side.")
    larger, hole = extended_photo(photo, margins)
    height, width = photo.size
    shares = as_shares(hole)
    inner = shares[margins.top : margins.top + height, margins.left : margins.left + width]
    inner[:] = painted(value["layers"] if value else [], photo)
    return _taken(larger, shares)


@errors_on_page
def find_damage(photo: Photo | None, sensitivity: float, tone: Tone) -> tuple[Photo, dict[str, Any], str]:
    """Return (photo, canvas, how much was found) with a mask of the scratches, dust and lettering of a picture."""
    photo = chosen_photo(photo)
    hole = detect_damage(upright(photo.image), sensitivity=sensitivity, tone=tone)
    about = "No damage was found. Raise the sensitivity, or paint the damage."
    if hole.any():
        about = f"Damage found: {hole.mean():.1%} of the picture. Correct the mask, then press Run."
    return *_drawn(photo, hole), about
