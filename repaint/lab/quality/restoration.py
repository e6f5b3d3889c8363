"""Restore damaged crops of photographs, against classical inpainting."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from repaint.arguments import ScheduleLike, method_for
from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.lab.calibration.proper_scores import energy_score, rank_counts, rank_test
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.classical_fills import CLASSICAL
from repaint.lab.quality.scores import pooled_patch_distance
from repaint.measure.intervals import Difference, paired_difference
from repaint.measure.metrics import psnr, ssim
from repaint.pictures.damage import DAMAGE, damage
from repaint.pictures.decoding import read_upright
from repaint.pictures.pairs import picture_files
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.sampling.rng import antithetic_seed

__all__ = [
    "BATCH",
    "Restoration",
    "Restored",
    "classical",
    "compare_energies",
    "compare_restorations",
    "damaged_crops",
    "restore",
]

Image = NDArray[np.uint8]
BATCH = 4  # crops restored at once
SHORTEST = 256  # pixels: the shorter side of the smallest scale of a photograph


def damaged_crops(
    folder: Path, count: int, *, side: int = 128, seed: int = 0, kinds: Sequence[str] = tuple(DAMAGE)
) -> list[Hole]:
    """Cut crops from the photographs of a folder at random scales, and damage each in one way, in turn.

    A photograph is shrunk so that its shorter side is between 256 pixels and its own, uniform in the logarithm.

    Args:
        folder: of photographs.
        count: number of crops; each photograph and each kind of damage has about the same number.
        side: of the crops in pixels, at most 256.
        seed: of scales, places and damage.
        kinds: of damage; see `damage`.
    Raises:
        InputError: an unknown kind, no photograph, or one that is smaller than 256 pixels.
    """
    photographs = {name: Pillow.fromarray(read_upright(path)) for name, path in picture_files(folder).items()}
    for name, photograph in photographs.items():
        if min(photograph.size) < SHORTEST:
            raise InputError(
                f"{folder / name}: {photograph.width} x {photograph.height} must be at least {SHORTEST} x {SHORTEST} "
                "pixels. Remove it."
            )
    holes, names = [], list(photographs)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        name, kind = names[(i // len(kinds)) % len(names)], kinds[i % len(kinds)]
        photograph = photographs[name]
        shorter = min(photograph.size)
        shrink = (SHORTEST / shorter) ** rng.uniform(0, 1)
        width, height = (max(side, round(length * shrink)) for length in photograph.size)
        scaled = np.asarray(photograph.resize((width, height), Pillow.Resampling.LANCZOS))
        top, left = (int(rng.integers(length - side + 1)) for length in scaled.shape[:2])
        crop = scaled[top : top + side, left : left + side].copy()
        mask = damage(kind, side, side, seed=int(rng.integers(2**31)))
        holes.append(Hole(f"{name} {i}", kind, crop, mask, ~mask, source=name))
    return holes


@dataclass(frozen=True)
class Restored:
    """The results of one method.

    Attributes:
        images: one result for each hole.
        fills: unrounded fills of each hole, (m, pixels, 3) in [0, 255]; none for a single result of a prior, and None
            for a classical method.
        seconds: for each hole.
    """

    images: list[Image]
    fills: list[NDArray[np.float64]] | None
    seconds: float


def restore(
    pipe: RePaintPipeline,
    holes: Sequence[Hole],
    schedule: ScheduleLike | None = None,
    *,
    samples: int = 8,
    seed: int = 0,
    batch: int = BATCH,
    on_call: StepCallback | None = None,
) -> dict[str, Restored]:
    """Restore with a pipeline: one sample, the mean of several, and the mean of as many in antithetic pairs.

    The first half of the samples has the same seeds in both means. A method without noise has one sample, and no mean.

    Args:
        pipe: of an unconditional prior.
        holes: see `damaged_crops`.
        schedule: see `RePaintPipeline.__call__`.
        samples: results of each hole, 1 or an even number.
        seed: of the first.
        batch: holes at once.
        on_call: the `callback_on_step_end` of the pipeline.
    Returns:
        "one sample"; of several also "mean of m" and "mean of m in pairs". The fills of all three are the independent
        samples.
    Raises:
        InputError: an odd number of samples above 1.
    """
    whole_number("samples", samples, 1)
    if method_for(pipe.prior, schedule).temperature == 0:
        samples = 1
    if samples > 1 and samples % 2:
        raise InputError(f"samples={samples} must be even: half of them are drawn again with opposite noise.")
    pairs = samples // 2
    first, mean, paired, fills, started = [], [], [], [], time.perf_counter()
    for begin in range(0, len(holes), batch):
        some = holes[begin : begin + batch]
        own = [range(seed + samples * (begin + i), seed + samples * (begin + i + 1)) for i in range(len(some))]
        result = pipe(
            [hole.image for hole in some],
            [hole.mask for hole in some],
            schedule=schedule,
            num_images_per_prompt=samples + pairs,
            generator=[s for seeds in own for s in (*seeds, *map(antithetic_seed, seeds[:pairs]))],
            output_type="np",
            callback_on_step_end=on_call,
        )
        for each in result.fills:
            independent, opposite = each.values[:samples], each.values[samples:]
            both = np.concatenate([independent[:pairs], opposite])
            mean.append(replace(each, values=independent).mean().output("np"))
            paired.append(replace(each, values=both).mean().output("np"))
            fills.append(independent.astype(np.float64) * 255)
        first += list(result.images[:: samples + pairs])
    seconds = (time.perf_counter() - started) / len(holes) / (samples + pairs)
    one = {"one sample": Restored(first, fills, seconds)}
    if samples == 1:
        return one
    return {
        **one,
        f"mean of {samples}": Restored(mean, fills, seconds * samples),
        f"mean of {samples} in pairs": Restored(paired, fills, seconds * samples),
    }


@dataclass(frozen=True)
class Restoration:
    """Means of one method over the holes of one kind of damage.

    Attributes:
        damage, method: names.
        psnr, ssim: in the hole.
        gradient: mean gradient magnitude in the hole over that of the truth; 1 for results as sharp as the truth. None
            for a truth that is flat in all holes.
        energy: energy score of the fills in 8-bit values; of a single result its root mean square error.
        patches: sliced Wasserstein distance of the patches in the holes to real ones beside them, pooled; None for
            holes that are too thin for patches.
        floor: that of the true pixels.
        inside: nominal to actual share of true values in central intervals of the fills; empty for a single result.
        seconds: for each hole.
        holes: number of them.
    """

    damage: str
    method: str
    psnr: float
    ssim: float
    gradient: float | None
    energy: float
    patches: float | None
    floor: float | None
    inside: dict[float, float]
    seconds: float
    holes: int


def compare_restorations(
    holes: Sequence[Hole], restored: Mapping[str, Restored]
) -> tuple[list[Restoration], dict[tuple[str, str, str], Difference]]:
    """Measure all methods, and the paired differences in PSNR between ours and each classical one.

    Returns:
        (means by damage and method, (damage, ours, classical) to difference in dB with a 95 % interval over
        photographs).
    """
    means, gaps = [], {}
    for kind in dict.fromkeys(hole.group for hole in holes):
        which = [i for i, hole in enumerate(holes) if hole.group == kind]
        pictures = [holes[i].picture for i in which]
        values: dict[str, NDArray[np.float64]] = {}
        floor = _patches([(holes[i], holes[i].image) for i in which])
        true_gradient = sum(_gradient(holes[i].image, holes[i]) for i in which)
        for name, found in restored.items():
            pairs = [(found.images[i], holes[i]) for i in which]
            values[name] = np.array([psnr(image, hole.image, hole.mask) for image, hole in pairs])
            gradient = sum(_gradient(image, hole) for image, hole in pairs)
            means.append(
                Restoration(
                    damage=kind,
                    method=name,
                    psnr=float(values[name].mean()),
                    ssim=float(np.mean([ssim(image, hole.image, hole.mask) for image, hole in pairs])),
                    gradient=gradient / true_gradient if true_gradient else None,
                    energy=float(np.mean([_energy(found, holes[i], i) for i in which])),
                    patches=_patches([(hole, image) for image, hole in pairs]),
                    floor=floor,
                    inside=_inside(found, holes, which),
                    seconds=found.seconds,
                    holes=len(which),
                )
            )
        for ours in (name for name, found in restored.items() if found.fills is not None):
            for other in (name for name, found in restored.items() if found.fills is None):
                gaps[kind, ours, other] = paired_difference(values[ours], values[other], clusters=pictures)
    return means, gaps


def compare_energies(holes: Sequence[Hole], restored: Mapping[str, Restored]) -> dict[tuple[str, str], Difference]:
    """Compare the energy scores of several methods with that of the first.

    Args:
        holes: see `damaged_crops`.
        restored: with fills.
    Returns:
        (damage, method) to its energy score minus that of the first method, in 8-bit values, with a 95 % interval over
        photographs.
    """
    gaps = {}
    for kind in dict.fromkeys(hole.group for hole in holes):
        which = [i for i, hole in enumerate(holes) if hole.group == kind]
        values = [np.array([_energy(found, holes[i], i) for i in which]) for found in restored.values()]
        for name, value in list(zip(restored, values, strict=True))[1:]:
            gaps[kind, name] = paired_difference(value, values[0], clusters=[holes[i].picture for i in which])
    return gaps


def _patches(results: Sequence[tuple[Hole, Image]]) -> float | None:
    distance = pooled_patch_distance(results)
    return None if math.isnan(distance) else distance


def _gradient(image: Image, hole: Hole) -> float:
    down, along = np.gradient(image.astype(np.float64).mean(axis=2))
    return float(np.hypot(down, along)[hole.mask].mean())


def _energy(found: Restored, hole: Hole, i: int) -> float:
    truth = hole.image[hole.mask].astype(np.float64).ravel()
    if not found.fills:
        return float(np.sqrt(np.square(found.images[i][hole.mask].astype(np.float64).ravel() - truth).mean()))
    return energy_score(found.fills[i].reshape(len(found.fills[i]), -1), truth)


def _inside(found: Restored, holes: Sequence[Hole], which: Sequence[int]) -> dict[float, float]:
    """Compute the share of true values in each central interval of the fills."""
    if not found.fills:
        return {}
    counts = []
    for i in which:
        truth = holes[i].image[holes[i].mask].astype(np.float64).ravel()
        fills = found.fills[i].reshape(len(found.fills[i]), -1)
        counts.append(rank_counts(fills, truth, np.random.default_rng(i)))  # clipped fills equal clipped truths
    return rank_test(np.array(counts)).coverage


def classical(holes: Sequence[Hole]) -> dict[str, Restored]:
    """Restore with every method of `CLASSICAL`."""
    found = {}
    for name, fill in CLASSICAL.items():
        started = time.perf_counter()
        images = [fill(hole.image, hole.mask) for hole in holes]
        found[name] = Restored(images, None, (time.perf_counter() - started) / len(holes))
    return found
