"""Training-free inpainting of other libraries behind one signature, for the exactness bench.

| function | after | model calls |
|---|---|---|
| `diffusers_repaint` | diffusers' `RePaintScheduler` itself | depends on its timesteps; 2410 at the paper's setting |

Published methods on this library's own parts are presets, see `repaint schedule list --published`.

Each function reads only the known entries of x0, and returns (samples (count, *shape) float64, model calls). Known
entries of each sample are bit-equal to x0. Priors must compute in float64 on the CPU, as Gaussian mixtures do.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.prior import Prior

__all__ = ["diffusers_repaint"]

Sample = Float[Tensor, "*shape"]
Known = Bool[Tensor, "*shape"]
Batch = Float[Tensor, "b *shape"]

TRAINED = 1000  # training timesteps of diffusers' scheduler


def diffusers_repaint(
    prior: Prior,
    x0: Sample,
    known: Known,
    *,
    count: int,
    seed: int,
    steps: int = 250,
    jump_length: int = 10,
    jump_n_sample: int = 10,
    eta: float = 0.0,
) -> tuple[Batch, int]:
    """Run the `RePaintScheduler` of the installed diffusers as diffusers' pipeline does.

    Its betas are those of the prior's 1000 levels, so that model and scheduler use the same noise levels.
    `clip_sample` is off, unlike its default, since samples of mixtures leave [-1, 1].

    Args:
        prior: of a variance-preserving path trained on 1000 levels.
        x0: (*shape) the clean sample; read where known.
        known: (*shape) True is kept.
        count: samples, at least 1.
        seed: of all random draws.
        steps: 1 to 1000.
        jump_length, jump_n_sample: of the scheduler, at least 1; the defaults are those of the paper and the pipeline.
        eta: 0 (default of the pipeline, DDIM) to 1 (DDPM, as in the paper).
    Raises:
        InputError: a parameter out of its range, shapes that differ, or a prior that is not variance-preserving.
    """
    _check(x0, known, count, steps=(steps, 1), jump_length=(jump_length, 1), jump_n_sample=(jump_n_sample, 1))
    _check_eta(eta)
    if steps > TRAINED:
        raise InputError(f"steps={steps} must be at most {TRAINED} (RePaintScheduler would silently use {TRAINED}).")
    grid = prior.schedule(TRAINED, "leading")
    if grid.family != "VP":
        raise InputError(f"prior must be variance-preserving, not {grid.family} (RePaintScheduler supports only VP).")
    from diffusers import RePaintScheduler

    abar = np.array([level.alpha**2 for level in grid.levels])
    scheduler = RePaintScheduler(trained_betas=1 - abar[1:] / abar[:-1], clip_sample=False)
    scheduler.set_timesteps(steps, jump_length, jump_n_sample)
    scheduler.eta = eta
    generator = torch.Generator().manual_seed(seed)
    y0 = torch.where(known, x0.to(torch.float64), 0.0)  # the scheduler multiplies by the mask, and 0 x NaN is NaN
    mask = known.to(torch.float64)
    x = _noise(count, x0, generator)
    calls, last = 0, int(scheduler.timesteps[0]) + 1
    for t in scheduler.timesteps.tolist():
        if t < last:
            eps_hat = _eps(prior, x, grid[t + 1])
            calls += 1
            x = scheduler.step(eps_hat, t, x, y0, mask, generator).prev_sample
        else:
            x = scheduler.undo_step(x, last, generator)
        last = t
    return _exact(x, y0, known), calls


def _eps(prior: Prior, x: Batch, level: Level) -> Batch:
    return prior.denoise(x, level).eps_hat


def _noise(count: int, like: Sample, generator: torch.Generator) -> Batch:
    return torch.randn(count, *like.shape, dtype=torch.float64, generator=generator)


def _exact(x: Batch, y0: Sample, known: Known) -> Batch:
    return torch.where(known, y0, x)


def _check(x0: Tensor, known: Tensor, count: int, **at_least: tuple[float, int]) -> None:
    """Check that shapes agree and that parameters, given as name=(value, lowest value), are large enough."""
    if x0.shape != known.shape:
        raise InputError(f"x0 of shape {tuple(x0.shape)} must have the shape of known, {tuple(known.shape)}.")
    if not bool(torch.isfinite(x0[known]).all()):
        raise InputError("x0 must be finite where it is known (mark other entries unknown).")
    for name, (value, low) in {"count": (count, 1), **at_least}.items():
        if not (math.isfinite(value) and value >= low):
            raise InputError(f"{name}={value} must be finite and at least {low}.")


def _check_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise InputError(f"eta={eta} must lie in [0, 1].")
