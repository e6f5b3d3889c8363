"""Batches of work: which of them fall to a process, and what becomes of one that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from repaint.errors import InputError, OutOfMemory, RepaintError

__all__ = ["Halving", "share_of"]

T = TypeVar("T")
R = TypeVar("R")


def share_of(batches: Sequence[T], part: str | None, process: int, processes: int) -> list[T]:
    """The batches of one process: every n-th, of every m-th where a job array splits them first.

    Args:
        batches: all of them, in an order that every process agrees on; what is done already must still be among them.
        part: "i/n", with i from 1 to n; None is all.
        process: number of this process, from 0.
        processes: how many there are in this job.
    Raises:
        InputError: another text.
    """
    first, slash, count = (part or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard {part}: it is i/n with i from 1 to n, such as 2/8. Correct it.")
    return list(batches)[int(first) - 1 :: int(count)][process::processes]


@dataclass
class Halving:
    """Computes batches; one that fails in halves, so that a bad entry spoils no other's result.

    Attributes:
        say: is told when memory is too small for a batch.
        most: how many entries are computed at once; None is as many as there are. Lowered for good when the memory was
            too small.
    """

    say: Callable[[str], None] = lambda _text: None
    most: int | None = None

    def results(
        self, batch: Sequence[T], compute: Callable[[Sequence[T]], R]
    ) -> Iterator[tuple[Sequence[T], R | Exception]]:
        """The pieces that a batch was computed in, each with its result, or a single entry with what it failed of."""
        waiting = _pieces(batch, self.most)
        while waiting:
            some = waiting.pop(0)
            try:
                done: R | Exception = compute(some)
            except RepaintError as error:
                done = error.with_traceback(None)  # whose frames would hold the tensors that filled the memory
            if not isinstance(done, Exception) or len(some) == 1:
                yield some, done
                continue
            half = -(-len(some) // 2)
            waiting = _pieces(some, half) + waiting
            if isinstance(done, OutOfMemory):
                self.most = half
                waiting = [piece for entries in waiting for piece in _pieces(entries, half)]
                torch.cuda.empty_cache()
                self.say(f"Memory is too small for {len(some)} results at once: going on with {half}.")


def _pieces(entries: Sequence[T], most: int | None) -> list[Sequence[T]]:
    size = most or len(entries)
    return [entries[i : i + size] for i in range(0, len(entries), size)]
