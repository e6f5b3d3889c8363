"""Stop a run whose predictions overflow, without stalling a GPU at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import NonFiniteError
from repaint.sampling.noise import NoiseSchedule

__all__ = ["PATIENCE", "FiniteCheck"]

PATIENCE = 64  # model calls between two checks on an accelerator


class FiniteCheck:
    """Check every prediction of a run.

    Args:
        model: name of the model, for the message.
        grid: the noise levels, for the message.
        patience: model calls between two checks. Reading a value stalls an accelerator, so checks are deferred there.
    """

    def __init__(self, model: str, grid: NoiseSchedule, patience: int) -> None:
        self._model, self._grid, self._patience = model, grid, patience
        self._sums: list[tuple[int, Tensor]] = []  # one per prediction; finite if all of its values are

    def add(self, level: int, x0_hat: Float[Tensor, "b *shape"] | None, *, last: bool) -> None:
        """Add the prediction made at a level; check all that are waiting when it is time.

        Raises:
            NonFiniteError: NaN or infinity; the message names the first level that had it.
        """
        if x0_hat is not None:
            self._sums.append((level, x0_hat.sum()))
        if not self._sums or (len(self._sums) < self._patience and not last):
            return
        finite = torch.stack([total for _, total in self._sums]).isfinite()
        if bool(finite.all()):
            self._sums.clear()
            return
        at = self._sums[finite.tolist().index(False)][0]
        level_ = self._grid[at]
        raise NonFiniteError(
            f"{self._model} predicted NaN or infinity at level {at} of {self._grid.steps} "
            f"(alpha {level_.alpha:.4g}, sigma {level_.sigma:.4g}, t {level_.t:g}). Load it with "
            "torch_dtype=torch.bfloat16 or torch.float32, or check its weights."
        )
