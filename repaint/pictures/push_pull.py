"""Smooth fill of a hole from its rim, by the push-pull pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["smooth_fill"]


def smooth_fill(image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
    """Replace the hole of an image by a smooth continuation of its rim. Known pixels are unchanged.

    Averages of the known pixels are pulled up a pyramid, then pushed down into the pixels that are still empty, so the
    fill stays between the smallest and the largest known value. An image without known pixels becomes 0.

    Args:
        image: (B, C, H, W); the values in the hole are never read.
        known: (B, 1, H, W), True where the image is kept.
    Source:
        Push-pull: Gortler et al. 1996, "The Lumigraph", Sec. 3.4.

    >>> known = torch.tensor([[[[True, False, False, True]]]])
    >>> smooth_fill(torch.tensor([[[[1.0, 9.0, 9.0, 1.0]]]]), known)
    tensor([[[[1., 1., 1., 1.]]]])
    """
    image = torch.where(known, image, torch.zeros_like(image))
    height, width = image.shape[-2:]
    if bool(known.all()) or height == width == 1:
        return image
    weight = known.to(image.dtype)
    extra = (0, width % 2, 0, height % 2)
    total = F.avg_pool2d(F.pad(weight, extra), 2)
    coarse = F.avg_pool2d(F.pad(image, extra), 2) / total.clamp(
        min=0.25
    )  # 0.25: one known pixel of four; 0 pixels give 0
    filled = smooth_fill(coarse, total > 0)
    size = height + extra[3], width + extra[1]
    fine = F.interpolate(filled, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(known, image, fine)
