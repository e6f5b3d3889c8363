"""Pictures about pictures: before/after strips, curves and heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from repaint.audit import Audit
from repaint.errors import InputError
from repaint.files import atomic_path, check_place
from repaint.lab.audit import Row, curves
from repaint.lab.exactness import FLOOR, Standing
from repaint.lab.holes import Hole
from repaint.lab.summary import Point
from repaint.schedule import JumpSchedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "audit_plot",
    "changes_plot",
    "check_plot",
    "exactness_plot",
    "heatmaps",
    "holes_sheet",
    "save_plot",
    "strip",
    "sweep_plot",
    "walk_plot",
]

GAP, HEADER = 4, 22
PLOTS = (".png", ".svg", ".pdf")


def strip(rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], scale: int = 2) -> Image.Image:
    """Equal tiles in a grid with a title over each column.

    Args:
        rows: tiles of one size, (H, W, 3) uint8; every row has len(titles) of them.
        titles: one a column.
        scale: whole-number magnification; pixels stay sharp.
    """
    height, width = (side * scale for side in rows[0][0].shape[:2])
    size = len(titles) * (width + GAP) + GAP, HEADER + len(rows) * (height + GAP)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, title in enumerate(titles):
        left = GAP + column * (width + GAP)
        draw.text((left + width / 2, HEADER / 2), title, fill="black", font=font, anchor="mm")
        for row, tiles in enumerate(rows):
            tile = Image.fromarray(tiles[column]).resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(tile, (left, HEADER + row * (height + GAP)))
    return sheet


def holes_sheet(
    holes: Sequence[Hole], filled: Mapping[str, Sequence[Sequence[NDArray[np.uint8]]]], each: int = 3
) -> Image.Image:
    """The first holes of each group: masked, then every way of filling.

    Args:
        holes: of one size, as `repaint.lab.holes` gives them.
        filled: name of a way to its results for each hole; the first of them is shown.
        each: rows per group.
    """
    rows, shown = [], dict.fromkeys((hole.group for hole in holes), 0)
    for i, hole in enumerate(holes):
        shown[hole.group] += 1
        if shown[hole.group] <= each:
            masked = np.where(hole.mask[..., None], np.uint8(160), hole.image)
            rows.append([masked, *(images[i][0] for images in filled.values())])
    return strip(rows, ["masked", *filled])


def heatmaps(audits: Mapping[str, Audit]) -> Figure:
    """Where kept pixels changed and how much, side by side on one scale; the hole is grey.

    Args:
        audits: title to audit.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(audits) + 1, 4), layout="constrained")
    _draw_heatmaps(figure, audits)
    return figure


def changes_plot(its: Audit) -> Figure:
    """One audit: the heatmap, and beside it the mean change by distance from the hole."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    parts: Any = figure.subfigures(1, 2)
    _draw_heatmaps(parts[0], {"outside the hole": its})
    axes = parts[1].subplots()
    axes.plot(range(1, len(its.profile) + 1), its.profile, color="#33608c", marker="o", markersize=3)
    axes.set(xlabel="distance from the hole, pixels", ylabel="mean change")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def walk_plot(walk: JumpSchedule) -> Figure:
    """Noise level over transition, as the paper draws its schedule (Lugmayr et al. 2022, supplement)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    walk.plot(figure.subplots())
    return figure


def audit_plot(sweeps: Mapping[str, Sequence[Row]], audits: Mapping[str, Audit]) -> Figure:
    """MSE outside the hole over strength or radius with quadratic trend lines, above heatmaps.

    Args:
        sweeps: name of a way of filling to its rows, all of one sweep.
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
    _draw_heatmaps(parts[1], audits)
    return figure


def sweep_plot(panels: Mapping[str, Mapping[str, Sequence[Point]]], over: str) -> Figure:
    """Measures of a sweep side by side, each over one axis: points, their intervals, and lines between them.

    Args:
        panels: measure to its curves, as `repaint.lab.summary.curves` gives them.
        over: what the axis is. Numbers stand on a logarithmic axis, names in their order.
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
        axes.set(xlabel=over, ylabel=measure)
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


def _draw_heatmaps(figure: Any, audits: Mapping[str, Audit]) -> None:
    """On a figure or a part of one."""
    import matplotlib as mpl

    # Where nothing changed anywhere, a scale of any height shows zero as black.
    top = max(float(np.nanmax(its.heatmap)) for its in audits.values()) or 1.0
    colours = mpl.colormaps["inferno"].with_extremes(bad="0.6")
    grid = figure.subplots(1, len(audits), squeeze=False)[0]
    for axes, (title, its) in zip(grid, audits.items(), strict=True):
        shown = axes.imshow(its.heatmap, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
        axes.set(title=f"{title}, MSE {its.mse:.3g}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=list(grid), label="change of kept pixels, mean over channels")


def exactness_plot(standings: Sequence[Standing]) -> Figure:
    """Error over model calls, both on log axes; the Pareto front is joined, and the floor is a line.

    Args:
        standings: of `repaint.lab.exactness.standings`.
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


def check_plot(path: Path) -> None:
    """Refuse, before any work is done, a file that `save_plot` could not write.

    Raises:
        InputError: a suffix that is no plot's, a missing folder, or a path that is a folder.
    """
    if path.suffix.lower() not in PLOTS:
        raise InputError(f"Cannot write {path}: a plot is a .png, .svg or .pdf file. Change the suffix.")
    check_place(path)


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all.

    Args:
        figure: of matplotlib.
        path: a .png, .svg or .pdf file.
    Raises:
        InputError: see `check_plot`.
    """
    check_plot(path)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=150)
