"""Are the patches that a method paints like real ones? Measured on photographs that the prior never saw.

Two distances between sets of patches, both against real patches from elsewhere in the held-out parts:

- sliced Wasserstein: 7 x 7 patches of each Laplacian-pyramid level, mean over random projections of the 1-D Wasserstein
  distance (Karras et al. 2018, arXiv 1710.10196, Sec. 5), in units of the real patches' standard deviation;
- gradient histogram: total variation between histograms of gradient magnitude, in [0, 1].

The floor is what the true content of the same holes scores: no method can be expected to do better.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from repaint.metrics import psnr
from repaint.pipeline import RePaintPipeline, ScheduleLike, StepCallback
from repaint.samples import PHOTOGRAPHS, halve, photograph

__all__ = [
    "Hole",
    "Score",
    "biharmonic",
    "gradient_distance",
    "held_out_holes",
    "patch_distance",
    "score",
    "score_textures",
]

Image = NDArray[np.uint8]
PATCH, LEVELS, PROJECTIONS, BINS = 7, 2, 256, 32
Box = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Hole:
    """A crop of a held-out part with a square hole in it.

    Attributes:
        name: the photograph.
        image: (S, S, 3) uint8, with the true content in the hole.
        box: the hole, (top, left, bottom, right) in pixels.
    """

    name: str
    image: Image
    box: Box

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(S, S), True in the hole."""
        mask = np.zeros(self.image.shape[:2], dtype=bool)
        mask[self.box[0] : self.box[2], self.box[1] : self.box[3]] = True
        return mask


def held_out_holes(size: int = 64, hole: int = 24, per_photograph: int = 13) -> list[Hole]:
    """Holes that never overlap, alternately left and right in crops that slide down each held-out part."""
    holes = []
    for name in PHOTOGRAPHS:
        part = halve(photograph(name, "held_out"))
        tops = np.linspace(0, part.shape[0] - size, per_photograph).round().astype(int)
        for i, top in enumerate(tops):
            at = (size - hole) // 2
            left = 8 if i % 2 == 0 else size - 8 - hole
            crop = part[top : top + size, :size].copy()
            holes.append(Hole(name, crop, (at, left, at + hole, left + hole)))
    return holes


def biharmonic(hole: Hole) -> Image:
    """The classical baseline: scikit-image's biharmonic inpainting."""
    from skimage.restoration import inpaint_biharmonic

    filled = inpaint_biharmonic(hole.image, hole.mask, channel_axis=2)
    image: Image = np.round(filled * 255).clip(0, 255).astype(np.uint8)
    return image


def pyramid(image: Image) -> list[NDArray[np.float64]]:
    """The LEVELS finest Laplacian levels, (H / 2^l, W / 2^l, 3) each."""
    from scipy.ndimage import gaussian_filter

    levels, current = [], image.astype(np.float64) / 255
    for _ in range(LEVELS):
        low = gaussian_filter(current, sigma=(1, 1, 0), mode="mirror")
        levels.append(current - low)
        current = low[::2, ::2]
    return levels


def patches(image: Image, box: Box) -> list[NDArray[np.float64]]:
    """All patches that lie wholly inside the box, (N_l, 7 * 7 * 3) for each pyramid level."""
    found = []
    for level, band in enumerate(pyramid(image)):
        top, left = (-(-side // 2**level) for side in box[:2])
        bottom, right = (side // 2**level for side in box[2:])
        inside = band[top:bottom, left:right]
        windows = np.lib.stride_tricks.sliding_window_view(inside, (PATCH, PATCH), axis=(0, 1))
        found.append(windows.reshape(-1, 3 * PATCH * PATCH))
    return found


def patch_distance(a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]], seed: int = 0) -> float:
    """Sliced Wasserstein distance between two sets of patches, mean over pyramid levels; b is the real one."""
    rng = np.random.default_rng(seed)
    distances = []
    for ours, real in zip(a, b, strict=True):
        scale = real.std()
        directions = rng.standard_normal((real.shape[1], PROJECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        quantiles = np.linspace(0, 1, 512)
        left = np.quantile(ours @ directions / scale, quantiles, axis=0)
        right = np.quantile(real @ directions / scale, quantiles, axis=0)
        distances.append(np.abs(left - right).mean())
    return float(np.mean(distances))


def gradients(image: Image, box: Box) -> NDArray[np.float64]:
    """Gradient magnitudes of the luma inside the box, one pixel away from its rim; 0 to about 1."""
    luma = image.astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    down, across = np.gradient(luma)
    magnitude = np.hypot(down, across)
    inside: NDArray[np.float64] = magnitude[box[0] + 1 : box[2] - 1, box[1] + 1 : box[3] - 1].ravel()
    return inside


def gradient_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Total variation between two histograms of gradient magnitude; the bins are quantiles of b, the real one."""
    edges = np.unique(np.quantile(b, np.linspace(0, 1, BINS + 1)))
    edges[0], edges[-1] = -np.inf, np.inf
    ours, real = (np.histogram(values, edges)[0] / values.size for values in (a, b))
    return float(np.abs(ours - real).sum() / 2)


@dataclass(frozen=True)
class Score:
    """What one way of filling scored, mean over photographs.

    Attributes:
        patches: sliced Wasserstein distance of patches to real ones elsewhere.
        gradients: distance of gradient histograms.
        psnr: in the hole, dB, mean over holes; infinite for the truth itself.
        model_calls: denoiser calls per hole.
        seconds: for all holes.
    """

    patches: float
    gradients: float
    psnr: float
    model_calls: int
    seconds: float


def score(holes: Sequence[Hole], filled: Sequence[Image], model_calls: int = 0, seconds: float = 0.0) -> Score:
    """Compare what was painted with real patches of the same photograph, photograph by photograph."""
    patch, gradient = [], []
    for name in PHOTOGRAPHS:
        mine = [i for i, hole in enumerate(holes) if hole.name == name]
        ours = [patches(filled[i], holes[i].box) for i in mine]
        real = [patches(holes[i].image, _beside(holes[i])) for i in mine]
        patch.append(patch_distance(_stack(ours), _stack(real)))
        painted = np.concatenate([gradients(filled[i], holes[i].box) for i in mine])
        true = np.concatenate([gradients(holes[i].image, _beside(holes[i])) for i in mine])
        gradient.append(gradient_distance(painted, true))
    psnrs = [psnr(image, hole.image, hole.mask) for image, hole in zip(filled, holes, strict=True)]
    return Score(float(np.mean(patch)), float(np.mean(gradient)), float(np.mean(psnrs)), model_calls, seconds)


def score_textures(
    pipe: RePaintPipeline,
    schedules: Mapping[str, ScheduleLike],
    *,
    holes: Sequence[Hole] | None = None,
    seed: int = 0,
    batch: int = 16,
    on_call: StepCallback | None = None,
) -> dict[str, tuple[Score, list[Image]]]:
    """The floor, the biharmonic baseline and every schedule, on the same holes of the held-out parts.

    Args:
        pipe: a pipeline around the `textures` prior.
        schedules: name to what `RePaintPipeline.__call__` takes as `schedule`.
        holes: default `held_out_holes()`, 65 of them.
        seed: of the first hole.
        batch: holes filled at once.
        on_call: the pipeline's `callback_on_step_end`.
    Returns:
        What each way of filling scored, and what it painted, hole by hole.
    """
    holes = held_out_holes() if holes is None else holes
    true = [hole.image for hole in holes]
    results = {"real (floor)": (score(holes, true), true)}
    started = time.perf_counter()
    filled = [biharmonic(hole) for hole in holes]
    results["biharmonic"] = score(holes, filled, seconds=time.perf_counter() - started), filled
    for name, schedule in schedules.items():
        images: list[Image] = []
        calls, started = 0, time.perf_counter()
        for first in range(0, len(holes), batch):
            some = holes[first : first + batch]
            result = pipe(
                np.stack([hole.image for hole in some]),
                np.stack([hole.mask for hole in some]),
                class_labels=[hole.name for hole in some],
                schedule=schedule,
                generator=seed + first,
                output_type="np",
                callback_on_step_end=on_call,
            )
            images += list(result.images)
            calls = result.model_calls
        results[name] = score(holes, images, calls, time.perf_counter() - started), images
    return results


def _beside(hole: Hole) -> Box:
    """A box of the hole's height in the wider kept side of the crop, clear of the hole's rim: real patches."""
    top, left, bottom, right = hole.box
    size = hole.image.shape[1]
    return (top, right + 2, bottom, size) if left < size - right else (top, 0, bottom, left - 2)


def _stack(sets: Sequence[Sequence[NDArray[np.float64]]]) -> list[NDArray[np.float64]]:
    return [np.concatenate(level) for level in zip(*sets, strict=True)]
