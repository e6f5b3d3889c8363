"""The exact prior against autograd, Monte Carlo and brute force. Every exactness claim depends on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from repaint.errors import PriorError
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import Level
from repaint.sampling.prior import Conditions

WEIGHTS = [1.0, 2.0, 0.5]
MEANS = [[0.0, 0.0, 1.0], [2.0, -1.0, 0.0], [-2.0, 1.5, -0.5]]
LEVELS = [
    Level(0.9, 0.19**0.5, 0),  # VP
    Level(0.1, 0.99**0.5, 0),
    Level(0.3, 0.7, 0),  # flow
    Level(0.0, 1.0, 0),
    Level(1.0, 5.0, 0),  # VE
    Level(1.0, 0.05, 0),
]


def covariances() -> Tensor:
    roots = torch.randn(3, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return roots @ roots.mT * 0.3 + 0.05 * torch.eye(3, dtype=torch.float64)


@pytest.fixture
def prior() -> GaussianMixturePrior:
    return GaussianMixturePrior(WEIGHTS, MEANS, covariances())


def density(level: Level) -> MixtureSameFamily:
    """Return the marginal of x at a level, from PyTorch's distributions."""
    means = level.alpha * torch.tensor(MEANS, dtype=torch.float64)
    spread = level.alpha**2 * covariances() + level.sigma**2 * torch.eye(3, dtype=torch.float64)
    return MixtureSameFamily(Categorical(torch.tensor(WEIGHTS, dtype=torch.float64)), MultivariateNormal(means, spread))


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: f"alpha {level.alpha:g}, sigma {level.sigma:.2g}")
def test_denoiser_is_the_score_of_the_density(prior: GaussianMixturePrior, level: Level) -> None:
    """If this fails, the prior is not exact, and every sampler error measured on it is wrong."""
    x = 3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x.requires_grad_()
    (score,) = torch.autograd.grad(density(level).log_prob(x).sum(), x)
    x = x.detach()
    prediction = prior.denoise(x, level)
    # Cholesky there, eigenvectors here: both good to rounding times a condition number below 1000.
    torch.testing.assert_close(prediction.eps_hat, -level.sigma * score, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        level.alpha * prediction.x0_hat + level.sigma * prediction.eps_hat, x, rtol=1e-12, atol=1e-12
    )


def test_denoiser_is_the_expected_x0(prior: GaussianMixturePrior) -> None:
    """If this fails, x0_hat is not E[x0 | x], as estimated by importance sampling without any formula for mixtures."""
    level, x = Level(0.6, 0.8, 0), torch.tensor([[0.5, -0.3, 0.8]], dtype=torch.float64)
    x0 = prior.sample(400_000, torch.Generator().manual_seed(0))
    weights = torch.softmax(-((x - level.alpha * x0) ** 2).sum(1) / (2 * level.sigma**2), dim=0)
    mean = weights @ x0
    error = (weights.square() @ (x0 - mean).square()).sqrt()  # the standard error of self-normalised weighing
    assert ((prior.denoise(x, level).x0_hat[0] - mean).abs() < 4 * error).all()
    assert (error < 0.01).all()  # so the test says something


def test_pure_noise_predicts_the_mean(prior: GaussianMixturePrior) -> None:
    """If this fails, an exact prior cannot start from alpha = 0."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.tensor(WEIGHTS, dtype=torch.float64) / sum(WEIGHTS) @ torch.tensor(MEANS, dtype=torch.float64)
    prediction = prior.denoise(x, Level(0.0, 1.0, 999))
    torch.testing.assert_close(prediction.x0_hat, mean.expand(4, 3), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prediction.eps_hat, x, rtol=1e-12, atol=1e-12)


def test_far_from_all_data_nothing_overflows(prior: GaussianMixturePrior) -> None:
    """If this fails, densities underflow to 0 / 0 = NaN at low noise."""
    x = torch.full((1, 3), 1e4, dtype=torch.float64)
    assert torch.isfinite(prior.denoise(x, Level(1.0, 1e-3, 0)).x0_hat).all()


def test_posterior_of_two_pixels(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the reference for all samplers is wrong."""
    posterior = two_pixels.posterior([0], [1.5])
    assert float(posterior.means) == pytest.approx(1.350, abs=1e-12)
    assert float(posterior.covariances) ** 0.5 == pytest.approx(0.436, abs=5e-4)
    assert float(posterior.covariances) == pytest.approx(1 - 0.9**2, abs=1e-12)


def test_posterior_is_conditioning(prior: GaussianMixturePrior) -> None:
    """If this fails, the posterior that samplers are compared with is not exact.

    Brute force: p(x_1 | x_0, x_2) is the joint density along a line, divided by its sum over a fine grid.
    """
    posterior = prior.posterior([2, 0], [0.4, 1.0])
    grid = torch.linspace(-15, 15, 30_001, dtype=torch.float64)
    line = torch.stack([torch.full_like(grid, 1.0), grid, torch.full_like(grid, 0.4)], dim=1)
    joint = density(Level(1.0, 0.0, 0)).log_prob(line).exp()
    expected = joint / (joint.sum() * 0.001)
    ours = MixtureSameFamily(
        Categorical(posterior.weights),
        MultivariateNormal(posterior.means, posterior.covariances),
    )
    # The sum is exact to rounding for smooth densities that vanish at both ends.
    torch.testing.assert_close(ours.log_prob(grid[:, None]).exp(), expected, rtol=1e-9, atol=1e-9)


def test_posterior_keeps_the_order_of_what_is_unknown(prior: GaussianMixturePrior) -> None:
    """If this fails, exact samples are compared with the pixels of a neighbour."""
    one_by_one = prior.posterior([1], [0.3]).posterior([1], [-0.2])  # coordinate 1, then 2, which is 1 of those left
    at_once = prior.posterior([2, 1], [-0.2, 0.3])
    torch.testing.assert_close(one_by_one.means, at_once.means, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(one_by_one.covariances, at_once.covariances, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(one_by_one.weights, at_once.weights, rtol=1e-10, atol=1e-10)


def test_samples_have_the_moments_of_the_mixture(prior: GaussianMixturePrior) -> None:
    """If this fails, the exact samples that errors are measured against have another distribution."""
    count = 200_000
    x = prior.sample(count, torch.Generator().manual_seed(0))
    weights = torch.tensor(WEIGHTS, dtype=torch.float64) / sum(WEIGHTS)
    means = torch.tensor(MEANS, dtype=torch.float64)
    mean = weights @ means
    off = means - mean
    covariance = torch.einsum("k,kde->de", weights, covariances() + off[:, :, None] * off[:, None])
    std = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean).abs() < 4 * std / count**0.5).all()
    # Fourth moments: the product of two coordinates has a std below 3 std_i std_j here.
    assert ((x.T.cov() - covariance).abs() < 4 * 3 * std[:, None] * std / count**0.5).all()


def test_image_shapes_and_dtypes_are_kept() -> None:
    """If this fails, an exact prior over images cannot be used in a pipeline."""
    prior = GaussianMixturePrior([1.0], [[0.0] * 12], [np.eye(12).tolist()], shape=(3, 2, 2))
    assert prior.channels == 3
    assert prior.sample(5, torch.Generator().manual_seed(0)).shape == (5, 3, 2, 2)
    x = torch.ones(2, 3, 2, 2)
    prediction = prior.denoise(x, Level(0.6, 0.8, 0))
    assert prediction.x0_hat.shape == x.shape
    assert prediction.x0_hat.dtype == torch.float32
    torch.testing.assert_close(prediction.x0_hat, 0.6 * x)  # alpha / (alpha^2 + sigma^2) x
    assert prior.encode(x, x > 0)[0] is x
    assert prior.decode(x) is x


def test_weights_are_normalised_and_dead_components_dropped() -> None:
    """If this fails, weights of 2 and 2 count for more than 1 and 1, or an underflowed posterior divides by 0."""
    assert GaussianMixturePrior([2.0, 2.0], [[0.0], [1.0]], [[[1.0]], [[1.0]]]).weights.tolist() == [0.5, 0.5]
    far = GaussianMixturePrior([1.0, 1.0], [[0.0, 0.0], [1e4, 0.0]], torch.eye(2).expand(2, 2, 2))
    assert far.posterior([0], [0.0]).weights.tolist() == [1.0]


EYE = [[[1.0, 0.0], [0.0, 1.0]]]


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        (
            ([1.0, 1.0], [[0.0, 0.0]], EYE),
            None,
            r"weights and means .* \(K,\) and \(K, D\) \(given: \(2,\) and \(1, 2\)",
        ),
        (([1.0], [0.0], EYE), None, r"must have shapes \(K,\) and \(K, D\) \(given: \(1,\) and \(1,\)\)"),
        (([1.0], [[0.0, 0.0]], [[[1.0]]]), None, r"covariances must have shape \(1, 2, 2\) \(given: \(1, 1, 1\)"),
        (([0.0], [[0.0, 0.0]], EYE), None, r"weights=\[0\.0\] must be above 0"),
        (([math.nan], [[0.0, 0.0]], EYE), None, r"weights must be finite"),
        (([1.0], [[0.0, 0.0]], EYE), (3,), r"shape=\(3,\) must have 2 entries"),
        (
            ([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]),
            None,
            r"must be positive semi-definite \(one has a negative eigenvalue\)",
        ),
        (([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), None, r"covariances must be symmetric"),
        (([1.0], [[0.0, math.nan]], EYE), None, r"means must be finite"),
    ],
)
def test_broken_mixtures_are_refused(arguments: Any, shape: tuple[int, ...] | None, message: str) -> None:
    """If this fails, an ill-formed "exact" prior gives wrong reference results."""
    with pytest.raises(PriorError, match=message):
        GaussianMixturePrior(*arguments, shape=shape)


@pytest.mark.parametrize("index", [[0, 0], [3], [-1], [0, 1, 2]])
def test_impossible_conditions_are_refused(prior: GaussianMixturePrior, index: list[int]) -> None:
    """If this fails, a negative or repeated index silently conditions on another pixel."""
    with pytest.raises(PriorError, match=r"known_index=.* must be distinct indices from 0 to 2"):
        prior.posterior(index, [0.0] * len(index))
    with pytest.raises(PriorError, match=r"with one value each \(given: 1 values\)"):
        prior.posterior([0, 1], [0.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_mixtures(dtype: torch.dtype) -> None:
    """If this fails, a rounded rank-deficient covariance is refused, or its posterior ends in an error of LAPACK.

    Three factors explain six coordinates, so three known ones determine the others.
    """
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(20, 6, 3, dtype=dtype, generator=generator)
    for factor in factors:
        covariance = factor @ factor.mT
        prior = GaussianMixturePrior([1.0], torch.zeros(1, 6), ((covariance + covariance.mT) / 2)[None])
        x = prior.sample(1, generator)[0]
        rest = prior.posterior([0, 1, 2], x[:3])
        # The root of the rounding of entries of about 10, times the condition of the known part.
        atol = 0.1 if dtype == torch.float32 else 1e-5
        torch.testing.assert_close(rest.sample(1, generator)[0], x[3:], rtol=0, atol=atol)
        if dtype == torch.float64:
            with pytest.raises(PriorError, match="covariance of the known coordinates must not be singular"):
                prior.posterior([0, 1, 2, 3], x[:4])
    points = GaussianMixturePrior([1.0, 1.0], [[0.0, 0.0], [1.0, 1.0]], torch.zeros(2, 2, 2))
    assert points.responsibilities(torch.tensor([[1.0, 1.0]])).tolist() == [[0.0, 1.0]]


def test_conditions_are_refused(prior: GaussianMixturePrior) -> None:
    """If this fails, a class or prompt for an exact prior is silently ignored."""
    with pytest.raises(PriorError, match="a Gaussian mixture"):
        prior.conditioned(1, Conditions(class_labels=3))
    assert prior.conditioned(1, Conditions()) is prior


def test_samples_do_not_depend_on_the_eigenvectors() -> None:
    """If this fails, a seed draws other samples on another CPU, and measured errors differ in the third digit.

    Where eigenvalues are equal, LAPACK's rounding decides which of many orthogonal eigenvectors it returns.
    """
    generator = torch.Generator().manual_seed(0)
    basis, other = torch.linalg.qr(torch.randn(2, 4, 4, dtype=torch.float64, generator=generator))[0]
    spread = torch.tensor([0.5, 2.0, 2.0, 2.0], dtype=torch.float64)
    turn = torch.eye(4, dtype=torch.float64)
    turn[1:, 1:] = torch.linalg.qr(other[1:, 1:])[0]
    x = torch.randn(2, 4, dtype=torch.float64, generator=generator)
    found = []
    for vectors in (basis, basis @ turn, -basis):
        prior = GaussianMixturePrior([1.0], torch.zeros(1, 4), (basis * spread @ basis.mT)[None])
        prior._basis, prior._spread = vectors[None], spread[None]
        found.append((prior.sample(8, torch.Generator().manual_seed(0)), prior.denoise(x, LEVELS[0]).x0_hat))
    for samples, x0_hat in found[1:]:
        torch.testing.assert_close(samples, found[0][0], rtol=0, atol=1e-13)
        torch.testing.assert_close(x0_hat, found[0][1], rtol=0, atol=1e-13)


def test_arrays_are_accepted() -> None:
    """If this fails, a mixture cannot be made from numpy arrays, or user code with them fails its type check."""
    mixture = GaussianMixturePrior(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    assert torch.equal(mixture.covariances, torch.eye(2, dtype=torch.float64)[None])
