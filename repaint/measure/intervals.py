"""Is one way of filling better than another on the same holes? Paired differences with bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Difference", "paired_difference"]


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences and its bootstrap interval, in the unit of what was compared.

    Attributes:
        mean: of the first less the second.
        low, high: the interval's ends.
    """

    mean: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: Float[np.ndarray, "pictures *repetitions"],
    second: Float[np.ndarray, "pictures *repetitions"],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """The mean of first - second over pictures, with a percentile bootstrap interval.

    Pictures are resampled, not repetitions (seeds, masks) of one picture: those are not independent, and are averaged
    before.

    Args:
        first, second: (pictures, ...) a measure of the same pictures in two ways.
        confidence: of the interval, in (0, 1).
        resamples: of the bootstrap.
        seed: of the bootstrap.
    Source:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", Sec. 13.3.
    """
    each = (first - second).reshape(len(first), -1).mean(axis=1)
    rng = np.random.default_rng(seed)
    means = each[rng.integers(len(each), size=(resamples, len(each)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(each.mean()), float(low), float(high))
