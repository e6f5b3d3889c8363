"""Write measured figures of a preset into its YAML file, from the reports of the commands that measured them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repaint.errors import InputError
from repaint.files import atomic_path
from repaint.lab.calibration.calibration_summary import calibrations
from repaint.sampling import presets
from repaint.sampling.method import Method

__all__ = ["calibration_figures", "exactness_figures", "record"]


def exactness_figures(report: Path) -> dict[str, dict[str, Any]]:
    """Read a report of `repaint exactness`: name of a schedule to its figures.

    Raises:
        InputError: not such a report.
    """
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        problems = len({row["problem"] for row in content["rows"]}) * content["problem_sets"]
        return {each["way"]: {"error": round(each["error"], 4), "problems": problems} for each in content["standings"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{report}: not a report of `repaint exactness --report` ({type(error).__name__}: {error}). Pass a file "
            "that it wrote."
        ) from error


def calibration_figures(rows: Path) -> dict[str, dict[str, Any]]:
    """Read the rows of `repaint calibrate`: name of a schedule to its figures, over the holes that all have filled.

    Raises:
        InputError: not such rows, or rows of a bundled preset that has changed since.
    """
    try:
        read = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
        found = calibrations(read)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{rows}: not rows of `repaint calibrate` ({type(error).__name__}: {error}). Pass a file that it wrote."
        ) from error
    described = {row["schedule"]: row["method"] for row in read}
    for name, method in described.items():
        if name in presets.available() and Method.from_preset(name).describe() != method:
            raise InputError(f"{rows}: {name} has changed since these rows were made. Run `repaint calibrate` again.")
    return {
        each.schedule: {"energy": round(each.energy, 2), "ratio": round(each.ratio, 2), "holes": each.holes}
        for each in found
    }


def record(preset: Path, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write figures into the `measured` entry of a preset. Other lines stay as they are.

    Args:
        preset: the YAML file.
        figures: name of a figure to its values. A figure of the same name is replaced.
    Raises:
        ScheduleError: not a preset.
        InputError: its `measured` entry is not the last, or not one line a figure.
    """
    text = preset.read_text(encoding="utf-8")
    presets.parse(text, str(preset))
    head, _, tail = text.partition("\nmeasured:\n")
    lines = tail.splitlines()
    if "\nmeasured:" in head or any(re.fullmatch(r"  \w+: .+", line) is None for line in lines):
        raise InputError(f"{preset}: `measured` must be the last entry, with one indented line for each figure.")
    kept = [line for line in lines if line.strip().partition(":")[0] not in figures]
    written = []
    for name, each in figures.items():
        values = ", ".join(f"{key}: {value}" for key, value in each.items())
        written.append(f"  {name}: {{{values}}}")
    changed = "\n".join([head.rstrip("\n"), "measured:", *kept, *written]) + "\n"
    presets.parse(changed, str(preset))
    with atomic_path(preset) as draft:
        draft.write_text(changed, encoding="utf-8")
