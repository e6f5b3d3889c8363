"""How much nearer to the truth is a mean of results in pairs with opposite noise than one of independent results?

python examples/antithetic.py

Fills held-out pictures with each bundled prior, and prints PSNR in the hole, in dB, for means of 1 to 8 results: drawn
independently, and in antithetic pairs. Differences are paired, with 95 % intervals over pictures. The last column
is the correlation of the two results of a pair around their mean over all results: -1 would make the mean of a pair
exact.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from repaint import RePaintPipeline
from repaint.cpu_memory import keep_freed_memory
from repaint.lab.quality.cases import Hole, glyph_holes, texture_holes
from repaint.measure.intervals import paired_difference
from repaint.pictures.damage import damage
from repaint.pictures.samples import GLYPH_SIZE, UNSEEN, unseen
from repaint.sampling.rng import antithetic_seed

MANY = 8  # results of each hole, and as many with the opposite noise


def photographs(count: int) -> list[Hole]:
    """Crops of 128 x 128 pixels with scratches or lettering, of photographs that no bundled prior has seen."""
    holes, random = [], np.random.default_rng(0)
    for i in range(count):
        name, kind = UNSEEN[i % len(UNSEEN)], ("scratches", "lettering")[i % 2]
        photograph = unseen(name)
        top, left = (int(random.integers(length - 127)) for length in photograph.shape[:2])
        mask = damage(kind, 128, 128, seed=i)
        crop = photograph[top : top + 128, left : left + 128]
        holes.append(Hole(f"{kind} {i}", kind, crop, mask, ~mask, source=name))
    return holes


def fills(pipe: RePaintPipeline, hole: Hole, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Independent results of a hole, and those with the opposite noise: (MANY, pixels, 3) each."""
    seeds = range(MANY * number, MANY * (number + 1))
    both = [*seeds, *map(antithetic_seed, seeds)]
    out = pipe(
        hole.image, hole.mask, num_images_per_prompt=2 * MANY, generator=both, batch_size=MANY, **hole.conditions
    )
    values = out.fills[0].values.astype(np.float64)
    return values[:MANY], values[MANY:]


def quality(results: NDArray[np.float64], truth: NDArray[np.float64], size: int) -> float:
    """PSNR of the mean of `size` results in dB, averaged over the groups of that size."""
    means = results.reshape(-1, size, *results.shape[1:]).mean(axis=1)
    return float(-10 * np.log10(np.square(means - truth).mean(axis=(1, 2))).mean())


def measure(pipe: RePaintPipeline, holes: Sequence[Hole], name: str) -> None:
    """Print the rows of one prior."""
    independent: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: []}
    paired: dict[int, list[float]] = {2: [], 4: [], 8: []}
    correlations = []
    for number, hole in enumerate(holes):
        truth = hole.image[hole.mask] / 255
        first, second = fills(pipe, hole, number)
        pairs = np.stack([first, second], axis=1).reshape(2 * MANY, *first.shape[1:])
        for size, found in independent.items():
            found.append(quality(first, truth, size))
        for size, found in paired.items():
            found.append(quality(pairs, truth, size))
        off, other = first - pairs.mean(0), second - pairs.mean(0)
        correlations.append((off * other).sum() / np.sqrt(np.square(off).sum() * np.square(other).sum()))
    pictures = [hole.picture for hole in holes]
    for size, found in paired.items():
        gap = paired_difference(np.array(found), np.array(independent[size]), clusters=pictures)
        means = f"{np.mean(independent[size]):.2f} | {np.mean(found):.2f}"
        gains = f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]"
        print(f"| {name} | {size} | {np.mean(independent[1]):.2f} | {means} | {gains} | {np.mean(correlations):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holes", type=int, default=24, help="of each prior, at least 2")
    parser.add_argument("--prior", choices=["photos", "textures", "emoji"], help="default: all three")
    arguments = parser.parse_args()
    keep_freed_memory()
    square = np.zeros((GLYPH_SIZE, GLYPH_SIZE), bool)
    square[16:48, 16:48] = True
    cases = {
        "photos": (photographs(arguments.holes), "scratches, lettering"),
        "textures": (texture_holes(48, 16, -(-arguments.holes // 5))[: arguments.holes], "16 pixels"),
        "emoji": (glyph_holes(square, count=arguments.holes), "half of the side"),
    }
    print("| prior and holes | results | one | mean, independent | mean, in pairs | gain | correlation |")
    print("|---|---|---|---|---|---|---|")
    for prior, (holes, what) in cases.items():
        if arguments.prior in (None, prior):
            pipe = RePaintPipeline.from_pretrained(prior, torch_dtype="auto")
            pipe.set_progress_bar_config(disable=True)
            measure(pipe, holes, f"`{prior}`, {what}")


if __name__ == "__main__":
    main()
