"""Reading masks of all supported kinds: files, PIL images, arrays, tensors and lists of these."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repaint.errors import InputError, MaskWarning, warn
from repaint.pictures.decoding import (
    NUMPY_WHITE,
    PIL_WHITE,
    TURNS,
    check_dense,
    load_image,
    open_image,
    plain,
    to_numpy,
    turned_pixels,
    upright,
)
from repaint.pictures.mask_values import Plane, plane_of
from repaint.pictures.metadata import exif_orientation

__all__ = ["ReadMask", "Reading", "read_all", "read_planes"]

Size = tuple[int, int]
_TENSOR_DTYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class ReadMask:
    """A mask that was read and checked, as a result of `read_masks`. It may be passed on as a `keep_mask`.

    Attributes:
        keep: (1, H, W) float32 in [0, 1]; 1 keeps the input pixel.
    """

    keep: Float[Tensor, "1 h w"]


@dataclass(frozen=True)
class Reading:
    """How masks are read: the name of the argument, the sizes and EXIF orientations of the pictures, see `plane_of`."""

    name: str
    sizes: list[Size]
    threshold: float | None = None
    graded: bool = False
    turns: Sequence[int] | None = None

    def plane(self, pixels: NDArray[Any], white: float, label: str = "", **source: bool) -> Plane:
        """Convert pixels to one plane; `source` is what is known of its file, see `Plane`."""
        name = f"{self.name} {label}".rstrip()
        values = plane_of(pixels, white, name, graded=self.graded, threshold=self.threshold)
        return Plane(values, name, exact=pixels.dtype.kind in "ui", **source)


def read_all(reading: Reading, given: object) -> list[Plane]:
    """Read the masks of a list of pictures, one for each.

    Raises:
        InputError: see `repaint.pictures.masks.read_keep`.
    """
    name, sizes = reading.name, reading.sizes
    items = list(given) if isinstance(given, (list, tuple)) else [given]
    masks = [mask for item in items for mask in read_planes(reading, item)]
    if len(masks) not in (1, len(sizes)):
        raise InputError(f"{name} has {len(masks)} masks for {len(sizes)} images. Give one for all or one for each.")
    masks = masks if len(masks) == len(sizes) else masks * len(sizes)
    turns = [1] * len(sizes) if reading.turns is None else reading.turns
    return [_fitted(*each) for each in zip(masks, sizes, turns, strict=True)]


def _fitted(mask: Plane, size: Size, turn: int) -> Plane:
    """Check the size of a mask. If it was drawn on the stored pixels of a turned picture, turn it like the picture."""
    free = turn in TURNS and not (mask.tagged or mask.checked)  # its orientation is not known
    if mask.values.shape != tuple(size):
        if free and turn > 4 and mask.values.shape == tuple(size)[::-1]:
            return replace(mask, values=turned_pixels(mask.values, turn))
        rows, columns = mask.values.shape
        stored = f", stored as {size[1]} x {size[0]} with EXIF orientation {turn}" if turn > 4 else ""
        raise InputError(
            f"{mask.name} is {rows} x {columns} and its image {size[0]} x {size[1]} (height x width{stored}): "
            f"a mask is never resized. {_cure((rows, columns), size)}"
        )
    if free and (turn < 5 or size[0] == size[1]) and (mask.values != turned_pixels(mask.values, turn)).any():
        warn(
            f"The image has EXIF orientation {turn}, and {mask.name} has none: it is read as drawn on the upright "
            "image, as viewers show it. If it was drawn on the stored pixels, turn both: pass "
            "PIL.ImageOps.exif_transpose(image), and the mask turned in the same way.",
            MaskWarning,
        )
    return mask


def _cure(mask: Size, image: Size) -> str:
    """Explain how to make the sizes equal, also for an image whose channels were taken for rows or columns."""
    cure = "Give a mask of the same size"
    channels = (1, 3, 4)
    if (image[0] in channels and image[1] == mask[0]) or (image[1] in channels and image[0] == mask[1]):
        return f"{cure}, or transpose the image: arrays are (H, W, C), and tensors (C, H, W)."
    return f"{cure}."


def read_planes(reading: Reading, item: object) -> list[Plane]:
    """Read one mask or batch, without changing the polarity.

    Raises:
        InputError: see `repaint.pictures.masks.read_keep`.
    """
    name = reading.name
    if isinstance(item, ReadMask):
        kept = item.keep[0].numpy().astype(np.float64)
        return [Plane(kept if name == "keep_mask" else 1 - kept, name, checked=True)]
    if isinstance(item, (str, os.PathLike)):
        return [_from_pil(reading, open_image(item), os.fspath(item))]
    if isinstance(item, Image.Image):
        return [_from_pil(reading, load_image(item, name))]
    if isinstance(item, np.ndarray):
        return _from_numpy(reading, plain(item, name))
    if isinstance(item, Tensor):
        return _from_tensor(reading, item)
    raise InputError(
        f"{name} is a {type(item).__name__}: allowed are paths, PIL images, numpy arrays, tensors, or a list of these."
    )


def _from_pil(reading: Reading, image: Image.Image, label: str = "") -> Plane:
    pixels, mode = upright(image), image.mode
    if mode in ("1", "L", "P", "RGB") and image.has_transparency_data:
        pixels = pixels.convert("RGBA")
    elif mode in ("P", "CMYK"):
        pixels = pixels.convert("RGB")
    white = 255 if pixels.mode in ("RGB", "RGBA") else PIL_WHITE[mode]
    jpeg = image.format == "JPEG" or "jfif" in image.info
    return reading.plane(np.asarray(pixels), white, label, jpeg=jpeg, tagged=exif_orientation(image) != 1)


def _from_numpy(reading: Reading, array: NDArray[Any]) -> list[Plane]:
    name, sizes = reading.name, reading.sizes
    if array.dtype.name not in NUMPY_WHITE:
        raise InputError(
            f"{name} has dtype {array.dtype}: allowed are {', '.join(NUMPY_WHITE)}. "
            f"Convert it, for example with {_conversion(array)}."
        )
    if array.ndim not in (2, 3, 4) or 0 in array.shape[-3:]:
        raise InputError(
            f"{name} has shape {array.shape}: it must be (H, W), (H, W, C), (B, H, W) or (B, H, W, 1), not empty."
        )
    # (H, W, C) and (B, H, W) are ambiguous: up to 4 channels mean the first, unless only the second fits the pictures.
    channels_last = array.shape[-1] <= 4 and (array.shape[:2] in sizes or array.shape[1:] not in sizes)
    batch = list(array) if array.ndim == 4 or (array.ndim == 3 and not channels_last) else [array]
    return [reading.plane(one, NUMPY_WHITE[array.dtype.name]) for one in batch]


def _conversion(array: NDArray[Any]) -> str:
    """Name the conversion that keeps the meaning of an array of an unsupported dtype."""
    values = array if array.dtype.kind in "iuf" and array.size else np.zeros(1)
    if values.dtype.kind == "f":
        return "x.astype(numpy.float64)" if array.dtype.kind == "f" else "x.astype(bool)"
    return "x.astype(bool)" if values.max() <= 1 else f"x.astype(numpy.uint{8 if values.max() <= 255 else 16})"


def _tensor_conversion(tensor: Tensor) -> str:
    """Name the conversion that keeps the meaning of a tensor of an unsupported dtype."""
    if tensor.is_floating_point():
        return "x.float()"
    # Several integer types have no max of their own.
    return "x.bool()" if tensor.is_complex() or bool((tensor.cpu().double() <= 1).all()) else "x.to(torch.uint8)"


def _from_tensor(reading: Reading, tensor: Tensor) -> list[Plane]:
    name = reading.name
    check_dense(tensor)
    if tensor.dtype not in _TENSOR_DTYPES:
        raise InputError(
            f"{name} has dtype {tensor.dtype}: allowed are bool, uint8 and float in [0, 1]. "
            f"Convert it, for example with {_tensor_conversion(tensor)}."
        )
    if tensor.ndim not in (2, 3, 4) or 0 in tensor.shape[-2:] or (tensor.ndim > 2 and tensor.shape[-3] != 1):
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}: it must be (H, W), (1, H, W) or (B, 1, H, W), "
            f"not empty. Reshape it, for example with x[:, None]."
        )
    planes = to_numpy(tensor).reshape(tensor.shape[0] if tensor.ndim == 4 else 1, *tensor.shape[-2:])
    return [reading.plane(plane, NUMPY_WHITE[planes.dtype.name]) for plane in planes]
