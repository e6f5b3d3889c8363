"""Distances between two sets of samples, in any dimension."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["energy_distance", "mean_distance", "sliced_wasserstein"]

Samples = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]


def energy_distance(first: Samples, second: Others, within_second: float | None = None) -> float:
    """Compute the unbiased energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|; its mean is 0 for equal distributions.

    Args:
        first, second: (N, D) and (M, D) samples, at least two each.
        within_second: E|Y - Y'|, if it is known already.
    Returns:
        The distance, in the unit of the samples. It can be negative for sets of one distribution.
    Source:
        Szekely & Rizzo 2013 (J. Stat. Plan. Inference 143, 1249-1272), eq. 6, with the diagonal left out.
    """
    if within_second is None:
        within_second = mean_distance(second)
    # By matrix product, which cdist prefers, equal points would lie 1e-8 apart.
    between = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    return 2 * float(between.mean()) - mean_distance(first) - within_second


def mean_distance(samples: Samples) -> float:
    """Compute E|X - X'| over distinct pairs of (N, D) samples, in their unit; N must be at least 2.

    >>> mean_distance(torch.tensor([[0.0], [1.0], [3.0]]))
    2.0
    """
    return float(torch.pdist(samples).mean())


def sliced_wasserstein(first: Samples, second: Samples, directions: int = 128, seed: int = 0) -> float:
    """Compute the 2-Wasserstein distance between projections, as root mean square over random directions.

    Args:
        first, second: (N, D) samples each, the same number in both.
        directions: number of directions.
        seed: of the directions.
    Returns:
        The distance, at least 0, in the unit of the samples.
    Source:
        Bonneel et al. 2015 (J. Math. Imaging Vis. 51, 22-45), Sec. 3.
    """
    rng = torch.Generator().manual_seed(seed)
    line = torch.randn(first.shape[1], directions, dtype=first.dtype, generator=rng)
    line = line / line.norm(dim=0)
    gap = (first @ line).sort(dim=0).values - (second @ line).sort(dim=0).values
    return float(gap.square().mean().sqrt())
