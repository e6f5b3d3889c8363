"""Guidance: a gradient of log p(y | x) that changes a prediction, or a shift of the step that follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.sampling.levels import Level
from repaint.sampling.model import Pullback
from repaint.sampling.prediction import Prediction

__all__ = ["Guidance", "GuidanceRule", "GuidedStep", "guided"]

Batch = Float[Tensor, "b *shape"]

Guidance = Callable[[Tensor, Level], Tensor]
"""(x, level) -> gradient of log p(y | x) with respect to x: guidance by a classifier of noisy samples."""


@dataclass(frozen=True)
class GuidedStep:
    """The input of a guidance rule.

    Attributes:
        x: (B, ...) the sample at `src`.
        prediction: the model's prediction of it.
        src, dst: the levels before and after the step; equal in a correction.
        x0: (B, ...) the known sample; 0 where unknown.
        known: (B, ...) True where x0 is kept.
        pullback: v -> J^T v with J = d x0_hat / d x, one backward pass each; None for a rule without gradients.
    """

    x: Batch
    prediction: Prediction
    src: Level
    dst: Level
    x0: Batch
    known: Bool[Tensor, "b *shape"]
    pullback: Pullback | None = None

    @property
    def residual(self) -> Batch:
        """(B, ...) x0 - x0_hat where known, 0 elsewhere."""
        return torch.where(self.known, self.x0 - self.prediction.x0_hat, 0.0)

    def backward(self, v: Batch) -> Batch:
        """Return J^T v."""
        assert self.pullback is not None, "the rule did not declare its gradients"
        return self.pullback(v)


@runtime_checkable
class GuidanceRule(Protocol):
    """A rule that draws the sample towards the known part without merging it.

    Attributes:
        gradients: the most backward passes through the network at each model call; with 0, `pullback` is None.
    """

    @property
    def gradients(self) -> int: ...

    def guide(self, step: GuidedStep) -> tuple[Prediction, Batch | None]:
        """Return the prediction that solver, corrector and merge use, and a shift of x at `dst`.

        Returns:
            (prediction, shift). shift is (B, ...), added to the solver's result before the known part is merged; None:
            no shift. Corrections ignore it.
        """
        ...


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
