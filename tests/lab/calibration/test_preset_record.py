"""Figures that a command writes into presets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from repaint.cli import app
from repaint.errors import InputError
from repaint.lab.calibration.calibration_run import CalibrationRun
from repaint.sampling import presets
from repaint.sampling.method import as_method
from repaint.testing import PixelByPixelPrior

WALK = """about: Three steps.  # a comment that stays
steps: 3
spacing: karras
measured:
  two_pixels: {mean: 1.4, std: 0.5}  # so does this
  exactness: {error: 9, problems: 1}
"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    path = tmp_path / "three.yaml"
    path.write_text(WALK)
    return path


def record(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["schedule", "record", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_figures_replace_those_of_the_same_name(walk: Path, tmp_path: Path) -> None:
    """If this fails, a preset states figures that no report holds, or loses other lines and comments."""
    report, rows = tmp_path / "exact.json", tmp_path / "rows.jsonl"
    standing = {"way": "three", "error": 0.01234}
    report.write_text(
        json.dumps({"problem_sets": 2, "rows": [{"problem": "a"}, {"problem": "b"}], "standings": [standing]})
    )
    run = CalibrationRun(PixelByPixelPrior(), [as_method(str(walk))], rows, ["box"], count=4, samples=2, side=8)
    run.fill()
    (scored,) = run.summary()
    record(walk, "--exactness", report, "--calibration", f"pixels={rows}")
    first, second = WALK.split("  exactness")[0], walk.read_text().split("so does this\n")[1]
    assert walk.read_text().startswith(first)
    assert second.startswith("  exactness: {error: 0.0123, problems: 4}\n  calibration_pixels: {energy: ")
    measured = presets.read(walk)[1].measured
    expected = {"energy": round(scored.energy, 2), "ratio": round(scored.ratio, 2), "holes": 4}
    assert measured["calibration_pixels"] == expected
    before = walk.read_text()
    record(walk, "--exactness", report)
    assert sorted(walk.read_text().splitlines()) == sorted(before.splitlines())


def test_rows_of_a_changed_preset_are_refused(tmp_path: Path) -> None:
    """If this fails, a preset carries the figures of what it used to be."""
    rows = tmp_path / "rows.jsonl"
    run = CalibrationRun(PixelByPixelPrior(), [as_method("fast")], rows, ["box"], count=2, samples=2, side=8)
    run.fill()
    rows.write_text(rows.read_text().replace("multistep(eta=2)", "multistep(eta=3)"))
    with pytest.raises(InputError, match="fast has changed since these rows were made"):
        record("fast.yaml", "--calibration", f"pixels={rows}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Nothing to record: pass --exactness, --calibration, or both"),
        (["--calibration", "rows.jsonl"], "--calibration rows.jsonl must be NAME=ROWS.jsonl"),
        (["--calibration", "a=none.jsonl"], "none.jsonl: not rows of `repaint calibrate`"),
        (["--exactness", "none.json"], "none.json: not a report of `repaint exactness --report`"),
    ],
)
def test_bad_reports(arguments: list[str], message: str, walk: Path) -> None:
    """If this fails, a wrong file gives a traceback, or changes a preset."""
    with pytest.raises(InputError, match=message):
        record(walk, *arguments)
    assert walk.read_text() == WALK


@pytest.mark.parametrize("arguments", [("--exactness", "{}"), ("--calibration", "a={}")])
def test_reports_that_are_not_text(arguments: tuple[str, str], walk: Path, tmp_path: Path) -> None:
    """If this fails, a picture in place of a report is printed whole, as the repr of an error."""
    picture = tmp_path / "picture.png"
    picture.write_bytes(bytes(range(128, 256)) * 100)
    with pytest.raises(InputError, match=r"picture\.png: not .* \(UnicodeDecodeError: ") as caught:
        record(walk, arguments[0], arguments[1].format(picture))
    assert len(str(caught.value)) < 400 + len(str(picture))
