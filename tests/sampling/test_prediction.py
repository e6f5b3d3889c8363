"""The four parametrisations, clipping and learned variance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from repaint.errors import NoiseLevelError, PriorError
from repaint.sampling.levels import Level
from repaint.sampling.prediction import PARAMETRISATIONS, Clip, from_output, split_variance, weighted

# Late and early levels of each family.
LEVELS = {
    "VP noisy": Level(0.1, 0.99**0.5, 900),
    "VP clean": Level(0.9999**0.5, 0.01, 0),
    "flow noisy": Level(0.05, 0.95, 950),
    "flow clean": Level(0.99, 0.01, 10),
    "VE noisy": Level(1.0, 80.0, 80),
    "VE clean": Level(1.0, 0.002, 0.002),
}
NOISE = Level(0.0, 1.0, 999)


def views(x0: Tensor, eps: Tensor, level: Level) -> dict[str, Tensor]:
    """Compute the training target of each kind of model, from the definitions in the papers."""
    return {
        "epsilon": eps,
        "v_prediction": level.alpha * eps - level.sigma * x0,
        "sample": x0,
        "flow_prediction": eps - x0,
    }


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 3, 8, 8, generator=generator, dtype=torch.float64)
    return x0, eps


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_every_view_gives_back_x0_and_eps(kind: str, name: str, pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, models of one parametrisation or family give a wrong x0."""
    (x0, eps), level = pair, LEVELS[name]
    x = level.alpha * x0 + level.sigma * eps
    prediction = from_output(kind, views(x0, eps, level)[kind], x, level)
    # Dividing by alpha or sigma multiplies rounding, 1e-16 |x|, by their inverse: 500 at most here.
    torch.testing.assert_close(prediction.x0_hat, x0, rtol=0, atol=1e-11)
    torch.testing.assert_close(prediction.eps_hat, eps, rtol=0, atol=1e-11)


@pytest.mark.parametrize("clip", [None, Clip(), Clip(quantile=0.9, max_value=1.5)], ids=["none", "static", "dynamic"])
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_the_pair_explains_x_even_when_clipped(kind: str, clip: Clip | None, pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, eps_hat is not derived again after clipping, and DDIM steps leave the noise path."""
    (x0, eps), level = pair, LEVELS["VP noisy"]
    x = level.alpha * x0 + level.sigma * eps
    prediction = from_output(kind, views(x0, eps, level)[kind], x, level, clip=clip)
    torch.testing.assert_close(
        level.alpha * prediction.x0_hat + level.sigma * prediction.eps_hat, x, rtol=0, atol=1e-14
    )
    if clip is not None:
        assert x0.abs().max() > 1  # the input needs clipping
        assert prediction.x0_hat.abs().max() <= 1


@pytest.mark.parametrize("clip", [None, Clip()], ids=["free", "clipped"])
@pytest.mark.parametrize("kind", PARAMETRISATIONS)
def test_variance_and_unguided_noise_are_passed_on(kind: str, clip: Clip | None, pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, learned variances are lost, or guidance exaggerates the noise of the known part."""
    (x0, eps), level = pair, LEVELS["VP noisy"]
    x = level.alpha * x0 + level.sigma * eps
    conditional = 1.5 - x0  # another x0_hat for the same x
    alone = views(conditional, (x - level.alpha * conditional) / level.sigma, level)[kind]
    mix = torch.rand(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output = views(x0, eps, level)[kind]
    prediction = from_output(kind, output, x, level, clip=clip, variance=mix, unguided=alone)
    assert prediction.variance is mix
    expected = (x - level.alpha * (conditional if clip is None else conditional.clamp(-1, 1))) / level.sigma
    torch.testing.assert_close(prediction.known_eps, expected, rtol=0, atol=1e-13)
    plain = from_output(kind, output, x, level, clip=clip)
    assert plain.variance is None
    assert plain.known_eps is plain.eps_hat


def test_a_predicted_epsilon_is_not_rounded_through_x0() -> None:
    """If this fails, eps_hat of a nearly clean sample (sigma = 0.002, large x) loses most of its digits."""
    e, x = torch.full((1, 2), 0.1), torch.full((1, 2), 100.0)
    assert from_output("epsilon", e, x, LEVELS["VE clean"]).eps_hat is e


def test_static_clipping_by_hand() -> None:
    """If this fails, x0_hat leaves the range of the data, or the configured range is ignored."""
    x0 = torch.tensor([[-3.0, -0.5, 2.5]])
    assert Clip()(x0).tolist() == [[-1.0, -0.5, 1.0]]
    assert Clip(limit=2.0)(x0).tolist() == [[-2.0, -0.5, 2.0]]
    assert torch.equal(Clip(limit=1e39)(x0.float()), x0.float())  # beyond float32: no limit
    assert Clip(quantile=1.0, max_value=1e39)(x0.float()).abs().max() == 1


@pytest.mark.parametrize("max_value", [1.0, 1.5, 100.0])
def test_dynamic_thresholding_is_that_of_diffusers(max_value: float, pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, models with dynamic thresholding (Imagen) give too much or too little contrast."""
    scheduler = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=max_value)
    x0 = pair[0] * torch.tensor([0.1, 1.0, 3.0]).reshape(3, 1, 1, 1)  # within, near and far outside the range
    clip = Clip.from_config(scheduler.config)
    assert clip is not None
    torch.testing.assert_close(clip(x0), scheduler._threshold_sample(x0), rtol=1e-14, atol=0)


def test_clip_is_read_from_the_config() -> None:
    """If this fails, a latent model is clipped, or a pixel model is not."""
    assert Clip.from_config({"clip_sample": True}) == Clip(limit=1.0)
    assert Clip.from_config({"clip_sample": True, "clip_sample_range": 2.0}) == Clip(limit=2.0)
    assert Clip.from_config({"clip_sample": False, "thresholding": False}) is None
    assert Clip.from_config({}) is None
    assert Clip() == Clip(limit=1.0, quantile=None, max_value=1.0)
    assert Clip.from_config({"clip_denoised": True}) == Clip(limit=1.0)
    assert Clip.from_config({"clip_denoised": False}) is None
    assert Clip.from_config({"clip_sample": True, "thresholding": True}) == Clip(quantile=0.995, max_value=1.0)


def test_split_variance_halves_the_channels() -> None:
    """If this fails, guided-diffusion models read colour as variance, or mix variances outside the bounds."""
    output = torch.linspace(-1, 1, 24).reshape(1, 6, 2, 2)
    prediction, mix = split_variance(output)
    assert torch.equal(prediction, output[:, :3])
    assert torch.equal(mix, (output[:, 3:] + 1) / 2)
    assert split_variance(torch.tensor([[0.0, -1.0], [0.0, 1.0]]))[1].flatten().tolist() == [0.0, 1.0]


def test_epsilon_is_refused_at_pure_noise() -> None:
    """If this fails, an epsilon model on a zero-terminal-SNR grid divides by zero instead of raising."""
    x = torch.ones(1, 1, 2, 2)
    with pytest.raises(NoiseLevelError, match=r"^alpha must be above 0 for epsilon predictions .*predicts v or x0"):
        from_output("epsilon", x, x, NOISE)


@pytest.mark.parametrize("kind", ["v_prediction", "sample", "flow_prediction"])
def test_the_other_views_work_at_pure_noise(kind: str, pair: tuple[Tensor, Tensor]) -> None:
    """If this fails, zero-terminal-SNR and flow models cannot make their first step."""
    x0, eps = pair
    prediction = from_output(kind, views(x0, eps, NOISE)[kind], eps, NOISE)
    torch.testing.assert_close(prediction.x0_hat, x0, rtol=0, atol=1e-14)
    torch.testing.assert_close(prediction.eps_hat, eps, rtol=0, atol=1e-14)


def test_unknown_kinds_are_refused() -> None:
    """If this fails, a typo in a scheduler's config gives an error without a suggestion."""
    x = torch.ones(1, 1)
    with pytest.raises(PriorError, match=r"^prediction_type='epsilom' must be one of .* Did you mean 'epsilon'\?"):
        from_output("epsilom", x, x, LEVELS["VP noisy"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"clip_sample": True, "clip_sample_range": None}, r"^clip_sample_range=None must be a number"),
        (
            {"clip_sample": True, "clip_sample_range": 0},
            r"^clip_sample_range=0 must be a number of at least 1e-06 \(a scheduler",
        ),
        (
            {"thresholding": True, "dynamic_thresholding_ratio": 2},
            r"^dynamic_thresholding_ratio=2 must be a number from 0 to 1 ",
        ),
        ({"thresholding": True, "sample_max_value": "1"}, r"^sample_max_value='1' must be a number of at least 0 "),
    ],
)
def test_clipping_ranges_out_of_range_are_refused(config: dict[str, Any], message: str) -> None:
    """If this fails, an edited scheduler ends in a traceback, or in an image of one colour."""
    with pytest.raises(NoiseLevelError, match=message):
        Clip.from_config(config)


def test_weighted_sums_by_hand() -> None:
    """If this fails, a step changes an input in place, or 0 times infinity becomes NaN."""
    x, y, overflow = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.tensor([torch.inf, torch.nan])
    assert weighted((2, x), (0, overflow), (-0.5, y)).tolist() == [-3.0, -6.0]
    assert weighted((0, overflow), (1, x)).tolist() == [1.0, 2.0]
    assert weighted((0, x), (0, overflow)).tolist() == [0.0, 0.0]
    assert weighted((1, x)) is not x
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [10.0, 20.0])
