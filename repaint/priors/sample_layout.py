"""How pipelines lay out samples: as cells (B, C, H, W), with an axis for frames, or as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from repaint.errors import PriorError

__all__ = ["SampleLayout", "pack", "unpack"]


@dataclass(frozen=True)
class SampleLayout:
    """The layout of a pipeline's samples.

    Attributes:
        height, width: of the sample in cells.
        block: side in cells of one token; 0: cells.
        frames: the axis of length 1 for frames; 0: none.
        last: whether channels are the last axis.
    """

    height: int
    width: int
    block: int = 0
    frames: int = 0
    last: bool = False

    @classmethod
    def of(cls, cells: Sequence[int], shape: Sequence[int]) -> SampleLayout:
        """Recognise a layout by the shape of a sample.

        >>> SampleLayout.of((2, 16, 8, 6), (2, 12, 64))
        SampleLayout(height=8, width=6, block=2, frames=0, last=False)

        Args:
            cells: (B, C, H, W), the shape of x.
            shape: of the same sample in the pipeline.
        Raises:
            PriorError: another layout.
        """
        count, channels, height, width = cells
        known = {
            (count, channels, height, width): cls(height, width),
            (count, channels, 1, height, width): cls(height, width, frames=2),
            (count, 1, channels, height, width): cls(height, width, frames=1),
            (count, 1, height, width, channels): cls(height, width, frames=1, last=True),
            (count, height * width // 4, 4 * channels): cls(height, width, block=2),
            (count, height * width, channels): cls(height, width, block=1),
        }
        if tuple(shape) not in known:
            raise PriorError(
                f"This pipeline has samples of shape {tuple(shape)} for {tuple(cells)} cells, which the driver does "
                "not support."
            )
        return known[tuple(shape)]

    def pack(self, x: Float[Tensor, "b c h w"]) -> Tensor:
        """Return x in this layout."""
        if self.frames:
            return (x.permute(0, 2, 3, 1) if self.last else x).unsqueeze(self.frames)
        return pack(x, self.block) if self.block else x

    def unpack(self, output: Tensor) -> Float[Tensor, "b c2 h w"]:
        """Return an output as cells: the inverse of `pack`. It may have more channels than x."""
        if self.frames:
            cells = output.squeeze(self.frames)
            return cells.permute(0, 3, 1, 2) if self.last else cells
        return unpack(output, self.height, self.width, self.block) if self.block else output


def pack(x: Float[Tensor, "b c h w"], block: int = 2) -> Float[Tensor, "b tokens c2"]:
    """Return each block of cells as one token of `block`^2 C channels, row by row."""
    count, channels, height, width = x.shape
    blocks = x.reshape(count, channels, height // block, block, width // block, block).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(count, height * width // block**2, block**2 * channels)


def unpack(tokens: Float[Tensor, "b tokens c2"], height: int, width: int, block: int = 2) -> Float[Tensor, "b c h w"]:
    """Return the cells (height, width) of tokens: the inverse of `pack`."""
    count, _, channels = tokens.shape
    blocks = tokens.reshape(count, height // block, width // block, channels // block**2, block, block)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(count, channels // block**2, height, width)
