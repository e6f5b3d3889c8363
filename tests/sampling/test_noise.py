"""Noise levels read from schedulers, against diffusers and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any

import diffusers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import NoiseLevelError
from repaint.sampling.levels import CLEAN
from repaint.sampling.noise import NoiseSchedule, _timesteps, train_alphas_cumprod
from repaint.sampling.spacing import CLOCK, Spacing

BY_NOISE = ["logsnr", "karras(7, inf)", "karras", "logsnr(5)"]
SPACINGS = [*CLOCK, *BY_NOISE]
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


@pytest.mark.parametrize("name", VP_CONFIGS)
def test_alphas_cumprod_are_those_of_diffusers(name: str, float64: Any) -> None:
    """If this fails, every VP model is denoised at the wrong noise levels."""
    with float64():
        theirs = diffusers.DDPMScheduler(**VP_CONFIGS[name]).alphas_cumprod.numpy()
    # Products of 1000 doubles: rounding grows to about 1000 * 1.1e-16.
    np.testing.assert_allclose(train_alphas_cumprod(VP_CONFIGS[name]), theirs, rtol=0, atol=1e-12)


def test_trained_betas_are_multiplied_in_float64() -> None:
    """If this fails, float32 betas lose nine of sixteen digits in a product of a thousand."""
    betas = np.full(1000, 2.0**-10, np.float32)
    assert train_alphas_cumprod({"trained_betas": betas})[-1] == pytest.approx((1 - 2.0**-10) ** 1000, rel=1e-12)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("scheduler_class", [diffusers.DDPMScheduler, diffusers.DDIMScheduler])
def test_timesteps_are_those_of_diffusers(scheduler_class: Any, spacing: str, offset: int) -> None:
    """If this fails, results are not comparable with those of diffusers at the same step count.

    The counts divide 1000: for others diffusers rounds the stride down ("leading") or accumulates it in floating point
    ("trailing": 61 steps give 62 timesteps). One step with "linspace" is t = 0 in diffusers, which has almost no noise.
    """
    scheduler = scheduler_class(timestep_spacing=spacing, steps_offset=offset)
    for steps in (2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500):
        scheduler.set_timesteps(steps)
        grid = NoiseSchedule.from_scheduler(scheduler, steps)
        assert [level.t for level in grid.levels[:0:-1]] == scheduler.timesteps.tolist()


def test_vp_levels_carry_alpha_and_sigma_of_their_timestep() -> None:
    """If this fails, a level's (alpha, sigma) and its timestep disagree."""
    abar = train_alphas_cumprod(LINEAR)
    grid = NoiseSchedule.from_scheduler(LINEAR, 50)
    assert (grid.family, grid.steps) == ("VP", 50)
    for level in grid.levels[1:]:
        assert level.alpha**2 == pytest.approx(abar[int(level.t)], abs=1e-15)
        assert level.alpha**2 + level.sigma**2 == pytest.approx(1, abs=1e-15)


def test_zero_terminal_snr_ends_in_pure_noise() -> None:
    """If this fails, zero-terminal-SNR models do not start from pure noise (arXiv 2305.08891)."""
    for spacing in ("trailing", "linspace", "quadratic", "logsnr"):
        last = NoiseSchedule.from_scheduler(VP_CONFIGS["zero terminal SNR"], 20, spacing)[20]
        assert (last.alpha, last.sigma) == (0.0, 1.0)
        assert last.log_snr == -math.inf


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_sigmas_are_those_of_diffusers(shift: float, float64: Any) -> None:
    """If this fails, SD 3 and Flux are denoised at the wrong noise levels."""
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
    """If this fails, Flux, whose shift depends on the image size, runs on the grid of another size."""
    with float64():
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        scheduler.set_timesteps(28, mu=0.9)
    grid = NoiseSchedule.from_scheduler(scheduler, 28, shift=math.exp(0.9))
    np.testing.assert_allclose([level.sigma for level in grid.levels[::-1]], scheduler.sigmas.numpy(), atol=1e-13)
    with pytest.raises(NoiseLevelError, match=r"shift=None must be given \(.*exp\(mu\)\)"):
        NoiseSchedule.from_scheduler(scheduler, 28)


@settings(deadline=None, max_examples=200)
@given(st.floats(0.1, 20), st.integers(1, 1000), st.sampled_from([*CLOCK[1:], "logsnr", "karras(7, inf)"]))
def test_flow_starts_from_exactly_pure_noise(shift: float, steps: int, spacing: Spacing) -> None:
    """If this fails by one bit, alpha is 1e-16 instead of 0, and a division by alpha overflows instead of raising."""
    assert NoiseSchedule.from_scheduler(FLOW, steps, spacing, shift=shift)[steps].alpha == 0


def test_ve_sigmas_are_those_of_diffusers(float64: Any) -> None:
    """If this fails, score-SDE models (NCSN++) are denoised at the wrong noise levels."""
    with float64():
        scheduler = diffusers.ScoreSdeVeScheduler()
        scheduler.set_sigmas(30)
    grid = NoiseSchedule.from_scheduler(scheduler, 30)
    assert grid.family == "VE"
    np.testing.assert_allclose([level.sigma for level in grid.levels[1:]], scheduler.discrete_sigmas, rtol=1e-12)
    assert all(level.alpha == 1 and level.t == level.sigma for level in grid.levels[1:])


@pytest.mark.parametrize("sigma_schedule", ["karras", "exponential"])
def test_edm_sigmas_are_those_of_diffusers(sigma_schedule: str, float64: Any) -> None:
    """If this fails, EDM models (and CosXL, with exponential sigmas) are denoised at the wrong noise levels."""
    with float64():
        scheduler = diffusers.EDMEulerScheduler(sigma_schedule=sigma_schedule)
        scheduler.set_timesteps(18)
    grid = NoiseSchedule.from_scheduler(scheduler, 18)
    # rho = 7: a seventh power multiplies rounding by 7.
    np.testing.assert_allclose([level.sigma for level in grid.levels[::-1]], scheduler.sigmas.numpy(), rtol=1e-12)


@pytest.mark.parametrize("spacing", CLOCK)
def test_every_step_count_gives_rising_levels_up_to_the_noisiest(spacing: Spacing) -> None:
    """If this fails, a step count repeats a level (a division by zero) or starts below the noisiest level.

    "leading" stops short by definition, by less than one stride.
    """
    abar = train_alphas_cumprod(LINEAR)
    assert (np.diff(abar) < 0).all()  # so increasing timesteps mean increasing noise
    for steps in range(1, 1001):
        t = _timesteps(1000, steps, spacing, 0)
        assert len(t) == steps
        assert (np.diff(t) >= 1).all(), f"{steps} steps repeat a timestep"
        assert t[0] >= 0
        assert t[-1] == 999 or (spacing == "leading" and 999 - t[-1] < 1000 / steps), f"{steps} steps end at {t[-1]}"
    grid = NoiseSchedule.from_scheduler(LINEAR, 300, spacing)
    assert [level.t for level in grid.levels[1:]] == _timesteps(1000, 300, spacing, 0).tolist()


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


def test_quadratic_matches_its_definition() -> None:
    """If this fails, presets with this spacing (such as `corrected`) run on another grid than the measured one."""
    quadratic = [level.t for level in NoiseSchedule.from_scheduler(LINEAR, 10, "quadratic").levels[1:]]
    assert quadratic == [9, 39, 89, 159, 249, 359, 489, 639, 809, 999]  # 1000 (i / 10)^2 - 1


def test_root_is_diffpirs() -> None:
    """If this fails, the preset diffpir runs on another grid: 999 - floor(1000 sqrt(i / 19)), and 0 at the end."""
    root = [level.t for level in NoiseSchedule.from_scheduler(LINEAR, 20, "root").levels[:0:-1]]
    assert root[:5] == [999, 770, 675, 602, 541]
    assert root[-4:] == [82, 54, 26, 0]


def test_karras_has_a_bottom() -> None:
    """If this fails, DAPS walks on other levels: the least sigma / alpha is then that of the model."""
    found = ratios(LINEAR, 5, "karras(7, 100, bottom=0.1)")
    assert (found[0], found[-1]) == (pytest.approx(0.1), pytest.approx(100))
    assert ratios(LINEAR, 5, "karras(7, 100, bottom=1e-9)") == ratios(LINEAR, 5, "karras(7, 100)")
    with pytest.raises(NoiseLevelError, match=r"^karras\(bottom=100\) must be at least 0 and below top=100"):
        NoiseSchedule.from_scheduler(LINEAR, 5, "karras(7, 100, bottom=100)")


def ratios(config: dict[str, Any], steps: int, spacing: Spacing) -> list[float]:
    """sigma / alpha of all levels above clean."""
    levels = NoiseSchedule.from_scheduler(config, steps, spacing).levels[1:]
    return [level.sigma / level.alpha if level.alpha else math.inf for level in levels]


def test_spacings_by_noise_match_their_definition() -> None:
    """If this fails, presets run on another grid than the measured one."""
    abar = train_alphas_cumprod(LINEAR)
    least, most = (math.sqrt((1 - a) / a) for a in (abar[0], abar[-1]))
    rooted = np.array(ratios(LINEAR, 25, "karras(4, 80)")) ** (1 / 4)
    np.testing.assert_allclose(rooted, np.linspace(least**0.25, 80**0.25, 25), rtol=1e-12)
    assert ratios(LINEAR, 25, "karras(4, 1e6)")[-1] == pytest.approx(most, rel=1e-12)
    even = np.log(ratios(LINEAR, 10, "logsnr"))
    np.testing.assert_allclose(even, np.linspace(math.log(least), math.log(most), 10), rtol=1e-12, atol=1e-12)
    for spacing in ("logsnr", "karras(7, inf)"):  # pure noise has no finite ratio; the levels below it are even
        zero = VP_CONFIGS["zero terminal SNR"]
        finite = train_alphas_cumprod(zero)[:-1]
        found = ratios(zero, 11, spacing)
        assert found[-1] == math.inf
        assert found[-2] == pytest.approx(math.sqrt((1 - finite[-1]) / finite[-1]), rel=1e-12)


@pytest.mark.parametrize("spacing", ["karras", "karras(7, 5)", "logsnr(10)"])
def test_spacings_by_noise_are_the_same_for_every_family(spacing: Spacing) -> None:
    """If this fails, a preset means other noise levels for other betas, for VE and for flow models."""
    least = {"linear": 0.0100005, "scaled_linear": 0.029167, "squaredcos_cap_v2": 0.0064254, "flow": 0.003 / 0.999}
    configs = {**VP_CONFIGS, "flow": FLOW, "VE": {"sigma_min": 0.01, "sigma_max": 1348.0}}
    for name, config in configs.items():
        found = ratios(config, 12, spacing)
        if name in least:
            assert found[0] == pytest.approx(least[name], rel=1e-4), name
        low, high = found[0], min(found[-1], {"karras": 80, "karras(7, 5)": 5, "logsnr(10)": 10}[spacing])
        assert name in ("scaled_linear", "trained_betas", "short") or high == pytest.approx(found[-1])
        rho = {"karras": 4, "karras(7, 5)": 7}.get(spacing)
        along = np.log if rho is None else lambda value, rho=rho: np.asarray(value) ** (1 / rho)
        np.testing.assert_allclose(along(found), np.linspace(along(low), along(found[-1]), 12), rtol=1e-9)


def test_clock_times_between_training_levels_are_interpolated() -> None:
    """If this fails, a level's noise and the time that the network is given disagree."""
    abar = train_alphas_cumprod(LINEAR)
    logs = np.log((1 - abar) / abar) / 2
    for level in NoiseSchedule.from_scheduler(LINEAR, 30, "karras").levels[1:]:
        below = min(int(level.t), 998)
        at = logs[below] + (level.t - below) * (logs[below + 1] - logs[below])
        assert at == pytest.approx(-level.log_snr, abs=1e-9)
        assert level.alpha**2 + level.sigma**2 == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize(
    ("spacing", "message"),
    [
        ("karas", r"^spacing='karas' must be one of leading, .*, karras, logsnr\. Did you mean 'karras'\?"),
        ("karras(0.5)", r"^karras\(rho=0\.5\) must be from 1 to 1000"),
        ("karras(4, 0)", r"^karras\(top=0\) must be above 0"),
        ("logsnr(-1)", r"^logsnr\(top=-1\) must be above 0"),
        ("karras(4, 0.001)", r"^top=0\.001 must be at least 0\.01 \(this model's least sigma / alpha\)\. Raise it\.$"),
        ("karras(4, 80, 1, 1)", r"^spacing='karras\(4, 80, 1, 1\)' cannot be read"),
        ("linspace(3)", r"^spacing='linspace\(3\)' cannot be read: .* take no arguments"),
    ],
)
def test_unusable_spacings_are_refused(spacing: str, message: str) -> None:
    """If this fails, a typo in a preset's spacing gives another grid or an error that does not name it."""
    with pytest.raises(NoiseLevelError, match=message):
        NoiseSchedule.from_scheduler(LINEAR, 5, spacing)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [0.001, 0.251, 0.501, 0.751]),
        ("trailing", [0.25, 0.5, 0.75, 1]),
        ("quadratic", [1 / 16, 1 / 4, 9 / 16, 1]),
    ],
)
def test_flow_levels_match_their_spacing(spacing: Spacing, expected: list[float]) -> None:
    """If this fails, a flow model runs on another grid than its preset names (`linspace` is compared above)."""
    sigmas = [level.sigma for level in NoiseSchedule.from_scheduler(FLOW, 4, spacing).levels[1:]]
    assert [s / (3 - 2 * s) for s in sigmas] == pytest.approx(expected, rel=1e-14)  # s = 3 u / (1 + 2 u), solved for u


def test_flow_levels_even_in_log_snr() -> None:
    """If this fails, `logsnr` of a flow model is not even up to the last finite level."""
    levels = NoiseSchedule.from_scheduler(FLOW, 5, "logsnr").levels[1:]
    # s / (1 - s) is 3 / 999 at the first level; s is 0.999 at the last before pure noise
    even = np.linspace(math.log(999 / 3), -math.log(999), 4)
    # alpha = 1 - s loses three digits at s = 0.999
    assert [level.log_snr for level in levels[:-1]] == pytest.approx(even, rel=1e-12)
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
def test_ve_levels_match_their_spacing(spacing: Spacing, expected: list[float]) -> None:
    """If this fails, an EDM or score-SDE model runs on another grid than its preset names."""
    for config in (EDM, EDM | {"sigma_schedule": "exponential"}):
        sigmas = np.array([level.sigma for level in NoiseSchedule.from_scheduler(config, 4, spacing).levels[1:]])
        along = np.log if spacing == "logsnr" or "sigma_schedule" in config else lambda sigma: sigma ** (1 / 7)
        low, high = along(0.002), along(80.0)
        np.testing.assert_allclose((along(sigmas) - low) / (high - low), expected, rtol=1e-13, atol=1e-14)


def test_consistency_models_use_only_their_training_levels() -> None:
    """If this fails, a consistency model runs at noise levels between the 40 that it was trained on."""
    scheduler = diffusers.CMStochasticIterativeScheduler()
    trained = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 40, "linspace").levels[1:]]
    for steps in (1, 2, 4, 5, 8, 10, 20, 40):  # divisors of 40: for others diffusers rounds the stride down
        scheduler.set_timesteps(steps)
        ours = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, steps).levels[:0:-1]]
        np.testing.assert_allclose(ours, scheduler.sigmas.numpy()[:-1], rtol=1e-7)  # diffusers uses float32 here
    for steps, spacing in product((1, 3, 17, 40), SPACINGS):
        levels = NoiseSchedule.from_scheduler(scheduler, steps, spacing).levels
        assert len(levels) == steps + 1
        assert {level.sigma for level in levels[1:]} <= set(trained)
    leading = [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 4, "leading").levels[1:]]
    assert leading == trained[::10]
    default = {key: value for key, value in CONSISTENCY.items() if key != "num_train_timesteps"}  # means 1000
    of_1000 = [level.sigma for level in NoiseSchedule.from_scheduler(default, 1000, "linspace").levels[1:]]
    assert [level.sigma for level in NoiseSchedule.from_scheduler(default, 4, "trailing").levels[1:]] == of_1000[
        249::250
    ]
    assert of_1000 == [level.sigma for level in NoiseSchedule.from_scheduler(EDM, 1000).levels[1:]]
    log_snr = -np.log(trained)
    nearest = [trained[abs(log_snr - value).argmin()] for value in np.linspace(log_snr[0], log_snr[-1], 6)]
    assert [level.sigma for level in NoiseSchedule.from_scheduler(scheduler, 6, "logsnr").levels[1:]] == nearest


@pytest.mark.parametrize("key", ["shift", "flow_shift"])
@pytest.mark.parametrize("shift", [None, 3.0])
def test_a_flow_shift_is_read_under_both_names(key: str, shift: float | None) -> None:
    """If this fails, DPM-Solver and UniPC on a flow model, whose key is `flow_shift`, run unshifted or as VP."""
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
    """If this fails, the default grid is not the one of the model's own scheduler."""
    assert NoiseSchedule.from_scheduler(config, 10).spacing == spacing


# --- Errors


@pytest.mark.parametrize(
    ("config", "steps", "message"),
    [
        (
            LINEAR | {"timestep_spacing": "trailin"},
            10,
            r"^spacing='trailin' must be one of leading, trailing, linspace, .* mean 'trailing'\?",
        ),
        (LINEAR, 0, r"^steps=0 must be an integer from 1 to 1000 \(the model was trained on 1000 levels\)\.$"),
        (LINEAR, 1001, r"^steps=1001 must be an integer from 1 to 1000 "),
        (LINEAR, True, r"^steps=True must be an integer"),
        (LINEAR, 2.5, r"^steps=2\.5 must be an integer"),
        (
            VP_CONFIGS["trained_betas"] | {"num_train_timesteps": 1000},
            101,
            r"^steps=101 must be an integer from 1 to 100 ",
        ),
        ({"beta_schedule": "linaer"}, 10, r"^beta_schedule='linaer' must be one of .* Did you mean 'linear'\?"),
        (VP_CONFIGS["short"], 51, r"^steps=51 must be .* from 1 to 50 \(.* 50 levels; shorten .*, or --steps 50 in"),
        ({"_class_name": "Odd"}, 10, r"^scheduler=Odd must have betas, a flow shift or a sigma range"),
        (None, 1, r"^scheduler=None must be a diffusers scheduler, a scheduler config or a dict\.$"),
        ("linear", 1, r"^scheduler='linear' must be a diffusers scheduler"),
        ({"beta_schedule": None}, 1, r"^beta_schedule='None' must be one of linear"),
        (LINEAR | {"timestep_spacing": ["trailing"]}, 1, r"^spacing=.* Did you mean 'trailing'\?"),
        ({"trained_betas": []}, 1, r"^trained_betas must be a non-empty 1-D list, but has shape \(0,\)\.$"),
        ({"trained_betas": [[0.1, 0.2]]}, 1, r"^trained_betas must be a non-empty 1-D list, but has shape \(1, 2\)"),
        ({"trained_betas": 0.1}, 1, r"^trained_betas must be a non-empty 1-D list, but has shape \(\)"),
        ({"trained_betas": "linear"}, 1, r"^trained_betas='linear' must be numbers"),
        ({"trained_betas": [1j]}, 1, r"^trained_betas=\[1j\] must be numbers"),
        ({"trained_betas": [0.1, math.nan, 0.2]}, 1, r"^beta\[1\]=nan of 3 must lie in \(0, 1\)"),
        ({"trained_betas": [0.1, None]}, 1, r"^beta\[1\]=nan of 2 must"),
        ({"trained_betas": [0.0, 0.1]}, 1, r"^beta\[0\]=0 of 2 must .* \(alphas_cumprod is 1 there\)"),
        ({"trained_betas": [0.1, 1.0, 0.2]}, 1, r"^beta\[1\]=1 of 3 must .* only the last may be 1 "),
        ({"trained_betas": [0.1, 1.5, 0.2]}, 1, r"^beta\[1\]=1\.5 of 3 must .* Correct trained_betas"),
        ({"trained_betas": [0.1, 1.5]}, 1, r"^beta\[1\]=1\.5 of 2 must"),
        ({"trained_betas": [0.1, -0.1]}, 1, r"^beta\[1\]=-0\.1 of 2 must .* \(alphas_cumprod is 0\.99 there\)"),
        ({"trained_betas": [1 - 1e-9] * 40}, 1, r"^beta\[36\]=1 of 40 must .* leave some signal"),
        ({"trained_betas": [0.1], "rescale_betas_zero_snr": True}, 1, r"^rescale_betas_zero_snr must be off"),
        (LINEAR | {"beta_start": 0}, 1, r"^beta\[0\]=0 of 1000 must"),
        (
            LINEAR | {"beta_end": 2},
            1,
            r"^beta_end=2 must be a number from 0 to 1 \(a scheduler setting\)\.$",
        ),
        (LINEAR | {"beta_start": math.nan}, 1, r"^beta_start=nan must be a number"),
        (LINEAR | {"beta_start": "small"}, 1, r"^beta_start='small' must be a number"),
        ({"beta_schedule": "scaled_linear", "beta_start": -1}, 1, r"^beta_start=-1 must be a number"),
        (LINEAR | {"steps_offset": 1000}, 1, r"^steps_offset=1000 must be a number from 0 to 999"),
        (LINEAR | {"steps_offset": None}, 1, r"^steps_offset=None"),
        (FLOW | {"shift": 0.0}, 1, r"^shift=0\.0 must be a number from 1e-06 to 1e\+06"),
        (FLOW | {"shift": math.nan}, 1, r"^shift=nan"),
        (EDM | {"sigma_min": 0.0}, 1, r"^sigma_min=0\.0 must be a number from 1e-09 to 1e\+09"),
        (EDM | {"sigma_min": 90.0}, 1, r"^sigma_max=80\.0 must be a number from 90 to 1e\+09"),
        (
            EDM | {"sigma_min": 80.0},
            2,
            r"^Noise must increase .* levels 1 and 2 of 2 have alpha 1 and 1, sigma 80 and 80\.",
        ),
        (EDM | {"rho": 0}, 1, r"^rho=0 must be a number from 0\.1 to 1000"),
        (EDM | {"sigma_max": None}, 1, r"^sigma_max=None"),
        *[
            (config | {"num_train_timesteps": count}, 1, rf"^num_train_timesteps={count} must be a")
            for config in (LINEAR, FLOW, EDM)
            for count in (0, -1, 2.5, None, math.nan, math.inf, 10**12, True)
        ],
        ({"sigma_max": 80.0}, 10, r"^scheduler=dict must have betas, a flow shift or a sigma range"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unusable_schedulers_are_refused(config: dict[str, Any], steps: int, message: str) -> None:
    """If this fails, a typo in a config gives a wrong grid, or an error that does not name the argument."""
    with pytest.raises(NoiseLevelError, match=message):
        NoiseSchedule.from_scheduler(config, steps)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("config", [LINEAR, FLOW, EDM, {"trained_betas": [0.3]}, {"trained_betas": [1.0]}], ids=str)
def test_a_model_trained_on_one_level(config: dict[str, Any], spacing: Spacing) -> None:
    """If this fails, a training grid of one level divides by zero."""
    grid = NoiseSchedule.from_scheduler(config | {"num_train_timesteps": 1}, 1, spacing)
    alpha = {"VP": math.sqrt(1 - config.get("trained_betas", [1e-4])[0]), "flow": 0.0, "VE": 1.0}[grid.family]
    assert grid[1].alpha == pytest.approx(alpha, abs=1e-15)
    assert grid[1].sigma > 0


def test_alphas_cumprod_that_differ_from_the_config_are_refused() -> None:
    """If this fails, an edited scheduler is read as its unedited config, and runs at the wrong noise levels."""
    scheduler = diffusers.DDPMScheduler()
    message = r"^alphas_cumprod of this DDPMScheduler must equal those of its config .* as trained_betas\.$"
    right = scheduler.alphas_cumprod
    for wrong in (right[:0], right[:-1], right.flip(0), right * 0.99, right * math.nan):
        scheduler.alphas_cumprod = wrong
        with pytest.raises(NoiseLevelError, match=message):
            NoiseSchedule.from_scheduler(scheduler, 10)
    scheduler.alphas_cumprod = right.clone().requires_grad_()  # numpy cannot read this tensor, as one on a GPU
    assert NoiseSchedule.from_scheduler(scheduler, 10) == NoiseSchedule.from_scheduler(LINEAR, 10)


def test_every_scheduler_of_diffusers_is_read_exactly_or_refused() -> None:
    """If this fails, a diffusers class with its own noise formula gets a wrong grid without an error."""
    read, refused = set(), set()
    for name in sorted(name for name in dir(diffusers) if name.endswith("Scheduler")):
        try:
            scheduler = getattr(diffusers, name)()
        except (ImportError, TypeError, ValueError):  # needs a library that is not installed
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
    assert {"CogVideoXDDIMScheduler", "PNDMScheduler", "HeunDiscreteScheduler"} <= read
    assert not refused


def test_a_scheduler_on_the_clock_of_edm_is_refused() -> None:
    """If this fails, a model trained on ln(sigma) / 4 gets times from 0 to 999, or the cure gives other levels."""
    ends, kind = {"sigma_min": 0.002, "sigma_max": 80.0}, "v_prediction"
    options = {"use_karras_sigmas": True, "timestep_type": "continuous", "prediction_type": kind}
    scheduler = diffusers.EulerDiscreteScheduler(**ends, **options)
    with pytest.raises(NoiseLevelError, match=r"^timestep_type='continuous' with .* use an EDMEulerScheduler with sig"):
        NoiseSchedule.from_scheduler(scheduler, 5)
    cure = diffusers.EDMEulerScheduler(**ends, sigma_data=1.0, prediction_type=kind)
    for each in (scheduler, cure):
        each.set_timesteps(5)
    np.testing.assert_allclose(cure.timesteps, scheduler.timesteps, rtol=0, atol=1e-5)  # float32
    levels = NoiseSchedule.from_scheduler(cure, 5).levels[1:]
    np.testing.assert_allclose([level.sigma for level in levels], scheduler.sigmas[:-1].flip(0), rtol=1e-5)
    plain = diffusers.EulerDiscreteScheduler(timestep_type="continuous")  # diffusers then ignores this entry
    assert NoiseSchedule.from_scheduler(plain, 5).family == "VP"


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.int32])
def test_steps_of_any_integer_type(integer: Any) -> None:
    """If this fails, a step count computed with numpy is refused, or leaks numpy numbers into the grid."""
    grid = NoiseSchedule.from_scheduler(LINEAR, integer(5))
    assert grid == NoiseSchedule.from_scheduler(LINEAR, 5)
    assert type(grid.steps) is int
