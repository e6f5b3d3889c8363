"""Find scratches, dust and lettering in photographs, without a model: thin bright or dark structures."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from repaint.checks import is_number, nearest, shown, whole_number
from repaint.defaults import GROW, MAX_WIDTH, SENSITIVITY, TONE
from repaint.errors import InputError, MaskWarning, warn
from repaint.pictures.images import LUMA, ImageLike, Picture, read_images

__all__ = ["Tone", "detect_damage"]

Tone = Literal["both", "bright", "dark"]
Plane = Float[np.ndarray, "h w"]
Region = Bool[np.ndarray, "h w"]

# Luminance in [0, 1]. Fixed on the 15 training photographs of examples/photographs.json that are not textures.
LEAST = 0.15  # smallest contrast with what lies beside a structure
CLIP = 0.3  # contrast above which a pixel does not count as texture, so that damage does not hide damage
FLOOR = 0.02  # texture of a smooth surface
LIGHTER = 0.2  # a seed is lighter by this than every wide structure near it
MUCH = 0.2  # share of a picture that is rarely damaged
SPREAD = 0.12  # of the tones of seeds around their most frequent tone


def detect_damage(
    image: ImageLike,
    *,
    sensitivity: float = SENSITIVITY,
    max_width: int = MAX_WIDTH,
    tone: Tone = TONE,
    grow: float = GROW,
) -> Region:
    """Find scratches, dust and lettering, as a mask to look at and correct before filling.

    A structure narrower than `max_width` disappears under a morphological opening; the difference (top-hat) is its
    contrast. Pixels whose contrast exceeds the mean contrast around them `8 (1 - sensitivity)` times, that are lighter
    than any wide structure near them, and that have about the same tone as most such pixels, are seeds. A mask consists
    of the seeds and the weaker pixels that touch them (hysteresis). For dark structures the luminance is inverted.

    Thin structures that belong to the picture, such as whiskers or wires, look the same and are found too. Spots and
    missing pieces wider than `max_width` are not found: paint these by hand. `repaint bench detection` measures both.

    Args:
        image: one image; see `RePaintPipeline.__call__`. Alpha is ignored.
        sensitivity: in (0, 1). Higher finds fainter damage, and more of the picture.
        max_width: of a structure in pixels, at least 2. Scans in high resolution need more, such as 16.
        tone: "bright", "dark" or "both". Naming one halves the false alarms.
        grow: Euclidean distance in pixels by which the mask grows, at least 0, because damage has soft edges.
    Returns:
        (H, W) as displayed, True at damaged pixels: a `mask_image`. It may be empty; more than a fifth of the picture
        gives a warning.
    Raises:
        InputError: several images, or an argument out of range.
    Source:
        Top-hat and hysteresis: Soille, "Morphological Image Analysis", 2nd ed., sections 4.5 and 8.7.

    >>> image = np.full((64, 64), 90, np.uint8)
    >>> image[10:50, 30] = 250
    >>> int(detect_damage(image, grow=0).sum())
    40
    """
    if not (is_number(sensitivity) and 0 < sensitivity < 1):
        raise InputError(f"sensitivity={shown(sensitivity)} must be above 0 and below 1 (0.5 is usual).")
    whole_number("max_width", max_width, 2, hint="pixels; 8 is usual")
    if not isinstance(tone, str) or tone not in get_args(Tone):
        choices = get_args(Tone)
        raise InputError(f"tone={shown(tone)} must be one of {', '.join(choices)}.{nearest(tone, choices)}")
    if not (is_number(grow) and 0 <= grow < math.inf):
        raise InputError(f"grow={shown(grow)} must be a distance in pixels of at least 0.")
    pictures = read_images(image)
    if len(pictures) != 1:
        raise InputError(f"detect_damage() got {len(pictures)} images. Pass one image.")
    light, threshold = _luminance(pictures[0]), 8 * (1 - sensitivity)
    if tone == "both":
        found = _either(light, threshold, max_width)
    else:
        found = _bright_structures(light if tone == "bright" else 1 - light, threshold, max_width)
    damage = _grown(found, float(grow))
    if damage.mean() > MUCH:
        warn(
            f"{damage.mean():.0%} of the picture looks damaged, so that much of it is probably whole: in a small "
            "picture, most structures are thin. Look at the mask, and use a larger scan, a lower sensitivity, or one "
            "tone.",
            MaskWarning,
        )
    return damage


def _either(light: Plane, threshold: float, max_width: int) -> Region:
    """Find the pixels of bright and of dark structures.

    The gap between two scratches of one tone is a thin structure of the other tone. So the tone with more pixels is
    removed from the picture before the other is searched again.
    """
    sides = [light, 1 - light]
    found = [_bright_structures(side, threshold, max_width) for side in sides]
    first = int(found[1].sum() > found[0].sum())
    plain = _without(sides[first], found[first], max_width)
    both: Region = found[first] | _bright_structures(1 - plain, threshold, max_width)
    return both


def _without(light: Plane, found: Region, max_width: int) -> Plane:
    """Replace bright structures by what lies beside them."""
    from scipy.ndimage import grey_opening

    ground = grey_opening(light, size=(2 * max_width + 1, 2 * max_width + 1), mode="nearest")
    plain: Plane = np.where(_grown(found, 1), ground, light)
    return plain


def _luminance(picture: Picture) -> Plane:
    """Compute the luminance, (H, W) float32 in [0, 1]."""
    if picture.raw.dtype == bool:
        raise InputError(f"A {picture} has only black and white, which hold no damage to find. Pass grey or RGB.")
    values = picture.channels_last[..., : {2: 1, 4: 3}.get(picture.channels_last.shape[2])]
    if values.shape[2] not in (1, 3):
        raise InputError(f"A {picture} has {values.shape[2]} channels: damage is found in grey or RGB images.")
    weights = LUMA.astype(np.float32) if values.shape[2] == 3 else np.ones(1, np.float32)
    light: Plane = values.astype(np.float32) @ (weights / np.float32(picture.white))
    return light


def _bright_structures(light: Plane, threshold: float, max_width: int) -> Region:
    """Find the pixels of thin structures that are lighter than what lies beside them."""
    from scipy.ndimage import grey_opening, maximum_filter, uniform_filter
    from skimage.measure import label

    seeds, weak = np.zeros(light.shape, dtype=bool), np.zeros(light.shape, dtype=bool)
    for width in (max_width // 2 + 1, max_width + 1):
        ground = grey_opening(light, size=(width, width), mode="nearest")
        contrast = light - ground
        texture = uniform_filter(np.minimum(contrast, CLIP), 7 * max_width + 5, mode="reflect") + FLOOR
        ratio = np.where(contrast > LEAST, contrast / texture, 0)
        seeds |= (ratio > threshold) & (light - maximum_filter(ground, 4 * max_width - 1) > LIGHTER)
        weak |= (contrast > 0.5 * LEAST) & (contrast > threshold / 2 * texture)
    if not seeds.any():
        return seeds
    seeds &= np.abs(light - _most_frequent(light[seeds])) < SPREAD
    labels = label(weak | seeds, connectivity=2)
    kept = np.zeros(labels.max() + 1, dtype=bool)
    kept[np.unique(labels[seeds])] = True
    found: Region = kept[labels]
    return found


def _most_frequent(values: Float[np.ndarray, " n"]) -> float:
    """Find the tone with the most values within 0.05 of it."""
    counts, edges = np.histogram(values, bins=50, range=(0, 1))
    best = int(np.convolve(counts, np.ones(5), "same").argmax())
    return float(edges[best] + edges[best + 1]) / 2


def _grown(region: Region, pixels: float) -> Region:
    from scipy.ndimage import distance_transform_edt

    if pixels == 0 or not region.any():
        return region
    grown: Region = distance_transform_edt(~region) <= pixels
    return grown
