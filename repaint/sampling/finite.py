"""Stop a run whose samples or predictions overflow, without stalling a GPU at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import NonFiniteError
from repaint.sampling.noise import NoiseSchedule

__all__ = ["PATIENCE", "FiniteCheck"]

PATIENCE = 64  # model calls between two checks on an accelerator


class FiniteCheck:
    """Check every prediction of a run, and the sample that it was made for.

    Args:
        model: what predicts, for the message.
        step: what makes the samples between the predictions, for the message.
        grid: the noise levels, for the message.
        patience: model calls between two checks. Reading a value stalls an accelerator, so checks are deferred there.
    """

    def __init__(self, model: str, step: str, grid: NoiseSchedule, patience: int) -> None:
        self._model, self._step, self._grid, self._patience = model, step, grid, patience
        # Sums of a sample and of its prediction; finite where all of their values are.
        self._sums: list[tuple[int, Tensor, Tensor]] = []

    def add(
        self, level: int, total: Float[Tensor, ""], x0_hat: Float[Tensor, "b *shape"] | None, *, last: bool
    ) -> None:
        """Add the prediction made at a level; check all that are waiting when it is time.

        Args:
            level: where it was made.
            total: the sum of the sample that it was made for.
            x0_hat: its clean sample; None adds nothing.
            last: whether to check now.

        Raises:
            NonFiniteError: NaN or infinity; the message names the first level that had it.
        """
        if x0_hat is not None:
            self._sums.append((level, total, x0_hat.sum()))
        if not self._sums or (len(self._sums) < self._patience and not last):
            return
        finite = torch.stack([torch.stack(sums) for _, *sums in self._sums]).isfinite()
        if bool(finite.all()):
            self._sums.clear()
            return
        first = finite.all(dim=1).tolist().index(False)
        at = self._sums[first][0]
        level_ = self._grid[at]
        where = f"level {at} of {self._grid.steps} (alpha {level_.alpha:.4g}, sigma {level_.sigma:.4g}, t {level_.t:g})"
        if not bool(finite[first, 0]):
            raise NonFiniteError(
                f"The sample at {where} holds NaN or infinity, although every prediction before it was finite: "
                f"{self._step} made them. Use other parts."
            )
        raise NonFiniteError(
            f"{self._model} predicted NaN or infinity at {where}. Load it with torch_dtype=torch.bfloat16 or "
            "torch.float32, or check its weights."
        )
