"""The report of a benchmark: all methods on the same holes, as rows, means and paired differences."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from repaint.arguments import ScheduleLike
from repaint.errors import InputError
from repaint.files import as_json, atomic_path, check_place
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.scores import (
    Filled,
    Score,
    biharmonic,
    fill,
    hole_loss,
    lpips_nets,
    measure,
    score,
    truth,
)
from repaint.measure.intervals import Difference, paired_difference
from repaint.pipeline import RePaintPipeline

__all__ = ["Report", "bench", "check_savable", "save"]

FLOOR, BASELINE = "real (floor)", "biharmonic"
COMPARED = ("psnr", "ssim", "patches", "gradients")  # one number per result, without extra weights
UNDEFINED = {  # why a measure can be NaN
    "ssim": "nearer to the border of the picture than 5 pixels",
    "patches": "thinner than 14 pixels, or without as much real texture",
    "gradients": "thinner than 3 pixels, or without real gradients",
}


@dataclass(frozen=True)
class Report:
    """The results of all methods on the same holes.

    Attributes:
        holes: that were filled.
        filled: method to its results; the floor and the baseline come first.
        scores: method to its means.
        values: measure to method to one number per result, (holes, seeds); NaN where it is not defined.
        missing: measure to the reason why it was not measured, or not in all holes.
    """

    holes: Sequence[Hole]
    filled: dict[str, Filled]
    scores: dict[str, Score]
    values: dict[str, dict[str, Float[np.ndarray, "holes seeds"]]]
    missing: dict[str, str] = field(default_factory=dict)

    def differences(self) -> list[tuple[str, str, Difference]]:
        """Compare the first schedule with each other one, over the holes in which both values are finite.

        Intervals resample pictures: holes of one picture are not independent.

        Returns:
            (measure, "first - other", difference) for each pair with at least one such hole.
        """
        methods = [name for name in self.filled if name not in (FLOOR, BASELINE)]
        found = []
        for kind, values in self.values.items():
            for other in methods[1:]:
                first, second = values[methods[0]], values[other]
                both = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
                if both.any():
                    pictures = [hole.picture for hole, finite in zip(self.holes, both, strict=True) if finite]
                    ours, theirs = np.broadcast_arrays(first[both], second[both])  # one result without noise
                    gap = paired_difference(ours, theirs, clusters=pictures)
                    found.append((kind, f"{methods[0]} - {other}", gap))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per result: method, hole, index of the seed and all measures; NaN and infinity as None."""
        return [
            {"method": method, "hole": hole.name, "group": hole.group, "seed": seed}
            | {kind: _finite(values[method][i, seed]) for kind, values in self.values.items()}
            for method, filled in self.filled.items()
            for i, hole in enumerate(self.holes)
            for seed in range(len(filled.images[i]))
        ]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Return method to means: those of `Score`, and the mean of each further measure."""
        means = {}
        for method, scored in self.scores.items():
            further = {kind: values[method].mean() for kind, values in self.values.items() if kind not in COMPARED}
            means[method] = {name: _finite(value) for name, value in (vars(scored) | further).items()}
        return means


def bench(pipe: RePaintPipeline, holes: Sequence[Hole], methods: Mapping[str, ScheduleLike], **options: Any) -> Report:
    """Fill all holes with all methods, and measure the results.

    LPIPS is measured with the networks whose weights are on this machine.

    Args:
        pipe: a pipeline whose prior accepts the conditions of the holes.
        holes: to fill.
        methods: name to the `schedule` argument of `RePaintPipeline.__call__`.
        **options: first_seed, seeds, batch and others; see `repaint.lab.quality.scores.fill`.
    """
    filled = {FLOOR: truth(holes), BASELINE: biharmonic(holes)}
    filled |= {name: fill(pipe, holes, method, **options) for name, method in methods.items()}
    nets = lpips_nets()
    kinds = [*COMPARED, *(name for name, reason in nets.items() if reason is None)]
    values = {kind: {name: measure(kind, holes, ours) for name, ours in filled.items()} for kind in kinds}
    values["loss"] = {name: hole_loss(pipe.prior, holes, ours) for name, ours in filled.items()}
    scores = {name: score(holes, ours) for name, ours in filled.items()}
    missing = {name: reason for name, reason in nets.items() if reason}
    for kind, reason in UNDEFINED.items():
        if undefined := sum(any(np.isnan(each[i]).any() for each in values[kind].values()) for i in range(len(holes))):
            missing[kind] = f"{undefined} of {len(holes)} holes: {reason}."
    return Report(holes, filled, scores, values, missing)


def check_savable(path: Path) -> None:
    """Check that `save` can write a path, before any work is done.

    Raises:
        InputError: an unsupported suffix, or a missing folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"{path}: the suffix of a report must be one of {', '.join(WRITERS)}.")
    check_place(path)


def save(report: Report, path: Path) -> None:
    """Write a report: .csv has one row per result, .json has everything, .md has the tables.

    Raises:
        InputError: see `check_savable`.
    """
    check_savable(path)
    with atomic_path(path) as temporary:
        temporary.write_text(WRITERS[path.suffix.lower()](report), encoding="utf-8")


def _csv(report: Report) -> str:
    rows, text = report.rows(), io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _json(report: Report) -> str:
    differences = [
        {"measure": kind, "difference": name} | vars(difference) for kind, name, difference in report.differences()
    ]
    data = {"summary": report.summary(), "differences": differences, "missing": report.missing, "rows": report.rows()}
    return as_json(data, indent=1) + "\n"


def _markdown(report: Report) -> str:
    summary = report.summary()
    names = list(next(iter(summary.values())))
    lines = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method, means in summary.items():
        lines.append(f"| {method} | " + " | ".join(_cell(means[name]) for name in names) + " |")
    if differences := report.differences():
        lines += ["", "| measure | difference | mean | 95 % interval |", "|---|---|---|---|"]
        lines += [
            f"| {kind} | {name} | {found.mean:+.4f} | [{found.low:+.4f}, {found.high:+.4f}] |"
            for kind, name, found in differences
        ]
    lines += [f"\n{name} n/a: {reason}" for name, reason in report.missing.items()]
    return "\n".join(lines) + "\n"


WRITERS = {".csv": _csv, ".json": _json, ".md": _markdown}


def _cell(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def _finite(value: float | None) -> float | None:
    """Replace infinity (PSNR of the truth itself) and NaN (hole too thin), which JSON lacks, by None."""
    return float(value) if value is not None and math.isfinite(value) else None
