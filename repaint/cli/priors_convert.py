"""repaint priors convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.console import tell
from repaint.cli.options import AsJson

__all__ = ["priors_convert"]


def priors_convert(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of guided-diffusion, .pt.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write, in the layout of diffusers.")],
    noise_schedule: Annotated[str | None, typer.Option(help="linear or cosine.")] = None,
    head_channels: Annotated[int | None, typer.Option(min=1, help="Channels of an attention head.")] = None,
    heads: Annotated[
        int | None, typer.Option(min=1, help="Attention heads on each level, instead of --head-channels.")
    ] = None,
    new_attention_order: Annotated[
        bool | None, typer.Option(help="Value of use_new_attention_order in training.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16 weights.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing prior.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert a guided-diffusion checkpoint into a folder for --prior and for diffusers.

    The published models need no options; others need the settings of their training.

    Example: repaint priors convert 256x256_diffusion_uncond.pt --out imagenet-256
    """
    import torch

    from repaint.priors.guided_diffusion import Settings, convert

    settings = Settings(noise_schedule, head_channels, heads, new_attention_order)
    found = convert(
        checkpoint, out_folder, settings, torch_dtype=torch.float16 if half else torch.float32, overwrite=overwrite
    )
    lines = [f"{found.layout}; {found.parameters / 1e6:.1f} M parameters.", f"{found.settings}."]
    if found.head_width is None:
        lines.append("The width of its heads differs between levels: repaint loads this folder, diffusers cannot.")
    report = {"checkpoint": str(checkpoint), "out": str(out_folder), "parameters": found.parameters, "half": half}
    tell(report | vars(found.layout) | vars(found.settings), as_json, "\n".join([*lines, f"Prior: {out_folder}"]))
