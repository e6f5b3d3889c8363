"""repaint priors list."""

from __future__ import annotations

import json

from rich.table import Table

from repaint.cli.console import out, print_json
from repaint.cli.options import AsJson

__all__ = ["priors_list"]


def priors_list(as_json: AsJson = False) -> None:
    """List the priors that are bundled with the package and work offline.

    Example: repaint priors list
    """
    from repaint.priors.load import BUNDLED, bundled

    rows = []
    for name in bundled():
        card = json.loads((BUNDLED / name / "card.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in (BUNDLED / name).rglob("*.safetensors"))
        rows.append({"name": name, "about": card["about"], "licence": card["licence"], "mib": round(size / 2**20, 1)})
    if as_json:
        print_json(rows)
        return
    table = Table("name", "MiB", "licence", "about", box=None, header_style="bold")
    for row in rows:
        table.add_row(row["name"], str(row["mib"]), row["licence"], row["about"])
    out.print(table)
