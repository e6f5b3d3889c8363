"""Loading of a pipeline and a mask by the commands that fill one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.options import torch_dtype
from repaint.threads import set_threads

if TYPE_CHECKING:
    from repaint.pictures.images import Picture
    from repaint.pipeline import RePaintPipeline

__all__ = ["Device", "Schedule", "load_pipe", "mask_of", "place_of"]

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps; auto picks the best available.")]
Schedule = Annotated[str | None, typer.Option(help="Preset name or YAML file. Default: the prior's own, usually fast.")]


def place_of(device: str) -> str:
    """The device that --device names; "auto" is where accelerate puts the process."""
    if device != "auto":
        return device
    from accelerate import PartialState

    return str(PartialState().device)


def load_pipe(prior: str, device: str, dtype: str, threads: str) -> RePaintPipeline:
    """The pipeline of --prior on --device, without its own progress bar."""
    from repaint.pipeline import RePaintPipeline

    place = place_of(device)
    set_threads(threads)
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=torch_dtype(dtype, place)).to(place)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def mask_of(picture: Picture, mask: Path, keep_mask: bool, threshold: float | None) -> list[Any]:
    """The mask of one picture, for `keep_mask=`. It is checked here, and not again where it is used."""
    from repaint.pictures.masks import read_masks

    given = {"keep_mask" if keep_mask else "mask_image": mask}
    return read_masks(**given, sizes=[picture.size], turns=[picture.orientation], threshold=threshold)
