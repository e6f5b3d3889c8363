"""A short walk for the fake device, what may happen there, and planted faults that the checks must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from helpers.fake_cuda import CUDA, Trace
from repaint.errors import PriorError
from repaint.sampling.schedule import JumpSchedule

__all__ = ["CALLS", "DRAWS", "FAULTS", "HALVES", "WALK", "check_draws", "check_types", "found"]

WALK = JumpSchedule.from_levels([2, 1, 2, 1, 0])
CALLS = 3
DRAWS = 4  # one for the start and one for each move but the last
HALVES = [torch.float16, torch.bfloat16]


def check_types(trace: Trace, dtype: torch.dtype) -> None:
    """Check that all heavy work is in one type. Without a GPU, attention is computed in float32."""
    heavy = {kind for name, kind in trace.ops if name != "aten::bmm"}
    assert heavy == {dtype}, "part of the network computes in another type"


def check_draws(trace: Trace, draws: int = DRAWS) -> None:
    """Check that noise is copied to the device without a wait. All else that is copied comes from ordinary memory."""
    assert trace.uploads - trace.waits == draws, "the host waits for copies of noise"


def to_the_host(network: Any) -> None:
    forward = network.forward

    def copied(*args: Any, **kwargs: Any) -> Any:
        return forward(*(_there_and_back(x) for x in args), **{name: _there_and_back(x) for name, x in kwargs.items()})

    network.forward = copied


def _there_and_back(x: Any) -> Any:
    return x.cpu().to(CUDA) if isinstance(x, torch.Tensor) else x


def with_a_constant(network: Any) -> None:
    forward = network.forward

    def promoted(*args: Any, **kwargs: Any) -> Any:
        return forward(*map(_promoted, args), **{name: _promoted(x) for name, x in kwargs.items()})

    network.forward = promoted


def _promoted(x: Any) -> Any:
    floats = isinstance(x, torch.Tensor) and x.is_floating_point()
    return x + torch.zeros_like(x, dtype=torch.float32) if floats else x


def with_a_wide_layer(network: Any) -> None:
    layer = next(part for part in network.modules() if isinstance(part, torch.nn.Linear))
    layer.forward = lambda x: F.linear(x.float(), layer.weight.float(), layer.bias.float()).to(x.dtype)


def with_a_look(network: Any) -> None:
    forward = network.forward

    def look(*args: Any, **kwargs: Any) -> Any:
        assert float(next(x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)).sum()) < 1e9
        return forward(*args, **kwargs)

    network.forward = look


# What is done to a network, and a pattern of what finds it.
FAULTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "a copy to the host": (to_the_host, "a tensor is copied to the host"),
    "a float32 constant": (with_a_constant, "(?i)type"),  # torch's own error
    "a layer in float32": (with_a_wide_layer, "part of the network computes in another type"),
    "a read value": (with_a_look, "the host reads"),
}


def found(what: str) -> Any:
    """Return a context that fails unless a fault is found."""
    return pytest.raises((AssertionError, RuntimeError, PriorError), match=what)
