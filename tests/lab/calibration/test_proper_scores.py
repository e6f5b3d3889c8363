"""Proper scores: closed forms, unbiasedness, and that they find overconfident fills."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from repaint.errors import InputError
from repaint.lab.calibration.hole_kinds import HOLE_KINDS, draw_hole, smooth_projections
from repaint.lab.calibration.proper_scores import crps, energy_score, rank_test, score_hole


def scores(std: float, shift: float = 0.0, count: int = 2000, m: int = 4, d: int = 3) -> list[float]:
    """Energy scores of fills from N(shift, std^2) for truths from N(0, 1)."""
    rng = np.random.default_rng(0)
    return [energy_score(shift + std * rng.normal(size=(m, d)), rng.normal(size=d)) for _ in range(count)]


def test_the_energy_score_matches_its_closed_form() -> None:
    """If this fails, the score is biased in m or has another unit.

    In one dimension E|X - x| = 2 / sqrt(pi) for two N(0, 1), so the score of exact fills is 1 / sqrt(pi).
    """
    for m in (2, 8):
        found = scores(1.0, m=m, d=1)
        error = np.std(found) / np.sqrt(len(found))
        assert np.mean(found) == pytest.approx(1 / np.sqrt(np.pi), abs=4 * error)


@pytest.mark.parametrize(("std", "truth"), [(1.0, 0.0), (1.0, 1.5), (0.5, -1.0)])
def test_the_crps_of_a_gaussian(std: float, truth: float) -> None:
    """If this fails, CRPS is biased in the number of fills or has another unit.

    Gneiting & Raftery 2007, eq. 21 with N(0, std^2): std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = truth / std.
    """
    z, d = truth / std, 40_000
    exact = std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    for m in (2, 8):
        fills = std * np.random.default_rng(0).normal(size=(m, d))
        # One pixel scores with a standard deviation below std for m = 2, so the mean over d with std / sqrt(d).
        assert crps(fills, np.full(d, truth)) == pytest.approx(exact, abs=4 * std / np.sqrt(d))


def test_the_crps_is_the_energy_score_of_single_pixels() -> None:
    """If this fails, CRPS and energy score of one pixel disagree."""
    rng = np.random.default_rng(0)
    fills, truth = rng.normal(size=(4, 7)), rng.normal(size=7)
    single = [energy_score(fills[:, [i]], truth[[i]]) for i in range(7)]
    assert crps(fills, truth) == pytest.approx(np.mean(single))
    with pytest.raises(InputError, match=r"^samples=1 must be at least 2"):
        crps(fills[:1], truth)


@pytest.mark.parametrize(("std", "shift"), [(0.3, 0.0), (2.0, 0.0), (1.0, 1.0)])
def test_exact_fills_have_the_smallest_score(std: float, shift: float) -> None:
    """If this fails, the score prefers overconfident, scattered or shifted fills."""
    assert np.mean(scores(1.0)) < np.mean(scores(std, shift)) - 0.03


def test_one_fill_has_no_score() -> None:
    """If this fails, a single sample gets a number that means nothing."""
    with pytest.raises(InputError, match=r"^samples=1 must be at least 2 \(one fill has no spread to score\)\.$"):
        energy_score(np.zeros((1, 3)), np.zeros(3))


@pytest.mark.parametrize(("std", "ratio"), [(1.0, 1.0), (0.5, 0.542), (2.0, 1.581)])
def test_spread_over_error_finds_overconfident_fills(std: float, ratio: float) -> None:
    """If this fails, the spread of calibrated fills differs from their error, or that of others does not.

    With m = 4: spread (1 + 1/4) std^2, error 1 + std^2 / 4.
    """
    rng, smooth = np.random.default_rng(1), np.ones((1, 5)) / 5
    found = [score_hole(std * rng.normal(size=(4, 5)), rng.normal(size=5), smooth, rng) for _ in range(2000)]
    measured = np.sqrt(np.mean([each.spread for each in found]) / np.mean([each.error for each in found]))
    assert ratio == pytest.approx(np.sqrt(1.25 * std**2 / (1 + std**2 / 4)), abs=0.005)
    assert measured == pytest.approx(ratio, abs=0.02)  # 10,000 values: relative error below 1 %


def test_ranks_of_exact_fills_are_uniform_and_those_of_narrow_fills_are_not() -> None:
    """If this fails, the rank histogram does not show that the truth lies outside the fills too often."""
    rng, smooth = np.random.default_rng(2), np.eye(3)
    for std, uniform in ((1.0, True), (0.5, False)):
        found = [score_hole(std * rng.normal(size=(4, 3)), rng.normal(size=3), smooth, rng) for _ in range(1000)]
        test = rank_test(np.array([each.smooth_ranks for each in found]))
        assert sum(test.shares) == pytest.approx(1)
        assert test.p is not None
        assert (test.p > 1e-3) is uniform
        assert (abs(test.coverage[0.6] - 0.6) < 0.03) is uniform


def correlated_ranks(rng: np.random.Generator, holes: int, m: int, correlation: float, std: float = 1.0) -> np.ndarray:
    """Rank counts of 12 correlated projections of each hole, whose fills have `std` times the truth's deviation."""
    common, own = rng.normal(size=(holes, m + 1, 1)), rng.normal(size=(holes, m + 1, 12))
    values = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    ranks = (std * values[:, 1:] < values[:, :1]).sum(1)
    return np.stack([(ranks == rank).sum(1) for rank in range(m + 1)], axis=1)


@pytest.mark.parametrize("holes", [30, 100, 400])
@pytest.mark.parametrize("m", [4, 8])
@pytest.mark.parametrize("correlation", [0.6, 0.95])
def test_exact_fills_are_rejected_as_often_as_the_level_says(holes: int, m: int, correlation: float) -> None:
    """If this fails, correlated projections of one hole count as independent, and exact fills look miscalibrated.

    Of 300 exact sets, p < 0.05 in 15, with a standard deviation of 3.8: 4 standard deviations are 0.05. With few holes
    the test rejects up to 2 % less often.
    """
    rng = np.random.default_rng([holes, m, round(100 * correlation)])
    found = [rank_test(correlated_ranks(rng, holes, m, correlation)).p for _ in range(300)]
    assert 0.01 <= np.mean([p is not None and p < 0.05 for p in found]) <= 0.09


def test_narrow_fills_are_found_in_correlated_ranks() -> None:
    """If this fails, the test holds its level only because it never rejects."""
    rng = np.random.default_rng(0)
    found = [rank_test(correlated_ranks(rng, 100, 4, 0.8, std=0.5)).p for _ in range(100)]
    assert np.mean([p is not None and p < 0.05 for p in found]) > 0.9


def test_ranks_of_one_hole_have_no_p_value() -> None:
    """If this fails, ranks of one hole, which are not independent, get a p-value."""
    assert rank_test(np.array([[4, 0, 0]])).p is None
    assert rank_test(np.array([[4, 0, 0], [0, 1, 3]])).p is not None
    assert rank_test(np.array([[1, 1, 1], [2, 2, 2]])).p is None


def test_equal_values_get_a_random_rank() -> None:
    """If this fails, 8-bit fills that equal the truth all count as rank 0, and look overconfident."""
    rng = np.random.default_rng(3)
    score = score_hole(np.zeros((4, 1000)), np.zeros(1000), np.ones((1, 1000)), rng)
    assert min(score.pixel_ranks) > 150
    assert sum(score.pixel_ranks) == 1000


def test_equal_fills_get_random_ranks_of_projections() -> None:
    """If this fails, rounding decides ties of projections: holes of clipped white look overconfident."""
    rng, total = np.random.default_rng(3), np.zeros(5)
    for seed in range(40):
        smooth = smooth_projections(draw_hole("freeform", 32, 32, seed), 3)
        white = np.full(smooth.shape[1], 127.5)
        total += score_hole(np.stack([white] * 4), white, smooth, rng).smooth_ranks
    assert total / total.sum() == pytest.approx([0.2] * 5, abs=0.08)  # four standard errors of 480 ranks


@pytest.mark.parametrize("kind", HOLE_KINDS)
@pytest.mark.parametrize("size", [(1, 2), (8, 8), (60, 64)])
def test_holes_are_neither_empty_nor_everything(kind: str, size: tuple[int, int]) -> None:
    """If this fails, a hole leaves nothing to condition on, or nothing to score."""
    for seed in range(20):
        hole = draw_hole(kind, *size, seed)
        assert hole.shape == size
        assert hole.view(np.uint8).max() == 1, "torch and SciPy read other bytes as other numbers"
        assert 0 < hole.sum() < hole.size
        assert (hole == draw_hole(kind, *size, seed)).all()


@pytest.mark.parametrize(("kind", "share"), [("lines", 0.1), ("box", 0.16), ("half", 0.5), ("sparse", 0.9)])
def test_holes_have_their_size(kind: str, share: float) -> None:
    """If this fails, published scores are those of smaller, larger or inverted holes."""
    shares = [draw_hole(kind, 60, 60, seed).mean() for seed in range(20)]
    assert np.mean(shares) == pytest.approx(share, rel=0.2 if kind == "lines" else 0.02)
    assert len({draw_hole(kind, 60, 60, seed).tobytes() for seed in range(20)}) > 3


def test_smooth_projections_are_four_waves() -> None:
    """If this fails, two projections measure the same direction, and an error along the other axis stays unseen."""
    smooth = smooth_projections(np.ones((6, 9), dtype=bool), 1)
    np.testing.assert_allclose(54 * smooth @ smooth.T, np.diag([1, 1 / 2, 1 / 2, 1 / 4]), atol=1e-12)  # cosines
    rows, columns = np.mgrid[:6, :9]
    for values, sees in ((rows, [True, False, False]), (columns, [False, True, False])):
        assert (np.abs(smooth @ values.ravel())[1:] > 0.1).tolist() == sees


def test_smooth_projections_average_each_channel() -> None:
    """If this fails, projections mix channels, or weigh large holes more than small ones."""
    hole = draw_hole("box", 16, 16, 0)
    smooth = smooth_projections(hole, 3)
    values = np.repeat([1.0, 10.0, 100.0], hole.sum())
    assert smooth.shape == (12, 3 * hole.sum())
    np.testing.assert_allclose((smooth @ values)[::4], [1, 10, 100])
