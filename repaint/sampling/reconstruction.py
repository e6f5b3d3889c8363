"""Guidance by the error of x0_hat in the known part, R = m (x0 - x0_hat).

| rule          | method                | what is added                                           | gradients |
|---------------|-----------------------|---------------------------------------------------------|-----------|
| dps(zeta)     | DPS; MCG with `fresh` | zeta J^T R / |R|, to x at the next level                | 1         |
| pigdm(weight) | PiGDM                 | J^T R / r^2 as a score, or kappa J^T R to the next x    | 1         |
| covariance(n) | exact for Gaussians   | J^T C^-1 R as a score, C the covariance of x0 given x   | at most n |
| flowdps(w)    | FlowDPS               | x0_hat moved towards x0, before the noise is added      | 0         |
| flowchef(k)   | FlowChef              | kappa R, to x at the next level                         | 0         |

J = d x0_hat / d x. Norms are those of one image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_integer, is_number, shown
from repaint.errors import InputError
from repaint.sampling.guidance import GuidedStep, guided
from repaint.sampling.prediction import Prediction

__all__ = ["DPS", "Covariance", "FlowChef", "FlowDPS", "PiGDM"]

Batch = Float[Tensor, "b *shape"]


def _norm(x: Batch) -> Float[Tensor, "b *ones"]:
    """Compute the 2-norm of each image, broadcastable; never 0."""
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp(min=torch.finfo(x.dtype).tiny)
    return norms.reshape(-1, *(1,) * (x.ndim - 1))


def _dot(a: Batch, b: Batch) -> Float[Tensor, "b *ones"]:
    return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))


def _check_number(part: str, name: str, value: object, *, above: bool = False, infinite: bool = False) -> None:
    given: Any = value
    if not (is_number(given) and (given > 0 if above else given >= 0) and (infinite or math.isfinite(given))):
        bound = f"{'above' if above else 'at least'} 0{'' if infinite else ' and finite'}"
        raise InputError(f"{part}({name}={shown(value)}) must be {bound}.")


@dataclass(frozen=True)
class DPS:
    """Diffusion posterior sampling: each step descends |R|, with a constant factor.

    With the merge `none` it is DPS. With the merge `fresh`, which overwrites the known part, it is MCG (Chung et al.
    2022, arXiv 2206.00941), whose code noises the known part to the level before the step instead.

    Attributes:
        zeta: factor of the shift, > 0; .5 in the published code, 1 in MCG and in CoPaint's runs of DPS on faces.
    Source:
        Chung et al. 2023 (arXiv 2209.14687), Alg. 1. Its code takes the norm over the batch.
    """

    zeta: float = 0.5
    gradients = 1

    def __post_init__(self) -> None:
        _check_number("dps", "zeta", self.zeta, above=True)

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        residual = step.residual
        return step.prediction, step.backward(residual / _norm(residual)).mul_(self.zeta)


@dataclass(frozen=True)
class PiGDM:
    """Pseudo-inverse guidance: p(y | x) is N(x0_hat, r^2 + sigma_y^2) on the known part, r^2 = sigma^2 / rho^2.

    It is exact for data of unit variance without correlation, that is, where nothing is learnt from the known part.

    Attributes:
        weight: "true" uses the score J^T R / (r^2 + sigma_y^2). "adaptive", the paper's choice, adds
            alpha r^2 J^T R / (r^2 + sigma_y^2) to x at the next level.
        sigma_y: std of the noise of the observation, at least 0.
    Source:
        Song et al. 2023 (ICLR, "Pseudoinverse-guided diffusion models for inverse problems"), Alg. 1.
    """

    weight: Literal["true", "adaptive"] = "adaptive"
    sigma_y: float = 0.0
    gradients = 1

    def __post_init__(self) -> None:
        if self.weight not in ("true", "adaptive"):
            raise InputError(f"pigdm(weight={shown(self.weight)}) must be true or adaptive.")
        _check_number("pigdm", "sigma_y", self.sigma_y)

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        src = step.src
        r2 = src.sigma**2 / (src.alpha**2 + src.sigma**2)
        gradient = step.backward(step.residual).div_(r2 + self.sigma_y**2)
        if self.weight == "true":
            return guided(step.prediction, step.x, src, gradient), None
        return step.prediction, gradient.mul_(src.alpha * r2)


@dataclass(frozen=True)
class Covariance:
    """The exact score of the known part for Gaussian data, from the covariance that the denoiser implies.

    cov(x0 | x) = (sigma^2 / alpha) J, so that the score is J_K^T ((sigma^2 / alpha) J_KK + sigma_y^2)^-1 R, which
    conjugate gradients solve with one backward pass an iteration. For a mixture of Gaussians it is an approximation.

    Attributes:
        iterations: the most iterations, at least 1. As many as known entries give the exact solution.
        sigma_y: std of the noise of the observation, at least 0.
        tolerance: relative residual at which an image stops.
    Source:
        The identity is Tweedie's second-order formula; TMPD (Boys et al. 2023, arXiv 2310.06721) uses it for guidance,
        with a diagonal.
    """

    iterations: int = 5
    sigma_y: float = 0.0
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        if not (is_integer(self.iterations) and self.iterations >= 1):
            raise InputError(f"covariance(iterations={shown(self.iterations)}) must be an integer of at least 1.")
        _check_number("covariance", "sigma_y", self.sigma_y)
        _check_number("covariance", "tolerance", self.tolerance)

    @property
    def gradients(self) -> int:
        return self.iterations

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        src = step.src
        if src.alpha == 0:
            return step.prediction, None
        residual, scale = step.residual, src.sigma**2 / src.alpha
        score, direction, squared = torch.zeros_like(residual), residual.clone(), _dot(residual, residual)
        bound = squared * self.tolerance**2
        for _ in range(self.iterations):
            active = squared > bound
            if not bool(active.any()):
                break
            pulled = step.backward(direction)
            product = torch.where(step.known, scale * pulled + self.sigma_y**2 * direction, 0.0)
            curvature = _dot(direction, product)
            active &= curvature > 0  # the Jacobian of a learned denoiser need not be positive
            rate = torch.where(active, squared / curvature, 0.0)
            score = score + rate * pulled
            residual = residual - rate * product
            new = _dot(residual, residual)
            direction = residual + torch.where(active, new / squared, 0.0) * direction
            squared = torch.where(active, new, 0.0)
        return guided(step.prediction, step.x, src, score), None


@dataclass(frozen=True)
class FlowDPS:
    """Move x0_hat towards the known part by a share of the noise, and keep eps_hat.

    x0' = (1 - s) x0_hat + s D, with s = sigma / (alpha + sigma), the time of a flow. D is x0_hat after `iterations`
    steps of length `weight` towards x0 on the known part.

    Attributes:
        weight: length of a step in units of the sample, > 0; inf goes to x0 itself.
        iterations: at least 1.
    Source:
        Kim et al. 2025 (arXiv 2503.08136), Alg. 1; it has no inpainting. In pixel tasks the steps go through the
        decoder; here they are taken on the sample.
    """

    weight: float = 15.0
    iterations: int = 3
    gradients = 0

    def __post_init__(self) -> None:
        _check_number("flowdps", "weight", self.weight, above=True, infinite=True)
        if not (is_integer(self.iterations) and self.iterations >= 1):
            raise InputError(f"flowdps(iterations={shown(self.iterations)}) must be an integer of at least 1.")

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        found, s, residual = step.prediction, step.src.sigma / (step.src.alpha + step.src.sigma), step.residual
        moved = residual  # of D, from x0_hat
        if math.isfinite(self.weight):
            moved = torch.zeros_like(residual)
            for _ in range(self.iterations):
                left = residual - moved
                moved = moved + self.weight * left / _norm(left)
        return Prediction(found.x0_hat + s * moved, found.eps_hat, found.variance, found.unguided), None


@dataclass(frozen=True)
class FlowChef:
    """Add kappa R to each step but the last: DPS with the identity for the network's Jacobian.

    Attributes:
        kappa: > 0; .081 for RF++ at 64 x 64 x 3.
    Source:
        Patel et al. 2024 (arXiv 2412.00100), Alg. 1.
    """

    kappa: float = 0.081
    gradients = 0

    def __post_init__(self) -> None:
        _check_number("flowchef", "kappa", self.kappa, above=True)

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        return step.prediction, None if step.dst.sigma == 0 else step.residual.mul_(self.kappa)
