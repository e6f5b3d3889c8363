"""Options and steps that `repaint audit strength` and `repaint audit radius` share."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from repaint.checks import nearest
from repaint.cli.console import out, print_json, progress_bar
from repaint.cli.options import chosen, torch_dtype
from repaint.errors import InputError
from repaint.threads import set_threads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from repaint.lab.quality.audit_sweep import AuditRow, Fill
    from repaint.measure.audit import Audit

__all__ = ["Device", "Fills", "GuidanceScale", "ImageFile", "PlotFile", "Prompt", "compare", "fillers", "test_image"]

OURS = "repaint"

Prompt = Annotated[str, typer.Option(help="Text prompt. Without --image, also the name of the emoji to fill.")]
ImageFile = Annotated[Path | None, typer.Option("--image", help="An 8-bit RGB image to fill instead of an emoji.")]
Fills = Annotated[
    list[str] | None,
    typer.Option(
        "--fill", help="repaint, or inpaint or img2img of diffusers; may be repeated. Default: repaint and inpaint."
    ),
]
GuidanceScale = Annotated[float, typer.Option(help="Weight of classifier-free guidance.")]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="Also draw curves and heatmaps: .png, .svg or .pdf.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


def test_image(image: Path | None, prompt: str) -> NDArray[np.uint8]:
    """Load the image, or the emoji whose name is the prompt."""
    import numpy as np

    from repaint.pictures.decoding import open_image, upright
    from repaint.pictures.samples import glyphs

    if image is None:
        known = glyphs()
        if prompt not in known:
            raise InputError(
                f"--prompt {prompt!r} without --image must be the name of an emoji among the samples."
                f"{nearest(prompt, known)} Choose another, or pass --image."
            )
        return known[prompt]
    picture = upright(open_image(image))
    if picture.mode != "RGB":
        raise InputError(f"{image}: PIL mode {picture.mode} is not supported here. Convert it to RGB.")
    return np.asarray(picture)


def fillers(
    names: list[str] | None,
    prior: str,
    schedule: str,
    prompt: str,
    guidance_scale: float,
    device: str,
    dtype: str,
    threads: str,
    plot: Path | None,
) -> dict[str, Fill]:
    """Make the fills named by --fill, which share one prior."""
    from repaint.lab.quality.audit_sweep import DIFFUSERS, diffusers_fill, repaint_fill
    from repaint.measure.plots import check_plot
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method

    if plot is not None:
        check_plot(plot)
    ways = {way: f"diffusers, {way}" for way in DIFFUSERS} | {OURS: OURS}
    titles = {way: chosen("--fill", way, ways) for way in names or [OURS, "inpaint"]}
    method = as_method(schedule)
    set_threads(threads)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype)).to(device)
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"prompt": prompt, "guidance_scale": guidance_scale}
    return {
        title: repaint_fill(pipe, schedule=method, **options)
        if way == OURS
        else diffusers_fill(pipe, way, steps=method.schedule.steps, **options)
        for way, title in titles.items()
    }


def compare(
    fills: dict[str, Fill],
    sweep: Callable[[Fill, Callable[[AuditRow, Audit], None]], list[AuditRow]],
    cells: int,
    drawn: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Sweep with every fill, and report. The plot has the heatmaps of cell number `drawn`."""
    from repaint.lab.quality.audit_plot import audit_plot
    from repaint.lab.quality.audit_sweep import curves
    from repaint.measure.plots import save_plot

    rows: dict[str, list[AuditRow]] = {}
    shown: dict[str, Audit] = {}
    with progress_bar(f"filling {cells} times in {len(fills)} ways", cells * len(fills), "fillings") as advance:
        for name, fill in fills.items():
            done = 0

            def on_cell(row: AuditRow, found: Audit, name: str = name) -> None:
                nonlocal done
                if done == drawn:
                    hole = "" if row.radius is None else f", radius {row.radius:g}"
                    shown[f"{name}\nstrength {row.strength:g}{hole}"] = found
                done += 1
                advance(1)

            rows[name] = sweep(fill, on_cell)
    if plot is not None:
        save_plot(audit_plot(rows, shown), plot)
    if as_json:
        trends = {
            name: [{"strength": curve.strength} | curve.trend.as_dict() for curve in curves(found)]
            for name, found in rows.items()
        }
        print_json({name: {"rows": [vars(row) for row in rows[name]], "trends": trends[name]} for name in rows})
        return
    table = Table("fills with", "strength", "mean MSE", "most", "quadratic trend", "R²", box=None, header_style="bold")
    for name, found in rows.items():
        for curve in curves(found):
            strength = f"{min(curve.x):g} to {max(curve.x):g}" if curve.strength is None else f"{curve.strength:g}"
            errors = f"{sum(curve.mse) / len(curve.mse):.4g}", f"{max(curve.mse):.4g}"
            a, b, c = curve.trend.coefficients
            r_squared = "n/a" if isnan(curve.trend.r_squared) else f"{curve.trend.r_squared:.2f}"
            table.add_row(name, strength, *errors, f"{a:.4g} x² {b:+.4g} x {c:+.4g}", r_squared)
    out.print(table)
