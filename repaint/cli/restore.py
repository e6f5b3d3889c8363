"""repaint restore: find the damage of a photograph, and fill it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from repaint.cli.console import about, calls_bar, tell
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Seed, Threads
from repaint.defaults import GROW, MAX_WIDTH, SAMPLES, SENSITIVITY, TONE, restore_schedule
from repaint.errors import InputError

__all__ = ["MaxWidth", "Sensitivity", "ToneOption", "restore"]

Sensitivity = Annotated[
    float, typer.Option(help="Above 0 and below 1; higher finds fainter damage, with more false alarms.")
]
MaxWidth = Annotated[int, typer.Option(help="Largest width of a scratch in pixels. Large scans need more, such as 16.")]
ToneOption = Annotated[str, typer.Option(help="Damage is bright, dark or both. Naming one halves the false alarms.")]


def restore(
    image: Annotated[Path, typer.Argument(help="A photograph.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Result file; its suffix sets the format.")] = None,
    mask_out: Annotated[
        Path | None,
        typer.Option(help="Also write the mask that was found; white is filled. Without --out, nothing is filled."),
    ] = None,
    sensitivity: Sensitivity = SENSITIVITY,
    max_width: MaxWidth = MAX_WIDTH,
    tone: ToneOption = TONE,
    grow: Annotated[float, typer.Option(help="Pixels by which the mask grows around the damage.")] = GROW,
    samples: Annotated[
        int,
        typer.Option(help="Results that are averaged, in pairs with opposite noise.", min=1),
    ] = SAMPLES,
    prior: PriorName = "photos",
    schedule: Annotated[
        str | None, typer.Option(help="Preset name or YAML file. Default: mean; thin if --samples is above 1.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Find scratches, dust and lettering in a photograph, and fill them. All other pixels stay bit-equal.

    Thin structures of the picture itself, such as whiskers, may be taken for damage. To correct the mask, write it with
    --mask-out, paint in it (white is filled), and run repaint inpaint IMAGE MASK --out RESULT.

    Example: repaint restore photo.jpg --out restored.png

    Example: repaint restore photo.jpg --mask-out mask.png
    """
    import numpy as np
    from PIL import Image

    from repaint.arguments import check_copies
    from repaint.files import check_unread
    from repaint.pictures.decoding import open_image, upright
    from repaint.pictures.detection import detect_damage
    from repaint.pictures.encoding import check_writable, keep_result
    from repaint.pictures.images import save_image
    from repaint.restoring import WINDOWS, fill_damage
    from repaint.sampling.method import as_method

    if out_file is None and mask_out is None:
        raise InputError("repaint restore needs --out RESULT, or --mask-out MASK to write only the mask.")
    check_unread([out_file, mask_out], [image])
    picture = upright(open_image(image))
    if out_file is not None:
        with about(str(image)):
            check_writable(out_file, picture)
    if mask_out is not None:
        check_writable(mask_out, "L")
        if out_file is not None and mask_out.absolute() == out_file.absolute():
            raise InputError(f"--mask-out {mask_out} must be another file than --out.")
    method = as_method(schedule or restore_schedule(samples))
    check_copies(method, samples, "--samples")
    settings: dict[str, Any] = {"sensitivity": sensitivity, "max_width": max_width, "tone": tone, "grow": grow}
    mask = detect_damage(picture, **settings)
    if mask_out is not None:
        save_image(Image.fromarray(mask.astype(np.uint8) * 255), mask_out)
    share, written = float(mask.mean()), "" if mask_out is None else f" Mask: {mask_out}"
    text = f"Damage found: {share:.1%} of the picture." if mask.any() else "No damage was found."
    hint = ""
    if mask.any() and not mask_out:
        hint = " To see what was taken for damage, and to correct it: --mask-out MASK."
    if mask.any() and tone == "both":
        hint += " If all damage is lighter, or all is darker, than the picture: --tone bright, or --tone dark."
    report = {"image": str(image), "found": share, **settings}
    if mask_out is not None:
        report["mask"] = str(mask_out)
    if out_file is None:
        tell(report, as_json, text + written)
        return
    pipe = load_pipe(prior, device, dtype, threads)
    if mask.any():
        runs = -(-samples // WINDOWS)
        with calls_bar(f"filling {image.name} with {method.name}", method.model_calls * runs) as step:
            filled = fill_damage(
                pipe, picture, mask, samples=samples, schedule=method, generator=seed, callback_on_step_end=step
            )
        result = filled.image
    else:
        result = picture
        text += " The result is a copy."
    with about(str(image)):
        out_file = keep_result(result, out_file)
    report |= {"out": str(out_file), "prior": prior, "seed": seed, "samples": samples, "method": method.describe()}
    tell(report, as_json, f"{text} Result: {out_file}{written and '.'}{written}{hint and '.'}{hint}")
