"""repaint audit radius: changes outside the hole for holes of every radius."""

from __future__ import annotations

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

__all__ = ["radius"]


def radius(
    prompt: Prompt = "grinning face",
    image: ImageFiles = None,
    pictures: Pictures = 1,
    strength: Annotated[
        list[float] | None, typer.Option(help="Strength; may be repeated. Default: 0.1, 0.5 and 0.9.")
    ] = None,
    fill: Fills = None,
    values: Annotated[int, typer.Option(help="Number of radii, evenly spaced up to half of the image.", min=3)] = 50,
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
    """Measure what changes outside a round hole of every radius, with this library and with pipelines of diffusers.

    Example: repaint audit radius --values 10 --strength 0.5 --plot radius.png
    """
    from repaint.files import check_unread
    from repaint.lab.quality.audit_sweep import even, sweep_radius

    check_unread([plot], image or [])
    found = subjects(image, prompt, pictures)
    strengths = strength or [0.1, 0.5, 0.9]
    fills = fillers(fill, prior, schedule, guidance_scale, device, dtype, threads, plot)
    compare(
        fills,
        found,
        lambda way, picture, on_cell: sweep_radius(
            way, picture, even(values, min(picture.shape[:2]) / 2), strengths, seed=seed, on_cell=on_cell
        ),
        values * len(strengths),
        values * (len(strengths) - 1) + values // 2,
        plot,
        as_json,
    )
