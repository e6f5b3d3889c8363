"""Rows of `scored_fills` to one line per method: scores with intervals, ranks, coverage and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from repaint.lab.calibration.proper_scores import RankTest, rank_test
from repaint.lab.exactness.measurement import pareto
from repaint.lab.sweep.rows import CellRow
from repaint.measure.intervals import Difference, bootstrap_interval, paired_difference, units

__all__ = ["Calibration", "calibrations"]


@dataclass(frozen=True)
class Calibration:
    """One method over all holes.

    Attributes:
        schedule: its name.
        energy: mean energy score; smaller is better, and the exact posterior has the smallest.
        crps: mean CRPS of single pixels; None if rows of an earlier version lack it.
        kinds: kind of hole to mean energy score.
        against: difference in energy score to the reference method, with a 95 % interval; None for the reference.
        ratio: root of mean spread over root of mean error: 1 for calibrated fills, below 1 for overconfident ones.
        ratio_low, ratio_high: its 95 % interval.
        pixels, smooth: ranks of single pixels and of smooth projections.
        model_calls: per fill.
        cost: model calls, of which one with its gradient counts as three; `model_calls` if rows of an earlier version
            lack it.
        seconds: per hole.
        holes: number of them.
        units: number of pictures that they were cut from, which intervals resample and the rank tests take as
            independent; the number of holes if there is one picture, or rows do not name it.
        front: whether no other method has a smaller score for the same or a smaller cost.
    """

    schedule: str
    energy: float
    crps: float | None
    kinds: dict[str, float]
    against: Difference | None
    ratio: float
    ratio_low: float
    ratio_high: float
    pixels: RankTest
    smooth: RankTest
    model_calls: int
    cost: int
    seconds: float
    holes: int
    units: int
    front: bool


def calibrations(rows: Iterable[CellRow], reference: str | None = None) -> list[Calibration]:
    """Summarise rows by method, in the order of their first rows.

    Only holes that all methods have filled are counted, so that differences are paired.

    Args:
        rows: see `score_batch`.
        reference: the method that others are compared with; None: the first.
    """
    by_schedule: dict[str, dict[int, CellRow]] = {}
    for row in rows:
        by_schedule.setdefault(row["schedule"], {})[row["index"]] = row
    if not by_schedule:
        return []
    shared = sorted(set.intersection(*(set(found) for found in by_schedule.values())))
    if not shared:
        return []
    base = reference if reference in by_schedule else next(iter(by_schedule))
    table = {name: [found[index] for index in shared] for name, found in by_schedule.items()}
    pictures = _pictures(shared, by_schedule.values())
    energies = {name: _column(each, "energy") for name, each in table.items()}
    costs: dict[str, int] = {
        name: max(int(row.get("cost") or row["model_calls"]) for row in each) for name, each in table.items()
    }
    front = pareto({name: (costs[name], float(energies[name].mean())) for name in table})
    found = []
    for name, each in table.items():
        spread, error = _column(each, "spread"), _column(each, "error")
        ratio = bootstrap_interval(np.stack([spread, error], axis=1), _ratio, clusters=pictures)
        found.append(
            Calibration(
                schedule=name,
                energy=float(energies[name].mean()),
                crps=float(_column(each, "crps").mean()) if all("crps" in row for row in each) else None,
                kinds=_by_kind(each),
                against=None
                if name == base or len(shared) < 2
                else paired_difference(energies[name], energies[base], clusters=pictures),
                ratio=ratio.mean,
                ratio_low=max(0.0, ratio.low),
                ratio_high=ratio.high,
                pixels=rank_test(_counts(each, "pixel_ranks"), pictures),
                smooth=rank_test(_counts(each, "smooth_ranks"), pictures),
                model_calls=each[0]["model_calls"],
                cost=costs[name],
                seconds=float(_column(each, "seconds").mean()),
                holes=len(shared),
                units=units(pictures),
                front=name in front,
            )
        )
    return found


def _pictures(indices: Sequence[int], tables: Iterable[Mapping[int, CellRow]]) -> list[str]:
    """Name the picture of each hole; rows of an earlier version lack it, and each is then its own."""
    named = {index: row["picture"] for found in tables for index, row in found.items() if "picture" in row}
    return [named.get(index, f"hole {index}") for index in indices]


def _column(rows: Sequence[CellRow], name: str) -> NDArray[np.float64]:
    return np.array([row[name] for row in rows], dtype=np.float64)


def _counts(rows: Sequence[CellRow], name: str) -> NDArray[np.int64]:
    return np.array([row[name] for row in rows], dtype=np.int64)


def _by_kind(rows: Sequence[CellRow]) -> dict[str, float]:
    kinds: Mapping[str, list[float]] = {kind: [] for kind in dict.fromkeys(row["kind"] for row in rows)}
    for row in rows:
        kinds[row["kind"]].append(row["energy"])
    return {kind: float(np.mean(values)) for kind, values in kinds.items()}


def _ratio(means: Float[np.ndarray, "resamples 2"]) -> Float[np.ndarray, " resamples"]:
    """Compute the root of mean spread over the root of mean error."""
    return np.asarray(np.sqrt(means[:, 0] / means[:, 1]))
