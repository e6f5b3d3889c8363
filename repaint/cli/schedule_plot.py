"""repaint schedule plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.console import say

__all__ = ["schedule_plot"]


def schedule_plot(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")],
    out_file: Annotated[Path, typer.Option("--out", help="Plot to write: .png, .svg or .pdf.")],
) -> None:
    """Plot the noise level, and sigma / alpha, over the transitions of a schedule.

    sigma / alpha is that of a model with 1000 linear betas. A spacing by noise (karras, logsnr) has the same levels for
    every model, up to its least and most noise.

    Example: repaint schedule plot paper --out paper.png
    """
    from repaint.measure.plots import check_plot, save_plot, walk_plot
    from repaint.sampling.method import as_method
    from repaint.sampling.noise import NoiseSchedule

    method = as_method(name)
    check_plot(out_file)
    grid = NoiseSchedule.from_scheduler({"beta_schedule": "linear"}, method.schedule.steps, method.spacing)
    save_plot(walk_plot(method.schedule, grid), out_file)
    say(f"{method.name}: {len(method.schedule)} transitions. Plot: {out_file}")
