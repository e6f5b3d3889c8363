"""Samples larger than a model was trained on, denoised in overlapping windows."""

from __future__ import annotations

import math
from dataclasses import fields

import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.spacing import Spacing

__all__ = ["Windowed"]


class Windowed(PriorWrapper):
    """Wrap a prior so that it takes x of any size: its model sees overlapping windows of one size.

    All windows are cut from the same x_t. Their predictions are averaged at each level with weights that fall linearly
    towards a window's border, so that neighbours agree where they overlap and no seam appears.

    Args:
        prior: a prior of samples (B, C, H, W).
        size: side of the windows in pixels, a multiple of the prior's `multiple_of`.
        overlap: smallest overlap of neighbours in pixels, in [0, size). None: a quarter of the size.
        batch: windows denoised at once, per image of a batch. Memory grows with it, not with the image.
    Raises:
        InputError: a size, overlap or batch out of range.
    Source:
        Bar-Tal et al. 2023, "MultiDiffusion" (arXiv 2302.08113), eq. 5, applied to the prediction instead of the next
        x_t: for a given x_t, x0_hat and eps_hat are linear in each other, so their average is still a prediction.
    """

    def __init__(self, prior: Prior, size: int, overlap: int | None = None, batch: int = 8) -> None:
        super().__init__(prior)
        self.size = whole_number("size", size, 1, hint="side of the windows in pixels")
        if self.size % prior.multiple_of:
            raise InputError(
                f"size={size} must be a multiple of {prior.multiple_of} pixels (this prior takes no other size)."
            )
        self.overlap = self.size // 4
        if overlap is not None:
            self.overlap = whole_number("overlap", overlap, 0, self.size - 1, hint="less than the window size")
        self.batch = whole_number("batch", batch, 1, hint="windows denoised at once")
        cell = prior.latent_factor
        self._cells, self._step = self.size // cell, max(1, (self.size - self.overlap) // cell)
        self._count, self._conditions = 0, Conditions()
        self._bound: dict[int, Prior] = {}

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the prior's levels at the size of a window."""
        return self._for(1).schedule(steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> Windowed:
        """Return this prior for `count` images, each window under the conditions of its image; see `Prior`."""
        bound = Windowed(self.prior, self.size, self.overlap, self.batch)
        bound._count, bound._conditions = count, conditions
        bound._for(1)  # raises the prior's errors here rather than at the first step
        return bound

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the weighted mean of the windows' predictions. With one window, the prior's own, to the bit."""
        size = [min(self._cells, side) for side in x.shape[-2:]]
        rows, columns = (_starts(side, window, self._step) for side, window in zip(x.shape[-2:], size, strict=True))
        windows = [(..., slice(i, i + size[0]), slice(j, j + size[1])) for i in rows for j in columns]
        if len(windows) == 1:
            return self._for(1).denoise(x, level)
        weight = _ramp(size[0]).outer(_ramp(size[1])).to(x)
        total = torch.zeros(x.shape[-2:], dtype=x.dtype, device=x.device)
        sums: dict[str, Tensor] = {}
        for first in range(0, len(windows), self.batch):
            batch = windows[first : first + self.batch]
            prediction = self._for(len(batch)).denoise(torch.cat([x[window] for window in batch]), level)
            for field in fields(Prediction):
                values = getattr(prediction, field.name)
                if values is None:
                    continue
                weighted_sum = sums.setdefault(field.name, torch.zeros_like(x))
                for window, value in zip(batch, values.chunk(len(batch)), strict=True):
                    weighted_sum[window] += weight * value
            for window in batch:
                total[window] += weight
        return Prediction(**{name: weighted_sum / total for name, weighted_sum in sums.items()})

    def _for(self, windows: int) -> Prior:
        """Return the prior under the conditions of that many windows of each image, ordered window by window."""
        if not self._count:
            return self.prior
        if windows not in self._bound:
            size = self._conditions.size
            window_size = None if size is None else (min(size[0], self.size), min(size[1], self.size))
            each = self._conditions.split(self._count) * windows
            self._bound[windows] = self.prior.conditioned(len(each), Conditions.join(each, window_size))
        return self._bound[windows]


def _starts(side: int, window: int, step: int) -> list[int]:
    """Return the first cells of windows spread evenly over a side, at most `step` apart."""
    gaps = math.ceil((side - window) / step)
    return [round(i * (side - window) / gaps) for i in range(gaps)] + [side - window]


def _ramp(size: int) -> Float[Tensor, " size"]:
    """Return the weights along a window's side: 1 at the border, growing linearly towards the middle."""
    place = torch.arange(1, size + 1, dtype=torch.float64)
    return torch.minimum(place, place.flip(0))
