"""Draw what the cells of a sweep look like: truth, kept part, and the results of one seed.

python examples/sweep_pictures.py examples/sweeps/continuation.yaml --schedule predicted --out continuation.png
python examples/sweep_pictures.py examples/sweeps/jump-grid.yaml --count 1 --columns 3 --out jump-grid.png

The pictures are those that `repaint sweep` measures, with one row for each picture, mask, class and prompt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from repaint import RePaintPipeline
from repaint.lab.sweep.grid import read_grid
from repaint.measure.plots import strip
from repaint.pictures.masks import known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--schedule", action="append", help="of the file; may be repeated. Default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="the first rows only")
    parser.add_argument(
        "--columns", type=int, choices=range(1, 100), metavar="N", help="results side by side; more go below"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    grid = read_grid(args.config)
    cells = [cell for cell in grid.cells if cell.seed == args.seed]
    names = args.schedule or list(dict.fromkeys(cell.method.name for cell in cells))
    dtype = grid.config.dtype
    pipe = RePaintPipeline.from_pretrained(grid.prior, torch_dtype=dtype if dtype == "auto" else getattr(torch, dtype))
    pipe.set_progress_bar_config(disable=True)
    rows: dict[tuple[object, ...], list[np.ndarray]] = {}
    for cell in cells:
        place = (cell.image.name, cell.mask.name, cell.class_label, cell.prompt)
        if cell.method.name not in names or (place not in rows and len(rows) == args.count):
            continue
        image, keep = cell.image.read(), cell.mask.read()
        if place not in rows:
            rows[place] = [image, np.where(known(keep)[0].numpy()[..., None], image, np.uint8(128))]
        more = {"schedule": cell.method, "generator": cell.seed, "output_type": "np", **cell.conditions}
        rows[place].append(pipe(image, keep_mask=keep, **more).images[0])
    width, sheets = args.columns or len(names), []
    for first in range(0, len(names), width):
        tiles = [[*row[:2], *row[2 + first : 2 + first + width]] for row in rows.values()]
        sheets.append(np.asarray(strip(tiles, ["truth", "kept", *names[first : first + width]])))
    widest = max(sheet.shape[1] for sheet in sheets)
    padded = [np.pad(sheet, ((0, 0), (0, widest - sheet.shape[1]), (0, 0)), constant_values=255) for sheet in sheets]
    Image.fromarray(np.concatenate(padded)).save(args.out)


if __name__ == "__main__":
    main()
