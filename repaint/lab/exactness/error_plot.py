"""Plot error over cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repaint.lab.exactness.measurement import FLOOR, Standing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exactness_plot"]


def exactness_plot(standings: Sequence[Standing]) -> Figure:
    """Plot error over cost on logarithmic axes, with the Pareto front and the floor as lines.

    Args:
        standings: result of `repaint.lab.exactness.measurement.standings`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    least = 1e-4  # smaller errors, of either sign, are noise
    shown = [standing for standing in standings if standing.way != FLOOR]
    for standing in shown:
        at = standing.cost, max(standing.error, least)
        axes.scatter(*at, color="C0" if standing.front else "0.6", zorder=3)
        axes.annotate(standing.way, at, xytext=(5, 4), textcoords="offset points", fontsize=8)
    front = sorted((standing.cost, max(standing.error, least)) for standing in shown if standing.front)
    axes.plot(*zip(*front, strict=True), color="C0", label="Pareto front")
    for standing in standings:
        if standing.way == FLOOR:
            axes.axhline(max(standing.error, least), color="0.6", linestyle=":", label="exact samples")
    axes.set(xscale="log", yscale="log", xlabel="model calls (3 with a gradient)", ylabel="error")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
