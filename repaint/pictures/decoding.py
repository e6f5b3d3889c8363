"""Opening image files, turning them upright and checking pixel values.

`images.py` and `masks.py` share these functions, so images and masks are read, checked and rejected in the same way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from torch import Tensor

from repaint.errors import InputError, warn
from repaint.pictures.metadata import collected, exif_orientation
from repaint.warning_filters import filtered

__all__ = [
    "HEIF_SUFFIXES",
    "NUMPY_WHITE",
    "PIL_WHITE",
    "TURNS",
    "ImageLike",
    "bit_depth",
    "check_dense",
    "check_range",
    "eight_bit",
    "load_image",
    "open_image",
    "plain",
    "read_upright",
    "register_heif",
    "to_numpy",
    "turned_pixels",
    "upright",
    "warn_if_dark",
]

OneImage = str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor
ImageLike = OneImage | Sequence[OneImage]

# The value of white. "I" and "F" can hold any number; PIL fills "I" from 16-bit files and "F" from 8-bit files.
PIL_WHITE: dict[str, int] = {
    "1": 1,
    "L": 255,
    "LA": 255,
    "P": 255,
    "RGB": 255,
    "RGBA": 255,
    "CMYK": 255,
    "I;16": 65535,
    "I": 65535,
    "F": 255,
}
NUMPY_WHITE: dict[str, int] = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}

# EXIF orientation: how to turn the stored pixels for display. 6 and 8 undo each other, the others undo themselves.
TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

HEIF_SUFFIXES = (".heic", ".heif", ".hif")

_DEPTHS = (9, 10, 11, 12, 13, 14)  # bits of cameras, scanners and microscopes; 15 can be an even grey

AVIF_HEADER = 2**16  # bytes of a file that hold its depth, in practice the first few hundred

# PIL keeps 8 bits of 16-bit colour; only the raw mode of the decoder still shows the 16 bits.
_SIXTEEN_BIT = re.compile(r";16[BLN]")


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Open and decode an image file, with its pixels as stored (see `upright`).

    Args:
        path: a file of any format that PIL reads.
    Returns:
        A PIL image that no longer needs the file.
    Raises:
        InputError: the file is missing, not an image, PostScript, damaged, animated, larger than PIL allows, or has a
            mode that is not in `PIL_WHITE`.
    Warns:
        UserWarning: a file with more than 8 bits per colour, of which PIL reads the upper 8.
    """
    limit = Image.MAX_IMAGE_PIXELS
    register_heif(path)
    try:
        with filtered("error", Image.DecompressionBombWarning):
            image = Image.open(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"Cannot open {path}: more than {limit} pixels, PIL's limit against decompression bombs. "
            f"If you trust the file, raise PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"No file {path}. Check the path (the current folder is {Path.cwd()}).") from error
    except Exception as error:  # PIL's decoders raise many types for a damaged header
        raise InputError(f"Cannot open {path}: {error}. Give an image file that PIL can read.") from error
    with image:
        if image.format == "EPS":  # PIL would run it in Ghostscript
            raise InputError(f"{path} is PostScript, a program, and is not run. Give a PNG, JPEG, TIFF or WebP file.")
        if (bits := _bits(image, path)) > 8:
            warn(f"{path} has {bits}-bit colour, of which PIL reads 8 bits. Pass a uint16 array to keep all {bits}.")
        loaded = load_image(image, str(path))
        copy = loaded.copy()
        copy.info = collected(loaded)
        return copy


def _bits(image: Image.Image, path: str | os.PathLike[str]) -> int:
    """Return the bits of each channel of a colour file, of which PIL keeps 8."""
    if image.mode not in {"RGB", "RGBA", "LA"}:
        return 8
    if image.format == "AVIF":  # the third byte of this box: tier, high_bitdepth, twelve_bit, ...
        with Path(path).open("rb") as file:
            _, _, box = file.read(AVIF_HEADER).partition(b"av1C")
        return 8 if len(box) < 3 or not box[2] & 0x40 else 12 if box[2] & 0x20 else 10
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    return 16 if _SIXTEEN_BIT.search(str(getattr(image, "tile", ""))) else 8


def register_heif(path: str | os.PathLike[str]) -> None:
    """Let PIL read a HEIC file, as many phones write, with pillow-heif, which turns it upright. Others need nothing.

    Raises:
        InputError: pillow-heif is not installed.
    """
    if Path(path).suffix.lower() not in HEIF_SUFFIXES:
        return
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(
            f"Cannot open {path}: HEIC needs pillow-heif, which is not installed: pip install pillow-heif. Or save the "
            "photograph as JPEG or PNG."
        ) from error
    register_heif_opener()


def load_image(image: Image.Image, name: str) -> Image.Image:
    """Decode the pixels of an image, which PIL opens lazily, and check it.

    Args:
        image: any PIL image; it is decoded in place, as PIL does on first use.
        name: names the image in errors.
    Returns:
        The same image; of mode "I;16B", a copy of mode "I;16" with the same values.
    Raises:
        InputError: damaged pixels, several frames, no pixels, or a mode that is not in `PIL_WHITE`.
    """
    try:
        # An MPO file of a phone is one photograph; the other frames are depth or gain maps.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        _load(image)
    except Exception as error:  # see open_image
        raise InputError(f"Cannot decode {name}: {error}. The file is damaged or cut short; get it again.") from error
    if frames > 1:
        raise InputError(
            f"{name} has {frames} frames: one picture is repainted at a time. "
            "Save one frame as a picture of its own, or choose one in PIL with image.seek(index) and pass image.copy()."
        )
    if image.mode == "I;16B":
        native = Image.fromarray(np.asarray(image).astype(np.uint16))
        native.info = collected(image)
        image = native
    if image.mode not in PIL_WHITE:
        mode = "I" if image.mode.startswith("I;16") else "RGBA" if image.mode[-1] in "aA" else "RGB"
        raise InputError(
            f"{name} has PIL mode {image.mode}: allowed are {', '.join(PIL_WHITE)}. "
            f"Convert it, for example with image.convert('{mode}')."
        )
    if 0 in image.size:
        raise InputError(
            f"{name} has no pixels ({image.width} x {image.height}). Give an image with at least one pixel."
        )
    return image


def _load(image: Image.Image) -> None:
    """Decode the pixels. PIL turns a TIFF file upright here, by EXIF; an orientation that only XMP has is ignored."""
    hidden = {}
    if hasattr(image, "tag_v2") and ExifTags.Base.Orientation not in image.tag_v2 and "xmp" in image.info:
        hidden["xmp"] = image.info.pop("xmp")
    try:
        image.load()
    finally:
        image.info.update(hidden)


def upright(image: Image.Image) -> Image.Image:
    """Turn the pixels upright by the EXIF orientation, as viewers do.

    The result of a turn has orientation 1 in its `info`, so that it is upright wherever it is saved.
    """
    turn = TURNS.get(exif_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = collected(image, turned=True)
    return turned


def read_upright(path: str | os.PathLike[str], mode: Literal["RGB", "L"] = "RGB") -> NDArray[np.uint8]:
    """Read an image file as displayed: turned as its EXIF tag says, and converted.

    Args:
        path: the file.
        mode: "RGB", or "L" for grey.
    Returns:
        (H, W, 3), or (H, W) for grey.
    Raises:
        InputError: see `open_image` and `eight_bit`.
    """
    return eight_bit(upright(open_image(path)), path, mode)


def eight_bit(image: Image.Image, path: str | os.PathLike[str], mode: Literal["RGB", "L"] = "RGB") -> NDArray[np.uint8]:
    """Convert an image to 8 bits a channel.

    Args:
        image: of a mode in `PIL_WHITE`.
        path: of its file, for the error.
        mode: "RGB", or "L" for grey.
    Raises:
        InputError: an image with more than 8 bits, which PIL would clip at 255.
    """
    if PIL_WHITE[image.mode] > 255 or image.mode == "F":
        raise InputError(f"{path}: PIL mode {image.mode} has more than 8 bits a channel. Convert it to 8 bits.")
    return np.asarray(image.convert(mode))


def turned_pixels(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels (H, W) upright by an EXIF orientation, 1 to 8."""
    turns: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.T,
        6: lambda x: x.T[:, ::-1],
        7: lambda x: x[::-1, ::-1].T,
        8: lambda x: x.T[::-1],
    }
    return np.ascontiguousarray(turns[orientation](pixels)) if orientation in turns else pixels


def check_dense(tensor: Tensor) -> None:
    """Check that a tensor has values that can be read one by one.

    Raises:
        InputError: the tensor is sparse or on the meta device.
    """
    if tensor.layout != torch.strided or tensor.is_meta:
        where = "on the meta device" if tensor.is_meta else f"of layout {tensor.layout}"
        raise InputError(f"A tensor {where} has no dense values. Pass x.to_dense(), or a tensor on a real device.")


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Copy a tensor to a numpy array on the CPU; bfloat16, which numpy lacks, becomes float32 without loss.

    Raises:
        InputError: see `check_dense`.
    """
    check_dense(tensor)
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def check_range(values: NDArray[Any], white: float, name: str) -> None:
    """Refuse pixel values outside [0, white].

    Args:
        values: any real dtype and shape, not empty.
        white: the largest value allowed.
        name: names the values in errors.
    Raises:
        InputError: a value is NaN, infinite, negative or above `white`, or float values lie in [0, 1] although white
            is 255 (PIL mode F). The message gives the range and the likely conversion.
    """
    low, high = values.min().item(), values.max().item()
    if white > 1 and values.dtype.kind == "f" and low >= 0 and 0 < high <= 1:
        raise InputError(
            f"{name} has float values up to {high} where white is {white}, which is nearly black. "
            f"Multiply it by {white}, or pass the float array itself."
        )
    if low >= 0 and high <= white:
        return
    if not np.isfinite(values).all():
        finite = values[np.isfinite(values)]
        others = f" (the others from {finite.min().item()} to {finite.max().item()})" if finite.size else ""
        raise InputError(
            f"{name} has {values.size - finite.size} NaN or infinite values{others}. "
            f"Replace them, for example with numpy.nan_to_num, and mark them in the mask."
        )
    if white == 1 and -1 <= low < 0 and high <= 1:
        cure = "Map [-1, 1] with (x + 1) / 2"
    elif white == 1 and low >= 0 and high <= 255:
        cure = "Map [0, 255] with x / 255"
    else:
        cure = f"Scale or clip the values to [0, {white}]"
    raise InputError(f"{name} has values from {low} to {high}: they must lie in [0, {white}]. {cure}.")


def bit_depth(most: float, white: float) -> int | None:
    """Return the bit depth of 16-bit integers whose largest value is the maximum of a common depth, else None.

    >>> bit_depth(4095, 65535)
    12
    """
    return next((bits for bits in _DEPTHS if white == 65535 and most == 2**bits - 1), None)


def warn_if_dark(values: NDArray[Any], white: float, name: str) -> None:
    """Warn of integers with fewer bits than their type: to the model, the picture is nearly black.

    Args:
        values, white, name: see `check_range`.
    Warns:
        UserWarning: no value is above a sixteenth of 16 bits, or the largest one is that of a common depth, or 1.
    """
    if white == 1 or values.dtype.kind not in "ui":
        return
    most = int(values.max())
    bits = 8 if 1 < most <= 255 else bit_depth(most, white)
    if most == 1 or (white == 65535 and 1 < most <= white // 16) or bit_depth(most, white) is not None:
        kind = "0/1 values" if most == 1 else f"{bits}-bit values in 16 bits" if bits else "values of fewer bits"
        warn(
            f"{name} has {most} as its largest value where white is {white}, so that the model takes it for dark: it "
            f"looks like {kind}. Multiply it by {white // (2**bits - 1 if bits and most > 1 else most)} before."
        )


def plain(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Convert a subclass, such as a matrix, to an ordinary array.

    Raises:
        InputError: a masked array, because its mask would be lost.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(
            f"{name} is a masked array, and its mask would be lost. Pass x.filled(0), and the holes as a mask."
        )
    return np.asarray(array)
