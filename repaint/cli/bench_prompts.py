"""repaint bench prompts: the effect of the prompt."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import calls_bar, print_json, print_table, say
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Threads, chosen

__all__ = ["prompts"]


def prompts(
    schedule: Annotated[
        list[str] | None, typer.Option(help="Preset or YAML file; may be repeated. Default: predicted.")
    ] = None,
    part: Annotated[str, typer.Option(help="train or held_out glyphs.")] = "train",
    hole: Annotated[list[str] | None, typer.Option(help="mouth, half or box; may be repeated. Default: all.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="right, empty or wrong; may be repeated. Default: all.")
    ] = None,
    glyphs: Annotated[int, typer.Option(help="Number of glyphs, evenly spread.", min=2)] = 100,
    seeds: Annotated[int, typer.Option(help="Results per glyph and hole.", min=1)] = 4,
    guidance_scale: Annotated[float, typer.Option(help="Weight of classifier-free guidance.")] = 3.0,
    prior: PriorName = "emoji",
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare glyphs filled with the right, an empty and a wrong prompt, with paired 95 % intervals.

    The first schedule is also compared with each other one, under the first prompt.

    Example: repaint bench prompts --part held_out --hole mouth --glyphs 20
    """
    from repaint.lab.quality.cases import glyph_holes
    from repaint.lab.quality.prompts import MASKS, PROMPTS, compare_prompts
    from repaint.measure.intervals import resampled
    from repaint.pictures.samples import Part
    from repaint.sampling.method import as_methods

    parts: dict[str, Part] = {"train": "train", "held_out": "held_out"}
    where = chosen("--part", part, parts)
    masks = {name: chosen("--hole", name, MASKS) for name in hole or MASKS}
    holes = {name: glyph_holes(mask, where, glyphs) for name, mask in masks.items()}
    kinds = list({name: chosen("--prompt", name, PROMPTS) for name in prompt or PROMPTS})
    methods = as_methods(schedule or ["predicted"])
    pipe = load_pipe(prior, device, dtype, threads)
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
    table = Table("hole", "schedule", "prompt", "PSNR, dB", "SSIM", "diversity", "model calls", box=None)
    for (hole_name, name, kind), found in study.scored.items():
        diversity = f"{found.diversity.mean():.4f}" if seeds > 1 else "n/a"
        means = f"{found.psnr.mean():.2f}", f"{found.ssim.mean():.4f}", diversity
        table.add_row(hole_name, name, kind, *means, str(found.model_calls))
    print_table(table)
    if seeds == 1:
        say("diversity n/a: It needs several results per hole (--seeds).")
    differences = study.differences()
    if not differences:
        return
    table = Table("hole", "difference", "PSNR, dB", "SSIM", box=None)
    for (hole_name, title), (by_psnr, by_ssim) in differences.items():
        table.add_row(hole_name, title, *(f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in (by_psnr, by_ssim)))
    print_table(table)
    say(resampled(glyphs, glyphs, hole="glyphs"))
