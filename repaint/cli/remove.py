"""repaint remove: remove an object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from repaint.cli.console import about, calls_bar, tell
from repaint.cli.loading import Device, Schedule, load_pipe, mask_of
from repaint.cli.options import AsJson, DType, PriorName, Seed, Threads, Threshold
from repaint.defaults import CANDIDATES, MARGIN

__all__ = ["remove"]


def remove(
    image: Annotated[Path, typer.Argument(help="An image.")],
    mask: Annotated[Path, typer.Argument(help="Mask of the object; white is removed.")],
    out_file: Annotated[Path, typer.Option("--out", help="File of the best result; its suffix sets the format.")],
    margin: Annotated[float, typer.Option(help="Pixels by which the mask grows.", min=0)] = MARGIN,
    candidates: Annotated[int, typer.Option(help="Number of results to choose from.", min=1)] = CANDIDATES,
    keep_all: Annotated[
        bool, typer.Option("--all", help="Also write the other results, as NAME-2, NAME-3, ... from better to worse.")
    ] = False,
    keep_mask: Annotated[
        bool, typer.Option("--keep-mask", help="White in the mask is kept instead of removed.")
    ] = False,
    threshold: Threshold = None,
    prompt: Annotated[
        str | None, typer.Option(help="Text prompt of what is left, for text-conditioned priors.")
    ] = None,
    prior: PriorName = "photos",
    schedule: Schedule = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Remove an object: fill its place several times, and write the most plausible result.

    Results are ranked by the prior's own denoising loss in and near the hole, and by the contrast at its rim. Pixels
    outside the grown mask stay bit-equal.

    Example: repaint remove photo.png mask.png --out without.png
    """
    from repaint.files import check_unread
    from repaint.pictures.decoding import open_image
    from repaint.pictures.encoding import check_writable, keep_result
    from repaint.pictures.images import read_images
    from repaint.priors.load import default_schedule
    from repaint.removal import remove as removed
    from repaint.sampling.method import as_method

    picture = open_image(image)
    (shown,) = read_images(picture)
    named = [out_file.with_stem(f"{out_file.stem}-{number + 1}") for number in range(candidates)]
    files = [out_file, *named[1:]] if keep_all else [out_file]
    check_unread(files, [image, mask])
    with about(str(image), str(mask)):
        for file in files:
            check_writable(file, shown.output("pil"))
        keep = mask_of(shown, mask, keep_mask, threshold)
    method = as_method(schedule or default_schedule(prior))
    pipe = load_pipe(prior, device, dtype, threads)
    given: dict[str, Any] = {"keep_mask": keep, "schedule": method}
    if prompt is not None:
        given["prompt"] = prompt
    with calls_bar(f"filling {image.name} {candidates} times with {method.name}", method.model_calls) as step:
        found = removed(
            picture,
            prior=pipe,
            margin=margin,
            candidates=candidates,
            generator=seed,
            batch_size="auto",
            callback_on_step_end=step,
            **given,
        )
    files = [keep_result(one.image, file) for file, one in zip(files, found, strict=False)]
    ranked = [{"seed": one.seed, "loss": one.loss, "rim_contrast": one.rim_contrast} for one in found]
    report = {
        "image": str(image),
        "mask": str(mask),
        "files": [str(file) for file in files],
        "prior": prior,
        "margin": margin,
        "method": method.describe(),
        "ranked": ranked,
    }
    lines = [f"seed {one.seed}: loss {one.loss:.4f}, rim contrast {one.rim_contrast:.4f}" for one in found]
    tell(report, as_json, "\n".join([*lines, f"Best of {candidates}: seed {found[0].seed}. Result: {files[0]}"]))
