"""Write image files without losing a kept pixel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from repaint.errors import InputError
from repaint.files import atomic_path, check_place

__all__ = ["check_writable", "write_image"]

# What each file format stores without changing the mode's pixels; PIL would convert some others silently.
_FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "RGB"),
    "GIF": ("L", "P"),
}

_SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}


def check_writable(path: str | os.PathLike[str], mode: str) -> None:
    """Refuse, before any work is done, a file that `write_image` could not write.

    Args:
        path: the suffix chooses the format.
        mode: PIL mode of the image to be written.
    Raises:
        InputError: an unknown suffix, a mode the format does not hold, a missing folder, or a path that is a folder.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"Cannot write {path}: the suffix must be one of {', '.join(_SUFFIXES)}. Rename it.")
    form = _SUFFIXES[suffix]
    if mode not in _FORMATS[form]:
        able = [known for known, other in _SUFFIXES.items() if mode in _FORMATS[other]]
        raise InputError(
            f"Cannot write {path}: {form} does not hold mode {mode}, only {', '.join(_FORMATS[form])}. "
            f"{f'Use {able[0]}, or convert' if able else 'Convert'} the image first."
        )
    check_place(target)


def write_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PIL image atomically with its EXIF, ICC profile, XMP and resolution; lossless but for JPEG.

    Args:
        image: any mode; the format must hold it as it is.
        path: the suffix chooses the format.
    Raises:
        InputError: an unknown suffix, a mode the format does not hold, or a place that cannot be written.
    """
    check_writable(path, image.mode)
    form = _SUFFIXES[Path(path).suffix.lower()]
    info = {key: image.info[key] for key in ("exif", "icc_profile", "xmp", "dpi") if key in image.info}
    with atomic_path(path) as draft:
        try:
            image.save(draft, format=form, **info, **_OPTIONS.get(form, {}))
        except (ValueError, SyntaxError) as error:
            raise InputError(f"Cannot write {path}: {error}. Change the image or the format.") from error
