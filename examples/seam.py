"""Measure the seam that an autoencoder leaves around a hole, with `latent_margin` and `blend_rim`. No model fills it.

    python examples/seam.py                      # the autoencoder of the bundled `emoji` prior, a minute on a CPU
    python examples/seam.py --vae FOLDER         # another AutoencoderKL, VQModel or AutoencoderTiny

The hole gets its true latents, and all other steps are those of the pipeline: encode the image with a smooth fill in
the hole, decode, blend the rim, put the kept pixels back. A seam has two causes: known cells near the hole encode a
part of the fill, and the decoder changes kept pixels a little, which shows where they are put back.

The images are 140 glyphs that the `emoji` prior was not trained on. The last table shows how far the smooth fill
under the hole reaches into known latent cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoModel
from jaxtyping import Bool, Float, UInt8
from rich.console import Console
from rich.table import Table
from torch import Tensor

from repaint.measure.metrics import psnr, rim_gradients
from repaint.pictures import mask_shapes
from repaint.pictures.images import read_images
from repaint.pictures.rim import meet_rim
from repaint.pictures.samples import GLYPH_SIZE as SIZE
from repaint.pictures.samples import glyphs
from repaint.priors.latent import LatentCodec, widen

NEAR = 4  # pixels from the rim within which contrast and PSNR are measured
BATCH = 16
HOLES = {
    "box on the grid of cells": mask_shapes.box(SIZE, SIZE),
    "box off the grid": mask_shapes.box(SIZE, SIZE, top=17, left=18, h=30, w=29),
    "half": mask_shapes.half(SIZE, SIZE),
}

Images = UInt8[np.ndarray, "b h w 3"]
Hole = Bool[np.ndarray, "h w"]
Latents = Float[Tensor, "b z hz wz"]


@dataclass(frozen=True)
class Seam:
    """The seam at one setting.

    Attributes:
        margin: `latent_margin`, in cells.
        feather: `blend_rim`, in pixels.
        contrast: `repaint.measure.metrics.seam_contrast`, with its gradients summed over the images.
        psnr: in the hole within `NEAR` pixels of the rim, over all images, dB.
    """

    margin: int
    feather: float
    contrast: float
    psnr: float


def seams(
    codec: LatentCodec,
    images: Images,
    hole: Hole,
    margins: Sequence[int] = (0, 1, 2),
    feathers: Sequence[float] = (0, 2, 4, 8),
) -> tuple[float, list[Seam]]:
    """Measure the seam at each margin and feather: (contrast of the true images, seams).

    Args:
        codec: the autoencoder.
        images: sides are multiples of its factor.
        hole: one for all images, True in the hole.
        margins, feathers: values of `latent_margin` and `blend_rim`.
    """
    from scipy.ndimage import distance_transform_edt

    known = torch.from_numpy(~hole)[None]
    pictures = read_images(images)
    tensors = torch.stack([picture.tensor(codec.channels) for picture in pictures])
    true, latents, cells = encoded(codec, tensors, known)
    ring = np.tile(hole & (distance_transform_edt(hole) <= NEAR), (len(images), 1))
    found = []
    for margin in margins:
        mixed = torch.where(widen(cells, margin), latents, true)
        with torch.no_grad():
            decoded = torch.cat([codec.decode(batch) for batch in torch.split(mixed, BATCH)])
        for width in feathers:
            met = [meet_rim(*pair, known, width) for pair in zip(decoded, tensors, strict=True)]
            filled = [picture.compose(x, known.float()).raw for picture, x in zip(pictures, met, strict=True)]
            near = psnr(np.concatenate(filled), np.concatenate(list(images)), ring)
            found.append(Seam(margin, width, contrast(filled, hole), near))
    return contrast(images, hole), found


def encoding_error(codec: LatentCodec, images: Images, hole: Hole) -> list[float]:
    """Measure how much the smooth fill changes the latents at each distance from the hole.

    Returns:
        Root mean square difference from the latents of the whole images, in standard deviations of each channel. Entry
        0 is for cells of the hole, entry d for known cells at distance d (diagonals count 1).
    """
    from scipy.ndimage import distance_transform_cdt

    tensors = torch.stack([picture.tensor(codec.channels) for picture in read_images(images)])
    true, latents, cells = encoded(codec, tensors, torch.from_numpy(~hole)[None])
    squares = ((latents - true) / true.std(dim=(0, 2, 3), keepdim=True)).square().mean(dim=(0, 1)).numpy()
    distance = distance_transform_cdt(cells.numpy()[0, 0], metric="chessboard")
    return [float(np.sqrt(squares[distance == d].mean())) for d in range(distance.max() + 1)]


def encoded(
    codec: LatentCodec, images: Float[Tensor, "b c h w"], known: Bool[Tensor, "1 h w"]
) -> tuple[Latents, Latents, Bool[Tensor, "1 1 hz wz"]]:
    """(latents of the whole images, latents with a smooth fill in the hole, known cells)."""
    whole, holed = [], []
    for batch in torch.split(images, BATCH):
        masks = known.expand(len(batch), 1, -1, -1)
        whole.append(codec.encode(batch, torch.ones_like(masks))[0])
        latents, cells = codec.encode(batch, masks)
        holed.append(latents)
    return torch.cat(whole), torch.cat(holed), cells[:1]


def contrast(images: Sequence[np.ndarray] | Images, hole: Hole) -> float:
    across, beside = np.sum([rim_gradients(image, hole, NEAR) for image in images], axis=0)
    return float(across / beside)


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
