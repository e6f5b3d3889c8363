"""Classifier guidance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from repaint.sampling.guidance import guided
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, from_output

VP, NOISE = Level(0.1, 0.99**0.5, 900), Level(0.0, 1.0, 999)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x0, eps


def test_guided_is_dhariwal_and_nichols(pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, classifier guidance has the wrong strength or direction (arXiv 2105.05233, Alg. 2)."""
    (x0, eps), level = pair, VP
    x = level.alpha * x0 + level.sigma * eps
    gradient = torch.cos(x)
    abar = level.alpha**2
    mix, alone = torch.sigmoid(x), 2 * eps
    shifted = guided(from_output("epsilon", eps, x, level, variance=mix, unguided=alone), x, level, gradient)
    expected = eps - (1 - abar) ** 0.5 * gradient
    torch.testing.assert_close(shifted.eps_hat, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(shifted.x0_hat, (x - (1 - abar) ** 0.5 * expected) / abar**0.5, rtol=1e-12, atol=1e-12)
    assert shifted.variance is mix
    torch.testing.assert_close(shifted.known_eps, alone - (1 - abar) ** 0.5 * gradient, rtol=1e-14, atol=1e-14)
    assert guided(Prediction(x0, eps), x, level, gradient).unguided is None


def test_guidance_leaves_pure_noise_alone(pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, guidance divides by alpha = 0 at the first step of a flow model."""
    x0, eps = pair
    prediction = from_output("flow_prediction", eps - x0, eps, NOISE)
    assert guided(prediction, eps, NOISE, torch.ones_like(eps)) is prediction
