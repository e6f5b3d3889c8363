"""Number of CPU threads that PyTorch computes with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache

from repaint.checks import shown
from repaint.errors import InputError

__all__ = ["choose_threads", "parse_threads", "set_threads", "trial_seconds"]

# One thread must be this much faster to replace the default, so that equal timings never flip the choice.
MARGIN = 0.9
CALLS = 2
LAYERS = 8  # small layers, like those of a denoising network, pay for every synchronisation of threads


def parse_threads(text: str) -> int | None:
    """Parse the value of `--threads`: a count, or None for "auto".

    >>> parse_threads("4"), parse_threads("auto")
    (4, None)

    Raises:
        InputError: neither "auto" nor a whole number of at least 1.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise InputError(f"threads={shown(text)} must be a whole number of at least 1, or auto.")
    return int(text)


def set_threads(text: str) -> int:
    """Set the number of PyTorch's CPU threads and return it.

    While another program uses the cores, many threads can be 20 to 40 times slower than one. "auto" therefore times a
    small workload with one thread and with PyTorch's default, once per process, and takes the faster. A value of the
    environment variable OMP_NUM_THREADS replaces that trial. Results can differ in the last bit between thread counts.

    Args:
        text: "auto", or a whole number of at least 1.
    Raises:
        InputError: another text.
    """
    import torch

    threads = parse_threads(text)
    if threads is None and not os.environ.get("OMP_NUM_THREADS"):
        threads = _measured(torch.get_num_threads())
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def choose_threads(default: int, seconds: Callable[[int], float]) -> int:
    """Choose between one thread and the default number.

    >>> choose_threads(4, {1: 0.02, 4: 0.5}.__getitem__)
    1

    Args:
        default: PyTorch's own number of threads.
        seconds: times the workload with a number of threads.
    """
    return default if default == 1 or seconds(1) >= MARGIN * seconds(default) else 1


@cache
def _measured(default: int) -> int:
    return choose_threads(default, trial_seconds)


def trial_seconds(threads: int) -> float:
    """Time two calls of a fixed workload, a stack of convolutions and matrix products, in seconds.

    PyTorch's number of threads is restored afterwards.
    """
    import torch
    import torch.nn.functional as F

    before = torch.get_num_threads()
    image, kernel, matrix = torch.ones(1, 32, 32, 32), torch.ones(32, 32, 3, 3), torch.ones(256, 256)
    torch.set_num_threads(threads)
    try:
        F.conv2d(image, kernel, padding=1)  # the first call starts the threads
        start = time.perf_counter()
        for _ in range(CALLS * LAYERS):
            F.conv2d(image, kernel, padding=1)
            matrix @ matrix
        return time.perf_counter() - start
    finally:
        torch.set_num_threads(before)
