"""The prompt study: the same glyphs, holes and seeds for every prompt, and paired differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.tiny_latents import tiny_sd

from repaint.lab.quality.cases import glyph_holes
from repaint.lab.quality.prompts import MASKS, PROMPTS, PromptStudy, Scored, compare_prompts, with_prompts
from repaint.lab.quality.scores import fill, measure
from repaint.measure.metrics import diversity, psnr, ssim
from repaint.pipeline import RePaintPipeline
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(2, 1, 1)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> RePaintPipeline:
    pipe = RePaintPipeline.from_pipe(tiny_sd(tmp_path_factory.mktemp("tokens")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_no_glyph_is_given_its_own_name_as_the_wrong_one() -> None:
    """If this fails, some of the wrong names are right."""
    for count in (2, 3, 100):
        names = [str(i) for i in range(count)]
        wrong = PROMPTS["wrong"](names)
        assert sorted(wrong) == sorted(names)
        assert all(a != b for a, b in zip(names, wrong, strict=True))
    assert PROMPTS["empty"](["a", "b"]) == ["", ""]


def test_holes_leave_something_and_cover_the_mouth() -> None:
    """If this fails, a hole covers the whole glyph, or the mouth hole misses the mouth, which is two thirds down."""
    assert all(0.1 < hole.mean() <= 0.5 for hole in MASKS.values())
    assert MASKS["mouth"][36:52, 22:42].all()
    assert not MASKS["mouth"][:30].any()


def test_every_prompt_meets_the_same_seeds_whatever_the_batch(pipe: RePaintPipeline) -> None:
    """If this fails, prompts are compared with different noise, or results depend on the batch."""
    generators: list[list[int]] = []

    class Spy(RePaintPipeline):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            generators.append(kwargs["generator"])
            return super().__call__(*args, **kwargs)

    spy = Spy(pipe.prior)
    spy.set_progress_bar_config(disable=True)
    holes = glyph_holes(MASKS["box"], "train", 3)
    whole, parts = (fill(spy, holes, WALK, seeds=2, batch=batch) for batch in (6, 4))
    assert np.array_equal(np.array(whole.images), np.array(parts.images))
    fill(spy, with_prompts(holes, "wrong"), WALK, seeds=2, batch=6)
    assert generators == [[0, 3, 1, 4, 2, 5], [0, 3, 1, 4], [2, 5], [0, 3, 1, 4, 2, 5]]


def test_scores_are_those_of_the_images(pipe: RePaintPipeline) -> None:
    """If this fails, scores belong to the images of other glyphs, or are measured outside the hole."""
    holes = glyph_holes(MASKS["mouth"], "train", 2)
    filled = fill(pipe, with_prompts(holes, "empty"), WALK, seeds=2, guidance_scale=1.0)
    study = compare_prompts(pipe, {"mouth": holes}, ["empty"], {"walk": WALK}, seeds=2)
    scored = study.scored["mouth", "walk", "empty"]
    assert filled.model_calls == scored.model_calls == 2
    for i, hole in enumerate(holes):
        assert scored.diversity[i] == diversity(filled.images[i], hole.mask) > 0
        for k, image in enumerate(filled.images[i]):
            assert np.array_equal(image[~hole.mask], hole.image[~hole.mask])
            assert scored.psnr[i, k] == psnr(image, hole.image, hole.mask)
            assert scored.ssim[i, k] == ssim(image, hole.image, hole.mask)
    assert np.array_equal(measure("psnr", holes, filled), scored.psnr)


def scored(psnrs: Any) -> Scored:
    psnrs = np.asarray(psnrs, dtype=float)
    return Scored(psnrs, psnrs / 128, np.full(len(psnrs), np.nan), 20)


def test_differences_are_taken_glyph_by_glyph() -> None:
    """If this fails, a difference belongs to another pair, or has the wrong sign."""
    study = PromptStudy(
        {
            ("box", "a", "right"): scored([[10, 12], [30, 32]]),
            ("box", "a", "empty"): scored([[9, 11], [29, 31]]),
            ("box", "b", "right"): scored([[8, 10], [28, 30]]),
            ("box", "b", "empty"): scored([[8, 10], [28, 30]]),
            ("half", "a", "right"): scored([[10, 12], [30, 32]]),
            ("half", "a", "empty"): scored([[7, 9], [27, 29]]),
            ("half", "b", "right"): scored([[8, 10], [28, 30]]),
            ("half", "b", "empty"): scored([[8, 10], [28, 30]]),
        }
    )
    means = {key: by_psnr.mean for key, (by_psnr, _) in study.differences().items()}
    assert means == pytest.approx(
        {
            ("box", "a right - a empty"): 1,
            ("box", "b right - b empty"): 0,
            ("box", "a right - b right"): 2,
            ("half", "a right - a empty"): 3,
            ("half", "b right - b empty"): 0,
            ("half", "a right - b right"): 2,
            ("all", "a right - a empty"): 2,
            ("all", "b right - b empty"): 0,
            ("all", "a right - b right"): 2,
        }
    )
    assert study.differences()["all", "a right - a empty"][1].mean == 2 / 128
    rows = study.as_dict()
    first = {"hole": "box", "schedule": "a", "prompt": "right"}
    assert rows["means"][0] == first | {"psnr": 21, "ssim": 21 / 128, "diversity": None, "model_calls": 20}
    assert len(rows["differences"]) == 9
