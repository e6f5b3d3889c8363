"""Randomness as a value: one stream of normal draws per image.

A result must not depend on the batch it was computed in, on an interruption, or on any global state. So every image
owns a stream that starts at its seed, and a stream is immutable: `draw` returns the noise and the stream that follows.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from repaint.checks import shown
from repaint.errors import InputError

__all__ = ["MAX_SEED", "Draws", "NoiseStreams", "Seedable", "seeds_for"]

# PyTorch's CPU generator uses the low 32 bits of a seed: larger seeds would silently repeat smaller ones.
MAX_SEED = 2**32 - 1

Seedable = int | torch.Generator | Sequence[int] | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class NoiseStreams:
    """The random streams of a batch, one per image.

    Attributes:
        states: (B, S) uint8, the state of each image's Mersenne twister (`torch.Generator.get_state`).
    """

    states: UInt8[Tensor, "b s"]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int]) -> NoiseStreams:
        """Streams that start at these seeds, each in [0, 2**32)."""
        return cls(torch.stack([torch.Generator().manual_seed(seed).get_state() for seed in seeds]))

    def draw(
        self, shape: torch.Size, dtype: torch.dtype, *, pinned: bool = False
    ) -> tuple[Float[Tensor, "b *shape"], NoiseStreams]:
        """Standard normal noise, each image from its own stream, and the streams after it.

        Args:
            shape: (B, ...); B is the number of streams, or a multiple of it: then each stream serves as many
                consecutive samples, which makes large populations cheap.
            dtype: float32 or float64. Lower precisions draw float32 first, so that a seed means one image.
            pinned: in page-locked memory, from which a copy to a GPU does not hold up the host.
        Returns:
            Noise on the CPU, where a seed gives the same numbers whatever device the model runs on.
        """
        noise = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        states = []
        for state, own in zip(self.states, noise.chunk(len(self.states)), strict=True):
            generator = torch.Generator()
            generator.set_state(state.clone())  # a row that is a view crashed PyTorch 2.15's set_state
            own.normal_(generator=generator)
            states.append(generator.get_state())
        return noise, NoiseStreams(torch.stack(states))


def seeds_for(count: int, generator: Seedable) -> list[int]:
    """One seed per image from what a caller may pass as `generator`.

    An int s gives s, s + 1, ..., so that image i of a batch is the image that seed s + i gives alone. A
    `torch.Generator` is drawn from once per image (and advances, as callers of diffusers expect). A list names the
    seed or generator of each image. None takes fresh entropy from the operating system.

    Raises:
        InputError: a seed outside [0, 2**32), or a list of another length.
    """
    if generator is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(count)]
    if isinstance(generator, torch.Generator):
        return [_seed_from(generator) for _ in range(count)]
    if isinstance(generator, (int, Integral)):
        return [_checked(int(generator) + i) for i in range(count)]
    try:
        each: list[Any] = list(generator)
    except TypeError as error:
        raise InputError(
            f"Seed {shown(generator)}: it is an int, a torch.Generator, or a list of these. Pass one."
        ) from error
    if len(each) != count:
        raise InputError(
            f"{len(each)} generators or seeds for {count} images: there must be one each. "
            "Pass a list of that length, or one int: image i then takes seed + i."
        )
    return [_seed_from(g) if isinstance(g, torch.Generator) else _checked(g) for g in each]


def _seed_from(generator: torch.Generator) -> int:
    return int(torch.randint(MAX_SEED + 1, (), generator=generator, device=generator.device))


def _checked(seed: int) -> int:
    if not isinstance(seed, Integral) or not 0 <= seed <= MAX_SEED:
        raise InputError(
            f"Seed {shown(seed)}: seeds lie in [0, {MAX_SEED}], since larger ones repeat. Choose one of these."
        )
    return int(seed)


class Draws:
    """The random numbers of one move: a draw that its parts share, and more for a part that keeps one.

    The unknown part (the solver's noise) and the known part (the merge's noise) share a draw. They never meet in one
    pixel, so they stay independent. Nothing is drawn before it is read.

    Args:
        streams: the streams before this move.
        like: (B, ...) the sample that noise is added to; draws have its shape and device.
    Attributes:
        streams: the streams after everything drawn so far.
    """

    def __init__(self, streams: NoiseStreams, like: Float[Tensor, "b *shape"]) -> None:
        self.streams, self._like = streams, like
        self._shared: Tensor | None = None

    @property
    def z(self) -> Float[Tensor, "b *shape"]:
        """Standard normal noise, the same at every read. Read it and do not keep it: its memory may be reused."""
        if self._shared is None:
            self._shared = self.another()
        return self._shared

    def another(self) -> Float[Tensor, "b *shape"]:
        """New standard normal noise, independent of all other draws."""
        like = self._like
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        noise, self.streams = self.streams.draw(like.shape, dtype, pinned=like.device.type == "cuda")
        return noise.to(like.device, non_blocking=True)

    def spent(self, *kept: Tensor) -> Tensor | None:
        """The memory of the shared draw, for the result of the move; None where it is still needed.

        Args:
            kept: tensors that must stay as they are.
        """
        return None if any(self._shared is tensor for tensor in kept) else self._shared
