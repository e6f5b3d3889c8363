"""The floating type in which a network runs fastest on a device."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

__all__ = ["fastest_dtype"]

BF16_INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of x86 and Arm processors in /proc/cpuinfo


def fastest_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return float16 for CUDA, bfloat16 for CPUs with instructions for it, and float32 otherwise.

    Only the network runs in this type; x and all noise arithmetic stay in float32. A CPU without such instructions
    emulates bfloat16 and gains nothing.

    Args:
        device: where the network will run.

    >>> fastest_dtype("cuda")
    torch.float16
    """
    kind = str(device).split(":")[0]  # an unknown device is reported where it is used
    if kind == "cuda":
        return torch.float16
    return torch.bfloat16 if kind == "cpu" and _cpu_has_bf16() else torch.float32


@cache
def _cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Test whether the processor has bfloat16 instructions; False if this cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(BF16_INSTRUCTIONS & set(flags.split()))
