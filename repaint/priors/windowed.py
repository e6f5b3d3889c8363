"""Samples larger than a model was trained on, denoised in overlapping windows."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.pictures.cover import cover
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.contract import checked_conditioned, predicted
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.spacing import Spacing

__all__ = ["Windowed"]


class Windowed(PriorWrapper):
    """Wrap a prior so that it takes x of any size: its model gets overlapping windows of one size.

    All windows are cut from the same x_t. Their predictions are averaged at each level with weights that fall linearly
    towards a window's border, so that neighbours agree where they overlap and no seam appears. The windows are a grid
    over all of x, or only as many as the hole needs (`covering`).

    Args:
        prior: a prior of samples (B, C, H, W).
        size: side of the windows in pixels, a multiple of the prior's `multiple_of`.
        overlap: smallest overlap of neighbours in pixels, in [0, size). None: a quarter of the size. In a cover, half
            of it is the smallest distance of the hole from the border of a window.
        batch: windows denoised at once: of a grid from each image of a batch, of covers from one image after the other.
            Memory grows with it, not with the image.
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
        self._x0: Tensor | None = None
        self._parts: list[_Part] = []
        self._count, self._conditions = 0, Conditions()
        self._bound: dict[tuple[int | None, int], Prior] = {}

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the prior's levels at the size of a window."""
        return self._for(None, 1).schedule(steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> Windowed:
        """Return this prior for `count` images, each window under the conditions of its image; see `Prior`."""
        bound = copy.copy(self)
        bound._count, bound._conditions, bound._bound = count, conditions, {}
        bound._for(None, 1)  # raises the prior's errors here rather than at the first step
        return bound

    def covering(self, x0: Float[Tensor, "b c h w"], known: Bool[Tensor, "b c2 h w"]) -> Windowed:
        """Return this prior for one batch, with only the windows that its unknown cells need.

        Each image has its own windows, and they are denoised apart from those of other images, so that a result does
        not depend on the batch. Outside of its windows x is known, and the prediction there is exact: x0_hat is x0.

        Args:
            x0: the known sample; never used where `known` is False.
            known: True where x0 is kept.
        """
        bound = copy.copy(self)
        bound._x0, bound._parts = x0, []
        size, context = self._window(x0), self.overlap // self.latent_factor // 2
        for image, hole in enumerate((~known).any(dim=1).cpu().numpy()):
            bound._parts.append(_part(image, cover(hole, size, context) or [], size, x0, context // 2))
        return bound

    def saves(self, holes: Sequence[Bool[np.ndarray, "_h _w"]], share: float) -> bool:
        """Return whether covers hold at most a share of the pixels of whole rectangles.

        Args:
            holes: True where pixels are painted, one array for each rectangle.
            share: in (0, 1].
        """
        left = share * sum(hole.size for hole in holes)
        for hole in holes:
            size = min(self.size, hole.shape[0]), min(self.size, hole.shape[1])
            places = cover(hole, size, self.overlap // 2, most=left / math.prod(size))
            if places is None:
                return False
            left -= len(places) * math.prod(size)
        return True

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the weighted mean of the windows' predictions. With one window it is bit-equal to the prior's own."""
        if max(x.shape[-2:]) <= self._cells:
            return self._for(None, 1).denoise(x, level)
        sums = {name: self._outside(name, x, level) for name in ("x0_hat", "eps_hat")}
        for part in self._parts or [self._grid(x)]:
            for first in range(0, len(part.windows), self.batch):
                chunk = slice(first, first + self.batch)
                windows, weights = part.windows[chunk], part.weights[chunk]
                seen = torch.cat([x[window] for window in windows])
                prediction = predicted(self._for(part.image, len(windows)), seen, level)
                for name, values in ((field.name, getattr(prediction, field.name)) for field in fields(Prediction)):
                    if values is None:
                        continue
                    if name not in sums:
                        sums[name] = self._outside(name, x, level)
                    for window, weight, value in zip(windows, weights, values.chunk(len(windows)), strict=True):
                        sums[name][window] += weight * value
        return Prediction(**sums)

    def release(self) -> None:
        """Release the priors of all windows; see `Prior.release`."""
        for bound in self._bound.values():
            bound.release()

    def _outside(self, name: str, x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        """Return a field of the prediction with the values outside of the windows, and 0 inside."""
        if self._x0 is None or name == "variance":
            return torch.zeros_like(x)
        noise = name != "x0_hat"
        values = torch.sub(x, self._x0, alpha=level.alpha).div_(level.sigma) if noise else self._x0.clone()
        for part in self._parts:
            for window, weight in zip(part.windows, part.weights, strict=True):
                values[window].masked_fill_(weight > 0, 0)
        return values

    def _window(self, x: Float[Tensor, "b c h w"]) -> tuple[int, int]:
        """Return the height and width of a window in cells."""
        return min(self._cells, x.shape[-2]), min(self._cells, x.shape[-1])

    def _grid(self, x: Float[Tensor, "b c h w"]) -> _Part:
        """Return windows spread evenly over all of x, the same for each image."""
        size = self._window(x)
        rows, columns = (_starts(side, window, self._step) for side, window in zip(x.shape[-2:], size, strict=True))
        return _part(None, [(row, column) for row in rows for column in columns], size, x, 0)

    def _for(self, image: int | None, windows: int) -> Prior:
        """Return the prior under the conditions of this many windows of one image; None: of each image."""
        if not self._count:
            return self.prior
        if (image, windows) not in self._bound:
            size = self._conditions.size
            window_size = None if size is None else (min(size[0], self.size), min(size[1], self.size))
            each = self._conditions.split(self._count)
            each = (each if image is None else [each[image]]) * windows
            joined = replace(Conditions.join(each, window_size), in_order=False)
            self._bound[image, windows] = checked_conditioned(self.prior.conditioned(len(each), joined), self.prior)
        return self._bound[image, windows]


@dataclass(frozen=True)
class _Part:
    """Windows of one image of a batch; None: of each image. The weights of all windows add up to 1, or are 0."""

    image: int | None
    windows: list[tuple[slice, ...]]
    weights: list[Tensor]


def _part(
    image: int | None,
    places: Sequence[tuple[int, int]],
    size: tuple[int, int],
    x: Float[Tensor, "b c h w"],
    margin: int,
) -> _Part:
    """Make the windows of x that begin at these places, and weigh them."""
    images = slice(None) if image is None else slice(image, image + 1)
    windows = [(images, slice(None), *(slice(i, i + n) for i, n in zip(place, size, strict=True))) for place in places]
    ramps = []
    total = torch.zeros(x.shape[-2:], dtype=x.dtype, device="cpu")
    for window in windows:
        rows, columns = (_ramp(part, side, margin) for part, side in zip(window[2:], x.shape[-2:], strict=True))
        ramps.append(rows.outer(columns).to(x.dtype))
        total[window[2:]] += ramps[-1]
    # Weights are whole numbers, so the total is at least 1 where one of them is above 0.
    weights = [ramp / total[window[2:]].clamp(min=1) for window, ramp in zip(windows, ramps, strict=True)]
    return _Part(image, windows, [weight.to(x.device) for weight in weights])


def _starts(side: int, window: int, step: int) -> list[int]:
    """Return the first cells of windows spread evenly over a side, at most `step` apart."""
    gaps = math.ceil((side - window) / step)
    return [round(i * (side - window) / gaps) for i in range(gaps)] + [side - window]


def _ramp(window: slice, side: int, margin: int) -> Float[Tensor, " size"]:
    """Return the weights along one side of a window: 0 in the margin, then growing linearly towards the middle.

    They do not fall towards the border of the image, where no neighbour takes over.
    """
    place = torch.arange(1, window.stop - window.start + 1, dtype=torch.float64, device="cpu") - margin
    rising = place if window.start > 0 else torch.full_like(place, len(place))
    falling = place.flip(0) if window.stop < side else torch.full_like(place, len(place))
    return torch.minimum(rising, falling).clamp(min=0)
