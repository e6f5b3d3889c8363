"""Populations of particles: log-weights, and resampling with the random numbers of each image.

Particles are (B, P, ...), P for each image. Copying a particle moves no random stream: a stream belongs to an image, so
that its result does not depend on the batch.
"""

from __future__ import annotations

import os
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from repaint.checks import is_integer, shown
from repaint.errors import InputError, OutOfMemory
from repaint.sampling.rng import Draws

__all__ = ["ancestors", "check_memory", "checked_particles", "chosen_ancestors", "flat", "log_normal", "spread"]

MOST = 100_000  # particles of an image
COPIES = 6  # copies of the population that a step holds at once: particles, draws, predictions


def checked_particles(part: str, count: object) -> int:
    """Return a number of particles.

    Args:
        part: the name of the part that has it, for the error.
        count: any value.
    Raises:
        InputError: not an integer from 1 to 100,000.
    """
    if not (is_integer(count) and 1 <= count <= MOST):  # type: ignore[operator]
        raise InputError(f"{part}(particles={shown(count)}) must be an integer from 1 to {MOST} (for each image).")
    return int(count)  # type: ignore[call-overload, no-any-return]


def check_memory(x: Float[Tensor, "b *shape"], particles: int) -> None:
    """Refuse a population that cannot fit into the memory of this computer, which may otherwise end the process.

    Other devices report it themselves.

    Raises:
        OutOfMemory: it is larger than the memory.
    """
    if x.device.type != "cpu" or not hasattr(os, "sysconf"):
        return
    needed, there = COPIES * particles * x.nbytes, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise OutOfMemory(
            f"{particles} particles of {len(x)} images need about {needed / 2**30:.0f} GiB, but this computer has "
            f"{there / 2**30:.0f}. Use fewer particles, a smaller batch_size or a smaller Crop(size=...)."
        )


def spread(x: Shaped[Tensor, "b *shape"], particles: int) -> Shaped[Tensor, "bp *shape"]:
    """Repeat each image for its particles, which follow one another."""
    return x.repeat_interleave(particles, dim=0)


def flat(particles: Float[Tensor, "b p *shape"]) -> Float[Tensor, "bp *shape"]:
    """Return all particles of all images as one batch."""
    return particles.flatten(0, 1)


def log_normal(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Return the log density of N(mean, variance) at each entry of x, without the constant."""
    return -0.5 * (x - mean).square() / variance


def ancestors(
    log_weights: Float[Tensor, "b p"], draws: Draws, scheme: Literal["multinomial", "systematic"] = "multinomial"
) -> Int[Tensor, "b p"]:
    """Draw, for each new particle, the number of the particle that it copies.

    Args:
        log_weights: up to a constant of each image.
        draws: random numbers of the move; P for each image are used, 1 for "systematic".
        scheme: "multinomial" draws each new particle alone; "systematic" (Kitagawa 1996) shifts an even comb by one
            random number, which adds the least noise.
    """
    count = log_weights.shape[1]
    weights = torch.softmax(log_weights.cpu().double(), dim=1)  # on the CPU: MPS has no float64
    uniform = draws.uniform(count if scheme == "multinomial" else 1)
    if scheme == "systematic":
        uniform = (torch.arange(count, dtype=torch.float64, device="cpu") + uniform) / count
    total = weights.cumsum(1)
    found = torch.searchsorted(total / total[:, -1:], uniform, right=True).clamp(max=count - 1)
    return found.to(log_weights.device)


def chosen_ancestors(
    particles: Float[Tensor, "b p *shape"], index: Int[Tensor, "b p2"]
) -> Float[Tensor, "b p2 *shape"]:
    """Return the particles with these numbers, image by image."""
    index = index.reshape(*index.shape, *(1,) * (particles.ndim - 2))
    return particles.gather(1, index.expand(*index.shape[:2], *particles.shape[2:]))
