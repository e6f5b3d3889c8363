"""A benchmark's report: every method on the same holes, its rows, and paired differences with intervals."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from repaint.errors import InputError
from repaint.files import atomic_path, check_place
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.scores import (
    Filled,
    Score,
    biharmonic,
    denoising_loss,
    fill,
    lpips_nets,
    measure,
    score,
    truth,
)
from repaint.measure.intervals import Difference, paired_difference
from repaint.pipeline import RePaintPipeline
from repaint.plan import ScheduleLike

__all__ = ["Report", "bench", "check_savable", "save"]

FLOOR, BASELINE = "real (floor)", "biharmonic"
COMPARED = ("psnr", "ssim", "patches", "gradients")  # one number per result, always at hand


@dataclass(frozen=True)
class Report:
    """What every method scored.

    Attributes:
        holes: what was filled.
        filled: method to what it painted; the floor and the baseline first.
        scores: method to its means.
        values: measure to method to one number per result, (holes, seeds).
        missing: measure to why it is not there.
    """

    holes: Sequence[Hole]
    filled: dict[str, Filled]
    scores: dict[str, Score]
    values: dict[str, dict[str, Float[np.ndarray, "holes seeds"]]]
    missing: dict[str, str] = field(default_factory=dict)

    def differences(self) -> list[tuple[str, str, Difference]]:
        """(measure, "a - b", its paired difference) of the first schedule less each other one, over holes."""
        methods = [name for name in self.filled if name not in (FLOOR, BASELINE)]
        return [
            (kind, f"{methods[0]} - {other}", paired_difference(values[methods[0]], values[other]))
            for kind, values in self.values.items()
            for other in methods[1:]
        ]

    def rows(self) -> list[dict[str, Any]]:
        """One row per result: method, hole, number of the seed, and every measure; NaN and infinity as None."""
        return [
            {"method": method, "hole": hole.name, "group": hole.group, "seed": seed}
            | {kind: _finite(values[method][i, seed]) for kind, values in self.values.items()}
            for method, filled in self.filled.items()
            for i, hole in enumerate(self.holes)
            for seed in range(len(filled.images[i]))
        ]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Method to its means by name: those of `Score`, and the mean of every further measure."""
        means = {}
        for method, its in self.scores.items():
            further = {kind: values[method].mean() for kind, values in self.values.items() if kind not in COMPARED}
            means[method] = {name: _finite(value) for name, value in (vars(its) | further).items()}
        return means


def bench(pipe: RePaintPipeline, holes: Sequence[Hole], methods: Mapping[str, ScheduleLike], **options: Any) -> Report:
    """Fill every hole with every method, and measure.

    LPIPS is measured with those networks whose weights are on this machine.

    Args:
        pipe: a pipeline whose prior takes the holes' conditions.
        holes: what to fill.
        methods: name to what `RePaintPipeline.__call__` takes as `schedule`.
        **options: first_seed, seeds, batch and more: see `repaint.lab.quality.scores.fill`.
    """
    filled = {FLOOR: truth(holes), BASELINE: biharmonic(holes)}
    filled |= {name: fill(pipe, holes, method, **options) for name, method in methods.items()}
    nets = lpips_nets()
    kinds = [*COMPARED, *(name for name, reason in nets.items() if reason is None)]
    values = {kind: {name: measure(kind, holes, ours) for name, ours in filled.items()} for kind in kinds}
    values["loss"] = {name: denoising_loss(pipe.prior, holes, ours) for name, ours in filled.items()}
    scores = {name: score(holes, ours) for name, ours in filled.items()}
    return Report(holes, filled, scores, values, {name: reason for name, reason in nets.items() if reason})


def check_savable(path: Path) -> None:
    """Refuse, before any work is done, a path that `save` could not write.

    Raises:
        InputError: a suffix that is no report's, or a missing folder.
    """
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"Cannot write {path}: a report is a {', '.join(WRITERS)} file. Change the suffix.")
    check_place(path)


def save(report: Report, path: Path) -> None:
    """Write a report: .csv has one row per result, .json all there is, .md the tables.

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
        {"measure": kind, "difference": name} | {key: _finite(value) for key, value in vars(difference).items()}
        for kind, name, difference in report.differences()
    ]
    data = {"summary": report.summary(), "differences": differences, "missing": report.missing, "rows": report.rows()}
    return json.dumps(data, indent=1) + "\n"


def _markdown(report: Report) -> str:
    summary = report.summary()
    names = list(next(iter(summary.values())))
    lines = ["| method | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for method, means in summary.items():
        lines.append(f"| {method} | " + " | ".join(_cell(means[name]) for name in names) + " |")
    if differences := report.differences():
        lines += ["", "| measure | difference | mean | 95 % interval |", "|---|---|---|---|"]
        lines += [
            f"| {kind} | {name} | {its.mean:+.4f} | [{its.low:+.4f}, {its.high:+.4f}] |"
            for kind, name, its in differences
        ]
    lines += [f"\n{name}: not measured. {reason}" for name, reason in report.missing.items()]
    return "\n".join(lines) + "\n"


WRITERS = {".csv": _csv, ".json": _json, ".md": _markdown}


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def _finite(value: float | None) -> float | None:
    """JSON knows neither infinity (the PSNR of the truth itself) nor NaN (too small a hole for a patch)."""
    return float(value) if value is not None and math.isfinite(value) else None
