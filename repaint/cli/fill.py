"""repaint demo, inpaint and mask."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from repaint.cli.common import AsJson, DType, PriorName, ScheduleName, Seed, calls_bar, out, say, tell, torch_dtype
from repaint.errors import InputError, RepaintError

__all__ = ["demo", "inpaint", "mask"]


def demo(
    out_file: Annotated[Path, typer.Option("--out", help="Where the strip goes, a PNG.")] = Path("repaint-demo.png"),
    schedule: ScheduleName = "predicted",
    seed: Seed = 0,
) -> None:
    """Fill holes in parts of photographs that the bundled prior never saw, and write a before/after strip.

    Example: repaint demo --out strip.png
    """
    from repaint.demo import run
    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.method import as_method

    check_writable(out_file, "RGB")
    method = as_method(schedule)
    with calls_bar(f"filling 5 holes with {method.name}", method.model_calls) as step:
        strip, calls = run(method, seed, step)
    save_image(strip, out_file)
    line = f"{calls} model calls per hole with schedule {method.name}, seed {seed}. Strip: {out_file}"
    out.print(line, highlight=False, markup=False, soft_wrap=True)


def inpaint(
    image: Annotated[Path, typer.Argument(help="The image.")],
    mask: Annotated[Path, typer.Argument(help="Its mask, of the same size: white is repainted.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the result goes; the suffix names the format.")],
    prior: PriorName = "textures",
    schedule: ScheduleName = "balanced",
    prompt: Annotated[str | None, typer.Option(help="What to draw, for text-conditioned priors.")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What not to draw, for such priors.")] = None,
    class_label: Annotated[str | None, typer.Option("--class", help="Class name or number, for such priors.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of classifier-free guidance.")] = None,
    latent_margin: Annotated[int, typer.Option(help="Latent cells around the hole to paint too, for such priors.")] = 0,
    feather: Annotated[
        float, typer.Option(help="Pixels of the hole that meet the kept ones, for latent priors.")
    ] = 0.0,
    seed: Seed = 0,
    branch: Annotated[
        Path | None, typer.Option(help="Go on from this saved state, with noise of this seed, by the schedule.")
    ] = None,
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="The mask's white is kept, not repainted.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: DType = "float32",
    as_json: AsJson = False,
) -> None:
    """Fill the hole of one image. Kept pixels come out bit-equal.

    Example: repaint inpaint photo.png mask.png --out filled.png --schedule quick
    """
    from repaint.files import check_writable, open_image
    from repaint.images import save_image
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline
    from repaint.state import SamplerState

    model_type = torch_dtype(dtype)
    picture = open_image(image)
    check_writable(out_file, picture.mode)
    method = as_method(schedule)
    state = None if branch is None else SamplerState.load(branch).branch([seed])
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=model_type).to(device)
    pipe.set_progress_bar_config(disable=True)
    labels = int(class_label) if class_label is not None and class_label.isdecimal() else class_label
    given: dict[str, Any] = {
        "keep_mask" if keep_mask else "mask_image": mask,
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "class_labels": labels,
        "guidance_scale": guidance_scale,
        "latent_margin": latent_margin,
        "feather": feather,
        "schedule": method,
    }
    behind = 0 if state is None else state.model_calls
    with calls_bar(f"filling {image.name} with {method.name}", method.model_calls, behind) as step:
        if state is None:
            result = pipe(picture, **given, generator=seed, callback_on_step_end=step)
        else:
            result = pipe.resume(state, picture, **given, callback_on_step_end=step)
        save_image(result.images[0], out_file)
    report = {
        "image": str(image),
        "mask": str(mask),
        "out": str(out_file),
        "prior": prior,
        "branch": None if branch is None else str(branch),
        "seed": seed,
        "model_calls": result.model_calls,
        "method": method.describe(),
    }
    tell(
        report,
        as_json,
        f"{result.model_calls} model calls with schedule {method.name}, seed {seed}. Result: {out_file}",
    )


def mask(
    kind: Annotated[str, typer.Argument(help="box, circle, half, expand, alternating_lines, super_resolve, ...")],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")],
    out_file: Annotated[Path, typer.Option("--out", help="Where the mask goes, an 8-bit image.")],
    option: Annotated[list[str] | None, typer.Option(help="name=value for the generator, e.g. radius=0.3")] = None,
    seed: Annotated[int | None, typer.Option(help="For the random ones.", min=0)] = None,
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="White is kept, not repainted.")] = False,
) -> None:
    """Draw a benchmark mask; white is repainted.

    Example: repaint mask circle --size 256x256 --option radius=0.3 --out mask.png
    """
    import numpy as np
    from PIL import Image

    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.masks import generate

    check_writable(out_file, "L")
    width, x, height = size.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size {size}: it is WIDTHxHEIGHT in pixels, such as 256x256.")
    if int(width) * int(height) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise InputError(f"--size {size}: PIL would not read more than {Image.MAX_IMAGE_PIXELS} pixels. Choose less.")
    options = dict(_named_value(text) for text in option or [])
    if seed is not None:
        options["seed"] = seed
    try:
        keep = generate(kind, int(height), int(width), **options)[0].numpy()
    except (TypeError, ValueError) as error:  # text became a value of a kind that the generator cannot take
        if isinstance(error, RepaintError):
            raise
        given = ", ".join(option or ())
        raise InputError(f"--option {given}: {kind} cannot take this ({error}). Correct it.") from error
    white = keep if keep_mask else 1 - keep
    save_image(Image.fromarray(np.round(white * 255).astype(np.uint8)), out_file)
    say(f"{kind}, {width} x {height}, {100 * float((1 - keep).mean()):.1f} % hole: {out_file}")


def _named_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--option {text}: write name=value, such as radius=0.3.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
