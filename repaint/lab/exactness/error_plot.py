"""Plot error over model calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repaint.lab.exactness.measurement import FLOOR, Standing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exactness_plot"]


def exactness_plot(standings: Sequence[Standing]) -> Figure:
    """Error over model calls, both on log axes; the Pareto front is joined, and the floor is a line.

    Args:
        standings: of `repaint.lab.exactness.measurement.standings`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    least = 1e-4  # the bench cannot tell errors below it, of either sign, from none
    shown = [its for its in standings if its.way != FLOOR]
    for its in shown:
        at = its.model_calls, max(its.error, least)
        axes.scatter(*at, color="C0" if its.front else "0.6", zorder=3)
        axes.annotate(its.way, at, xytext=(5, 4), textcoords="offset points", fontsize=8)
    front = sorted((its.model_calls, max(its.error, least)) for its in shown if its.front)
    axes.plot(*zip(*front, strict=True), color="C0", label="Pareto front")
    for its in standings:
        if its.way == FLOOR:
            axes.axhline(max(its.error, least), color="0.6", linestyle=":", label="exact samples")
    axes.set(xscale="log", yscale="log", xlabel="model calls", ylabel="error")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
