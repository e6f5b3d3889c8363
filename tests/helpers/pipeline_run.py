"""A small pipeline, run by itself and driven at the same x and times."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch

from helpers.pipeline_calls import calls_of, largest_difference
from helpers.pipeline_cases import CASES
from repaint.priors.driven import DrivenPrior
from repaint.priors.private_randomness import PrivateRandomness
from repaint.sampling.levels import CLEAN
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip
from repaint.sampling.prior import NAMES, Conditions

__all__ = ["Run", "conditions_of", "run"]

STEPS = 5


@dataclass
class Run:
    """The result: the largest difference of the noise predictions, and whether the unguided one was found."""

    difference: float
    guided: bool


def conditions_of(prior: DrivenPrior, given: dict[str, Any], size: tuple[int, int]) -> tuple[int, Conditions]:
    """Return the number of images and the conditions that have the meaning of a pipeline's own arguments."""
    ours = {own: name for name, own in prior._names.items()}
    named = {ours[name]: value for name, value in given.items()}
    rows = [value for name, value in named.items() if name == "prompt" or "embeds" in name]
    count = len(rows[0]) if rows else 1
    own = {name: value for name, value in named.items() if name in NAMES}
    further = {name: value for name, value in named.items() if name not in NAMES}
    return count, Conditions(**own, arguments=further, size=size, calls=STEPS)


def run(name: str) -> Run:
    """Compare a driven pipeline with its own run at five noise levels."""
    case = CASES[name]
    pipe, given = case.made()
    prior = DrivenPrior(pipe)
    count, conditions = conditions_of(prior, given, case.size)
    scheduler = pipe.scheduler
    takes, fixed = inspect.signature(pipe.__call__).parameters, {"use_resolution_binning": False, "_auto_resize": False}
    options = {key: value for key, value in fixed.items() if key in takes}
    if "max_area" in takes:
        options["max_area"] = case.size[0] * case.size[1]
    if prior.codec.vae is None:
        options["output_type"] = "pt"
    if "negative_prompt" in takes and "prompt" not in given:
        options["negative_prompt"] = None
    if name == "HiDreamImagePipeline":
        pipe.default_sample_size = math.sqrt(case.size[0] * case.size[1]) / pipe.vae_scale_factor * (1 + 1e-9)
    with PrivateRandomness():  # as the driver does
        calls = calls_of(pipe, case.size, STEPS, **given, **options)
    bound = prior.conditioned(count, conditions)
    grid = bound.schedule(STEPS)
    if name == "LatentConsistencyModelPipeline":  # its scheduler has levels of its own
        all_levels = NoiseSchedule.from_scheduler(scheduler, 1000, "linspace").levels
        levels = sorted((all_levels[int(call.t) + 1] for call in calls), key=lambda level: level.t)
        grid = NoiseSchedule((CLEAN, *levels), "VP", "own")
    cells = (count, prior.codec.latent_channels, *(side // prior.codec.factor for side in case.size))
    difference = largest_difference(
        bound, grid, calls, prior.preconditioning.predicts, cells, Clip.from_config(scheduler.config)
    )
    prediction = bound.denoise(torch.zeros(cells), grid[3])
    bound.release()
    return Run(difference, prediction.unguided is not None)
