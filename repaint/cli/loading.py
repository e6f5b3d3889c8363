"""Loading of a pipeline by the commands that fill one image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from repaint.cli.options import torch_dtype
from repaint.threads import set_threads

if TYPE_CHECKING:
    from repaint.pipeline import RePaintPipeline

__all__ = ["Device", "Schedule", "load_pipe"]

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto picks the best available.")]
Schedule = Annotated[str | None, typer.Option(help="Preset name or YAML file. Default: the prior's own, usually fast.")]


def load_pipe(prior: str, device: str, dtype: str, threads: str) -> RePaintPipeline:
    """The pipeline of --prior on --device, without its own progress bar."""
    from accelerate import PartialState

    from repaint.pipeline import RePaintPipeline

    place = str(PartialState().device) if device == "auto" else device
    set_threads(threads)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype, place)).to(place)
    pipe.set_progress_bar_config(disable=True)
    return pipe
