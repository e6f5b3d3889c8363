"""repaint schedule list."""

from __future__ import annotations

from rich.table import Table

from repaint.cli.console import out, print_json
from repaint.cli.options import AsJson
from repaint.sampling import presets
from repaint.sampling.method import Method

__all__ = ["schedule_list"]


def schedule_list(as_json: AsJson = False) -> None:
    """List the presets and their costs.

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
