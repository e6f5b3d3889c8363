"""Plots of pictures, audits and walks. Matplotlib is imported when a plot is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from repaint.errors import InputError
from repaint.files import atomic_path, check_place
from repaint.measure.audit import Audit
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.schedule import JumpSchedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "changes_plot",
    "check_plot",
    "heat_map",
    "heatmaps",
    "save_plot",
    "strip",
    "walk_plot",
]

GAP, HEADER = 4, 22
PLOTS = (".png", ".svg", ".pdf")


def strip(rows: Sequence[Sequence[NDArray[np.uint8]]], titles: Sequence[str], scale: int = 2) -> Image.Image:
    """Arrange tiles of equal size in a grid with a title above each column.

    Args:
        rows: tiles of one size, (H, W, 3) uint8; each row has len(titles) tiles.
        titles: one per column.
        scale: integer magnification; pixels stay sharp.
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


def heat_map(values: NDArray[np.floating[Any]]) -> Image.Image:
    """Colour values by matplotlib's viridis: 0 is dark blue, the largest value is yellow.

    Args:
        values: (H, W), at least 0.
    Returns:
        An RGB image with one pixel per value.
    """
    import matplotlib as mpl

    top = float(values.max()) or 1.0
    return Image.fromarray(mpl.colormaps["viridis"](values / top, bytes=True)[..., :3])


def heatmaps(audits: Mapping[str, Audit]) -> Figure:
    """Plot where and how much kept pixels changed, side by side on one colour scale; the hole is grey.

    Args:
        audits: title to audit.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(audits) + 1, 4), layout="constrained")
    draw_heatmaps(figure, audits)
    return figure


def changes_plot(audit: Audit) -> Figure:
    """Plot the heatmap of an audit, and the mean change over the distance from the hole."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    parts: Any = figure.subfigures(1, 2)
    draw_heatmaps(parts[0], {"outside the hole": audit})
    axes = parts[1].subplots()
    axes.plot(range(1, len(audit.profile) + 1), audit.profile, color="#33608c", marker="o", markersize=3)
    axes.set(xlabel="distance from the hole, pixels", ylabel="mean change")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def walk_plot(walk: JumpSchedule, grid: NoiseSchedule | None = None) -> Figure:
    """Plot the noise level over transitions, as in the supplement of Lugmayr et al. 2022.

    Args:
        walk: the levels.
        grid: also plot sigma / alpha of these levels beside the walk, on a logarithmic axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 if grid is None else 12, 3), layout="constrained")
    if grid is None:
        walk.plot(figure.subplots())
        return figure
    left, right = figure.subplots(1, 2)
    walk.plot(left)
    levels = [grid[level] for level in walk.levels]
    ratios = [level.sigma / level.alpha if level.sigma > 0 and level.alpha > 0 else float("nan") for level in levels]
    right.plot(ratios, linewidth=1.2, color="#33608c")
    right.set(xlabel="transition", ylabel="sigma / alpha", yscale="log", title=f"spacing {grid.spacing}")
    right.margins(x=0.01)
    right.spines[["top", "right"]].set_visible(False)
    return figure


def draw_heatmaps(figure: Any, audits: Mapping[str, Audit]) -> None:
    """Draw heatmaps on a figure or subfigure; see `heatmaps`."""
    import matplotlib as mpl

    # If nothing changed, any scale shows zero as black.
    top = max(float(np.nanmax(audit.heatmap)) for audit in audits.values()) or 1.0
    colours = mpl.colormaps["inferno"].with_extremes(bad="0.6")
    grid = figure.subplots(1, len(audits), squeeze=False)[0]
    for axes, (title, audit) in zip(grid, audits.items(), strict=True):
        shown = axes.imshow(audit.heatmap, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
        axes.set(title=f"{title}, MSE {audit.mse:.3g}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=list(grid), label="change of kept pixels, mean over channels")


def check_plot(path: Path) -> None:
    """Refuse a file that `save_plot` cannot write, before any work is done.

    Raises:
        InputError: the suffix is not .png, .svg or .pdf, the folder is missing, or the path is a folder.
    """
    if path.suffix.lower() not in PLOTS:
        raise InputError(f"Cannot write {path}: a plot is a .png, .svg or .pdf file. Change the suffix.")
    check_place(path)


def save_plot(figure: Figure, path: Path) -> None:
    """Write a figure atomically.

    Args:
        figure: a matplotlib figure.
        path: a .png, .svg or .pdf file.
    Raises:
        InputError: see `check_plot`.
    """
    check_plot(path)
    with atomic_path(path) as draft:
        figure.savefig(draft, dpi=150)
