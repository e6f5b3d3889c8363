"""repaint outpaint: extend an image beyond its borders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from repaint.cli.console import about, calls_bar, tell
from repaint.cli.loading import Device, Schedule, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Seed, Threads

__all__ = ["outpaint"]

Side = Annotated[int, typer.Option(help="Pixels to add on this side.", min=0)]


def outpaint(
    image: Annotated[Path, typer.Argument(help="An image.")],
    out_file: Annotated[Path, typer.Option("--out", help="Result file; its suffix sets the format.")],
    left: Side = 0,
    right: Side = 0,
    top: Side = 0,
    bottom: Side = 0,
    aspect: Annotated[
        str | None, typer.Option(metavar="W:H", help="Extend both sides evenly to this ratio, such as 16:9.")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Least number of older pixels beside the new ones in a window. Default: half of the prior's training "
            "size, or more for a prior of small holes.",
            min=0,
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Text prompt, for text-conditioned priors.")] = None,
    prior: PriorName = "photos",
    schedule: Schedule = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Extend an image beyond its borders, step by step. Its own pixels stay bit-equal.

    The bundled prior photos is made for small holes: it continues surfaces for a few pixels. For new content use a
    large model, with --prior and --prompt.

    Example: repaint outpaint photo.png --left 8 --out wider.png

    Example: repaint outpaint photo.png --aspect 16:9 --out wide.png --prior FOLDER --prompt "a beach"
    """
    from repaint.files import check_unread
    from repaint.outpainting import step_width
    from repaint.pictures.decoding import open_image
    from repaint.pictures.encoding import check_writable, keep_result
    from repaint.pictures.images import read_images
    from repaint.pictures.margins import as_margins, extended
    from repaint.priors.load import default_schedule
    from repaint.sampling.method import as_method

    check_unread([out_file], [image])
    picture = open_image(image)
    margins = as_margins(read_images(picture)[0].size, left, right, top, bottom, aspect)
    with about(str(image)):
        check_writable(out_file, extended(picture, margins)[0])
    method = as_method(schedule or default_schedule(prior))
    pipe = load_pipe(prior, device, dtype, threads)
    steps = margins.steps(step_width(pipe.prior, overlap))
    given: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
    with calls_bar(f"extending {image.name} with {method.name}", method.model_calls * len(steps)) as step:
        result = pipe.outpaint(
            picture,
            **vars(margins),
            overlap=overlap,
            schedule=method,
            generator=seed,
            callback_on_step_end=step,
            **given,
        )
    out_file = keep_result(result.images[0], out_file)
    width, height = result.images[0].size
    report = {
        "image": str(image),
        "out": str(out_file),
        "added": vars(margins),
        "steps": len(steps),
        "prior": prior,
        "seed": seed,
        "model_calls": result.model_calls,
        "method": method.describe(),
    }
    counted = f"{len(steps)} step{'' if len(steps) == 1 else 's'}, {result.model_calls} model calls"
    tell(report, as_json, f"{width} x {height} pixels, {counted}, seed {seed}. Result: {out_file}")
