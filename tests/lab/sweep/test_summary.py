"""Summaries of sweeps: means, curves with intervals, and paired differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repaint.errors import InputError
from repaint.lab.sweep.summary import NUMBERS, Point, curves, differences, summary
from repaint.lab.sweep.sweep_plot import LABELS, sweep_plot
from repaint.lab.sweep.sweep_table import COLUMNS, differences_table, missing_values, summary_table
from repaint.measure.intervals import mean_interval, paired_difference


def row(
    schedule: str = "a", steps: int = 2, solver: str = "ddpm", image: str = "i", seed: int = 0, **values: Any
) -> Any:
    """A row of a sweep with 2.0 for every measure that is not given."""
    return {
        "schedule": schedule,
        "method": {"steps": steps, "model_calls": steps, "solver": solver},
        "image": {"name": image, "height": 8, "width": 9},
        **{"mask": {"name": "box"}, "class_label": None, "prompt": None, "seed": seed, "status": "ok"},
        **(dict.fromkeys(NUMBERS, 2.0) | values),
    }


def test_means_leave_out_what_has_no_value() -> None:
    """If this fails, a failed row counts as 0 in the table."""
    bad = row(**dict.fromkeys(NUMBERS), status="failed")
    other = row(psnr=4.0) | {"image": {"name": "j", "height": 4, "width": 4}}
    (both,) = summary([row(), bad, other])
    assert (both["rows"], both["failed"], both["psnr"], both["seconds"]) == (3, 1, 3.0, 2.0)
    assert [entry["size"] for entry in summary([row(), bad, other], "size")] == ["8 x 9", "4 x 4"]
    with pytest.raises(InputError, match=r"--by sise must be one of schedule, size, .*Did you mean 'size'\?"):
        summary([row()], "sise")


def test_rows_of_an_older_version_lack_a_measure() -> None:
    """If this fails, rows that were written before a measure was added can no longer be read."""
    old = row()
    del old["roughness"]
    assert summary([old])[0]["roughness"] is None
    assert curves([old], "roughness") == {}
    assert differences([old, row("b")], "a", ["roughness"]) == []


def test_curves_pool_all_but_the_axis_and_the_curve() -> None:
    """If this fails, a curve contains rows of another, or a picture with more seeds counts more."""
    rows = [
        *(row("2, ddpm", psnr=p, image=i, seed=s) for p, i, s in ((1.0, "i", 0), (3.0, "i", 1), (8.0, "j", 0))),
        row("2, ddim", solver="ddim", psnr=5.0),
        row("9, ddpm", 9, psnr=7.0),
        row("9, ddim", 9, "ddim", psnr=None, status="failed"),
    ]
    found = curves(rows, "psnr", "steps", "solver")
    interval = mean_interval(np.array([2.0, 8.0]))
    assert found == {
        "ddpm": [Point(2, 5.0, interval.low, interval.high), Point(9, 7.0, 7.0, 7.0)],
        "ddim": [Point(2, 5.0, 5.0, 5.0)],
    }
    assert (interval.low, interval.high) == pytest.approx((5 - 27.5, 5 + 27.5), abs=0.1)  # 3 sqrt(2) 12.71 / 1.96
    assert [point.x for point in curves(rows, "psnr")[""]] == ["2, ddpm", "2, ddim", "9, ddpm"]
    for options, message in (
        (("psrn",), "--measure psrn must be one of psnr, .*Did you mean 'psnr'"),
        (("psnr", "step"), "--over step must be one of .*Did you mean 'steps'"),
        (("psnr", "steps", "solvers"), "--by solvers must be one of .*Did you mean 'solver'"),
    ):
        with pytest.raises(InputError, match=message):
            curves([], *options)


def test_differences_are_of_the_same_picture_and_seed() -> None:
    """If this fails, schedules are compared on different pictures."""
    base = {("i", 0): 1.0, ("i", 1): 2.0, ("j", 0): 10.0, ("k", 0): 50.0}
    rows = [row("a", image=i, seed=s, psnr=p) for (i, s), p in base.items()]
    ours = {("j", 0): 14.0, ("i", 1): 3.0, ("i", 0): 4.0, ("k", 0): None, ("l", 0): 99.0}
    rows += [row("b", image=i, seed=s, psnr=p) for (i, s), p in ours.items()]
    ((name, found),) = differences(rows, "a", ["psnr"])
    assert name == "b"
    assert found["psnr"] == paired_difference(np.array([4.0, 2.0]), np.zeros(2))  # j: 14 - 10; i: the mean of 3 and 1
    assert found["psnr"].mean == 3.0


def test_masks_of_a_picture_are_averaged_first() -> None:
    """If this fails, several masks of one picture count as independent pictures, and intervals are too narrow."""
    values = {("i", "box"): 1.0, ("i", "half"): 3.0, ("j", "box"): 8.0, ("j", "half"): 8.0, ("k", "box"): 5.0}
    rows = [
        row(name, image=image, psnr=psnr * (name == "b")) | {"mask": {"name": mask}}
        for (image, mask), psnr in values.items()
        for name in ("a", "b")
    ]
    ((_, found),) = differences(rows, "a", ["psnr"])
    assert found["psnr"] == mean_interval(np.array([2.0, 8.0, 5.0]))
    point = curves(rows, "psnr")[""][1]
    assert (point.x, point.low, point.high) == ("b", found["psnr"].low, found["psnr"].high)
    (box, half) = differences(rows, "a", ["psnr"], "mask")
    assert (box[1]["psnr"], half[1]["psnr"].mean) == (mean_interval(np.array([1.0, 8.0, 5.0])), 5.5)


def test_crops_of_a_photograph_are_averaged_first() -> None:
    """If this fails, two crops of one photograph count as independent pictures, and intervals are too narrow."""
    values = {"brick, 48 px, crop 0": 1.0, "brick, 48 px, crop 1": 3.0, "sky, 48 px, crop 0": 8.0}
    rows = [
        row(name, image=f"textures:{image}", psnr=psnr * (name == "b"))
        for image, psnr in values.items()
        for name in ("a", "b")
    ]
    ((_, found),) = differences(rows, "a", ["psnr"])
    assert found["psnr"] == mean_interval(np.array([2.0, 8.0]))


@pytest.mark.parametrize("name", ["class_label", "prompt", "seed", "mask", "image"])
def test_differences_are_of_cells_that_agree_in_all_but_the_schedule(name: str) -> None:
    """If this fails, a result under one condition is subtracted from that under another."""
    own, other = {"mask": ({"name": "box"}, {"name": "half"})}.get(name, ("x", "y"))
    if name == "image":
        own, other = ({"name": each, "height": 8, "width": 9} for each in "ij")
    rows = [row("a", psnr=1.0) | {name: own}, row("a", psnr=5.0) | {name: other}, row("b", psnr=2.0) | {name: own}]
    ((_, found),) = differences(rows, "a", ["psnr"])
    assert found["psnr"].mean == 1
    assert differences([rows[1], rows[2]], "a", ["psnr"]) == []


def test_differences_within_a_prompt() -> None:
    """If this fails, the effect of a schedule under one prompt is averaged with that under another."""
    values = {("a", "cat"): 1.0, ("b", "cat"): 2.0, ("a", ""): 5.0, ("b", ""): 9.0}
    rows = [row(name, psnr=psnr) | {"prompt": prompt} for (name, prompt), psnr in values.items()]
    found = differences(rows, "a", ["psnr"], "prompt")
    assert [(name, each["psnr"].mean) for name, each in found] == [("b, cat", 1.0), ('b, ""', 4.0)]
    (every,) = differences(rows, "a", ["psnr"], "solver")
    assert (every[0], every[1]["psnr"].mean) == ("b", 2.5)
    with pytest.raises(InputError, match="--by promt must be one of"):
        differences(rows, "a", ["psnr"], "promt")


def test_the_table_fits_80_columns() -> None:
    """If this fails, a sweep's table is wrapped or truncated in a terminal or a log file."""
    long = "early, quick with a long name of its own"
    values = {"psnr": -123.456, "ssim": 0.00012, "seconds": 123456.0, "roughness": 12.345, "model_calls": 12345}
    rows = [row(**values), row(long, **values | {"patches": None}), row(long, status="failed")]
    table = summary_table(summary(rows))
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["group", "n", *COLUMNS]
    assert table[1].split() == ["a", "1", "-123", "1e-04", "2", "2", "2", "12.3", "2", "12345", "123456"]
    assert [line.strip() for line in table[2:3]] == [long]
    assert table[3].split()[0] == "1/2"
    assert summary_table(summary(rows, "mask"), "mask")[1].split()[:2] == ["a,", "box"]
    lacking = summary_table(summary([row(patches=None)]))
    assert lacking[1].split()[5] == "n/a"


def test_missing_values_are_explained() -> None:
    """If this fails, `n/a` in a table is not explained."""
    thin = row(patches=None, notes={"patches": "The hole is thin."})
    bad = row(status="failed", reason="no memory", notes={})
    assert missing_values([thin, thin, row(notes={}), bad]) == [
        "patches n/a in 2 of 4 rows: The hole is thin.",
        "1 of 4 rows failed: no memory",
    ]


def test_differences_are_one_line_each() -> None:
    """If this fails, several measures side by side no longer fit the terminal."""
    rows = [row("a", image=i, psnr=1.0, ssim=0.5) for i in "ij"] + [row("b", image=i, psnr=3.0) for i in "ij"]
    table = differences_table(differences(rows, "a", ["psnr", "ssim"]))
    assert [line.split() for line in table[1:]] == [
        ["b", "psnr", "+2", "[+2,", "+2]"],
        ["b", "ssim", "+1.5", "[+1.5,", "+1.5]"],
    ]


def test_a_sweep_is_drawn_as_measured() -> None:
    """If this fails, points of the plot have wrong positions, wrong names, or no intervals."""
    steps = {"ddpm": [Point(2, 1.0, 0.5, 2.0), Point(100, 3.0, 3.0, 3.0)], "ddim": [Point(100, 4.0, 4.0, 4.0)]}
    names = {"": [Point("early", 5.0, 4.0, 7.0), Point("late", 6.0, 6.0, 6.0)]}
    left, right = sweep_plot({"psnr": steps, "patches": names}, "steps").axes
    assert set(LABELS) == set(NUMBERS)
    assert (left.get_xscale(), left.get_xlabel(), left.get_ylabel()) == ("log", "steps", "PSNR in the hole, dB")
    lines = {drawn.get_label(): drawn for drawn in left.containers}
    assert {name: list(drawn.lines[0].get_xdata()) for name, drawn in lines.items()} == {
        "ddpm": [2, 100],
        "ddim": [100],
    }
    (bars,) = lines["ddpm"].lines[2]
    assert [segment.tolist() for segment in bars.get_segments()] == [[[2, 0.5], [2, 2.0]], [[100, 3.0], [100, 3.0]]]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["ddpm", "ddim"]
    assert right.get_xscale() == "linear"
    assert right.get_legend() is None
    assert list(right.containers[0].lines[0].get_ydata()) == [5.0, 6.0]
    assert [label.get_text() for label in right.get_xticklabels()] == ["early", "late"]
