"""How much of a seam an autoencoder leaves by itself: its true latents stand in the hole, and no model paints.

What is measured is what the pipeline does around its sampler: encode the picture with its hole filled smoothly, decode,
meet the rim, put the kept pixels back. Two things go wrong there. The encoder sees some of the fill in cells that are
known; and the decoder returns kept pixels a little changed, which shows where it stops being overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.measure.metrics import psnr, rim_gradients
from repaint.pictures.images import read_images
from repaint.pictures.rim import meet_rim
from repaint.priors.latent import LatentCodec, widen

__all__ = ["Seam", "encoding_error", "seams"]

NEAR = 4  # pixels from the rim that its contrast is compared with
BATCH = 16

Images = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Pictures = Float[Tensor, "b c h w"]
Latents = Float[Tensor, "b z hz wz"]


@dataclass(frozen=True)
class Seam:
    """The seam at one setting, over a set of pictures.

    Attributes:
        margin: in latent cells.
        feather: in pixels.
        contrast: `metrics.seam_contrast`, with both of its gradients summed over the pictures first.
        psnr: against the true pictures, in the hole within 4 pixels of the rim, over all of them, dB.
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
    """The seam that an autoencoder leaves, at every margin and feather.

    Args:
        codec: the autoencoder.
        images: (B, H, W, 3), sides that are multiples of its factor.
        hole: (H, W), the same for all.
        margins, feathers: see `RePaintPipeline.__call__`.
    Returns:
        (the contrast of the true pictures, one `Seam` a setting).
    """
    from scipy.ndimage import distance_transform_edt

    known = torch.from_numpy(~hole)[None]
    pictures = read_images(images)
    tensors = torch.stack([picture.tensor(codec.channels) for picture in pictures])
    true, latents, cells = _encoded(codec, tensors, known)
    ring = np.tile(hole & (distance_transform_edt(hole) <= NEAR), (len(images), 1))
    found = []
    for margin in margins:
        mixed = torch.where(widen(cells, margin), latents, true)
        with torch.no_grad():
            decoded = torch.cat([codec.decode(some) for some in torch.split(mixed, BATCH)])
        for width in feathers:
            met = [meet_rim(*each, known, width) for each in zip(decoded, tensors, strict=True)]
            filled = [picture.compose(x, known.float()).raw for picture, x in zip(pictures, met, strict=True)]
            near = psnr(np.concatenate(filled), np.concatenate(list(images)), ring)
            found.append(Seam(margin, width, _contrast(filled, hole), near))
    return _contrast(images, hole), found


def encoding_error(codec: LatentCodec, images: Images, hole: Hole) -> list[float]:
    """How wrong known cells are, because the hole is filled smoothly before encoding, at each distance from the hole.

    Args:
        codec, images, hole: see `seams`.
    Returns:
        Root mean square difference to the latents of the whole picture, in units of each channel's standard deviation
        over all cells of all pictures. Entry 0 is that of the hole's own cells, entry d that of known cells d cells
        away (diagonals count 1), which a margin of d makes part of the hole.
    """
    from scipy.ndimage import distance_transform_cdt

    tensors = torch.stack([picture.tensor(codec.channels) for picture in read_images(images)])
    true, latents, cells = _encoded(codec, tensors, torch.from_numpy(~hole)[None])
    squares = ((latents - true) / true.std(dim=(0, 2, 3), keepdim=True)).square().mean(dim=(0, 1)).numpy()
    away = distance_transform_cdt(cells.numpy()[0, 0], metric="chessboard")
    return [float(np.sqrt(squares[away == d].mean())) for d in range(away.max() + 1)]


def _encoded(
    codec: LatentCodec, images: Pictures, known: Bool[Tensor, "1 h w"]
) -> tuple[Latents, Latents, Bool[Tensor, "1 1 hz wz"]]:
    """(latents of the whole pictures, of the pictures with their hole filled smoothly, known cells)."""
    whole, holed = [], []
    for some in torch.split(images, BATCH):
        masks = known.expand(len(some), 1, -1, -1)
        whole.append(codec.encode(some, torch.ones_like(masks))[0])
        latents, cells = codec.encode(some, masks)
        holed.append(latents)
    return torch.cat(whole), torch.cat(holed), cells[:1]


def _contrast(images: Sequence[Images] | Images, hole: Hole) -> float:
    across, beside = np.sum([rim_gradients(image, hole, NEAR) for image in images], axis=0)
    return float(across / beside)
