"""repaint schedule show."""

from __future__ import annotations

from typing import Annotated

import typer

from repaint.cli.console import tell
from repaint.cli.options import AsJson

__all__ = ["schedule_show"]


def schedule_show(
    name: Annotated[str, typer.Argument(help="Preset name or YAML file.")], as_json: AsJson = False
) -> None:
    """Show a schedule: its settings, source and cost.

    Example: repaint schedule show paper
    """
    from repaint.sampling import presets
    from repaint.sampling.method import as_method

    method = as_method(name)
    lines = [method.name, method.about, f"source: {method.source}"]
    lines += [f"{key}: {value}" for key, value in method.describe().items() if key != "name" and value is not None]
    content = presets.read(name)[1]
    measured = content.measured
    lines += [f"unverified: {' '.join(content.unverified.split())}"] if content.unverified else []
    lines += [
        f"measured, {key}: {', '.join(f'{name} {value:g}' for name, value in found.items())}"
        for key, found in measured.items()
    ]
    tell(
        method.describe() | {"measured": measured, "levels": list(method.schedule.levels)},
        as_json,
        "\n".join(line for line in lines if line),
    )
