"""Keep masks: reading masks of either polarity, and moving, softening or hardening their edges.

The library uses one polarity: keep, (B, 1, H, W) in [0, 1], where 1 keeps the input pixel. Only `read_keep` accepts the
other one. `mask_shapes.py` draws benchmark masks.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.pictures.decoding import (
    NUMPY_WHITE,
    PIL_WHITE,
    ImageLike,
    check_range,
    load_image,
    open_image,
    plain,
    to_numpy,
    upright,
)

__all__ = [
    "MaskLike",
    "binary",
    "feather",
    "grow",
    "invert",
    "known",
    "read_keep",
    "read_map",
    "thickness",
]

MaskLike = ImageLike
Keep = Float[Tensor, "1 h w"]
Size = tuple[int, int]

# JPEG changes exact black and white by a few grey values; more than this share of such pixels indicates a JPEG.
_NEAR, _NEAR_SHARE = 16 / 255, 0.01
_TENSOR_DTYPES = (torch.bool, torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_keep(mask_image: object = None, keep_mask: object = None, *, sizes: list[Size]) -> list[Keep]:
    """Read the masks of a list of pictures as keep masks.

    A mask is a path, a PIL image, a numpy array (H, W), (H, W, 1), grey-valued (H, W, C), (B, H, W) or (B, H, W, 1), a
    tensor (H, W), (1, H, W) or (B, 1, H, W), or a list of these: bool, uint8, uint16 (numpy) or float in [0, 1]. Alpha
    is ignored and the EXIF orientation is applied. Values between 0 and 1 are soft edges and stay unchanged.

    Args:
        mask_image: white (1) is repainted, as in diffusers.
        keep_mask: white (1) is kept, as in RePaint. Give exactly one of the two.
        sizes: (height, width) of each picture as displayed. Give one mask for all pictures, or one for each.
    Returns:
        One (1, H, W) float32 keep mask per picture, in [0, 1]; 1 keeps the input pixel.
    Raises:
        InputError: both masks or neither are given, their number or size does not match, or a mask has colours, values
            out of range or 0/1 labels in integers, or cannot be read.
    Warns:
        UserWarning: more than 1 % of the pixels of a mask are almost but not exactly black or white.

    >>> (keep,) = read_keep(np.array([[True, False]]), sizes=[(1, 2)])
    >>> keep
    tensor([[[0., 1.]]])
    """
    if (mask_image is None) == (keep_mask is None):
        found = "neither is" if mask_image is None else "both are"
        raise InputError(
            f"Give exactly one of mask_image and keep_mask ({found} given). "
            f"White is repainted in mask_image and kept in keep_mask."
        )
    name, given = ("keep_mask", keep_mask) if mask_image is None else ("mask_image", mask_image)
    masks = _read_all(given, name, sizes)
    _warn_of_jpeg(masks, name)
    keeps = [torch.from_numpy(mask.astype(np.float32))[None] for mask in masks]
    return keeps if name == "keep_mask" else [invert(keep) for keep in keeps]


def read_map(name: str, value: object, *, sizes: list[Size]) -> list[Keep]:
    """Read one value in [0, 1] per pixel, from any kind of mask image; nothing is inverted.

    Args:
        name: the argument, for errors.
        value: see `read_keep`; white is 1.
        sizes: (height, width) of each picture as displayed.
    Returns:
        One (1, H, W) float64 map per picture, in [0, 1].
    Raises:
        InputError: see `read_keep`.

    >>> read_map("strength", np.array([[0.0, 0.5]]), sizes=[(1, 2)])
    [tensor([[[0.0000, 0.5000]]], dtype=torch.float64)]
    """
    return [torch.from_numpy(plane)[None] for plane in _read_all(value, name, sizes)]


def _read_all(given: object, name: str, sizes: list[Size]) -> list[NDArray[np.float64]]:
    """Read the masks of a list of pictures as (H, W) float64 in [0, 1], one for each."""
    items = list(given) if isinstance(given, (list, tuple)) else [given]
    masks = [mask for item in items for mask in _read(item, name, sizes)]
    if len(masks) not in (1, len(sizes)):
        raise InputError(f"{name} has {len(masks)} masks for {len(sizes)} images. Give one for all or one for each.")
    masks = masks if len(masks) == len(sizes) else masks * len(sizes)
    for mask, size in zip(masks, sizes, strict=True):
        if mask.shape != tuple(size):
            raise InputError(
                f"{name} is {mask.shape[0]} x {mask.shape[1]} and its image {size[0]} x {size[1]} (height x width): "
                f"a mask is never resized. Give a mask of the same size."
            )
    return masks


def _read(item: object, name: str, sizes: list[Size]) -> list[NDArray[np.float64]]:
    """Read one mask or batch as (H, W) float64 in [0, 1], without changing the polarity."""
    if isinstance(item, (str, os.PathLike)):
        return [_from_pil(open_image(item), name)]
    if isinstance(item, Image.Image):
        return [_from_pil(load_image(item, name), name)]
    if isinstance(item, np.ndarray):
        return _from_numpy(plain(item, name), name, sizes)
    if isinstance(item, Tensor):
        return _from_tensor(item, name)
    raise InputError(
        f"{name} is a {type(item).__name__}: allowed are paths, PIL images, numpy arrays, tensors, or a list of these."
    )


def _from_pil(image: Image.Image, name: str) -> NDArray[np.float64]:
    pixels = upright(image)
    if image.mode in ("P", "CMYK"):
        pixels = pixels.convert("RGB")
    return _grey(np.asarray(pixels), PIL_WHITE[image.mode], name)


def _from_numpy(array: NDArray[Any], name: str, sizes: list[Size]) -> list[NDArray[np.float64]]:
    if array.dtype.name not in NUMPY_WHITE:
        raise InputError(
            f"{name} has dtype {array.dtype}: allowed are {', '.join(NUMPY_WHITE)}. "
            f"Convert it, for example with x.astype(bool)."
        )
    if array.ndim not in (2, 3, 4) or 0 in array.shape[-3:]:
        raise InputError(
            f"{name} has shape {array.shape}: it must be (H, W), (H, W, C), (B, H, W) or (B, H, W, 1), not empty."
        )
    # (H, W, C) and (B, H, W) are ambiguous: up to 4 channels mean the first, unless only the second fits the pictures.
    channels_last = array.shape[-1] <= 4 and (array.shape[:2] in sizes or array.shape[1:] not in sizes)
    batch = list(array) if array.ndim == 4 or (array.ndim == 3 and not channels_last) else [array]
    return [_grey(one, NUMPY_WHITE[array.dtype.name], name) for one in batch]


def _from_tensor(tensor: Tensor, name: str) -> list[NDArray[np.float64]]:
    if tensor.dtype not in _TENSOR_DTYPES:
        raise InputError(
            f"{name} has dtype {tensor.dtype}: allowed are bool, uint8 and float in [0, 1]. "
            f"Convert it, for example with x.bool()."
        )
    if tensor.ndim not in (2, 3, 4) or 0 in tensor.shape[-2:] or (tensor.ndim > 2 and tensor.shape[-3] != 1):
        raise InputError(
            f"{name} has shape {tuple(tensor.shape)}: it must be (H, W), (1, H, W) or (B, 1, H, W), "
            f"not empty. Reshape it, for example with x[:, None]."
        )
    planes = to_numpy(tensor).reshape(tensor.shape[0] if tensor.ndim == 4 else 1, *tensor.shape[-2:])
    return [_grey(plane, NUMPY_WHITE[planes.dtype.name], name) for plane in planes]


def _grey(pixels: NDArray[Any], white: int, name: str) -> NDArray[np.float64]:
    """Convert (H, W) or (H, W, C) in [0, white] to (H, W) in [0, 1], once it is known to be grey and in range."""
    channels = pixels.reshape(*pixels.shape[:2], -1)
    if channels.shape[2] not in (1, 2, 3, 4):
        raise InputError(f"{name} has shape {pixels.shape}: at most 4 channels are read. Pass (H, W) or (B, H, W).")
    colours = channels[..., : {2: 1, 4: 3}.get(channels.shape[2])]
    check_range(colours, white, name)
    plane = colours[..., 0]
    if (colours != plane[..., None]).any():
        raise InputError(
            f"{name} has colours: a mask is grey, black to white. Convert it, with PIL by image.convert('L')."
        )
    if white > 1 and plane.max() == 1:
        raise InputError(
            f"{name} has 1 as its largest value where white is {white}: it looks like 0/1 labels. "
            f"Pass it as bool, or multiply it by {white}."
        )
    return plane.astype(np.float64) / white


def _warn_of_jpeg(masks: list[NDArray[np.float64]], name: str) -> None:
    distance = [np.minimum(mask, 1 - mask) for mask in masks]
    share = max((((d > 0) & (d <= _NEAR)).mean() for d in distance), default=0.0)
    if share > _NEAR_SHARE:
        warnings.warn(
            f"{share:.0%} of the pixels of {name} are almost but not exactly black or white, as in JPEG files, and are "
            f"read as soft edges. For hard edges, threshold the mask with repaint.pictures.masks.binary and save it as "
            f"PNG.",
            stacklevel=3,
        )


def known(keep: Float[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Test which pixels the sampler treats as known: keep == 1. Soft pixels are repainted, and blended at the end."""
    return keep == 1


def invert(keep: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Swap the polarity: 1 - keep."""
    return 1 - keep


def binary(keep: Float[Tensor, "*b h w"], threshold: float = 0.5) -> Float[Tensor, "*b h w"]:
    """Make a hard mask: 1 where keep >= threshold, else 0.

    >>> binary(torch.tensor([[0.2, 0.5, 1.0]]))
    tensor([[0., 1., 1.]])
    """
    return (keep >= threshold).to(keep.dtype)


def feather(keep: Float[Tensor, "*b h w"], radius: float) -> Float[Tensor, "*b h w"]:
    """Soften the edge of a mask, inside the hole only.

    keep = max(keep, 1 - d / (radius + 1)) at the Euclidean distance d, in pixels, to the nearest kept pixel. Kept
    pixels stay exactly 1, and a hard hole is exactly 0 at d >= radius + 1. The border of the image is not an edge.

    Args:
        keep: (..., H, W) in [0, 1].
        radius: width of the soft edge in pixels, at least 0; 0 changes nothing.
    Returns:
        (..., H, W) in [0, 1].
    Raises:
        InputError: the radius is negative.

    >>> feather(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), radius=1)
    tensor([[1.0000, 0.5000, 0.0000, 0.0000]])
    """
    if not (is_number(radius) and radius >= 0):
        raise InputError(f"radius={shown(radius)} must be at least 0 (use grow to move an edge).")
    ramp = (1 - _distance_to(keep == 1) / (float(radius) + 1)).clamp(min=0)
    return torch.maximum(keep, ramp.to(keep))


def grow(keep: Float[Tensor, "*b h w"], pixels: float) -> Float[Tensor, "*b h w"]:
    """Enlarge the hole to every pixel within a Euclidean distance of a pixel with keep < 1.

    The result is hard: soft pixels become part of the hole. To soften it, feather afterwards. To shrink a hole, invert
    before and after.

    Args:
        keep: (..., H, W) in [0, 1].
        pixels: the distance, at least 0.
    Returns:
        (..., H, W), 0 or 1.
    Raises:
        InputError: the distance is negative.

    >>> grow(torch.tensor([[1.0, 1.0, 1.0, 0.0]]), pixels=1)
    tensor([[1., 1., 0., 0.]])
    """
    if not (is_number(pixels) and pixels >= 0):
        raise InputError(f"pixels={shown(pixels)} must be at least 0 (to shrink a hole, invert before and after).")
    return (_distance_to(keep < 1) > pixels).to(keep)


def thickness(keep: Float[Tensor, "1 h w"]) -> float:
    """Compute the diameter in pixels of the largest circle inside the hole.

    This is 2 d - 1 for the largest Euclidean distance d from a pixel of the hole to the nearest known pixel. The border
    of the image is not an edge, because nothing is known beyond it.

    Args:
        keep: (1, H, W) in [0, 1]; the hole is where keep < 1.
    Returns:
        The diameter; 0 without a hole, infinity if no pixel is known.

    >>> thickness(torch.tensor([[[1.0, 0.0, 0.0, 0.0, 1.0]]]))
    3.0
    """
    hole = ~known(keep)[0]
    rows, columns = (torch.nonzero(hole.any(dim=axis)).flatten().tolist() for axis in (1, 0))
    if not rows:
        return 0.0
    inner = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    return 2 * float(_distance_to(~hole[inner]).max()) - 1


def _distance_to(target: Bool[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Compute the Euclidean distance in pixels to the nearest True of the same plane; infinite if there is none."""
    from scipy.ndimage import distance_transform_edt

    planes = target.cpu().numpy().reshape(-1, *target.shape[-2:])
    far = [distance_transform_edt(~plane) if plane.any() else np.full(plane.shape, np.inf) for plane in planes]
    return torch.from_numpy(np.stack(far)).reshape(target.shape)
