"""Fill a picture of sixteen times the prior's side in overlapping windows: does the grid of windows show?

    python examples/large.py                                      # 1024 x 1024 pixels; minutes on a CPU
    python examples/large.py --size 512 --way windows --way tiles --way whole

`windows` overlap by a quarter and share one x_t, `tiles` lie side by side, and `whole` gives the model the picture at
once. The step from pixel to pixel across the borders of windows should be the same as elsewhere in the hole. The
picture of the first way goes to --out at half size: original, masked and filled. The prior was trained on three
quarters of the photograph.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from repaint.measure.patches import gradient_distance, gradients, patch_distance, patches
from repaint.pictures.mask_shapes import freeform
from repaint.pictures.samples import halve, photograph
from repaint.pipeline import RePaintPipeline
from repaint.priors.load import load
from repaint.priors.windowed import Windowed

SIDE = 64  # pixels, of `textures`
OVERLAP = {"windows": SIDE // 4, "tiles": 0}


def picture(name: str, size: int) -> NDArray[np.uint8]:
    """Return a photograph at the scale of the training data of `textures`, extended to `size` by mirroring."""
    part = halve(photograph(name))
    more = [(0, max(0, size - length)) for length in part.shape[:2]]
    return np.pad(part, [*more, (0, 0)], mode="reflect")[:size, :size]


def hole_of(size: int, seed: int) -> NDArray[np.bool_]:
    """Return a freeform hole in each quarter and a box that joins them: one group, larger than any window."""
    half = size // 2
    parts = [freeform(half, half, seed=seed + i)[0].numpy() == 0 for i in range(4)]
    hole = np.block([parts[:2], parts[2:]])
    hole[size // 4 : -size // 4, size // 4 : -size // 4] = True
    return hole


def border_steps(image: NDArray[np.uint8], hole: NDArray[np.bool_], overlap: int) -> tuple[float, float]:
    """Return the mean step between neighbours in the hole, in grey values: across window borders, and elsewhere."""
    size, there, elsewhere = len(image), [], []
    gaps = -(-(size - SIDE) // (SIDE - overlap))
    starts = np.round(np.arange(gaps + 1) * (size - SIDE) / gaps).astype(int)
    borders = np.union1d(starts[1:], starts[:-1] + SIDE) - 1  # the step from this pixel to the next crosses one
    for grey, inside in ((image.mean(axis=2), hole), (image.mean(axis=2).T, hole.T)):
        steps, both = np.abs(np.diff(grey, axis=1)), inside[:, 1:] & inside[:, :-1]
        at = np.isin(np.arange(size - 1), borders)
        there.append(steps[:, at][both[:, at]])
        elsewhere.append(steps[:, ~at][both[:, ~at]])
    return float(np.concatenate(there).mean()), float(np.concatenate(elsewhere).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--photograph", default="gravel")
    parser.add_argument("--schedule", default="fast")
    parser.add_argument("--way", action="append", choices=["windows", "tiles", "whole"])
    parser.add_argument("--out", type=Path, default=Path("large.png"))
    args = parser.parse_args()
    image, hole = picture(args.photograph, args.size), hole_of(args.size, seed=0)
    prior = load("textures", torch_dtype=torch.bfloat16)
    table = Table(
        "way", "seconds", "step at borders", "elsewhere", "ratio", "patches", "gradients",
        title=f"{args.photograph}, {args.size} x {args.size}, {hole.mean():.0%} hole, {args.schedule}",
    )  # fmt: skip
    for number, way in enumerate(args.way or ["windows"]):
        shown = prior if way == "whole" else Windowed(prior, SIDE, OVERLAP[way])
        started = time.perf_counter()
        asked = {"class_labels": args.photograph, "schedule": args.schedule, "generator": 0}
        filled = RePaintPipeline(shown)(image, hole, crop="off", output_type="np", **asked).images[0]
        seconds = time.perf_counter() - started
        assert np.array_equal(filled[~hole], image[~hole])
        at, elsewhere = border_steps(filled, hole, OVERLAP.get(way, SIDE // 4))
        patch = patch_distance(patches(filled, hole), patches(image, ~hole))
        gradient = gradient_distance(gradients(filled, hole), gradients(image, ~hole))
        figures = (f"{value:.3f}" for value in (at, elsewhere, at / elsewhere, patch, gradient))
        table.add_row(way, f"{seconds:.0f}", *figures)
        if number == 0:
            masked = np.where(hole[..., None], np.uint8(160), image)
            sheet = Image.fromarray(np.concatenate([image, masked, filled], axis=1))
            sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.BOX).save(args.out)
    Console().print(table)


if __name__ == "__main__":
    main()
