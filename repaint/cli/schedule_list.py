"""repaint schedule list."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import out, print_json
from repaint.cli.options import AsJson

__all__ = ["schedule_list"]


def schedule_list(
    published: Annotated[bool, typer.Option("--published", help="List the presets of published methods.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the presets and their costs.

    Example: repaint schedule list --published
    """
    from repaint.sampling import presets
    from repaint.sampling.method import Method

    methods = [Method.from_preset(name) for name in (presets.published() if published else presets.available())]
    if as_json:
        print_json([method.describe() for method in methods])
        return
    columns = ["name", "steps", "transitions", "model calls", *(["gradients"] if published else []), "about"]
    table = Table(*columns, box=None, header_style="bold")
    for method in sorted(methods, key=lambda method: method.cost):
        counts = str(method.schedule.steps), str(len(method.schedule)), str(method.model_calls)
        gradients = [str(method.gradient_calls or "")] if published else []
        table.add_row(method.name, *counts, *gradients, method.about)
    out.print(table)
