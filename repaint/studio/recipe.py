"""Recipes: the files and the command that reproduce a result byte for byte."""

from __future__ import annotations

import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image

from repaint.pictures.images import save_image
from repaint.sampling.method import Method, spec
from repaint.studio.jobs import Run
from repaint.version import __version__

__all__ = ["bundle", "schedule_yaml"]


def bundle(run: Run, index: int, folder: Path, device: str = "cpu", dtype: str = "float32") -> dict[str, Path]:
    """Write a result and everything that its command needs.

    Args:
        run: a run with results.
        index: of the result.
        folder: an existing folder. Files of the same names are replaced.
        device, dtype: of the run.
    Returns:
        Name to path of each file, among them the result, the mask, recipe.json, and a zip of everything.
    """
    job, result = run.job, run.results[index]
    files = {"picture": folder / f"picture{job.photo.suffix}", "mask": folder / "mask.png"}
    files |= {"result": folder / "result.png"}
    files["picture"].write_bytes(job.photo.data)
    save_image(job.mask, files["mask"])
    save_image(result.image, files["result"])
    if job.strengths is not None:
        files["strengths"] = folder / "strengths.png"
        save_image(Image.fromarray(job.strengths), files["strengths"])
    if job.preset is None:
        files["schedule"] = folder / "schedule.yaml"
        files["schedule"].write_text(schedule_yaml(job.method), encoding="utf-8")
    if job.origin is not None:
        files["state"] = folder / "state.safetensors"
        job.origin.state.save(files["state"])
    names = {name: path.name for name, path in files.items()}
    recipe = {
        "repaint": __version__,
        "command": shlex.join(_command(run, result.seed, names, device, dtype)),
        "files": names,
        "prior": job.prior,
        "seed": result.seed,
        "model_calls": result.model_calls,
        "method": job.method.describe(),
        "schedule": yaml.safe_load(schedule_yaml(job.method)),
        **job.conditions,
    }
    files["recipe"] = folder / "recipe.json"
    files["recipe"].write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")
    files["everything"] = folder / f"repaint-seed-{result.seed}.zip"
    with zipfile.ZipFile(files["everything"], "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            if name != "everything":
                archive.write(path, path.name)
    return files


def _command(run: Run, seed: int, names: dict[str, str], device: str, dtype: str) -> list[str]:
    """Return the arguments of `repaint inpaint`, to run in the folder of the files."""
    job, conditions = run.job, run.job.conditions
    options: dict[str, Any] = {
        "prior": job.prior,
        "schedule": names.get("schedule", job.preset),
        "seed": seed,
        "branch": names.get("state"),
        "prompt": conditions.get("prompt"),
        "negative-prompt": conditions.get("negative_prompt"),
        "class": conditions.get("class_labels"),
        "guidance-scale": conditions.get("guidance_scale"),
        "blend-rim": job.blend_rim or None,
        "strength": names.get("strengths"),
        "samples": len(job.seeds) if job.task == "Restore" else None,
        "device": device,
        "dtype": dtype,
        "threads": torch.get_num_threads(),  # a different number can change the last bit
    }
    words = ["repaint", "inpaint", names["picture"], names["mask"], "--out", names["result"]]
    # --name=value, because a prompt may begin with a dash.
    words += ["--mean"] * (job.task == "Restore")
    return words + [f"--{name}={value}" for name, value in options.items() if value is not None]


def schedule_yaml(method: Method) -> str:
    """Format a method like the files in `schedules/`, with its walk as a list of levels."""
    content: dict[str, Any] = {"steps": method.schedule.steps, "levels": list(method.schedule.levels)}
    content["merge"] = spec(method.merge)  # with a kernel it sets the start
    if method.kernel is None:
        content["solver"] = spec(method.solver)
    else:
        content["kernel"] = spec(method.kernel)
    if method.spacing is not None:
        content["spacing"] = method.spacing
    if method.temperature != 1:
        content["temperature"] = method.temperature
    if method.corrector is not None:
        content["corrector"] = spec(method.corrector)
    if method.guidance is not None:
        content["guidance"] = spec(method.guidance)
    if method.init != "noise":
        content["init"] = method.init
    if not method.guided:
        content["guided"] = False
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
