"""Follows the sampler through a run: progress, previews, kept states, and cancelling."""

from __future__ import annotations

import time
from typing import Any

import torch
from PIL import Image

from repaint.pipeline import RePaintPipeline
from repaint.sampling.prior import Prior
from repaint.sampling.state import SamplerState
from repaint.studio.jobs import Run
from repaint.studio.tree import kept_positions

__all__ = ["Follower", "Stopped", "show"]

MOST_SHOWN = 4  # windows in a preview
PREVIEW_SECONDS = 0.3


class Stopped(Exception):
    """Raised in the callback of a run to stop it."""


class Follower:
    """The callback of one result. It counts calls, keeps states, updates the preview, and stops cancelled runs."""

    def __init__(self, run: Run, pipe: RePaintPipeline) -> None:
        self.run, self.pipe = run, pipe
        self.kept: list[SamplerState] = []
        self._each = len(run.job.seeds) if run.job.task == "Restore" else 1  # results in this batch
        self._positions: frozenset[int] | None = frozenset() if run.job.task == "Restore" else None
        self._base, self._inherited = run.calls, run.job.origin.state.model_calls if run.job.origin else 0
        self._last = self._shown = time.perf_counter()

    def __call__(self, _pipe: Any, position: int, _level: int, kwargs: dict[str, Any]) -> None:
        state: SamplerState = kwargs["state"]
        run, now = self.run, time.perf_counter()
        if run.calls:
            run.seconds += now - self._last
        run.calls = self._base + self._each * (state.model_calls - self._inherited)
        run.position = position
        if self._positions is None:
            self._positions = kept_positions(len(run.job.method.moves), state)
        if position in self._positions:
            self.kept.append(state.to("cpu"))
        if state.x0_hat is not None and now - self._shown > PREVIEW_SECONDS:
            run.preview = show(self.pipe.prior, state)
            # Decoding can cost as much as a call. Limit it to a quarter of the time.
            spent = time.perf_counter() - now
            self._shown = now + 3 * spent
        self._last = time.perf_counter()
        if run.stop.is_set():
            raise Stopped


def show(prior: Prior, state: SamplerState) -> Image.Image:
    """Render x0_hat of a state (x before the first call) as an 8-bit preview, including padding.

    A picture that is cut into windows is shown as its first few windows, side by side.
    """
    x = state.x if state.x0_hat is None else state.x0_hat
    with torch.no_grad():
        windows = prior.decode(x[:MOST_SHOWN].to(prior.device)).float().cpu()
    image = torch.cat(list(windows), dim=-1)
    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
