"""Paired differences: coverage of the interval, and averaging of repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from repaint.measure.intervals import Difference, bootstrap_interval, mean_interval, paired_difference, units


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


@pytest.mark.parametrize("count", [2, 6, 10])
def test_the_interval_of_few_pictures_is_wide_enough(count: int) -> None:
    """If this fails, intervals of a handful of pictures call noise a finding.

    A plain percentile bootstrap covers 0.49, 0.85 and 0.91 of means of 2, 6 and 10 normal values. Of 1000 samples, 95 %
    are 950, with a standard deviation of 7.
    """
    rng = np.random.default_rng([3, count])
    found = [mean_interval(rng.normal(0.3, 1, size=count), resamples=500, seed=seed) for seed in range(1000)]
    covered = np.mean([each.low <= 0.3 <= each.high for each in found])
    assert (0.93 if count > 2 else 0.92) <= covered <= 0.98


def test_the_interval_of_a_mean_is_that_of_a_difference_to_zero() -> None:
    """If this fails, means and differences have intervals of two kinds."""
    values = np.random.default_rng(4).normal(size=(9, 2))
    assert mean_interval(values) == paired_difference(values, np.zeros_like(values))
    assert mean_interval(np.array([2.0])) == Difference(2.0, 2.0, 2.0)
    assert mean_interval(values, seed=1).low != mean_interval(values).low, "another seed resamples anew"


def test_the_interval_of_another_statistic() -> None:
    """If this fails, a ratio of means is resampled column by column, so that pairs are torn apart."""
    values = np.random.default_rng(5).uniform(1, 2, size=(20, 1)) * [3.0, 1.0]
    found = bootstrap_interval(values, lambda means: means[:, 0] / means[:, 1])
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3, 3))


def test_holes_of_one_photograph_are_not_independent() -> None:
    """If this fails, many crops of a few photographs make any difference significant.

    200 sets of 8 photographs with 1 to 12 holes each, whose values share the level of their photograph: 95 % intervals
    cover the true mean 190 times, with a standard deviation of 3; unequal sizes cost a few more.
    """
    covered = {True: 0, False: 0}
    for seed in range(200):
        rng = np.random.default_rng([6, seed])
        sizes = rng.integers(1, 13, size=8)
        values = np.repeat(rng.normal(size=8), sizes) + 0.3 * rng.normal(size=sizes.sum())
        names = np.repeat(list("abcdefgh"), sizes).tolist()
        for clustered in covered:
            found = mean_interval(values, clusters=names if clustered else None, resamples=500)
            assert found.mean == pytest.approx(values.mean())
            covered[clustered] += found.low <= 0 <= found.high
    assert covered[True] >= 176
    assert covered[False] < 140


def test_clusters_of_one_hole_each_change_nothing() -> None:
    """If this fails, intervals of rows without the name of their picture differ from those of single holes."""
    values = np.random.default_rng(7).normal(size=9)
    assert mean_interval(values, clusters=list("abcdefghi")) == mean_interval(values)
    assert mean_interval(values, clusters=["a"] * 9) == mean_interval(values), "one picture: over its holes"
    first, second = values, np.zeros(9)
    assert paired_difference(first, second, clusters=list("aabbccdde")) == mean_interval(
        values, clusters=list("aabbccdde")
    )
    assert [units(["a", "b", "a"]), units(["a", "a"])] == [2, 2]
