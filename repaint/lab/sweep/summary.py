"""Summarize the rows of a sweep: means by group, curves with intervals, paired differences between schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repaint.checks import nearest
from repaint.errors import InputError
from repaint.lab.sweep.rows import CellRow
from repaint.lab.sweep.runner import MEASURES
from repaint.lab.sweep.sources import picture_of
from repaint.measure.intervals import Difference, mean_interval, paired_difference

__all__ = ["GROUPS", "NUMBERS", "Point", "curves", "differences", "summary"]

# The keys that rows can be grouped by.
GROUPS: dict[str, Callable[[CellRow], Any]] = {
    "schedule": lambda row: row["schedule"],
    "size": lambda row: f"{row['image']['height']} x {row['image']['width']}",
    "image": lambda row: str(row["image"]["name"]),
    "mask": lambda row: str(row["mask"]["name"]),
    "class": lambda row: str(row["class_label"]),
    "prompt": lambda row: '""' if row["prompt"] == "" else str(row["prompt"]),
    "steps": lambda row: row["method"]["steps"],
    "calls": lambda row: row["method"]["model_calls"],
    "merge": lambda row: row["method"]["merge"],
    "solver": lambda row: row["method"]["solver"],
}
NUMBERS = (*MEASURES, "model_calls", "seconds")
# The keys of groups that hold several pictures of each schedule, so that differences within them have intervals.
WITHIN = ("size", "mask", "class", "prompt")


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Attributes:
        x: name or number of the group.
        mean: over pictures, of the mean over the results of each picture.
        low, high: 95 % bootstrap interval of the mean over pictures.
    """

    x: str | int
    mean: float
    low: float
    high: float


def summary(rows: Sequence[CellRow], by: str = "schedule") -> list[dict[str, Any]]:
    """Average the successful rows, one entry per schedule and group, in the order of their first rows.

    Args:
        rows: of a sweep. They may lack measures that were added later.
        by: a key of `GROUPS`, to group rows within a schedule.
    Raises:
        InputError: an unknown key.
    """
    group = _group("--by", by)
    groups: dict[tuple[str, Any], list[CellRow]] = {}
    for row in rows:
        groups.setdefault((row["schedule"], group(row)), []).append(row)
    return [
        {"schedule": schedule, by: name, "rows": len(members)}
        | {"failed": sum(row["status"] == "failed" for row in members)}
        | {name: _mean([row.get(name) for row in members]) for name in NUMBERS}
        for (schedule, name), members in groups.items()
    ]


def curves(
    rows: Sequence[CellRow], measure: str, over: str = "schedule", by: str = "schedule"
) -> dict[str, list[Point]]:
    """Average a measure over an axis, with one curve per group.

    Args:
        rows: of a sweep. Rows without the measure are left out.
        measure: one of `NUMBERS`.
        over: a key of `GROUPS`, the axis. Points are in the order of their first rows.
        by: a key of `GROUPS`, the curves. If it is the axis too, there is one curve, named "".
    Raises:
        InputError: an unknown measure or key.
    """
    if measure not in NUMBERS:
        raise InputError(f"--measure {measure} must be one of {', '.join(NUMBERS)}.{nearest(measure, NUMBERS)}")
    axis, curve = _group("--over", over), _group("--by", by)
    points: dict[str, dict[Any, list[CellRow]]] = {}
    for row in rows:
        if row.get(measure) is not None:
            groups = points.setdefault("" if by == over else str(curve(row)), {})
            groups.setdefault(axis(row), []).append(row)
    found = {}
    for name, groups in points.items():
        pictures = {x: np.array(list(_by_picture(members, measure).values())) for x, members in groups.items()}
        means = {x: mean_interval(values) for x, values in pictures.items()}
        found[name] = [Point(x, mean.mean, mean.low, mean.high) for x, mean in means.items()]
    return found


def differences(
    rows: Sequence[CellRow], against: str, measures: Sequence[str] = NUMBERS, by: str = "schedule"
) -> list[tuple[str, dict[str, Difference]]]:
    """Subtract the measures of one schedule from those of each other one, on the same pictures, conditions and seeds.

    Args:
        rows: of a sweep. Cells without a value on both sides are left out.
        against: name of the schedule to subtract.
        measures: from `NUMBERS`.
        by: a key of `GROUPS`. Size, mask, class and prompt separate the differences of their groups.
    Returns:
        (schedule, or schedule and group; measure to difference) for each schedule with at least one pair of values.
    Raises:
        InputError: an unknown key.
    """
    group = _group("--by", by)
    if by not in WITHIN:
        return _differences(rows, against, measures)
    return [
        (f"{schedule}, {name}", found)
        for name in dict.fromkeys(map(group, rows))
        for schedule, found in _differences([row for row in rows if group(row) == name], against, measures)
    ]


def _differences(
    rows: Sequence[CellRow], against: str, measures: Sequence[str]
) -> list[tuple[str, dict[str, Difference]]]:
    schedules: dict[str, list[CellRow]] = {}
    for row in rows:
        schedules.setdefault(row["schedule"], []).append(row)
    base = {_cell(row): row for row in schedules.pop(against, [])}
    found = []
    for schedule, members in schedules.items():
        pairs = [(row, base[_cell(row)]) for row in members if _cell(row) in base]
        by_measure = {name: diff for name in measures if (diff := _difference(pairs, name)) is not None}
        if by_measure:
            found.append((schedule, by_measure))
    return found


def _difference(pairs: Sequence[tuple[CellRow, CellRow]], name: str) -> Difference | None:
    measured = [(a, b) for a, b in pairs if a.get(name) is not None and b.get(name) is not None]
    if not measured:
        return None
    first, second = (np.array(list(_by_picture(side, name).values())) for side in zip(*measured, strict=True))
    return paired_difference(first, second)


def _cell(row: CellRow) -> tuple[Any, ...]:
    """Return the fields that two rows must share to be compared."""
    return row["image"]["name"], row["mask"]["name"], row["class_label"], row["prompt"], row["seed"]


def _by_picture(rows: Sequence[CellRow], measure: str) -> Mapping[str, float]:
    """Average the results of each picture, of all of its crops and masks."""
    pictures: dict[str, list[float]] = {}
    for row in rows:
        pictures.setdefault(picture_of(row["image"]["name"]), []).append(row[measure])
    return {name: math.fsum(values) / len(values) for name, values in pictures.items()}


def _group(option: str, name: str) -> Callable[[CellRow], Any]:
    if name not in GROUPS:
        raise InputError(f"{option} {name} must be one of {', '.join(GROUPS)}.{nearest(name, GROUPS)}")
    return GROUPS[name]


def _mean(values: Sequence[float | None]) -> float | None:
    """Average the values that are not None; None without any."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None
