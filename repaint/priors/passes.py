"""The prediction with the prompt alone, taken from a network's passes in a pipeline that guides by itself."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import permutations, product
from typing import Any

import torch
from torch import Tensor, nn

from repaint.priors.driven_scheduler import Output
from repaint.priors.text import guide

__all__ = ["Passes"]

SCALES = ("true_cfg_scale", "guidance_scale")
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-4}  # of the output's standard deviation; else 2e-2


class Passes:
    """Watch a network inside a pipeline, and find its output for the prompt among its passes.

    A pipeline runs its network with and without the prompt, in one batch or one after the other, in its own order. The
    order is determined once: it is the one for which classifier-free guidance gives what the pipeline passes to its
    scheduler. If no order does (other guidance, or an unknown scale), there is no unguided prediction.

    Args:
        network: the denoiser.
        arguments: of the pipeline's `__call__`, with the defaults of those that were left out; the scales are read.
    """

    def __init__(self, network: nn.Module, arguments: Mapping[str, Any]) -> None:
        self._network, self._count, self._channels = network, 0, 0
        self._scales = [float(arguments[name]) for name in SCALES if arguments.get(name) is not None]
        self._rescale = float(arguments.get("guidance_rescale") or 0.0)
        self._outputs: list[Tensor] = []
        self._found: tuple[int, float, bool] | None = None
        self._looked = False

    @contextmanager
    def watched(self, x: Tensor) -> Iterator[None]:
        """Record the network's outputs inside the block, for a batch x of cells."""
        self._count, self._channels, self._outputs = *x.shape[:2], []
        compiled = self._network._compiled_call_impl is not None  # a hook would compile it anew
        if compiled or not self._scales or (self._looked and self._found is None):
            yield
            return
        own = threading.get_ident()

        def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if threading.get_ident() == own:  # other threads may run the same network
                self._outputs.append(output)

        hook = self._network.register_forward_hook(record)
        try:
            yield
        finally:
            hook.remove()

    def forget_half(self) -> None:
        """Forget the first half of the passes: those for the pipeline's own noise."""
        self._outputs = self._outputs[len(self._outputs) // 2 :]

    def unguided(self, output: Output) -> Tensor | None:
        """Return (B, C, H, W), the output with the prompt alone, or None: no guidance beyond it, or an unknown one."""
        wanted = output.output
        if wanted.ndim == 4 and wanted.shape[1] == 2 * self._channels:
            wanted = wanted[:, : self._channels]  # without the learned variance, which is not guided
        rows = [row for one in self._outputs for row in self._rows(one)]
        self._outputs = []
        if len(rows) < 2:
            return None
        if not self._looked:
            self._looked, self._found = True, self._order(rows, wanted)
        if self._found is None or self._found[0] >= len(rows):
            return None
        place, sign, last = self._found
        return output.layout.unpack(sign * _fitted(rows[place], wanted, last))

    def _rows(self, output: Any) -> list[Tensor]:
        """Split one pass into parts that each hold the batch once."""
        first = output[0] if isinstance(output, tuple) else output.sample
        if isinstance(first, list):  # one entry for each image
            first = torch.stack(first)
        return list(first.chunk(len(first) // self._count)) if len(first) >= self._count else []

    def _order(self, rows: list[Tensor], wanted: Tensor) -> tuple[int, float, bool] | None:
        """Return (place of the pass with the prompt, its sign, `last` of `_fitted`), or None.

        The nearest of all orders is used, because with a prompt of little effect the reversed order is near, too.
        """
        found, errors = [], []
        orders = permutations(range(len(rows)), 2)
        for (without, with_prompt), sign, last in product(orders, (1.0, -1.0), (False, True)):
            pair = [sign * _fitted(rows[place], wanted, last).to(wanted.dtype) for place in (without, with_prompt)]
            if any(part.shape != wanted.shape for part in pair):
                continue
            for made in self._guided(*pair):
                found.append((with_prompt, sign, last))
                errors.append((made - wanted).abs().max().nan_to_num(nan=math.inf))
        if not errors:
            return None
        best = int(torch.stack(errors).argmin())
        coarsest = max(TOLERANCE.get(kind, 2e-2) for kind in (wanted.dtype, rows[0].dtype))
        return found[best] if bool(errors[best] <= coarsest * wanted.float().std()) else None

    def _guided(self, without: Tensor, with_prompt: Tensor) -> Iterator[Tensor]:
        """Yield the guided prediction in the forms that pipelines use, where it goes beyond that with the prompt."""
        for scale in self._scales:
            if scale > 0:
                yield with_prompt + scale * (with_prompt - without)  # Z-Image, Krea 2
                # Kandinsky 3: rounds differently in half precision.
                yield (scale + 1) * with_prompt - scale * without
            if scale > 1:
                yield guide(without, with_prompt, scale, self._rescale)
                plain = guide(without, with_prompt, scale)
                norms = [torch.linalg.vector_norm(part, dim=-1, keepdim=True) for part in (with_prompt, plain)]
                yield plain * (norms[0] / norms[1])  # Qwen-Image, Lumina 2


def _fitted(row: Tensor, wanted: Tensor, last: bool) -> Tensor:
    """Return the part of a network's output that a pipeline uses, without a learned variance or further tokens.

    Args:
        row: an output of the network.
        wanted: what the pipeline passes to its scheduler; only the shape is read.
        last: whether further tokens come before those of the sample, and not after them.
    """
    if row.ndim != wanted.ndim:
        row = row.reshape(row.shape[0], *wanted.shape[1:]) if row[0].numel() == wanted[0].numel() else row
    if last and row.ndim == 3:
        row = row[:, -wanted.shape[1] :]
    return row[tuple(slice(size) for size in wanted.shape)] if row.ndim == wanted.ndim else row
