"""The prior within one move: counted predictions, and gradients through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import PriorError
from repaint.sampling.contract import predicted
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Prior
from repaint.sampling.spacing import Spacing

__all__ = ["Model", "Pullback", "with_gradients"]

Batch = Float[Tensor, "b *shape"]
Pullback = Callable[[Tensor], Tensor]
"""v -> J^T v, with J the Jacobian of x0_hat with respect to x; one backward pass."""


class Model:
    """Predict, and count the calls.

    Args:
        prior: the model.
        count: images of the batch; a call with more samples than images counts once for each sample of an image.
        shifted: changes a prediction for x at a level, such as a classifier's guidance; None: not changed.
    Attributes:
        calls: denoiser calls so far, per image.
        gradients: backward passes through the denoiser so far, per image.
        x0_hat: (B, ...) of the last prediction; in a population, of the first particle of each image.
    """

    x0_hat: Batch

    def __init__(
        self, prior: Prior, count: int, shifted: Callable[[Prediction, Batch, Level], Prediction] | None = None
    ) -> None:
        self._prior, self._count, self._shifted = prior, count, shifted
        self.calls, self.gradients = 0, 0

    def clipped(self, x0_hat: Batch) -> Batch:
        """Clip an x0_hat as those of predictions are; unchanged where they are not clipped."""
        return x0_hat if self._prior.clip is None else self._prior.clip(x0_hat)

    def predict(self, x: Batch, level: Level) -> Prediction:
        """Return the prediction for x at a level."""
        return self._counted(predicted(self._prior, x, level), x, level)

    def linearised(self, x: Batch, level: Level) -> tuple[Prediction, Pullback]:
        """Return the prediction for x, and J^T of its x0_hat. The prediction itself carries no gradients.

        Raises:
            PriorError: the prior passes no gradients on.
        """
        with with_gradients():
            at = x.detach().clone().requires_grad_()
            traced = predicted(self._prior, at, level)
            x0_hat = traced.x0_hat
        if not x0_hat.requires_grad:
            raise PriorError(
                f"{type(self._prior).__name__} passes no gradients on to x, which this method needs. Use a method "
                "without gradients, or a prior whose denoise() is differentiable."
            )

        def pullback(v: Tensor) -> Tensor:
            self.gradients += len(x) // self._count
            return torch.autograd.grad(x0_hat, at, v.to(x0_hat), retain_graph=True)[0]

        fields = (traced.x0_hat, traced.eps_hat, traced.variance, traced.unguided)
        prediction = Prediction(*(None if value is None else value.detach() for value in fields))  # type: ignore[arg-type]
        return self._counted(prediction, x, level), pullback

    def _counted(self, prediction: Prediction, x: Batch, level: Level) -> Prediction:
        self.calls += len(x) // self._count
        if self._shifted is not None:
            prediction = self._shifted(prediction, x, level)
        self.x0_hat = prediction.x0_hat.reshape(self._count, -1, *x.shape[1:])[:, 0]
        return prediction

    def schedule(self, steps: int, spacing: Spacing) -> NoiseSchedule:
        """Return levels of the prior, for a method that walks within a step."""
        return self._prior.schedule(steps, spacing)


@contextmanager
def with_gradients() -> Iterator[None]:
    """Switch autograd on inside the block, whatever is outside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
