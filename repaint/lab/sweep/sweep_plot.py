"""Plot the measures of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repaint.lab.sweep.summary import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LABELS", "sweep_plot"]

LABELS = {
    "psnr": "PSNR in the hole, dB",
    "ssim": "SSIM in the hole",
    "mse": "MSE in the hole, values in [0, 1]",
    "outside_mse": "MSE outside the hole, values in [0, 1]",
    "seam_contrast": "contrast of the rim",
    "lpips": "LPIPS in the hole",
    "patches": "distance of patches",
    "gradients": "distance of gradients",
    "roughness": "roughness, 1: as the truth",
    "model_calls": "model calls",
    "seconds": "seconds",
}


def sweep_plot(panels: Mapping[str, Mapping[str, Sequence[Point]]], over: str) -> Figure:
    """Plot measures of a sweep side by side over one axis, as points with intervals, joined by lines.

    Args:
        panels: measure to its curves, as `repaint.lab.sweep.summary.curves` gives them.
        over: label of the axis: logarithmic for numbers, in the given order for names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, (measure, curves_) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        places = list(dict.fromkeys(point.x for points in curves_.values() for point in points))
        numbers = all(isinstance(x, int) for x in places)
        for number, (name, points) in enumerate(curves_.items()):
            x = [point.x if numbers else places.index(point.x) for point in points]
            mean, low, high = np.array([(point.mean, point.low, point.high) for point in points]).T
            style: dict[str, Any] = {"color": f"C{number}", "marker": "osD^v<>phX"[number % 10], "markersize": 4}
            axes.errorbar(x, mean, (mean - low, high - mean), capsize=2, linewidth=1, label=name, **style)
        axes.set(xlabel=over, ylabel=LABELS[measure])
        if numbers:
            axes.set_xscale("log")
        axes.set_xticks(
            places if numbers else range(len(places)), list(map(str, places)), rotation=0 if numbers else 30
        )
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        if list(curves_) != [""]:
            axes.legend(frameon=False, fontsize="small")
    return figure
