"""CUDA without a GPU: fake tensors that know their device, type and shape, and hold no values.

Tensors on two devices in one operation raise an error. Reads of a value by the host, copies to it, and the floating
types of the heavy operations are recorded.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

__all__ = ["CUDA", "CudaGenerator", "Trace", "built", "fake_cuda"]

CUDA = torch.device("cuda", 0)
READS = {"aten::_local_scalar_dense", "aten::item", "aten::is_nonzero", "aten::equal"}


MODE = FakeTensorMode(allow_non_fake_inputs=True)  # one for all blocks, so that tensors of one can be used in the next


class Trace(TorchDispatchMode):
    """Record what runs on the device.

    Attributes:
        reads: values that the host read, each of which waits for the device.
        copies: tensors that were copied to the host.
        uploads: tensors that were copied to the device.
        waits: uploads for which the host waits, because they do not come from page-locked memory.
        flops: floating-point operations of matrix products and convolutions, by type.
        peak: bytes of the tensors that were alive at once, those from before the trace excepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.copies = self.uploads = self.waits = 0
        self.flops: Counter[torch.dtype] = Counter()
        self.ops: Counter[Any] = Counter()
        self.peak = self._live = 0
        self._storages: dict[int, list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in READS:
            tensor = args[0]
            if tensor.device.type == "cuda":
                self.reads += 1
                # What holds in a run without faults: all values are finite, no mask is wrong, and states fit.
                if name == "aten::equal":
                    return True
                return not getattr(tensor, "is_any", False) if tensor.dtype == torch.bool else 0.0
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        if name == "aten::any":
            out.is_any = True
        if kwargs.get("pin_memory"):
            out.in_locked_memory = True
        if isinstance(out, Tensor) and name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if name == "aten::copy_" else args[0]
            places = source.device.type, out.device.type
            self.copies += places == ("cuda", "cpu")
            self.uploads += places == ("cpu", "cuda")
            self.waits += places == ("cpu", "cuda") and not getattr(source, "in_locked_memory", False)
        if func._overloadpacket in flop_registry:
            count = flop_registry[func._overloadpacket](*args, **kwargs, out_val=out)
            self.flops[tree_leaves(out)[0].dtype] += count
            self.ops[name, tree_leaves(out)[0].dtype] += count
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.device.type == "cuda":
                self._watch(tensor)
        return out

    def _watch(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        entry = self._storages.setdefault(key, [0, size])
        if entry[0] == 0:
            self._live += size
            self.peak = max(self.peak, self._live)
        entry[0] += 1
        weakref.finalize(tensor, self._forget, key)

    def _forget(self, key: int) -> None:
        entry = self._storages.get(key)
        if entry is None:
            return
        entry[0] -= 1
        if entry[0] == 0:
            self._live -= entry[1]
            del self._storages[key]


@contextmanager
def fake_cuda() -> Iterator[None]:
    """Make tensors fake inside the block. Build models in it under `torch.device("cuda")`, and trace their runs."""
    with MODE, mock.patch.object(torch, "Generator", Generator), mock.patch.object(Tensor, "numpy", in_numpy):
        yield


class Generator(torch.Generator):
    """A generator whose state cannot be set: a fake tensor has no values to set it to. All else is torch's own."""

    def set_state(self, state: Tensor) -> Generator:
        own = self.get_state()
        assert (state.device, state.dtype, state.shape) == (own.device, own.dtype, own.shape)
        return self


class CudaGenerator(Generator):
    """A generator that says it is on the GPU. A real one needs a driver: torch.Generator("cuda") fails without."""

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0)


NUMPY = Tensor.numpy


def in_numpy(self: Tensor, *args: Any, **options: Any) -> Any:
    """Return zeros for a fake tensor on the CPU; True for a mask, so that all of an image is a hole."""
    if not isinstance(self, FakeTensor):
        return NUMPY(self, *args, **options)
    assert self.device.type == "cpu"
    return np.full(self.shape, self.dtype == torch.bool, str(self.dtype).removeprefix("torch."))


def built(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """Return a model on the fake device, with parameters of a type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # fake parameters cannot be converted
    try:
        with fake_cuda(), torch.device("cuda"):
            return make().eval()
    finally:
        torch.set_default_dtype(before)
