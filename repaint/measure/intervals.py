"""Paired differences between two methods on the same pictures, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Difference", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences and its bootstrap interval, in the unit of the values compared.

    Attributes:
        mean: of first - second.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float


def paired_difference(
    first: Float[np.ndarray, "pictures *repetitions"],
    second: Float[np.ndarray, "pictures *repetitions"],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compute the mean of first - second over pictures, with a percentile bootstrap interval.

    Pictures are resampled. Repetitions of a picture (seeds, masks) are not independent, so they are averaged first.

    Args:
        first, second: (pictures, ...) values of two methods on the same pictures.
        confidence: of the interval, in (0, 1).
        resamples: number of bootstrap samples.
        seed: of the bootstrap.
    Returns:
        The mean and the ends of its interval, in the unit of the values.
    Source:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Sec. 13.3.

    >>> paired_difference(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    Difference(mean=1.0, low=1.0, high=1.0)
    """
    each = (first - second).reshape(len(first), -1).mean(axis=1)
    rng = np.random.default_rng(seed)
    means = each[rng.integers(len(each), size=(resamples, len(each)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(each.mean()), float(low), float(high))
