"""repaint calibrate: whether fills are as good, and as diverse, as those of the exact posterior would be."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from repaint.cli.console import print_json, print_table, progress_bar, say, together
from repaint.cli.loading import Device, load_pipe, process_state
from repaint.cli.options import AsJson, DType, PriorName, Threads, chosen

if TYPE_CHECKING:
    from repaint.lab.calibration.calibration_summary import Calibration

__all__ = ["calibrate"]


def calibrate(
    out_file: Annotated[Path, typer.Option("--out", help="Where the rows are appended: JSON lines, .jsonl.")],
    prior: PriorName = "photos",
    schedule: Annotated[
        list[str] | None, typer.Option(help="Preset or YAML file; may be repeated. Default: fast and quick.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Holes: lines, box, half, sparse, freeform; may be repeated. Default: all.")
    ] = None,
    count: Annotated[int, typer.Option(help="Number of holes, each in another true sample.", min=2)] = 100,
    samples: Annotated[int, typer.Option(help="Fills of each hole, at least 2.")] = 4,
    size: Annotated[
        int | None, typer.Option(help="Side of the samples in pixels. Default: the prior's own.", min=1)
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Folder of held-out pictures. Default: samples drawn from the prior.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn samples in this .npz file.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Text prompt, for text-conditioned priors. Default: empty.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Compare with this schedule. Default: the first.")] = None,
    batch: Annotated[int, typer.Option(help="Holes filled at once.", min=1)] = 8,
    shard: Annotated[str | None, typer.Option(help="i/n: the i-th of n parts, for job arrays.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples, holes and fills, at least 0.", min=0)] = 0,
    plot: Annotated[Path | None, typer.Option(help="Also plot score over calls and rank histograms.")] = None,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure whether fills have the right diversity, on samples of the prior itself or held-out pictures (--truth).

    A sample or picture is masked and filled several times. energy: energy score in 8-bit values; the exact
    posterior has the smallest. CRPS: the same of single pixels. spread/error: 1 if the fills differ from each other
    as much as from the truth, below 1 if they are overconfident. p: chi-square test that the truth's rank among the
    fills is uniform, in projections on smooth patterns; it takes holes (with --truth: pictures) as independent, and
    projections of one hole as correlated (Rao and Scott). A star marks the Pareto front of energy score and cost:
    model calls, of which one with its gradient counts as three. Interrupted runs resume. To use several processes or
    GPUs: accelerate launch -m repaint calibrate --out FILE; all processes write to the same file.

    Example: repaint calibrate --schedule fast --schedule quick --count 20 --size 48 --out rows.jsonl
    """
    from repaint.lab.calibration.calibration_plot import calibration_plot
    from repaint.lab.calibration.calibration_run import CalibrationRun, silent
    from repaint.lab.calibration.hole_kinds import HOLE_KINDS
    from repaint.lab.calibration.scored_fills import check_samples
    from repaint.measure.intervals import resampled
    from repaint.measure.plots import check_plot, save_plot
    from repaint.sampling.method import as_methods

    kinds = [chosen("--kind", name, {name: name for name in HOLE_KINDS}) for name in kind or HOLE_KINDS]
    methods = as_methods(schedule or ["fast", "quick"])
    if against is not None:
        chosen("--against", against, methods)
    if plot is not None:
        check_plot(plot)
    check_samples(samples)
    state = process_state(device)
    run = CalibrationRun(
        load_pipe(prior, device, dtype, threads).prior,
        list(methods.values()),
        out_file,
        kinds,
        count,
        samples,
        side=size,
        truth=truth,
        cache=cache,
        prompt=prompt,
        seed=seed,
        facts={"dtype": dtype},
    )
    bar = partial(progress_bar, unit="calls") if state.is_main_process else silent
    with state.main_process_first():  # the others find the samples in the cache
        run.draw(bar)
    run.fill(batch, shard=shard, process=state.process_index, processes=state.num_processes, progress=bar)
    for name, reason in run.diverged.items():
        say(f"{name} is left out, because it diverged: {reason}")
    with together("The rows"):
        state.wait_for_everyone()
    if state.is_main_process:
        found = run.summary(against)
        if plot is not None and found:
            save_plot(calibration_plot(found), plot)
        if as_json:
            print_json([asdict(each) for each in found])
        else:
            if found:
                print_table(_table(found))
                say(resampled(found[0].units, found[0].holes))
            say(f"{run.done} of {len(run.cells)} rows in {out_file}")
    state.destroy_process_group()


def _table(found: list[Calibration]) -> Table:
    table = Table("", box=None, header_style="bold", padding=(0, 1, 0, 0))
    kinds, nominal = list(found[0].kinds), list(found[0].smooth.coverage)
    inside = [f"in {share:.0%}" for share in nominal]
    costly = any(each.cost != each.model_calls for each in found)
    for column in (
        "calls",
        *(["cost"] if costly else []),
        "energy",
        "difference",
        "CRPS",
        "spread/error",
        *kinds,
        *inside,
        "p",
        "sec",
    ):
        table.add_column(column, no_wrap=True)
    for each in found:
        gap = each.against
        table.add_row(
            f"{each.schedule} *" if each.front else each.schedule,
            str(each.model_calls),
            *([str(each.cost)] if costly else []),
            f"{each.energy:.2f}",
            "" if gap is None else f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]",
            "n/a" if each.crps is None else f"{each.crps:.2f}",
            f"{each.ratio:.2f} [{each.ratio_low:.2f}, {each.ratio_high:.2f}]",
            *(f"{each.kinds[name]:.2f}" for name in kinds),
            *(f"{each.smooth.coverage[share]:.0%}" for share in nominal),
            "n/a" if each.smooth.p is None else f"{each.smooth.p:.2g}",
            f"{each.seconds:.1f}",
        )
    return table
