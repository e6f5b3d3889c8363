"""The preset for models that predict samples, on a Gaussian whose posterior is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.two_pixel_law import CORRELATION, MEAN, VALUE
from torch import Tensor

from repaint.sampling.levels import Level
from repaint.sampling.method import Method, as_method
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.testing import PixelByPixelPrior

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
COUNT = 20_000  # the standard error of the mean is 0.005


class ConsistentPixels(PixelByPixelPrior):
    """Two correlated pixels and their exact consistency function: the clean end of the deterministic path through x."""

    def __init__(self) -> None:
        super().__init__(channels=1, dtype=torch.float64)
        self.variances, self.axes = torch.linalg.eigh(torch.tensor(CORRELATION.tolist(), dtype=torch.float64))

    def schedule(self, steps: int, spacing: str | None = None) -> NoiseSchedule:
        return NoiseSchedule.from_scheduler(BETAS, steps, spacing)

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        along = x.reshape(len(x), 2) @ self.axes
        shrunk = along * (self.variances / (level.alpha**2 * self.variances + level.sigma**2)).sqrt()
        return from_output("sample", (shrunk @ self.axes.T).reshape(x.shape), x, level)


def filled(method: Method, known: bool = True) -> Tensor:
    """Return the second pixel of many results; the first is known, or none is."""
    x0, mask = torch.zeros(COUNT, 2, 1, 1, dtype=torch.float64), torch.zeros(COUNT, 2, 1, 1, dtype=torch.bool)
    x0[:, 0], mask[:, 0] = VALUE, known
    sampler: Any = Sampler(ConsistentPixels(), method)
    state = sampler.start(x0, mask, seeds=[0])
    for moved in sampler.run(state):
        state = moved
    return state.x[:, 1].flatten()


def test_more_low_levels_learn_more_from_the_known_pixel() -> None:
    """If this fails, the figures of docs/schedules.md are wrong, or the preset has no reason to visit a level twice."""
    once = as_method(Method(JumpSchedule.from_levels([4, 0, 3, 0, 2, 0, 1, 0]), spacing="trailing"))
    assert filled(once).mean().item() == pytest.approx(0.64, abs=0.02)
    assert filled(Method.from_preset("turbo")).mean().item() == pytest.approx(0.82, abs=0.02)
    assert pytest.approx(1.35) == MEAN


def test_samples_have_the_variance_of_the_prior() -> None:
    """If this fails, steps between levels assume a mean, and samples of a consistency model are too wide or narrow."""
    wrong = as_method(Method(JumpSchedule.paper(6, jump_n_sample=1), spacing="trailing"))
    assert filled(Method.from_preset("turbo"), known=False).std().item() == pytest.approx(1.0, abs=0.03)
    assert abs(filled(wrong, known=False).std().item() - 1.0) > 0.05
