"""Blending at the rim of a hole: the filled pixels are shifted so that they continue the kept pixels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.pictures.masks import feather

__all__ = ["meet_rim"]


def meet_rim(
    result: Float[Tensor, "c h w"], image: Float[Tensor, "c h w"], known: Bool[Tensor, "1 h w"], width: float
) -> Float[Tensor, "c h w"]:
    """Add an offset inside the hole so that the result continues the kept pixels at the rim.

    This is the argument `blend_rim` of the pipeline. On kept pixels the error of the model, image - result, is known.
    The offset extends it into the hole: it solves Laplace's equation there, equals the error on the kept side of the
    rim, and is 0 from `width` + 1 pixels inwards. The border of the image is free. An error that is constant along a
    straight rim decays linearly; one that alternates from pixel to pixel decays within one or two pixels.

    Args:
        result: (C, H, W) in [-1, 1]; values outside are clipped first, as in the final picture.
        image: (C, H, W) in [-1, 1]; only kept pixels at the rim are read.
        known: (1, H, W), True where the image is kept.
        width: how far into the hole the pixels may change (Euclidean, in pixels), at least 0; 0 changes nothing,
            infinity corrects the whole hole.
    Returns:
        (C, H, W), equal to the clipped result outside the hole and beyond `width`.
    Raises:
        InputError: the width is negative.
    Source:
        Pérez et al. 2003, "Poisson Image Editing", eq. 4: the correction of a cloned region, here limited to `width`.
    """
    if not (is_number(width) and width >= 0):
        raise InputError(f"width={shown(width)} must be at least 0 (0 changes nothing).")

    result = result.clamp(-1, 1)
    band = (~known & (feather(known.float(), width) > 0))[0].cpu().numpy()
    if width == 0 or not band.any():
        return result
    error = torch.where(known, image - result, torch.zeros_like(result)).cpu().double().numpy()
    offset = torch.zeros(result.shape, dtype=torch.float64, device="cpu")
    offset[:, torch.from_numpy(band)] = torch.from_numpy(_membrane(error, band).T)
    return result + offset.to(result)


def _membrane(error: NDArray[np.float64], band: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Solve Laplace's equation, (N, C): each of the N pixels of the band is the mean of its neighbours.

    Neighbours outside the band have the values of `error`.
    """
    from scipy.sparse import csc_array, diags_array
    from scipy.sparse.linalg import spsolve

    pixel = np.arange(band.size).reshape(band.shape)
    pairs = np.concatenate([_neighbours(pixel), _neighbours(pixel.T)], axis=1)
    pairs = np.concatenate([pairs, pairs[::-1]], axis=1)
    pairs = pairs[:, band.flat[pairs[0]]]
    count = np.count_nonzero(band)
    number = np.zeros(band.size, dtype=np.int64)
    number[band.ravel()] = np.arange(count)
    row, neighbour = number[pairs[0]], pairs[1]
    free = band.flat[neighbour]
    links = csc_array((np.ones(free.sum()), (row[free], number[neighbour[free]])), shape=(count, count))
    rim = csc_array((np.ones((~free).sum()), (row[~free], neighbour[~free])), shape=(count, band.size))
    system = diags_array(np.bincount(row).astype(np.float64)) - links
    solution: NDArray[np.float64] = spsolve(system.tocsc(), rim @ error.reshape(len(error), -1).T)
    return solution.reshape(count, -1)


def _neighbours(pixel: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the numbers of each pixel and of its neighbour in the next row, (2, N)."""
    return np.stack([pixel[:-1].ravel(), pixel[1:].ravel()])
