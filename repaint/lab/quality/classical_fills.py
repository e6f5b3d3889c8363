"""Classical inpainting of one image: the baselines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError

__all__ = ["CLASSICAL", "fill_biharmonic"]

Image = NDArray[np.uint8]
Region = NDArray[np.bool_]


def _opencv(method: str) -> Callable[[Image, Region], Image]:
    def fill(image: Image, hole: Region) -> Image:
        try:
            import cv2
        except ImportError as error:
            raise InputError("OpenCV is not installed: pip install opencv-python-headless.") from error
        flag = {"telea": cv2.INPAINT_TELEA, "navier-stokes": cv2.INPAINT_NS}[method]
        return np.asarray(cv2.inpaint(image, hole.astype(np.uint8), 3, flag), dtype=np.uint8)

    return fill


def fill_biharmonic(image: Image, hole: Region) -> Image:
    """Fill a hole with biharmonic inpainting of scikit-image."""
    from skimage.restoration import inpaint_biharmonic

    filled: Image = np.round(inpaint_biharmonic(image, hole, channel_axis=2) * 255).clip(0, 255).astype(np.uint8)
    return filled


CLASSICAL: dict[str, Callable[[Image, Region], Image]] = {
    "telea": _opencv("telea"),
    "navier-stokes": _opencv("navier-stokes"),
    "biharmonic": fill_biharmonic,
}
