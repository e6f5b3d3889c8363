"""Random numbers of foreign code, such as initial weights, without torch's global generator."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["PrivateRandomness"]

RANDOM = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "normal", "rand", "randn", "randint"}


class PrivateRandomness(TorchFunctionMode):
    """Let this thread draw random numbers, such as initial weights, without torch's global generator.

    They come from a generator of its own with a fixed seed. `torch.random.fork_rng` would also restore the global
    generator, but other threads could draw from it in the meantime.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM and kwargs.get("generator") is None:
            device = args[0].device if args and isinstance(args[0], torch.Tensor) else torch.empty(0).device
            device = torch.device(kwargs.get("device") or device)
            if device.type == "cpu":
                kwargs = {**kwargs, "generator": self._generator}
            elif "device" in kwargs:
                return func(*args, **{**kwargs, "generator": self._generator, "device": "cpu"}).to(device)
        return func(*args, **kwargs)
