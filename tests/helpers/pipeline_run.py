"""A small pipeline, run by itself and driven at the same x and times, and driven again with each input changed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image, ImageOps

from helpers.pipeline_calls import calls_of, largest_difference
from helpers.pipeline_cases import CASES, NO_IP_ADAPTER, Case
from repaint.priors.driven import DrivenPrior
from repaint.priors.private_randomness import PrivateRandomness
from repaint.priors.sample_layout import SampleLayout
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip
from repaint.sampling.prior import NAMES, Conditions

__all__ = ["Run", "conditions_of", "run"]

STEPS = 5
OF_A_CAPTION = ("text_images", "render_text_images")  # which go with one JSON caption only
EFFECT = 1e-6  # of the noise prediction, whose standard deviation is about 1; an input without effect changes no bit


@dataclass
class Run:
    """What a comparison finds.

    Attributes:
        difference: the largest one between the noise predictions.
        guided: whether the unguided prediction was found.
        end: for a flow model, the largest difference between the pipeline's last x and our clean sample before it.
        start: for a flow model, the standard deviation of the pipeline's first x over that of our first level.
        ignored: the inputs (prompts, embeddings, images) whose change does not change the prediction.
        untried: the images that the pipeline takes and the run does not have.
    """

    difference: float
    guided: bool
    end: float
    start: float
    ignored: list[str]
    untried: list[str]

    def faults(self) -> list[str]:
        """Return what is wrong, in words; none where the pipeline is driven as it runs by itself."""
        found = {
            "the prediction differs": self.difference != 0,
            "the clean sample is not where the pipeline ends": self.end > 1e-4,
            "the pipeline starts from other noise": abs(self.start - 1) > 0.1,
            f"{self.ignored} change nothing": self.ignored != [],
            f"{self.untried} were not given": self.untried != [],
        }
        return [fault for fault, holds in found.items() if holds]


def conditions_of(prior: DrivenPrior, given: dict[str, Any], size: tuple[int, int]) -> tuple[int, Conditions]:
    """Return the number of images and the conditions that have the meaning of a pipeline's own arguments."""
    ours = {own: name for name, own in prior._names.items()}
    named = {ours[name]: value for name, value in given.items()}
    if "ControlNetUnion" in type(prior.pipeline).__name__:  # by kind of control there, and by image here
        named["control_image"] = [list(each) for each in zip(*given["control_image"], strict=True)]
    rows = [value for name, value in named.items() if name == "prompt" or "embeds" in name]
    count = 1 if not rows or isinstance(rows[0], str) else len(rows[0])
    own = {name: value for name, value in named.items() if name in NAMES}
    further = {name: value for name, value in named.items() if name not in NAMES}
    return count, Conditions(**own, arguments=further, size=size, calls=STEPS)


def changed(value: Any) -> Any:
    """Return another input of the same kind: a negative, reversed embeddings, or another text; None for a switch."""
    if isinstance(value, list):
        others = [changed(each) for each in value]
        return None if others[0] is None else others
    if isinstance(value, Image.Image):
        return ImageOps.invert(value)
    if isinstance(value, str):
        return value.replace(': "', ': "not ', 1) if value.startswith("{") else f"not {value}"  # a JSON caption
    return value.flip(-1) if isinstance(value, torch.Tensor) and value.is_floating_point() else None


def effects(
    prior: DrivenPrior, conditions: Conditions, reference: torch.Tensor, x: torch.Tensor, level: Level
) -> Iterator[tuple[str, float]]:
    """Yield each input, and how much the prediction `reference` changes with it."""
    for name, value in conditions.given().items():
        if not any(kind in name for kind in ("prompt", "image", "embeds", "reference")):
            continue
        if (other := changed(value)) is None:
            continue
        own = {name: other} if name in NAMES else {"arguments": {**conditions.arguments, name: other}}
        bound = prior.conditioned(len(x), replace(conditions, **own))
        yield name, float((bound.denoise(x, level).eps_hat - reference).abs().max())
        bound.release()


@contextmanager
def of_size(pipe: Any, size: tuple[int, int]) -> Iterator[None]:
    """Keep a pipeline from replacing the size by one of its own inside the block."""
    own = dict(vars(pipe))
    if type(pipe).__name__ == "HiDreamImagePipeline":
        pipe.default_sample_size = math.sqrt(size[0] * size[1]) / pipe.vae_scale_factor * (1 + 1e-9)
    if hasattr(pipe, "resolutions"):
        pipe.resolutions = [size[::-1]]
    try:
        yield
    finally:
        vars(pipe).update(own)


def run(name: str, case: Case | None = None) -> Run:
    """Compare a driven pipeline with its own run at five noise levels.

    Args:
        name: of its class.
        case: the small copy; None: that in `CASES`.
    """
    case = case or CASES[name]
    pipe, given = case.made()
    prior = DrivenPrior(pipe)
    count, conditions = conditions_of(prior, given, case.size)
    scheduler = pipe.scheduler
    takes, fixed = inspect.signature(pipe.__call__).parameters, {"use_resolution_binning": False, "_auto_resize": False}
    options = {key: value for key, value in fixed.items() if key in takes}
    if "max_area" in takes:
        options["max_area"] = case.size[0] * case.size[1]
    if prior.codec.vae is None or name == "KandinskyPipeline":  # which cannot return its latents
        options["output_type"] = "pt"
    if "negative_prompt" in takes and "prompt" not in given:
        options["negative_prompt"] = None
    with PrivateRandomness(per_row=True), of_size(pipe, case.size):  # as the driver does
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
    x = torch.randn(cells, generator=torch.Generator().manual_seed(0))
    prediction = bound.denoise(x, grid[3])
    bound.release()
    start, end = 1.0, 0.0
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        (first, last), level = (calls[0].x, calls[-1]), grid[1]
        layout = SampleLayout.of(cells, last.x.shape)
        start = float(first.std()) / grid.levels[-1].sigma
        bound = prior.conditioned(count, conditions)
        end = float((bound.denoise(layout.unpack(last.x), level).x0_hat - layout.unpack(last.after)).abs().max())
        bound.release()
    found = effects(prior, conditions, prediction.eps_hat, x, grid[3])
    ignored = [own for own, effect in found if effect < EFFECT]
    images = [own for own in prior.serves if own.removesuffix("s").endswith("image") and own not in OF_A_CAPTION]
    images = [own for own in images if name not in NO_IP_ADAPTER or own != "ip_adapter_image"]
    untried = [own for own in images if own not in conditions.given() and not own.startswith("negative")]
    return Run(difference, prediction.unguided is not None, end, start, ignored, untried)
