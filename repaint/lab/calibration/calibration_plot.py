"""Plot energy score over cost, and the rank histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from repaint.lab.calibration.calibration_summary import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["calibration_plot"]


def calibration_plot(found: Sequence[Calibration]) -> Figure:
    """Plot the energy score over cost with the Pareto front, and one rank histogram of smooth projections per method.

    Args:
        found: result of `calibrations`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4 + 1.6 * ((len(found) + 3) // 4)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(4, 1.6 * ((len(found) + 3) // 4)))
    axes = parts[0].subplots()
    for each in found:
        axes.scatter(each.cost, each.energy, color="C0" if each.front else "0.6", zorder=3)
        label = f"{each.schedule} ({each.ratio:.2f})"
        axes.annotate(label, (each.cost, each.energy), xytext=(5, 4), textcoords="offset points", fontsize=8)
    front = sorted((each.cost, each.energy) for each in found if each.front)
    axes.plot(*zip(*front, strict=True), color="C0", label="Pareto front")
    same = all(each.cost == each.model_calls for each in found)
    cost = "model calls" if same else "cost (model calls; one with its gradient counts as three)"
    axes.set(xscale="log", xlabel=cost, ylabel="energy score (8-bit values)")
    axes.set_xticks(sorted({each.cost for each in found}), minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.margins(x=0.15)
    axes.set_title("in parentheses: spread / error, 1 if calibrated", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    histograms = parts[1].subplots(-(-len(found) // 4), 4, squeeze=False).ravel()
    for unused in histograms[len(found) :]:
        unused.set_axis_off()
    for histogram, each in zip(histograms, found, strict=False):
        bins = len(each.smooth.shares)
        histogram.bar(range(bins), each.smooth.shares, color="#33608c")
        histogram.axhline(1 / bins, color="0.5", linestyle=":")
        p = "" if each.smooth.p is None else f", Rao-Scott p {each.smooth.p:.2g}"
        histogram.set_title(f"{each.schedule}{p}", fontsize=8)
        histogram.set(xticks=[], yticks=[])
    return figure
