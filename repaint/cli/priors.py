"""repaint priors list."""

from __future__ import annotations

import json

import typer
from rich.table import Table

from repaint.cli.common import AsJson, out, print_json

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The priors that ship with the package.")


@app.command("list")
def priors_list(as_json: AsJson = False) -> None:
    """The priors that ship with the package and work offline."""
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
