"""Draws that a test chooses."""

from __future__ import annotations

from torch import Tensor

from repaint.sampling.rng import Draws

__all__ = ["Given"]


class Given(Draws):
    """Hands out the given noise: the first as the shared draw, the others one by one as further draws.

    Attributes:
        read: how many of them were read.
    """

    def __init__(self, *noise: Tensor) -> None:
        self._first, self._others, self.read, self._shared = noise[:1], list(noise[1:]), 0, None

    @property
    def z(self) -> Tensor:
        if self._shared is None:
            (self._shared,) = self._first
            self.read += 1
        return self._shared

    def another(self) -> Tensor:
        self.read += 1
        return self._others.pop(0)
