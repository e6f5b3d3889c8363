"""Measure the seam that an autoencoder leaves around a hole, with `latent_margin` and `blend_rim`. No model fills it.

    python examples/seam.py                      # the autoencoder of the bundled `emoji` prior, a minute on a CPU
    python examples/seam.py --vae FOLDER         # another AutoencoderKL, VQModel or AutoencoderTiny

The images are 140 glyphs that the `emoji` prior was not trained on. The last table shows how far the smooth fill
under the hole reaches into known latent cells.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from diffusers import AutoModel
from rich.console import Console
from rich.table import Table

from repaint.lab.quality.seam import encoding_error, seams
from repaint.pictures import mask_shapes
from repaint.pictures.samples import GLYPH_SIZE as SIZE
from repaint.pictures.samples import glyphs
from repaint.priors.latent import LatentCodec

HOLES = {
    "box on the grid of cells": mask_shapes.box(SIZE, SIZE),
    "box off the grid": mask_shapes.box(SIZE, SIZE, top=17, left=18, h=30, w=29),
    "half": mask_shapes.half(SIZE, SIZE),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vae", type=Path, default=Path("repaint/priors/bundled/emoji/vae"))
    args = parser.parse_args()
    codec, images = LatentCodec(AutoModel.from_pretrained(str(args.vae))), np.stack(list(glyphs("held_out").values()))
    console = Console()
    reach = Table(
        "cells from the hole", *map(str, range(9)), title="Error of the encoded cells, in standard deviations"
    )
    for name, keep in HOLES.items():
        hole = keep[0].numpy() == 0
        truth, found = seams(codec, images, hole)
        widths = sorted({seam.feather for seam in found})
        table = Table(
            "margin", *(f"blend_rim {width:g}" for width in widths), title=f"{name}: contrast, PSNR at the rim"
        )
        table.add_row("truth", f"{truth:.2f}")
        for margin in sorted({seam.margin for seam in found}):
            cells = [f"{seam.contrast:.2f}, {seam.psnr:.1f} dB" for seam in found if seam.margin == margin]
            table.add_row(str(margin), *cells)
        console.print(table)
        reach.add_row(name, *(f"{error:.2f}" for error in encoding_error(codec, images, hole)[:9]))
    console.print(reach)


if __name__ == "__main__":
    main()
