"""Where a model lives and how much memory it takes: devices, types, offloading, and the size of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any, Literal, TypeVar

import torch

from repaint.errors import InputError, OutOfMemory, PriorError, shown
from repaint.priors.base import Prior, compile_network, network_of

__all__ = ["BatchSize", "Placed", "check_batch_size", "explained", "in_batches"]

BatchSize = int | Literal["auto"] | None
T = TypeVar("T")
P = TypeVar("P", bound="Placed")


class Placed:
    """What moves the model of a pipeline, and saves memory where diffusers can."""

    prior: Prior

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.prior.device

    def to(self: P, device: torch.device | torch.dtype | str | None = None, dtype: torch.dtype | None = None) -> P:
        """Move the model to a device or to a floating type, in either place; returns this pipeline.

        Raises:
            InputError: a device that is unknown or not here.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if device is not None:
            try:
                torch.empty(0, device=device)
            except (RuntimeError, AssertionError, NotImplementedError) as error:
                raise InputError(
                    f"Device {str(device)!r}: PyTorch cannot use it here. Use 'cpu', or 'cuda', 'cuda:1', 'mps' where "
                    "there is one and PyTorch was built for it."
                ) from error
        self.prior.to(device, dtype)
        return self

    def enable_model_cpu_offload(self, *args: Any, **kwargs: Any) -> None:
        """Keep each part of the wrapped diffusers pipeline in the CPU's memory until it is used; see diffusers.

        Raises:
            InputError: a prior that wraps no diffusers pipeline.
        """
        pipe = getattr(self.prior, "pipe", None)
        if pipe is None:
            raise InputError(
                f"A {type(self.prior).__name__} wraps no diffusers pipeline that could offload its parts: "
                "that is for text-conditioned priors. Move it as a whole, with .to(device)."
            )
        pipe.enable_model_cpu_offload(*args, **kwargs)

    def compile(self: P, **options: Any) -> P:
        """Compile the denoiser at its next call, and for each new shape; returns this pipeline.

        Args:
            **options: of `torch.compile`; see `repaint.priors.base.compile_network`.
        Raises:
            PriorError: a prior without a network.
        """
        compile_network(network_of(self.prior), **options)
        return self

    def enable_vae_slicing(self) -> None:
        """Encode and decode one image of a batch at a time, which saves memory; see diffusers."""
        self._tell_vae("enable_slicing")

    def disable_vae_slicing(self) -> None:
        """Encode and decode a batch at once again."""
        self._tell_vae("disable_slicing")

    def enable_vae_tiling(self) -> None:
        """Encode and decode in overlapping tiles, which saves memory; results change a little; see diffusers."""
        self._tell_vae("enable_tiling")

    def disable_vae_tiling(self) -> None:
        """Encode and decode whole images again."""
        self._tell_vae("disable_tiling")

    def _tell_vae(self, name: str) -> None:
        vae = getattr(getattr(self.prior, "codec", None), "vae", None)
        try:
            getattr(vae, name)()
        except (AttributeError, NotImplementedError) as error:
            what = "has no autoencoder" if vae is None else f"has a {type(vae).__name__}, which cannot do that"
            raise InputError(f"{name} for a {type(self.prior).__name__}: it {what}. Leave it out.") from error


def check_batch_size(batch_size: BatchSize) -> None:
    """Refuse what is no size of a batch.

    Raises:
        InputError: neither a whole number from 1 nor "auto" nor None.
    """
    whole = isinstance(batch_size, Integral) and not isinstance(batch_size, bool) and batch_size >= 1
    if not (batch_size is None or whole or (isinstance(batch_size, str) and batch_size == "auto")):
        raise InputError(
            f"batch_size {shown(batch_size)}: it is a whole number from 1, 'auto', or None for all at once. Choose one."
        )


LESS = "a smaller Crop(size=...), torch_dtype=torch.bfloat16, or enable_model_cpu_offload()."


def in_batches(
    items: Sequence[T], batch_size: BatchSize, work: Callable[[Sequence[T]], None], *, cure: str | None = None
) -> None:
    """Do the work on batches of the items, in order.

    Args:
        items: what the work is done on.
        batch_size: None does all at once, an int so many at a time; "auto" begins with all, and where memory runs out
            does that batch again from its beginning with half as many, and goes on with so many.
        work: done on one batch; it leaves nothing behind where it fails.
        cure: what the error advises; None is a smaller batch, where there is one, and what else takes less.
    Raises:
        OutOfMemory: memory ran out and no smaller batch is allowed, or is possible.
    """
    size = int(batch_size) if isinstance(batch_size, Integral) else max(1, len(items))
    first = 0
    while first < len(items):
        batch = items[first : first + size]
        try:
            with explained():
                work(batch)
            first += len(batch)
            continue
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            said = (str(error) or type(error).__name__).splitlines()[0][:120]
        # Outside of except: the error holds the frames that it passed, and they the tensors that filled the memory.
        if batch_size != "auto" or len(batch) == 1:
            advice = ("Pass batch_size='auto' or less, " if len(batch) > 1 else "Use ") + LESS
            raise OutOfMemory(f"Out of memory with a batch of {len(batch)} ({said}). {cure or advice}")
        size = len(batch) // 2
        _free()


def _out_of_memory(error: BaseException) -> bool:
    """PyTorch's own class for accelerators, Python's, accelerate's list of what the others say, and Apple's words."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "MPS backend out of memory" in str(error):
        return True
    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))


def _free() -> None:
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


@contextmanager
def explained() -> Iterator[None]:
    """Say what to do where an operator has no half-precision form on this device, as some on a CPU.

    Raises:
        PriorError: such an operator.
    """
    try:
        yield
    except RuntimeError as error:
        if "not implemented for 'Half'" not in str(error):
            raise
        raise PriorError(
            f"float16 cannot be used on this device ({str(error).splitlines()[0]}): an operator lacks it. "
            "Load the prior with torch_dtype=torch.bfloat16 or torch.float32."
        ) from error
