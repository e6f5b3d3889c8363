"""Audit of the kept pixels: how much an inpainting changed outside the hole.

It works on the results of any program. Nothing is resized, rounded or converted: an exact result has only zeros.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from repaint.errors import InputError, collected_warnings
from repaint.measure.metrics import mse
from repaint.pictures.decoding import open_image, upright
from repaint.pictures.masks import known, read_keep
from repaint.pictures.metadata import exif_orientation

__all__ = ["Audit", "audit", "audit_files"]

File = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Audit:
    """The differences between the kept pixels of a result and those of the picture, in the units of the pictures.

    Attributes:
        kept: number of pixels outside the hole.
        mse: mean squared change over kept pixels and all channels, in squared units.
        max_change: largest absolute change of a kept value; 0 if every kept pixel is equal.
        changed: share of kept pixels with any change, in [0, 1].
        heatmap: absolute change, mean over channels; NaN in the hole.
        profile: mean of the heatmap by distance from the hole: entry d - 1 averages the kept pixels whose Euclidean
            distance to the nearest hole pixel is more than d - 1 and at most d.
    """

    kept: int
    mse: float
    max_change: float
    changed: float
    heatmap: Float[np.ndarray, "h w"]
    profile: Float[np.ndarray, " d"]

    def as_dict(self) -> dict[str, Any]:
        """Convert all attributes but the heatmap to plain numbers."""
        numbers = {"kept": self.kept, "mse": self.mse, "max_change": self.max_change, "changed": self.changed}
        return numbers | {"profile": self.profile.tolist()}


def audit(result: NDArray[Any], image: NDArray[Any], hole: NDArray[np.bool_]) -> Audit:
    """Compare a result with its picture outside the hole.

    Args:
        result: the output of an inpainting, (H, W) or (H, W, C).
        image: the input, of the same shape and dtype.
        hole: (H, W) bool, True where painting was allowed, which includes the soft pixels of a mask.
    Raises:
        InputError: pictures of different shape or dtype, NaN or infinity outside the hole, or a hole that has another
            size, is empty, or is the whole picture.

    >>> image = np.zeros((4, 4), dtype=np.uint8)
    >>> hole = np.eye(4, dtype=bool)
    >>> audit(image + 7 * hole.astype(np.uint8), image, hole).max_change
    0.0
    """
    from scipy.ndimage import distance_transform_edt

    _check(result, image, hole)
    kept = ~hole
    error = mse(result, image, kept)
    change = np.abs(result.astype(np.float64) - image.astype(np.float64)).reshape(*hole.shape, -1)
    heatmap = np.where(hole, np.nan, change.mean(axis=2))
    rings = np.ceil(distance_transform_edt(kept)[kept]).astype(int) - 1
    return Audit(
        kept=int(np.count_nonzero(kept)),
        mse=error,
        max_change=float(change[kept].max()),
        changed=float((change[kept] > 0).any(axis=1).mean()),
        heatmap=heatmap,
        # Distances of neighbours differ by at most 1, so no ring up to the last is empty.
        profile=np.bincount(rings, heatmap[kept]) / np.bincount(rings),
    )


def audit_files(
    result: File, image: File, mask: File, *, keep_mask: bool = False, threshold: float | None = None
) -> Audit:
    """Compare a saved result with its picture outside the hole.

    Args:
        result, image: image files of one size and mode, compared as displayed, in the values of the mode; palette
            pictures as RGBA. In a JPEG result every pixel counts as changed by the compression.
        mask: white is repainted. Soft pixels, neither black nor white, may change and are not counted.
        keep_mask: white is kept instead.
        threshold: see `repaint.pictures.masks.read_keep`.
    Raises:
        InputError: see `audit`; or a file that cannot be read, has another size or mode, or has 16-bit colour.
    """
    (after, after_mode), (before, before_mode) = _pixels(result), _pixels(image)
    if after_mode != before_mode:
        raise InputError(
            f"{result} has PIL mode {after_mode} and {image} {before_mode}: values of two modes cannot be compared "
            "exactly. Save the result in the mode of the image, or convert both."
        )
    masks: dict[str, Any] = {"keep_mask" if keep_mask else "mask_image": mask}
    turns = [exif_orientation(open_image(image))]
    keep = read_keep(**masks, sizes=[before.shape[:2]], turns=turns, threshold=threshold)[0]
    return audit(after, before, ~known(keep)[0].numpy())


def _pixels(path: File) -> tuple[NDArray[Any], str]:
    """Read an image file as (pixels as displayed, mode)."""
    with collected_warnings() as found:
        image = upright(open_image(path))
    if any("16-bit colour" in message for message in found):
        raise InputError(
            f"{path} has 16-bit colour, of which PIL reads 8 bits, so the audit would not be exact. "
            "Read it with another library and pass the arrays to repaint.measure.audit.audit."
        )
    return np.asarray(image.convert("RGBA") if image.mode == "P" else image), image.mode


def _check(result: NDArray[Any], image: NDArray[Any], hole: NDArray[np.bool_]) -> None:
    if result.shape != image.shape or result.dtype != image.dtype:
        raise InputError(
            f"The result has shape {result.shape} and dtype {result.dtype}, but the picture has {image.shape} and "
            f"{image.dtype}. Save the result without resizing or converting it."
        )
    if hole.dtype != bool or hole.shape != image.shape[:2]:
        raise InputError(
            f"The hole has shape {hole.shape} and dtype {hole.dtype}, but must be bool and {image.shape[0]} x "
            f"{image.shape[1]}, True where the result was painted."
        )
    if hole.all() or not hole.any():
        raise InputError(
            f"The hole is {'the whole picture' if hole.all() else 'empty'}, but an audit needs pixels inside and "
            "outside it. Check the mask and its polarity."
        )
    for name, picture in (("The result", result), ("The picture", image)):
        values = picture[~hole]
        if not np.isfinite(values).all():
            raise InputError(
                f"{name} has {np.count_nonzero(~np.isfinite(values))} NaN or infinite values outside the hole, which "
                "cannot be compared. Replace them."
            )
