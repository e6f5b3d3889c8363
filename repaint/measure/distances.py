"""How far one set of samples is from another, in any dimension."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["energy_distance", "mean_distance", "sliced_wasserstein"]

Samples = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]


def energy_distance(first: Samples, second: Others, within_second: float | None = None) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, without bias: 0 in the mean for two sets of one distribution.

    Args:
        first, second: (N, D) and (M, D) samples, two or more each; in any unit, which is the result's.
        within_second: E|Y - Y'| where it is known already.
    Source:
        Szekely & Rizzo 2013 (J. Stat. Plan. Inference 143, 1249-1272), eq. 6, with the diagonal left out.
    """
    if within_second is None:
        within_second = mean_distance(second)
    # By matrix product, which cdist prefers, equal points would lie 1e-8 apart.
    between = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    return 2 * float(between.mean()) - mean_distance(first) - within_second


def mean_distance(samples: Samples) -> float:
    """E|X - X'| over distinct pairs of (N, D) samples."""
    return float(torch.pdist(samples).mean())


def sliced_wasserstein(first: Samples, second: Samples, directions: int = 128, seed: int = 0) -> float:
    """Root mean square over random directions of the 2-Wasserstein distance between projections.

    Args:
        first, second: (N, D) samples each, as many in both.
        directions: how many; drawn from `seed`.
    Source:
        Bonneel et al. 2015 (J. Math. Imaging Vis. 51, 22-45), Sec. 3.
    """
    rng = torch.Generator().manual_seed(seed)
    line = torch.randn(first.shape[1], directions, dtype=first.dtype, generator=rng)
    line = line / line.norm(dim=0)
    gap = (first @ line).sort(dim=0).values - (second @ line).sort(dim=0).values
    return float(gap.square().mean().sqrt())
