"""A small network trained on samples of a Gaussian mixture: the posterior is known, and the denoiser has errors.

Under the same method, the difference to the error with the exact denoiser is the cost of the network's errors. Training
is seeded, but like any training it differs in its last bits between CPUs.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn

from repaint.priors.gaussian import GaussianMixturePrior
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction, from_output

__all__ = ["LearnedDenoiser", "learned"]

STEPS, BATCH, WIDTH, RATE = 2000, 256, 192, 2e-3
LOW, HIGH = math.log(0.01), math.log(100.0)  # of sigma / alpha, log-uniform in training
OCTAVES = 6


class Residual(nn.Module):
    """x + MLP(x, noise level)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Float[Tensor, "b w"]) -> Float[Tensor, "b w"]:
        return torch.add(x, self.inner(x))


class SmallDenoiser(nn.Module):
    """E[x0 | x = x0 + sigma n] for vectors, with the scalings of Karras et al. 2022 (arXiv 2206.00364), Table 1.

    Args:
        size: entries of a vector.
        deviation: standard deviation of the data.
    """

    def __init__(self, size: int, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation
        self.first = nn.Linear(size + 2 * OCTAVES, WIDTH)
        self.blocks = nn.Sequential(Residual(), Residual(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, size))

    def forward(self, x: Float[Tensor, "b d"], sigma: Float[Tensor, "b 1"]) -> Float[Tensor, "b d"]:
        scale = (sigma.square() + self.deviation**2).sqrt()
        position = (sigma.log() - LOW) / (HIGH - LOW)
        waves = position * math.pi * 2.0 ** torch.arange(OCTAVES, device=x.device)
        y = self.first(torch.cat([x / scale, waves.sin(), waves.cos()], dim=1))
        skip = self.deviation**2 / scale.square()
        return torch.addcmul(skip * x, sigma * self.deviation / scale, self.blocks(y))


class LearnedDenoiser(PriorWrapper):
    """A Gaussian mixture whose denoiser is a network. Predictions are float32.

    Args:
        prior: the mixture.
        model: the trained network.
    """

    def __init__(self, prior: GaussianMixturePrior, model: SmallDenoiser) -> None:
        super().__init__(prior)
        self._model = model

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Predict x0 with the network."""
        flat = x.reshape(len(x), -1).float() / level.alpha
        with torch.no_grad():
            x0_hat = self._model(flat, torch.full((len(x), 1), level.sigma / level.alpha))
        return from_output("sample", x0_hat.reshape(x.shape), x, level)


@cache
def learned(prior: GaussianMixturePrior, seed: int = 0) -> LearnedDenoiser:
    """Train a network on samples of a mixture: about half a minute on a CPU core for 64 coordinates, once in a process.

    Args:
        prior: the mixture.
        seed: of the initial weights and of all samples.
    """
    rng = torch.Generator().manual_seed(seed)
    size = prior.means.shape[1]
    deviation = float(prior.sample(4096, torch.Generator().manual_seed(seed + 1)).std())
    model = SmallDenoiser(size, deviation)
    with torch.no_grad():
        for weights in model.parameters():  # the global generator is not read
            if weights.ndim == 2:
                weights.copy_(torch.randn(weights.shape, generator=rng) / math.sqrt(weights.shape[1]))
            elif weights.ndim == 1 and not bool((weights == 1).all()):
                weights.zero_()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        x0 = prior.sample(BATCH, rng).reshape(BATCH, -1).float()
        sigma = (LOW + (HIGH - LOW) * torch.rand(BATCH, 1, generator=rng)).exp()
        x = x0 + sigma * torch.randn(x0.shape, generator=rng)
        weight = (sigma.square() + deviation**2) / (sigma * deviation).square()
        loss = (weight * (model(x, sigma) - x0).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()
    return LearnedDenoiser(prior, model.eval())
