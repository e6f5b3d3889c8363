"""Restore an old photograph: find its damage, and fill it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from repaint.checks import left_out, whole_number
from repaint.defaults import GROW, MAX_WIDTH, SAMPLES, SENSITIVITY, TONE, restore_schedule
from repaint.errors import InputError
from repaint.pictures.detection import Tone, detect_damage
from repaint.pictures.images import ImageLike
from repaint.pictures.masks import ReadMask
from repaint.pipeline import RePaintOutput, RePaintPipeline

__all__ = ["WINDOWS", "RestoredPhotograph", "fill_damage", "restore"]

SETS = ("mask_image", "keep_mask", "num_images_per_prompt")
WINDOWS = 8  # of a large scan at once, to bound the memory


@dataclass(frozen=True, eq=False)
class RestoredPhotograph:
    """A restored photograph.

    Attributes:
        image: the result, in the output type of the call. Pixels outside the mask are bit-equal to the input.
        mask: (H, W) as displayed, True at the pixels that were filled. To correct it, save it, edit it, and pass it as
            `mask_image` to a `RePaintPipeline`.
        output: the result of the pipeline call.
    """

    image: Any
    mask: Bool[np.ndarray, "h w"]
    output: RePaintOutput


def restore(
    image: ImageLike,
    *,
    prior: str | RePaintPipeline = "photos",
    sensitivity: float = SENSITIVITY,
    max_width: int = MAX_WIDTH,
    tone: Tone = TONE,
    grow: float = GROW,
    samples: int = SAMPLES,
    **options: Any,
) -> RestoredPhotograph:
    """Find scratches, dust and lettering in a photograph, and fill them.

    Args:
        image: one image; see `RePaintPipeline.__call__`.
        prior: what `RePaintPipeline.from_pretrained` loads, or a pipeline.
        sensitivity, max_width, tone, grow: see `repaint.pictures.detection.detect_damage`.
        samples: results that are averaged, drawn in antithetic pairs.
        **options: other arguments of `RePaintPipeline.__call__`, such as generator=0. The default schedule is "mean",
            which estimates the mean of all results in one; for several samples it is "thin".
    Returns:
        The result, with the mask that was found; without damage, the image itself and an empty mask.
    Raises:
        RepaintError: invalid arguments.

    >>> from repaint.testing import PixelByPixelPrior
    >>> pipe, photo = RePaintPipeline(PixelByPixelPrior()), np.full((64, 64, 3), 90, np.uint8)
    >>> pipe.set_progress_bar_config(disable=True)
    >>> photo[10:50, 30] = 250
    >>> restored = restore(photo, prior=pipe, generator=0, output_type="np")
    >>> int(restored.mask[:, 28:33].sum()), bool((restored.image[~restored.mask] == 90).all())
    (208, True)
    """
    left_out(options, SETS, "restore() finds the mask, and samples sets the number of results.")
    if options.get("output_type") == "latent":
        raise InputError("output_type='latent' must be pil, np or pt: restore() returns images.")
    mask = detect_damage(image, sensitivity=sensitivity, max_width=max_width, tone=tone, grow=grow)
    pipe = prior if isinstance(prior, RePaintPipeline) else RePaintPipeline.from_pretrained(prior)
    return fill_damage(pipe, image, mask, samples=samples, **options)


def fill_damage(
    pipe: RePaintPipeline, image: ImageLike, mask: Bool[np.ndarray, "h w"], *, samples: int = SAMPLES, **options: Any
) -> RestoredPhotograph:
    """Fill damage that was found. A large scan is filled in batches of windows.

    Args:
        pipe: what fills it.
        image: one image; see `RePaintPipeline.__call__`.
        mask: (H, W) as displayed, True at damaged pixels; see `repaint.pictures.detection.detect_damage`.
        samples, **options: see `restore`.
    Raises:
        RepaintError: invalid arguments.
    """
    samples = whole_number("samples", samples, 1)
    keep = ReadMask(torch.from_numpy(~mask).float()[None])
    output = pipe(
        image,
        keep_mask=keep,
        num_images_per_prompt=samples,
        **{"batch_size": WINDOWS, "schedule": restore_schedule(samples), "antithetic": samples != 1, **options},
    )
    return RestoredPhotograph(output.images[0] if samples == 1 else output.mean()[0], mask, output)
