"""Count the operators of a run, and time its networks."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Clock", "Counted", "Counter", "count"]

RANDOM = {"randn", "randn_like", "normal", "normal_", "normal_functional"}
READS = {"_local_scalar_dense", "equal", "nonzero"}
COPIES = {"_to_copy", "copy_"}


@dataclass(frozen=True)
class Counted:
    """Counts of one run.

    Attributes:
        syncs: values read on the host, and blocking copies between devices.
        noise: random numbers drawn.
        peak: the most bytes of tensors alive at once.
        outside: the same, without tensors made inside networks.
    """

    syncs: int
    noise: int
    peak: int
    outside: int


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types there
    """Counts operators, random numbers and live tensors, inside networks and outside.

    Args:
        networks: tensors made inside them do not count as outside.
    """

    def __init__(self, networks: Sequence[nn.Module] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch has no types there
        self.networks = networks
        self.syncs = self.noise = self.peak = self.outside = 0
        self._alive = {False: 0, True: 0}  # bytes, by whether a network made them
        self._holders: dict[int, int] = {}  # storage -> tensors over it
        self._depth = 0

    def __enter__(self) -> Counter:
        self._hooks = [
            hook
            for network in self.networks
            for hook in (
                network.register_forward_pre_hook(lambda *_: self._enter(1)),
                network.register_forward_hook(lambda *_: self._enter(-1), always_call=True),
            )
        ]
        super().__enter__()  # type: ignore[no-untyped-call] # torch has no types there
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call] # torch has no types there
        for hook in self._hooks:
            hook.remove()

    def _enter(self, step: int) -> None:
        self._depth += step

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        before = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        out = func(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        if name in READS:
            self.syncs += 1
        if name in COPIES and len({leaf.device for leaf in (*before, *made)}) > 1:
            waits = not (kwargs or {}).get("non_blocking", name == "copy_" and len(args) > 2 and args[2])
            self.syncs += waits
        if name in RANDOM:
            self.noise += sum(leaf.numel() for leaf in made)
        for leaf in made:
            self._hold(leaf, {tensor.untyped_storage()._cdata for tensor in before})
        return out

    def _hold(self, tensor: Tensor, known: set[int]) -> None:
        """Count the memory of a tensor until the last tensor made here that shares it is freed."""
        storage = tensor.untyped_storage()
        key, size, inside = storage._cdata, storage.nbytes(), self._depth > 0
        if key not in self._holders:
            if key in known:
                return  # a view of a tensor of the caller, such as a weight
            self._holders[key] = 0
            self._alive[inside] += size
            self.peak = max(self.peak, sum(self._alive.values()))
            self.outside = max(self.outside, self._alive[False])
        self._holders[key] += 1
        weakref.finalize(tensor, self._release, key, size, inside)

    def _release(self, key: int, size: int, inside: bool) -> None:
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._alive[inside] -= size


class Clock:
    """Times a run and its networks; on CUDA by events in the stream."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spans: list[tuple[Any, Any]] = []
        self._depth = 0

    def now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch has no types there
        event.record()
        return event

    def between(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end) / 1000 if self._cuda else end - start)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a call so that it is timed, except inside another timed call."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            start, self._depth = self.now(), self._depth + 1
            try:
                return call(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self._spans.append((start, self.now()))

        return timed

    @contextmanager
    def on(self, networks: Sequence[nn.Module]) -> Iterator[None]:
        """Time the calls of networks inside the block. Hooks would be compiled with them, so calls are wrapped."""
        before = [network._compiled_call_impl for network in networks]
        for network, compiled in zip(networks, before, strict=True):
            network._compiled_call_impl = self.around(compiled or network._call_impl)
        try:
            yield
        finally:
            for network, compiled in zip(networks, before, strict=True):
                network._compiled_call_impl = compiled

    def measure(self, run: Callable[[], object]) -> tuple[float, float]:
        """Measure (total seconds, seconds in networks) of a run."""
        if self._cuda:
            torch.cuda.synchronize()
        start = self.now()
        run()
        end = self.now()
        if self._cuda:
            torch.cuda.synchronize()
        inside = sum(self.between(*span) for span in self._spans)
        return self.between(start, end), inside


def count(run: Callable[[], object], networks: Sequence[nn.Module] = ()) -> Counted:
    """Run under a `Counter`, and return its counts."""
    with Counter(networks) as counter:
        run()
    return Counted(counter.syncs, counter.noise, counter.peak, counter.outside)
