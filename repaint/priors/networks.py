"""Helpers for the networks inside priors: their size, their floating type, and compiling them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from repaint.checks import is_integer, shown
from repaint.errors import InputError, PriorError, warn
from repaint.sampling.prior import Prior

__all__ = ["check_floating", "compile_network", "floating_type", "has_ip_adapter", "kind_of", "network_of", "side_of"]


def check_floating(name: str, dtype: object, hint: str = "") -> None:
    """Check that a network can compute in a type. Types of eight bits only store weights.

    Args:
        name: the argument, as the caller spells it.
        dtype: its value.
        hint: further sentences of the message, after a space.
    Raises:
        InputError: not a floating type of at least 16 bits.
    """
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1):
        raise InputError(
            f"{name}={shown(dtype)} must be a floating type of PyTorch of at least 16 bits, such as torch.float16."
            f"{hint}"
        )


def side_of(config: Mapping[str, Any]) -> int | None:
    """Return the longer side of a denoiser's training samples, in its own cells, or None if its config has none.

    >>> side_of({"sample_size": [32, 64]})
    64

    Raises:
        PriorError: the config's sample_size is not one or more positive integers.
    """
    size = config.get("sample_size")
    if size is None:
        return None
    sides = size if isinstance(size, (list, tuple)) else [size]
    if not sides or not all(is_integer(side) and 1 <= side < 2**31 for side in sides):
        raise PriorError(
            f"sample_size={shown(size)} must be one or two integers of at least 1 (correct the network's config)."
        )
    return int(max(sides))


def has_ip_adapter(network: nn.Module) -> bool:
    """Return whether an IP-Adapter is loaded into a network, which then needs its image.

    diffusers sets an attribute of the config and leaves the entry as it was; in Stable Diffusion 3, it sets a layer.
    """
    loaded = getattr(network.config, "encoder_hid_dim_type", None) == "ip_image_proj"
    return loaded or isinstance(getattr(network, "image_proj", None), nn.Module)


def kind_of(part: Any) -> str:
    """Return the name of a part's class; of a module that `torch.compile` returned, that of the original.

    >>> kind_of(nn.Linear(1, 1))
    'Linear'
    """
    return type(getattr(part, "_orig_mod", part)).__name__


def network_of(prior: Prior) -> nn.Module:
    """Return the denoiser of a prior.

    Raises:
        PriorError: a prior without a network, such as a Gaussian mixture.
    """
    if prior.network is None:
        raise PriorError(
            f"A {type(prior).__name__} has no network to compile or time. Use a prior around a network, or set its "
            "`network` attribute."
        )
    return prior.network


def floating_type(network: nn.Module) -> torch.dtype:
    """Return the floating type that a network takes.

    The network's own `dtype` attribute scans all layers at each access, so only the first weight is read.
    """
    stored = next(network.parameters()).dtype
    # Weights stored in eight bits are cast layer by layer, to the type that `network.dtype` gives.
    return stored if stored.itemsize > 1 else network.dtype  # type: ignore[return-value]


def compile_network(network: nn.Module, **options: Any) -> None:
    """Compile a network in place, for each shape of its input. If compiling fails, warn once and run uncompiled.

    On CUDA its kernels are recorded as CUDA graphs, because at small batches launching them takes longer than running
    them. An error is attributed to the compiler only if the uncompiled network then runs without one.

    Args:
        network: keeps its attributes, weights and hooks.
        **options: passed to `torch.compile`; the defaults are dynamic=False and, on CUDA, mode="reduce-overhead".
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
                # Allows the output of the previous call to be overwritten.
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            return compiled(*args, **kwargs)
        except Exception as error:  # compilers raise errors of any class
            output = plain(*args, **kwargs)
            network._compiled_call_impl = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warn(f"{type(network).__name__} runs uncompiled because compiling failed: {reason}")
            return output

    network._compiled_call_impl = call
