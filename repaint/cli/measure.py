"""repaint bench: how good what a method paints is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
from rich.table import Table

from repaint.cli.common import AsJson, DType, PriorName, Seed, calls_bar, chosen, finite, out, print_json, torch_dtype

__all__ = ["bench_app"]


class _TexturesFirst(typer.core.TyperGroup):
    """`repaint bench` without a subcommand is `repaint bench textures`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["textures", *args]
        return super().parse_args(ctx, args)


bench_app = typer.Typer(
    cls=_TexturesFirst,
    help="Quality of what a method paints. Without a subcommand: textures.",
)


@bench_app.command()
def textures(
    schedule: Annotated[list[str] | None, typer.Option(help="Preset or YAML file; may be repeated.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the first three holes of each photograph, a PNG.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Are painted patches like real ones? 65 holes in photographs that the `textures` prior never saw.

    Beside each schedule stand the floor (the true content) and biharmonic inpainting.

    Example: repaint bench --schedule predicted --schedule quick
    """
    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.lab.holes import texture_holes
    from repaint.lab.quality import biharmonic, fill, score, truth
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline
    from repaint.plots import holes_sheet

    if sheet is not None:
        check_writable(sheet, "RGB")
    methods = {method.name: method for method in map(as_method, schedule or ["predicted", "corrected", "quick"])}
    holes, batch = texture_holes(), 16
    pipe = RePaintPipeline.from_pretrained("textures")
    pipe.set_progress_bar_config(disable=True)
    filled = {"real (floor)": truth(holes), "biharmonic": biharmonic(holes)}
    total = sum(method.model_calls for method in methods.values()) * -(-len(holes) // batch)
    with calls_bar(f"filling {len(holes)} holes, {batch} at a time", total) as step:
        for name, method in methods.items():
            filled[name] = fill(pipe, holes, method, first_seed=seed, batch=batch, on_call=step)
    if sheet is not None:
        save_image(holes_sheet(holes, {name: ours.images for name, ours in filled.items()}), sheet)
    scores = {name: score(holes, ours) for name, ours in filled.items()}
    if as_json:
        print_json({name: vars(score) | {"psnr": finite(score.psnr)} for name, score in scores.items()})
        return
    table = Table("fills with", "patches", "gradients", "seam", "PSNR", "SSIM", "model calls", "seconds")
    for name, its in scores.items():
        cells = f"{its.patches:.4f}", f"{its.gradients:.4f}", f"{its.seam:.3f}", f"{its.psnr:.2f}", f"{its.ssim:.4f}"
        table.add_row(name, *cells, str(its.model_calls), f"{its.seconds:.1f}")
    out.print(table)


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
    from repaint.lab.holes import glyph_holes
    from repaint.lab.prompts import MASKS, PROMPTS, compare_prompts
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline
    from repaint.samples import Part

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
