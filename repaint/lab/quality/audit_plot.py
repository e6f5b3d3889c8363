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


def audit_plot(sweeps: Mapping[str, Sequence[AuditRow]], audits: Mapping[str, Audit]) -> Figure:
    """MSE outside the hole over strength or radius with quadratic trend lines, above heatmaps.

    Args:
        sweeps: method to its rows, all of one kind of sweep.
        audits: title to audit.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(8, 4 * len(audits) + 1), 8), layout="constrained")
    parts: Any = figure.subfigures(2, 1)
    axes = parts[0].subplots()
    for number, (name, rows) in enumerate(sweeps.items()):
        for curve, marker in zip(curves(rows), "osD^v<>phX" * len(rows), strict=False):
            where = name if curve.strength is None else f"{name}, strength {curve.strength:g}"
            explained = "" if np.isnan(curve.trend.r_squared) else f", R² = {curve.trend.r_squared:.2f}"
            style: dict[str, Any] = {"color": f"C{number}", "marker": marker, "markevery": [-1]}
            axes.scatter(curve.x, curve.mse, s=10, alpha=0.5, color=f"C{number}", marker=marker)
            x = np.linspace(min(curve.x), max(curve.x), 200)
            axes.plot(x, curve.trend(x), **style, label=where + explained)
    radii = next(iter(sweeps.values()))[0].radius is not None
    axes.set(xlabel="radius of the hole, pixels" if radii else "strength", ylabel="MSE outside the hole")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    draw_heatmaps(parts[1], audits)
    return figure
