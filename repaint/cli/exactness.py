"""repaint exactness: the error of samplers where the posterior is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from repaint.cli.console import print_json, print_table, progress_bar
from repaint.cli.options import AsJson, Threads, chosen, torch_dtype
from repaint.threads import set_threads

if TYPE_CHECKING:
    from repaint.lab.exactness.measurement import Peer, Standing, Way

__all__ = ["exactness"]

PRESETS = ["none", "predicted", "corrected", "quick", "paper", "fast", "balanced", "best"]
OTHERS = ["lanpaint-paper", "lanpaint-paper-10", "ding", "diffpir"]


def exactness(
    schedule: Annotated[
        list[str] | None,
        typer.Option(help="Preset or YAML file; may be repeated. Default: eight of ours and four published ones."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="All presets of published methods, and eight of ours.")
    ] = False,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="Method of another library; may be repeated. Default without --schedule: all."),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            help="separated, overlapping, fields (these three are the default), natural, learned or taught; may be "
            "repeated."
        ),
    ] = None,
    problems_seed: Annotated[int, typer.Option(help="Seed of the problems, at least 0.", min=0)] = 0,
    problem_sets: Annotated[int, typer.Option(help="Number of sets of problems, from consecutive seeds.", min=1)] = 1,
    dtype: Annotated[
        list[str] | None, typer.Option(help="Round predictions to this type: float32, ...; may be repeated.")
    ] = None,
    count: Annotated[int, typer.Option(help="Samples of each problem, 64 to 4096.", min=64, max=4096)] = 512,
    seed: Annotated[int, typer.Option(help="Seed of the samples, at least 0.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write all rows to a JSON file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also plot error over calls: .png, .svg or .pdf.")] = None,
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure the error of samplers on Gaussian mixtures whose posterior is known.

    error: energy distance to exact samples, divided by the mean distance of two samples of the prior in the hole.
    interval: of the mean error over problems, 95 %. sliced: sliced Wasserstein distance, divided by the same. modes:
    total variation of the component weights. cost: model calls, of which one with its gradient counts as three. A star
    marks the Pareto front of error and cost.

    Example: repaint exactness --schedule balanced --schedule paper --family fields
    """
    from repaint.files import check_place
    from repaint.lab.exactness.error_plot import exactness_plot
    from repaint.lab.exactness.measurement import FLOOR, PEERS, exact, measure, save_standings, standings, with_method
    from repaint.lab.exactness.problems import FAMILIES, USUAL, problems
    from repaint.measure.plots import check_plot, save_plot
    from repaint.sampling import presets
    from repaint.sampling.method import as_methods

    if report is not None:
        check_place(report)
    if plot is not None:
        check_plot(plot)
    families = [chosen("--family", name, {name: name for name in FAMILIES}) for name in family or USUAL]
    everything = schedule is None and peer is None
    others = presets.published() if published else OTHERS
    names = [*PRESETS, *others, *(schedule or [])] if everything or published else schedule or []
    methods = [*as_methods(dict.fromkeys(names)).values()]
    peers: dict[str, Peer] = {name: chosen("--peer", name, PEERS) for name in ((*PEERS,) if everything else peer or [])}
    kinds = [(f", {name}", torch_dtype(name)) for name in dtype or []] or [("", None)]
    ours = [(f"{method.name}{suffix}", with_method(method, kind)) for method in methods for suffix, kind in kinds]
    ways: dict[str, Way] = {FLOOR: exact, **dict(ours), **peers}
    calls = sum(method.model_calls for method in methods) * len(kinds)
    calls += sum(other.model_calls for other in peers.values())
    todo = [problem for number in range(problem_sets) for problem in problems(problems_seed + number, families)]
    set_threads(threads)
    with progress_bar(f"filling {len(todo)} problems", calls * len(todo), "calls") as advance:
        rows = measure(todo, ways, count=count, seed=seed, on_done=advance)
    found = standings(rows)
    if report is not None:
        arguments = {
            "problems_seed": problems_seed,
            "problem_sets": problem_sets,
            "count": count,
            "seed": seed,
            "dtype": dtype,
        }
        save_standings(report, rows, arguments)
    if plot is not None:
        save_plot(exactness_plot(found), plot)
    if as_json:
        print_json([vars(standing) for standing in found])
    else:
        print_table(_table(found))


def _table(found: list[Standing]) -> Table:
    families = list(found[0].families)
    table = Table("", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for column in ("calls", "cost", "error", "interval", *families, "sliced", "modes", "sec"):
        table.add_column(column, no_wrap=True)
    for row in found:
        errors = (f"{row.error:.4f}", f"{row.low:.4f}–{row.high:.4f}", *(f"{row.families[f]:.4f}" for f in families))
        name = f"{row.way} *" if row.front else row.way
        table.add_row(
            name,
            str(row.model_calls),
            str(row.cost),
            *errors,
            f"{row.sliced:.4f}",
            f"{row.modes:.3f}",
            f"{row.seconds:.1f}",
        )
    return table
