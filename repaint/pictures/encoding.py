"""Writing image files atomically and without any silent conversion."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from repaint.errors import InputError, warn
from repaint.files import atomic_path, check_no_folder, check_place
from repaint.pictures.decoding import upright
from repaint.pictures.metadata import save_options

__all__ = ["PNG_MODES", "check_writable", "keep_result", "write_image"]

# The PIL modes that each file format stores without changing a pixel; PIL would convert others silently.
_FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),  # grey would be read as RGB
    "BMP": ("1", "L", "RGB"),
    "GIF": ("L", "P"),
}

PNG_MODES = _FORMATS["PNG"]

_SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},  # libavif still rounds in its conversion to YCbCr
}
_LOSSY = ("JPEG", "AVIF")


# The largest width and height in pixels.
_LIMITS = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536, "GIF": 65535, "PNG": 2**31 - 1}
_TIFF_BYTES = 2**32 - 2**20  # of a classic TIFF file, with space for its tags


def check_writable(path: str | os.PathLike[str], image: Image.Image | str) -> None:
    """Refuse a file that `write_image` cannot write, before any work is done.

    Args:
        path: the suffix determines the format.
        image: the image, or one with the size, mode and metadata of the later result; or only its PIL mode.
    Raises:
        InputError: the suffix is unknown; the format does not hold the mode, the transparency, the size or the
            metadata; the folder is missing or cannot be written; or the path is a folder.
    Warns:
        UserWarning: metadata that the format cannot hold, and JPEG and AVIF, which change all pixels. Only for an
            image.
    """
    check_no_folder(Path(path))  # before its suffix
    form, mode = _format(path), image if isinstance(image, str) else image.mode
    if mode not in _FORMATS[form]:
        usable = [known for known, other in _SUFFIXES.items() if mode in _FORMATS[other]]
        raise InputError(
            f"Cannot write {path}: {form} does not hold mode {mode}, only {', '.join(_FORMATS[form])}. "
            f"{f'Use {usable[0]}, or convert' if usable else 'Convert'} the image first."
        )
    if not isinstance(image, str):
        _check_transparency(path, form, image)
    check_place(Path(path))
    if isinstance(image, str):
        return
    _check_size(path, form, image)
    options, lost = save_options(image.info, form)
    try:  # with one pixel, only the metadata can fail
        _bare(image, (1, 1)).save(io.BytesIO(), format=form, **options, **_OPTIONS.get(form, {}))
    except Exception as error:  # PIL's encoders raise many types
        raise InputError(
            f"Cannot write {path}: the metadata of the image does not fit into {form} ({error}). "
            f"Use {_lossless(mode) if form != 'PNG' else '.tif'}."
        ) from error
    if lost:
        better = "" if form in ("PNG", "TIFF") else f" Use {_lossless(mode)} to keep it."
        warn(f"{path}: {form} cannot hold {', '.join(lost)} of the image, so it is left out.{better}")
    if form in _LOSSY:
        warn(f"{path}: {form} changes all pixels slightly. Use {_lossless(mode)} to keep them bit-equal.")


def write_image(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PIL image atomically with the metadata that the format holds. All formats but JPEG and AVIF are lossless.

    Args:
        image: of a mode that the format supports.
        path: the suffix determines the format.
    Raises:
        InputError: see `check_writable`; or the file cannot be written.
    """
    check_writable(path, image.mode)
    form = _format(path)
    _check_transparency(path, form, image)
    if form not in ("PNG", "JPEG", "WEBP"):  # BMP and GIF have no EXIF, TIFF and AVIF are written upright
        image = upright(image)
    options, _ = save_options(image.info, form)
    with atomic_path(path) as draft:
        try:
            # Without the image's own metadata, which PIL would add to some formats.
            _bare(image).save(draft, format=form, **options, **_OPTIONS.get(form, {}))
        except (ValueError, SyntaxError, struct.error) as error:
            raise InputError(f"Cannot write {path}: {error}. Change the image or the format.") from error


def keep_result(image: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a finished result; if that fails, write it elsewhere, so that no work is lost.

    Args:
        image: the result.
        path: where it belongs. If this fails: a .png or .tif of this name, in its folder, then in the current folder,
            then in the folder for temporary files.
    Returns:
        The file that was written.
    Raises:
        InputError: no place can be written.
    Warns:
        UserWarning: the file is not at `path`; the message says why.
    """
    target = Path(path)
    try:
        write_image(image, target)
        return target
    except InputError as error:
        reason = error
    name = f"{target.stem}{_lossless(image.mode)}"
    for folder in (target.parent, Path(), Path(tempfile.gettempdir())):
        beside = folder / name
        for tried in (image, _bare(image)):  # metadata may be the reason
            if beside != target and not beside.exists():
                try:
                    write_image(tried, beside)
                except InputError:
                    continue
                warn(f"{reason} The result is in {beside}.")
                return beside
    raise reason


def _format(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise InputError(f"Cannot write {path}: the suffix must be one of {', '.join(_SUFFIXES)}. Rename it.")
    form = _SUFFIXES[suffix]
    Image.init()
    if form not in Image.SAVE:
        raise InputError(f"Cannot write {path}: this version of Pillow has no {form}. Update it, or use .png.")
    return form


def _lossless(mode: str) -> str:
    """Return the suffix of the format that keeps every pixel of a mode."""
    return ".png" if mode in PNG_MODES else ".tif"


def _check_size(path: str | os.PathLike[str], form: str, image: Image.Image) -> None:
    limit = _LIMITS.get(form)
    if limit is not None and max(image.size) > limit:
        raise InputError(
            f"Cannot write {path}: the image has {image.width} x {image.height} pixels, and {form} at most {limit} on "
            f"a side. Use {_lossless(image.mode)}."
        )
    if form == "TIFF" and image.width * image.height * _bytes(image.mode) > _TIFF_BYTES:
        raise InputError(f"Cannot write {path}: the image needs more than 4 GiB, the limit of TIFF. Use .png.")


def _check_transparency(path: str | os.PathLike[str], form: str, image: Image.Image) -> None:
    """Refuse a format that would lose the transparent colour or palette entries of an image without alpha."""
    key = image.info.get("transparency")
    if key is None or image.mode in ("LA", "RGBA") or form == "PNG" or (form == "GIF" and isinstance(key, int)):
        return
    raise InputError(
        f"Cannot write {path}: {form} does not hold the transparency of this image of mode {image.mode}. Use .png, or "
        "convert the image first."
    )


def _bytes(mode: str) -> float:
    """Return the bytes of a pixel; an upper bound for mode 1."""
    return {"LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 2, "I": 4, "F": 4}.get(mode, 1)


def _bare(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """Copy an image without its metadata but with palette and transparency; with `size`, only its upper left corner."""
    copy = image.copy() if size is None else image.crop((0, 0, *size))
    copy.info = {key: value for key, value in image.info.items() if key == "transparency"}
    return copy
