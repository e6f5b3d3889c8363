"""repaint exactness: table, report, plot and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.shell import Run, check_refused, contents, folder, run
from PIL import Image

__all__ = ["folder", "run"]  # fixtures

# Three problems; the only quick family, without a problem of 256 dimensions.
QUICK = ("exactness", "--family", "overlapping", "--count", "64", "--schedule", "fast")


def test_a_table_a_report_and_a_plot(run: Run, folder: Path) -> None:
    """If this fails, the numbers of the command differ from those of the library, or a method is missing."""
    walk = "steps: 9\nmerge: none\nguidance: dps(1)\n"
    Path("dps-9.yaml").write_text(walk)
    done = run(*QUICK, "--schedule", "dps-9.yaml", "--report", "rows.json", "--plot", "plot.png")
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["calls", "cost", "error", "interval", "overlapping", "sliced", "modes", "sec"]
    assert [line[:-8] for line in lines[1:]] == [["exact", "samples"], ["fast", "*"], ["dps-9"]]
    assert lines[3][-8:-6] == ["9", "27"]
    data = json.loads(Path("rows.json").read_text())
    assert (data["problems_seed"], data["problem_sets"], data["count"], data["seed"]) == (0, 1, 64, 0)
    assert len(data["rows"]) == 3 * 3
    by_way = {row["way"]: row for row in data["standings"]}
    for line, row in zip(lines[1:], data["standings"], strict=True):
        interval = f"{row['low']:.4f}–{row['high']:.4f}"
        assert line[-6:-3] == [f"{row['error']:.4f}", interval, f"{row['families']['overlapping']:.4f}"]
    assert by_way["fast"]["error"] < by_way["dps-9"]["error"]
    assert Image.open("plot.png").format == "PNG"


def test_json_and_another_set_of_problems(run: Run, folder: Path) -> None:
    """If this fails, a second set of problems equals the first."""
    one = json.loads(run(*QUICK, "--json").out)
    two = json.loads(run(*QUICK, "--json", "--problem-sets", "2").out)
    other = json.loads(run(*QUICK, "--json", "--problems-seed", "1").out)
    assert [row["way"] for row in one] == ["exact samples", "fast"]
    # The mean over both sets is the mean of their means; the seed of the samples is the same.
    assert two[1]["error"] == pytest.approx((one[1]["error"] + other[1]["error"]) / 2, abs=1e-12)
    assert one[1]["error"] != other[1]["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--schedule", "balancd"], "Did you mean 'balanced'?"),
        (["--peer", "lanpaint"], "--peer lanpaint must be one of diffusers, T = 50"),
        (
            ["--family", "field"],
            "--family field must be one of separated, overlapping, fields, natural, learned, taught. Did you mean",
        ),
        (["--count", "8"], "Invalid value for '--count'"),
        (["--problems-seed", "-1"], "Invalid value for '--problems-seed': Input should be greater than or equal to 0"),
        (["--plot", "plot.jpg"], "a plot is a .png, .svg or .pdf file"),
        (["--report", "none/rows.json"], "no folder none"),
    ],
)
def test_misuse(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    """If this fails, a wrong option is found only after minutes, or shows a traceback."""
    check_refused(run("exactness", *arguments), folder, contents(folder), message)


def test_types_are_measured_side_by_side(run: Run, folder: Path) -> None:
    """If this fails, --dtype measures the wrong type, or ignores an unknown one."""
    data = json.loads(run(*QUICK, "--dtype", "bfloat16", "--dtype", "float32", "--json").out)
    assert [row["way"] for row in data] == ["exact samples", "fast, bfloat16", "fast, float32"]
    assert data[1]["error"] != data[2]["error"]
    check_refused(run(*QUICK, "--dtype", "float8"), folder, contents(folder), "--dtype")
