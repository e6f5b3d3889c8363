"""Arguments of driven pipelines that are shares of a run act in the steps of which diffusers' own runs have as many."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from helpers.tiny_pipelines import sd_like
from PIL import Image

from repaint.lab.methods.mcgdiff import MCGdiff
from repaint.pipeline import RePaintPipeline
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpSchedule

STEPS = 20
DOWN = JumpSchedule.from_levels(list(range(STEPS, -1, -1)))
SIZE = 16, 24


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def controlled(folder: Path) -> tuple[Any, list[bool]]:
    """Return a pipeline with a ControlNet, and a list of whether it acts in each prediction so far."""
    pipe = sd_like(folder, "StableDiffusionControlNetPipeline")
    pipe.set_progress_bar_config(disable=True)
    forward, acts = pipe.controlnet.forward, []

    def watched(*args: Any, **options: Any) -> Any:
        acts.append(options["conditioning_scale"] > 0)
        return forward(*args, **options)

    pipe.controlnet.forward = watched
    return pipe, acts


def fill(pipe: Any, **options: Any) -> None:
    hole = np.zeros(SIZE, bool)
    hole[4:12, 8:16] = True
    given: dict[str, Any] = {"prompt": "a", "control_image": picture(1), "generator": 0, "crop": None}
    RePaintPipeline.from_pipe(pipe)(picture(2), hole, **given, **options)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.2, 0.8)])
def test_shares_are_of_the_steps_that_a_strength_leaves(
    tmp_path: Path, strength: float, start: float, end: float
) -> None:
    """If this fails, a ControlNet acts in other steps of a weakened run than in diffusers' image-to-image pipelines."""
    pipe, acts = controlled(tmp_path)
    shares: dict[str, Any] = {"strength": strength, "control_guidance_start": start, "control_guidance_end": end}
    cls = diffusers.StableDiffusionControlNetImg2ImgPipeline
    takes = inspect.signature(cls.__init__).parameters
    own = cls(**{name: part for name, part in pipe.components.items() if name in takes}, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    own("a", picture(2), picture(1), num_inference_steps=STEPS, generator=torch.Generator().manual_seed(0), **shares)
    expected = list(acts)
    acts.clear()
    fill(pipe, schedule=DOWN, **shares)
    assert len(expected) == STEPS * strength
    assert acts == expected


def test_particles_are_no_steps(tmp_path: Path) -> None:
    """If this fails, a share of a run counts each particle's prediction, although all are predicted at once."""
    pipe, acts = controlled(tmp_path)
    fill(pipe, schedule=Method(DOWN, kernel=MCGdiff(particles=3)), control_guidance_end=0.5)
    assert acts == [True] * (STEPS // 2) + [False] * (STEPS // 2)
