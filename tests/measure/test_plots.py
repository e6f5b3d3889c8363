"""Plots of audits: the drawn values are the measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repaint.errors import InputError
from repaint.lab.quality.audit_plot import audit_plot
from repaint.lab.quality.audit_sweep import AuditRow
from repaint.measure.audit import Audit, audit
from repaint.measure.plots import heat_map, heatmaps, save_plot

HOLE = np.zeros((4, 4), dtype=bool)
HOLE[1, 1] = True


def changed(by: int) -> Audit:
    """One kept pixel is `by` brighter."""
    image = np.zeros((4, 4), np.uint8)
    result = image.copy()
    result[3, 3] = by
    return audit(result, image, HOLE)


@pytest.mark.parametrize(("changes", "top"), [((6, 30), 30), ((0, 0), 1)])
def test_heatmaps_share_a_scale(changes: tuple[int, int], top: float) -> None:
    """A change of 6 looks like a change of 30, or an exact result cannot be drawn."""
    first, second, _colours = heatmaps({"a": changed(changes[0]), "b": changed(changes[1])}).axes
    for axes, change in zip((first, second), changes, strict=True):
        (shown,) = axes.images
        values: Any = shown.get_array()
        assert shown.get_clim() == (0, top)
        assert values[3, 3] == change
        assert np.array_equal(np.ma.getmaskarray(values), HOLE)
    assert second.get_title() == f"b, MSE {changes[1] ** 2 / 15:.3g}"


def row(strength: float, radius: float, mse: float) -> AuditRow:
    return AuditRow(strength, radius, 0.1, mse, 9, 1, 1, mse, mse, mse, mse)


def test_curves_and_their_trend_lines() -> None:
    """A line is drawn through the wrong points, or has the wrong label."""
    rows = [row(s, r, r * r + s) for s in (0.5, 1.0) for r in (1.0, 2.0, 3.0, 4.0)]
    none = [row(0.5, r, 0) for r in (1.0, 2.0, 3.0)]
    axes = audit_plot({"ours": {"cat": none}, "theirs": {"cat": rows}}, {"a": changed(1)}).subfigs[0].axes[0]
    labels = ["ours, strength 0.5", "theirs, strength 0.5, R² = 1.00", "theirs, strength 1, R² = 1.00"]
    assert [line.get_label() for line in axes.lines] == labels
    x, y = (np.asarray(values) for values in axes.lines[2].get_data())
    assert y == pytest.approx(x**2 + 1)
    assert np.array_equal(axes.collections[1].get_offsets(), [(r, r * r + 0.5) for r in (1, 2, 3, 4)])
    assert axes.get_xlabel() == "radius of the hole, pixels"


def test_many_pictures_have_their_mean_and_a_panel_each() -> None:
    """A picture is missing, drawn under the name of another, or the mean is that of one picture."""
    names = ["cat", "dog", "bus", "tree", "moon", "sun"]
    sweeps = {name: [row(0.5, r, r * i) for r in (1.0, 2.0, 3.0)] for i, name in enumerate(names)}
    mean, panels, _ = audit_plot({"theirs": sweeps}, {"a": changed(1)}).subfigs
    assert np.allclose(mean.axes[0].collections[0].get_offsets(), [(r, 2.5 * r) for r in (1, 2, 3)])
    shown = [panel for panel in panels.axes if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == names
    assert np.allclose(shown[4].collections[0].get_offsets(), [(r, 4 * r) for r in (1, 2, 3)])


def test_curves_of_one_method_have_different_colours() -> None:
    """Three strengths of one method are three blue curves, and only the ends of their lines tell them apart."""
    rows = [row(s, r, r * s) for s in (0.1, 0.5, 0.9) for r in (1.0, 2.0, 3.0)]
    alone = audit_plot({"theirs": {"cat": rows}}, {"a": changed(1)}).subfigs[0].axes[0]
    assert len({line.get_color() for line in alone.lines}) == 3
    beside = audit_plot({"ours": {"cat": rows[:3]}, "theirs": {"cat": rows}}, {"a": changed(1)}).subfigs[0].axes[0]
    assert [line.get_color() for line in beside.lines] == ["C0", "C1", "C1", "C1"]


def test_an_older_plot_survives_a_failure(tmp_path: Path) -> None:
    """A plot is written in place, and an interruption destroys the old file."""

    class Broken:
        def savefig(self, path: Path, **_: object) -> None:
            path.write_bytes(b"half")
            raise OSError("disk full")

    path = tmp_path / "plot.png"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="disk full"):
        save_plot(Broken(), path)  # type: ignore[arg-type]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("plot.png", b"old")]


@pytest.mark.parametrize("top", [0.0, 0.25, 30.0])
def test_a_heat_map_spans_its_values(top: float) -> None:
    """If this fails, small values vanish in the map, large ones wrap around, or a map of zeros divides by 0."""
    colours = np.asarray(heat_map(np.array([[0, top / 2, top]])), int)
    assert colours.shape == (1, 3, 3)
    # viridis begins in dark blue and ends in yellow; matplotlib's versions round differently
    assert np.allclose(colours[0, 0], [68, 1, 84], atol=1)
    assert np.allclose(colours[0, 2], [253, 231, 37] if top else colours[0, 0], atol=1)
