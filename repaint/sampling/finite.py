"""Stop a run whose predictions overflow, without stalling a GPU at every step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import NonFiniteError
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prior import Prior

__all__ = ["FiniteCheck"]

PATIENCE = 64  # model calls between two checks on an accelerator: reading a value stalls it


class FiniteCheck:
    """Check every prediction of a run: at once on a CPU, every 64 calls and at the end elsewhere.

    Args:
        prior: the model, for its device and its name.
        grid: the noise levels, for the message.
    """

    def __init__(self, prior: Prior, grid: NoiseSchedule) -> None:
        self._prior, self._grid = prior, grid
        self._patience = 1 if prior.device.type == "cpu" else PATIENCE
        self._sums: list[tuple[int, Tensor]] = []  # finite exactly where each term is, short of an overflow

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
            f"{type(self._prior).__name__} predicted NaN or infinity at level {at} of {self._grid.steps} "
            f"(alpha {level_.alpha:.4g}, sigma {level_.sigma:.4g}, t {level_.t:g}). Load it with "
            "torch_dtype=torch.bfloat16 or torch.float32, or check its weights."
        )
