"""repaint demo: fill five holes with the bundled prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.console import calls_bar, say
from repaint.cli.options import ScheduleName, Seed, Threads
from repaint.threads import set_threads

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from repaint.pipeline import RePaintPipeline, StepCallback
    from repaint.sampling.method import Method

__all__ = ["demo"]

SIZE = 64
WAYPOINTS = 4  # columns of the strip that show x0_hat on its way
GREY = 160


def demo(
    out_file: Annotated[Path, typer.Option("--out", help="The strip to write, a PNG.")] = Path("repaint-demo.png"),
    schedule: ScheduleName = "predicted",
    seed: Seed = 0,
    threads: Threads = "auto",
) -> None:
    """Fill holes in parts of photographs that the bundled prior was not trained on, and write a before/after strip.

    Example: repaint demo --out strip.png
    """
    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import save_image
    from repaint.sampling.method import as_method

    check_writable(out_file, "RGB")
    method = as_method(schedule)
    set_threads(threads)
    with calls_bar(f"filling 5 holes with {method.name}", method.model_calls) as step:
        strip, calls = _fill(method, seed, step)
    save_image(strip, out_file)
    say(f"{calls} model calls per hole with schedule {method.name}, seed {seed}. Strip: {out_file}")


def _fill(method: Method, seed: int, callback: StepCallback) -> tuple[Image.Image, int]:
    """Fill the five holes.

    Args:
        method: the method that fills them.
        seed: seed of the first hole; the others use the seeds after it.
        callback: called after each move, see `RePaintPipeline.__call__`.
    Returns:
        (a sheet of original, masked, x0_hat along the way and result, model calls per hole).
    """
    import numpy as np
    import torch

    from repaint.measure.plots import strip
    from repaint.pictures.samples import PHOTOGRAPHS, held_out_crops
    from repaint.pipeline import RePaintPipeline

    pipe = RePaintPipeline.from_pretrained("textures")
    pipe.set_progress_bar_config(disable=True)
    originals = np.stack([held_out_crops(name, SIZE, 3)[1] for name in PHOTOGRAPHS])
    keeps = torch.stack(_keep_masks())
    moves = len(method.moves)
    wanted = {round(moves * share) for share in np.linspace(0, 1, WAYPOINTS + 2)[1:-1]}
    waypoints: list[NDArray[np.uint8]] = []

    def watch(pipeline: RePaintPipeline, position: int, level: int, kwargs: dict[str, Any]) -> None:
        callback(pipeline, position, level, dict(kwargs))
        if position in wanted:
            waypoints.append(_to_uint8(kwargs["state"].x0_hat))

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
    masked = np.where(kept, originals, np.uint8(GREY))
    columns = [originals, masked, *waypoints, result.images]
    titles = ["original", "masked", *(["x0_hat"] * len(waypoints)), "result"]
    return strip(list(zip(*columns, strict=True)), titles), result.model_calls


def _keep_masks() -> list[Float[Tensor, "1 h w"]]:
    """One keep mask for each photograph, each of another kind."""
    from repaint.pictures import mask_shapes

    return [
        mask_shapes.box(SIZE, SIZE, share=0.5),
        mask_shapes.circle(SIZE, SIZE, radius=0.3),
        mask_shapes.freeform(SIZE, SIZE, seed=5),
        mask_shapes.half(SIZE, SIZE, side="right"),
        mask_shapes.strokes(SIZE, SIZE, brush="thick", seed=3),
    ]


def _to_uint8(image: Float[Tensor, "b c h w"]) -> NDArray[np.uint8]:
    import torch

    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return array
