"""Measure the quality of filled holes, with the same holes and seeds for every method.

Each result is compared with the true content (PSNR, SSIM, LPIPS, all in the hole), and its patches with real patches of
the same image. The patches of a method are also pooled by group and compared with the real patches of the group. The
score of the true content is the floor: no method can be expected to do better.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from repaint.arguments import ScheduleLike, method_for
from repaint.errors import InputError
from repaint.lab.calibration.proper_scores import crps, energy_score
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.classical_fills import fill_biharmonic
from repaint.measure.metrics import (
    LPIPS_NETS,
    dissimilarity,
    diversity,
    lpips,
    lpips_backbone,
    psnr,
    rim_gradients,
    ssim,
)
from repaint.measure.patches import gradient_distance, gradients, patch_distance, patches
from repaint.pictures.crop import pad
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.rng import derived_seed

__all__ = [
    "MANY",
    "Filled",
    "Score",
    "biharmonic",
    "fill",
    "hole_loss",
    "lpips_nets",
    "measure",
    "pooled_patch_distance",
    "score",
    "truth",
]

Image = NDArray[np.uint8]
LOSS = 3  # sets the seeds of the loss apart from others that are derived
LOSS_STEPS, LOSS_LEVELS = 50, (5, 15, 25, 35, 45)  # the grid, and its levels at which the loss is computed


@dataclass(frozen=True)
class Filled:
    """The results of one method for all holes.

    Attributes:
        images: one list per hole, with one result per seed.
        model_calls: denoiser calls per result; a guided call counts once.
        seconds: for all holes.
    """

    images: list[list[Image]]
    model_calls: int = 0
    seconds: float = 0.0


def fill(
    pipe: RePaintPipeline,
    holes: Sequence[Hole],
    schedule: ScheduleLike,
    *,
    first_seed: int = 0,
    seeds: int = 1,
    batch: int = 16,
    on_call: StepCallback | None = None,
    **options: Any,
) -> Filled:
    """Fill every hole with a pipeline.

    Args:
        pipe: a pipeline whose prior supports the conditions of the holes.
        holes: of any sizes.
        schedule: see `RePaintPipeline.__call__`.
        first_seed: hole i of n gets the seeds first_seed + i, first_seed + i + n, ..., the same for every method.
        seeds: results per hole; a method without noise has one.
        batch: results computed at once.
        on_call: the `callback_on_step_end` of the pipeline.
        **options: further arguments of the pipeline, such as guidance_scale.
    """
    if method_for(pipe.prior, schedule).temperature == 0:
        seeds = 1
    images: list[list[Image]] = []
    calls, started = 0, time.perf_counter()
    step = max(1, batch // seeds)
    for first in range(0, len(holes), step):
        batched = range(first, min(first + step, len(holes)))
        names = sorted({name for i in batched for name in holes[i].conditions})
        conditions: dict[str, Any] = {name: [holes[i].conditions[name] for i in batched] for name in names}
        result = pipe(
            [holes[i].image for i in batched],
            [holes[i].mask for i in batched],
            schedule=schedule,
            num_images_per_prompt=seeds,
            generator=[first_seed + i + k * len(holes) for i in batched for k in range(seeds)],
            output_type="np",
            callback_on_step_end=on_call,
            **conditions,
            **options,
        )
        images += [list(result.images[k * seeds : (k + 1) * seeds]) for k in range(len(batched))]
        calls = result.model_calls
    return Filled(images, calls, time.perf_counter() - started)


def truth(holes: Sequence[Hole]) -> Filled:
    """Return the true content of the holes: the floor."""
    return Filled([[hole.image] for hole in holes])


def biharmonic(holes: Sequence[Hole]) -> Filled:
    """Fill every hole with biharmonic inpainting of scikit-image: the classical baseline."""
    started = time.perf_counter()
    images = [[fill_biharmonic(hole.image, hole.mask)] for hole in holes]
    return Filled(images, 0, time.perf_counter() - started)


def _or_nan(compute: Callable[..., float], *given: Any) -> float:
    """Compute a measure; NaN for a hole or a picture that it is not defined for."""
    try:
        return compute(*given)
    except InputError:
        return math.nan


def _lpips(net: str, image: Image, hole: Hole) -> float:
    distance = partial(lpips, net=net)
    if not lpips_backbone(net)[0].is_file():
        return distance(image, hole.image, hole.mask)  # raises, with the command that fetches the weights
    return _or_nan(distance, image, hole.image, hole.mask)


MEASURES: dict[str, Callable[[Image, Hole], float]] = {
    "psnr": lambda image, hole: psnr(image, hole.image, hole.mask),
    "ssim": lambda image, hole: _or_nan(ssim, image, hole.image, hole.mask),
    "patches": lambda image, hole: _or_nan(patch_distance, patches(image, hole.mask), patches(hole.image, hole.real)),
    "gradients": lambda image, hole: _or_nan(
        gradient_distance, gradients(image, hole.mask), gradients(hole.image, hole.real)
    ),
    **{f"lpips_{net}": partial(_lpips, net) for net in LPIPS_NETS},
}


def _values(image: Image, hole: Hole) -> NDArray[np.float64]:
    return image[hole.mask].astype(np.float64).ravel()


# Measures of several results for one hole.
MANY: dict[str, Callable[[Sequence[Image], Hole], float]] = {
    "energy": lambda many, hole: energy_score(np.stack([_values(i, hole) for i in many]), _values(hole.image, hole)),
    "crps": lambda many, hole: crps(np.stack([_values(i, hole) for i in many]), _values(hole.image, hole)),
    "diversity": lambda many, hole: diversity(many, hole.mask),
    "diversity_ssim": lambda many, hole: _or_nan(partial(diversity, distance=dissimilarity), many, hole.mask),
    "diversity_lpips": lambda many, hole: _or_nan(partial(diversity, distance=lpips), many, hole.mask),
}


def measure(name: str, holes: Sequence[Hole], filled: Filled) -> Float[np.ndarray, "holes seeds"]:
    """Compute one number per result.

    Args:
        name: psnr (dB), ssim, lpips_alex, lpips_vgg, lpips_squeeze: against the true content, in the hole. patches,
            gradients: distance of the painted patches to real ones of the same image. NaN where a measure is not
            defined, as SSIM in a hole at the border of its picture.
        holes: that were filled.
        filled: the results.
    Raises:
        InputError: LPIPS without its weights; see `repaint.measure.metrics.lpips`.
    """
    compute = MEASURES[name]
    return np.array([[compute(image, hole) for image in many] for hole, many in zip(holes, filled.images, strict=True)])


def lpips_nets() -> dict[str, str | None]:
    """Check which LPIPS networks have their weights: measure to None, or to the command that fetches them."""
    grey = np.zeros((64, 64, 3), dtype=np.uint8)
    found: dict[str, str | None] = {}
    for net in ("alex", "vgg", "squeeze"):
        try:
            lpips(grey, grey, net=net)
            found[f"lpips_{net}"] = None
        except InputError as error:
            found[f"lpips_{net}"] = str(error)
    return found


@dataclass(frozen=True)
class Score:
    """The mean scores of one method.

    Attributes:
        patches: sliced Wasserstein distance of painted patches to real ones, pooled by group, mean over groups.
        gradients: distance of gradient histograms, pooled in the same way.
        psnr: in the hole, dB, mean over results; infinite for the true content.
        ssim: in the hole, mean over the results in which it is defined.
        seam: mean gradient across the rims divided by that beside them, pooled over the results in which these are
            defined. Compare it with the value of the true content.
        energy, crps: see `repaint.lab.calibration.proper_scores`, in 8-bit values; None for one result per hole.
        diversity: root mean square difference of the results for one hole, mean over holes; None for one result.
        diversity_ssim, diversity_lpips: the same with 1 - SSIM and with LPIPS (AlexNet, if its weights are on this
            computer) of pairs in the hole.
        model_calls: denoiser calls per result.
        seconds: for all holes.
    """

    patches: float
    gradients: float
    psnr: float
    ssim: float
    seam: float
    energy: float | None
    crps: float | None
    diversity: float | None
    diversity_ssim: float | None
    diversity_lpips: float | None
    model_calls: int
    seconds: float


def score(holes: Sequence[Hole], filled: Filled) -> Score:
    """Compare results with the true content, and with real patches of the same group."""
    patch, gradient = [], []
    for group in dict.fromkeys(hole.group for hole in holes):
        pairs = [(hole, many) for hole, many in zip(holes, filled.images, strict=True) if hole.group == group]
        patch.append(pooled_patch_distance([(hole, image) for hole, many in pairs for image in many]))
        painted = np.concatenate([gradients(image, hole.mask) for hole, many in pairs for image in many])
        natural = np.concatenate([gradients(h.image, h.real) for h, _ in pairs])
        gradient.append(_or_nan(gradient_distance, painted, natural))
    rims = np.array([_rim(i, hole) for hole, many in zip(holes, filled.images, strict=True) for i in many])
    across, beside = np.nansum(rims, axis=0)
    several = [(many, hole) for hole, many in zip(holes, filled.images, strict=True) if len(many) > 1]
    measured = [name for name in MANY if several and (name != "diversity_lpips" or lpips_backbone("alex")[0].is_file())]
    spread = {name: _mean([MANY[name](*each) for each in several]) for name in measured}
    return Score(
        patches=_mean(patch),
        gradients=_mean(gradient),
        psnr=float(measure("psnr", holes, filled).mean()),
        ssim=_mean(measure("ssim", holes, filled)),
        seam=float(across / beside) if beside else math.nan,
        energy=spread.get("energy"),
        crps=spread.get("crps"),
        diversity=spread.get("diversity"),
        diversity_ssim=spread.get("diversity_ssim"),
        diversity_lpips=spread.get("diversity_lpips"),
        model_calls=filled.model_calls,
        seconds=filled.seconds,
    )


def pooled_patch_distance(results: Sequence[tuple[Hole, Image]]) -> float:
    """Compute the distance of all patches of some fills to all real patches of their images; NaN for thin holes."""
    ours = _stack([patches(image, hole.mask) for hole, image in results])
    real = _stack([patches(hole.image, hole.real) for hole in {hole.name: hole for hole, _ in results}.values()])
    return _or_nan(patch_distance, ours, real)


@torch.no_grad()
def hole_loss(prior: Prior, holes: Sequence[Hole], filled: Filled) -> Float[np.ndarray, "holes seeds"]:
    """Compute the loss of the prior on each result: the mean squared error of its noise prediction, in the hole.

    The same noise is added for every method, at five levels of the schedule of the prior. Smooth results score below
    the true content, and results with artefacts above it; the best value is that of the true content.
    """
    rows = []
    for i, (hole, many) in enumerate(zip(holes, filled.images, strict=True)):
        images = torch.from_numpy(np.stack(many)).permute(0, 3, 1, 2).to(prior.device, prior.dtype) / 127.5 - 1
        x = pad(images, prior.multiple_of)
        mask = pad(torch.from_numpy(hole.mask), prior.multiple_of).to(prior.device).expand(len(x), 1, -1, -1)
        x0, _ = prior.encode(x, torch.ones_like(mask))
        _, cells = prior.encode(x, ~mask)
        conditions = Conditions(**hole.conditions, guidance_scale=1.0, size=(x.shape[2], x.shape[3]))
        bound = prior.conditioned(len(x), conditions)
        grid = bound.schedule(LOSS_STEPS)
        generator = torch.Generator().manual_seed(derived_seed(i, LOSS))  # not that of a fill, whose noise it would be
        errors = []
        for level in (grid[number] for number in LOSS_LEVELS):
            eps = torch.randn(x0.shape[1:], generator=generator).to(x0).expand_as(x0)
            eps_hat = bound.denoise(level.alpha * x0 + level.sigma * eps, level).eps_hat
            inside = (~cells).expand_as(x0)
            errors.append(
                [float((a - b)[mask].square().mean()) for a, b, mask in zip(eps_hat, eps, inside, strict=True)]
            )
        rows.append(np.mean(errors, axis=0))
    return np.array(rows)


def _rim(image: Image, hole: Hole) -> tuple[float, float]:
    """Compute the gradients across the rim and beside it; NaN for a hole that does not have both."""
    try:
        return rim_gradients(image, hole.mask)
    except InputError:
        return math.nan, math.nan


def _mean(values: ArrayLike) -> float:
    """Average the values that are defined; NaN without any."""
    defined = np.asarray(values)[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _stack(sets: Sequence[Sequence[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    return [np.concatenate(level) for level in zip(*sets, strict=True)]
