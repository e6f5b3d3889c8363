"""What the pixel values of a mask mean: grey, alpha, labels or colours, and warnings about values that are unusual.

A mask is one plane in [0, 1]. Values that have another likely meaning are refused in one line; those that are possible
but unusual cause one warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError, MaskWarning, warn
from repaint.pictures.decoding import bit_depth, check_range

__all__ = ["Plane", "plane_of", "warn_of_values"]

Values = NDArray[np.float64]

# JPEG changes exact black and white by up to this much. Kept pixels that become almost black are counted against the
# pixels of the hole, because the edge of a thin hole is a small share of the picture and a large one of the hole.
_NEAR, _NEAR_SHARE = 16 / 255, 0.01
# Blurred edges have up to 1.9 times as many pixels near the ends as between them, JPEG of quality 75 more than 8 times.
_NEAR_TO_MIDDLE = 3
_GREY_SHARE = 0.75
_OPAQUE = 0.9
_BLACK_SHARE = 0.05  # a smaller black part is not a background, but belongs to a photograph or to paint on white


@dataclass(frozen=True)
class Plane:
    """One mask as read.

    Attributes:
        values: (H, W) in [0, 1], of the polarity of the argument.
        name: the argument, and the file if there is one, for messages.
        checked: it is a result of `read_masks`, so warnings are not repeated.
        exact: the values are integers of a file or an array, rather than floats that a program computed.
        jpeg: it comes from a JPEG file.
        tagged: the file has an EXIF orientation of its own, which was applied.
    """

    values: Values
    name: str
    checked: bool = False
    exact: bool = False
    jpeg: bool = False
    tagged: bool = False


def plane_of(
    pixels: NDArray[Any], white: float, name: str, *, graded: bool = False, threshold: float | None = None
) -> Values:
    """Convert the pixels of a mask to one plane in [0, 1], once their meaning is known.

    If alpha varies and the painted part has one colour, as on layers of image editors, alpha is the mask, and painted
    is white. Alpha of one value is ignored.

    Args:
        pixels: (H, W) or (H, W, C) in [0, white], C up to 4; the second and the fourth channel are alpha.
        white: the raw value of white.
        name: for messages.
        graded: small values are intended, as in a map of strengths.
        threshold: in (0, 1]; the result is 1 where a value is at least this share of white, else 0. A coloured mask is
            then read by its brightest channel.
    Raises:
        InputError: colours, labels, alpha beside several colours, or values out of range.

    >>> plane_of(np.array([[[9, 0], [9, 255]]], np.uint8), 255, "mask")
    array([[0., 1.]])
    """
    channels = pixels.reshape(*pixels.shape[:2], -1)
    count = channels.shape[2]
    if count not in (1, 2, 3, 4):
        raise InputError(f"{name} has shape {pixels.shape}: at most 4 channels are read. Pass (H, W) or (B, H, W).")
    colours = channels[..., : {2: 1, 4: 3}.get(count, count)]
    check_range(colours, white, name)
    plane = _alpha(colours, channels[..., -1], white, name) if count in (2, 4) else None
    if plane is None:
        plane = _grey(colours, white, name, threshold)
        if threshold is None:
            _refuse_labels(plane, white, name, graded)
    values = plane.astype(np.float64) / white
    return values if threshold is None else (values >= threshold).astype(np.float64)


def _alpha(colours: NDArray[Any], alpha: NDArray[Any], white: float, name: str) -> NDArray[Any] | None:
    """Return the alpha channel if it is the mask; None if it carries no information."""
    check_range(alpha, white, name)
    low, high = alpha.min(), alpha.max()
    if high > 0 and (low == high or low >= _OPAQUE * white):
        return None
    painted, hidden = colours[alpha == high], colours[alpha == low]
    opposite = low == 0 < high and painted.max() < white / 2 < hidden.min()
    if high > 0 and ((painted != painted[0]).any() or opposite):
        seen = "black paint on transparent white" if opposite else "transparent pixels beside several colours"
        raise InputError(
            f"{name} has {seen}, so that its alpha and its colours say different things. Save only one of them: the "
            "alpha as a grey picture (in PIL, image.getchannel('A')), or the colours without alpha."
        )
    share = float((alpha > white / 2).mean())
    if share > 0.5:
        warn(
            f"{name} is read from its alpha: the painted part, {share:.0%} of the picture, counts as white. If the "
            "transparent part is the hole, pass it as keep_mask, or --keep-mask in the shell.",
            MaskWarning,
        )
    return alpha


def _grey(colours: NDArray[Any], white: float, name: str, threshold: float | None) -> NDArray[Any]:
    """Return the grey values of a mask; with a threshold, the brightest channel of one with colours.

    Channels that differ slightly, as after lossy compression, do not count as colours.
    """
    brightest: NDArray[Any] = colours.max(axis=2)
    spread = brightest.astype(np.float64) - colours.min(axis=2)
    if spread.max() <= (_NEAR * white if colours.dtype.kind in "ui" else 0):
        return brightest
    if (brightest <= _NEAR * white).mean() < _BLACK_SHARE:
        raise InputError(
            f"{name} has colours ({_listed(colours)}) and no black background, so that --threshold cannot separate "
            "them. Save the mask alone, in white on black."
        )
    if threshold is None:
        least = float(brightest[brightest > _NEAR * white].min(initial=white)) / white
        cut = 0.5 if least >= 0.5 else np.floor(50 * least) / 100
        raise InputError(
            f"{name} has colours ({_listed(colours)}), but a mask is black and white. To repaint all that is not "
            f"black, use --threshold {cut:g} in the shell, or repaint.pictures.masks.hard_mask(mask, {cut:g}) in "
            "Python. For one colour: (numpy.asarray(image.convert('RGB')) == colour).all(-1)."
        )
    return brightest


def _listed(colours: NDArray[Any]) -> str:
    """Format the number of colours, and the first of them."""
    kinds = np.unique(colours.reshape(-1, colours.shape[2]), axis=0)
    return f"{len(kinds)}: {', '.join(str(tuple(kind.tolist())) for kind in kinds[:3])}{', ...' * (len(kinds) > 3)}"


def _refuse_labels(plane: NDArray[Any], white: float, name: str, graded: bool) -> None:
    """Refuse integers that are almost black everywhere, labels or values of fewer bits, and values of known depths."""
    most = plane.max().item()
    eight_bits = 1 < most <= white / 257  # of 16
    bits = bit_depth(most, white)
    dark = not graded and (most <= _NEAR * white or bits is not None)
    if white == 1 or most == 0 or not (most == 1 or eight_bits or dark):
        return
    if most == 1:
        kind, cure = "0/1 labels", f"multiply it by {white}"
    elif eight_bits:
        kind, cure = "8-bit values in 16 bits", "multiply it by 257"
    elif bits is not None:
        kind, cure = f"{bits}-bit values in 16 bits", f"divide it by {most} to get floats in [0, 1]"
    elif white == 65535:
        kind, cure = "labels, or values of fewer than 16 bits", f"pass image == label, or image / {most}"
    else:
        kind, cure = "labels", "pass image == label"
    raise InputError(
        f"{name} has {most} as its largest value where white is {white}: it looks like {kind}. Pass it as bool, or "
        f"{cure}; --threshold {1 / white:.2g} in the shell reads all values above 0 as white."
    )


def warn_of_values(masks: Sequence[Plane], repaints_white: bool) -> None:
    """Warn of an empty mask, of a hole that is mostly grey, and of JPEG artefacts, once for the list.

    Args:
        masks: see `Plane`.
        repaints_white: the polarity: white is the hole, or is kept.
    Warns:
        MaskWarning: one of these.
    """
    told: set[str] = set()
    for mask in masks:
        found = None if mask.checked else _unusual(mask, repaints_white)
        if found is not None and found[0] not in told:
            told.add(found[0])
            warn(f"{mask.name} {found[1]}", MaskWarning)


def _unusual(mask: Plane, repaints_white: bool) -> tuple[str, str] | None:
    """Return the kind of an unusual mask and the text of its warning, or None."""
    hole = mask.values if repaints_white else 1 - mask.values  # how much each pixel is repainted
    share, count = np.minimum(hole, 1 - hole), np.count_nonzero(hole)
    if count == 0:
        black = "black" if repaints_white else "white"
        other = "keep_mask (--keep-mask)" if repaints_white else "mask_image (without --keep-mask)"
        return "empty", f"is {black} everywhere: nothing is repainted. If it has the other polarity, pass {other}."
    near = int(np.count_nonzero((share > 0) & (share <= _NEAR)))
    middle = int(np.count_nonzero(share > _NEAR))
    if mask.exact and middle > _GREY_SHARE * count:
        values = np.unique(mask.values[share > _NEAR])
        shown = f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"
        return "grey", (
            f"is grey ({shown} of white) in {middle / count:.0%} of the hole: such pixels are blended with the input. "
            f"{_cure(mask, repaints_white)} For how much each pixel may change, pass it as strength (--strength)."
        )
    inside = int(np.count_nonzero(hole > 0.5))
    if near > _NEAR_SHARE * max(1, inside) and (mask.jpeg or near > _NEAR_TO_MIDDLE * middle):
        return "jpeg", (
            f"has {near} pixels that are almost but not exactly black or white, as lossy files such as JPEG have, and "
            f"{inside} in the hole. They are read as soft edges. {_cure(mask, repaints_white)}"
        )
    return None


def _cure(mask: Plane, repaints_white: bool) -> str:
    """Explain how to get hard edges: at half of white, or at half of the strongest repainting if none reaches that."""
    cut, hole = 0.5, mask.values if repaints_white else 1 - mask.values
    if not ((mask.values >= cut) == repaints_white).any():  # nothing would be repainted
        half = float(f"{hole.max() / 2:.2g}")
        cut = half if repaints_white else 1 - half
    call = "hard_mask" if cut == 0.5 else f"hard_mask(mask, {cut:g})"
    return f"For hard edges, use --threshold {cut:g} in the shell, or repaint.pictures.masks.{call} in Python."
