"""Where a filled hole meets the kept pixels: an offset between the two is taken out of the hole's side."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.pictures.masks import feather

__all__ = ["meet_rim"]


def meet_rim(
    result: Float[Tensor, "c h w"], image: Float[Tensor, "c h w"], known: Bool[Tensor, "1 h w"], width: float
) -> Float[Tensor, "c h w"]:
    """The result with an offset added inside the hole, so that at the rim it continues the kept pixels.

    On kept pixels the model's error, image - result, is known. The offset carries it into the hole: it solves
    Laplace's equation there, is that error on the rim's kept side, and 0 from `width` + 1 pixels inwards. At the
    border of the image nothing is imposed. An error that is the same all along a straight rim falls linearly, one that
    alternates from pixel to pixel fades within a pixel or two.

    Args:
        result: in [-1, 1], defined everywhere; overshoot is clipped first, as in the final picture.
        image: in [-1, 1]; only kept pixels at the rim are read.
        known: True where the image is kept.
        width: pixels of the hole that may change, from the rim inwards (Euclidean), >= 0; 0 changes nothing, infinity
            corrects the whole hole.
    Returns:
        (C, H, W), equal to the clipped result outside the hole and beyond `width`.
    Raises:
        InputError: a negative width.
    Source:
        Pérez et al. 2003, "Poisson Image Editing", eq. 4: the correction of a cloned region, here cut off at `width`.
    """
    result = result.clamp(-1, 1)
    band = (~known & (feather(known.double(), width) > 0))[0].cpu().numpy()
    if width == 0 or not band.any():
        return result
    error = torch.where(known, image - result, torch.zeros_like(result)).double().cpu().numpy()
    offset = torch.zeros(result.shape, dtype=torch.float64)
    offset[:, torch.from_numpy(band)] = torch.from_numpy(_membrane(error, band).T)
    return result + offset.to(result)


def _membrane(error: NDArray[np.float64], band: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, C): in each of the N pixels of the band the mean of its neighbours, which are `error` outside the band."""
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
    """(2, N): every pixel's number beside that of the one in the next row."""
    return np.stack([pixel[:-1].ravel(), pixel[1:].ravel()])
