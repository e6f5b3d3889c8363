"""repaint mask: draw a benchmark mask."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from repaint.cli.console import say
from repaint.errors import InputError

__all__ = ["mask"]


def mask(
    kind: Annotated[
        str,
        typer.Argument(
            help="alternating_lines, box, checkerboard, circle, expand, freeform, half, strokes or super_resolve."
        ),
    ],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels.")],
    out_file: Annotated[Path, typer.Option("--out", help="The mask to write, an 8-bit image.")],
    option: Annotated[
        list[str] | None, typer.Option(help="Option of this kind, such as radius=0.3; may be repeated.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random kinds.", min=0)] = None,
    keep_mask: Annotated[bool, typer.Option("--keep-mask", help="White is kept instead of repainted.")] = False,
) -> None:
    """Draw a benchmark mask; white is repainted.

    Example: repaint mask circle --size 256x256 --option radius=0.3 --out mask.png
    """
    import numpy as np
    from PIL import Image

    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import save_image
    from repaint.pictures.mask_shapes import generate

    check_writable(out_file, "L")
    width, x, height = size.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--size {size} must be WIDTHxHEIGHT in pixels, such as 256x256.")
    if int(width) * int(height) > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise InputError(f"--size {size} must have at most {Image.MAX_IMAGE_PIXELS} pixels (the limit of PIL).")
    options = dict(_named_value(text) for text in option or [])
    if seed is not None:
        options["seed"] = seed
    keep = generate(kind, int(height), int(width), **options)[0].numpy()
    white = keep if keep_mask else 1 - keep
    save_image(Image.fromarray(np.round(white * 255).astype(np.uint8)), out_file)
    say(f"{kind}, {width} x {height}, {100 * float((1 - keep).mean()):.1f} % hole: {out_file}")


def _named_value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--option {text} must be name=value, such as radius=0.3.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
