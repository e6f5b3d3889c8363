"""A transition kernel: one rule for the whole step down, in place of corrector, solver, guidance and merge.

Most methods are combinations of parts. Kernels are for those that are not: that predict twice in a step, walk on levels
of their own, or carry a population. The sampler still handles seeds, state and kept pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.sampling.levels import Level
from repaint.sampling.model import Model
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry

__all__ = ["Kernel", "KernelDefaults", "KernelStep"]

Batch = Float[Tensor, "b *shape"]


@dataclass(frozen=True)
class KernelStep:
    """The input of a kernel.

    Attributes:
        x: (B, ...) the sample at `src`.
        x0: (B, ...) the known sample; 0 where unknown.
        known: (B, ...) True where x0 is kept at `src`.
        src, dst: the levels before and after the step.
        index, steps: number of `src`, from 1 for the least noisy level, and of all noisy levels.
        model: predicts, and counts the calls.
        draws: random numbers of this step: of the shape of x or, for a population, of the shape of all particles, which
            are consecutive for each image.
        carry: what the kernel returned at the previous step; empty at the start. It survives renoises.
    """

    x: Batch
    x0: Batch
    known: Bool[Tensor, "b *shape"]
    src: Level
    dst: Level
    index: int
    steps: int
    model: Model
    draws: Draws
    carry: Carry

    def merged(self, known_part: Batch, unknown_part: Batch) -> Batch:
        """Return the first where the sample is known, and the second elsewhere."""
        return torch.where(self.known, known_part, unknown_part)


@runtime_checkable
class Kernel(Protocol):
    """A rule for the whole step down.

    Attributes:
        particles: samples that the step carries for each image; 1 without a population.
        carries: names in the carry that a step needs besides x. A kernel with such names starts only from pure noise,
            and continues only its own runs. "particles" is (B, particles, ...); a kernel with them takes only walks
            without jumps, because a renoise does not move them.
    """

    @property
    def particles(self) -> int: ...

    @property
    def carries(self) -> tuple[str, ...]: ...

    def calls(self, src: Level, dst: Level) -> int:
        """Return the model calls of a step, per image: for all of its particles."""
        ...

    def gradients(self, src: Level, dst: Level) -> int:
        """Return the backward passes through the model of a step, per image."""
        ...

    def step(self, step: KernelStep) -> tuple[Batch, Carry]:
        """Compute x at `dst`.

        Returns:
            (x, carry). Known entries of x may have any value at the clean level, where the sampler restores them.
            Tensors in the carry are (B, ...) or numbers, and are not changed afterwards.
        """
        ...


class KernelDefaults:
    """Defaults for a kernel that calls the model once for each particle, without gradients; to be inherited."""

    particles: int = 1
    carries: ClassVar[tuple[str, ...]] = ()

    # The protocol's arguments; only kernels whose cost depends on the levels use them.
    def calls(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return one call for each particle."""
        return self.particles

    def gradients(self, src: Level, dst: Level) -> int:  # noqa: ARG002
        """Return 0."""
        return 0
