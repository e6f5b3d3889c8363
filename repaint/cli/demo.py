"""repaint demo: restore five damaged photographs with the bundled prior."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from repaint.cli.console import calls_bar, say
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import DType, Seed, Threads

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

    from repaint.pipeline import RePaintPipeline, StepCallback
    from repaint.sampling.method import Method

__all__ = ["demo"]

SIDE = 128
WAYPOINTS = 3  # columns of the strip that show x0_hat on its way
# photograph, top and left of the crop, kind of damage, its seed
CROPS = (
    ("chelsea", 10, 50, "scratches", 3),
    ("astronaut", 10, 60, "lettering", 1),
    ("coffee", 40, 90, "spots", 2),
    ("astronaut", 100, 110, "wire", 4),
    ("chelsea", 22, 90, "dust", 0),
)


def demo(
    out_file: Annotated[Path, typer.Option("--out", help="The strip to write, a PNG.")] = Path("repaint-demo.png"),
    schedule: Annotated[str | None, typer.Option(help="Preset or YAML file. Default: the prior's own.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = "auto",
) -> None:
    """Restore damaged photographs that the bundled prior was not trained on, and write a before/after strip.

    Example: repaint demo --out strip.png
    """
    from repaint.pictures.encoding import check_writable
    from repaint.pictures.images import save_image
    from repaint.priors.load import default_schedule
    from repaint.sampling.method import as_method

    check_writable(out_file, "RGB")
    method = as_method(schedule or default_schedule("photos"))
    pipe = load_pipe("photos", device, dtype, threads)
    with calls_bar(f"filling {len(CROPS)} photographs with {method.name}", method.model_calls) as step:
        strip, calls = _fill(pipe, method, seed, step)
    save_image(strip, out_file)
    say(f"{calls} model calls per photograph with schedule {method.name}, seed {seed}. Strip: {out_file}")


def _fill(pipe: RePaintPipeline, method: Method, seed: int, callback: StepCallback) -> tuple[Image.Image, int]:
    """Restore the crops.

    Args:
        pipe: the pipeline that fills the holes.
        method: its method.
        seed: seed of the first hole; the others use the seeds after it.
        callback: called after each move, see `RePaintPipeline.__call__`.
    Returns:
        (a sheet of original, damaged, x0_hat along the way and result, model calls per hole).
    """
    import numpy as np

    from repaint.measure.plots import strip
    from repaint.pictures.damage import damage
    from repaint.pictures.samples import unseen

    originals = np.stack([unseen(name)[top : top + SIDE, left : left + SIDE] for name, top, left, _, _ in CROPS])
    holes = np.stack([damage(kind, SIDE, SIDE, number) for _, _, _, kind, number in CROPS])
    moves = len(method.moves)
    wanted = {round(moves * share) for share in np.linspace(0, 1, WAYPOINTS + 2)[1:-1]}
    waypoints: list[NDArray[np.uint8]] = []

    def watch(pipeline: RePaintPipeline, position: int, level: int, kwargs: dict[str, Any]) -> None:
        callback(pipeline, position, level, dict(kwargs))
        if position in wanted:
            waypoints.append(_to_uint8(kwargs["state"].x0_hat))

    result = pipe(
        originals,
        holes,
        schedule=method,
        crop="off",
        generator=seed,
        output_type="np",
        callback_on_step_end=watch,
    )
    damaged = np.where(holes[..., None], np.uint8(255), originals)
    columns = [originals, damaged, *waypoints, result.images]
    titles = ["original", "damaged", *(["x0_hat"] * len(waypoints)), "result"]
    return strip(list(zip(*columns, strict=True)), titles, scale=1), result.model_calls


def _to_uint8(image: Float[Tensor, "b c h w"]) -> NDArray[np.uint8]:
    import torch

    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return array
