"""repaint schedule record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.console import say
from repaint.errors import InputError

__all__ = ["schedule_record"]


def schedule_record(
    presets: Annotated[list[Path], typer.Argument(help="YAML files, such as schedules/*.yaml.")],
    exactness: Annotated[Path | None, typer.Option(help="A report of repaint exactness --report.")] = None,
    calibration: Annotated[
        list[str] | None, typer.Option(help="NAME=ROWS.jsonl of repaint calibrate, such as photos=rows.jsonl; repeat.")
    ] = None,
) -> None:
    """Write measured figures into presets: exactness, and the energy score and spread/error on named priors.

    Only presets that the reports measured are changed.

    Example: repaint schedule record schedules/*.yaml --exactness exact.json --calibration photos=photos.jsonl
    """
    from repaint.lab.calibration.preset_record import calibration_figures, exactness_figures, record

    sources = {} if exactness is None else {"exactness": exactness_figures(exactness)}
    for each in calibration or []:
        name, equals, rows = each.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"--calibration {each} must be NAME=ROWS.jsonl, where NAME is one word.")
        sources[f"calibration_{name}"] = calibration_figures(Path(rows))
    if not sources:
        raise InputError("Nothing to record: pass --exactness, --calibration, or both.")
    for preset in presets:
        figures = {name: found[preset.stem] for name, found in sources.items() if preset.stem in found}
        if figures:
            record(preset, figures)
            say(f"{preset}: {', '.join(figures)}")
