"""What `repaint demo` does: fill a hole of each kind in parts of photographs that the bundled prior never saw."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repaint.measure.plots import strip
from repaint.pictures import mask_shapes
from repaint.pictures.samples import PHOTOGRAPHS, held_out_crops
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.sampling.method import Method

__all__ = ["run"]

SIZE = 64
WAYPOINTS = 4  # x0_hat is shown at this many points along the way
GREY = np.uint8(160)


def holes() -> list[Float[Tensor, "1 h w"]]:
    """One keep mask a photograph, each of another kind."""
    return [
        mask_shapes.box(SIZE, SIZE, share=0.5),
        mask_shapes.circle(SIZE, SIZE, radius=0.3),
        mask_shapes.freeform(SIZE, SIZE, seed=5),
        mask_shapes.half(SIZE, SIZE, side="right"),
        mask_shapes.strokes(SIZE, SIZE, brush="thick", seed=3),
    ]


def run(method: Method, seed: int, callback: StepCallback) -> tuple[Image.Image, int]:
    """Fill the five holes.

    Args:
        method: what to fill with.
        seed: of the first hole; the others follow it.
        callback: called after each move, see `RePaintPipeline.__call__`.
    Returns:
        (a sheet of original, masked, x0_hat along the way and result, model calls per hole).
    """
    pipe = RePaintPipeline.from_pretrained("textures")
    pipe.set_progress_bar_config(disable=True)
    originals = np.stack([held_out_crops(name, SIZE, 3)[1] for name in PHOTOGRAPHS])
    keeps = torch.stack(holes())
    moves = len(method.moves)
    wanted = {round(moves * share) for share in np.linspace(0, 1, WAYPOINTS + 2)[1:-1]}
    seen: list[NDArray[np.uint8]] = []

    def watch(pipeline: RePaintPipeline, position: int, level: int, kwargs: dict[str, Any]) -> None:
        callback(pipeline, position, level, dict(kwargs))
        if position in wanted:
            seen.append(_to_uint8(kwargs["state"].x0_hat))

    result = pipe(
        originals,
        keep_mask=keeps,
        class_labels=list(PHOTOGRAPHS),
        schedule=method,
        generator=seed,
        output_type="np",
        callback_on_step_end=watch,
    )
    kept = keeps.permute(0, 2, 3, 1).numpy() == 1
    masked = np.where(kept, originals, GREY)
    columns = [originals, masked, *seen, result.images]
    titles = ["original", "masked", *(["x0_hat"] * len(seen)), "result"]
    return strip(list(zip(*columns, strict=True)), titles), result.model_calls


def _to_uint8(image: Float[Tensor, "b c h w"]) -> NDArray[np.uint8]:
    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
