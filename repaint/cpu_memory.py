"""Keep memory that PyTorch frees, instead of returning it to the system."""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3)
LARGE = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Tell glibc to reuse large freed blocks in this process.

    By default glibc maps blocks above 32 MiB anew at each allocation, and the system clears each page. A layer with 32
    channels at 512 x 512 pixels in float32 is such a block: a fifth of the CPU time of a call can go into that. The
    commands of `repaint` call this; a program of your own may, once, before it loads a prior.

    Returns:
        Whether it took effect; False on systems without glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(name, value) == 1 for name, value in ((MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, LARGE)))
