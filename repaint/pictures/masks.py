"""Keep masks: reading masks of either polarity, and moving, softening or hardening their edges.

The library uses one polarity: keep, (B, 1, H, W) in [0, 1], where 1 keeps the input pixel. Only `read_keep` accepts the
other one. `mask_shapes.py` draws benchmark masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.pictures.decoding import ImageLike
from repaint.pictures.mask_reading import Reading, ReadMask, read_all, read_planes
from repaint.pictures.mask_values import warn_of_values

__all__ = [
    "MaskLike",
    "ReadMask",
    "feather",
    "grow",
    "hard_mask",
    "invert",
    "known",
    "read_keep",
    "read_map",
    "read_masks",
    "thickness",
]

MaskLike = ImageLike | ReadMask | Sequence[ReadMask]
Keep = Float[Tensor, "1 h w"]
Size = tuple[int, int]


def read_keep(
    mask_image: object = None,
    keep_mask: object = None,
    *,
    sizes: list[Size],
    turns: Sequence[int] | None = None,
    threshold: float | None = None,
) -> list[Keep]:
    """Read the masks of a list of pictures as keep masks.

    A mask is a path, a PIL image, a numpy array (H, W), (H, W, 1), grey-valued (H, W, C), (B, H, W) or (B, H, W, 1), a
    tensor (H, W), (1, H, W) or (B, 1, H, W), or a list of these: bool, uint8, uint16 (numpy) or float in [0, 1]. If
    its alpha varies and the painted part has one colour, alpha is the mask. The EXIF orientation is applied. Values
    between 0 and 1 are soft edges and stay unchanged.

    Args:
        mask_image: white (1) is repainted, as in diffusers.
        keep_mask: white (1) is kept, as in RePaint. Give exactly one of the two.
        sizes: (height, width) of each picture as displayed. Give one mask for all pictures, or one for each.
        turns: EXIF orientation of each picture; None: all are upright. A mask of the stored size is turned like its
            picture.
        threshold: in (0, 1]: values of at least this share of white become white, the others black.
    Returns:
        One (1, H, W) float32 keep mask per picture, in [0, 1]; 1 keeps the input pixel.
    Raises:
        InputError: both masks or neither are given, their number or size does not match, or a mask has colours, values
            out of range or labels in integers, or cannot be read.
    Warns:
        MaskWarning: a mask is empty, mostly grey, has the almost black and white pixels of a JPEG file, or may be drawn
            on the stored pixels of a turned picture.

    >>> (keep,) = read_keep(np.array([[True, False]]), sizes=[(1, 2)])
    >>> keep
    tensor([[[0., 1.]]])
    """
    return [mask.keep for mask in read_masks(mask_image, keep_mask, sizes=sizes, turns=turns, threshold=threshold)]


def read_masks(
    mask_image: object = None,
    keep_mask: object = None,
    *,
    sizes: list[Size],
    turns: Sequence[int] | None = None,
    threshold: float | None = None,
) -> list[ReadMask]:
    """Read masks as `read_keep` does, in a form that is not checked again when it is passed on.

    Args:
        mask_image, keep_mask, sizes, turns, threshold: see `read_keep`.
    Raises:
        InputError: see `read_keep`.
    """
    if (mask_image is None) == (keep_mask is None):
        found = "neither is" if mask_image is None else "both are"
        raise InputError(
            f"Give exactly one of mask_image and keep_mask ({found} given). "
            f"White is repainted in mask_image and kept in keep_mask."
        )
    if threshold is not None and not (is_number(threshold) and 0 < threshold <= 1):
        raise InputError(f"threshold={shown(threshold)} must be in (0, 1] (0.5 is halfway between black and white).")
    name, given = ("keep_mask", keep_mask) if mask_image is None else ("mask_image", mask_image)
    masks = read_all(Reading(name, sizes, threshold, turns=turns), given)
    warn_of_values(masks, name == "mask_image")
    keeps = [torch.from_numpy(mask.values.astype(np.float32))[None] for mask in masks]
    return [ReadMask(keep if name == "keep_mask" else invert(keep)) for keep in keeps]


def read_map(name: str, value: object, *, sizes: list[Size], turns: Sequence[int] | None = None) -> list[Keep]:
    """Read one value in [0, 1] per pixel, from any kind of mask image; nothing is inverted.

    Args:
        name: the argument, for errors.
        value: see `read_keep`; white is 1.
        sizes, turns: see `read_keep`.
    Returns:
        One (1, H, W) float64 map per picture, in [0, 1].
    Raises:
        InputError: see `read_keep`.

    >>> read_map("strength", np.array([[0.0, 0.5]]), sizes=[(1, 2)])
    [tensor([[[0.0000, 0.5000]]], dtype=torch.float64)]
    """
    masks = read_all(Reading(name, sizes, graded=True, turns=turns), value)
    return [torch.from_numpy(mask.values)[None] for mask in masks]


def hard_mask(mask: object, threshold: float = 0.5) -> NDArray[np.bool_]:
    """Read one mask without soft edges: True where it is at least `threshold` of white.

    This removes the artefacts of JPEG. A coloured mask on black is read by its brightest channel.

    Args:
        mask: one mask; see `read_keep`.
        threshold: in (0, 1].
    Returns:
        (H, W) bool, in the polarity of the mask.
    Raises:
        InputError: see `read_keep`; or several masks.

    >>> hard_mask(np.array([[3, 128, 250]], np.uint8))
    array([[False,  True,  True]])
    """
    if not (is_number(threshold) and 0 < threshold <= 1):
        raise InputError(f"threshold={shown(threshold)} must be in (0, 1] (0.5 is halfway between black and white).")
    planes = read_planes(Reading("mask", [], threshold), mask)
    if len(planes) != 1:
        raise InputError(f"mask holds {len(planes)} masks, but one is read at a time. Pass them one by one.")
    hard: NDArray[np.bool_] = planes[0].values > 0
    return hard


def known(keep: Float[Tensor, "*b h w"]) -> Bool[Tensor, "*b h w"]:
    """Test which pixels the sampler treats as known: keep == 1. Soft pixels are repainted, and blended at the end."""
    return keep == 1


def invert(keep: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Swap the polarity: 1 - keep."""
    return 1 - keep


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
