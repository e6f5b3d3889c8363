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
from repaint.lab.exactness.peers import diffusers_repaint
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction

Method = Callable[..., tuple[Tensor, int]]

MEAN, STD = 1.350, 0.436  # of the unknown pixel, exactly, where the known one is 1.5
X0 = torch.tensor([1.5, math.nan], dtype=torch.float64)
KNOWN = torch.tensor([True, False])
CORRELATION = np.array([[1.0, 0.9], [0.9, 1.0]])
SMALL: list[tuple[Method, dict[str, Any]]] = [
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
