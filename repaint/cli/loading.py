"""Loading of a pipeline and a mask by the commands that fill one image."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.options import torch_dtype
from repaint.threads import set_threads

if TYPE_CHECKING:
    from accelerate import PartialState

    from repaint.pictures.images import Picture
    from repaint.pipeline import RePaintPipeline

__all__ = ["Device", "Schedule", "load_pipe", "mask_of", "place_of", "process_state"]

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto picks the best available.")]
Schedule = Annotated[str | None, typer.Option(help="Preset name or YAML file. Default: the prior's own, usually fast.")]


def place_of(device: str) -> str:
    """Return the device that --device names; "auto" is the one that accelerate assigns to this process."""
    return device if device != "auto" else str(process_state(device).device)


def process_state(device: str) -> PartialState:
    """Return the state of this process among those of `accelerate launch`.

    The first call sets how long a finished process waits for the slowest one: accelerate's default of 30 minutes would
    end a long job.
    """
    from accelerate import PartialState

    return PartialState(cpu=device == "cpu", timeout=timedelta(days=30))


def load_pipe(prior: str, device: str, dtype: str, threads: str) -> RePaintPipeline:
    """Load the pipeline of --prior on --device, without its own progress bar."""
    from repaint.pipeline import RePaintPipeline

    place = place_of(device)
    set_threads(threads)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype, place)).to(place)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def mask_of(picture: Picture, mask: Path, keep_mask: bool, threshold: float | None) -> list[Any]:
    """Read the mask of one picture, for `keep_mask=`. It is checked here and not again where it is used."""
    from repaint.pictures.masks import read_masks

    given = {"keep_mask" if keep_mask else "mask_image": mask}
    return read_masks(**given, sizes=[picture.size], turns=[picture.orientation], threshold=threshold)
