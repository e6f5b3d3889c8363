"""repaint audit: what an inpainting changed outside the hole."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from repaint.checks import nearest
from repaint.cli.common import (
    AsJson,
    DType,
    PriorName,
    ScheduleName,
    Seed,
    chosen,
    group_with_default,
    out,
    print_json,
    progress_bar,
    tell,
    torch_dtype,
)
from repaint.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from repaint.lab.quality.audit_sweep import Fill, Row
    from repaint.measure.audit import Audit

__all__ = ["audit_app"]

OURS = "repaint"


audit_app = typer.Typer(
    cls=group_with_default("file"),
    no_args_is_help=True,
    help="What changed outside the hole: repaint audit RESULT IMAGE MASK. Without a subcommand: file.",
)

Prompt = Annotated[str, typer.Option(help="What to draw. Without --image also the name of the emoji to fill.")]
ImageFile = Annotated[Path | None, typer.Option("--image", help="An 8-bit RGB image to fill instead of an emoji.")]
Fills = Annotated[
    list[str] | None, typer.Option("--fill", help="repaint, inpaint or img2img (diffusers'); the first two without it.")
]
GuidanceScale = Annotated[float, typer.Option(help="Weight of classifier-free guidance.")]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="Also draw curves and heatmaps: .png, .svg or .pdf.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")]


@audit_app.command()
def file(
    result: Annotated[Path, typer.Argument(help="What an inpainting returned.")],
    image: Annotated[Path, typer.Argument(help="What it was given, of the same size and mode.")],
    mask: Annotated[Path, typer.Argument(help="The mask: white is repainted.")],
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="The mask's white is kept, not repainted.")] = False,
    heatmap: Annotated[Path | None, typer.Option(help="Also draw where it changed: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Did a saved result change pixels that it should have kept? Any program's result.

    Example: repaint audit filled.png photo.png mask.png --heatmap changed.png
    """
    from repaint.measure.audit import audit_files
    from repaint.measure.plots import check_plot, heatmaps, save_plot

    if heatmap is not None:
        check_plot(heatmap)
    its = audit_files(result, image, mask, keep_mask=keep_mask)
    if heatmap is not None:
        save_plot(heatmaps({result.name: its}), heatmap)
    lines = [f"{result}: none of {its.kept} kept pixels changed."]
    if its.max_change > 0:
        lines = [
            f"{result}: {round(its.changed * its.kept)} of {its.kept} kept pixels changed ({its.changed:.1%}).",
            f"MSE {its.mse:.4g}, largest change {its.max_change:g}.",
            f"Mean change {its.profile[0]:.3g} at 1 pixel from the hole, {its.profile[-1]:.3g} at {len(its.profile)}.",
        ]
    about = {"result": str(result), "image": str(image), "mask": str(mask)}
    tell(about | its.as_dict(), as_json, "\n".join(lines))


@audit_app.command()
def strength(
    prompt: Prompt = "grinning face",
    image: ImageFile = None,
    mask: Annotated[Path | None, typer.Option(help="White is repainted; without it a round hole.")] = None,
    fill: Fills = None,
    values: Annotated[int, typer.Option(help="How many strengths, evenly over (0, 1].", min=3)] = 100,
    prior: PriorName = "emoji",
    schedule: ScheduleName = "predicted",
    guidance_scale: GuidanceScale = 3.0,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: DType = "float32",
    plot: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """What changes outside the hole at every strength, with ours and with diffusers' pipelines on the same weights?

    diffusers' take as many steps as the schedule has.

    Example: repaint audit strength --values 20 --plot strength.png
    """
    from repaint.lab.quality.audit_sweep import even, sweep_strength
    from repaint.pictures.mask_shapes import circle
    from repaint.pictures.masks import known, read_keep

    picture = _picture(image, prompt)
    size = picture.shape[:2]
    keep = circle(*size) if mask is None else read_keep(mask, sizes=[size])[0]
    hole = ~known(keep)[0].numpy()
    fills = _fills(fill, prior, schedule, prompt, guidance_scale, device, dtype, plot)
    _compare(
        fills,
        lambda way, on_cell: sweep_strength(way, picture, hole, even(values), seed=seed, on_cell=on_cell),
        values,
        values - 1,
        plot,
        as_json,
    )


@audit_app.command()
def radius(
    prompt: Prompt = "grinning face",
    image: ImageFile = None,
    strength: Annotated[list[float] | None, typer.Option(help="May be repeated; 0.1, 0.5 and 0.9 without it.")] = None,
    fill: Fills = None,
    values: Annotated[int, typer.Option(help="How many radii, evenly up to half of the image.", min=3)] = 50,
    prior: PriorName = "emoji",
    schedule: ScheduleName = "predicted",
    guidance_scale: GuidanceScale = 3.0,
    seed: Seed = 0,
    device: Device = "cpu",
    dtype: DType = "float32",
    plot: PlotFile = None,
    as_json: AsJson = False,
) -> None:
    """What changes outside a round hole of every radius, with ours and with diffusers' pipelines on the same weights?

    Example: repaint audit radius --values 10 --strength 0.5 --plot radius.png
    """
    from repaint.lab.quality.audit_sweep import even, sweep_radius

    picture = _picture(image, prompt)
    radii = even(values, min(picture.shape[:2]) / 2)
    strengths = strength or [0.1, 0.5, 0.9]
    fills = _fills(fill, prior, schedule, prompt, guidance_scale, device, dtype, plot)
    _compare(
        fills,
        lambda way, on_cell: sweep_radius(way, picture, radii, strengths, seed=seed, on_cell=on_cell),
        values * len(strengths),
        values * (len(strengths) - 1) + values // 2,
        plot,
        as_json,
    )


def _picture(image: Path | None, prompt: str) -> NDArray[np.uint8]:
    """The image, or the emoji that the prompt names."""
    import numpy as np

    from repaint.pictures.decoding import open_image, upright
    from repaint.pictures.samples import glyphs

    if image is None:
        known = glyphs()
        if prompt not in known:
            raise InputError(
                f"--prompt {prompt!r} without --image: no emoji among the samples has that name."
                f"{nearest(prompt, known)} Choose another, or give an image."
            )
        return known[prompt]
    picture = upright(open_image(image))
    if picture.mode != "RGB":
        raise InputError(f"--image {image} has PIL mode {picture.mode}: these sweeps take RGB. Convert it.")
    return np.asarray(picture)


def _fills(
    names: list[str] | None,
    prior: str,
    schedule: str,
    prompt: str,
    guidance_scale: float,
    device: str,
    dtype: str,
    plot: Path | None,
) -> dict[str, Fill]:
    """The ways of filling that --fill names, over one prior."""
    from repaint.lab.quality.audit_sweep import DIFFUSERS, diffusers_fill, repaint_fill
    from repaint.measure.plots import check_plot
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method

    if plot is not None:
        check_plot(plot)
    ways = {way: f"diffusers, {way}" for way in DIFFUSERS} | {OURS: OURS}
    titles = {way: chosen("--fill", way, ways) for way in names or [OURS, "inpaint"]}
    method = as_method(schedule)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype)).to(device)
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"prompt": prompt, "guidance_scale": guidance_scale}
    return {
        title: repaint_fill(pipe, schedule=method, **asked)
        if way == OURS
        else diffusers_fill(pipe, way, steps=method.schedule.steps, **asked)
        for way, title in titles.items()
    }


def _compare(
    fills: dict[str, Fill],
    sweep: Callable[[Fill, Callable[[Row, Audit], None]], list[Row]],
    cells: int,
    drawn: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Sweep with every way of filling, and report; the heatmaps are those of the cell number `drawn`."""
    from repaint.lab.quality.audit_plot import audit_plot
    from repaint.lab.quality.audit_sweep import curves
    from repaint.measure.plots import save_plot

    rows: dict[str, list[Row]] = {}
    shown: dict[str, Audit] = {}
    with progress_bar(f"filling {cells} times in {len(fills)} ways", cells * len(fills), "fillings") as advance:
        for name, fill in fills.items():
            done = 0

            def on_cell(row: Row, its: Audit, name: str = name) -> None:
                nonlocal done
                if done == drawn:
                    hole = "" if row.radius is None else f", radius {row.radius:g}"
                    shown[f"{name}\nstrength {row.strength:g}{hole}"] = its
                done += 1
                advance(1)

            rows[name] = sweep(fill, on_cell)
    if plot is not None:
        save_plot(audit_plot(rows, shown), plot)
    if as_json:
        trends = {
            name: [{"strength": curve.strength} | curve.trend.as_dict() for curve in curves(some)]
            for name, some in rows.items()
        }
        print_json({name: {"rows": [vars(row) for row in rows[name]], "trends": trends[name]} for name in rows})
        return
    table = Table("fills with", "strength", "mean MSE", "most", "quadratic trend", "R²", box=None, header_style="bold")
    for name, some in rows.items():
        for curve in curves(some):
            what = f"{min(curve.x):g} to {max(curve.x):g}" if curve.strength is None else f"{curve.strength:g}"
            errors = f"{sum(curve.mse) / len(curve.mse):.4g}", f"{max(curve.mse):.4g}"
            a, b, c = curve.trend.coefficients
            explained = "" if isnan(curve.trend.r_squared) else f"{curve.trend.r_squared:.2f}"
            table.add_row(name, what, *errors, f"{a:.4g} x² {b:+.4g} x {c:+.4g}", explained)
    out.print(table)
