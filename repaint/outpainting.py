"""Outpainting: extend a picture step by step, from its border outwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.pictures.images import ImageLike
from repaint.pictures.margins import Margins, extended
from repaint.sampling.prior import Prior
from repaint.sampling.rng import derived_seed

__all__ = ["outpaint_in_steps", "step_seed", "step_width"]


def step_width(prior: Prior, overlap: int | None) -> int | None:
    """Compute how far one step extends a picture, in pixels; None: no limit.

    A window of the size that the model was trained on holds the new pixels and at least `overlap` others. A model for
    small holes takes steps of half its largest hole, because nothing is known beyond the border.

    Args:
        prior: the model.
        overlap: see `RePaintPipeline.outpaint`.
    Raises:
        InputError: an overlap that leaves no new pixels.
    """
    size = prior.preferred_size
    if overlap is not None:
        whole_number("overlap", overlap, 0, hint="pixels")
        if size is not None and overlap >= size:
            raise InputError(f"overlap={overlap} must be below {size}, the size of the model's windows.")
    if size is None:
        return None if prior.largest_hole is None else max(1, prior.largest_hole // 2)
    if overlap is not None:
        return size - overlap
    return max(1, size // 2 if prior.largest_hole is None else min(size // 2, prior.largest_hole // 2))


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a step: the result's own for the first step, one derived from it for the others."""
    return seed if step == 0 else derived_seed(seed, step, 1)


def outpaint_in_steps(
    paint: Callable[..., Any], image: ImageLike, steps: Sequence[Margins], seeds: Sequence[int], output_type: str
) -> list[Any]:
    """Extend a picture in steps. Each step reads what previous steps have painted.

    Args:
        paint: (images, mask, generator=, output_type=) -> result with `images`; such as a pipeline.
        image: one image.
        steps: margins, from the picture outwards.
        seeds: one per result.
        output_type: of the last step.
    Returns:
        The result of `paint` in each step.
    """
    canvas, mask = extended(image, steps[0])
    kind = "np" if isinstance(canvas, np.ndarray) else "pt" if isinstance(canvas, Tensor) else "pil"
    canvases = [canvas] * len(seeds)
    whole = isinstance(canvas, Tensor) and not canvas.is_floating_point()
    results: list[Any] = []
    for number, margins in enumerate(steps):
        if number:
            painted = results[-1].images
            if whole:  # tensors come back as floats; the next step and the last result depend on the type
                painted = [(255 * each).round().to(torch.uint8) for each in painted]
            pairs = [extended(each, margins) for each in painted]
            canvases, mask = [canvas for canvas, _ in pairs], pairs[0][1]
        last = number == len(steps) - 1
        generator = [step_seed(seed, number) for seed in seeds]
        results.append(paint(canvases, mask, generator=generator, output_type=output_type if last else kind))
    return results
