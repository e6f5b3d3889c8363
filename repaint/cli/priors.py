"""repaint priors list, convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.common import AsJson, out, print_json, tell

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Priors: list those that ship with the package, convert others.")


@app.command("list")
def priors_list(as_json: AsJson = False) -> None:
    """The priors that ship with the package and work offline.

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


@app.command("convert")
def priors_convert(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file of OpenAI's guided-diffusion.")],
    out_folder: Annotated[Path, typer.Option("--out", help="The folder to write, in diffusers' layout.")],
    noise_schedule: Annotated[str | None, typer.Option(help="linear or cosine.")] = None,
    head_channels: Annotated[int | None, typer.Option(min=1, help="Channels of an attention head.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads on each level, instead.")] = None,
    new_attention_order: Annotated[bool | None, typer.Option(help="As use_new_attention_order in training.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16 weights.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a prior that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a guided-diffusion checkpoint into a prior's folder, for --prior and for diffusers.

    The published models need no options; of others, say how they were trained.

    Example: repaint priors convert 256x256_diffusion_uncond.pt --out imagenet-256
    """
    import torch

    from repaint.priors.guided_diffusion import Settings, convert

    told = Settings(noise_schedule, head_channels, heads, new_attention_order)
    found = convert(
        checkpoint, out_folder, told, torch_dtype=torch.float16 if half else torch.float32, overwrite=overwrite
    )
    lines = [f"{found.layout}; {found.parameters / 1e6:.1f} M parameters.", f"{found.settings}."]
    if found.head_width is None:
        lines.append("Its heads differ in width between levels: repaint loads this folder, diffusers alone cannot.")
    report = {"checkpoint": str(checkpoint), "out": str(out_folder), "parameters": found.parameters, "half": half}
    tell(report | vars(found.layout) | vars(found.settings), as_json, "\n".join([*lines, f"Prior: {out_folder}"]))
