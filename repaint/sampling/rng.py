"""Randomness as a value: one stream of normal draws per image.

A result must not depend on the batch it is computed in, on interruptions, or on global state. So every image has its
own stream, starting at its seed. Streams are immutable: `draw` returns the noise and the advanced streams.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from repaint.checks import is_integer, shown, whole_number
from repaint.errors import InputError

__all__ = ["MAX_SEED", "Draws", "NoiseStreams", "Seedable", "seeds_for"]

# PyTorch's CPU generator uses only the low 32 bits of a seed, so larger seeds would repeat smaller ones.
MAX_SEED = 2**32 - 1

Seedable = SupportsIndex | torch.Generator | Iterable[SupportsIndex] | Iterable[torch.Generator] | None


@dataclass(frozen=True)
class NoiseStreams:
    """The random streams of a batch, one per image.

    Attributes:
        states: (B, S) uint8, the state of each image's Mersenne twister (`torch.Generator.get_state`).
    """

    states: UInt8[Tensor, "b s"]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int]) -> NoiseStreams:
        """Start one stream per seed, each in [0, 2**32)."""
        return cls(torch.stack([torch.Generator().manual_seed(seed).get_state() for seed in seeds]))

    def draw(
        self, shape: torch.Size, dtype: torch.dtype, *, pinned: bool = False
    ) -> tuple[Float[Tensor, "b *shape"], NoiseStreams]:
        """Draw standard normal noise, each image from its own stream, and return the streams after it.

        Args:
            shape: (B, ...); B is the number of streams or a multiple of it. With a multiple, each stream serves that
                many consecutive samples, which makes large populations cheap.
            dtype: float32 or float64. For half precision draw float32 and cast, so that a seed gives one image.
            pinned: allocate in page-locked memory, so that the copy to a GPU is asynchronous.
        Returns:
            Noise on the CPU, so that a seed gives the same numbers on every device, and the advanced streams.
        """
        noise = torch.empty(shape, dtype=dtype, pin_memory=pinned)
        states = []
        for state, own in zip(self.states, noise.chunk(len(self.states)), strict=True):
            generator = torch.Generator()
            generator.set_state(state.clone())  # PyTorch 2.15's set_state crashes on a view
            own.normal_(generator=generator)
            states.append(generator.get_state())
        return noise, NoiseStreams(torch.stack(states))


def seeds_for(count: int, generator: Seedable) -> list[int]:
    """Convert the `generator` argument to one seed per image.

    Args:
        count: the number of images.
        generator: an integer s gives s, s + 1, ..., so that image i equals the single image of seed s + i.
            A `torch.Generator` is drawn from once per image and advances, as in diffusers. A list gives the seed or
            generator of each image. None uses entropy from the operating system.
    Raises:
        InputError: a seed outside [0, 2**32), or a list whose length is not `count`.

    >>> seeds_for(3, 7)
    [7, 8, 9]
    >>> seeds_for(2, [5, 1])
    [5, 1]
    """
    if generator is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(count)]
    if isinstance(generator, torch.Generator):
        return [_seed_from(generator) for _ in range(count)]
    if is_integer(generator):
        return [_checked(int(generator) + i) for i in range(count)]  # type: ignore[arg-type]
    try:
        each: list[Any] = list(generator)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(
            f"generator={shown(generator)} must be an integer, a torch.Generator, or a list of these."
        ) from error
    if len(each) != count:
        raise InputError(
            f"generator has {len(each)} entries but must have one per image, {count} (or be one integer: image i uses "
            "seed + i)."
        )
    return [_seed_from(g) if isinstance(g, torch.Generator) else _checked(g) for g in each]


def _seed_from(generator: torch.Generator) -> int:
    return int(torch.randint(MAX_SEED + 1, (), generator=generator, device=generator.device))


def _checked(seed: object) -> int:
    return whole_number("seed", seed, 0, MAX_SEED, hint="PyTorch repeats larger seeds")


class Draws:
    """The random numbers of one move: a draw that its parts share, and more for a part that keeps one.

    The unknown part (the solver's noise) and the known part (the merge's noise) share a draw. They never meet in one
    pixel, so they stay independent. Nothing is drawn before it is read.

    Args:
        streams: the streams before this move.
        like: (B, ...) the sample that noise is added to; draws have its shape and device.
        images: number of images in it, fewer than samples where each has several particles; None: as many.
    Attributes:
        streams: the streams after everything drawn so far.
    """

    def __init__(self, streams: NoiseStreams, like: Float[Tensor, "b *shape"], images: int | None = None) -> None:
        self.streams, self._like, self._images = streams, like, len(like) if images is None else images
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

    def uniform(self, count: int) -> Float[Tensor, "images count"]:
        """New numbers, uniform in [0, 1), `count` for each image; float64 on the CPU."""
        normal, self.streams = self.streams.draw(torch.Size((self._images, count)), torch.float64)
        uniform: Tensor = torch.special.ndtr(normal)
        return uniform.clamp(max=1 - 1e-16)

    def spent(self, *kept: Tensor) -> Tensor | None:
        """The memory of the shared draw, for the result of the move; None where it is still needed.

        Args:
            kept: tensors that must stay as they are.
        """
        return None if any(self._shared is tensor for tensor in kept) else self._shared
