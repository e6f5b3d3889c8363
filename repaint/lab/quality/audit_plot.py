"""Plot the changes outside the hole over strength or radius."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repaint.lab.quality.audit_sweep import AuditRow, curves
from repaint.measure.audit import Audit
from repaint.measure.plots import draw_heatmaps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["audit_plot"]


COLUMNS = 5  # of panels


def audit_plot(sweeps: Mapping[str, Mapping[str, Sequence[AuditRow]]], audits: Mapping[str, Audit]) -> Figure:
    """Plot MSE outside the hole over strength or radius with quadratic trend lines, above heatmaps.

    With several pictures: their mean, one panel for each, and the heatmaps.

    Args:
        sweeps: method to picture to its rows, all of one kind of sweep and of the same pictures.
        audits: title to audit.
    """
    from matplotlib.figure import Figure

    pictures = list(next(iter(sweeps.values())))
    lines = -(-len(pictures) // COLUMNS) if len(pictures) > 1 else 0
    heights = [4.0, *([2.2 * lines] if lines else []), 4.0]
    figure = Figure(figsize=(max(8, 4 * len(audits) + 1), sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    axes = parts[0].subplots()
    rows = {name: [row for found in by_picture.values() for row in found] for name, by_picture in sweeps.items()}
    _draw_curves(axes, rows)
    radii = next(iter(rows.values()))[0].radius is not None
    label = "radius of the hole, pixels" if radii else "strength"
    mean = f", mean of {len(pictures)} pictures" if lines else ""
    axes.set(xlabel=label, ylabel="MSE outside the hole" + mean)
    axes.legend(frameon=False)
    if lines:
        panels = parts[1].subplots(lines, COLUMNS, squeeze=False).ravel()
        for panel in panels[len(pictures) :]:
            panel.set_visible(False)
        for panel, picture in zip(panels, pictures, strict=False):
            _draw_curves(panel, {name: found[picture] for name, found in sweeps.items()})
            panel.set_title(picture, fontsize=8)
            panel.tick_params(labelsize=7)
    draw_heatmaps(parts[-1], audits)
    return figure


def _draw_curves(axes: Any, sweeps: Mapping[str, Sequence[AuditRow]]) -> None:
    """Draw points and trends: a colour for each method, or for each curve of a single method."""
    for number, (name, rows) in enumerate(sweeps.items()):
        for place, (curve, marker) in enumerate(zip(curves(rows), "osD^v<>phX" * len(rows), strict=False)):
            colour = f"C{number if len(sweeps) > 1 else place}"
            where = name if curve.strength is None else f"{name}, strength {curve.strength:g}"
            explained = "" if np.isnan(curve.trend.r_squared) else f", R² = {curve.trend.r_squared:.2f}"
            style: dict[str, Any] = {"color": colour, "marker": marker, "markevery": [-1]}
            axes.scatter(curve.x, curve.mse, s=10, alpha=0.5, color=colour, marker=marker)
            x = np.linspace(min(curve.x), max(curve.x), 200)
            axes.plot(x, curve.trend(x), **style, label=where + explained)
    axes.spines[["top", "right"]].set_visible(False)
