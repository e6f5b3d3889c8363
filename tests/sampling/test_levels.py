"""The Gaussian algebra between noise levels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import NoiseLevelError
from repaint.sampling.levels import CLEAN, Level, posterior, renoise_scales
from repaint.sampling.noise import NoiseSchedule, train_alphas_cumprod

LINEAR = {"beta_schedule": "linear"}


def level_of(family: str, log_snr: float) -> Level:
    """Build the level of a family at lambda = log(alpha / sigma)."""
    snr = math.exp(log_snr)
    if family == "VP":
        return Level(snr / math.hypot(1, snr), 1 / math.hypot(1, snr), 0)
    if family == "VE":
        return Level(1.0, 1 / snr, 0)
    return Level(snr / (1 + snr), 1 / (1 + snr), 0)


families = st.sampled_from(["VP", "VE", "flow"])
log_snrs = st.floats(-8, 8)


# --- Between levels


@settings(deadline=None, max_examples=200)
@given(families, st.tuples(log_snrs, log_snrs, log_snrs))
def test_two_renoisings_are_one(family: str, log_snr: tuple[float, ...]) -> None:
    """If this fails, a jump of j levels in one draw is not the paper's j jumps of one level."""
    a, b, c = (level_of(family, value) for value in sorted(log_snr, reverse=True))
    gain_ab, std_ab = renoise_scales(a, b)
    gain_bc, std_bc = renoise_scales(b, c)
    gain, std = renoise_scales(a, c)
    assert gain == pytest.approx(gain_ab * gain_bc, rel=1e-12)
    # Each variance is a difference of squares up to sigma_c^2, good to a few times 1e-16 of that.
    assert std**2 == pytest.approx((gain_bc * std_ab) ** 2 + std_bc**2, abs=1e-14 * c.sigma**2)


@settings(deadline=None, max_examples=200)
@given(families, st.tuples(log_snrs, log_snrs))
def test_renoising_keeps_the_marginal(family: str, log_snr: tuple[float, ...]) -> None:
    """If this fails, x after a jump is not alpha x0 + sigma eps at that level (as in diffusers' undo_step)."""
    src, dst = (level_of(family, value) for value in sorted(log_snr, reverse=True))
    gain, std = renoise_scales(src, dst)
    assert gain * src.alpha == pytest.approx(dst.alpha, rel=1e-12)
    assert (gain * src.sigma) ** 2 + std**2 == pytest.approx(dst.sigma**2, rel=1e-12)


def test_posterior_is_that_of_ho_et_al() -> None:
    """If this fails, DDPM sampling of VP models is not DDPM (arXiv 2006.11239, eq. 6-7)."""
    abar = train_alphas_cumprod(LINEAR)
    levels = NoiseSchedule.from_scheduler(LINEAR, 1000).levels
    for t in range(1, 1000):
        alpha, beta, before = abar[t] / abar[t - 1], 1 - abar[t] / abar[t - 1], abar[t - 1]
        q = posterior(levels[t + 1], levels[t])
        # 1 - abar is 1e-4 at t = 0: the subtraction costs four of sixteen digits on both sides.
        assert q.x0_gain == pytest.approx(math.sqrt(before) * beta / (1 - abar[t]), rel=1e-9)
        assert q.x_gain == pytest.approx(math.sqrt(alpha) * (1 - before) / (1 - abar[t]), rel=1e-9)
        assert q.small_std**2 == pytest.approx((1 - before) / (1 - abar[t]) * beta, rel=1e-9)
        assert q.large_std**2 == pytest.approx(beta, rel=1e-9)


@settings(deadline=None, max_examples=200)
@given(families, st.floats(-4, 4), st.floats(0.01, 4), st.floats(-3, 3), st.floats(-3, 3))
def test_posterior_is_gaussian_conditioning(family: str, log_snr: float, step: float, x0: float, x: float) -> None:
    """If this fails, a reverse step of VE or flow models draws from the wrong distribution."""
    src, dst = level_of(family, log_snr - step), level_of(family, log_snr)
    # The joint law of (x_dst, x_src) given x0; then x_dst given x_src by the textbook formula.
    gain = src.alpha / dst.alpha
    covariance = gain * dst.sigma**2
    mean = dst.alpha * x0 + covariance / src.sigma**2 * (x - src.alpha * x0)
    variance = dst.sigma**2 - covariance**2 / src.sigma**2
    q = posterior(src, dst)
    # A step of 0.01 in log-SNR leaves 2 % of the variance: two digits are lost, and scale is at most sigma = e^8.
    scale = max(1.0, src.sigma)
    assert q.x0_gain * x0 + q.x_gain * x == pytest.approx(mean, rel=1e-10, abs=1e-11 * scale)
    assert q.small_std**2 == pytest.approx(variance, rel=1e-10)


def test_posterior_at_the_ends() -> None:
    """If this fails, the last step does not give x0, or the first step uses x, which is pure noise."""
    noise, dst = Level(0.0, 1.0, 999), Level(0.6, 0.8, 500)
    last = posterior(dst, CLEAN)
    assert (last.x0_gain, last.x_gain, last.small_std, last.large_std) == (1.0, 0.0, 0.0, 0.8)
    first = posterior(noise, dst)
    assert (first.x0_gain, first.x_gain, first.small_std) == (0.6, 0.0, 0.8)


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        (Level(0.6, 0.8, 0), Level(0.8, 0.6, 0), r"^Cannot renoise from .*: the target must be at least as noisy\.$"),
        (
            Level(1, 80, 0),
            Level(1, 79, 0),
            "the target must be at least as noisy",
        ),  # VE: the gain is 1, only the variance differs
        (Level(1, 80, 0), Level(1, 80 * (1 - 1e-11), 0), "the target must be at least as noisy"),
        (Level(0.5, 0.1, 0), Level(0.6, 0.5, 0), "the target must be at least as noisy"),  # only the gain is wrong
        (Level(0.5, 0.1, 0), Level(0.5 * (1 + 1e-11), 0.5, 0), "the target must be at least as noisy"),
        (Level(0, 1, 0), Level(0.6, 0.8, 0), "^Cannot renoise from alpha=0 to .*: pure noise contains no signal"),
        (Level(0, 1, 0), Level(0.6, 1, 0), "^Cannot renoise from alpha=0 to .*: pure noise contains no signal"),
        (Level(0, 1, 0), Level(0, 2, 0), "^Cannot renoise from alpha=0 to .*: pure noise contains no signal"),
    ],
)
def test_renoising_downwards_is_refused(src: Level, dst: Level, message: str) -> None:
    """If this fails, renoising to a cleaner level gives NaN or noise of the wrong strength without an error."""
    with pytest.raises(NoiseLevelError, match=message):
        renoise_scales(src, dst)
    with pytest.raises(NoiseLevelError, match=message):
        posterior(dst, src)


def test_renoising_to_the_same_level_adds_nothing() -> None:
    """If this fails, levels that differ only by rounding are refused, or noise is added between equal levels."""
    for level in (CLEAN, Level(0.6, 0.8, 0), Level(1, 80, 0), Level(0, 1, 0)):
        assert renoise_scales(level, level) == (1.0, 0.0)
    assert renoise_scales(Level(1, 80, 0), Level(1, 80 * (1 - 1e-13), 0)) == (1.0, 0.0)
    assert renoise_scales(Level(0.5, 0.1, 0), Level(0.5 * (1 + 1e-13), 0.5, 0))[0] == pytest.approx(1)
