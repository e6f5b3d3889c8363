"""repaint bench photographs: damaged photographs, against classical inpainting."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from repaint.cli.console import calls_bar, print_json, print_table, say
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Threads, chosen
from repaint.errors import InputError

if TYPE_CHECKING:
    from repaint.lab.quality.restoration import Restored

__all__ = ["photographs"]


def photographs(
    images: Annotated[Path, typer.Option(help="Folder of photographs that the prior was not trained on.")],
    prior: PriorName = "photos",
    schedule: Annotated[
        list[str] | None, typer.Option(help="Preset or YAML file; may be repeated. Default: the prior's own.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of crops, at least two of each kind.", min=2)] = 60,
    kinds: Annotated[
        list[str] | None, typer.Option("--damage", help="Kind of damage; may be repeated. Default: all six.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels, at most 256.", min=48, max=256)] = 128,
    samples: Annotated[int, typer.Option(help="Results of each crop: 1, or an even number.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="Seed, at least 0.", min=0)] = 0,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Restore damaged crops of photographs, and compare with OpenCV and biharmonic inpainting.

    Crops are cut at random scales; each has scratches, lettering, spots, a missing piece, dust or a wire. gradient:
    mean gradient in the hole over that of the truth. energy: energy score in 8-bit values. patches: distance of patches
    to real ones, and that of the true pixels; n/a in thin holes. in N %: share of true values in the central interval
    of N % of the fills. in pairs: of samples with opposite noise.

    Example: repaint bench photographs --images photographs/held_out --count 60

    Example: repaint bench photographs --images photographs/held_out --damage piece --schedule fast --schedule thin
    """
    from repaint.lab.quality.restoration import (
        BATCH,
        classical,
        compare_energies,
        compare_restorations,
        damaged_crops,
        restore,
    )
    from repaint.measure.intervals import resampled, units
    from repaint.pictures.damage import DAMAGE
    from repaint.priors.load import default_schedule
    from repaint.sampling.method import as_methods

    damages = {kind: chosen("--damage", kind, DAMAGE) for kind in kinds or DAMAGE}
    if count < 2 * len(damages):
        raise InputError(f"--count {count} must be at least {2 * len(damages)}: two crops of each kind of damage.")
    methods = as_methods(schedule or [default_schedule(prior)])
    pipe = load_pipe(prior, device, dtype, threads)
    holes = damaged_crops(images, count, side=size, seed=seed, kinds=list(damages))
    ours: dict[str, dict[str, Restored]] = {}
    for name, method in methods.items():
        with calls_bar(f"restoring {count} crops with {name}", method.model_calls * -(-count // BATCH)) as step:
            ours[name] = restore(pipe, holes, method, samples=samples, on_call=step)
    named = {f"{name}, {result}": found for name, each in ours.items() for result, found in each.items()}
    means, gaps = compare_restorations(holes, {**classical(holes), **named})
    against = compare_energies(holes, {name: each["one sample"] for name, each in ours.items()})
    if as_json:
        differences = [{"damage": a, "ours": b, "classical": c, **vars(gap)} for (a, b, c), gap in gaps.items()]
        energies = [{"damage": a, "schedule": b, **vars(gap)} for (a, b), gap in against.items()]
        print_json({"means": [asdict(each) for each in means], "differences": differences, "energies": energies})
        return
    nominal = [*next((each.inside for each in means if each.inside), {})]
    table = Table("damage", "method", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in ("PSNR", "SSIM", "gradient", "energy", "patches", *(f"in {share:.0%}" for share in nominal), "sec"):
        table.add_column(column, no_wrap=True)
    for each in means:
        inside = [f"{each.inside[share]:.0%}" if share in each.inside else "n/a" for share in nominal]
        gradient = "n/a" if each.gradient is None else f"{each.gradient:.2f}"
        figures = f"{each.psnr:.2f}", f"{each.ssim:.3f}", gradient, f"{each.energy:.2f}"
        patches = "n/a" if each.patches is None else f"{each.patches:.2f} ({each.floor:.2f})"
        table.add_row(each.damage, each.method, *figures, patches, *inside, f"{each.seconds:.2f}")
    print_table(table)
    say("PSNR of ours minus that of the best classical method, in dB, with 95 % intervals:")
    for kind in dict.fromkeys(each.damage for each in means):
        theirs = [each for each in means if each.damage == kind and each.method not in named]
        best = max(theirs, key=lambda each: each.psnr).method
        for (damaged, name, other), gap in gaps.items():
            if damaged == kind and other == best:
                say(f"  {kind}: {name} - {other} {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]")
    if against:
        say(f"Energy score minus that of {next(iter(methods))}, with 95 % intervals:")
    for (damaged, name), gap in against.items():
        say(f"  {damaged}: {name} {gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]")
    crops = [hole.picture for hole in holes if hole.group == holes[0].group]
    say(resampled(units(crops), len(crops), hole="crops", picture="photographs"))
