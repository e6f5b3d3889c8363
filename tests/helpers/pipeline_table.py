"""The table of docs/pipelines.md: one row for each pipeline class of the installed diffusers with a denoiser.

PYTHONPATH=tests python -m helpers.pipeline_table > docs/pipelines.md
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import diffusers

from helpers.pipeline_cases import CASES
from repaint.errors import PriorError
from repaint.priors.families import PLAIN, is_conditional, refuse

__all__ = ["page", "pipelines", "rows"]

DENOISERS = ("unet", "transformer", "prior", "decoder", "image_unet")
BY_PARTS = {
    "DDPMPipeline": "PixelPrior",
    "DDIMPipeline": "PixelPrior",
    "PNDMPipeline": "PixelPrior",
    "ScoreSdeVePipeline": "PixelPrior",
    "ConsistencyModelPipeline": "PixelPrior",
    "LDMPipeline": "LatentPrior",
    "DiTPipeline": "DiTPrior",
}
HEAD = """# Pipelines

Every pipeline class of diffusers {version} with a denoiser, and what `RePaintPipeline.from_pipe` makes of it. The
tests build this table from diffusers' own list, so that a new class shows up as a missing row.

- A class name (`PixelPrior`, ...): this library calls the network itself. See [models](models.md).
- *driven*: the pipeline's own `__call__` runs, with all of its arguments, and its scheduler is replaced in a copy. What
  a pipeline calls `image` is `control_image` if it has a ControlNet or an adapter, and else `reference_image`; what it
  calls `mask` is `reference_mask`.
- *bit-equal*: on a small copy of the model with random weights, the driven prediction equals that of the pipeline's own
  run at five noise levels, bit for bit; flow models start from the same noise and end in the same clean sample; and
  another prompt, control image, reference image or image of an IP-Adapter (each that the pipeline takes) changes the
  prediction. In each run, the driver checks that the pipeline uses the driver's x and time, and raises an error
  otherwise.
- *guided merge*: `predicted` merges use the prediction with the prompt alone, which the driver finds among the
  network's passes. Elsewhere they use the guided one.

| pipeline | prior | checked |
|---|---|---|
"""


def pipelines() -> dict[str, Any]:
    """Return the classes of diffusers' pipelines that have a denoiser, by name."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(name for name in dir(diffusers) if "Pipeline" in name):
            cls = getattr(diffusers, name, None)
            if not (isinstance(cls, type) and issubclass(cls, diffusers.DiffusionPipeline)):
                continue
            if any(part in inspect.signature(cls.__init__).parameters for part in DENOISERS):
                found[name] = cls
    return found


def rows(guided: dict[str, bool] | None = None) -> dict[str, str]:
    """Return the row of each class.

    Args:
        guided: whether the driver finds the unguided prediction, for each class in `CASES`; None: not said.
    """
    return {name: row(name, cls, (guided or {}).get(name)) for name, cls in pipelines().items()}


def row(name: str, cls: Any, guided: bool | None) -> str:
    try:
        refuse(cls)
    except PriorError as error:
        why = str(error).split(": it ", 1)[1]
        return f"| {name} | none: {why} | |"
    if name in BY_PARTS:
        return f"| {name} | {BY_PARTS[name]} | see models |"
    way, checked = "driven", "not tested" if name not in CASES else "bit-equal"
    if name in PLAIN:
        way = PLAIN[name].__name__
        if "Img2Img" in name or "Inpaint" in name:
            return f"| {name} | {way} | see models |"
        way += "; driven with an image encoder, an IP-Adapter or a guidance embedding"
    if not is_conditional(cls):
        return f"| {name} | none: it takes no prompt. Use a text-to-image model. | |"
    return f"| {name} | {way} | {checked}{', guided merge' if guided else ''} |"


def measured() -> dict[str, bool]:
    """Run all cases and return for which of them the driver finds the unguided prediction.

    Raises:
        AssertionError: a case that is not driven as it runs by itself.
    """
    from helpers.pipeline_run import run

    found = {name: run(name) for name in CASES}
    assert not (wrong := {name: each.faults() for name, each in found.items() if each.faults()}), wrong
    return {name: each.guided for name, each in found.items()}


def page() -> str:
    """Return the whole page."""
    return HEAD.format(version=diffusers.__version__) + "\n".join(rows(measured()).values()) + "\n"


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
