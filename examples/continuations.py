"""Measure what jumps change: continue one saved state in several ways at equal cost and compare the results.

    python examples/continuations.py               # from level 25 of 50; a few minutes on one CPU core
    python examples/continuations.py --level 10    # from a state whose content is nearly decided

Each continuation spends 30 extra model calls on jumps: one of 30 levels, three of 10, six of 5 or fifteen of 2, all
from level 10; or fifteen of 2, early or late. "Other noise" spends none; "anew" starts again. The distance of a hole
from the first result is a root mean square difference of 8-bit values, also after a Gaussian blur of 3 pixels that
removes detail.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.measure.intervals import paired_difference
from repaint.pictures import mask_shapes
from repaint.pictures.samples import PHOTOGRAPHS, held_out_crops
from repaint.sampling.state import SamplerState

STEPS, LOW, EXTRA, SIZE = 50, 10, 30, 48
HOLE = mask_shapes.box(SIZE, SIZE)[0].numpy() == 0


def jumps(level: int, length: int, anchors: Sequence[int]) -> list[int]:
    """Return a walk from a level down to 0 that jumps up `length` levels at each anchor, EXTRA levels in total."""
    levels, times = [level], EXTRA // length // len(anchors)
    for anchor in anchors:
        levels += range(levels[-1] - 1, anchor - 1, -1)
        levels += [*range(anchor + 1, anchor + length + 1), *range(anchor + length - 1, anchor - 1, -1)] * times
    return [*levels, *range(levels[-1] - 1, -1, -1)]


def walks(level: int) -> dict[str, list[int]]:
    """Return the continuations: name to the levels that each visits."""
    found = {"other noise": list(range(level, -1, -1))}
    found |= {f"{EXTRA // length} of {length}": jumps(level, length, [LOW]) for length in (30, 10, 5, 2)}
    if level > 23:
        found["15 of 2, early"] = jumps(level, 2, [23, 21, 19, 17, 15])
    return found | {"15 of 2, late": jumps(level, 2, [8, 6, 4, 2, 0])}


def moved(a: NDArray[np.uint8], b: NDArray[np.uint8], sigma: float = 0) -> float:
    """Return the root mean square difference in the hole, after a Gaussian blur of `sigma` pixels."""
    difference = gaussian_filter(a.astype(float) - b.astype(float), (sigma, sigma, 0))
    return float(np.sqrt((difference[HOLE] ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=2, help="crops of each of the five photographs")
    parser.add_argument("--level", type=int, default=25, help=f"level of the saved state, {LOW} to {STEPS - 1}")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pipe = RePaintPipeline.from_pretrained("textures", torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    images = [crop for name in PHOTOGRAPHS for crop in held_out_crops(name, SIZE, args.crops)]
    labels = [name for name in PHOTOGRAPHS for _ in range(args.crops)]
    seeds = [range(args.seed + i * len(images), args.seed + (i + 1) * len(images)) for i in range(2)]
    kept: list[SamplerState] = []

    def keep(_pipe: object, _step: int, level: int, kwargs: dict[str, SamplerState]) -> None:
        if level == args.level:
            kept.append(kwargs["state"])

    given = {"class_labels": labels, "output_type": "np"}
    walk = Method(JumpSchedule.paper(STEPS, jump_n_sample=1), name="straight")
    out = pipe(images, HOLE, schedule=walk, generator=list(seeds[0]), callback_on_step_end=keep, **given)
    first, results = out.images, {}
    for name, levels in walks(args.level).items():
        method = Method(JumpSchedule.from_levels(levels, STEPS), name=name)
        branch = kept[0].branch(seeds[1])
        out = pipe.resume(branch, images, HOLE, schedule=method, **given)
        results[name] = out.images, out.model_calls
    out = pipe(images, HOLE, schedule=walk, generator=list(seeds[1]), **given)
    results["anew"] = out.images, out.model_calls
    report(first, results, labels)


def report(
    first: NDArray[np.uint8], results: dict[str, tuple[NDArray[np.uint8], int]], photographs: Sequence[str]
) -> None:
    """Print a table with one row per continuation; the last column compares it with other noise alone."""
    table = Table("continuation", "model calls", "moved", "low-pass", "low-pass, minus other noise", box=None)
    low = {
        name: np.array([moved(a, b, 3) for a, b in zip(first, images, strict=True)])
        for name, (images, _) in results.items()
    }
    for name, (images, calls) in results.items():
        full = np.mean([moved(a, b) for a, b in zip(first, images, strict=True)])
        change = paired_difference(low[name], low["other noise"], clusters=photographs)
        table.add_row(
            *(name, str(calls), f"{full:.1f}", f"{low[name].mean():.1f}"),
            f"{change.mean:+.1f} \\[{change.low:+.1f}, {change.high:+.1f}]",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
