"""From what a caller gives to the batches that a sampler runs, and back: encode, decode, compose.

One job is one result. Jobs of one size share a batch; each has its own seed and its own conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.crop import pad
from repaint.images import Picture
from repaint.masks import MaskLike, known, read_keep
from repaint.priors.base import Conditions, Prior
from repaint.priors.latent import widen
from repaint.rng import Seedable, seeds_for
from repaint.seam import meet_rim
from repaint.state import SamplerState

__all__ = ["Job", "batches", "bound", "collect", "encode", "finish", "jobs_for", "same_problem"]


@dataclass
class Job:
    """One image to fill: its picture, its mask, and what comes out."""

    picture: Picture
    keep: Float[Tensor, "1 h w"]
    seed: int
    conditions: Conditions
    result: Any = None

    @property
    def has_hole(self) -> bool:
        """Whether there is anything to paint."""
        return not bool(known(self.keep).all())


def jobs_for(
    pictures: Sequence[Picture],
    mask_image: MaskLike | None,
    keep_mask: MaskLike | None,
    copies: int,
    generator: Seedable,
    asked: Conditions,
) -> list[Job]:
    """`copies` jobs for each picture, one after the other; the arguments are those of `RePaintPipeline.__call__`."""
    keeps = read_keep(mask_image, keep_mask, sizes=[picture.size for picture in pictures])
    each = asked.split(len(pictures))
    seeds = seeds_for(len(pictures) * copies, generator)
    return [Job(pictures[i // copies], keeps[i // copies], seed, each[i // copies]) for i, seed in enumerate(seeds)]


def batches(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can share a batch: one size, and all with a hole or all without."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.picture.size, job.has_hole), []).append(job)
    return list(groups.values())


def bound(prior: Prior, jobs: Sequence[Job]) -> Prior:
    """The prior under the conditions of a batch."""
    height, width = pad(jobs[0].keep, prior.multiple_of)[0].shape[-2:]
    return prior.conditioned(len(jobs), Conditions.join([job.conditions for job in jobs], (height, width)))


def encode(
    prior: Prior, jobs: Sequence[Job], margin: int = 0, *, whole: bool = False
) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
    """(x0, known) of a batch; `whole` treats every pixel as known, `margin` is `latent_margin`.

    Each picture by itself, and once however many results it has: in a batch the last bits of an autoencoder's latents
    are others, and a branch of a state would no longer know its own picture.
    """
    encoded: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for job in jobs:
        if (key := (id(job.picture), id(job.keep))) in encoded:
            continue
        mask = torch.ones_like(job.keep, dtype=torch.bool) if whole else known(job.keep)
        image = job.picture.tensor(prior.channels)
        image = pad(torch.where(mask, image, torch.zeros_like(image)), prior.multiple_of)[0]
        mask = pad(mask, prior.multiple_of)[0]
        encoded[key] = prior.encode(image[None].to(prior.device, prior.dtype), mask[None].to(prior.device))
    x0, mask = (torch.cat(parts) for parts in zip(*(encoded[id(j.picture), id(j.keep)] for j in jobs), strict=True))
    return x0, widen(mask, margin) if margin else mask


def same_problem(state: SamplerState, x0: Tensor, mask: Tensor) -> bool:
    """Whether a state's known part is that of a batch."""
    if state.x0.shape != x0.shape:
        return False
    mask = mask.expand(x0.shape)
    return torch.equal(state.known, mask) and torch.equal(state.x0, torch.where(mask, x0, torch.zeros_like(x0)))


def finish(prior: Prior, jobs: Sequence[Job], x: Float[Tensor, "b *shape"], feather: float, output_type: str) -> None:
    """Decode, cut the padding off, meet the rim, put the kept pixels back bit for bit."""
    if output_type == "latent":
        for job, sample in zip(jobs, x, strict=True):
            job.result = sample
        return
    with torch.no_grad():
        decoded = prior.decode(x).cpu()
    for job, image in zip(jobs, decoded, strict=True):
        padding = pad(job.keep, prior.multiple_of)[1]
        filled = padding.cut(image)
        if feather:
            filled = meet_rim(filled, job.picture.tensor(prior.channels), known(job.keep), feather)
        job.result = job.picture.compose(filled, job.keep).output(output_type)


def collect(jobs: Sequence[Job], output_type: str) -> Any:
    """The results as a list, or as one batch where the type has such a thing and the sizes agree."""
    results = [job.result for job in jobs]
    if output_type == "np" and len({(r.shape, r.dtype) for r in results}) == 1:
        return np.stack(results)
    if output_type == "pt" and len({(r.shape, r.dtype) for r in results}) == 1:
        return torch.stack(results)
    return results
