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
    """Plot the noise level over the transitions of a schedule.

    Example: repaint schedule plot paper --out paper.png
    """
    from repaint.measure.plots import check_plot, save_plot, walk_plot
    from repaint.sampling.method import as_method

    method = as_method(name)
    check_plot(out_file)
    save_plot(walk_plot(method.schedule), out_file)
    say(f"{method.name}: {len(method.schedule)} transitions. Plot: {out_file}")
