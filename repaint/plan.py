"""From what a caller gives to the batches that a sampler runs, and back: encode, decode, compose, stitch.

A result needs one job for each window of its picture; the window may be all of it. Jobs of one size share a batch, and
each has its own seed and conditions, so that no result depends on what it shares a batch with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError, NonFiniteError
from repaint.pictures.crop import Crop, Padding, Window, pad, windows_around
from repaint.pictures.images import Picture
from repaint.pictures.masks import MaskLike, known, read_keep
from repaint.pictures.push_pull import smooth_fill
from repaint.pictures.rim import meet_rim
from repaint.priors.latent import widen
from repaint.priors.windowed import Windowed
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.rng import Seedable, seeds_for
from repaint.sampling.state import SamplerState

__all__ = [
    "Job",
    "Part",
    "Result",
    "batches",
    "bound",
    "check_latents",
    "collect",
    "cut",
    "encode",
    "finish",
    "results_for",
    "same_problem",
    "window_seed",
]


@dataclass(frozen=True, eq=False)
class Part:
    """What is cut out of a picture to be painted.

    Attributes:
        window: where it was.
        picture, keep: that part of the picture and of its mask.
    """

    window: Window
    picture: Picture
    keep: Float[Tensor, "1 h w"]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels as the prior sees it, before padding."""
        height, width = self.picture.size
        return height * self.window.scale, width * self.window.scale


@dataclass
class Job:
    """A part to paint.

    Attributes:
        painted: what came out, once it did: the part painted, or its latent.
    """

    part: Part
    seed: int
    conditions: Conditions
    painted: Any = None


@dataclass
class Result:
    """A picture and the jobs that fill its holes: none, one, or one for each window."""

    picture: Picture
    jobs: list[Job]
    seed: int

    def output(self, output_type: str, prior: Prior) -> Any:
        """What the caller gets; latents are those of the one job, or of the picture where nothing is painted.

        Raises:
            NonFiniteError: latents with NaN or infinity; of pixels, `Picture.compose` has said so.
        """
        if output_type == "latent" and self.jobs:
            latents = self.jobs[0].painted
            if not bool(torch.isfinite(latents).all()):
                raise NonFiniteError(
                    "The latents hold NaN or infinity, which no prediction did: the solver's last step made them. "
                    "Take another solver."
                )
            return latents
        if output_type == "latent":
            nowhere = Window(0, 0, np.zeros(self.picture.size, dtype=bool))
            return encode(prior, [Part(nowhere, self.picture, torch.ones(1, *self.picture.size))])[0][0]
        windows = [(job.part.window.place, job.part.window.own, job.painted) for job in self.jobs]
        return (self.picture.stitched(windows) if windows else self.picture).output(output_type)


def cut(
    pictures: Sequence[Picture],
    mask_image: MaskLike | None,
    keep_mask: MaskLike | None,
    crop: Crop | None,
    prior: Prior,
) -> list[list[Part]]:
    """The parts of each picture that have to be painted.

    Args:
        pictures: as read.
        mask_image, keep_mask: see `RePaintPipeline.__call__`.
        crop: how pictures are cut; None paints whole ones.
        prior: whose size and multiple the parts keep to.
    """
    keeps = read_keep(mask_image, keep_mask, sizes=[picture.size for picture in pictures])
    size = _window_size(crop, prior)
    parts = []
    for picture, keep in zip(pictures, keeps, strict=True):
        hole = ~known(keep)[0].numpy()
        if not hole.any():
            windows = []
        elif crop is None or size is None:
            windows = [Window(0, 0, hole)]
        else:
            windows = windows_around(hole, crop, size, prior.multiple_of)
        parts.append([Part(w, picture.window(w.place), keep[(slice(None), *w.place)]) for w in windows])
    return parts


def _window_size(crop: Crop | None, prior: Prior) -> int | None:
    """Side in pixels of windows where nothing asks for more; None where nothing is cropped."""
    return None if crop is None else crop.size or getattr(prior, "preferred_size", None)


def results_for(
    pictures: Sequence[Picture],
    parts: Sequence[Sequence[Part]],
    copies: int,
    generator: Seedable,
    asked: Conditions,
) -> list[Result]:
    """The results to come, of each picture one after the other.

    Args:
        pictures: as read.
        parts: of each picture, by `cut`.
        copies: results of each picture.
        generator: see `repaint.sampling.rng.seeds_for`.
        asked: conditions for all pictures.
    """
    each = asked.split(len(pictures))
    results = []
    for i, seed in enumerate(seeds_for(len(pictures) * copies, generator)):
        which = i // copies
        jobs = [Job(part, window_seed(seed, n), each[which]) for n, part in enumerate(parts[which])]
        results.append(Result(pictures[which], jobs, seed))
    return results


def window_seed(seed: int, number: int) -> int:
    """The image's own seed for its first window, and seeds derived from it for the others."""
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def batches(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can share a batch: those whose parts have one size."""
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.part.size, []).append(job)
    return list(groups.values())


def bound(prior: Prior, jobs: Sequence[Job], crop: Crop | None = None) -> Prior:
    """The prior under the conditions of a batch; shown in overlapping windows where the crop or its own size asks."""
    size = _window_size(crop, prior)
    if crop is not None and size is not None:
        size = -(-size // prior.multiple_of) * prior.multiple_of
        asked = size == prior.multiple_of if crop.windows is None else crop.windows
        if asked and max(jobs[0].part.size) > size:
            prior = Windowed(prior, size)
    height, width = (-(-side // prior.multiple_of) * prior.multiple_of for side in jobs[0].part.size)
    return prior.conditioned(len(jobs), Conditions.join([job.conditions for job in jobs], (height, width)))


def encode(
    prior: Prior, parts: Sequence[Part], margin: int = 0, *, whole: bool = False
) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
    """(x0, known) of parts of one size; `whole` treats every pixel as known, `margin` is `latent_margin`.

    Each by itself, and once however many results it has: in a batch the last bits of an autoencoder's latents are
    others, and a branch of a state would no longer know its own picture.
    """
    encoded: dict[Part, tuple[Tensor, Tensor]] = {}
    for part in dict.fromkeys(parts):
        mask = torch.ones_like(part.keep, dtype=torch.bool) if whole else known(part.keep)
        image = part.picture.tensor(prior.channels)
        image, mask = _enlarged(torch.where(mask, image, torch.zeros_like(image)), mask, part.window.scale)
        image, mask = pad(image, prior.multiple_of)[0], pad(mask, prior.multiple_of)[0]
        encoded[part] = prior.encode(image[None].to(prior.device, prior.dtype), mask[None].to(prior.device))
    x0, mask = (torch.cat(tensors) for tensors in zip(*(encoded[part] for part in parts), strict=True))
    return x0, widen(mask, margin) if margin else mask


def _enlarged(
    image: Float[Tensor, "c h w"], mask: Bool[Tensor, "1 h w"], scale: int
) -> tuple[Float[Tensor, "c h2 w2"], Bool[Tensor, "1 h2 w2"]]:
    """Both `scale` times larger; what is interpolated between kept pixels and the hole takes a smooth fill for that."""
    if scale == 1:
        return image, mask
    filled = smooth_fill(image[None], mask[None])
    image = F.interpolate(filled, scale_factor=scale, mode="bilinear", align_corners=False)[0]
    mask = mask.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return torch.where(mask, image, torch.zeros_like(image)), mask


def same_problem(state: SamplerState, x0: Tensor, mask: Tensor) -> bool:
    """Whether a state's known part is that of a batch."""
    if state.x0.shape != x0.shape:
        return False
    mask = mask.expand(x0.shape)
    return torch.equal(state.known, mask) and torch.equal(state.x0, torch.where(mask, x0, torch.zeros_like(x0)))


def finish(prior: Prior, jobs: Sequence[Job], x: Float[Tensor, "b *shape"], feather: float) -> None:
    """Decode, cut the padding off, meet the rim, put the kept pixels back bit for bit."""
    with torch.no_grad():
        decoded = prior.decode(x).cpu()
    for job, image in zip(jobs, decoded, strict=True):
        part = job.part
        filled = Padding(*part.size).cut(image)
        if part.window.scale > 1:
            filled = F.avg_pool2d(filled, part.window.scale)
        if feather:
            filled = meet_rim(filled, part.picture.tensor(prior.channels), known(part.keep), feather)
        job.painted = part.picture.compose(filled, part.keep)


def check_latents(results: Sequence[Result]) -> None:
    """Refuse latents of pictures that are cut: each window has its own.

    Raises:
        InputError: such a picture.
    """
    for result in results:
        if any(job.part.picture.size != result.picture.size or job.part.window.scale > 1 for job in result.jobs):
            raise InputError(
                f"output_type 'latent' for a {result.picture} that is cut into {len(result.jobs)} windows: each has "
                "latents of its own. Pass crop='off' for those of the whole image, or take another output_type."
            )


def collect(results: Sequence[Result], output_type: str, prior: Prior) -> Any:
    """The results as a list, or as one batch where the type has such a thing and the sizes agree."""
    outputs = [result.output(output_type, prior) for result in results]
    if output_type == "np" and len({(r.shape, r.dtype) for r in outputs}) == 1:
        return np.stack(outputs, dtype=outputs[0].dtype)  # else the byte order may become another
    if output_type == "pt" and len({(r.shape, r.dtype) for r in outputs}) == 1:
        return torch.stack(outputs)
    return outputs
