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

    Args:
        per_row: draw `torch.randn` for one row, and repeat it along the first axis, so that what an image of a batch
            gets does not depend on the others.
    """

    def __init__(self, per_row: bool = False) -> None:
        super().__init__()
        self._generator, self._per_row = torch.Generator(), per_row

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sized = func is torch.randn and len(args) == 1 and isinstance(args[0], (tuple, list))
        if self._per_row and sized and len(args[0]) > 1:
            rows, *size = args[0]
            return self._called(func, ((1, *size),), kwargs or {}).repeat(rows, *[1] * len(size))
        return self._called(func, args, kwargs or {})

    def _called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function of torch. If it draws random numbers, they are those of this generator."""
        if getattr(func, "__name__", "") in RANDOM and kwargs.get("generator") is None:
            device = args[0].device if args and isinstance(args[0], torch.Tensor) else torch.empty(0).device
            device = torch.device(kwargs.get("device") or device)
            if device.type == "cpu":
                kwargs = {**kwargs, "generator": self._generator}
            elif "device" in kwargs:
                return func(*args, **{**kwargs, "generator": self._generator, "device": "cpu"}).to(device)
        return func(*args, **kwargs)
