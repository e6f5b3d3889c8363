"""Every solver step against diffusers in float64, orders of convergence, and the corrector's stationary law.

One deliberate difference from diffusers: onto the clean level our DDPM adds no noise, whatever the variance choice.
diffusers adds none after t = 0 only, so that with "trailing" spacing, whose last timestep lies above 0, its last step
leaves noise of std sqrt(beta) on the result ("fixed_large"; 0.06 at 50 steps of the linear betas).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from helpers.draws import Given
from torch import Tensor

from repaint.errors import InputError
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.corrector import Langevin
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.method import as_method
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction, from_output, split_variance
from repaint.sampling.renewal import renewed
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDIM, DDPM, Multistep, Refresh, Renew, Solver
from repaint.sampling.state import Carry

TOLERANCE = 1e-9  # 1 - abar loses up to four of float64's sixteen digits; its quotients are multiplied by |x| < 100
SHAPE = (2, 3, 4, 4)
Variance = Literal["small", "large", "learned"]


def network(x: Tensor, t: float) -> Tensor:
    """A smooth function of x and t; agreement must hold for any model."""
    return torch.sin(3 * x + t / 100) + 0.3 * x


def normal(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- DDIM and DDPM against diffusers


@pytest.mark.parametrize("clip_sample", [True, False], ids=["clipped", "free"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_diffusers(eta: float, spacing: str, kind: str, clip_sample: bool, float64: Any) -> None:
    """If this fails, our DDIM step is not DDIM's (with eps derived again after clipping, as in GLIDE)."""
    with float64():
        scheduler = DDIMScheduler(timestep_spacing=spacing, prediction_type=kind, clip_sample=clip_sample)
    scheduler.set_timesteps(50)
    grid = NoiseSchedule.from_scheduler(scheduler, 50)
    solver, clip = DDIM(eta), Clip.from_config(scheduler.config)
    x = normal(0)
    for i, t in enumerate(scheduler.timesteps.tolist()):
        src, dst = grid[50 - i], grid[49 - i]
        output, z = network(x, t), normal(i + 1)
        ours = solver.step(x, from_output(kind, output, x, src, clip=clip), src, dst, Given(z), {})[0]
        noise = z if eta else None
        x = scheduler.step(output, t, x, eta, use_clipped_model_output=True, variance_noise=noise).prev_sample
        torch.testing.assert_close(ours, x, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("clip_sample", [True, False], ids=["clipped", "free"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("variance", ["small", "large", "learned"])
def test_ddpm_is_that_of_diffusers(
    variance: Variance, spacing: str, kind: str, clip_sample: bool, float64: Any
) -> None:
    """If this fails, our DDPM step is not DDPM's: mean, small, large or learned variance."""
    theirs = {"small": "fixed_small", "large": "fixed_large", "learned": "learned_range"}[variance]
    with float64():
        scheduler = DDPMScheduler(
            timestep_spacing=spacing, prediction_type=kind, clip_sample=clip_sample, variance_type=theirs
        )
    scheduler.set_timesteps(20)
    grid = NoiseSchedule.from_scheduler(scheduler, 20)
    solver, clip = DDPM(variance), Clip.from_config(scheduler.config)
    x = normal(0)
    for i, t in enumerate(scheduler.timesteps.tolist()):
        src, dst = grid[20 - i], grid[19 - i]
        output, mix = network(x, t), None
        if variance == "learned":
            output = torch.cat([output, torch.sin(5 * x)], dim=1)
            output, mix = split_variance(output)
        prediction = from_output(kind, output, x, src, clip=clip, variance=mix)
        ours = solver.step(x, prediction, src, dst, Given(normal(i + 1)), {})[0]
        raw = output if mix is None else torch.cat([output, 2 * mix - 1], dim=1)
        x = scheduler.step(raw, t, x, generator=torch.Generator().manual_seed(i + 1)).prev_sample
        if dst == CLEAN:  # the deliberate difference: see the top of this file
            x = prediction.x0_hat
        torch.testing.assert_close(ours, x, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_the_last_step_adds_no_noise(spacing: str, float64: Any) -> None:
    """If this fails, results keep noise of the last level. It also pins where diffusers differs, and by how much."""
    with float64():
        scheduler = DDPMScheduler(timestep_spacing=spacing, variance_type="fixed_large", clip_sample=False)
    scheduler.set_timesteps(50)
    level, t = NoiseSchedule.from_scheduler(scheduler, 50)[1], int(scheduler.timesteps[-1])
    x, output = normal(0), normal(1)
    prediction = from_output("epsilon", output, x, level)
    assert torch.equal(DDPM("large").step(x, prediction, level, CLEAN, Given(), {})[0], prediction.x0_hat)
    theirs = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(2)).prev_sample
    left = level.sigma if spacing == "trailing" else 0.0  # from one level to clean, beta is sigma^2
    torch.testing.assert_close(theirs, prediction.x0_hat + left * normal(2), rtol=TOLERANCE, atol=TOLERANCE)


def test_ddim_with_eta_1_is_ddpm_with_the_small_variance() -> None:
    """If this fails, one of two formulas for one distribution is wrong; for VE and flow, diffusers offers no check."""
    for config in ({"beta_schedule": "linear"}, {"shift": 3.0}, {"sigma_min": 0.01, "sigma_max": 50.0}):
        levels = NoiseSchedule.from_scheduler(config, 20).levels
        for dst, src in pairwise(levels):
            x, z = normal(0), normal(1)
            prediction = from_output("sample", normal(2), x, src)
            arguments = (x, prediction, src, dst, Given(z), {})
            torch.testing.assert_close(
                DDIM(1.0).step(*arguments)[0], DDPM().step(*arguments)[0], rtol=TOLERANCE, atol=TOLERANCE
            )


# --- Multistep


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_multistep_is_dpm_solver_pp_2m_of_diffusers(kind: str, float64: Any) -> None:
    """If this fails, `multistep` is not DPM-Solver++(2M), midpoint form (arXiv 2211.01095, Alg. 2)."""
    steps = 20
    with float64():
        scheduler = DPMSolverMultistepScheduler(
            algorithm_type="dpmsolver++", solver_order=2, solver_type="midpoint", prediction_type=kind
        )
        grid = NoiseSchedule.from_scheduler(scheduler, steps, "linspace")
        timesteps = [int(level.t) for level in grid.levels[:0:-1]]
        scheduler.set_timesteps(timesteps=timesteps)  # its own grids differ: it skips t = 0
        x, carry = normal(0), {}
        for i, t in enumerate(timesteps):
            src, dst = grid[steps - i], grid[steps - i - 1]
            output = network(x, t)
            prediction = from_output(kind, output, x, src)
            ours, carry = Multistep().step(x, prediction, src, dst, Given(), carry)
            x = scheduler.step(output, t, x).prev_sample
            torch.testing.assert_close(ours, x, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_stochastic_multistep_is_sde_dpm_solver_pp_2m_of_diffusers(float64: Any) -> None:
    """If this fails, `multistep(1)` is not SDE-DPM-Solver++(2M)."""
    steps = 20
    with float64():
        scheduler = DPMSolverMultistepScheduler(
            algorithm_type="sde-dpmsolver++", solver_order=2, solver_type="midpoint", prediction_type="epsilon"
        )
        grid = NoiseSchedule.from_scheduler(scheduler, steps, "linspace")
        timesteps = [int(level.t) for level in grid.levels[:0:-1]]
        scheduler.set_timesteps(timesteps=timesteps)
        x, carry = normal(0), {}
        for i, t in enumerate(timesteps[:-1]):  # its last step, to t = 0, is of first order
            src, dst = grid[steps - i], grid[steps - i - 1]
            output, z = network(x, t), normal(50 + i)
            ours, carry = Multistep(1.0).step(x, from_output("epsilon", output, x, src), src, dst, Given(z), carry)
            x = scheduler.step(output, t, x, variance_noise=z).prev_sample
            torch.testing.assert_close(ours, x, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0])
def test_multistep_keeps_the_variance_of_pure_noise(eta: float) -> None:
    """If this fails, the noise that a stochastic step adds does not replace what it takes away.

    For data that are 0, x = sigma z: the gain of x and that of the new noise must add up to sigma^2 at the target.
    """
    src, dst = Level(0.6, 0.8, 0), Level(0.8, 0.6, 0)
    prediction = Prediction(torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    of_x = float(Multistep(eta).step(one, prediction, src, dst, Given(zero), {})[0])
    of_z = float(Multistep(eta).step(zero, prediction, src, dst, Given(one), {})[0])
    assert (of_x * src.sigma) ** 2 + of_z**2 == pytest.approx(dst.sigma**2, rel=1e-12)


def family(name: str) -> Callable[[float], Level]:
    """Levels of a family by their lambda = log(alpha / sigma)."""

    def level(log_snr: float) -> Level:
        snr = math.exp(log_snr)
        if name == "VP":
            return Level(snr / math.hypot(1, snr), 1 / math.hypot(1, snr), 0)
        return Level(1.0, 1 / snr, 0) if name == "VE" else Level(snr / (1 + snr), 1 / (1 + snr), 0)

    return level


def error_after(solver: Solver, at: Callable[[float], Level], steps: int) -> float:
    """Distance from the exact solution of the probability-flow ODE of N(1, 0.25), from lambda -2 to 3."""
    prior = GaussianMixturePrior([1.0], [[1.0]], [[[0.25]]])
    levels = [at(log_snr) for log_snr in np.linspace(-2, 3, steps + 1)]

    def exact(level: Level) -> float:  # along the flow (x - alpha mu) / std of the marginal is constant
        return level.alpha + 0.7 * math.hypot(0.5 * level.alpha, level.sigma)

    x, carry = torch.full((1, 1), exact(levels[0]), dtype=torch.float64), {}
    for src, dst in pairwise(levels):
        prediction = prior.denoise(x, src)
        x, carry = solver.step(x, prediction, src, dst, Given(), carry)
    return abs(float(x) - exact(levels[-1]))


@pytest.mark.parametrize("name", ["VP", "VE", "flow"])
@pytest.mark.parametrize(("solver", "order"), [(DDIM(0.0), 1), (Multistep(), 2)], ids=["ddim", "multistep"])
def test_order_of_convergence(solver: Solver, order: int, name: str) -> None:
    """If this fails, a wrong coefficient has cost the solver its order, and few-step results their quality."""
    steps = np.array([40, 80, 160, 320])
    errors = [error_after(solver, family(name), int(n)) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # The next order's term, a few per cent of the error at 40 steps, moves the fitted slope by less than 0.15.
    assert slope == pytest.approx(order, abs=0.15)


def test_multistep_forgets_nothing_at_pure_noise() -> None:
    """If this fails, a flow model's first steps divide infinity by infinity."""
    levels = NoiseSchedule.from_scheduler({"shift": 1.0}, 4).levels
    assert levels[4].alpha == 0
    x, x0 = normal(0), normal(1)
    first, carry = Multistep().step(x, from_output("sample", x0, x, levels[4]), levels[4], levels[3], Given(), {})
    torch.testing.assert_close(first, levels[3].alpha * x0 + levels[3].sigma * x)  # which is DDIM's step
    prediction = from_output("sample", normal(2), first, levels[3])
    second, _ = Multistep().step(first, prediction, levels[3], levels[2], Given(), carry)
    expected, _ = Multistep().step(first, prediction, levels[3], levels[2], Given(), {})
    assert torch.equal(second, expected)  # the x0_hat of pure noise is infinitely far back: first order


# --- The corrector: Langevin dynamics on a Gaussian direction, where x0_hat = rho x / alpha


def coefficients(corrector: Langevin, rho: float, level: Level) -> tuple[float, float, float]:
    """How one iteration depends on x, on the draw before and on its own draw; it is linear in them."""

    def step(x: float, z_before: float, z: float) -> float:
        values = [torch.tensor([[value]], dtype=torch.float64) for value in (x, z_before, z)]
        x0_hat = rho * values[0] / level.alpha
        prediction = Prediction(x0_hat, (values[0] - level.alpha * x0_hat) / level.sigma)
        return float(corrector.step(values[0], prediction, level, Given(values[2]), {"z": values[1]})[0])

    return step(1, 0, 0), step(0, 1, 0), step(0, 0, 1)


@pytest.mark.parametrize("h", [0.1, 0.6, 1.5])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_exact_langevin_has_the_stationary_variance_of_the_theory(rho: float, h: float) -> None:
    """If this fails, the corrector's noise and pull no longer balance as derived: contrast is lost or gained."""
    level = Level(0.8, 0.6, 0)
    keep, before, kick = coefficients(Langevin(h=h), rho, level)
    assert before == 0
    c = math.exp(-h) + (1 - math.exp(-h)) * rho
    assert keep == pytest.approx(c, rel=1e-14)
    stationary = (1 - math.exp(-2 * h)) / (1 - c**2) * level.sigma**2
    assert kick**2 / (1 - keep**2) == pytest.approx(stationary, rel=1e-12)
    truth = level.sigma**2 / (1 - rho)
    if rho == 0:
        assert stationary == pytest.approx(truth, rel=1e-14)  # exact where the data say nothing
    if (rho, h) == (0.9, 0.6):
        assert 1 - stationary / truth == pytest.approx(0.21, abs=0.005)  # the shortfall that the notes state


@pytest.mark.parametrize("h", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.99])
def test_averaged_langevin_is_exact_for_every_gaussian(rho: float, h: float) -> None:
    """If this fails, Leimkuhler-Matthews steps do not have the property that they are used for."""
    level = Level(0.8, 0.6, 0)
    keep, before, kick = coefficients(Langevin(iterations=2, h=h, noise="averaged"), rho, level)
    # The covariance of (x, its last draw) goes to a fixed point under x <- keep x + before z_before + kick z.
    transition = np.array([[keep, before], [0, 0]])
    noise = np.array([[kick**2, kick], [kick, 1]])
    covariance = np.diag([0.0, 1.0])
    for _ in range(40):  # doubling: 2^40 iterations
        covariance, transition, noise = (
            covariance,
            transition @ transition,
            noise + transition @ noise @ transition.T,
        )
    covariance = transition @ covariance @ transition.T + noise
    assert covariance[0, 0] == pytest.approx(level.sigma**2 / (1 - rho), rel=1e-9)


# --- Refresh


def test_refresh_goes_on_along_the_change_of_x0_hat() -> None:
    """If this fails, the presets fast, balanced and best extrapolate backwards, or by a wrong amount."""
    before, src, dst = Level(0.28, 0.96, 0), Level(0.6, 0.8, 0), Level(0.8, 0.6, 0)
    x0_hat, x0_before, z = normal(1), normal(2), normal(3)
    prediction, solver = Prediction(x0_hat, normal(4)), Refresh(0.45)
    _, carry = solver.step(normal(0), Prediction(x0_before, normal(5)), before, src, Given(normal(6)), {})
    share = 0.45 * math.log((0.8 / 0.6) / (0.6 / 0.8)) / math.log((0.6 / 0.8) / (0.28 / 0.96))
    expected = 0.8 * (x0_hat + share * (x0_hat - x0_before)) + 0.6 * z
    second, _ = solver.step(normal(0), prediction, src, dst, Given(z), carry)
    torch.testing.assert_close(second, expected, rtol=0, atol=1e-12)
    first, _ = solver.step(normal(0), prediction, src, dst, Given(z), {})
    torch.testing.assert_close(first, 0.8 * x0_hat + 0.6 * z, rtol=0, atol=1e-12)
    pure = Level(0.0, 1.0, 0)  # no signal to extrapolate from
    assert solver.step(normal(0), Prediction(x0_before, normal(5)), pure, src, Given(z), {})[1] == {}
    assert torch.equal(solver.step(normal(0), prediction, src, CLEAN, Given(), carry)[0], x0_hat)


@pytest.mark.parametrize("c", [0.3, 0.9, 0.99])
def test_averaged_draws_keep_the_variance_of_a_gaussian(c: float) -> None:
    """If this fails, textures are too smooth: at one level, x must keep its variance.

    Of one pixel with variance 1, x0_hat is c x / alpha with c = alpha^2. With fresh draws alone the variance of x would
    end at 1 - c^2 / (1 + c).
    """
    level, solver, count = Level(math.sqrt(c), math.sqrt(1 - c), 0), Refresh(0.0, "averaged"), 10_000
    x, *draws = torch.randn(
        int(5 / (1 - c)) + 20, count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    carry: Carry = {"z": x}
    for z in draws:
        prediction = Prediction(level.alpha * x, level.sigma * x)
        x, carry = solver.step(x, prediction, level, level, Given(z), carry)
    assert float(x.var()) == pytest.approx(1, abs=0.06)  # four standard errors of 10,000 samples


@pytest.mark.parametrize("part", [Refresh(0.0, "averaged"), Langevin(2, noise="averaged")])
def test_averaged_draws_are_used_in_two_steps(part: Any) -> None:
    """If this fails, Leimkuhler-Matthews steps have fresh noise twice: half the kick, and no exactness."""
    level, prediction = Level(0.6, 0.8, 0), Prediction(normal(1), normal(2))
    levels = (level, Level(0.8, 0.6, 0)) if isinstance(part, Refresh) else (level,)
    first, second = Given(normal(3), normal(4)), Given(normal(5))
    x, carry = part.step(normal(0), prediction, *levels, first, {})
    _, after = part.step(x, prediction, *levels, second, carry)
    assert (first.read, second.read) == (2, 1)
    assert torch.equal(carry["z"], normal(3))
    assert torch.equal(after["z"], normal(5))


# --- Errors


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DDIM(1.5), r"ddim\(eta=1.5\) must be in \[0, 1\]"),
        (lambda: DDIM(math.nan), r"ddim\(eta=nan\)"),
        (lambda: DDPM("tiny"), r"ddpm\(variance='tiny'\) must be small, large or learned"),  # type: ignore[arg-type]
        (lambda: Refresh(1.5), r"refresh\(extrapolate=1.5\) must be in \[0, 1\]"),
        (lambda: Refresh(noise="pink"), r"refresh\(noise='pink'\) must be fresh or averaged"),  # type: ignore[arg-type]
        (lambda: Multistep(-0.1), r"multistep\(eta=-0.1\) must be at least 0"),
        (lambda: Langevin(2.5), r"langevin\(iterations=2.5\)"),  # type: ignore[arg-type]
        (lambda: Langevin(0), r"langevin\(iterations=0\) must be an integer of at least 1"),
        (lambda: Langevin(h=0.0), r"langevin\(h=0.0\) must be above 0 and at most 1000"),
        (lambda: Langevin(True), r"langevin\(iterations=True\)"),
        (lambda: Langevin(h=1000.1), r"langevin\(h=1000.1\) must be above 0 and at most 1000"),
        (lambda: Langevin(h=math.inf), r"langevin\(h=inf\)"),
        (lambda: Langevin(2, 2.0, "averaged"), r"langevin\(h=2.0\) must be above 0 and at most 1.9"),
        (lambda: Langevin(noise="pink"), r"langevin\(noise='pink'\) must be exact or averaged"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_arguments_out_of_range_are_refused(build: Callable[[], object], message: str) -> None:
    """If this fails, a wrong setting runs, and its result is taken for a measurement."""
    with pytest.raises(InputError, match=message):
        build()


def heun_error(steps: int, config: dict[str, Any]) -> float:
    """The largest error at the end of a free walk of a pixel N(0, .25), whose ODE is known: x / std is constant."""
    prior = GaussianMixturePrior([1.0], [[0.0]], [[[0.25]]], scheduler=config)
    method = as_method(JumpSchedule.paper(steps, 1, 1), merge="none", solver="heun")
    sampler = Sampler(prior, replace(method, spacing="karras(4, 20, 0.05)"))
    state = sampler.start(torch.ones(1, 1).double(), torch.zeros(1, 1, dtype=torch.bool), [0])
    top, low = sampler.grid[steps], sampler.grid[1]
    *states, _ = sampler.run(state)
    std = [math.hypot(0.5 * level.alpha, level.sigma) for level in (top, low)]
    assert states[-1].level == 1
    return abs(float(states[-1].x / std[1] - state.x / std[0]))


@pytest.mark.parametrize("config", [{"beta_schedule": "linear"}, {"sigma_min": 0.01, "sigma_max": 50.0}])
def test_heun_is_of_second_order(config: dict[str, Any]) -> None:
    """If this fails, the second call of a step does not correct it: the error would halve, not fall to a quarter."""
    errors = [heun_error(steps, config) for steps in (20, 40, 80)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize("steps", [10, 25, 100])
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_heun_is_stable_where_noise_begins_far_above_the_data(steps: int, spacing: str) -> None:
    """If this fails, the correction of the first step from sigma / alpha = 20,000 gives ten times the right spread."""
    config = {"beta_schedule": "squaredcos_cap_v2"}
    prior = GaussianMixturePrior([1.0], [[0.4]], [[[0.3]]], scheduler=config)

    def std(solver: str) -> float:
        method = as_method(JumpSchedule.paper(steps, 1, 1), merge="none", solver=solver)
        sampler = Sampler(prior, replace(method, spacing=spacing))
        state = sampler.start(torch.zeros(2000, 1).double(), torch.zeros(2000, 1, dtype=torch.bool), [0])
        *_, state = sampler.run(state)
        return float(state.x.std())

    error = {solver: abs(std(solver) - math.sqrt(0.3)) for solver in ("heun", "ddim(0)")}
    assert error["heun"] < 0.05
    assert error["heun"] < error["ddim(0)"]


def test_heun_costs_two_calls_but_for_the_last_step() -> None:
    """If this fails, the cost of Restart is stated wrongly. EDM counts 2 N - 1."""
    method = as_method(JumpSchedule.from_levels([3, 2, 3, 2, 1, 0]), solver="heun")
    kinds = ["denoise", "refine", "renoise", "denoise", "refine", "denoise", "refine", "denoise"]
    assert [move.kind for move in method.moves] == kinds
    assert method.model_calls == method.calls_after(0) == 7
    assert method.calls_after(3) == 5


def test_paced_langevin_moves_work_to_noise(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the step size or the number of iterations at a level is not that of LanPaint 2.1.0."""
    part = Langevin(5, 0.2, pace="noise")
    level = Level(0.6, 0.8, 0)
    assert part.iterations_at(level) == 3  # 5 x .64
    x, z, eps_hat = normal(0), normal(1), normal(2)
    moved = part.step(x, Prediction(x, eps_hat), level, Given(z), {})[0]
    same = Langevin(1, 0.2 / 0.64).step(x, Prediction(x, eps_hat), level, Given(z), {})[0]
    torch.testing.assert_close(moved, same)
    method = as_method(JumpSchedule.paper(20, 1, 1), corrector=part)
    sampler = Sampler(two_pixels, method)
    *_, last = sampler.run(sampler.start(torch.tensor([[1.5, 0.0]]).double(), torch.tensor([[True, False]]), [0]))
    assert last.model_calls == method.model_calls == len(sampler.moves) < 20 * 6


@pytest.mark.parametrize("noise", ["exact", "averaged"])
def test_paced_langevin_is_stable_at_low_noise(noise: Any) -> None:
    """If this fails, the long steps of low levels multiply the noise of directions that the data hardly vary in."""
    for sigma in (0.9, 0.5, 0.1, 0.01):
        level = Level(math.sqrt(1 - sigma**2), sigma, 0)
        keep, before, kick = coefficients(Langevin(10, 0.6, noise, "noise"), 0.0, level)
        assert abs(keep) < 1
        assert math.hypot(before, kick) < 2 * sigma


@pytest.mark.parametrize(
    ("zeta", "other"), [(0, DDIM(0.0)), (1, Refresh(0.0)), ("posterior", DDIM(1.0)), ("posterior", DDPM("small"))]
)
@pytest.mark.parametrize("path", ["VP", "VE", "flow"])
def test_renew_joins_the_solvers(path: str, zeta: float | str, other: Solver) -> None:
    """If this fails, DiffPIR at zeta 1 is not `refresh(0)`, or a share of the noise has the wrong scale."""
    src, dst = {
        "VP": (Level(0.6, 0.8, 1), Level(0.8, 0.6, 0)),
        "VE": (Level(1.0, 3.0, 1), Level(1.0, 0.5, 0)),
        "flow": (Level(0.3, 0.7, 1), Level(0.6, 0.4, 0)),
    }[path]
    x, z = normal(0), normal(1)
    prediction = from_output("epsilon", normal(2), x, src)
    for to in (dst, CLEAN):
        ours, theirs = (solver.step(x, prediction, src, to, Given(z), {})[0] for solver in (Renew(zeta), other))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_published_shares_follow_their_path() -> None:
    """If this fails, DInG or FlowDPS renew another share; on VE paths alpha is 1, and their share would be 0."""
    src = Level(0.1, 0.9, 1)
    assert renewed("(1-alpha)^2", src, Level(0.6, 0.8, 0)) == pytest.approx(0.16)
    assert renewed("(1-alpha)^2", src, Level(0.6, 0.4, 0)) == pytest.approx(0.16)  # flow: sigma squared
    assert renewed("1-sigma", src, Level(0.6, 0.4, 0)) == pytest.approx(0.6)
    assert renewed("1-alpha", Level(1.0, 9.0, 1), Level(1.0, 0.75, 0)) == pytest.approx(0.2)  # 1 - 1 / 1.25
    assert renewed("1-sigma", Level(1.0, 9.0, 1), Level(1.0, 0.75, 0)) == pytest.approx(0.4)  # 1 - 0.75 / 1.25


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("zeta", [-0.1, 1.1, math.nan, "alpha", None])
def test_shares_out_of_range_are_refused(zeta: Any) -> None:
    """If this fails, the square root of a negative number makes NaN, or a typo runs another share."""
    with pytest.raises(InputError, match=r"renew\(zeta=.*\) must be in \[0, 1\], or one of posterior, 1-alpha"):
        Renew(zeta)


def test_arguments_at_the_ends_of_their_range_are_taken() -> None:
    """If this fails, a setting that the messages above allow is refused."""
    assert [Refresh(0).extrapolate, Refresh(1).extrapolate] == [0, 1]
    assert [DDIM(0).eta, DDIM(1).eta] == [0, 1]
    assert Langevin(1, h=1000).h == 1000
    assert Langevin(2, 1.9, "averaged").h == 1.9


def test_what_is_not_said_is_as_documented() -> None:
    """If this fails, `ddim`, `refresh` or `langevin` without arguments has become another method."""
    assert DDPM() == DDPM("small")
    assert DDIM() == DDIM(0.0)
    assert Refresh() == Refresh(extrapolate=0.5, noise="fresh")
    assert Langevin() == Langevin(iterations=1, h=0.6, noise="exact", pace="even")


@pytest.mark.parametrize(
    ("solver", "draws"),
    [(DDPM(), 1), (DDIM(0.1), 1), (Refresh(), 1), (DDIM(0.0), 0), (Multistep(), 0), (Renew(0.0), 0)],
)
def test_solvers_draw_only_what_they_read(solver: Solver, draws: int) -> None:
    """If this fails, a deterministic solver draws at every step, or a step to clean changes the noise after it."""
    level, prediction = Level(0.6, 0.8, 0), Prediction(normal(1), normal(2))
    given = Given(normal(3))
    solver.step(normal(0), prediction, level, Level(0.8, 0.6, 0), given, {})
    assert given.read == draws
    solver.step(normal(0), prediction, level, CLEAN, Given(), {})


def test_learned_variance_needs_a_model_that_learned_it() -> None:
    """If this fails, ddpm(learned) ends in a TypeError about None."""
    level = Level(0.6, 0.8, 0)
    prediction = from_output("epsilon", normal(0), normal(1), level)
    with pytest.raises(
        InputError, match=r"ddpm\(learned\) needs a model that predicts its variance as a share of a range"
    ):
        DDPM("learned").step(normal(1), prediction, level, Level(0.8, 0.6, 0), Given(normal(2)), {})
