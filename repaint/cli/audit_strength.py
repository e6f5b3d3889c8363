"""repaint audit strength: changes outside the hole at every strength."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.audit_comparison import (
    Fills,
    GuidanceScale,
    ImageFiles,
    Pictures,
    PlotFile,
    Prompt,
    compare,
    fillers,
    subjects,
)
from repaint.cli.loading import Device
from repaint.cli.options import AsJson, DType, PriorName, ScheduleName, Seed, Threads

__all__ = ["strength"]


def strength(
    prompt: Prompt = "grinning face",
    image: ImageFiles = None,
    pictures: Pictures = 1,
    mask: Annotated[Path | None, typer.Option(help="Mask; white is repainted. Default: a round hole.")] = None,
    fill: Fills = None,
    values: Annotated[int, typer.Option(help="Number of strengths, evenly spaced in (0, 1].", min=3)] = 100,
    prior: PriorName = "emoji",
    schedule: ScheduleName = "predicted",
    guidance_scale: GuidanceScale = 3.0,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    plot: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """Measure what changes outside the hole at every strength, with this library and with pipelines of diffusers.

    All use the same weights; the pipelines of diffusers take as many steps as the schedule.

    Example: repaint audit strength --values 20 --pictures 5 --plot strength.png
    """
    from repaint.files import check_unread
    from repaint.lab.quality.audit_sweep import even, sweep_strength
    from repaint.pictures.mask_shapes import circle
    from repaint.pictures.masks import known, read_keep

    check_unread([plot], image or [])
    found = subjects(image, prompt, pictures)
    sizes = [each.pixels.shape[:2] for each in found]
    # One mask for all pictures, so that it must fit each of them.
    keeps = [circle(*size) if mask is None else read_keep(mask, sizes=[size])[0] for size in sizes]
    holes = {size: ~known(keep)[0].numpy() for size, keep in zip(sizes, keeps, strict=True)}
    fills = fillers(fill, prior, schedule, guidance_scale, device, dtype, threads, plot)
    compare(
        fills,
        found,
        lambda way, picture, on_cell: sweep_strength(
            way, picture, holes[picture.shape[:2]], even(values), seed=seed, on_cell=on_cell
        ),
        values,
        values - 1,
        plot,
        as_json,
    )
