"""repaint bench: how good what a method paints is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.common import (
    AsJson,
    DType,
    PriorName,
    Seed,
    calls_bar,
    chosen,
    group_with_default,
    out,
    print_json,
    say,
    torch_dtype,
)
from repaint.cli.speed import speed

__all__ = ["bench_app"]


bench_app = typer.Typer(
    cls=group_with_default("holes"), help="What a method paints: how good, how fast. Without a subcommand: holes."
)
bench_app.command()(speed)


@bench_app.command()
def holes(
    schedule: Annotated[list[str] | None, typer.Option(help="Preset or YAML file; may be repeated.")] = None,
    prior: PriorName = "textures",
    images: Annotated[
        Path | None, typer.Option(help="Folder of images instead of the samples that belong to the prior.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Their masks, of the same names; without it NAME_mask*.png beside each image.")
    ] = None,
    many: Annotated[
        bool, typer.Option("--many", help="200 or more of the samples' holes, for small differences.")
    ] = False,
    keep_masks: Annotated[bool, typer.Option("--keep-masks", help="The masks' white is kept, not repainted.")] = False,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of classifier-free guidance.")] = None,
    seeds: Annotated[int, typer.Option(help="Results per hole.", min=1)] = 1,
    batch: Annotated[int, typer.Option(help="Results made at once.", min=1)] = 16,
    seed: Seed = 0,
    dtype: DType = "float32",
    report: Annotated[Path | None, typer.Option(help="Also write a report: .csv, .json or .md.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Also write the first three holes of each group, a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """How good is what a method paints? Holes in pictures that the bundled prior never saw, or in a folder's.

    Beside each schedule stand the floor (the true content) and biharmonic inpainting. The first schedule is compared
    with each other one, hole by hole, with 95 % intervals.

    Example: repaint bench --schedule predicted --schedule quick
    """
    from repaint.lab.quality.cases import bundled_holes, folder_holes
    from repaint.lab.quality.report import bench, check_savable, save
    from repaint.lab.quality.sheet import holes_sheet
    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import save_image
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method

    if report is not None:
        check_savable(report)
    if sheet is not None:
        check_writable(sheet, "RGB")
    methods = {method.name: method for method in map(as_method, schedule or ["predicted", "corrected", "quick"])}
    some = bundled_holes(prior, many=many) if images is None else folder_holes(images, masks, keep_masks=keep_masks)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype))
    pipe.set_progress_bar_config(disable=True)
    options = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    rounds = -(-len(some) // max(1, batch // seeds))
    total = sum(method.model_calls for method in methods.values()) * rounds
    with calls_bar(f"filling {len(some)} holes", total) as step:
        result = bench(pipe, some, methods, first_seed=seed, seeds=seeds, batch=batch, on_call=step, **options)
    if report is not None:
        save(result, report)
    if sheet is not None:
        save_image(holes_sheet(some, {name: ours.images for name, ours in result.filled.items()}), sheet)
    summary = result.summary()
    if as_json:
        print_json(summary)
        return
    table = Table("fills with", *(name.replace("_", " ") for name in next(iter(summary.values()))))
    for name, means in summary.items():
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in means.values()))
    out.print(table)
    if len(methods) > 1:
        table = Table("measure", "difference", "mean", "95 % interval")
        for kind, name, its in result.differences():
            table.add_row(kind, name, f"{its.mean:+.4f}", f"{its.low:+.4f} to {its.high:+.4f}")
        out.print(table)
    for name, reason in result.missing.items():
        say(f"{name} was not measured: {reason}")


@bench_app.command()
def prompts(
    schedule: Annotated[list[str] | None, typer.Option(help="Preset or YAML file; may be repeated.")] = None,
    part: Annotated[str, typer.Option(help="train or held_out glyphs.")] = "train",
    hole: Annotated[list[str] | None, typer.Option(help="mouth, half or box; all without it.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="right, empty or wrong; all without it.")] = None,
    glyphs: Annotated[int, typer.Option(help="How many glyphs, evenly spread.", min=2)] = 100,
    seeds: Annotated[int, typer.Option(help="Results per glyph and hole.", min=1)] = 4,
    guidance_scale: Annotated[float, typer.Option(help="Weight of classifier-free guidance.")] = 3.0,
    prior: PriorName = "emoji",
    dtype: DType = "float32",
    as_json: AsJson = False,
) -> None:
    """Does the prompt help? Glyphs filled with their own name, none, and a wrong one; paired 95 % intervals.

    The first schedule is also compared with each other one, under the first prompt.

    Example: repaint bench prompts --part held_out --hole mouth --glyphs 20
    """
    from repaint.lab.quality.cases import glyph_holes
    from repaint.lab.quality.prompts import MASKS, PROMPTS, compare_prompts
    from repaint.pictures.samples import Part
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method

    parts: dict[str, Part] = {"train": "train", "held_out": "held_out"}
    where = chosen("--part", part, parts)
    masks = {name: chosen("--hole", name, MASKS) for name in hole or MASKS}
    holes = {name: glyph_holes(mask, where, glyphs) for name, mask in masks.items()}
    kinds = list({name: chosen("--prompt", name, PROMPTS) for name in prompt or PROMPTS})
    methods = {method.name: method for method in map(as_method, schedule or ["predicted"])}
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype))
    pipe.set_progress_bar_config(disable=True)
    batch = max(64, seeds)
    rounds = len(holes) * len(kinds) * -(-glyphs // (batch // seeds))
    total = rounds * sum(method.model_calls for method in methods.values())
    with calls_bar(f"{glyphs} glyphs, {len(holes)} holes, {seeds} seeds", total) as step:
        study = compare_prompts(
            pipe, holes, kinds, methods, guidance_scale=guidance_scale, seeds=seeds, batch=batch, on_call=step
        )
    if as_json:
        print_json(study.as_dict())
        return
    table = Table("hole", "schedule", "prompt", "PSNR", "SSIM", "diversity", "model calls")
    for (what, name, kind), its in study.scored.items():
        means = f"{its.psnr.mean():.2f}", f"{its.ssim.mean():.4f}", f"{its.diversity.mean():.4f}"
        table.add_row(what, name, kind, *means, str(its.model_calls))
    out.print(table)
    table = Table("hole", "difference", "PSNR, dB", "SSIM")
    for (what, title), (by_psnr, by_ssim) in study.differences().items():
        table.add_row(what, title, *(f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in (by_psnr, by_ssim)))
    out.print(table)
