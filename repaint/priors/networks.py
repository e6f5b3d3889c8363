"""The one small protocol between models and the sampler."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from repaint.checks import shown
from repaint.errors import PriorError
from repaint.sampling.prior import Prior

__all__ = ["compile_network", "floating_type", "network_of", "side_of"]


def side_of(config: Mapping[str, Any]) -> int | None:
    """The longer side of the samples that a denoiser was trained on, in its own cells; None where it does not say.

    Raises:
        PriorError: a config that says what is no size.
    """
    size = config.get("sample_size")
    if size is None:
        return None
    sides = size if isinstance(size, (list, tuple)) else [size]
    if not sides or not all(isinstance(side, int) and 1 <= side < 2**31 for side in sides):
        raise PriorError(f"A network's sample_size is {shown(size)}: it is a side, or two, from 1. Correct its config.")
    return int(max(sides))


def network_of(prior: Prior) -> nn.Module:
    """The denoiser of a prior: its `model`, or its `unet`.

    Raises:
        PriorError: a prior without a network, such as a Gaussian mixture.
    """
    for name in ("model", "unet"):
        network = getattr(prior, name, None)
        if isinstance(network, nn.Module):
            return network
    raise PriorError(
        f"A {type(prior).__name__} has no network, neither as `model` nor as `unet`: there is nothing to compile or to "
        "time. Use a prior around one."
    )


def floating_type(network: nn.Module) -> torch.dtype:
    """The type that a network takes, as its own `dtype` says, which looks at all of its layers at each question."""
    stored = next(network.parameters()).dtype
    # Weights stored in eight bits are cast layer by layer: only the network knows to what.
    return stored if stored.itemsize > 1 else network.dtype  # type: ignore[return-value]


def compile_network(network: nn.Module, **options: Any) -> None:
    """Compile a network in place for the shapes that it meets; it runs as it was, with one warning, where that fails.

    On CUDA its kernels are recorded as CUDA graphs, for at small batches the host is slower than the GPU. Whatever goes
    wrong on the way is only then taken for the compiler's fault if the network itself runs.

    Args:
        network: its attributes, weights and hooks stay.
        **options: of `torch.compile`, in place of dynamic=False and, on CUDA, mode="reduce-overhead".
    """
    parameter = next(network.parameters(), None)
    if parameter is not None and parameter.is_cuda and "options" not in options:
        options = {"mode": "reduce-overhead", **options}
    plain: Any = network._call_impl
    compiled: Any = None

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal compiled
        try:
            if compiled is None:
                compiled = torch.compile(plain, **{"dynamic": False, **options})
            if "mode" in options:
                # What the call before gave may be overwritten.
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return compiled(*args, **kwargs)
        except Exception as error:  # compilers raise what they like
            output = plain(*args, **kwargs)
            network._compiled_call_impl = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"{type(network).__name__} runs uncompiled, as it could not be: {reason}", stacklevel=2)
            return output

    network._compiled_call_impl = call
