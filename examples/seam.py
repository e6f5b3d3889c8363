"""How much of a seam an autoencoder leaves around a hole, what a margin and a feather do to it, and how far the smooth
fill under the hole reaches into latent cells that are known. Glyphs that the `emoji` prior never saw; no model paints.

    python examples/seam.py                      # the autoencoder of the bundled `emoji` prior, a minute on a CPU
    python examples/seam.py --vae FOLDER         # another AutoencoderKL, VQModel or AutoencoderTiny
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from diffusers import AutoModel
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from emoji_glyphs import SIZE, code_points, is_held_out, render
from repaint import masks
from repaint.lab.seam import encoding_error, seams
from repaint.priors.latent import LatentCodec

HOLES = {
    "box on the grid of cells": masks.box(SIZE, SIZE),
    "box off the grid": masks.box(SIZE, SIZE, top=17, left=18, h=30, w=29),
    "half": masks.half(SIZE, SIZE),
}


def held_out_glyphs(count: int) -> NDArray[np.uint8]:
    """(count, 64, 64, 3): spread evenly over the glyphs that were never trained on."""
    codes = [code for name, code in code_points().items() if is_held_out(name)]
    chosen = np.linspace(0, len(codes) - 1, min(count, len(codes))).round().astype(int)
    return np.stack([render(codes[i]) for i in chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, default=Path("repaint/priors/bundled/emoji/vae"))
    parser.add_argument("--images", type=int, default=64)
    args = parser.parse_args()
    codec, images, console = (
        LatentCodec(AutoModel.from_pretrained(str(args.vae))),
        held_out_glyphs(args.images),
        Console(),
    )
    reach = Table(
        "cells from the hole", *map(str, range(9)), title="Error of the encoded cells, in standard deviations"
    )
    for name, keep in HOLES.items():
        hole = keep[0].numpy() == 0
        truth, found = seams(codec, images, hole)
        widths = sorted({seam.feather for seam in found})
        table = Table("margin", *(f"feather {width:g}" for width in widths), title=f"{name}: contrast, PSNR at the rim")
        table.add_row("truth", f"{truth:.2f}")
        for margin in sorted({seam.margin for seam in found}):
            cells = [f"{seam.contrast:.2f}, {seam.psnr:.1f} dB" for seam in found if seam.margin == margin]
            table.add_row(str(margin), *cells)
        console.print(table)
        reach.add_row(name, *(f"{error:.2f}" for error in encoding_error(codec, images, hole)))
    console.print(reach)


if __name__ == "__main__":
    main()
