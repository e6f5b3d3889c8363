"""The share of one process in work that several processes and jobs divide between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from repaint.checks import shown
from repaint.errors import InputError

__all__ = ["share_of"]

T = TypeVar("T")


def share_of(batches: Sequence[T], part: str | None, process: int, processes: int) -> list[T]:
    """Select the batches of one process, first by job-array part and then by process.

    Args:
        batches: all of them, in the same order in every process and including those that are already done.
        part: "i/n" with i from 1 to n; None selects all.
        process: index of this process, from 0.
        processes: number of processes of this job.
    Raises:
        InputError: `part` has another form.

    >>> share_of(list(range(12)), "2/3", 0, 2)
    [1, 7]
    """
    first, slash, count = (part or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard={shown(part)} must be i/n with i from 1 to n (for example 2/8).")
    return list(batches)[int(first) - 1 :: int(count)][process::processes]
