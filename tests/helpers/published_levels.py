"""Two pixels on given noise levels: what the published methods are checked on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.method import Method
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.sampler import Sampler
from repaint.sampling.spacing import Spacing
from repaint.sampling.state import SamplerState

__all__ = ["ABAR", "TwoPixels", "evenly", "flow", "karras", "leading", "moments", "result"]

EXPLODING = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 100.0, "rho": 7.0}
ABAR = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def trained(times: list[int]) -> tuple[Level, ...]:
    """Levels of the linear betas at rising training timesteps, after the clean one."""
    return (CLEAN, *(Level(math.sqrt(ABAR[t]), math.sqrt(1 - ABAR[t]), float(t)) for t in times))


def evenly(count: int) -> tuple[Level, ...]:
    """`count` levels on an even grid of timesteps from 0 to 999, cut to integers."""
    return trained(np.linspace(0, 999, count).astype(int).tolist())


def leading(count: int) -> tuple[Level, ...]:
    """`count` levels at 0, 1000 / count, ..."""
    return trained([i * 1000 // count for i in range(count)])


def flow(count: int, shift: float = 1.0) -> tuple[Level, ...]:
    """`count` levels of a flow, even before the shift."""
    even = [i / count for i in range(1, count + 1)]
    times = [shift * u / (1 + (shift - 1) * u) for u in even]
    return (CLEAN, *(Level(1 - s, s, 1000 * s) for s in times))


def karras(count: int, most: float, least: float) -> tuple[Level, ...]:
    """The levels of DAPS, variance-exploding: even in the 7th root, without the least."""
    roots = [most ** (1 / 7) + i / count * (least ** (1 / 7) - most ** (1 / 7)) for i in range(count)]
    return (CLEAN, *(Level(1.0, root**7, root**7) for root in reversed(roots)))


class TwoPixels(GaussianMixturePrior):
    """N(0, [[1, .9], [.9, 1]]) on given levels, whatever spacing is named; others for walks within a step."""

    def __init__(self, levels: tuple[Level, ...]) -> None:
        family = EXPLODING if levels[1].alpha == 1 else {"beta_schedule": "linear"}
        super().__init__([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]], scheduler=family)
        self.levels = levels

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        if steps == len(self.levels) - 1:
            return NoiseSchedule(self.levels, "VP", str(spacing))
        return super().schedule(steps, spacing)


def result(method: Method, on: tuple[Level, ...] | TwoPixels, count: int = 8000, seed: int = 0) -> SamplerState:
    """The last state of a population where the first pixel is known to be 1.5, on levels or a prior that has them."""
    sampler = Sampler(on if isinstance(on, TwoPixels) else TwoPixels(on), method)
    x0 = torch.tensor([1.5, math.nan], dtype=torch.float64).expand(count, 2)
    known = torch.tensor([True, False]).expand(count, 2)
    state = sampler.start(x0, known, seeds=[seed])
    for moved in sampler.run(state):
        state = moved
    return state


def moments(x: Tensor) -> tuple[float, float]:
    """Mean and std of the unknown pixel."""
    return float(x[:, 1].mean()), float(x[:, 1].std())
