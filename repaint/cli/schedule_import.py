"""repaint schedule import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.console import say
from repaint.errors import InputError
from repaint.yaml_files import is_yaml

__all__ = ["schedule_import"]


def schedule_import(
    conf: Annotated[Path, typer.Argument(help="Configuration of the original RePaint, .yml.")],
    out_file: Annotated[Path, typer.Option("--out", help="YAML file to write, for --schedule and schedule=.")],
) -> None:
    """Convert a configuration of the original RePaint into a schedule.

    Convert its model with `repaint priors convert`; pass its pictures and masks to `repaint inpaint --keep-mask` (there
    white is kept).

    Example: repaint schedule import confs/face_example.yml --out face.yaml
    """
    from repaint.files import atomic_path, check_place
    from repaint.sampling import presets
    from repaint.sampling.method import Method
    from repaint.sampling.original import convert

    if not is_yaml(out_file):
        raise InputError(f"--out {out_file} must end in .yaml or .yml.")
    if out_file.exists() and conf.exists() and out_file.samefile(conf):
        raise InputError(f"--out {out_file} must differ from the configuration that is read.")
    check_place(out_file)
    converted = convert(conf)
    method = Method.from_content(out_file.stem, presets.parse(converted.text, str(conf)))
    with atomic_path(out_file) as path:
        path.write_text(converted.text, encoding="utf-8")
    say(f"{len(method.schedule)} transitions, {method.model_calls} model calls. Schedule: {out_file}")
    if converted.left_out:
        say(f"Left out, not part of a schedule: {', '.join(converted.left_out)}")
