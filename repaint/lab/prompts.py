"""Does the prompt help? Glyphs filled with the right name, no name and a wrong name, compared glyph by glyph.

Every way of filling gets the same glyphs, holes and seeds, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray

from repaint import masks
from repaint.lab.compare import Difference, paired_difference
from repaint.metrics import diversity, psnr, ssim
from repaint.pipeline import RePaintPipeline, ScheduleLike, StepCallback
from repaint.samples import GLYPH_SIZE

__all__ = ["HOLES", "PROMPTS", "Filled", "PromptStudy", "compare_prompts", "fill_glyphs"]

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
        diversity: of the results for one glyph, in the hole; see `repaint.metrics.diversity`. NaN for one seed.
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
        np.array([diversity(many, hole) if seeds > 1 else np.nan for many in images]),
        calls,
    )


@dataclass(frozen=True)
class PromptStudy:
    """Every hole filled with every schedule and prompt.

    Attributes:
        filled: (hole, schedule, prompt) to what came out, in that order.
    """

    filled: dict[tuple[str, str, str], Filled]

    def differences(self) -> dict[tuple[str, str], tuple[Difference, Difference]]:
        """(hole, "a - b") to the paired differences of PSNR and SSIM: the first prompt less each other one under every
        schedule, and the first schedule less each other one under the first prompt. With several holes, "all" pools
        them.
        """
        holes, schedules, kinds = (list(dict.fromkeys(names)) for names in zip(*self.filled, strict=True))
        pairs = [((method, kinds[0]), (method, other)) for method in schedules for other in kinds[1:]]
        pairs += [((schedules[0], kinds[0]), (other, kinds[0])) for other in schedules[1:]]
        where = {hole: [hole] for hole in holes} | ({"all": holes} if len(holes) > 1 else {})
        found = {}
        for title, some in where.items():
            for ours, theirs in pairs:
                name = f"{' '.join(ours)} - {' '.join(theirs)}" if len(schedules) > 1 else f"{ours[1]} - {theirs[1]}"
                psnrs, ssims = (
                    [self._scores(some, side, measure) for side in (ours, theirs)] for measure in ("psnr", "ssim")
                )
                found[title, name] = paired_difference(*psnrs), paired_difference(*ssims)
        return found

    def _scores(self, holes: Sequence[str], side: tuple[str, str], measure: str) -> NDArray[np.float64]:
        """One way's scores of some holes side by side, (glyphs, holes * seeds)."""
        return np.concatenate([getattr(self.filled[hole, side[0], side[1]], measure) for hole in holes], axis=1)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Means and differences as plain numbers, for JSON."""
        means: list[dict[str, Any]] = [
            {
                "hole": hole,
                "schedule": schedule,
                "prompt": prompt,
                "psnr": float(filled.psnr.mean()),
                "ssim": float(filled.ssim.mean()),
                "diversity": _number(filled.diversity.mean()),
                "model_calls": filled.model_calls,
            }
            for (hole, schedule, prompt), filled in self.filled.items()
        ]
        differences = [
            {"hole": hole, "difference": name, "psnr": vars(by_psnr), "ssim": vars(by_ssim)}
            for (hole, name), (by_psnr, by_ssim) in self.differences().items()
        ]
        return {"means": means, "differences": differences}


def compare_prompts(
    pipe: RePaintPipeline,
    glyphs: Glyphs,
    holes: Mapping[str, NDArray[np.bool_]],
    prompts: Sequence[str],
    schedules: Mapping[str, ScheduleLike],
    **options: Any,
) -> PromptStudy:
    """`fill_glyphs` for every hole, schedule and prompt, on the same glyphs and seeds.

    Args:
        pipe, glyphs: see `fill_glyphs`.
        holes: name to hole.
        prompts: keys of `PROMPTS`.
        schedules: name to what `RePaintPipeline.__call__` takes as `schedule`.
        **options: seeds, batch, guidance_scale, on_call: see `fill_glyphs`.
    """
    filled = {
        (hole, schedule, prompt): fill_glyphs(pipe, glyphs, where, prompt=prompt, schedule=method, **options)
        for hole, where in holes.items()
        for schedule, method in schedules.items()
        for prompt in prompts
    }
    return PromptStudy(filled)


def _number(value: float) -> float | None:
    """JSON knows no NaN, which the diversity of a single seed is."""
    return None if np.isnan(value) else float(value)
