"""Several fills of one picture: their mean, standard deviation and quantiles at each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from repaint.checks import is_number, shown
from repaint.errors import InputError
from repaint.pictures.images import COLOURS, ImageLike, Picture, read_images

__all__ = ["Fills"]


@dataclass(frozen=True, eq=False)
class Fills:
    """At least two fills of the hole of one picture.

    Attributes:
        picture: the picture outside the hole; its pixels in the hole do not matter.
        hole: (H, W) True at the pixels that were filled.
        values: (fills, pixels, C) in [0, 1]: the pixels of the hole in row order, before they are rounded. Palette and
            CMYK pictures as RGB.
        colours: the first channels of C that are colours; the others are alpha.
        paired: the fills are antithetic pairs that follow one another; an odd last one has no partner. The
            two fills of a pair deviate in nearly opposite directions.
        temperature: factor of the noise they were drawn with, above 0. Deviations from the mean are divided by it.

    >>> dark, light = np.full((2, 4, 4, 3), 90, np.uint8)
    >>> light[0, 0] = 100
    >>> fills = Fills.from_images([dark, light], hole=np.eye(4, dtype=bool))
    >>> fills.mean().output("np")[0, 0].tolist(), round(float(fills.deviation("np")[0, 0]), 2)
    ([95, 95, 95], 7.07)
    """

    picture: Picture
    hole: Bool[np.ndarray, "h w"]
    values: Float[np.ndarray, "m n c"]
    colours: int
    paired: bool = False
    temperature: float = 1.0

    def __repr__(self) -> str:
        height, width = self.hole.shape
        fills, pixels = self.values.shape[:2]
        return f"Fills({fills} of {pixels} pixels in {height} x {width}, paired={self.paired})"

    @classmethod
    def from_images(
        cls, images: Sequence[ImageLike], hole: NDArray[np.bool_], *, paired: bool = False, temperature: float = 1.0
    ) -> Fills:
        """Collect finished results of one image, such as those of several calls. They are already rounded.

        Args:
            images: at least two results of one size, mode and dtype; see `read_images`.
            hole: (H, W) True at the pixels that were filled, as displayed.
            paired, temperature: see `Fills`.
        Raises:
            InputError: fewer than two results, results that differ in size or kind, or a hole of another size.
        """
        pictures = read_images(list(images))
        first = pictures[0]
        if len(pictures) < 2:
            raise InputError("images has 1 result, but a mean needs at least 2. Draw more with other seeds.")
        for other in pictures[1:]:
            if (other.raw.shape, other.raw.dtype, other.mode) != (first.raw.shape, first.raw.dtype, first.mode):
                raise InputError(
                    f"images has a {first} and a {other}, but results of one image have one size, mode and dtype. Pass "
                    "the results of one image."
                )
        if hole.shape != first.size:
            raise InputError(
                f"hole is {shown(hole.shape)} and the results are {first.size[0]} x {first.size[1]} (height x width): "
                "give a hole of the same size."
            )
        values = np.stack([picture.unit[hole] for picture in pictures])
        channels: int = values.shape[2]
        return cls(first, hole, values, COLOURS.get(channels, channels), paired, temperature)

    def mean(self) -> Picture:
        """Return the picture with the mean of the fills in its hole, rounded once if its dtype is an integer type.

        All other pixels are bit-equal to the picture's.
        """
        return self.picture.filled(self.hole, self.values.mean(axis=0, dtype=np.float64))

    def _spread(self) -> Float[np.ndarray, "m n c"]:
        """Scale the deviations of the values from their mean to a temperature of 1."""
        if self.temperature == 1:
            return self.values
        mean = self.values.mean(axis=0, dtype=np.float64)
        spread: NDArray[np.float64] = np.clip(mean + (self.values - mean) / self.temperature, 0, 1)
        return spread

    def deviation(self, output_type: str) -> Float[np.ndarray, "h w"]:
        """Compute the standard deviation of the fills, and its root mean square over the colour channels.

        The variance is unbiased. The two fills of a pair are not independent, but the first fills of all pairs are, and
        so are the second ones: with pairs, the variance is pooled over these two groups.

        Args:
            output_type: see `Picture.output`; its white is the unit.
        Returns:
            (H, W) float64, as displayed; 0 outside the hole.
        Raises:
            InputError: a single pair.
        """
        values = self._spread()[..., : self.colours]
        groups = [values[::2], values[1::2]] if self.paired else [values]
        freedom = len(values) - len(groups)
        if freedom < 1:
            raise InputError(
                "uncertainty needs at least 2 antithetic pairs, but this call drew one. Pass num_images_per_prompt=8, "
                "or antithetic=False."
            )
        variance = sum(len(group) * group.var(axis=0, dtype=np.float64) for group in groups) / freedom
        found = np.zeros(self.picture.size)
        found[self.hole] = np.sqrt(variance.mean(axis=1)) * self.picture.white_of(output_type)
        return found

    def interval(self, coverage: float, output_type: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Compute the central interval of the fills at each pixel and channel, by linearly interpolated quantiles.

        Args:
            coverage: share of the fills inside, in (0, 1]; 1 gives their minimum and maximum.
            output_type: see `Picture.output`; its white is the unit.
        Returns:
            (lower, upper): float64 images (H, W) or (H, W, C), as displayed; the picture itself outside the hole.
        Raises:
            InputError: the coverage is out of range.
        """
        if not (is_number(coverage) and 0 < coverage <= 1):
            raise InputError(f"coverage={shown(coverage)} must be in (0, 1] (0.9 leaves out 5 % at each end).")
        white, around = self.picture.white_of(output_type), self.picture.channels_last.astype(np.float64)
        ends = np.quantile(self._spread(), [(1 - coverage) / 2, (1 + coverage) / 2], axis=0)
        images = []
        for end in ends:
            image = around * (white / self.picture.white)  # a factor of 1 keeps known pixels exact
            image[self.hole] = end * white
            images.append(image[..., 0] if self.picture.raw.ndim == 2 and image.shape[2] == 1 else image)
        return images[0], images[1]

    def in_hole(self, output_type: str) -> tuple[float, float]:
        """Return the mean and the largest of `deviation` in the hole; 0 if there is no hole."""
        found = self.deviation(output_type)[self.hole]
        return (float(found.mean()), float(found.max())) if found.size else (0.0, 0.0)

    def summary(self, output_type: str) -> str:
        """Format `in_hole` with its unit: "mean 7.61, largest 14.9 of 255 in the hole"."""
        mean, largest = self.in_hole(output_type)
        return f"mean {mean:.3g}, largest {largest:.3g} of {self.picture.white_of(output_type)} in the hole"
