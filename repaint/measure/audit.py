"""What an inpainting changed where it should have changed nothing: the audit of the known region.

It takes any result, whatever made it, beside the picture it came from and the hole. Nothing is resized, rounded or
converted: an exact result has exactly 0.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from repaint.errors import InputError
from repaint.measure.metrics import mse
from repaint.pictures.decoding import open_image, upright
from repaint.pictures.masks import known, read_keep

__all__ = ["Audit", "audit", "audit_files"]

File = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Audit:
    """How much the kept pixels of a result differ from the picture; in the units of the pictures.

    Attributes:
        kept: number of pixels outside the hole.
        mse: mean squared change over kept pixels and all channels, in squared units.
        max_change: largest absolute change of a kept value; 0 means that every kept pixel is equal.
        changed: share of kept pixels with any change, in [0, 1].
        heatmap: absolute change, mean over channels; NaN in the hole.
        profile: mean of the heatmap by distance from the hole: entry d - 1 is over kept pixels more than d - 1 and at
            most d pixels (Euclidean) from the nearest pixel of the hole.
    """

    kept: int
    mse: float
    max_change: float
    changed: float
    heatmap: Float[np.ndarray, "h w"]
    profile: Float[np.ndarray, " d"]

    def as_dict(self) -> dict[str, Any]:
        """All but the heatmap, as plain numbers."""
        numbers = {"kept": self.kept, "mse": self.mse, "max_change": self.max_change, "changed": self.changed}
        return numbers | {"profile": self.profile.tolist()}


def audit(result: NDArray[Any], image: NDArray[Any], hole: NDArray[np.bool_]) -> Audit:
    """Compare a result with its picture outside the hole.

    Args:
        result: what an inpainting returned, (H, W) or (H, W, C).
        image: what it was given, of the same shape and dtype.
        hole: (H, W) bool, True where it was allowed to paint; wherever a soft mask is not all "keep".
    Raises:
        InputError: pictures of different shape or dtype, NaN or infinity outside the hole, a hole that does not fit, is
            empty, or is the whole picture.
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
        # Distances of neighbours differ by 1 at most, so that no ring up to the last is empty.
        profile=np.bincount(rings, heatmap[kept]) / np.bincount(rings),
    )


def audit_files(result: File, image: File, mask: File, *, keep_mask: bool = False) -> Audit:
    """Compare a saved result with its picture outside the hole.

    Args:
        result, image: image files of one size and mode, compared as displayed, in the mode's own values; palette
            pictures as RGBA. A JPEG result has changed everywhere, for saving it changed it.
        mask: white is repainted. A soft pixel, neither black nor white, may change and does not count.
        keep_mask: the mask's white is kept instead.
    Raises:
        InputError: see `audit`; files that cannot be read, of another size or mode, or in 16-bit colour.
    """
    (after, after_mode), (before, before_mode) = _pixels(result), _pixels(image)
    if after_mode != before_mode:
        raise InputError(
            f"{result} has PIL mode {after_mode} and {image} {before_mode}: values of two modes cannot be compared to "
            "the bit. Save the result in the picture's mode, or convert both."
        )
    masks: dict[str, File] = {"keep_mask" if keep_mask else "mask_image": mask}
    keep = read_keep(**masks, sizes=[before.shape[:2]])[0]
    return audit(after, before, ~known(keep)[0].numpy())


def _pixels(path: File) -> tuple[NDArray[Any], str]:
    """(pixels as displayed, mode) of an image file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*16-bit colour")
        try:
            image = upright(open_image(path))
        except UserWarning as warning:
            raise InputError(
                f"{path} has 16-bit colour, of which PIL reads 8 bits, so the audit would not be exact. "
                "Read it with another library and pass the arrays to repaint.measure.audit.audit."
            ) from warning
    return np.asarray(image.convert("RGBA") if image.mode == "P" else image), image.mode


def _check(result: NDArray[Any], image: NDArray[Any], hole: NDArray[np.bool_]) -> None:
    if result.shape != image.shape or result.dtype != image.dtype:
        raise InputError(
            f"A result of shape {result.shape} and dtype {result.dtype} for a picture of {image.shape} and "
            f"{image.dtype}: they must be alike, pixel by pixel. A result that was resized or converted has changed "
            "everywhere; save it as the picture was."
        )
    if hole.dtype != bool or hole.shape != image.shape[:2]:
        raise InputError(
            f"A hole of shape {hole.shape} and dtype {hole.dtype} for a picture of {image.shape[0]} x "
            f"{image.shape[1]}: it is bool and of that size, True where it was painted. Threshold the mask."
        )
    if hole.all() or not hole.any():
        raise InputError(
            f"The hole is {'the whole picture' if hole.all() else 'empty'}: an audit takes pixels inside it and "
            "outside it. Check the mask and its polarity."
        )
    for name, picture in (("The result", result), ("The picture", image)):
        values = picture[~hole]
        if not np.isfinite(values).all():
            raise InputError(
                f"{name} has {np.count_nonzero(~np.isfinite(values))} NaN or infinite values outside the hole: pixels "
                "are finite numbers, and what is not cannot be compared."
            )
