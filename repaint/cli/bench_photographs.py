"""repaint bench photographs: damaged photographs, against classical inpainting."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import calls_bar, out, print_json, say
from repaint.cli.options import AsJson, DType, PriorName, Threads, torch_dtype
from repaint.threads import set_threads

__all__ = ["photographs"]


def photographs(
    images: Annotated[Path, typer.Option(help="Folder of photographs that the prior was not trained on.")],
    prior: PriorName = "photos",
    schedule: Annotated[str | None, typer.Option(help="Preset or YAML file. Default: the prior's own.")] = None,
    count: Annotated[int, typer.Option(help="Number of crops.", min=12)] = 60,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels, at most 256.", min=48, max=256)] = 128,
    samples: Annotated[int, typer.Option(help="Results of each crop.", min=2)] = 8,
    seed: Annotated[int, typer.Option(help="Seed, at least 0.", min=0)] = 0,
    dtype: DType = "float32",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Restore damaged crops of photographs, and compare with OpenCV and biharmonic inpainting.

    Crops are cut at random scales; each has scratches, lettering, spots, a missing piece, dust or a wire. gradient:
    sharpness over that of the truth. energy: energy score in 8-bit values. in N %: share of true values in central
    intervals of the fills.

    Example: repaint bench photographs --images photographs/held_out --count 60
    """
    from repaint.lab.quality.restoration import BATCH, classical, compare_restorations, damaged_crops, restore
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method

    set_threads(threads)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype))
    pipe.set_progress_bar_config(disable=True)
    method = as_method(schedule or pipe.prior.default_schedule)
    holes = damaged_crops(images, count, side=size, seed=seed)
    with calls_bar(f"restoring {count} crops with {method.name}", method.model_calls * -(-count // BATCH)) as step:
        ours = restore(pipe, holes, method, samples=samples, on_call=step)
    means, gaps = compare_restorations(holes, {**classical(holes), **ours})
    if as_json:
        differences = [{"damage": a, "ours": b, "classical": c, **vars(gap)} for (a, b, c), gap in gaps.items()]
        print_json({"means": [asdict(each) for each in means], "differences": differences})
        return
    nominal = list(means[-1].inside)
    table = Table("damage", "method", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in ("PSNR", "SSIM", "gradient", "energy", *(f"in {share:.0%}" for share in nominal), "sec"):
        table.add_column(column, no_wrap=True)
    for each in means:
        inside = [f"{each.inside[share]:.0%}" if share in each.inside else "n/a" for share in nominal]
        figures = f"{each.psnr:.2f}", f"{each.ssim:.3f}", f"{each.gradient:.2f}", f"{each.energy:.2f}"
        table.add_row(each.damage, each.method, *figures, *inside, f"{each.seconds:.2f}")
    out.print(table)
    say("PSNR of ours minus that of the best classical method, in dB, with 95 % intervals over crops:")
    for kind in dict.fromkeys(each.damage for each in means):
        singles = [each for each in means if each.damage == kind and not each.inside]
        best = max(singles, key=lambda each: each.psnr).method
        for (damaged, name, other), gap in gaps.items():
            if damaged == kind and other == best:
                say(f"  {kind}: {name} - {other} {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]")
