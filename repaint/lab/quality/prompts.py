"""Measure the effect of prompts: fill glyphs with the right name, no name and a wrong name.

All methods get the same glyphs, holes and seeds, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from repaint.arguments import ScheduleLike
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.scores import fill, measure
from repaint.measure.intervals import Difference, paired_difference
from repaint.measure.metrics import diversity
from repaint.pictures import mask_shapes
from repaint.pictures.samples import GLYPH_SIZE
from repaint.pipeline import RePaintPipeline

__all__ = ["MASKS", "PROMPTS", "PromptStudy", "Scored", "compare_prompts", "with_prompts"]


# The holes of every glyph; "mouth" covers the mouth of a face.
MASKS: dict[str, NDArray[np.bool_]] = {
    name: keep[0].numpy() == 0
    for name, keep in {
        "mouth": mask_shapes.box(GLYPH_SIZE, GLYPH_SIZE, top=34, left=14, h=22, w=36),
        "half": mask_shapes.half(GLYPH_SIZE, GLYPH_SIZE, side="right"),
        "box": mask_shapes.box(GLYPH_SIZE, GLYPH_SIZE, share=0.5),
    }.items()
}


def _wrong(names: list[str]) -> list[str]:
    """Return a wrong name for each glyph: the name half a list away."""
    return list(np.roll(names, len(names) // 2))


# Kind of prompt to a function from the names of the glyphs to their prompts.
PROMPTS: dict[str, Callable[[list[str]], list[str]]] = {
    "right": lambda names: names,
    "empty": lambda names: [""] * len(names),
    "wrong": _wrong,
}


def with_prompts(holes: Sequence[Hole], kind: str) -> list[Hole]:
    """Replace the prompts of holes by those of a kind, a key of `PROMPTS`."""
    texts = PROMPTS[kind]([hole.conditions["prompt"] for hole in holes])
    return [replace(hole, conditions={"prompt": text}) for hole, text in zip(holes, texts, strict=True)]


@dataclass(frozen=True)
class Scored:
    """The scores of one schedule and prompt; see `repaint.lab.quality.scores`.

    Attributes:
        psnr: in the hole, dB.
        ssim: in the hole.
        diversity: of the results for one glyph; NaN for one seed.
        model_calls: denoiser calls per result.
    """

    psnr: Float[np.ndarray, "glyphs seeds"]
    ssim: Float[np.ndarray, "glyphs seeds"]
    diversity: Float[np.ndarray, " glyphs"]
    model_calls: int


@dataclass(frozen=True)
class PromptStudy:
    """The scores of all holes, schedules and prompts.

    Attributes:
        scored: (hole, schedule, prompt) to scores.
    """

    scored: dict[tuple[str, str, str], Scored]

    def differences(self) -> dict[tuple[str, str], tuple[Difference, Difference]]:
        """Compute paired differences of PSNR and SSIM.

        The first prompt is compared with each other one under every schedule, and the first schedule with each other
        one under the first prompt. With several holes, the hole "all" pools them.

        Returns:
            (hole, "a - b") to the differences of PSNR and SSIM.
        """
        holes, schedules, kinds = (list(dict.fromkeys(names)) for names in zip(*self.scored, strict=True))
        pairs = [((method, kinds[0]), (method, other)) for method in schedules for other in kinds[1:]]
        pairs += [((schedules[0], kinds[0]), (other, kinds[0])) for other in schedules[1:]]
        pools = {hole: [hole] for hole in holes} | ({"all": holes} if len(holes) > 1 else {})
        found = {}
        for title, pool in pools.items():
            for ours, theirs in pairs:
                name = f"{' '.join(ours)} - {' '.join(theirs)}" if len(schedules) > 1 else f"{ours[1]} - {theirs[1]}"
                psnrs, ssims = (
                    [self._scores(pool, side, measure) for side in (ours, theirs)] for measure in ("psnr", "ssim")
                )
                found[title, name] = paired_difference(*psnrs), paired_difference(*ssims)
        return found

    def _scores(self, holes: Sequence[str], side: tuple[str, str], measure: str) -> NDArray[np.float64]:
        """Collect the scores of one schedule and prompt over several holes, (glyphs, holes * seeds)."""
        return np.concatenate([getattr(self.scored[hole, side[0], side[1]], measure) for hole in holes], axis=1)

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return means and differences as plain numbers, for JSON."""
        means: list[dict[str, Any]] = [
            {
                "hole": hole,
                "schedule": schedule,
                "prompt": prompt,
                "psnr": float(scored.psnr.mean()),
                "ssim": float(scored.ssim.mean()),
                "diversity": _number(scored.diversity.mean()),
                "model_calls": scored.model_calls,
            }
            for (hole, schedule, prompt), scored in self.scored.items()
        ]
        differences = [
            {"hole": hole, "difference": name, "psnr": vars(by_psnr), "ssim": vars(by_ssim)}
            for (hole, name), (by_psnr, by_ssim) in self.differences().items()
        ]
        return {"means": means, "differences": differences}


def compare_prompts(
    pipe: RePaintPipeline,
    holes: Mapping[str, Sequence[Hole]],
    prompts: Sequence[str],
    schedules: Mapping[str, ScheduleLike],
    *,
    guidance_scale: float = 3.0,
    **options: Any,
) -> PromptStudy:
    """Fill every hole under every prompt with every schedule.

    Args:
        pipe: a pipeline around a text-conditioned prior.
        holes: name to the results of `repaint.lab.quality.cases.glyph_holes`.
        prompts: keys of `PROMPTS`.
        schedules: name to the `schedule` argument of `RePaintPipeline.__call__`.
        guidance_scale: weight of classifier-free guidance. Empty prompts are not guided.
        **options: seeds, batch and others; see `repaint.lab.quality.scores.fill`.
    """
    scored = {}
    for name, glyphs in holes.items():
        for method, schedule in schedules.items():
            for prompt in prompts:
                scale = 1.0 if prompt == "empty" else guidance_scale
                filled = fill(pipe, with_prompts(glyphs, prompt), schedule, guidance_scale=scale, **options)
                spread = [
                    diversity(many, hole.mask) if len(many) > 1 else np.nan
                    for hole, many in zip(glyphs, filled.images, strict=True)
                ]
                by_psnr, by_ssim = (measure(kind, glyphs, filled) for kind in ("psnr", "ssim"))
                scored[name, method, prompt] = Scored(by_psnr, by_ssim, np.array(spread), filled.model_calls)
    return PromptStudy(scored)


def _number(value: float) -> float | None:
    """Replace NaN (the diversity of a single result), which JSON lacks, by None."""
    return None if np.isnan(value) else float(value)
