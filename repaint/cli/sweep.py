"""repaint sweep: fill a grid of images, masks, schedules and seeds."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.console import calls_bar, print_json, say, say_aside, together
from repaint.cli.loading import Device, load_pipe, process_state
from repaint.cli.options import AsJson, Threads, chosen, torch_dtype

if TYPE_CHECKING:
    from repaint.lab.sweep.grid import Grid
    from repaint.lab.sweep.rows import Rows
    from repaint.pipeline import RePaintPipeline

__all__ = ["sweep"]

DRAWN = ["psnr", "patches"]  # similarity to the original, and to the rest of the picture


def sweep(
    config: Annotated[Path, typer.Argument(help="The grid, a YAML file; see examples/sweeps.")],
    out_file: Annotated[Path, typer.Option("--out", help="File to append rows to: JSON lines, .jsonl.")],
    shard: Annotated[str | None, typer.Option(help="i/n runs the i-th of n parts, for job arrays.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Maximum number of cells, evenly spread over the grid.", min=1)
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="Group rows by size, image, mask, class, prompt, steps, calls, merge or solver."),
    ] = "schedule",
    against: Annotated[
        str | None,
        typer.Option(
            help="Also print differences to this schedule, with 95 % intervals over pictures; with --by size, mask, "
            "class or prompt for each group."
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the measures: .png, .svg or .pdf.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Measure for --plot and --against; may be repeated. Default: psnr and patches."),
    ] = None,
    over: Annotated[
        str, typer.Option(help="Horizontal axis of the plot, one of the values of --by. --by selects the curves.")
    ] = "schedule",
    device: Device = "auto",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Fill each cell of a grid of images, masks, schedules, methods and seeds, and append a row for it.

    An interrupted sweep resumes when the same command is given again. To use several processes or GPUs: accelerate
    launch -m repaint sweep CONFIG --out FILE. All processes write to the same file.

    Example: repaint sweep examples/sweeps/ddpm-ddim.yaml --out rows.jsonl --limit 6
    """
    from repaint.lab.sweep.grid import batches, read_grid, spread
    from repaint.lab.sweep.rows import Rows
    from repaint.lab.sweep.summary import curves, summary
    from repaint.lab.sweep.sweep_plot import sweep_plot
    from repaint.measure.plots import check_plot, save_plot
    from repaint.shards import share_of

    # Check the options before any work is done.
    summary([], by)
    drawn = list(dict.fromkeys(measure or DRAWN))
    for name in drawn:
        curves([], name, over, by)
    if plot is not None:
        check_plot(plot)
    grid = read_grid(config)
    if against is not None:
        chosen("--against", against, {cell.method.name: None for cell in grid.cells})
    torch_dtype(grid.config.dtype)  # refuses a wrong name
    rows = Rows(out_file, {cell.key: cell.config for cell in grid.cells})
    cells = spread(grid.cells, limit)
    state = process_state(device)
    own_batches = share_of(batches(cells, grid.config.batch), shard, state.process_index, state.num_processes)
    todo = [batch for batch in own_batches if rows.lacks(batch)]
    if todo:
        _run(load_pipe(grid.prior, device, grid.config.dtype, threads), grid, todo, rows, state.is_main_process)
    with together("The rows"):
        state.wait_for_everyone()
    if state.is_main_process:
        rows.refresh()
        found = [rows.found[cell.key] for cell in grid.cells if cell.key in rows.found]
        if plot is not None and found:
            save_plot(sweep_plot({name: curves(found, name, over, by) for name in drawn}, over), plot)
        _tell(found, by, against, drawn, f"{len(found)} of {len(grid.cells)} cells in {out_file}", as_json)
    state.destroy_process_group()


def _run(pipe: RePaintPipeline, grid: Grid, todo: list[Any], rows: Rows, bar: bool) -> None:
    from repaint.lab.sweep.runner import check_conditions, run

    check_conditions(pipe, grid.cells)
    total = sum(batch[0].method.model_calls for batch in todo)
    count = sum(map(len, todo))
    with calls_bar(f"filling {count} cells", total) if bar else nullcontext() as step:
        run(pipe, todo, rows, on_call=step, say=say_aside)


def _tell(
    found: list[dict[str, Any]], by: str, against: str | None, measures: list[str], count: str, as_json: bool
) -> None:
    from repaint.lab.sweep.sources import picture_of
    from repaint.lab.sweep.summary import differences, summary
    from repaint.lab.sweep.sweep_table import differences_table, missing_values, summary_table
    from repaint.measure.intervals import resampled

    means = summary(found, by)
    compared = [] if against is None else differences(found, against, measures, by)
    if as_json:
        plain = [{"schedule": name} | {kind: vars(diff) for kind, diff in diffs.items()} for name, diffs in compared]
        print_json(means if against is None else {"means": means, "differences": plain})
        return
    for line in summary_table(means, by) if means else ():
        say(line)
    say(count)
    if compared:
        units = len({picture_of(row["image"]["name"]) for row in found})
        say(f"Difference to {against}. {resampled(units, units, hole='pictures')}")
    for line in (*(differences_table(compared) if compared else ()), *missing_values(found)):
        say(line)
