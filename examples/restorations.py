"""Damage seven held-out photographs, restore them at full size, and write a sheet of the worst details.

Each result is filled as by `repaint restore`, with the preset `mean`.

python examples/photographs.py --out photographs
python examples/restorations.py --photographs photographs/held_out --out examples/restorations.jpg --folder restored

Each row of the sheet shows three restorations: damaged, restored and true, in the 160 x 160 pixels with the largest
error. --folder also keeps the whole pictures.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter
from tqdm import tqdm

from repaint import RePaintPipeline
from repaint.measure.metrics import psnr
from repaint.pictures.damage import damage
from repaint.pictures.images import side_by_side
from repaint.pictures.pairs import picture_files
from repaint.restoring import fill_damage

CASES = [
    ("astronaut", "scratches"),
    ("astronaut", "lettering"),
    ("astronaut", "spots"),
    ("coffee", "scratches"),
    ("coffee", "dust"),
    ("chelsea", "wire"),
    ("chelsea", "lettering"),
    ("locomotion-house-cat", "dust"),
    ("nagasaki-boats", "scratches"),
    ("nagasaki-boats", "spots"),
    ("aitzgorri", "wire"),
    ("life", "scratches"),
]
DETAIL = 160
ACROSS = 3  # restorations in a row of the sheet


def worst(error: NDArray[np.float64]) -> tuple[slice, slice]:
    """The square of `DETAIL` pixels with the largest sum of (H, W) errors."""
    half = DETAIL // 2
    sums = uniform_filter(error, DETAIL, mode="constant")[
        half : error.shape[0] - half + 1, half : error.shape[1] - half + 1
    ]
    top, left = np.unravel_index(np.argmax(sums), sums.shape)
    return slice(int(top), int(top) + DETAIL), slice(int(left), int(left) + DETAIL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, default=Path("photographs/held_out"))
    parser.add_argument("--out", type=Path, default=Path("examples/restorations.jpg"))
    parser.add_argument("--folder", type=Path, help="keep the whole pictures here")
    parser.add_argument("--schedule", default="mean")
    parser.add_argument("--only", type=int, help="stop after this many")
    args = parser.parse_args()
    pipe = RePaintPipeline.from_pretrained("photos", torch_dtype="auto")
    pipe.set_progress_bar_config(disable=True)
    paths = picture_files(args.photographs)
    tiles = []
    for seed, (name, kind) in enumerate(tqdm(CASES[: args.only])):
        image = np.asarray(Image.open(args.photographs / paths[name]).convert("RGB"))
        hole = damage(kind, *image.shape[:2], seed=seed)
        started = time.perf_counter()
        restored = fill_damage(pipe, image, hole, schedule=args.schedule, generator=seed, output_type="np").image
        seconds = time.perf_counter() - started
        assert (restored[~hole] == image[~hole]).all()
        damaged = np.where(hole[..., None], np.uint8(255), image)
        place = worst(np.square(restored.astype(np.float64) - image).sum(2))
        tiles += [Image.fromarray(each[place]) for each in (damaged, restored, image)]
        size = f"{image.shape[1]} x {image.shape[0]}"
        tqdm.write(
            f"{name}, {kind}: {size}, hole {hole.mean():.1%}, {seconds:.0f} s, {psnr(restored, image, hole):.1f} dB"
        )
        if args.folder:
            args.folder.mkdir(parents=True, exist_ok=True)
            side_by_side([Image.fromarray(damaged), Image.fromarray(restored)]).save(args.folder / f"{name}-{kind}.png")
    rows = [side_by_side(tiles[i : i + 3 * ACROSS]) for i in range(0, len(tiles), 3 * ACROSS)]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + 4 for row in rows) - 4), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (DETAIL + 4)))
    sheet.save(args.out, quality=90)


if __name__ == "__main__":
    main()
