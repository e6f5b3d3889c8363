"""A prior around a prior: samples larger than a model was trained on, denoised in overlapping windows."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule, Spacing
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, Prior

__all__ = ["Windowed"]


class Windowed:
    """A prior whose x is of any size, and whose model sees windows of one.

    All windows look at one x_t. What the model predicts in them is averaged at each level, with weights that fall
    linearly to a window's border, so that neighbours agree where they overlap and no border is seen.

    Args:
        prior: of samples (B, C, H, W).
        size: side of the windows in pixels, a multiple of the prior's `multiple_of`.
        overlap: of neighbours in pixels, at least, in [0, size); None is a quarter of the size.
        batch: windows denoised at once, times the images of a batch; memory grows with it, and not with the image.
    Raises:
        InputError: a size, overlap or batch out of range.
    Source:
        Bar-Tal et al. 2023, "MultiDiffusion" (arXiv 2302.08113), eq. 5, for the prediction instead of the next x_t:
        x0_hat and eps_hat are linear in each other at given x_t, so their average is still a prediction.
    """

    def __init__(self, prior: Prior, size: int, overlap: int | None = None, batch: int = 8) -> None:
        cell = int(getattr(getattr(prior, "codec", None), "factor", 1))
        if size < 1 or size % prior.multiple_of:
            raise InputError(
                f"Windows of {size} pixels for a prior that takes multiples of {prior.multiple_of}: give a multiple."
            )
        overlap = size // 4 if overlap is None else overlap
        if not 0 <= overlap < size or batch < 1:
            raise InputError(
                f"Windows of {size} pixels with overlap {overlap} in batches of {batch}: the overlap lies in "
                f"[0, {size}), a batch holds at least one. Leave both out for usual ones."
            )
        self.prior, self.size, self.overlap, self.batch = prior, size, overlap, batch
        self._cells, self._step = size // cell, max(1, (size - overlap) // cell)
        self._count, self._conditions = 0, Conditions()
        self._bound: dict[int, Prior] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "prior":  # not there yet: a copy that is being made asks
            raise AttributeError(name)
        return getattr(self.prior, name)

    @property
    def channels(self) -> int:
        return self.prior.channels

    @property
    def multiple_of(self) -> int:
        return self.prior.multiple_of

    @property
    def device(self) -> torch.device:
        return self.prior.device

    @property
    def dtype(self) -> torch.dtype:
        return self.prior.dtype

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """The levels of the prior, at the windows' size."""
        return self._for(1).schedule(steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> Windowed:
        """This prior for `count` images, each window under its image's conditions; see `Prior.conditioned`."""
        bound = Windowed(self.prior, self.size, self.overlap, self.batch)
        bound._count, bound._conditions = count, conditions
        bound._for(1)  # what the prior refuses, it refuses here
        return bound

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """The average of the windows' predictions; with one window, that of the prior to the bit."""
        size = [min(self._cells, side) for side in x.shape[-2:]]
        rows, columns = (_starts(side, window, self._step) for side, window in zip(x.shape[-2:], size, strict=True))
        places = [(..., slice(i, i + size[0]), slice(j, j + size[1])) for i in rows for j in columns]
        if len(places) == 1:
            return self._for(1).denoise(x, level)
        weight = _ramp(size[0]).outer(_ramp(size[1])).to(x)
        total = torch.zeros(x.shape[-2:], dtype=x.dtype, device=x.device)
        sums: dict[str, Tensor] = {}
        for first in range(0, len(places), self.batch):
            some = places[first : first + self.batch]
            prediction = self._for(len(some)).denoise(torch.cat([x[place] for place in some]), level)
            for field in fields(Prediction):
                values = getattr(prediction, field.name)
                if values is None:
                    continue
                into = sums.setdefault(field.name, torch.zeros_like(x))
                for place, value in zip(some, values.chunk(len(some)), strict=True):
                    into[place] += weight * value
            for place in some:
                total[place] += weight
        return Prediction(**{name: summed / total for name, summed in sums.items()})

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """The prior's own, of the whole image."""
        return self.prior.encode(image, known)

    def decode(self, x: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """The prior's own, of the whole sample."""
        return self.prior.decode(x)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Windowed:
        """Move the model; returns this prior."""
        self.prior.to(device, dtype)
        return self

    def _for(self, windows: int) -> Prior:
        """The prior under the conditions of that many windows of each image, window by window."""
        if not self._count:
            return self.prior
        if windows not in self._bound:
            size = self._conditions.size
            shown = None if size is None else (min(size[0], self.size), min(size[1], self.size))
            each = self._conditions.split(self._count) * windows
            self._bound[windows] = self.prior.conditioned(len(each), Conditions.join(each, shown))
        return self._bound[windows]


def _starts(side: int, window: int, step: int) -> list[int]:
    """First cells of windows spread evenly over a side, at most `step` apart."""
    gaps = math.ceil((side - window) / step)
    return [round(i * (side - window) / gaps) for i in range(gaps)] + [side - window]


def _ramp(size: int) -> Float[Tensor, " size"]:
    """Weights along a window's side: 1 at the border, growing linearly to the middle."""
    place = torch.arange(1, size + 1, dtype=torch.float64)
    return torch.minimum(place, place.flip(0))
