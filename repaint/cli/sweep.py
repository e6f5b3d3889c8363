"""repaint sweep."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from repaint.cli.common import AsJson, calls_bar, err, out, print_json, say, torch_dtype

if TYPE_CHECKING:
    from repaint.lab.grid import Grid
    from repaint.lab.rows import Rows

__all__ = ["sweep"]

# Columns of the summary; the measures' own names would not fit side by side.
SHORT = {"outside_mse": "outside", "seam_contrast": "seam", "model_calls": "calls", "seconds": "sec"}


def sweep(
    config: Annotated[Path, typer.Argument(help="The grid, a YAML file; examples/sweeps has some.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the rows are appended: JSON lines, .jsonl.")],
    shard: Annotated[str | None, typer.Option(help="i/n: the i-th of n parts, for job arrays.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many cells, evenly spread.", min=1)] = None,
    by: Annotated[str, typer.Option(help="Tell apart in the summary: size, image, mask, class, prompt.")] = "schedule",
    device: Annotated[str, typer.Option(help="cpu, cuda, mps; auto is where accelerate puts the process.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Fill every cell of a grid - images, masks, schedules, methods, seeds - and append a row for each.

    Killed or ended, it goes on where it was when the same command is given again. To spread it over processes or
    GPUs: accelerate launch -m repaint sweep CONFIG --out FILE. All write to the one file.

    Example: repaint sweep examples/sweeps/ddpm-ddim.yaml --out rows.jsonl --limit 6
    """
    from accelerate import PartialState

    from repaint.lab.grid import batches, read_grid, spread
    from repaint.lab.rows import Rows
    from repaint.lab.sweep import share_of, summary

    summary([], by)  # refuses another word, before hours of work
    grid = read_grid(config)
    dtype = torch_dtype(grid.config.dtype)
    rows = Rows(out_file, {cell.key: cell.config for cell in grid.cells})
    cells = spread(grid.cells, limit)
    # A process that is done waits for the slowest: the usual half hour would end the job.
    state = PartialState(cpu=device == "cpu", timeout=timedelta(days=30))
    mine = share_of(batches(cells, grid.config.batch), shard, state.process_index, state.num_processes)
    todo = [batch for batch in mine if any(cell.key not in rows.found for cell in batch)]
    if todo:
        _run(grid, todo, rows, str(state.device) if device == "auto" else device, dtype, state.is_main_process)
    state.wait_for_everyone()
    if state.is_main_process:
        rows.refresh()
        found = [rows.found[cell.key] for cell in grid.cells if cell.key in rows.found]
        _tell(found, by, f"{len(found)} of {len(grid.cells)} cells in {out_file}", as_json)
    state.destroy_process_group()


def _run(grid: Grid, todo: list[Any], rows: Rows, device: str, dtype: Any, bar: bool) -> None:
    from repaint.lab.sweep import check_conditions, run
    from repaint.pipeline import RePaintPipeline

    pipe = RePaintPipeline.from_pretrained(grid.prior, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    check_conditions(pipe, grid.cells)
    total = sum(batch[0].method.model_calls for batch in todo)
    count = sum(map(len, todo))
    with calls_bar(f"filling {count} cells", total) if bar else nullcontext() as step:
        run(pipe, todo, rows, on_call=step, say=lambda text: err.print(escape(text), highlight=False, soft_wrap=True))


def _tell(found: list[dict[str, Any]], by: str, count: str, as_json: bool) -> None:
    from repaint.lab.sweep import summary

    means = summary(found, by)
    if as_json:
        print_json(means)
        return
    columns = [name for name in means[0] if any(entry[name] is not None for entry in means)] if means else []
    table = Table(*(SHORT.get(name, name) for name in columns), box=None, header_style="bold")
    for entry in means:
        table.add_row(*(_shown(entry[name]) for name in columns))
    if means:
        out.print(table)
    say(count)
    lacking = dict.fromkeys(row["notes"]["lpips"] for row in found if "lpips" in row["notes"])
    reasons = dict.fromkeys(f"failed: {row['reason']}" for row in found if row["status"] == "failed")
    for line in (*lacking, *reasons):
        say(line)


def _shown(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
