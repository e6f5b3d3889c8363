"""Options and steps that `repaint audit strength` and `repaint audit radius` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from repaint.checks import nearest
from repaint.cli.console import print_json, print_table, progress_bar
from repaint.cli.loading import load_pipe
from repaint.cli.options import chosen
from repaint.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from repaint.lab.quality.audit_sweep import AuditRow, Fill
    from repaint.measure.audit import Audit

__all__ = [
    "Fills",
    "GuidanceScale",
    "ImageFiles",
    "Pictures",
    "PlotFile",
    "Prompt",
    "Subject",
    "compare",
    "fillers",
    "subjects",
]

OURS = "repaint"
WORST = 3  # heatmaps of many pictures
REGIONS = {"at most 6 pixels from the hole": "near", "beyond": "far", "flat": "flat", "textured": "textured"}

Prompt = Annotated[str, typer.Option(help="Text prompt. Without --image, also the name of the emoji to fill.")]
ImageFiles = Annotated[
    list[Path] | None, typer.Option("--image", help="An 8-bit RGB image to fill instead of an emoji; may be repeated.")
]
Pictures = Annotated[
    int,
    typer.Option(help="Number of emoji to fill, beginning at --prompt, each with its own name as the prompt.", min=1),
]
Fills = Annotated[
    list[str] | None,
    typer.Option(
        "--fill", help="repaint, or inpaint or img2img of diffusers; may be repeated. Default: repaint and inpaint."
    ),
]
GuidanceScale = Annotated[float, typer.Option(help="Weight of classifier-free guidance.")]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="Also draw curves and heatmaps: .png, .svg or .pdf.")]


@dataclass(frozen=True)
class Subject:
    """A picture to fill.

    Attributes:
        name: of its file or emoji.
        pixels: (H, W, 3).
        prompt: text for its fills.
    """

    name: str
    pixels: NDArray[np.uint8]
    prompt: str


def subjects(images: list[Path] | None, prompt: str, pictures: int) -> list[Subject]:
    """Load the images, or the requested number of emoji, beginning with the one that the prompt names."""
    import numpy as np

    from repaint.pictures.decoding import open_image, upright
    from repaint.pictures.samples import glyphs

    if images is None:
        known = glyphs()
        if prompt not in known:
            raise InputError(
                f"--prompt {prompt!r} without --image must be the name of an emoji among the samples."
                f"{nearest(prompt, known)} Choose another, or pass --image."
            )
        if pictures > len(known):
            raise InputError(
                f"--pictures {pictures} must be at most {len(known)}, the number of emoji among the samples."
            )
        first = list(known).index(prompt)
        names = [*known][first:] + [*known][:first]
        return [Subject(name, known[name], name) for name in names[:pictures]]
    if pictures != 1:
        raise InputError(f"--pictures {pictures} must be left out with --image. Repeat --image instead.")
    found = []
    for path in images:
        picture = upright(open_image(path))
        if picture.mode != "RGB":
            raise InputError(f"{path}: PIL mode {picture.mode} is not supported here. Convert it to RGB.")
        found.append(Subject(str(path), np.asarray(picture), prompt))
    return found


def fillers(
    names: list[str] | None,
    prior: str,
    schedule: str,
    guidance_scale: float,
    device: str,
    dtype: str,
    threads: str,
    plot: Path | None,
) -> dict[str, Callable[[str], Fill]]:
    """Make the fills named by --fill, which share one prior: title to a function from a prompt to a fill."""
    from repaint.lab.quality.audit_sweep import DIFFUSERS, diffusers_fill, repaint_fill
    from repaint.measure.plots import check_plot
    from repaint.sampling.method import as_method

    if plot is not None:
        check_plot(plot)
    ways = {way: f"diffusers, {way}" for way in DIFFUSERS} | {OURS: OURS}
    titles = {way: chosen("--fill", way, ways) for way in names or [OURS, "inpaint"]}
    method = as_method(schedule)
    pipe = load_pipe(prior, device, dtype, threads)

    def maker(way: str) -> Callable[[str], Fill]:
        if way == OURS:
            return lambda prompt: repaint_fill(pipe, schedule=method, prompt=prompt, guidance_scale=guidance_scale)
        steps = method.schedule.steps
        return lambda prompt: diffusers_fill(pipe, way, steps=steps, prompt=prompt, guidance_scale=guidance_scale)

    makers = {title: maker(way) for way, title in titles.items()}
    for make in makers.values():
        make("")  # refuses a wrong prior before the first fill
    return makers


def compare(
    fills: dict[str, Callable[[str], Fill]],
    pictures: list[Subject],
    sweep: Callable[[Fill, NDArray[np.uint8], Callable[[AuditRow, Audit], None]], list[AuditRow]],
    cells: int,
    drawn: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Sweep each picture with every fill, and report.

    The plot has the heatmaps of cell number `drawn` of one picture, or of the `WORST` results among many.
    """
    from repaint.lab.quality.audit_plot import audit_plot
    from repaint.measure.plots import save_plot

    rows: dict[str, dict[str, list[AuditRow]]] = {name: {} for name in fills}
    shown: list[tuple[str, Audit]] = []
    each_way, many = cells * len(pictures), len(pictures) > 1
    title = f"filling {each_way} times in {len(fills)} ways"
    with progress_bar(title, each_way * len(fills), "fillings") as advance:
        for name, make in fills.items():
            for each in pictures:
                done = count()

                def on_cell(
                    row: AuditRow, found: Audit, name: str = name, each: Subject = each, done: Iterator[int] = done
                ) -> None:
                    if next(done) == drawn or many:
                        hole = "" if row.radius is None else f", radius {row.radius:g}"
                        of = f", {each.name}" if many else ""
                        shown.append((f"{name}{of}\nstrength {row.strength:g}{hole}", found))
                    if many:
                        shown.sort(key=lambda titled: -titled[1].mse)
                        del shown[WORST:]
                    advance(1)

                rows[name][each.name] = sweep(make(each.prompt), each.pixels, on_cell)
    every = {name: [row for found in by_picture.values() for row in found] for name, by_picture in rows.items()}
    if plot is not None:
        save_plot(audit_plot(rows, dict(shown)), plot)
    if as_json:
        _print_rows(rows, every)
    else:
        _print_tables(every)


def _print_rows(rows: dict[str, dict[str, list[AuditRow]]], every: dict[str, list[AuditRow]]) -> None:
    from repaint.lab.quality.audit_sweep import curves

    found = {}
    for name, by_picture in rows.items():
        each = [{"picture": picture} | vars(row) for picture, of_it in by_picture.items() for row in of_it]
        trends = [{"strength": curve.strength} | curve.trend.as_dict() for curve in curves(every[name])]
        found[name] = {"rows": each, "trends": trends}
    print_json(found)


def _print_tables(every: dict[str, list[AuditRow]]) -> None:
    from repaint.lab.quality.audit_sweep import curves

    table = Table("fills with", "strength", "mean MSE", "most", "quadratic trend", "R²", box=None, header_style="bold")
    for name, found in every.items():
        for curve in curves(found):
            strength = f"{min(curve.x):g} to {max(curve.x):g}" if curve.strength is None else f"{curve.strength:g}"
            errors = f"{sum(curve.mse) / len(curve.mse):.4g}", f"{max(curve.mse):.4g}"
            a, b, c = curve.trend.coefficients
            r_squared = "n/a" if isnan(curve.trend.r_squared) else f"{curve.trend.r_squared:.2f}"
            table.add_row(name, strength, *errors, f"{a:.4g} x² {b:+.4g} x {c:+.4g}", r_squared)
    print_table(table)
    regions = Table("mean MSE of kept pixels", *REGIONS, box=None, header_style="bold")
    for name, found in every.items():
        regions.add_row(name, *(_mean([getattr(row, region) for row in found]) for region in REGIONS.values()))
    print_table(regions)


def _mean(values: list[float | None]) -> str:
    there = [value for value in values if value is not None]
    return f"{sum(there) / len(there):.4g}" if there else "n/a"
