"""Noise levels against diffusers and closed forms, and the Gaussian algebra between levels."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any, get_args

import diffusers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import NoiseLevelError
from repaint.sampling.levels import CLEAN, Level, posterior, renoise_scales
from repaint.sampling.noise import NoiseSchedule, Spacing, _timesteps, train_alphas_cumprod

SPACINGS = get_args(Spacing)
LINEAR: dict[str, Any] = {"beta_schedule": "linear"}
VP_CONFIGS: dict[str, dict[str, Any]] = {
    "linear": LINEAR,
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "sigmoid": {"beta_schedule": "sigmoid"},
    "trained_betas": {"trained_betas": [0.001 * (i + 1) for i in range(100)], "num_train_timesteps": 100},
    "short": {"beta_schedule": "linear", "num_train_timesteps": 50},
    "zero terminal SNR": {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
}
FLOW: dict[str, Any] = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
EDM: dict[str, Any] = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}
CONSISTENCY: dict[str, Any] = {**EDM, "num_train_timesteps": 40, "clip_denoised": True}


def level_of(family: str, log_snr: float) -> Level:
    """The level of a family at lambda = log(alpha / sigma)."""
    snr = math.exp(log_snr)
    if family == "VP":
        return Level(snr / math.hypot(1, snr), 1 / math.hypot(1, snr), 0)
    if family == "VE":
        return Level(1.0, 1 / snr, 0)
    return Level(snr / (1 + snr), 1 / (1 + snr), 0)


families = st.sampled_from(["VP", "VE", "flow"])
log_snrs = st.floats(-8, 8)


# --- Levels read from schedulers


@pytest.mark.parametrize("name", VP_CONFIGS)
def test_alphas_cumprod_are_those_of_diffusers(name: str, float64: Any) -> None:
    """If this fails, every VP model is denoised at noise that it was not trained with."""
    with float64():
        theirs = diffusers.DDPMScheduler(**VP_CONFIGS[name]).alphas_cumprod.numpy()
    # Products of 1000 doubles: rounding grows to about 1000 * 1.1e-16.
    np.testing.assert_allclose(train_alphas_cumprod(VP_CONFIGS[name]), theirs, rtol=0, atol=1e-12)


def test_trained_betas_are_multiplied_in_float64() -> None:
    """If this fails, betas that come as float32 lose nine of sixteen digits in a thousand products."""
    betas = np.full(1000, 2.0**-10, np.float32)
    assert train_alphas_cumprod({"trained_betas": betas})[-1] == pytest.approx((1 - 2.0**-10) ** 1000, rel=1e-12)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("scheduler_class", [diffusers.DDPMScheduler, diffusers.DDIMScheduler])
def test_timesteps_are_those_of_diffusers(scheduler_class: Any, spacing: str, offset: int) -> None:
    """If this fails, results no longer compare with those of diffusers at the same step count.

    Counts that divide 1000: elsewhere diffusers rounds its stride down ("leading") or adds strides up in floating
    point ("trailing": 61 steps give it 62 timesteps). One step by "linspace" is t = 0 there: no noise to start from.
    """
    scheduler = scheduler_class(timestep_spacing=spacing, steps_offset=offset)
    for steps in (2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500):
        scheduler.set_timesteps(steps)
        grid = NoiseSchedule.from_scheduler(scheduler, steps)
        assert [level.t for level in grid.levels[:0:-1]] == scheduler.timesteps.tolist()


def test_vp_levels_carry_alpha_and_sigma_of_their_timestep() -> None:
    """If this fails, levels and model clock disagree: the wrong-index bug that levels are there to prevent."""
    abar = train_alphas_cumprod(LINEAR)
    grid = NoiseSchedule.from_scheduler(LINEAR, 50)
    assert (grid.family, grid.steps) == ("VP", 50)
    for level in grid.levels[1:]:
        assert level.alpha**2 == pytest.approx(abar[int(level.t)], abs=1e-15)
        assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-15)


def test_zero_terminal_snr_ends_in_pure_noise() -> None:
    """If this fails, models trained to start from pure noise start from something else (arXiv 2305.08891)."""
    for spacing in ("trailing", "linspace", "quadratic", "logsnr"):
        last = NoiseSchedule.from_scheduler(VP_CONFIGS["zero terminal SNR"], 20, spacing)[20]
        assert (last.alpha, last.sigma) == (0.0, 1.0)
        assert last.log_snr == -math.inf


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_sigmas_are_those_of_diffusers(shift: float, float64: Any) -> None:
    """If this fails, SD 3 and Flux are denoised at noise that they were not asked about."""
    with float64():
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
        for steps in (2, 7, 28, 50, 1000):
            scheduler.set_timesteps(steps)
            grid = NoiseSchedule.from_scheduler(scheduler, steps)
            assert grid.family == "flow"
            # A handful of double operations on numbers up to 1000.
            np.testing.assert_allclose([v.sigma for v in grid.levels[::-1]], scheduler.sigmas.numpy(), atol=1e-13)
            np.testing.assert_allclose([v.t for v in grid.levels[:0:-1]], scheduler.timesteps.numpy(), atol=1e-10)
            assert all(level.alpha == 1 - level.sigma for level in grid.levels)


def test_flow_sigmas_with_dynamic_shifting_are_those_of_diffusers(float64: Any) -> None:
    """If this fails, Flux, which shifts with the image size, runs on the grid of another size."""
    with float64():
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        scheduler.set_timesteps(28, mu=0.9)
    grid = NoiseSchedule.from_scheduler(scheduler, 28, shift=math.exp(0.9))
    np.testing.assert_allclose([level.sigma for level in grid.levels[::-1]], scheduler.sigmas.numpy(), atol=1e-13)
    with pytest.raises(NoiseLevelError, match=r"pass shift=exp\(mu\)"):
        NoiseSchedule.from_scheduler(scheduler, 28)


@settings(deadline=None, max_examples=200)
@given(st.floats(0.1, 20), st.integers(1, 1000), st.sampled_from([s for s in SPACINGS if s != "leading"]))
def test_flow_starts_from_exactly_pure_noise(shift: float, steps: int, spacing: Spacing) -> None:
    """If this fails by one bit, alpha is 1e-16 instead of 0, and what divides by alpha explodes instead of refusing."""
    assert NoiseSchedule.from_scheduler(FLOW, steps, spacing, shift=shift)[steps].alpha == 0


def test_ve_sigmas_are_those_of_diffusers(float64: Any) -> None:
    """If this fails, score-SDE models (NCSN++) are denoised at the wrong noise."""
    with float64():
        scheduler = diffusers.ScoreSdeVeScheduler()
        scheduler.set_sigmas(30)
    grid = NoiseSchedule.from_scheduler(scheduler, 30)
    assert grid.family == "VE"
    np.testing.assert_allclose([level.sigma for level in grid.levels[1:]], scheduler.discrete_sigmas, rtol=1e-12)
    assert all(level.alpha == 1 and level.t == level.sigma for level in grid.levels[1:])


@pytest.mark.parametrize("sigma_schedule", ["karras", "exponential"])
def test_edm_sigmas_are_those_of_diffusers(sigma_schedule: str, float64: Any) -> None:
    """If this fails, EDM models (or CosXL, whose sigmas are exponential) are denoised at the wrong noise."""
    with float64():
        scheduler = diffusers.EDMEulerScheduler(sigma_schedule=sigma_schedule)
        scheduler.set_timesteps(18)
    grid = NoiseSchedule.from_scheduler(scheduler, 18)
    # rho = 7: a seventh power multiplies rounding by 7.
    np.testing.assert_allclose([level.sigma for level in grid.levels[::-1]], scheduler.sigmas.numpy(), rtol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_step_count_gives_rising_levels_up_to_the_noisiest(spacing: Spacing) -> None:
    """If this fails, some step count repeats a level (a division by zero) or starts below the noise of pure noise.

    "leading" stops short by definition, but by less than one stride.
    """
    abar = train_alphas_cumprod(LINEAR)
    assert (np.diff(abar) < 0).all()  # so rising timesteps are rising noise
    for steps in range(1, 1001):
        t = _timesteps(abar, steps, spacing, 0)
        assert len(t) == steps
        assert (np.diff(t) >= 1).all(), f"{steps} steps repeat a timestep"
        assert t[0] >= 0
        assert t[-1] == 999 or (spacing == "leading" and 999 - t[-1] < 1000 / steps), f"{steps} steps end at {t[-1]}"
    grid = NoiseSchedule.from_scheduler(LINEAR, 300, spacing)
    assert [level.t for level in grid.levels[1:]] == _timesteps(abar, 300, spacing, 0).tolist()


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", ["squaredcos_cap_v2", "zero terminal SNR", "flow", "EDM", "VE"])
def test_noise_rises_strictly_in_every_family(name: str, spacing: Spacing) -> None:
    """If this fails, a step between two levels of equal noise divides by zero."""
    config = {**VP_CONFIGS, "flow": FLOW, "EDM": EDM, "VE": {"sigma_min": 0.01, "sigma_max": 1348.0}}[name]
    for steps in (1, 2, 3, 7, 50, 250, 300, 999, 1000):
        levels = NoiseSchedule.from_scheduler(config, steps, spacing).levels
        assert levels[0] == CLEAN
        assert len(levels) == steps + 1
        assert all(a.log_snr > b.log_snr for a, b in pairwise(levels))


def test_quadratic_and_logsnr_stand_where_they_say() -> None:
    """If this fails, presets with these spacings (corrected) run on another grid than the one that was measured."""
    quadratic = [level.t for level in NoiseSchedule.from_scheduler(LINEAR, 10, "quadratic").levels[1:]]
    assert quadratic == [9, 39, 89, 159, 249, 359, 489, 639, 809, 999]  # 1000 (i / 10)^2 - 1
    for name, config in {"to the end": LINEAR, "pure noise": VP_CONFIGS["zero terminal SNR"]}.items():
        abar = train_alphas_cumprod(config)
        if name == "pure noise":  # infinitely far: the other levels are even without it
            abar = abar[:-1]
        log_snr = np.log(abar / (1 - abar)) / 2
        even = np.linspace(log_snr[0], log_snr[-1], 10)
        nearest = [int(abs(log_snr - value).argmin()) for value in even] + [999] * (1000 - len(abar))
        grid = NoiseSchedule.from_scheduler(config, len(nearest), "logsnr")
        assert [level.t for level in grid.levels[1:]] == nearest


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [0.001, 0.251, 0.501, 0.751]),
        ("trailing", [0.25, 0.5, 0.75, 1]),
        ("quadratic", [1 / 16, 1 / 4, 9 / 16, 1]),
    ],
)
def test_flow_levels_stand_where_their_spacing_says(spacing: Spacing, expected: list[float]) -> None:
    """If this fails, a flow model runs on another grid than its preset names; `linspace` is held to diffusers above."""
    sigmas = [level.sigma for level in NoiseSchedule.from_scheduler(FLOW, 4, spacing).levels[1:]]
    assert [s / (3 - 2 * s) for s in sigmas] == pytest.approx(expected, rel=1e-14)  # s = 3 u / (1 + 2 u), solved for u


def test_flow_levels_even_in_log_snr() -> None:
    """If this fails, `logsnr` of a flow model is not even: from the cleanest level trained to just below pure noise."""
    levels = NoiseSchedule.from_scheduler(FLOW, 5, "logsnr").levels[1:]
    even = np.linspace(
        math.log(999 / 3), -math.log(999), 5
    )  # s / (1 - s) is 3 / 999 at the first; s is 0.999 at the last
    assert [level.log_snr for level in levels[:-1]] == pytest.approx(even[:-1], rel=1e-13)
    assert levels[-1].sigma == 1


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [0, 0.25, 0.5, 0.75]),
        ("trailing", [0.25, 0.5, 0.75, 1]),
        ("linspace", [0, 1 / 3, 2 / 3, 1]),
        ("quadratic", [1 / 16, 1 / 4, 9 / 16, 1]),
        ("logsnr", [0, 1 / 3, 2 / 3, 1]),
    ],
)
def test_ve_levels_stand_where_their_spacing_says(spacing: Spacing, expected: list[float]) -> None:
    """If this fails, an EDM or score-SDE model runs on another grid than its preset names."""
    for config in (EDM, EDM | {"sigma_schedule": "exponential"}):
        sigmas = np.array([level.sigma for level in NoiseSchedule.from_scheduler(config, 4, spacing).levels[1:]])
        along = np.log if spacing == "logsnr" or "sigma_schedule" in config else lambda sigma: sigma ** (1 / 7)
        low, high = along(0.002), along(80.0)
        np.testing.assert_allclose((along(sigmas) - low) / (high - low), expected, rtol=1e-13, atol=1e-14)


def test_consistency_models_are_asked_at_levels_of_their_training_only() -> None:
    """If this fails, a consistency model is asked about noise between its 40 levels, of which it has seen none."""
    scheduler = diffusers.CMStochasticIterativeScheduler()
    trained = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 40, "linspace").levels[1:]]
    for steps in (1, 2, 4, 5, 8, 10, 20, 40):  # those that divide 40: diffusers rounds its stride down
        scheduler.set_timesteps(steps)
        ours = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, steps).levels[:0:-1]]
        np.testing.assert_allclose(ours, scheduler.sigmas.numpy()[:-1], rtol=1e-7)  # it keeps float32
    for steps, spacing in product((1, 3, 17, 40), SPACINGS):
        levels = NoiseSchedule.from_scheduler(scheduler, steps, spacing).levels
        assert len(levels) == steps + 1
        assert {level.sigma for level in levels[1:]} <= set(trained)
    leading = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 4, "leading").levels[1:]]
    assert leading == trained[::10]
    unsaid = {key: value for key, value in CONSISTENCY.items() if key != "num_train_timesteps"}  # then it is 1000
    of_1000 = [level.sigma for level in NoiseSchedule.from_scheduler(unsaid, 1000, "linspace").levels[1:]]
    assert [level.sigma for level in NoiseSchedule.from_scheduler(unsaid, 4, "trailing").levels[1:]] == of_1000[
        249::250
    ]
    assert of_1000 == [level.sigma for level in NoiseSchedule.from_scheduler(EDM, 1000).levels[1:]]
    log_snr = -np.log(trained)
    nearest = [trained[abs(log_snr - value).argmin()] for value in np.linspace(log_snr[0], log_snr[-1], 6)]
    assert [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 6, "logsnr").levels[1:]] == nearest


@pytest.mark.parametrize("key", ["shift", "flow_shift"])
@pytest.mark.parametrize("shift", [None, 3.0])
def test_a_flow_shift_is_read_under_both_its_names(key: str, shift: float | None) -> None:
    """If this fails, DPM-Solver and UniPC on a flow model, which say `flow_shift`, run unshifted or as a VP model."""
    config = {"use_flow_sigmas": True, "beta_schedule": "linear", key: shift, "num_train_timesteps": 100}
    grid = NoiseSchedule.from_scheduler(config, 2, "trailing")
    assert grid.family == "flow"
    half = 0.5 if shift is None else 0.75  # 3 / (3 + 1)
    assert [(level.sigma, level.t) for level in grid.levels] == [(0, 0), (half, 100 * half), (1, 100)]


@pytest.mark.parametrize(
    ("config", "spacing"),
    [
        (LINEAR, "leading"),
        (LINEAR | {"timestep_spacing": "trailing"}, "trailing"),
        (FLOW, "linspace"),
        (EDM, "linspace"),
        (CONSISTENCY, "trailing"),
    ],
)
def test_spacing_defaults_to_the_schedulers_own(config: dict[str, Any], spacing: str) -> None:
    """If this fails, a model runs by default on a grid that its own scheduler never uses."""
    assert NoiseSchedule.from_scheduler(config, 10).spacing == spacing


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
    """If this fails, x after a jump is not alpha x0 + sigma eps at its level: the drift of diffusers' undo_step."""
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
        # 1 - abar is 1e-4 at t = 0: its subtraction costs four of sixteen digits, here and there.
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
    """If this fails, the last step does not give x0, or the first reads a signal that pure noise does not have."""
    noise, dst = Level(0.0, 1.0, 999), Level(0.6, 0.8, 500)
    last = posterior(dst, CLEAN)
    assert (last.x0_gain, last.x_gain, last.small_std, last.large_std) == (1.0, 0.0, 0.0, 0.8)
    first = posterior(noise, dst)
    assert (first.x0_gain, first.x_gain, first.small_std) == (0.6, 0.0, 0.8)


# --- Errors that a user can make


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        (
            LINEAR | {"timestep_spacing": "trailin"},
            10,
            r"'trailin': levels can stand leading, trailing, linspace, .* mean 'trailing'\?",
        ),
        (LINEAR, 0, r"0 steps: this model was trained on 1000 levels. Choose 1 to 1000."),
        (LINEAR, 1001, r"1001 steps: .* Choose 1 to 1000."),
        (LINEAR, True, r"True steps"),
        (LINEAR, 2.5, r"2.5 steps"),
        (VP_CONFIGS["trained_betas"] | {"num_train_timesteps": 1000}, 101, r"101 steps: .* Choose 1 to 100."),
        ({"beta_schedule": "linaer"}, 10, r"Beta schedule 'linaer': .* Did you mean 'linear'\?"),
        (VP_CONFIGS["short"], 51, r"51 steps: this model was trained on 50 levels"),
        ({"_class_name": "Odd"}, 10, r"Scheduler Odd has neither betas, nor a flow shift, nor a sigma range"),
        (None, 1, r"Scheduler None: it is a scheduler of diffusers, or a dict\. Pass one\."),
        ("linear", 1, r"Scheduler 'linear': it is a scheduler of diffusers, or a dict"),
        ({"beta_schedule": None}, 1, r"Beta schedule 'None': known are linear"),
        (LINEAR | {"timestep_spacing": ["trailing"]}, 1, r"Spacing .* Did you mean 'trailing'\?"),
        ({"trained_betas": []}, 1, r"trained_betas have shape \(0,\): they are one list\. Pass one, not empty\."),
        ({"trained_betas": [[0.1, 0.2]]}, 1, r"trained_betas have shape \(1, 2\): they are one list"),
        ({"trained_betas": 0.1}, 1, r"trained_betas have shape \(\)"),
        ({"trained_betas": "linear"}, 1, r"trained_betas 'linear' are no numbers"),
        ({"trained_betas": [1j]}, 1, r"trained_betas \[1j\] are no numbers"),
        ({"trained_betas": [0.1, math.nan, 0.2]}, 1, r"Beta 1 of the scheduler's 3 is nan, .* betas lie in \(0, 1\)"),
        ({"trained_betas": [0.1, None]}, 1, r"Beta 1 of the scheduler's 2 is nan"),
        ({"trained_betas": [0.0, 0.1]}, 1, r"Beta 0 of the scheduler's 2 is 0, which takes .* signal to 1:"),
        ({"trained_betas": [0.1, 1.0, 0.2]}, 1, r"Beta 1 of the scheduler's 3 is 1, .* the last may be 1"),
        ({"trained_betas": [0.1, 1.5, 0.2]}, 1, r"Beta 1 of the scheduler's 3 is 1\.5, .* Correct trained_betas"),
        ({"trained_betas": [0.1, 1.5]}, 1, r"Beta 1 of the scheduler's 2 is 1\.5"),
        ({"trained_betas": [0.1, -0.1]}, 1, r"Beta 1 of the scheduler's 2 is -0\.1, .* signal to 0\.99:"),
        ({"trained_betas": [1 - 1e-9] * 40}, 1, r"Beta 36 of the scheduler's 40 is 1, .* something is left before it"),
        ({"trained_betas": [0.1], "rescale_betas_zero_snr": True}, 1, r"rescale_betas_zero_snr with one level"),
        (LINEAR | {"beta_start": 0}, 1, r"Beta 0 of the scheduler's 1000 is 0"),
        (
            LINEAR | {"beta_end": 2},
            1,
            r"The scheduler's beta_end is 2: it is a number from 0 to 1\. Correct its config",
        ),
        (LINEAR | {"beta_start": math.nan}, 1, r"The scheduler's beta_start is nan: it is a number"),
        (LINEAR | {"beta_start": "small"}, 1, r"The scheduler's beta_start is 'small': it is a number"),
        ({"beta_schedule": "scaled_linear", "beta_start": -1}, 1, r"The scheduler's beta_start is -1: it is a number"),
        (LINEAR | {"steps_offset": 1000}, 1, r"The scheduler's steps_offset is 1000: it is a number from 0 to 999"),
        (LINEAR | {"steps_offset": None}, 1, r"The scheduler's steps_offset is None"),
        (FLOW | {"shift": 0.0}, 1, r"The scheduler's shift is 0\.0: it is a number from 1e-06 to 1e\+06"),
        (FLOW | {"shift": math.nan}, 1, r"The scheduler's shift is nan"),
        (EDM | {"sigma_min": 0.0}, 1, r"The scheduler's sigma_min is 0\.0: it is a number from 1e-09 to 1e\+09"),
        (EDM | {"sigma_min": 90.0}, 1, r"The scheduler's sigma_max is 80\.0: it is a number from 90 to 1e\+09"),
        (EDM | {"sigma_min": 80.0}, 2, r"Levels 1 and 2 of 2 have alpha 1 and 1, sigma 80 and 80: noise rises from"),
        (EDM | {"rho": 0}, 1, r"The scheduler's rho is 0: it is a number from 0\.1 to 1000"),
        (EDM | {"sigma_max": None}, 1, r"The scheduler's sigma_max is None"),
        *[
            (config | {"num_train_timesteps": count}, 1, rf"The scheduler's num_train_timesteps is {count}: it is a")
            for config in (LINEAR, FLOW, EDM)
            for count in (0, -1, 2.5, None, math.nan, math.inf, 10**12, True)
        ],
        ({"sigma_max": 80.0}, 10, r"Scheduler dict has neither betas, nor a flow shift, nor a sigma range"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_schedulers_are_refused(config: dict[str, Any], steps: int, message: str) -> None:
    """If this fails, a typo in a config becomes a wrong grid, or a traceback that does not say what to change."""
    with pytest.raises(NoiseLevelError, match=message):
        NoiseSchedule.from_scheduler(config, steps)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("config", [LINEAR, FLOW, EDM, {"trained_betas": [0.3]}, {"trained_betas": [1.0]}], ids=str)
def test_a_model_trained_on_one_level(config: dict[str, Any], spacing: Spacing) -> None:
    """If this fails, the smallest training grid there is, one level, divides by zero."""
    grid = NoiseSchedule.from_scheduler(config | {"num_train_timesteps": 1}, 1, spacing)
    alpha = {"VP": math.sqrt(1 - config.get("trained_betas", [1e-4])[0]), "flow": 0.0, "VE": 1.0}[grid.family]
    assert grid[1].alpha == pytest.approx(alpha, abs=1e-15)
    assert grid[1].sigma > 0


def test_a_scheduler_of_other_noise_than_its_config_says() -> None:
    """If this fails, a scheduler that was changed by hand is read as if it were not, and fills with wrong noise."""
    scheduler = diffusers.DDPMScheduler()
    message = (
        r"The alphas_cumprod of this DDPMScheduler are not those of its config, which alone is read\. Give it the be"
    )
    right = scheduler.alphas_cumprod
    for wrong in (right[:0], right[:-1], right.flip(0), right * 0.99, right * math.nan):
        scheduler.alphas_cumprod = wrong
        with pytest.raises(NoiseLevelError, match=message):
            NoiseSchedule.from_scheduler(scheduler, 10)
    scheduler.alphas_cumprod = right.clone().requires_grad_()  # like one on a GPU, a tensor that numpy cannot take
    assert NoiseSchedule.from_scheduler(scheduler, 10) == NoiseSchedule.from_scheduler(LINEAR, 10)


def test_every_scheduler_of_diffusers_is_read_rightly_or_refused() -> None:
    """If this fails, a class computes its noise by a rule of its own, and the grid is silently another."""
    read, refused = set(), set()
    for name in sorted(name for name in dir(diffusers) if name.endswith("Scheduler")):
        try:
            scheduler = getattr(diffusers, name)()
        except (ImportError, TypeError, ValueError):  # needs a library that is not here
            continue
        if not hasattr(scheduler, "alphas_cumprod"):
            continue
        try:
            grid = NoiseSchedule.from_scheduler(scheduler, 1000, "linspace")
        except NoiseLevelError:
            refused.add(name)
            continue
        read.add(name)
        theirs = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
        found = [level.alpha**2 for level in grid.levels[1:]]
        # Single precision throughout, and a product of a thousand.
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-5, err_msg=name)
    assert {"DDPMScheduler", "DDIMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler"} <= read
    assert len(read) > 15
    assert "CogVideoXDDIMScheduler" in refused, "it scales its signal-to-noise ratio by a key of its own"
    assert not refused & {"PNDMScheduler", "HeunDiscreteScheduler"}


@pytest.mark.parametrize(
    ("src", "dst", "message"),
    [
        (Level(0.6, 0.8, 0), Level(0.8, 0.6, 0), r"the target is cleaner\. Renoise up"),
        (Level(1, 80, 0), Level(1, 79, 0), "the target is cleaner"),  # VE: the gain is 1, only the variance tells
        (Level(1, 80, 0), Level(1, 80 * (1 - 1e-11), 0), "the target is cleaner"),
        (Level(0.5, 0.1, 0), Level(0.6, 0.5, 0), "the target is cleaner"),  # only the gain tells
        (Level(0.5, 0.1, 0), Level(0.5 * (1 + 1e-11), 0.5, 0), "the target is cleaner"),
        (Level(0, 1, 0), Level(0.6, 0.8, 0), "pure noise has nothing to carry up"),
        (Level(0, 1, 0), Level(0.6, 1, 0), "pure noise has nothing to carry up"),
        (Level(0, 1, 0), Level(0, 2, 0), "pure noise has nothing to carry up"),
    ],
)
def test_renoising_downwards_is_refused(src: Level, dst: Level, message: str) -> None:
    """If this fails, a walk error turns into a silent NaN or into noise of the wrong strength."""
    with pytest.raises(NoiseLevelError, match=message):
        renoise_scales(src, dst)
    with pytest.raises(NoiseLevelError, match=message):
        posterior(dst, src)


def test_renoising_to_the_same_level_adds_nothing() -> None:
    """If this fails, levels that are equal but for rounding are refused, or noise is added where none is due."""
    for level in (CLEAN, Level(0.6, 0.8, 0), Level(1, 80, 0), Level(0, 1, 0)):
        assert renoise_scales(level, level) == (1.0, 0.0)
    assert renoise_scales(Level(1, 80, 0), Level(1, 80 * (1 - 1e-13), 0)) == (1.0, 0.0)
    assert renoise_scales(Level(0.5, 0.1, 0), Level(0.5 * (1 + 1e-13), 0.5, 0))[0] == pytest.approx(1)
