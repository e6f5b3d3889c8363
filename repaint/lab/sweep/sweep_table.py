"""The summary of a sweep as plain text that fits 80 columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from repaint.lab.sweep.rows import CellRow
from repaint.measure.intervals import Difference

__all__ = ["aligned", "differences_table", "missing_values", "summary_table"]

WIDTH = 80
ABSENT = "n/a"
# Header and entry of `repaint.lab.sweep.summary.summary`. MSE and the MSE outside the hole are in the JSON output only.
COLUMNS = {
    "psnr/dB": "psnr",
    "ssim": "ssim",
    "lpips": "lpips",
    "patches": "patches",
    "grads": "gradients",
    "rough": "roughness",
    "seam": "seam_contrast",
    "calls": "model_calls",
    "time/s": "seconds",
}


def summary_table(means: Sequence[Mapping[str, Any]], by: str = "schedule") -> list[str]:
    """Format means as one line per group, with a header.

    A group name too long for its column gets a line of its own above the figures.

    Args:
        means: entries of `repaint.lab.sweep.summary.summary`.
        by: the key that they were grouped by.
    Returns:
        Lines of at most 80 characters, except for longer group names. `n/a` marks a mean without any value.
    """
    names = [entry["schedule"] if by == "schedule" else f"{entry['schedule']}, {entry[by]}" for entry in means]
    cells = [["n", *COLUMNS], *([_count(entry), *(_number(entry[key]) for key in COLUMNS.values())] for entry in means)]
    figures = aligned(cells, right=True)
    room = WIDTH - len(figures[0]) - 1
    width = max(len(name) for name in ["group", *(name for name in names if len(name) <= room)])
    lines = [f"{'group':<{width}} {figures[0]}"]
    for name, row in zip(names, figures[1:], strict=True):
        lines += [f"{name:<{width}} {row}"] if len(name) <= width else [name, f"{'':<{width}} {row}"]
    return lines


def differences_table(compared: Sequence[tuple[str, Mapping[str, Difference]]]) -> list[str]:
    """Format differences as one line per schedule and measure, with a header.

    Args:
        compared: result of `repaint.lab.sweep.summary.differences`.
    """
    rows = [["schedule", "measure", "difference", "95 % interval"]]
    for schedule, measures in compared:
        for name, found in measures.items():
            rows.append([schedule, name, f"{found.mean:+.3g}", f"[{found.low:+.3g}, {found.high:+.3g}]"])
    return [line.rstrip() for line in aligned(rows)]


def missing_values(rows: Sequence[CellRow]) -> list[str]:
    """Explain missing values, one line per measure and reason.

    >>> row = {"status": "ok", "notes": {"patches": "The hole is thinner than 7 px."}}
    >>> missing_values([row, {"status": "ok", "notes": {}}])
    ['patches n/a in 1 of 2 rows: The hole is thinner than 7 px.']
    """
    reasons = Counter((name, reason) for row in rows for name, reason in row["notes"].items())
    lines = [f"{name} n/a in {count} of {len(rows)} rows: {reason}" for (name, reason), count in reasons.items()]
    failed = Counter(row["reason"] for row in rows if row["status"] == "failed")
    return lines + [f"{count} of {len(rows)} rows failed: {reason}" for reason, count in failed.items()]


def aligned(rows: Sequence[Sequence[str]], *, right: bool = False) -> list[str]:
    """Pad the columns of a table to equal widths.

    >>> aligned([["a", "b"], ["10", "2"]], right=True)
    [' a b', '10 2']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    side, gap = (">", " ") if right else ("<", "  ")
    return [gap.join(f"{cell:{side}{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]


def _count(entry: Mapping[str, Any]) -> str:
    """Format the number of rows with a result; "2/3" if one of three failed."""
    done = entry["rows"] - entry["failed"]
    return f"{done}/{entry['rows']}" if entry["failed"] else str(done)


def _number(value: float | None) -> str:
    """Format a number in at most 6 characters."""
    if value is None:
        return ABSENT
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 0.001 else f"{value:.0e}"
