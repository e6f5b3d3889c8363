"""Paired differences: coverage of the interval, and averaging of repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from repaint.measure.intervals import paired_difference


def test_an_equal_lead_everywhere_is_that_lead_exactly():
    """The mean or the interval is not that of first - second."""
    rng = np.random.default_rng(0)
    second = rng.normal(size=(20, 3))
    difference = paired_difference(second + 0.5, second)
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.5, 0.5, 0.5))
    same = paired_difference(second, second)
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """An interval that is too narrow calls noise a finding.

    Of 400 normal samples of 60 pictures, 95 % intervals miss the true mean 20 times; a percentile bootstrap of 60 is a
    little narrow (about 6 %), and the count's standard deviation is 4.5: between 10 and 38.
    """
    rng = np.random.default_rng(1)
    misses = 0
    for seed in range(400):
        difference = paired_difference(rng.normal(0.3, 1, size=60), np.zeros(60), resamples=1000, seed=seed)
        misses += not difference.low <= 0.3 <= difference.high
    assert 10 <= misses <= 38


def test_repetitions_of_a_picture_do_not_narrow_the_interval():
    """Seeds of one picture counted as independent pictures would make any difference significant."""
    rng = np.random.default_rng(2)
    once = rng.normal(size=(30, 1))
    one = paired_difference(once, np.zeros_like(once))
    many = paired_difference(np.repeat(once, 50, axis=1), np.zeros((30, 50)))
    assert (many.low, many.high) == pytest.approx((one.low, one.high))
