"""Remove an object: fill its place several times, and rank the fills, the most plausible one first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from repaint.arguments import OutputType, check_copies, method_for
from repaint.checks import is_number, left_out, shown, whole_number
from repaint.cutouts import encode
from repaint.defaults import CANDIDATES, MARGIN
from repaint.errors import InputError
from repaint.pictures.images import ImageLike, read_images
from repaint.pictures.masks import MaskLike, ReadMask, grow, known, read_keep
from repaint.pipeline import RePaintPipeline
from repaint.placement import BatchSize, in_batches
from repaint.plan import Filling, Plan
from repaint.priors.windowed import Windowed
from repaint.sampling.levels import Level
from repaint.sampling.prior import Prior
from repaint.sampling.rng import NoiseStreams, Seedable, derived_seed

__all__ = ["Removal", "ranked", "remove", "rim_contrast"]

RATIOS = (0.2, 0.5, 1.0)  # sigma / alpha of the levels at which a fill is judged
LEVELS = 50  # of the grid from which they are taken
# How the hole was filled, which has no meaning for a finished picture.
PARTS = ("schedule", "merge", "solver", "corrector", "guidance", "temperature")
FILLED_BY = (*PARTS, "antithetic", "callback_on_step_end")
NEAR = 8  # pixels around the hole in which it is judged
NOISE = derived_seed(0, 1, 2)  # seed of the noise in which fills are judged, which is not that of any of them


@dataclass(frozen=True, eq=False)
class Removal:
    """One way to remove an object.

    Attributes:
        image: the result, in the output type of the call.
        seed: reproduces it alone.
        loss: mean squared error of the noise that the prior predicts in and near the hole, at three levels. It is
            higher for a fill with an object that the prior does not expect there.
        rim_contrast: mean difference between neighbours across the rim of the hole, in [0, 1].
    """

    image: Any
    seed: int
    loss: float
    rim_contrast: float


def remove(
    image: ImageLike,
    mask_image: MaskLike | None = None,
    *,
    keep_mask: MaskLike | None = None,
    prior: str | RePaintPipeline = "photos",
    margin: float = MARGIN,
    candidates: int = CANDIDATES,
    generator: Seedable = None,
    output_type: OutputType = "pil",
    **options: Any,
) -> list[Removal]:
    """Remove what a mask covers: fill its place several times, and rank the results.

    The mask grows first, because an object has soft edges, reflections and a shadow that lead the model to paint it
    again. Results are ranked by the sum of two ranks: the prior's own denoising loss, and the contrast at the rim.

    Args:
        image: one image; see `RePaintPipeline.__call__`.
        mask_image, keep_mask: the object; exactly one of the two.
        prior: what `RePaintPipeline.from_pretrained` loads, or a pipeline.
        margin: pixels by which the mask grows, at least 0.
        candidates: number of results, at least 1.
        generator: see `RePaintPipeline.__call__`.
        output_type: "pil", "np" or "pt".
        **options: other arguments of `RePaintPipeline.__call__`.
    Returns:
        The results, best first. Pixels outside the grown mask are bit-equal to the input.
    Raises:
        RepaintError: several images, an empty mask, or another invalid argument.
    """
    left_out(options, ["num_images_per_prompt"], "candidates sets the number of results.")
    pictures = read_images(image)
    if len(pictures) != 1:
        raise InputError(f"remove() got {len(pictures)} images. Pass one image.")
    if output_type == "latent":
        raise InputError("output_type='latent' cannot be ranked. Pass 'pil', 'np' or 'pt'.")
    if not (is_number(margin) and margin >= 0):
        raise InputError(f"margin={shown(margin)} must be at least 0 (pixels by which the mask grows).")
    (keep,) = read_keep(mask_image, keep_mask, sizes=[pictures[0].size], turns=[pictures[0].orientation])
    keep = grow(keep, margin)
    hole = ~known(keep)[0].numpy()
    if not hole.any():
        raise InputError("The mask is empty, so there is nothing to remove. White is removed in mask_image.")
    pipe = prior if isinstance(prior, RePaintPipeline) else RePaintPipeline.from_pretrained(prior)
    count = whole_number("candidates", candidates, 1)
    method = method_for(pipe.prior, options.get("schedule"), temperature=options.get("temperature"))
    check_copies(method, count, "candidates")
    given = {"keep_mask": ReadMask(keep), **options}
    out = pipe(image, num_images_per_prompt=count, generator=generator, output_type=output_type, **given)
    return ranked(pipe.prior, list(out.images), out.seeds, hole, **given)


def ranked(
    prior: Prior, images: Sequence[Any], seeds: Sequence[int], hole: NDArray[np.bool_], **options: Any
) -> list[Removal]:
    """Sort fills of one hole by the sum of two ranks, by loss and by contrast at the rim, the best first.

    Args:
        prior: the model that filled them.
        images, seeds: the fills, with the seed of each.
        hole: (H, W) True at the pixels that were filled, as displayed.
        **options: mask, conditions, crop and batch_size; see `RePaintPipeline.__call__`.
    """
    losses = [denoising_loss(prior, each, **options) for each in images]
    contrasts = [rim_contrast(read_images(each)[0].unit, hole) for each in images]
    found = [Removal(*one) for one in zip(images, seeds, losses, contrasts, strict=True)]
    ranks = _ranks(losses) + _ranks(contrasts)
    return [found[i] for i in sorted(range(len(found)), key=lambda i: (ranks[i], losses[i]))]


def _ranks(values: Sequence[float]) -> NDArray[np.int64]:
    """Rank each value, 0 for the smallest."""
    ranks: NDArray[np.int64] = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ranks


@torch.no_grad()
def denoising_loss(prior: Prior, image: ImageLike, *, batch_size: BatchSize = None, **options: Any) -> float:
    """Compute the mean squared error of the predicted noise in and near the hole of a finished picture.

    All pictures with the same mask get the same noise, so that their losses can be compared.

    Args:
        prior: the model.
        image: one picture, filled.
        batch_size: see `RePaintPipeline.__call__`.
        **options: mask, conditions and crop; see `RePaintPipeline.__call__`. How the hole was filled has no influence.
    Returns:
        The mean over three noise levels, for noise of unit variance.
    """
    options = {name: value for name, value in options.items() if name not in FILLED_BY}
    plan = Plan.of(prior, None, image, **options, generator=NOISE)
    sums: list[tuple[float, int]] = []
    for batch in plan.batches():
        in_batches(batch, batch_size, lambda part: sums.append(_squares(plan, part)))
    return sum(total for total, _ in sums) / sum(count for _, count in sums)


def _squares(plan: Plan, batch: Sequence[Filling]) -> tuple[float, int]:
    """Sum the squared errors in and near the holes of a batch, and count them."""
    prior, bound, cutouts = plan.prior, plan.bound(batch), [filling.cutout for filling in batch]
    x0, mask = encode(prior, cutouts, whole=True)[0], encode(prior, cutouts)[1]
    if isinstance(bound, Windowed):
        bound = bound.covering(x0, mask)
    reach = max(1, NEAR // prior.latent_factor)
    near = F.max_pool2d((~mask).float(), 2 * reach + 1, 1, reach).bool().expand(x0.shape)
    streams = NoiseStreams.from_seeds([filling.seed for filling in batch])
    total, count = 0.0, 0
    try:
        for level in _judged(bound):
            eps, streams = streams.draw(x0.shape, x0.dtype)
            error = _error(bound, x0, eps.to(x0.device), level)[near]
            total, count = total + float(error.cpu().double().square().sum()), count + error.numel()
    finally:
        bound.release()
    return total, count


def _error(prior: Prior, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
    return prior.denoise(level.alpha * x0 + level.sigma * eps, level).eps_hat - eps


def _judged(prior: Prior) -> list[Level]:
    """Choose the levels nearest to `RATIOS`."""
    levels = [level for level in prior.schedule(LEVELS).levels[1:] if level.alpha > 0]
    return [min(levels, key=lambda level: abs(math.log(level.sigma / level.alpha / ratio))) for ratio in RATIOS]


def rim_contrast(unit: NDArray[np.float64], hole: NDArray[np.bool_]) -> float:
    """Compute the mean absolute difference between neighbours across the rim of a hole.

    Args:
        unit: (H, W, C) in [0, 1].
        hole: (H, W), True in the hole.
    Returns:
        In [0, 1]; 0 if the hole has no rim.

    >>> hole = np.array([[False, True]])
    >>> rim_contrast(np.array([[[0.25], [1.0]]]), hole)
    0.75
    """
    down = np.abs(np.diff(unit, axis=0))[hole[1:] != hole[:-1]]
    along = np.abs(np.diff(unit, axis=1))[hole[:, 1:] != hole[:, :-1]]
    steps = np.concatenate([down.ravel(), along.ravel()])
    return float(steps.mean()) if steps.size else 0.0
