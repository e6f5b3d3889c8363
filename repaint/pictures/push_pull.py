"""Replace a hole by a smooth continuation of its rim."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["smooth_fill"]


def smooth_fill(image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """The image with its hole replaced by a smooth continuation of its rim; known pixels are unchanged.

    Averages of the known pixels are pulled up a pyramid and pushed down into what is still empty, so that the fill
    stays between the least and the greatest known value. An image without a known pixel becomes 0.

    Args:
        image: any values under the hole; they are never read.
        known: True where the image is kept.
    Source:
        Push-pull: Gortler et al. 1996, "The Lumigraph", Sec. 3.4.
    """
    image = torch.where(known, image, torch.zeros_like(image))
    height, width = image.shape[-2:]
    if bool(known.all()) or height == width == 1:
        return image
    weight = known.to(image.dtype)
    extra = (0, width % 2, 0, height % 2)
    total = F.avg_pool2d(F.pad(weight, extra), 2)
    coarse = F.avg_pool2d(F.pad(image, extra), 2) / total.clamp(min=0.25)  # a block's least share, or none at all
    filled = smooth_fill(coarse, total > 0)
    size = height + extra[3], width + extra[1]
    fine = F.interpolate(filled, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(known, image, fine)
