"""repaint schedule list, show, plot and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.common import AsJson, out, print_json, say, tell
from repaint.errors import InputError
from repaint.sampling import presets
from repaint.sampling.method import Method

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Resampling schedules: list, show, plot, import.")


@app.command("list")
def schedule_list(as_json: AsJson = False) -> None:
    """The presets, with what each costs.

    Example: repaint schedule list
    """
    methods = [Method.from_preset(name) for name in presets.available()]
    if as_json:
        print_json([method.describe() for method in methods])
        return
    table = Table("name", "steps", "transitions", "model calls", "about", box=None, header_style="bold")
    for method in sorted(methods, key=lambda method: method.model_calls):
        counts = str(method.schedule.steps), str(len(method.schedule)), str(method.model_calls)
        table.add_row(method.name, *counts, method.about)
    out.print(table)


@app.command("show")
def schedule_show(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")], as_json: AsJson = False
) -> None:
    """One schedule: what it is, where it comes from, what it costs.

    Example: repaint schedule show paper
    """
    from repaint.sampling.method import as_method

    method = as_method(name)
    lines = [method.name, method.about, f"source: {method.source}"]
    lines += [f"{key}: {value}" for key, value in method.describe().items() if key != "name" and value is not None]
    measured = presets.read(name)[1].measured
    lines += [f"measured, {key}: {value}" for key, value in measured.items()]
    tell(
        method.describe() | {"measured": measured, "levels": list(method.schedule.levels)},
        as_json,
        "\n".join(line for line in lines if line),
    )


@app.command("plot")
def schedule_plot(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the plot goes: .png, .svg or .pdf.")],
) -> None:
    """Draw a walk: noise level over transition.

    Example: repaint schedule plot paper --out paper.png
    """
    from repaint.measure.plots import check_plot, save_plot, walk_plot
    from repaint.sampling.method import as_method

    method = as_method(name)
    check_plot(out_file)
    save_plot(walk_plot(method.schedule), out_file)
    say(f"{method.name}: {len(method.schedule)} transitions. Plot: {out_file}")


@app.command("import")
def schedule_import(
    conf: Annotated[Path, typer.Argument(help="A .yml of the original RePaint's.")],
    out_file: Annotated[Path, typer.Option("--out", help="The YAML to write, for --schedule and schedule=.")],
) -> None:
    """Turn a configuration of the original RePaint into a schedule.

    Its model becomes a prior by `repaint priors convert`; its pictures and masks are arguments of `repaint inpaint`
    (--keep-mask: white is what it keeps).

    Example: repaint schedule import confs/face_example.yml --out face.yaml
    """
    from repaint.files import atomic_path, check_place
    from repaint.sampling.original import convert
    from repaint.yaml_files import is_yaml

    if not is_yaml(out_file):
        raise InputError(f"Cannot write {out_file}: a schedule ends in .yaml or .yml. Rename it.")
    if out_file.exists() and conf.exists() and out_file.samefile(conf):
        raise InputError(f"--out {out_file} is the file that is read: it would be lost. Give another name.")
    check_place(out_file)
    converted = convert(conf)
    method = Method.from_content(out_file.stem, presets.parse(converted.text, str(conf)))
    with atomic_path(out_file) as path:
        path.write_text(converted.text, encoding="utf-8")
    say(f"{len(method.schedule)} transitions, {method.model_calls} model calls. Schedule: {out_file}")
    if converted.left_out:
        say(f"No part of a schedule, left out: {', '.join(converted.left_out)}")
