"""repaint bench: the quality of filled holes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.bench_detection import detection
from repaint.cli.bench_photographs import photographs
from repaint.cli.bench_prompts import prompts
from repaint.cli.bench_protocols import protocol
from repaint.cli.bench_speed import speed
from repaint.cli.console import calls_bar, print_json, print_table, say
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Seed, Threads, group_with_default

__all__ = ["bench_app"]

NOT_A_NUMBER = {
    "psnr": "It is infinite where a fill equals the true content.",
    "energy, crps, diversity": "They need several results per hole (--seeds).",
}


def holes(
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="Preset or YAML file; may be repeated. Default: predicted, corrected and quick."),
    ] = None,
    prior: PriorName = "textures",
    images: Annotated[
        Path | None, typer.Option(help="Folder of images to use instead of the samples of the prior.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of masks with the names of the images. Default: NAME_mask*.png beside each image."),
    ] = None,
    many: Annotated[
        bool, typer.Option("--many", help="Use 200 or more holes of the samples, to detect small differences.")
    ] = False,
    keep_mask: Annotated[
        bool, typer.Option("--keep-mask", help="White in the masks is kept instead of repainted.")
    ] = False,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of classifier-free guidance.")] = None,
    seeds: Annotated[int, typer.Option(help="Results per hole.", min=1)] = 1,
    batch: Annotated[int, typer.Option(help="Results in a batch.", min=1)] = 16,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    report: Annotated[Path | None, typer.Option(help="Also write a report: .csv, .json or .md.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write a PNG of the first three holes of each group.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the quality of filled holes, in held-out samples of the bundled prior or in a folder of images.

    The true content (the floor) and biharmonic inpainting are measured too. The first schedule is compared with each
    other one, hole by hole, with 95 % intervals over pictures.

    Example: repaint bench --schedule predicted --schedule quick
    """
    from repaint.lab.quality.cases import bundled_holes, folder_holes
    from repaint.lab.quality.report import bench, check_savable, save
    from repaint.lab.quality.sheet import holes_sheet
    from repaint.measure.intervals import resampled, units
    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import save_image
    from repaint.sampling.method import as_methods

    if report is not None:
        check_savable(report)
    if sheet is not None:
        check_writable(sheet, "RGB")
    methods = as_methods(schedule or ["predicted", "corrected", "quick"])
    todo = bundled_holes(prior, many=many) if images is None else folder_holes(images, masks, keep_mask=keep_mask)
    pipe = load_pipe(prior, device, dtype, threads)
    options = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    rounds = -(-len(todo) // max(1, batch // seeds))
    total = sum(method.model_calls for method in methods.values()) * rounds
    with calls_bar(f"filling {len(todo)} holes", total) as step:
        result = bench(pipe, todo, methods, first_seed=seed, seeds=seeds, batch=batch, on_call=step, **options)
    if report is not None:
        save(result, report)
    if sheet is not None:
        save_image(holes_sheet(todo, {name: ours.images for name, ours in result.filled.items()}), sheet)
    summary = result.summary()
    if as_json:
        print_json(summary)
        return
    measured = [key for key in next(iter(summary.values())) if any(each[key] is not None for each in summary.values())]
    table = Table("fills with", *(name.replace("_", " ") for name in measured), box=None, header_style="bold")
    for name, means in summary.items():
        table.add_row(name, *("n/a" if means[key] is None else f"{means[key]:.4g}" for key in measured))
    print_table(table)
    if len(methods) > 1:
        table = Table("measure", "difference", "mean", "95 % interval", box=None, header_style="bold")
        for kind, name, found in result.differences():
            table.add_row(kind, name, f"{found.mean:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}")
        print_table(table)
        say(resampled(units([hole.picture for hole in todo]), len(todo)))
    reasons = NOT_A_NUMBER if seeds == 1 else {"psnr": NOT_A_NUMBER["psnr"]}
    for name, reason in (reasons | result.missing).items():
        say(f"{name} n/a: {reason}")


bench_app = typer.Typer(
    cls=group_with_default("holes", {"--protocol": "protocol"}),
    help="Measure the quality and speed of methods. The default subcommand is holes; with --protocol NAME, protocol.",
)
for command in (holes, protocol, photographs, detection, prompts, speed):
    bench_app.command()(command)
