"""Training-free inpainting methods of others behind one signature, for the exactness bench.

| function | after | model calls |
|---|---|---|
| `lanpaint` | LanPaint, arXiv 2502.03491 | steps x (inner + 1) |
| `ding` | DInG, arXiv 2512.18365 | 2 x steps - 1 |
| `diffusers_repaint` | diffusers' `RePaintScheduler` itself | depends on its timesteps; 2410 at the paper's setting |

The first two were written from the abstracts of their papers and a summary of the idea, without the authors' code.
Each docstring separates what is published from our reading. The authors' programs may differ.

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
from repaint.sampling.levels import Level, posterior
from repaint.sampling.prior import Prior
from repaint.sampling.spacing import Spacing

__all__ = ["diffusers_repaint", "ding", "lanpaint"]

Sample = Float[Tensor, "*shape"]
Known = Bool[Tensor, "*shape"]
Batch = Float[Tensor, "b *shape"]

TRAINED = 1000  # training timesteps of diffusers' scheduler


def lanpaint(
    prior: Prior,
    x0: Sample,
    known: Known,
    *,
    count: int,
    seed: int,
    steps: int = 20,
    inner: int = 5,
    lam: float = 8.0,
    step_size: float = 0.2,
    friction: float = 15.0,
    spread: float = 1.0,
    spacing: Spacing | None = "trailing",
) -> tuple[Batch, int]:
    """Denoise by deterministic steps, with `inner` steps of guided underdamped Langevin dynamics before each.

    In units of sigma, u = x / sigma, the dynamics at a level are

        du = v dt,   dv = friction (F - v) dt + friction sqrt(2) dW,
        F = -eps_hat                                                              on the unknown part,
        F = -(1 + lam) (u - alpha x0 / sigma) + lam eps_hat                       on the known part,

    which become overdamped Langevin dynamics for a large friction.

    Published: the guided score of the known part with a strength lam of 5 to 10; dynamics with inertia, solved without
    backpropagation; an ODE solver between levels; 20 x 5, 20 x 10 and 50 x 10 steps.
    Our reading: the time unit is sigma^2. Velocities are drawn anew at each level. F is linear over one inner step,
    F = -k u + constant, and that equation is solved exactly, with k = 1 + lam on the known part and
    k = sigma^2 / (spread alpha^2 + sigma^2) on the unknown part, as for Gaussian data. Between levels runs DDIM with
    eta 0, in which the known part keeps its noise, x -> alpha' x0 + sigma' (x - alpha x0) / sigma. The constants
    (8, 0.2, 15) are our guess of the usual ones. The step size matters most: on three mixtures of 16 and 32 dimensions
    the error at 0.7 was a third of that at 0.2, so compare several.

    Args:
        prior: its `denoise` is called steps x (inner + 1) times.
        x0: (*shape) the clean sample; read where known.
        known: (*shape) True is kept.
        count: samples, at least 1.
        seed: of all random draws.
        steps: noise levels, at least 1.
        inner: Langevin steps at each, at least 0.
        lam: guidance strength of the known part, at least 0.
        step_size: of the Langevin dynamics, above 0, in units of sigma^2.
        friction: above 0.
        spread: variance of the data that one inner step assumes, at least 0; 0 freezes x0_hat.
        spacing: of the levels.
    Raises:
        InputError: a parameter out of its range, a step too small for float64, or shapes that differ.
    Source:
        Zheng et al. 2025 (arXiv 2502.03491), in the reading above.
    """
    _check(x0, known, count, steps=(steps, 1), inner=(inner, 0), lam=(lam, 0), spread=(spread, 0))
    _check_positive(step_size=step_size, friction=friction)
    grid = prior.schedule(steps, spacing)
    generator = torch.Generator().manual_seed(seed)
    y0 = x0.to(torch.float64)
    x = _noise(count, x0, generator)
    x = torch.where(known, grid[steps].alpha * y0 + grid[steps].sigma * x, x * grid[steps].sigma)
    calls = 0
    for i in range(steps, 0, -1):
        here, below = grid[i], grid[i - 1]
        k_unknown = here.sigma**2 / (spread * here.alpha**2 + here.sigma**2)
        moves = [_Oscillator(k, friction, step_size) for k in (k_unknown, 1 + lam)]
        v = math.sqrt(friction) * _noise(count, x0, generator)
        u = x / here.sigma
        for _ in range(inner):
            eps_hat = _eps(prior, here.sigma * u, here)
            calls += 1
            centre = torch.where(  # where F, with its constant part frozen, is 0
                known, here.alpha / here.sigma * y0 + lam / (1 + lam) * eps_hat, u - eps_hat / k_unknown
            )
            z = [_noise(count, x0, generator) for _ in range(2)]
            ends = [move(u - centre, v, *z) for move in moves]
            u, v = (torch.where(known, ends[1][j], ends[0][j]) for j in range(2))
            u = u + centre
        x = here.sigma * u
        prediction = prior.denoise(x, here)
        calls += 1
        x0_hat = torch.where(known, y0, prediction.x0_hat)
        eps_hat = (x - here.alpha * x0_hat) / here.sigma
        x = below.alpha * x0_hat + below.sigma * eps_hat
    return _exact(x, y0, known), calls


class _Oscillator:
    """The exact step of du = v dt, dv = friction (-k u - v) dt + friction sqrt(2) dW.

    With M = [[0, 1], [-friction k, -friction]] the mean is multiplied by exp(M h), and the noise has the covariance
    S - exp(M h) S exp(M h)^T with the stationary covariance S = diag(1 / k, friction).
    """

    def __init__(self, k: float, friction: float, h: float) -> None:
        drift = torch.tensor([[0.0, 1.0], [-friction * k, -friction]], dtype=torch.float64)
        stationary = torch.tensor([[1 / k, 0.0], [0.0, friction]], dtype=torch.float64)
        self.mean = torch.linalg.matrix_exp(h * drift)
        self.noise, failed = torch.linalg.cholesky_ex(stationary - self.mean @ stationary @ self.mean.T)
        if int(failed):
            raise InputError(
                f"step_size={h} must be larger at friction={friction} (its noise is below float64's rounding)."
            )

    def __call__(self, u: Batch, v: Batch, z_u: Batch, z_v: Batch) -> tuple[Batch, Batch]:
        (a, b), (c, d) = self.mean.tolist()
        (e, _), (f, g) = self.noise.tolist()
        return a * u + b * v + e * z_u, c * u + d * v + f * z_u + g * z_v


def ding(
    prior: Prior,
    x0: Sample,
    known: Known,
    *,
    count: int,
    seed: int,
    steps: int = 50,
    eta: float = 1.0,
    sigma_y: float = 0.0,
    spacing: Spacing | None = "trailing",
) -> tuple[Batch, int]:
    """Denoise with a likelihood that uses the predicted noise of an independent proxy at the target level.

    A proxy is drawn from the transition N(mean, s^2) to the level (alpha, sigma), DDIM's with s = eta times the
    std of the posterior, and its eps_hat is predicted. With eps_hat fixed, x0 = (x - sigma eps_hat) / alpha + sigma_y n
    is Gaussian in x, so that on the known part

        x ~ N((1 - g) mean + g (alpha x0 + sigma eps_hat), g alpha^2 sigma_y^2),   g = s^2 / (s^2 + alpha^2 sigma_y^2),

    and on the unknown part x ~ N(mean, s^2), independent of the proxy. The last step has no noise and needs no proxy.

    Published: the decoupled likelihood, its Gaussian transitions, no backpropagation, two calls a step.
    Our reading: eta is that of DDIM; observations have no noise by default (g = 1 at any eta). The best eta depends on
    the number of steps: 0 for few, 1 for many.

    Args:
        prior: its `denoise` is called 2 x steps - 1 times.
        x0, known, count, seed, steps, spacing: as in `lanpaint`.
        eta: 0 (deterministic transitions) to 1 (DDPM's small variance).
        sigma_y: assumed std of the noise of the observation, at least 0.
    Raises:
        InputError: a parameter out of its range, or shapes that differ.
    Source:
        Moufad et al. 2025 (arXiv 2512.18365), in the reading above.
    """
    _check(x0, known, count, steps=(steps, 1), sigma_y=(sigma_y, 0))
    _check_eta(eta)
    grid = prior.schedule(steps, spacing)
    generator = torch.Generator().manual_seed(seed)
    y0 = x0.to(torch.float64)
    x = grid[steps].sigma * _noise(count, x0, generator)
    calls = 0
    for i in range(steps, 0, -1):
        here, below = grid[i], grid[i - 1]
        prediction = prior.denoise(x, here)
        calls += 1
        s = eta * posterior(here, below).small_std
        mean = below.alpha * prediction.x0_hat + math.sqrt(below.sigma**2 - s**2) * prediction.eps_hat
        x = mean
        if below.sigma > 0:
            proxy = mean + s * _noise(count, x0, generator)
            seen = below.alpha * y0 + below.sigma * _eps(prior, proxy, below)
            calls += 1
            tolerance = (below.alpha * sigma_y) ** 2
            g = s**2 / (s**2 + tolerance) if tolerance > 0 else 1.0
            z = _noise(count, x0, generator)
            x = torch.where(known, (1 - g) * mean + g * seen + math.sqrt(g * tolerance) * z, mean + s * z)
    return _exact(x, y0, known), calls


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
        x0, known, count, seed: as in `lanpaint`.
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


def _check_positive(**parameters: float) -> None:
    for name, value in parameters.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}={value} must be finite and above 0.")


def _check_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        raise InputError(f"eta={eta} must lie in [0, 1].")
