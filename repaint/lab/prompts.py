"""Does the prompt help? Glyphs filled with the right name, no name and a wrong name, compared glyph by glyph.

Every way of filling gets the same glyphs, holes and seeds, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray

from repaint import masks
from repaint.metrics import diversity, psnr, ssim
from repaint.pipeline import RePaintPipeline, ScheduleLike, StepCallback
from repaint.samples import GLYPH_SIZE

__all__ = ["HOLES", "PROMPTS", "Filled", "fill_glyphs"]

Glyphs = Mapping[str, NDArray[np.uint8]]


# The holes that every glyph gets; the first covers the mouth of a face.
HOLES: dict[str, NDArray[np.bool_]] = {
    name: keep[0].numpy() == 0
    for name, keep in {
        "mouth": masks.box(GLYPH_SIZE, GLYPH_SIZE, top=34, left=14, h=22, w=36),
        "half": masks.half(GLYPH_SIZE, GLYPH_SIZE, side="right"),
        "box": masks.box(GLYPH_SIZE, GLYPH_SIZE, share=0.5),
    }.items()
}


def _another(names: list[str]) -> list[str]:
    """Each glyph's wrong name: that of the glyph half the list away."""
    return list(np.roll(names, len(names) // 2))


# What the prompt says, from the glyphs' names.
PROMPTS: dict[str, Callable[[list[str]], list[str]]] = {
    "right": lambda names: names,
    "empty": lambda names: [""] * len(names),
    "wrong": _another,
}


@dataclass(frozen=True)
class Filled:
    """What one way of filling made of one hole in every glyph.

    Attributes:
        images: the results.
        psnr: in the hole, dB.
        ssim: in the hole.
        diversity: root mean square distance in the hole between the results for one glyph, mean over pairs.
        model_calls: denoiser calls per result; one with guidance is counted once.
    """

    images: UInt8[np.ndarray, "glyphs seeds h w 3"]
    psnr: Float[np.ndarray, "glyphs seeds"]
    ssim: Float[np.ndarray, "glyphs seeds"]
    diversity: Float[np.ndarray, " glyphs"]
    model_calls: int


def fill_glyphs(
    pipe: RePaintPipeline,
    glyphs: Glyphs,
    hole: Bool[np.ndarray, "h w"],
    *,
    prompt: str = "right",
    schedule: ScheduleLike = "predicted",
    guidance_scale: float = 3.0,
    seeds: int = 4,
    batch: int = 16,
    on_call: StepCallback | None = None,
) -> Filled:
    """Fill the same hole in every glyph, `seeds` times.

    Args:
        pipe: a pipeline around a text-conditioned prior of the glyphs' size.
        glyphs: name to picture.
        hole: True is repainted.
        prompt: a key of `PROMPTS`; an empty prompt has no guidance.
        schedule: what `RePaintPipeline.__call__` takes.
        guidance_scale: weight of classifier-free guidance.
        seeds: results per glyph; glyph i takes seeds i, i + n, i + 2 n, ..., whatever the prompt and schedule.
        batch: glyphs filled at once.
        on_call: the pipeline's `callback_on_step_end`.
    """
    names, pictures = list(glyphs), np.stack(list(glyphs.values()))
    texts = PROMPTS[prompt](names)
    results, calls = [], 0
    for first in range(0, len(names), batch):
        some = range(first, min(first + batch, len(names)))
        result = pipe(
            pictures[first : first + batch],
            hole,
            prompt=texts[first : first + batch],
            guidance_scale=1.0 if prompt == "empty" else guidance_scale,
            schedule=schedule,
            num_images_per_prompt=seeds,
            generator=[i + k * len(names) for i in some for k in range(seeds)],
            output_type="np",
            callback_on_step_end=on_call,
        )
        results.append(result.images.reshape(len(some), seeds, *pictures.shape[1:]))
        calls = result.model_calls
    images = np.concatenate(results)
    each = [(image, picture) for many, picture in zip(images, pictures, strict=True) for image in many]
    shape = images.shape[:2]
    return Filled(
        images,
        np.reshape([psnr(image, picture, hole) for image, picture in each], shape),
        np.reshape([ssim(image, picture, hole) for image, picture in each], shape),
        np.array([diversity(many, hole) for many in images]),
        calls,
    )
