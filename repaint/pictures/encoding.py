"""Writing image files atomically and without any silent conversion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from PIL import Image

from repaint.errors import InputError
from repaint.files import atomic_path, check_place

__all__ = ["check_writable", "write_image"]

# The PIL modes that each file format stores without changing a pixel; PIL would convert others silently.
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
    """Refuse a file that `write_image` cannot write, before any work is done.

    Args:
        path: the suffix determines the format.
        mode: PIL mode of the image.
    Raises:
        InputError: the suffix is unknown, the format does not support the mode, the folder is missing, or the path is
            a folder.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"Cannot write {path}: the suffix must be one of {', '.join(_SUFFIXES)}. Rename it.")
    form = _SUFFIXES[suffix]
    if mode not in _FORMATS[form]:
        usable = [known for known, other in _SUFFIXES.items() if mode in _FORMATS[other]]
        raise InputError(
            f"Cannot write {path}: {form} does not hold mode {mode}, only {', '.join(_FORMATS[form])}. "
            f"{f'Use {usable[0]}, or convert' if usable else 'Convert'} the image first."
        )
    check_place(target)


def write_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PIL image atomically with its EXIF, ICC profile, XMP and resolution. All formats but JPEG are lossless.

    Args:
        image: of a mode that the format supports.
        path: the suffix determines the format.
    Raises:
        InputError: see `check_writable`; or the file cannot be written.
    """
    check_writable(path, image.mode)
    form = _SUFFIXES[Path(path).suffix.lower()]
    info = {key: image.info[key] for key in ("exif", "icc_profile", "xmp", "dpi") if key in image.info}
    with atomic_path(path) as draft:
        try:
            image.save(draft, format=form, **info, **_OPTIONS.get(form, {}))
        except (ValueError, SyntaxError) as error:
            raise InputError(f"Cannot write {path}: {error}. Change the image or the format.") from error
