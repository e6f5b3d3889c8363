"""Compute the cells of a sweep in batches, and append their measures as rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from repaint.errors import InputError, OutOfMemory, joined_lines
from repaint.lab.sweep.grid import Cell
from repaint.lab.sweep.rows import CellRow, Rows
from repaint.measure.metrics import lpips, mse, psnr, seam_contrast, ssim
from repaint.measure.patches import gradient_distance, gradients, patch_distance, patches, roughness
from repaint.pictures.crop import padded_size
from repaint.pictures.masks import known
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.placement import Halving
from repaint.sampling.prior import Conditions
from repaint.version import __version__

__all__ = ["MEASURES", "check_conditions", "run"]

Image = NDArray[np.uint8]
MEASURES = (
    *("psnr", "ssim", "mse", "outside_mse", "seam_contrast", "lpips"),
    *("patches", "gradients", "roughness"),
)


def check_conditions(pipe: RePaintPipeline, cells: Sequence[Cell]) -> None:
    """Check that the prior supports all classes and prompts, before any work is done.

    Raises:
        RepaintError: see `repaint.sampling.prior.Prior.conditioned`.
    """
    for conditions, size in {(tuple(cell.conditions.items()), cell.image.size) for cell in cells}:
        padded = padded_size(size, pipe.prior.multiple_of)
        pipe.prior.conditioned(1, Conditions.join([Conditions(**dict(conditions)).split(1)[0]], padded))


def run(
    pipe: RePaintPipeline,
    batches: Sequence[Sequence[Cell]],
    rows: Rows,
    *,
    on_call: StepCallback | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> None:
    """Compute the missing rows, batch by batch, and append them.

    A batch with a missing part is computed whole, so that its results are bit-equal to those of an uninterrupted run.
    A failed cell becomes a row with the reason. One that does not fit into memory gets no row, so that the next run
    tries it again.

    Args:
        pipe: a pipeline whose prior supports the conditions of the cells.
        batches: see `repaint.lab.sweep.grid.batches` and `repaint.shards.share_of`.
        rows: to append to. Rows that it holds are not computed again.
        on_call: the `callback_on_step_end` of the pipeline.
        say: called with a message when memory does not suffice for a batch.
    """
    halving = Halving(say=say)
    for batch in batches:
        if not rows.lacks(batch):
            continue
        done: list[CellRow] = []
        for cells, found in halving.results(batch, lambda part: _fill(pipe, part, on_call)):
            if isinstance(found, OutOfMemory):
                say(f"Left out {len(cells)} of the cells: {found} Run the sweep again with more memory.")
            else:
                done += [_failed(cells[0], found)] if isinstance(found, Exception) else found
        rows.append([row | {"device": str(pipe.device)} for row in done])


def _fill(pipe: RePaintPipeline, cells: Sequence[Cell], on_call: StepCallback | None) -> list[CellRow]:
    images, keeps = [cell.image.read() for cell in cells], [cell.mask.read() for cell in cells]
    conditions: dict[str, Any] = {name: [cell.conditions[name] for cell in cells] for name in cells[0].conditions}
    if "guidance_scale" in conditions:
        conditions["guidance_scale"] = cells[0].guidance_scale
    started = time.perf_counter()
    result = pipe(
        list(images),
        keep_mask=list(keeps),
        **conditions,
        schedule=cells[0].method,
        generator=[cell.seed for cell in cells],
        output_type="np",
        callback_on_step_end=on_call,
    )
    seconds = (time.perf_counter() - started) / len(cells)
    rows = []
    for cell, image, keep, painted in zip(cells, images, keeps, result.images, strict=True):
        measures, notes = _measure(painted, image, ~known(keep)[0].numpy())
        facts = {"model_calls": result.model_calls, "seconds": round(seconds, 6), "batch": len(cells)}
        rows.append(_row(cell, "ok", None, measures, notes, facts))
    return rows


def _failed(cell: Cell, error: Exception) -> CellRow:
    facts = {"model_calls": None, "seconds": None, "batch": 1}
    return _row(cell, "failed", joined_lines(error), dict.fromkeys(MEASURES), {}, facts)


def _row(
    cell: Cell,
    status: str,
    reason: str | None,
    measures: Mapping[str, float | None],
    notes: Mapping[str, str],
    facts: Mapping[str, Any],
) -> CellRow:
    versions = {"repaint": __version__, "torch": torch.__version__, "diffusers": diffusers.__version__}
    outcome = {"status": status, "reason": reason, **measures, "notes": dict(notes), **facts, "versions": versions}
    return {"key": cell.key, "format": Rows.FORMAT, **cell.config, **outcome}


def _measure(painted: Image, image: Image, hole: NDArray[np.bool_]) -> tuple[dict[str, float | None], dict[str, str]]:
    """Compare a result with the original picture: (all measures, reasons for missing values).

    PSNR (dB), SSIM, MSE (of values in [0, 1]) and LPIPS in the hole; the MSE outside the hole; the contrast of the rim;
    the distances of patches and gradients in the hole to those of the kept pixels, and the roughness. See
    `repaint.measure.patches`.
    """
    measures: dict[str, Callable[[], float]] = {
        "psnr": lambda: psnr(painted, image, hole),
        "ssim": lambda: ssim(painted, image, hole),
        "mse": lambda: mse(painted, image, hole) / 255**2,
        "outside_mse": lambda: mse(painted, image, ~hole) / 255**2,
        "seam_contrast": lambda: seam_contrast(painted, hole),
        "lpips": lambda: lpips(painted, image, hole),
        "patches": lambda: patch_distance(patches(painted, hole), patches(image, ~hole)),
        "gradients": lambda: gradient_distance(gradients(painted, hole), gradients(image, ~hole)),
        "roughness": lambda: roughness(painted, image, hole),
    }
    values: dict[str, float | None] = {}
    notes = {}
    for name, measure in measures.items():
        try:
            value = measure()
            if not math.isfinite(value):
                notes[name] = f"the value is {value}"
        except InputError as error:
            value, notes[name] = math.nan, str(error)
        values[name] = value if math.isfinite(value) else None
    return values, notes
