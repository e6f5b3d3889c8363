"""What the rows of a sweep say: means by group, curves with intervals, paired differences between schedules."""

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
from repaint.measure.intervals import Difference, paired_difference

__all__ = ["GROUPS", "NUMBERS", "Point", "curves", "differences", "summary"]

# What rows may be told apart by.
GROUPS: dict[str, Callable[[CellRow], Any]] = {
    "schedule": lambda row: row["schedule"],
    "size": lambda row: f"{row['image']['height']} x {row['image']['width']}",
    "image": lambda row: str(row["image"]["name"]),
    "mask": lambda row: str(row["mask"]["name"]),
    "class": lambda row: str(row["class_label"]),
    "prompt": lambda row: str(row["prompt"]),
    "steps": lambda row: row["method"]["steps"],
    "calls": lambda row: row["method"]["model_calls"],
    "merge": lambda row: row["method"]["merge"],
    "solver": lambda row: row["method"]["solver"],
}
NUMBERS = (*MEASURES, "model_calls", "seconds")


@dataclass(frozen=True)
class Point:
    """One place of a curve.

    Attributes:
        x: the group's name, or its number.
        mean: over pictures, of the mean over each one's results.
        low, high: its 95 % bootstrap interval over pictures.
    """

    x: str | int
    mean: float
    low: float
    high: float


def summary(rows: Sequence[CellRow], by: str = "schedule") -> list[dict[str, Any]]:
    """Means over the rows that are ok, one entry a schedule, in the order in which they first appear.

    Args:
        rows: of a sweep. A measure that older rows lack has no value in them.
        by: a key of `GROUPS`, to tell apart within a schedule.
    Raises:
        InputError: another word.
    """
    group = _group("--by", by)
    groups: dict[tuple[str, Any], list[CellRow]] = {}
    for row in rows:
        groups.setdefault((row["schedule"], group(row)), []).append(row)
    return [
        {"schedule": schedule, by: name, "rows": len(some)}
        | {"failed": sum(row["status"] == "failed" for row in some)}
        | {name: _mean([row.get(name) for row in some]) for name in NUMBERS}
        for (schedule, name), some in groups.items()
    ]


def curves(
    rows: Sequence[CellRow], measure: str, over: str = "schedule", by: str = "schedule"
) -> dict[str, list[Point]]:
    """A measure over an axis, one curve for each value of another; all else is pooled.

    Args:
        rows: of a sweep; those without that measure are left out.
        measure: one of `NUMBERS`.
        over: a key of `GROUPS`, the axis. Points stand in the order of their first rows.
        by: a key of `GROUPS`, the curves; one of the name "" where it is the axis too.
    Raises:
        InputError: another word.
    """
    if measure not in NUMBERS:
        raise InputError(f"--measure {measure}: it is one of {', '.join(NUMBERS)}.{nearest(measure, NUMBERS)}")
    axis, curve = _group("--over", over), _group("--by", by)
    points: dict[str, dict[Any, list[CellRow]]] = {}
    for row in rows:
        if row.get(measure) is not None:
            its = points.setdefault("" if by == over else str(curve(row)), {})
            its.setdefault(axis(row), []).append(row)
    found = {}
    for name, its in points.items():
        pictures = {x: np.array(list(_by_picture(some, measure).values())) for x, some in its.items()}
        means = {x: paired_difference(values, np.zeros_like(values)) for x, values in pictures.items()}
        found[name] = [Point(x, mean.mean, mean.low, mean.high) for x, mean in means.items()]
    return found


def differences(
    rows: Sequence[CellRow], against: str, measures: Sequence[str] = NUMBERS
) -> list[tuple[str, dict[str, Difference]]]:
    """Every other schedule with its measures less those of one, on the same pictures, conditions and seeds.

    Args:
        rows: of a sweep. A cell that has no value on one side is left out, and a schedule without any.
        against: the schedule's name.
        measures: some of `NUMBERS`.
    """
    schedules: dict[str, list[CellRow]] = {}
    for row in rows:
        schedules.setdefault(row["schedule"], []).append(row)
    base = {_cell(row): row for row in schedules.pop(against, [])}
    found = []
    for schedule, some in schedules.items():
        pairs = [(row, base[_cell(row)]) for row in some if _cell(row) in base]
        each = {name: its for name in measures if (its := _difference(pairs, name)) is not None}
        if each:
            found.append((schedule, each))
    return found


def _difference(pairs: Sequence[tuple[CellRow, CellRow]], name: str) -> Difference | None:
    there = [(a, b) for a, b in pairs if a.get(name) is not None and b.get(name) is not None]
    if not there:
        return None
    first, second = (np.array(list(_by_picture(side, name).values())) for side in zip(*there, strict=True))
    return paired_difference(first, second)


def _cell(row: CellRow) -> tuple[Any, ...]:
    """What two rows to be compared have in common."""
    return row["image"]["name"], row["mask"]["name"], row["class_label"], row["prompt"], row["seed"]


def _by_picture(rows: Sequence[CellRow], measure: str) -> Mapping[Any, float]:
    """The mean over the results of each picture under each mask."""
    pictures: dict[Any, list[float]] = {}
    for row in rows:
        pictures.setdefault((row["image"]["name"], row["mask"]["name"]), []).append(row[measure])
    return {name: math.fsum(values) / len(values) for name, values in pictures.items()}


def _group(option: str, name: str) -> Callable[[CellRow], Any]:
    if name not in GROUPS:
        raise InputError(f"{option} {name}: it is one of {', '.join(GROUPS)}.{nearest(name, GROUPS)}")
    return GROUPS[name]


def _mean(values: Sequence[float | None]) -> float | None:
    """Of the values that there are; None where there are none."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
