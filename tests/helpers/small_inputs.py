"""Small images, holes and pipelines that several tests build."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.pipeline import RePaintPipeline
from repaint.sampling.schedule import JumpSchedule

__all__ = ["TWO", "edit_json", "hole", "photo", "quiet"]

TWO = JumpSchedule.from_levels([2, 1, 0])  # the shortest walk with an intermediate level


def photo(seed: int = 0, size: tuple[int, int] = (18, 22)) -> NDArray[np.uint8]:
    """A random RGB image, (H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def hole(size: tuple[int, int] = (18, 22)) -> NDArray[np.uint8]:
    """A mask, (H, W), with a white box of 7 x 9 pixels, or what of it fits."""
    mask = np.zeros(size, np.uint8)
    mask[5:12, 7:16] = 255
    return mask


def quiet(prior: Any) -> RePaintPipeline:
    """A pipeline around a prior, without a progress bar."""
    pipe = RePaintPipeline(prior)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def edit_json(path: Path, **entries: Any) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
