"""Distances between the patches of painted and of real pixels, and the roughness of a region.

- Sliced Wasserstein: 7 x 7 patches of each Laplacian-pyramid level, mean over random projections of the 1-D Wasserstein
  distance (Karras et al. 2018, arXiv 1710.10196, Sec. 5), in units of the real patches' standard deviation.
- Gradient histogram: total variation between histograms of gradient magnitude, in [0, 1].

They are not defined for every region: a thin hole contains no patch. The functions then raise `InputError`;
`not_measurable` gives the reason beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError
from repaint.pictures.images import LUMA

__all__ = ["gradient_distance", "gradients", "not_measurable", "patch_distance", "patches", "roughness"]

Image = NDArray[np.uint8]
Region = NDArray[np.bool_]
Patches = Sequence[NDArray[np.float64]]
PATCH, LEVELS, PROJECTIONS, BINS = 7, 2, 256, 32
TINY = 1e-9  # gradients of 8-bit pictures that differ by less are equal


def patches(image: Image, region: Region) -> list[NDArray[np.float64]]:
    """Collect all patches that lie inside a region, for each pyramid level.

    Args:
        image: (H, W, 3) uint8.
        region: (H, W) bool.
    Returns:
        One (N, 7 * 7 * 3) array per level; N is 0 where the region is too thin.
    """
    found = []
    for level, band in enumerate(pyramid(image)):
        inside = _windows(region[:: 2**level, :: 2**level]).all(axis=(2, 3))
        found.append(_windows(band)[inside].reshape(-1, 3 * PATCH * PATCH))
    return found


def patch_distance(painted: Patches, real: Patches, seed: int = 0) -> float:
    """Compute the sliced Wasserstein distance between two sets of patches, averaged over pyramid levels.

    Args:
        painted, real: see `patches`.
        seed: of the random projections.
    Returns:
        A distance in standard deviations of the real patches, at least 0.
    Raises:
        InputError: the distance is not defined; see `not_measurable`.
    """
    if reason := not_measurable(painted, real):
        raise InputError(f"The patch distance is not defined: {reason}. Use a larger region.")
    rng, quantiles = np.random.default_rng(seed), np.linspace(0, 1, 512)
    distances = []
    for ours, theirs in zip(painted, real, strict=True):
        directions = rng.standard_normal((theirs.shape[1], PROJECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        scale = theirs.std()
        left = np.quantile(ours @ directions / scale, quantiles, axis=0)
        right = np.quantile(theirs @ directions / scale, quantiles, axis=0)
        distances.append(np.abs(left - right).mean())
    return float(np.mean(distances))


def not_measurable(painted: Patches, real: Patches) -> str | None:
    """Explain why `patch_distance` is not defined for two sets of patches.

    Args:
        painted, real: see `patches`.
    Returns:
        A reason of a few words for a report, such as "hole thinner than 14 px"; None if the distance is defined.

    >>> region = np.zeros((32, 32), dtype=bool)
    >>> region[:5] = True
    >>> image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    >>> not_measurable(patches(image, region), patches(image, ~region))
    'hole thinner than 7 px'
    """
    for level, (ours, theirs) in enumerate(zip(painted, real, strict=True)):
        for found, name in ((ours, "hole"), (theirs, "reference region")):
            if not len(found):
                return f"{name} thinner than {PATCH * 2**level} px"
        if not theirs.std():
            return "reference region without any texture"
    return None


def gradients(image: Image, region: Region) -> NDArray[np.float64]:
    """Compute the gradient magnitude of luma inside a region, at least one pixel away from its rim.

    Args:
        image: (H, W, 3) uint8.
        region: (H, W) bool.
    Returns:
        (N,) values from 0 to about 1; N is 0 where the region is thinner than 3 pixels.
    """
    from scipy.ndimage import binary_erosion

    luma = image.astype(np.float64) @ LUMA / 255
    down, across = np.gradient(luma)
    inside: NDArray[np.float64] = np.hypot(down, across)[binary_erosion(region)]
    return inside


def gradient_distance(painted: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    """Compute the total variation between two histograms of gradient magnitude.

    Args:
        painted, real: see `gradients`; the bins are quantiles of the real ones. If nearly all real ones are equal, as
            in a flat picture, that value is a bin of its own, and the others are divided by their own quantiles.
    Returns:
        A distance in [0, 1].
    Raises:
        InputError: a region is thinner than 3 pixels, or all real gradients are equal.
    """
    _check_gradients(painted, real)
    edges = np.unique(np.quantile(real, np.linspace(0, 1, BINS + 1)))
    if len(edges) == 1:
        raise InputError("The gradient distance is not defined: reference region without any texture.")
    edges = np.array([-np.inf, *edges[1:-1], np.inf]) if len(edges) > 2 else _edges_around(float(np.median(real)), real)
    ours, theirs = (np.histogram(values, edges)[0] / values.size for values in (painted, real))
    return float(np.abs(ours - theirs).sum() / 2)


def _edges_around(common: float, real: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges of bins for gradients whose quantiles take two values, one of them `common`."""
    alone = np.array([common - TINY, common + TINY])
    others = real[np.abs(real - common) > TINY]
    quantiles = np.quantile(others, np.linspace(0, 1, BINS + 1)) if others.size else others
    return np.unique(np.concatenate([[-np.inf, np.inf], alone, quantiles]))


def roughness(image: Image, reference: Image, region: Region) -> float:
    """Compute the mean gradient magnitude inside a region over that of a reference; below 1 is smoother.

    Args:
        image, reference: (H, W, 3) uint8.
        region: (H, W) bool.
    Returns:
        A ratio, at least 0; infinity where only the reference is flat.
    Raises:
        InputError: the region is thinner than 3 pixels, or both pictures are flat there.
    """
    ours, theirs = (gradients(picture, region) for picture in (image, reference))
    _check_gradients(ours, theirs)
    if not (ours.any() or theirs.any()):
        raise InputError("The roughness is not defined: both pictures are flat in the region.")
    return float(ours.mean() / theirs.mean()) if theirs.any() else float("inf")


def pyramid(image: Image) -> list[NDArray[np.float64]]:
    """Compute the LEVELS finest Laplacian levels of an image, (H / 2^l, W / 2^l, 3) each."""
    from scipy.ndimage import gaussian_filter

    levels, current = [], image.astype(np.float64) / 255
    for _ in range(LEVELS):
        low = gaussian_filter(current, sigma=(1, 1, 0), mode="mirror")
        levels.append(current - low)
        current = low[::2, ::2]
    return levels


def _windows(values: NDArray[Any]) -> NDArray[Any]:
    """List every 7 x 7 window, (H - 6, W - 6, ..., 7, 7); none where the picture is smaller."""
    if min(values.shape[:2]) < PATCH:
        return np.zeros((0, 0, *values.shape[2:], PATCH, PATCH), dtype=values.dtype)
    return np.lib.stride_tricks.sliding_window_view(values, (PATCH, PATCH), axis=(0, 1))


def _check_gradients(painted: NDArray[np.float64], real: NDArray[np.float64]) -> None:
    for values, name in ((painted, "hole"), (real, "reference region")):
        if not values.size:
            raise InputError(f"Gradients are not defined: {name} thinner than 3 px. Use a larger region.")
