"""Cuts the parts of a picture that have to be painted, and encodes them into the space of a prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from PIL.Image import fromarray
from torch import Tensor

from repaint.errors import InputError, LargeHoleWarning, warn
from repaint.pictures.crop import Crop, Window, pad, windows_around
from repaint.pictures.images import Picture, read_images
from repaint.pictures.masks import known, thickness
from repaint.pictures.push_pull import smooth_fill
from repaint.priors.latent import widen
from repaint.priors.windowed import Windowed
from repaint.sampling.contract import checked_encoded
from repaint.sampling.prior import Prior
from repaint.sampling.rng import derived_seed

__all__ = [
    "Cutout",
    "cut",
    "cut_aligned",
    "encode",
    "read_aligned",
    "strengths",
    "warn_if_large",
    "warn_of_large_holes",
    "window_seed",
]


NEEDED = 6  # side of a window over the thickness of a hole in it
# Windows over thin and thick holes are used if they hold at most this share of the pixels of whole rectangles.
THIN, THICK = 0.75, 0.5


@dataclass(frozen=True, eq=False)
class Cutout:
    """A window of a picture that has to be painted, or all of it.

    Attributes:
        window: where it is.
        picture, keep: the picture and its mask inside the window.
        cover: side in pixels of the windows that cover the hole; None gives the prior everything at once.
        thickness: of the picture's thickest hole, in pixels at the scale of the prior.
        strength: in [0, 1], how much each pixel of the hole may change; None: 1 everywhere.
    """

    window: Window
    picture: Picture
    keep: Float[Tensor, "1 h w"]
    cover: int | None = None
    thickness: float = 0.0
    strength: Float[Tensor, "1 h w"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels at the scale of the prior, before padding."""
        height, width = self.picture.size
        return height * self.window.scale, width * self.window.scale


def window_seed(seed: int, number: int) -> int:
    """Return the seed of a window: the image's own for the first window, one derived from it for the others."""
    return seed if number == 0 else derived_seed(seed, number)


def encode(
    prior: Prior, cutouts: Sequence[Cutout], margin: int = 0, *, whole: bool = False, smooth: bool = False
) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
    """Encode cutouts of one size into the prior's space: (x0, known).

    Each cutout is encoded alone, and once for all its results. In a batch, the last bits of its latents could differ,
    and a branch of a state would no longer match its image.

    Args:
        prior: the model.
        cutouts: of one size.
        margin: see `latent_margin` of `RePaintPipeline.__call__`.
        whole: treat every pixel as known.
        smooth: treat every pixel as known, after filling the hole from its rim; see `smooth_fill`.
    Returns:
        On the prior's device; known is True where x0 is kept.
    """
    encoded: dict[Cutout, tuple[Tensor, Tensor]] = {}
    for cutout in dict.fromkeys(cutouts):
        mask = torch.ones_like(cutout.keep, dtype=torch.bool) if whole else known(cutout.keep)
        if cutout.strength is None or whole or smooth:
            encoded[cutout] = _encoded(prior, cutout, mask, smooth)
        else:  # pixels that may only change in part are read
            x0, _ = _encoded(prior, cutout, mask | (cutout.strength < 1))
            encoded[cutout] = x0, _encoded(prior, cutout, mask)[1]
    x0, mask = (torch.cat(tensors) for tensors in zip(*(encoded[cutout] for cutout in cutouts), strict=True))
    return x0, widen(mask, margin) if margin else mask


def strengths(prior: Prior, cutouts: Sequence[Cutout], margin: int = 0) -> Float[Tensor, "b 1 h w"] | None:
    """Return how much each entry of the prior's space may change. A latent cell takes the largest value of its pixels.

    Args:
        prior: the model.
        cutouts: of one size.
        margin: see `latent_margin` of `RePaintPipeline.__call__`.
    Returns:
        In [0, 1], one map for each cutout; None if a cutout has none.
    """
    if any(cutout.strength is None for cutout in cutouts):
        return None
    maps = []
    for cutout in cutouts:
        assert cutout.strength is not None
        share = torch.where(known(cutout.keep), 0, cutout.strength)
        share = share.repeat_interleave(cutout.window.scale, dim=1).repeat_interleave(cutout.window.scale, dim=2)
        maps.append(pad(share, prior.multiple_of))
    cells = F.max_pool2d(torch.stack(maps), prior.latent_factor)
    cells = F.max_pool2d(cells, 2 * margin + 1, 1, margin) if margin else cells
    return cells.to(prior.dtype).to(prior.device)


def _encoded(prior: Prior, cutout: Cutout, mask: Bool[Tensor, "1 h w"], smooth: bool = False) -> tuple[Tensor, Tensor]:
    """Encode the pixels of a cutout that lie in a mask; the others are 0, or a smooth fill."""
    image = cutout.picture.tensor(prior.channels)
    if smooth:
        image = smooth_fill(torch.where(mask, image, torch.zeros_like(image))[None], mask[None])[0]
        mask = torch.ones_like(mask)
    image, mask = _enlarged(torch.where(mask, image, torch.zeros_like(image)), mask, cutout.window.scale)
    image, mask = pad(image, prior.multiple_of), pad(mask, prior.multiple_of)
    batch = image[None].to(prior.device, prior.dtype)
    return checked_encoded(prior.encode(batch, mask[None].to(prior.device)), prior, batch)


def _enlarged(
    image: Float[Tensor, "c h w"], mask: Bool[Tensor, "1 h w"], scale: int
) -> tuple[Float[Tensor, "c h2 w2"], Bool[Tensor, "1 h2 w2"]]:
    """Enlarge both `scale` times. Fill the hole before upscaling, so that interpolation never reads it."""
    if scale == 1:
        return image, mask
    filled = smooth_fill(image[None], mask[None])
    image = F.interpolate(filled, scale_factor=scale, mode="bilinear", align_corners=False)[0]
    mask = mask.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return torch.where(mask, image, torch.zeros_like(image)), mask


def read_aligned(name: str, value: Any, pictures: Sequence[Picture]) -> list[Any]:
    """Read images that are aligned with the pictures, such as control images: one for each picture.

    Args:
        name: the argument, for the error.
        value: an image for all pictures, or a list, array or tensor (B, ...) with one for each. In place of an image, a
            list of several for models that take several.
        pictures: those that they are aligned with.
    Returns:
        A PIL image, or a tuple of them, for each picture. (A list in a batch has one entry for each picture.)
    Raises:
        InputError: not an image, another number, or another size.
    """
    stacked = isinstance(value, (np.ndarray, Tensor)) and value.ndim == 4 and len(value) != 1
    listed = isinstance(value, (list, tuple)) and (len(value) == len(pictures) or len(pictures) > 1)
    each = list(value) if listed or stacked else [value] * len(pictures)
    if len(each) != len(pictures):
        raise InputError(f"{name} has {len(each)} images for {len(pictures)}. Pass one for all, or one for each.")
    found = []
    for item, picture in zip(each, pictures, strict=True):
        read = [read_images(one)[0] for one in (item if isinstance(item, (list, tuple)) else [item])]
        for one in read:
            if one.size != picture.size:
                raise InputError(
                    f"{name} is {one.size[1]} x {one.size[0]} pixels, but must have the size of the image, "
                    f"{picture.size[1]} x {picture.size[0]}. Resize it."
                )
        images = [one.output("pil") for one in read]
        found.append(tuple(images) if isinstance(item, (list, tuple)) else images[0])
    return found


def cut_aligned(image: Any, cutout: Cutout, multiple_of: int) -> Any:
    """Cut, enlarge and pad an image like the picture that it is aligned with.

    Args:
        image: a PIL image of the picture's size, or a tuple of them.
        cutout: of that picture.
        multiple_of: see `Prior`.
    """
    if isinstance(image, tuple):
        return tuple(cut_aligned(one, cutout, multiple_of) for one in image)
    rows, columns = cutout.window.place
    part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
    if part.mode in ("P", "CMYK"):  # whose values, resized or padded, are not colours
        part = part.convert("RGB")
    height, width = cutout.size
    if part.size != (width, height):
        part = part.resize((width, height))
    array = np.asarray(part)
    ends = [(0, -side % multiple_of) for side in (height, width)] + [(0, 0)] * (array.ndim - 2)
    return fromarray(np.pad(array, ends, mode="edge")) if any(end for _, end in ends) else part


def cut(picture: Picture, keep: Float[Tensor, "1 h w"], crop: Crop | None, prior: Prior) -> list[Cutout]:
    """Cut out the parts of a picture that have to be painted.

    Args:
        picture: the picture.
        keep: (1, H, W) in [0, 1]; the hole is where keep < 1.
        crop: how windows are chosen; None: the whole picture is one cutout.
        prior: the model.
    Returns:
        One cutout for each window; none without a hole.
    """
    hole, thick = ~known(keep)[0].numpy(), thickness(keep)
    if not hole.any():
        return []
    size = None if crop is None else crop.size or _window_size(prior, thick)
    if crop is None or size is None:
        windows, side = [Window(0, 0, hole)], None
    else:
        windows = windows_around(hole, crop, size, prior.multiple_of)
        side = _cover([hole[window.place] for window in windows], crop, size, prior, thick)
    return [Cutout(w, picture.window(w.place), keep[(slice(None), *w.place)], side, thick * w.scale) for w in windows]


def _cover(holes: Sequence[Bool[np.ndarray, "_h _w"]], crop: Crop, size: int, prior: Prior, thick: float) -> int | None:
    """Return the side of the windows that cover the holes; None if each hole is filled at once. See `Crop.windows`."""
    size = -(-size // prior.multiple_of) * prior.multiple_of
    if max(holes[0].shape) <= size or crop.windows is False:
        return None
    if crop.windows or size == prior.multiple_of:
        return size
    return size if Windowed(prior, size).saves(holes, THIN if NEEDED * thick <= size else THICK) else None


def warn_of_large_holes(prior: Prior, cutouts: Sequence[Cutout]) -> None:
    """Warn once if a hole is larger than the prior is made for."""
    most = max((cutout.thickness for cutout in cutouts), default=0.0)
    size = "covers the whole image" if math.isinf(most) else f"is {most:.0f} pixels thick"
    warn_if_large(prior, most, f"The hole {size}")


def warn_if_large(prior: Prior, pixels: float, what: str) -> None:
    """Warn if something to fill is larger than the prior is made for.

    Args:
        prior: the model.
        pixels: the size, to compare with the prior's `largest_hole`.
        what: the beginning of the warning, such as "The hole is 90 pixels thick".
    """
    if prior.largest_hole is not None and pixels > prior.largest_hole:
        warn(
            f"{what}, but this prior is made for holes of at most {prior.largest_hole} pixels: expect a poor fill. "
            "Fill less, or use a model from the Hugging Face Hub, such as stable-diffusion-v1-5/stable-diffusion-v1-5.",
            LargeHoleWarning,
        )


def _window_size(prior: Prior, thick: float) -> int | None:
    """Return the side of the windows in pixels, unless a hole needs more; None if the prior has no preferred size.

    Thin holes need less around them: `NEEDED` times their thickness, within the sizes that the prior is made for.
    """
    most, least = prior.preferred_size, prior.smallest_size
    if most is None or least is None:
        return most
    return int(min(most, max(least, NEEDED * thick)))
