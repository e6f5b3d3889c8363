"""The peers of the exactness bench: their cost, their known pixels, and their law on two pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repaint.errors import InputError
from repaint.lab.exactness.peers import _Oscillator, diffusers_repaint, ding, lanpaint
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction

Method = Callable[..., tuple[Tensor, int]]

MEAN, STD = 1.350, 0.436  # of the unknown pixel, exactly, where the known one is 1.5
X0 = torch.tensor([1.5, math.nan], dtype=torch.float64)
KNOWN = torch.tensor([True, False])
CORRELATION = np.array([[1.0, 0.9], [0.9, 1.0]])
SMALL: list[tuple[Method, dict[str, Any]]] = [
    (lanpaint, {"steps": 4, "inner": 2}),
    (ding, {"steps": 4, "sigma_y": 0.1}),
    (diffusers_repaint, {"steps": 6, "jump_length": 2, "jump_n_sample": 2, "eta": 1.0}),
]
small = pytest.mark.parametrize(("method", "parameters"), SMALL, ids=lambda value: getattr(value, "__name__", ""))


class Counted(GaussianMixturePrior):
    """A mixture that counts its predictions."""

    asked = 0

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        self.asked += 1
        return super().denoise(x, level)


@pytest.mark.parametrize(
    ("method", "parameters", "expected"),
    [
        (lanpaint, {"steps": 20, "inner": 5}, 120),
        (lanpaint, {"steps": 20, "inner": 10}, 220),
        (lanpaint, {"steps": 50, "inner": 10}, 550),
        (ding, {"steps": 12}, 23),
        (ding, {"steps": 25}, 49),
        (ding, {"steps": 50}, 99),
        (diffusers_repaint, {}, 2410),
    ],
)
def test_cost_at_published_settings(method: Method, parameters: dict[str, Any], expected: int) -> None:
    """If this fails, the methods are compared at costs that they do not have."""
    prior = Counted([1.0], [[0.0, 0.0]], [CORRELATION.tolist()])
    _, calls = method(prior, X0, KNOWN, count=1, seed=0, **parameters)
    assert calls == prior.asked == expected


@small
def test_known_entries_are_exact_and_unknown_ones_unread(method: Method, parameters: dict[str, Any]) -> None:
    """If this fails, a method changes known pixels, or reads unknown ones."""
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [CORRELATION.tolist()], shape=(1, 2, 1))
    known = KNOWN.reshape(1, 2, 1)
    results = []
    for unknown in (math.nan, 7.0):
        x0 = torch.tensor([1 / 3, unknown], dtype=torch.float64).reshape(1, 2, 1)
        samples, _ = method(prior, x0, known, count=5, seed=0, **parameters)
        assert samples.shape == (5, 1, 2, 1)
        assert samples.dtype == torch.float64
        assert bool((samples[:, known] == 1 / 3).all())
        assert len(samples[:, ~known].unique()) == 5
        results.append(samples)
    assert torch.equal(*results)


@small
def test_randomness_is_the_seed(method: Method, parameters: dict[str, Any], two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a row of the bench cannot be reproduced, or a method uses the global generator."""
    before = torch.get_rng_state()
    first, again, other = (
        method(two_pixels, X0, KNOWN, count=3, seed=seed, **parameters)[0][:, 1] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not bool((first == other).any())
    assert torch.equal(before, torch.get_rng_state())


def test_lanpaint_finds_the_posterior(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the guided score or its dynamics do not converge to the posterior.

    4,000 samples: four standard errors are 0.028 of the mean and 0.020 of the std; the finite lam and step add 0.01.
    """
    samples, _ = lanpaint(two_pixels, X0, KNOWN, count=4000, seed=0, steps=20, inner=20)
    assert float(samples[:, 1].mean()) == pytest.approx(MEAN, abs=0.038)
    assert float(samples[:, 1].std()) == pytest.approx(STD, abs=0.030)


@pytest.mark.parametrize("k", [0.1, 9.0])
def test_oscillator_is_exact(k: float) -> None:
    """If this fails, the inner dynamics add an error that is attributed to LanPaint.

    Drift and diffusion at a tiny step fix the equation; two steps that make one of their sum make its solution exact.
    """
    friction, tiny = 15.0, 1e-4

    def moments(h: float) -> tuple[Tensor, Tensor]:
        move = _Oscillator(k, friction, h)
        return move.mean, move.noise @ move.noise.T

    (m1, c1), (m2, c2) = moments(tiny), moments(2 * tiny)
    drift = torch.tensor([[0.0, 1.0], [-friction * k, -friction]], dtype=torch.float64)
    diffusion = torch.tensor([[0.0, 0.0], [0.0, 2 * friction**2]], dtype=torch.float64)
    one = torch.eye(2, dtype=torch.float64)
    # Derivatives at 0, to second order; the next terms are below tiny^2 x 1e6, the drift's largest entry cubed.
    torch.testing.assert_close((4 * (m1 - one) - (m2 - one)) / (2 * tiny), drift, rtol=0, atol=1e-2)
    torch.testing.assert_close((4 * c1 - c2) / (2 * tiny), diffusion, rtol=0, atol=1e-2)
    (m1, c1), (m2, c2), (m3, c3) = moments(0.1), moments(0.25), moments(0.35)
    torch.testing.assert_close(m2 @ m1, m3, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(m2 @ c1 @ m2.T + c2, c3, rtol=1e-10, atol=1e-10)

    move = _Oscillator(k, friction, 0.1)
    u, v = move(*(torch.tensor([[value]], dtype=torch.float64) for value in (2.0, -1.0, 0.5, 0.25)))
    start, z = torch.tensor([[2.0], [-1.0]]).double(), torch.tensor([[0.5], [0.25]]).double()
    torch.testing.assert_close(torch.cat([u, v]), move.mean @ start + move.noise @ z, rtol=1e-12, atol=1e-12)


def ding_law(prior: GaussianMixturePrior, steps: int, eta: float, sigma_y: float) -> tuple[float, float]:
    """Mean and std of the unknown pixel under DInG, by carrying both pixels as one Gaussian. Pixel 0 is known."""
    grid, one = prior.schedule(steps, "trailing"), np.eye(2)
    pick, rest = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    mean, covariance = np.zeros(2), grid[steps].sigma ** 2 * one

    def noise(level: Level) -> Any:
        return level.sigma * np.linalg.inv(level.alpha**2 * CORRELATION + level.sigma**2 * one)

    for i in range(steps, 0, -1):
        src, dst = grid[i], grid[i - 1]
        gain = src.alpha / dst.alpha
        s = eta * dst.sigma / src.sigma * math.sqrt(max(src.sigma**2 - gain**2 * dst.sigma**2, 0))
        down = dst.alpha / src.alpha * (one - src.sigma * noise(src)) + math.sqrt(dst.sigma**2 - s**2) * noise(src)
        if dst.sigma == 0:
            mean, covariance = down @ mean, down @ covariance @ down.T
            break
        allowed = (dst.alpha * sigma_y) ** 2
        g = s**2 / (s**2 + allowed) if allowed else 1.0
        seen = dst.sigma * noise(dst)
        linear = rest @ down + pick @ ((1 - g) * down + g * seen @ down)
        fresh = s**2 * (rest + g**2 * pick @ seen @ seen.T @ pick) + g * allowed * pick
        mean = linear @ mean + pick @ np.array([g * dst.alpha * 1.5, 0.0])
        covariance = linear @ covariance @ linear.T + fresh
    return float(mean[1]), math.sqrt(covariance[1, 1])


@pytest.mark.parametrize(("steps", "eta", "sigma_y"), [(12, 0.0, 0.0), (12, 1.0, 0.0), (25, 0.5, 0.3)])
def test_ding_follows_its_law(two_pixels: GaussianMixturePrior, steps: int, eta: float, sigma_y: float) -> None:
    """If this fails, the code is not the transition that its docstring states."""
    mean, std = ding_law(two_pixels, steps, eta, sigma_y)
    samples, _ = ding(two_pixels, X0, KNOWN, count=20_000, seed=0, steps=steps, eta=eta, sigma_y=sigma_y)
    # Four standard errors of 20,000 samples.
    assert float(samples[:, 1].mean()) == pytest.approx(mean, abs=4 * std / 20_000**0.5)
    assert float(samples[:, 1].std()) == pytest.approx(std, abs=4 * std / 40_000**0.5)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ding_nears_the_posterior_with_steps(two_pixels: GaussianMixturePrior, eta: float) -> None:
    """If this fails, DInG's bias does not come from its step length, and our reading of it is no reasonable one."""
    errors = [abs(ding_law(two_pixels, steps, eta, 0.0)[0] - MEAN) for steps in (12, 50, 250, 1000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_diffusers_step_by_hand(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the scheduler gets the noise of another level, or another mask or image.

    Two steps, at timesteps 500 and 0, from diffusers' documented formula: DDIM's on the hole, renoised x0 outside.
    """
    eta = 0.5
    samples, _ = diffusers_repaint(two_pixels, X0, KNOWN, count=4, seed=3, steps=2, eta=eta)
    abar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    levels = [Level(math.sqrt(abar[t]), math.sqrt(1 - abar[t]), t) for t in (0, 500)]
    low, high = levels
    generator = torch.Generator().manual_seed(3)
    x, z = (torch.randn(4, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    prediction = two_pixels.denoise(x, high)
    s = eta * low.sigma / high.sigma * math.sqrt(1 - (high.alpha / low.alpha) ** 2)
    hole = low.alpha * prediction.x0_hat + math.sqrt(low.sigma**2 - s**2) * prediction.eps_hat + s * z
    x = torch.where(KNOWN, low.alpha * 1.5 + low.sigma * z, hole)
    # Both sides are float64; rounding of abar is magnified by 1 / (1 - abar) = 1e4 at the cleanest level.
    torch.testing.assert_close(samples[:, 1], two_pixels.denoise(x, low).x0_hat[:, 1], rtol=1e-9, atol=1e-9)


def test_diffusers_jumps_help(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the jumps of diffusers' timesteps are not run as diffusers' pipeline runs them.

    1,000 samples: the standard error of each mean is below 0.02, and the gap to replacement alone is above 0.2.
    """
    mean = {
        n: float(
            diffusers_repaint(
                two_pixels, X0, KNOWN, count=1000, seed=0, steps=50, jump_length=10, jump_n_sample=n, eta=1.0
            )[0][:, 1].mean()
        )
        for n in (1, 5)
    }
    assert mean[1] + 0.1 < mean[5] < MEAN


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        (lanpaint, {"count": 0}, r"count=0 must be finite and at least 1\."),
        (lanpaint, {"steps": 0}, r"steps=0 must be .* at least 1"),
        (lanpaint, {"inner": -1}, r"inner=-1 must be .* at least 0"),
        (lanpaint, {"lam": math.nan}, r"lam=nan must be finite"),
        (lanpaint, {"spread": -0.5}, r"spread=-0\.5 must be .* at least 0"),
        (lanpaint, {"step_size": 0.0}, r"step_size=0\.0 must be finite and above 0\."),
        (lanpaint, {"friction": -1.0}, r"friction=-1\.0 must be .* above 0"),
        (lanpaint, {"step_size": 1e-9}, r"step_size=1e-09 must be larger at friction=15\.0 .* rounding\)\."),
        (ding, {"eta": 1.5}, r"eta=1\.5 must lie in \[0, 1\]\."),
        (ding, {"sigma_y": -1.0}, r"sigma_y=-1\.0 must be .* at least 0"),
        (ding, {"steps": 0}, r"steps=0 must be .* at least 1"),
        (diffusers_repaint, {"eta": -0.1}, r"eta=-0\.1 must lie in"),
        (
            diffusers_repaint,
            {"steps": 1001},
            r"steps=1001 must be at most 1000 \(RePaintScheduler would silently use 1000\)\.",
        ),
        (diffusers_repaint, {"jump_length": 0}, r"jump_length=0 must be .* at least 1"),
        (diffusers_repaint, {"jump_n_sample": 0}, r"jump_n_sample=0 must be .* at least 1"),
    ],
)
def test_bad_parameters_are_refused(
    method: Method, parameters: dict[str, Any], message: str, two_pixels: GaussianMixturePrior
) -> None:
    """If this fails, a typo in a bench gives a meaningless number."""
    with pytest.raises(InputError, match=message):
        method(two_pixels, X0, KNOWN, **{"count": 1, "seed": 0, **parameters})


@small
@pytest.mark.usefixtures("unchecked")
def test_bad_inputs_are_refused(method: Method, parameters: dict[str, Any], two_pixels: GaussianMixturePrior) -> None:
    """If this fails, x0 and its mask are broadcast, or NaN spreads from a known entry."""
    with pytest.raises(InputError, match=r"x0 of shape \(2,\) must have the shape of known, \(1,\)\."):
        method(two_pixels, X0, KNOWN[:1], count=1, seed=0, **parameters)
    with pytest.raises(InputError, match=r"x0 must be finite where it is known \(mark other entries unknown\)\."):
        method(two_pixels, X0, ~KNOWN, count=1, seed=0, **parameters)


def test_diffusers_wants_a_vp_prior() -> None:
    """If this fails, RePaintScheduler runs on levels that its formulas do not cover."""
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [CORRELATION.tolist()], scheduler=flow)
    with pytest.raises(InputError, match=r"prior must be variance-preserving, not flow"):
        diffusers_repaint(prior, X0, KNOWN, count=1, seed=0)
