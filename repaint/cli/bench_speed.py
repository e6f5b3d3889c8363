"""repaint bench speed: the time spent outside the model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import print_json, print_table, progress_bar, say
from repaint.cli.loading import Device, load_pipe, place_of
from repaint.cli.options import AsJson, DType, Threads, torch_dtype
from repaint.threads import set_threads

__all__ = ["speed"]


def speed(
    prior: Annotated[
        str, typer.Option(help="Bundled name, folder or Hub id; random is a UNet with random weights.")
    ] = ("random"),
    size: Annotated[int, typer.Option(help="Side of the square pictures, in pixels.", min=8)] = 64,
    batch: Annotated[int, typer.Option(help="Pictures in a batch.", min=1)] = 1,
    dtype: DType = "float32",
    device: Device = "auto",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network first.")] = False,
    rounds: Annotated[int, typer.Option(help="Measured runs of each, in turns.", min=1)] = 5,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=2)] = 25,
    jump_length: Annotated[int, typer.Option(help="Length of a jump, in steps.", min=1)] = 5,
    jump_n_sample: Annotated[int, typer.Option(help="Passes through each stretch.", min=1)] = 3,
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the time spent outside the model: the network alone, this library and diffusers, in turns.

    Example: repaint bench speed --prior emoji --rounds 3
    """
    import torch

    from repaint.lab.speed.timing import contestants, measure_speed, random_prior
    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.method import as_method
    from repaint.sampling.schedule import JumpSchedule

    place = place_of(device)
    if prior == "random":
        set_threads(threads)
        pipe = RePaintPipeline(random_prior(size, torch_dtype(dtype, place))).to(place)
        pipe.set_progress_bar_config(disable=True)
    else:
        pipe = load_pipe(prior, place, dtype, threads)
    walk = steps, jump_length, jump_n_sample
    ways, missing = contestants(pipe, walk, as_method(JumpSchedule.paper(*walk)), size=size, batch=batch)
    with progress_bar("measuring", rounds, "rounds") as advance:
        rows = measure_speed(pipe, ways, batch=batch, rounds=rounds, compiled=compiled, on_round=advance)
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows], "missing": missing, "threads": torch.get_num_threads()})
        return
    table = Table(
        "", "calls", "ms a call", "outside the networks", "over it alone", "syncs", "noise", "tensors", "MB", box=None
    )
    for row in rows:
        spread = f"{row.ms[1]:.2f} [{row.ms[0]:.2f}, {row.ms[2]:.2f}]"
        shares = (f"{middle:.1%} [{low:.1%}, {high:.1%}]" for low, middle, high in (row.outside, row.over_bare))
        counts = str(row.syncs), f"{row.noise:g}", f"{row.tensors:.2f}", f"{row.memory / 1e6:.1f}"
        table.add_row(row.name, str(row.calls), spread, *shares, *counts)
    print_table(table)
    for name, reason in missing.items():
        say(f"{name} was not measured: {reason}")
