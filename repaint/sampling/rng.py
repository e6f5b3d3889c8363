"""Randomness as a value: one stream of normal draws per image.

A result must not depend on the batch it is computed in, on interruptions, or on global state. So every image has its
own stream, starting at its seed. Streams are immutable: `draw` returns the noise and the advanced streams.

Each seed has an antithetic one, which draws the same noise with the opposite sign. The two results are samples of one
distribution, but deviate from its mean in nearly opposite directions, so that the mean of a pair is near the mean of
the distribution (Hammersley & Morton 1956; for diffusion models Jia et al. 2025, arXiv 2506.06185).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from repaint.checks import is_integer, shown, whole_number
from repaint.errors import InputError

__all__ = ["MAX_SEED", "Draws", "NoiseStreams", "Seedable", "antithetic_seed", "are_pairs", "derived_seed", "seeds_for"]

# PyTorch's CPU generator uses only the low 32 bits of a seed. Here the next bit changes the sign of all noise.
STREAMS = 2**32
MAX_SEED = 2 * STREAMS - 1
SEED_HINT = "from 2**32 on, the noise of seed - 2**32 with the opposite sign"

Seedable = SupportsIndex | torch.Generator | Iterable[SupportsIndex] | Iterable[torch.Generator] | None


@dataclass(frozen=True)
class NoiseStreams:
    """The random streams of a batch, one per image.

    Attributes:
        states: (B, S) uint8, the state of each image's Mersenne twister (`torch.Generator.get_state`).
        opposite: for each image whether its noise has the opposite sign.
    """

    states: UInt8[Tensor, "b s"]
    opposite: tuple[bool, ...]

    @classmethod
    def from_seeds(cls, seeds: Sequence[int]) -> NoiseStreams:
        """Start one stream per seed, each in [0, 2**33)."""
        states = [torch.Generator().manual_seed(seed % STREAMS).get_state() for seed in seeds]
        return cls.at(torch.stack(states), seeds)

    @classmethod
    def at(cls, states: UInt8[Tensor, "b s"], seeds: Sequence[int]) -> NoiseStreams:
        """Continue the streams of these seeds at saved states."""
        return cls(states, tuple(seed >= STREAMS for seed in seeds))

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
        noise = torch.empty(shape, dtype=dtype, device="cpu", pin_memory=pinned)
        states = []
        for state, opposite, own in zip(self.states, self.opposite, noise.chunk(len(self.states)), strict=True):
            generator = torch.Generator()
            generator.set_state(state.clone())  # PyTorch 2.15's set_state crashes on a view
            own.normal_(generator=generator)
            if opposite:
                own.neg_()
            states.append(generator.get_state())
        return noise, replace(self, states=torch.stack(states))


def antithetic_seed(seed: int) -> int:
    """Return the seed of the same noise with the opposite sign: s + 2**32 for s < 2**32, and the reverse.

    Args:
        seed: in [0, 2**33).

    >>> antithetic_seed(7), antithetic_seed(antithetic_seed(7))
    (4294967303, 7)
    """
    return seed ^ STREAMS


def are_pairs(seeds: Sequence[int]) -> bool:
    """Test whether every second seed is antithetic to the seed before it. An odd last seed has no partner."""
    return len(seeds) > 1 and all(b == antithetic_seed(a) for a, b in zip(seeds[::2], seeds[1::2], strict=False))


def derived_seed(seed: int, *numbers: int) -> int:
    """Derive a seed for one of several parts of a result. Antithetic seeds give antithetic seeds."""
    own, opposite = seed % STREAMS, seed >= STREAMS
    derived = int(np.random.SeedSequence((own, *numbers)).generate_state(1)[0])
    return antithetic_seed(derived) if opposite else derived


def seeds_for(count: int, generator: Seedable, *, copies: int = 1, antithetic: bool = False) -> list[int]:
    """Convert the `generator` argument to one seed per result.

    Args:
        count: the number of images.
        generator: an integer s gives s, s + 1, ..., so that image i equals the single image of seed s + i.
            A `torch.Generator` is drawn from once per image and advances, as in diffusers. A list gives the seed or
            generator of each image. None uses entropy from the operating system.
        copies: results of each image; they follow one another, and each counts as an image.
        antithetic: the results of an image are pairs, and `generator` counts pairs: an integer s gives s and its
            antithetic seed, s + 1 and its antithetic seed, and so on. An odd last result has no partner.
    Raises:
        InputError: a seed outside [0, 2**33), a list of another length, an antithetic single result, or an `antithetic`
            that is not a bool.

    >>> seeds_for(3, 7)
    [7, 8, 9]
    >>> seeds_for(2, [5, 1])
    [5, 1]
    >>> seeds_for(1, 7, copies=4, antithetic=True)
    [7, 4294967303, 8, 4294967304]
    """
    if not isinstance(antithetic, (bool, np.bool_)):
        raise InputError(f"antithetic={shown(antithetic)} must be True or False.")
    if antithetic:
        if copies < 2:
            raise InputError(
                "antithetic=True needs at least 2 results of each image, but this call draws one. Pass "
                "num_images_per_prompt=2."
            )
        pairs = -(-copies // 2)
        seeds = _seeds(count * pairs, generator, "pair of results")
        both = [own for seed in seeds for own in (seed, antithetic_seed(seed))]
        return [seed for i in range(count) for seed in both[2 * pairs * i :][:copies]]
    return _seeds(count * copies, generator, "image")


def _seeds(count: int, generator: Seedable, what: str) -> list[int]:
    if generator is None:
        return [secrets.randbelow(STREAMS) for _ in range(count)]
    if isinstance(generator, torch.Generator):
        return [_seed_from(generator) for _ in range(count)]
    if is_integer(generator):
        first = _checked(generator)
        # The last seed must not exceed the largest one either, nor change the sign of the noise.
        whole_number("seed", first + count - 1, 0, MAX_SEED if first >= STREAMS else STREAMS - 1, hint=SEED_HINT)
        return list(range(first, first + count))
    try:
        each: list[Any] = list(generator)  # type: ignore[arg-type]
    except TypeError as error:
        raise InputError(
            f"generator={shown(generator)} must be an integer, a torch.Generator, or a list of these."
        ) from error
    if len(each) != count:
        raise InputError(
            f"generator has {len(each)} entries but must have one per {what}, {count} (or be one integer: number i "
            "uses seed + i)."
        )
    return [_seed_from(g) if isinstance(g, torch.Generator) else _checked(g) for g in each]


def _seed_from(generator: torch.Generator) -> int:
    return int(torch.randint(STREAMS, (), generator=generator, device=generator.device))


def _checked(seed: object) -> int:
    return whole_number("seed", seed, 0, MAX_SEED, hint=SEED_HINT)


class Draws:
    """The random numbers of one move: a draw that its parts share, and further draws for a part that keeps its own.

    The unknown part (the solver's noise) and the known part (the merge's noise) share a draw. No pixel is in both, so
    they stay independent. Noise is drawn only when it is read.

    Args:
        streams: the streams before this move.
        like: (B, ...) the sample that noise is added to; draws have its shape and device.
        images: number of images in it, fewer than B if each has several particles; None: B.
        temperature: the standard deviation of the noise, see `Method.temperature`.
    Attributes:
        streams: the streams after everything drawn so far.
    """

    def __init__(
        self,
        streams: NoiseStreams,
        like: Float[Tensor, "b *shape"],
        images: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        self.streams, self._like, self._images = streams, like, len(like) if images is None else images
        self._temperature = temperature
        self._shared: Tensor | None = None

    @property
    def z(self) -> Float[Tensor, "b *shape"]:
        """Normal noise, the same at every read. Its memory is reused after the move, unless a part returned it."""
        if self._shared is None:
            self._shared = self.another()
        return self._shared

    def another(self) -> Float[Tensor, "b *shape"]:
        """Draw normal noise, independent of all other draws; its standard deviation is the temperature."""
        like = self._like
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        pinned = like.device.type == "cuda"
        noise, self.streams = self.streams.draw(like.shape, dtype, pinned=pinned)
        # Without page-locked memory, MPS would read the noise after its memory is free (pytorch/pytorch#189690).
        noise = noise.to(like.device, non_blocking=pinned)
        return noise if self._temperature == 1 else noise.mul_(self._temperature)

    def uniform(self, count: int) -> Float[Tensor, "images count"]:
        """Draw numbers uniform in [0, 1), `count` for each image; float64 on the CPU."""
        normal, self.streams = self.streams.draw(torch.Size((self._images, count)), torch.float64)
        uniform: Tensor = torch.special.ndtr(normal)
        return uniform.clamp(max=1 - 1e-16)

    def spent(self, *kept: Tensor) -> Tensor | None:
        """Return the memory of the shared draw, for the result of the move; None if it is still needed.

        Args:
            kept: tensors that must stay as they are.
        """
        if self._shared is None:
            return None
        own = self._shared.untyped_storage()._cdata
        return None if any(tensor.untyped_storage()._cdata == own for tensor in kept) else self._shared
