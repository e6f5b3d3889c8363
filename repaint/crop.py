"""Sizes a prior cannot take: an image is padded by reflection and cut back, never resized."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from repaint.errors import InputError

__all__ = ["Padding", "pad"]


@dataclass(frozen=True)
class Padding:
    """What `pad` added, to the right and at the bottom; (height, width) is the size before."""

    height: int
    width: int

    def cut(self, tensor: Shaped[Tensor, "*b h_padded w_padded"]) -> Shaped[Tensor, "*b h w"]:
        """(..., H, W): the part of a padded image, keep mask or result that is no padding."""
        return tensor[..., : self.height, : self.width]


def pad(image: Shaped[Tensor, "*b h w"], multiple_of: int) -> tuple[Shaped[Tensor, "*b h_padded w_padded"], Padding]:
    """Extend an image or a keep mask to the next size a prior takes, by reflection at its right and bottom edge.

    Pixel (0, 0) stays where it is, so a latent grid stands on the same pixels as without padding. The reflection does
    not repeat the edge pixel (abc -> abcbab...), bounces back and forth where the padding is wider than the image, and
    repeats the one pixel of a side of length 1. Padded together, image and keep mask stay consistent.

    Args:
        image: (..., H, W), any values.
        multiple_of: H and W of the result are multiples of it, >= 1.
    Returns:
        The padded tensor (the same one where nothing is missing) and the `Padding` whose `cut` undoes it.
    Raises:
        InputError: `multiple_of` below 1.
    """
    if multiple_of < 1:
        raise InputError(
            f"Padding to multiples of {multiple_of}: it must be at least 1. Give the prior's own multiple."
        )
    height, width = image.shape[-2:]
    padded = image
    for axis, size in ((-2, height), (-1, width)):
        if missing := -size % multiple_of:
            padded = padded.index_select(axis, _bounce(size, size + missing).to(image.device))
    return padded, Padding(height, width)


def _bounce(size: int, length: int) -> Tensor:
    """The first `length` indices of a walk to and fro over 0 ... size - 1 that does not stay at the turning points."""
    period = max(2 * (size - 1), 1)
    phase = torch.arange(length) % period
    return torch.minimum(phase, period - phase)
