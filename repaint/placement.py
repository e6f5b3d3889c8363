"""Devices, types, offloading, compiling, and the size of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

from repaint.checks import is_integer, shown
from repaint.errors import InputError, OutOfMemory, PriorError, RepaintError
from repaint.priors.foreign_errors import is_out_of_memory, one_line
from repaint.priors.networks import check_floating, compile_network, network_of
from repaint.sampling.prior import Prior

__all__ = ["BatchSize", "Halving", "Placed", "check_batch_size", "check_device", "in_batches"]

BatchSize = int | Literal["auto"] | None
T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound="Placed")


def check_device(device: torch.device | str) -> None:
    """Check that PyTorch can use a device on this computer.

    Raises:
        InputError: it cannot.
    """
    try:
        torch.empty(1, device=device).item()  # a meta tensor has no value
    # In this order: an unknown or missing device, one missing in this build of PyTorch, one without kernels, no device.
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        there = ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
        raise InputError(
            f"device={str(device)!r} must be a device that PyTorch can use on this computer ({', '.join(there)})."
        ) from error


class Placed:
    """The methods of a pipeline that move its model, compile it, and save memory with options of diffusers."""

    prior: Prior

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.prior.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type that the model computes in; of x, for a prior without a network."""
        weights = () if self.prior.network is None else self.prior.network.parameters()
        return next((weight.dtype for weight in weights if weight.is_floating_point()), self.prior.dtype)

    def to(self: P, device: torch.device | torch.dtype | str | None = None, dtype: torch.dtype | None = None) -> P:
        """Move the model to a device, a floating type, or both. Returns this pipeline.

        Args:
            device: such as "cpu" or "cuda:1"; a floating type is also accepted here.
            dtype: such as torch.bfloat16.
        Raises:
            InputError: a device that PyTorch cannot use on this computer, or a dtype that is not a floating type.
        """
        if isinstance(device, torch.dtype):
            device, dtype = None, device
        if device is not None:
            check_device(device)
        if dtype is not None:
            check_floating("dtype", dtype)
            place = self.device if device is None else torch.device(device)
            if place.type == "mps" and dtype == torch.float64:
                raise InputError("dtype=torch.float64 must be another type on mps, which lacks it: use torch.float32.")
        self.prior.to(device, dtype)
        return self

    def enable_model_cpu_offload(self, *args: Any, **kwargs: Any) -> None:
        """Keep each part of the wrapped diffusers pipeline in the CPU's memory until it is used; see diffusers.

        Raises:
            InputError: the prior does not wrap a diffusers pipeline, or diffusers cannot offload it, as on a computer
                without an accelerator.
        """
        if self.prior.pipeline is None:
            raise InputError(
                f"A {type(self.prior).__name__} cannot be offloaded, because it does not wrap a diffusers pipeline. "
                "Use .to(device)."
            )
        try:
            self.prior.pipeline.enable_model_cpu_offload(*args, **kwargs)
        except (RuntimeError, ImportError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise InputError(f"This pipeline cannot be offloaded ({one_line(error)}). Use .to(device).") from error

    def compile(self: P, **options: Any) -> P:
        """Compile the denoiser at its next call, and for each new shape. Returns this pipeline.

        Args:
            **options: passed to `torch.compile`; see `repaint.priors.networks.compile_network`.
        Raises:
            PriorError: the prior has no network.
        """
        compile_network(network_of(self.prior), **options)
        return self

    def enable_vae_slicing(self) -> None:
        """Encode and decode one image of a batch at a time, which saves memory; see diffusers.

        Raises:
            InputError: the prior has no autoencoder, or one without this option.
        """
        self._set_autoencoder("enable_slicing")

    def disable_vae_slicing(self) -> None:
        """Encode and decode whole batches again.

        Raises:
            InputError: see `enable_vae_slicing`.
        """
        self._set_autoencoder("disable_slicing")

    def enable_vae_tiling(self) -> None:
        """Encode and decode in overlapping tiles, which saves memory and changes results slightly; see diffusers.

        Raises:
            InputError: the prior has no autoencoder, or one without this option.
        """
        self._set_autoencoder("enable_tiling")

    def disable_vae_tiling(self) -> None:
        """Encode and decode whole images again.

        Raises:
            InputError: see `enable_vae_tiling`.
        """
        self._set_autoencoder("disable_tiling")

    def _set_autoencoder(self, option: str) -> None:
        autoencoder, prior = self.prior.autoencoder, type(self.prior).__name__
        if autoencoder is None:
            raise InputError(f"{option} needs an autoencoder, but a {prior} has none.")
        try:
            getattr(autoencoder, option)()
        except (AttributeError, NotImplementedError) as error:
            kind = type(autoencoder).__name__
            raise InputError(f"{option} is not supported by the {kind} of this {prior}.") from error


def check_batch_size(batch_size: BatchSize) -> None:
    """Check a batch size.

    Raises:
        InputError: anything but a positive integer, "auto" or None.
    """
    named = batch_size is None or (isinstance(batch_size, str) and batch_size == "auto")
    if not named and not (is_integer(batch_size) and batch_size >= 1):  # type: ignore[operator]
        raise InputError(f"batch_size={shown(batch_size)} must be an integer of at least 1, 'auto', or None.")


LESS_MEMORY = "Use a smaller Crop(size=...), torch_dtype=torch.bfloat16, or enable_model_cpu_offload()."


@dataclass
class Halving:
    """Compute items in batches, and halve a batch that fails.

    Attributes:
        most: maximum size of a batch; None: all items. It stays lowered after memory ran out.
        on: classes of errors that halve a batch. `RepaintError` separates a bad item from its batch; `OutOfMemory` only
            reduces memory; () never halves.
        say: called with a message when memory runs out.
    """

    most: int | None = None
    on: type[RepaintError] | tuple[()] = RepaintError
    say: Callable[[str], None] = lambda _text: None

    def results(
        self, items: Sequence[T], compute: Callable[[Sequence[T]], R]
    ) -> Iterator[tuple[Sequence[T], R | RepaintError]]:
        """Compute items in pieces, in order.

        Args:
            items: to compute.
            compute: called with one piece. It must have no effect if it fails, because parts of the piece are computed
                again.
        Yields:
            (piece, result), or (piece that cannot be halved, its error).
        """
        waiting = _pieces(items, self.most)
        while waiting:
            piece = waiting.pop(0)
            try:
                done: R | RepaintError = _explained(compute, piece)
            except RepaintError as error:
                # Its frames would keep the tensors of the failed attempt in memory.
                done = error.with_traceback(None)
            if not isinstance(done, RepaintError) or len(piece) == 1 or not isinstance(done, self.on):
                yield piece, done
                continue
            half = -(-len(piece) // 2)
            waiting = _pieces(piece, half) + waiting
            if isinstance(done, OutOfMemory):
                self.most = half
                waiting = [smaller for larger in waiting for smaller in _pieces(larger, half)]
                _free()
                self.say(f"Not enough memory for {len(piece)} at once: continuing with {half}.")


def in_batches(
    items: Sequence[T], batch_size: BatchSize, work: Callable[[Sequence[T]], None], *, cure: str | None = None
) -> None:
    """Do work on items in batches, in order.

    Args:
        items: to work on.
        batch_size: maximum size of a batch; None: all items; "auto": all items, halved when memory runs out.
        work: called with one batch. It must have no effect if it fails.
        cure: the advice in an `OutOfMemory`; None: a smaller batch, if possible, and other savings.
    Raises:
        OutOfMemory: memory ran out and no smaller batch is allowed or possible.
    """
    auto = isinstance(batch_size, str)
    halving = Halving(None if auto or batch_size is None else int(batch_size), OutOfMemory if auto else ())
    for batch, done in halving.results(items, work):
        if isinstance(done, OutOfMemory):
            smaller = "Pass batch_size='auto' or a smaller one. " if len(batch) > 1 else ""
            raise OutOfMemory(f"{done} {cure or smaller + LESS_MEMORY}")
        if isinstance(done, RepaintError):
            raise done


def _pieces(items: Sequence[T], most: int | None) -> list[Sequence[T]]:
    size = most or max(1, len(items))
    return [items[i : i + size] for i in range(0, len(items), size)]


def _explained(compute: Callable[[Sequence[T]], R], piece: Sequence[T]) -> R:
    """Compute a piece, and convert memory and precision errors of PyTorch to those of this library.

    Raises:
        OutOfMemory: memory ran out.
        PriorError: the device lacks an operator in float16.
    """
    try:
        return compute(piece)
    except RepaintError:
        raise
    except (RuntimeError, MemoryError) as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        if is_out_of_memory(error):
            raised = OutOfMemory(f"Out of memory with a batch of {len(piece)} ({text[:120]}).")
        elif "not implemented for 'Half'" in str(error):
            raise PriorError(
                f"This device cannot compute in float16 ({text}). Load the prior with torch_dtype=torch.bfloat16 or "
                "torch.float32."
            ) from error
        else:
            raise
    # Raised outside `except`, because the frames of a cause would keep the tensors of the attempt in memory.
    raise raised


def _free() -> None:
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
