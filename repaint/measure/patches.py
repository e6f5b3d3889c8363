"""Two distances between sets of patches, of what was painted to what is real, and how rough a region is.

- sliced Wasserstein: 7 x 7 patches of each Laplacian-pyramid level, mean over random projections of the 1-D Wasserstein
  distance (Karras et al. 2018, arXiv 1710.10196, Sec. 5), in units of the real patches' standard deviation;
- gradient histogram: total variation between histograms of gradient magnitude, in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["gradient_distance", "gradients", "patch_distance", "patches", "roughness"]

Image = NDArray[np.uint8]
Region = NDArray[np.bool_]
PATCH, LEVELS, PROJECTIONS, BINS = 7, 2, 256, 32


def pyramid(image: Image) -> list[NDArray[np.float64]]:
    """The LEVELS finest Laplacian levels, (H / 2^l, W / 2^l, 3) each."""
    from scipy.ndimage import gaussian_filter

    levels, current = [], image.astype(np.float64) / 255
    for _ in range(LEVELS):
        low = gaussian_filter(current, sigma=(1, 1, 0), mode="mirror")
        levels.append(current - low)
        current = low[::2, ::2]
    return levels


def patches(image: Image, region: Region) -> list[NDArray[np.float64]]:
    """All patches that lie wholly inside a region, (N_l, 7 * 7 * 3) for each pyramid level."""
    found = []
    for level, band in enumerate(pyramid(image)):
        inside = _windows(region[:: 2**level, :: 2**level]).all(axis=(2, 3))
        found.append(_windows(band)[inside].reshape(-1, 3 * PATCH * PATCH))
    return found


def patch_distance(a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]], seed: int = 0) -> float:
    """Sliced Wasserstein distance between two sets of patches, mean over pyramid levels; b is the real one.

    NaN where a level has no patch on one side, the region being too small, or where all the real ones are flat.
    """
    rng = np.random.default_rng(seed)
    distances = []
    for ours, real in zip(a, b, strict=True):
        directions = rng.standard_normal((real.shape[1], PROJECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        if not (len(ours) and len(real)):
            return float("nan")
        scale, quantiles = real.std(), np.linspace(0, 1, 512)
        if not scale:
            return float("nan")
        left = np.quantile(ours @ directions / scale, quantiles, axis=0)
        right = np.quantile(real @ directions / scale, quantiles, axis=0)
        distances.append(np.abs(left - right).mean())
    return float(np.mean(distances))


def gradients(image: Image, region: Region) -> NDArray[np.float64]:
    """Gradient magnitudes of the luma inside a region, one pixel away from its rim; 0 to about 1."""
    from scipy.ndimage import binary_erosion

    luma = image.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    down, across = np.gradient(luma)
    inside: NDArray[np.float64] = np.hypot(down, across)[binary_erosion(region)]
    return inside


def gradient_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Total variation between two histograms of gradient magnitude; the bins are quantiles of b, the real one."""
    if not (a.size and b.size):
        return float("nan")
    edges = np.unique(np.quantile(b, np.linspace(0, 1, BINS + 1)))
    edges[0], edges[-1] = -np.inf, np.inf
    ours, real = (np.histogram(values, edges)[0] / values.size for values in (a, b))
    return float(np.abs(ours - real).sum() / 2)


def roughness(image: Image, reference: Image, region: Region) -> float:
    """Mean gradient magnitude inside a region over that of another picture there; below 1 is smoother.

    NaN where the region has no pixel away from its rim, or where both pictures are flat.
    """
    ours, real = (gradients(picture, region) for picture in (image, reference))
    if not ours.size or not (ours.any() or real.any()):
        return float("nan")
    return float(ours.mean() / real.mean()) if real.any() else float("inf")


def _windows(values: NDArray[Any]) -> NDArray[Any]:
    """(H - 6, W - 6, ..., 7, 7): every window of the patch's size; none where the picture is smaller."""
    if min(values.shape[:2]) < PATCH:
        return np.zeros((0, 0, *values.shape[2:], PATCH, PATCH), dtype=values.dtype)
    return np.lib.stride_tricks.sliding_window_view(values, (PATCH, PATCH), axis=(0, 1))
