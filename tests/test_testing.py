"""The prior that users' own tests run on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from repaint.errors import PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.prior import Conditions, Prior, PriorDefaults
from repaint.testing import PixelByPixelPrior

NOISE = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_denoiser_is_exact() -> None:
    """If this fails, the shipped fake prior is not the denoiser of independent pixels of variance 1/4."""
    prior = PixelByPixelPrior()
    exact = GaussianMixturePrior([1.0], torch.zeros(1, 60), torch.eye(60)[None] / 4, shape=(3, 4, 5))
    for level in prior.schedule(4).levels[1:]:
        found, expected = prior.denoise(NOISE, level), exact.denoise(NOISE, level)
        torch.testing.assert_close(found.x0_hat, expected.x0_hat, rtol=1e-12, atol=1e-12)  # float64 rounding
        torch.testing.assert_close(found.eps_hat, expected.eps_hat, rtol=1e-12, atol=1e-12)


def test_it_runs_in_a_pipeline() -> None:
    """If this fails, users cannot test their own code with it: images of some size fail or lose known pixels."""
    pipe = RePaintPipeline(PixelByPixelPrior(channels=1, multiple_of=4, preferred_size=8))
    pipe.set_progress_bar_config(disable=True)
    image = np.random.default_rng(0).integers(0, 256, (13, 9), dtype=np.uint8)
    hole = np.zeros((13, 9), bool)
    hole[3:6, 2:7] = True
    result = pipe(image, hole, generator=0, output_type="np").images[0].squeeze()
    assert np.array_equal(result[~hole], image[~hole])
    assert not np.array_equal(result[hole], image[hole])


def test_it_takes_no_conditions() -> None:
    """If this fails, a test that passes a prompt by mistake is green."""
    with pytest.raises(
        PriorError, match=r"^prompt must be left out: a prior of independent pixels takes no conditions\. Use a text"
    ):
        PixelByPixelPrior().conditioned(1, Conditions(prompt="a cat"))


def test_defaults_complete_the_protocol() -> None:
    """If this fails, a prior of a user that inherits PriorDefaults lacks an attribute that callers read."""
    assert isinstance(PixelByPixelPrior(), Prior)
    declared = {name for name in vars(Prior) if isinstance(vars(Prior)[name], property)}
    required = {"channels", "multiple_of", "device", "dtype"}
    assert declared - required | {"release"} == {name for name in vars(PriorDefaults) if not name.startswith("_")}
