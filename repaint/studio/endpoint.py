"""The named endpoint for other programs: a picture and a mask in, the filled picture and its recipe out."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

import gradio as gr

from repaint.checks import is_number, shown
from repaint.errors import InputError, RepaintError, collected_warnings
from repaint.sampling.method import Method
from repaint.sampling.rng import seeds_for
from repaint.studio.handlers import Handlers
from repaint.studio.inputs import read_mask, read_photo
from repaint.studio.jobs import Job
from repaint.studio.page_errors import errors_of_endpoint
from repaint.studio.recipe import bundle
from repaint.studio.settings import chosen_conditions, takes

__all__ = ["CONCURRENT", "wire_endpoint"]

CONCURRENT = 8  # requests that wait for their run at once; others wait in gradio's queue


def wire_endpoint(does: Handlers) -> None:
    """Add the endpoint `/fill` to the app under construction. Its components are not shown on the page."""
    hidden: dict[str, Any] = {"visible": False}
    inputs = [
        gr.File(label="image", type="filepath", **hidden),
        gr.File(label="mask, white is repainted", type="filepath", **hidden),
        gr.Textbox(label="prior", value=does.runner.names[0], **hidden),
        gr.Textbox(label="schedule: a preset; empty: the prior's own", value="", **hidden),
        gr.Textbox(label="prompt", value="", **hidden),
        gr.Textbox(label="class_label", value="", **hidden),
        gr.Number(label="guidance_scale, 0: the prior's own", value=0, **hidden),
        gr.Number(label="seed", value=0, **hidden),
        gr.Number(label="blend_rim in pixels", value=0, **hidden),
    ]
    outputs = [gr.File(label="result, a PNG", **hidden), gr.JSON(label="recipe", **hidden)]

    gr.Button(**hidden).click(
        errors_of_endpoint(partial(_filled, does)),
        inputs,
        outputs,
        api_name="fill",
        api_description="Fill the white part of a mask. Kept pixels are bit-equal to the image.",
        concurrency_limit=CONCURRENT,
        show_progress="hidden",
    )


def _filled(
    does: Handlers,
    image: str | None,
    mask: str | None,
    prior: str,
    schedule: str,
    prompt: str,
    class_label: str,
    guidance_scale: Any,
    seed: Any,
    blend_rim: Any,
) -> tuple[str, dict[str, Any]]:
    """Queue a run, wait for it, and write its files.

    Returns:
        (path of the result, recipe with the warnings).
    Raises:
        RepaintError: a wrong argument, a full queue, or a failed run.
    """
    if not (image and mask):
        raise InputError("image and mask must be files.")
    if not (is_number(seed) and float(seed).is_integer()):
        raise InputError(f"seed={shown(seed)} must be a whole number.")
    for name, value in {"guidance_scale": guidance_scale, "blend_rim": blend_rim}.items():
        if not (value is None or is_number(value)):
            raise InputError(f"{name}={shown(value)} must be a number.")
    with collected_warnings() as found:
        photo = read_photo(image)
        hole, _ = read_mask(mask, photo.size)
    model = does.runner.pipe(prior).prior
    supported = takes(model)
    conditions = chosen_conditions(supported["prompt"], prompt, class_label, guidance_scale)
    preset = schedule or model.default_schedule
    seeds = tuple(seeds_for(1, int(seed)))
    job = Job(photo, hole, prior, Method.from_preset(preset), seeds, preset, conditions, float(blend_rim or 0))
    run = does.runner.submit(job)
    run.ended.wait()
    if run.status != "done":
        raise RepaintError(run.message or f"The run was {run.status}.")
    folder = does.cache / "endpoint" / secrets.token_hex(8)
    folder.mkdir(parents=True)
    files = bundle(run, 0, folder, does.runner.device, does.runner.dtype)
    recipe: dict[str, Any] = json.loads(files["recipe"].read_text(encoding="utf-8"))
    return str(files["result"]), recipe | {"warnings": [*found, *run.warnings]}
