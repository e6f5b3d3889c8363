"""Classifier guidance: shifting a prediction by the gradient of log p(y | x)."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction

__all__ = ["Guidance", "guided"]

Batch = Float[Tensor, "b *shape"]


def guided(prediction: Prediction, x: Batch, level: Level, gradient: Batch) -> Prediction:
    """Shift a prediction by the gradient of log p(y | x) with respect to x (classifier guidance).

    eps_hat <- eps_hat - sigma * gradient, and x0_hat = (x - sigma eps_hat) / alpha. At alpha = 0, x carries no
    information about y, and the prediction is returned unchanged.

    Args:
        prediction: the prediction for x.
        x: (B, ...) the noisy sample.
        level: noise level of x.
        gradient: (B, ...) of log p(y | x), already multiplied by the guidance scale.

    Source:
        Dhariwal & Nichol 2021 (arXiv 2105.05233), Alg. 2, for any Gaussian path.
    """
    if level.alpha == 0:
        return prediction
    eps_hat = prediction.eps_hat - level.sigma * gradient
    unguided = None if prediction.unguided is None else prediction.unguided - level.sigma * gradient
    return Prediction((x - level.sigma * eps_hat) / level.alpha, eps_hat, prediction.variance, unguided)


Guidance = Callable[[Tensor, Level], Tensor]
