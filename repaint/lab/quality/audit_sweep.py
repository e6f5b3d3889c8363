"""Does a way of filling leave the known region alone, at any strength and for any size of hole?

Our pipeline and those of diffusers are compared with the same weights: what differs is what is done with the kept
pixels. diffusers' inpainting puts the known latents back and decodes everything; its image-to-image knows no mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nextafter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from repaint.checks import nearest
from repaint.errors import InputError, PriorError
from repaint.measure.audit import Audit, audit
from repaint.pictures.mask_shapes import circle
from repaint.pipeline import RePaintPipeline

__all__ = [
    "DIFFUSERS",
    "AuditRow",
    "Curve",
    "Fill",
    "Trend",
    "curves",
    "diffusers_fill",
    "even",
    "quadratic_trend",
    "repaint_fill",
    "sweep_radius",
    "sweep_strength",
]

Picture = NDArray[Any]
Fill = Callable[[Picture, NDArray[np.bool_], float, int], Any]
"""(image (H, W) or (H, W, C), hole (H, W), strength in (0, 1], seed) -> a picture like the image, numpy or PIL."""

# diffusers' classes for the task, of Stable Diffusion.
DIFFUSERS = {"inpaint": "StableDiffusionInpaintPipeline", "img2img": "StableDiffusionImg2ImgPipeline"}


@dataclass(frozen=True)
class AuditRow:
    """One filling, audited; see `repaint.measure.audit.Audit`.

    Attributes:
        strength: in (0, 1].
        radius: of the round hole, in pixels; None where the hole was given.
        hole: its share of the picture.
        mse, max_change, changed: of the kept pixels.
        rim: mean change of the kept pixels that touch the hole's sides.
    """

    strength: float
    radius: float | None
    hole: float
    mse: float
    max_change: float
    changed: float
    rim: float


@dataclass(frozen=True)
class Trend:
    """A quadratic trend line.

    Attributes:
        coefficients: (a, b, c) of a x^2 + b x + c.
        r_squared: share of the variance that it explains; NaN where there is none, all values being equal.
    """

    coefficients: tuple[float, float, float]
    r_squared: float

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its values at x."""
        a, b, c = self.coefficients
        return (a * x + b) * x + c

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN: None instead."""
        r_squared = None if np.isnan(self.r_squared) else self.r_squared
        return {"coefficients": list(self.coefficients), "r_squared": r_squared}


@dataclass(frozen=True)
class Curve:
    """MSE outside the hole over what a sweep swept.

    Attributes:
        strength: of a curve over radii; None for one over strengths.
        x: strengths, or radii in pixels.
        mse: of the kept pixels.
        trend: through them.
    """

    strength: float | None
    x: list[float]
    mse: list[float]
    trend: Trend


def curves(rows: Sequence[AuditRow]) -> list[Curve]:
    """A sweep's rows as curves: one over strengths, or one over radii for each strength."""
    swept: dict[float | None, list[tuple[float, float]]] = {}
    for row in rows:
        place = (None, row.strength) if row.radius is None else (row.strength, row.radius)
        swept.setdefault(place[0], []).append((place[1], row.mse))
    found = []
    for strength, points in swept.items():
        x, errors = map(list, zip(*points, strict=True))
        found.append(Curve(strength, x, errors, quadratic_trend(x, errors)))
    return found


def quadratic_trend(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Least-squares parabola through points.

    Raises:
        InputError: fewer than three different x.
    """
    if len(set(x)) < 3:
        raise InputError(f"A quadratic trend through {len(set(x))} different places: it takes three. Measure at more.")
    a, b, c = map(float, np.polyfit(x, y, 2))
    trend = Trend((a, b, c), float("nan"))
    rest, total = np.var(np.asarray(y) - trend(np.asarray(x, dtype=np.float64))), np.var(y)
    return replace(trend, r_squared=float(1 - rest / total)) if total else trend


def even(count: int, most: float = 1.0) -> list[float]:
    """`count` values evenly spread over (0, most], the last being `most`."""
    return [most * number / count for number in range(1, count + 1)]


def sweep_strength(
    fill: Fill,
    image: Picture,
    hole: NDArray[np.bool_],
    strengths: Sequence[float] | None = None,
    *,
    seed: int = 0,
    on_cell: Callable[[AuditRow, Audit], None] | None = None,
) -> list[AuditRow]:
    """Fill the same hole at every strength, and audit each result.

    Args:
        fill: what fills; it gets a copy of the image.
        image: (H, W) or (H, W, C).
        hole: (H, W), True is repainted.
        strengths: in (0, 1]; default 100 of them, 0.01 to 1.
        seed: of the first filling; each next one has the next seed, so that their scatter is that of the method.
        on_cell: called after each filling.
    Raises:
        InputError: a strength out of range, or a result that cannot be audited; see `repaint.measure.audit.audit`.
    """
    strengths = even(100) if strengths is None else strengths
    return list(_audited(fill, image, [(strength, None, hole) for strength in strengths], seed, on_cell))


def sweep_radius(
    fill: Fill,
    image: Picture,
    radii: Sequence[float] | None = None,
    strengths: Sequence[float] = (0.1, 0.5, 0.9),
    *,
    seed: int = 0,
    on_cell: Callable[[AuditRow, Audit], None] | None = None,
) -> list[AuditRow]:
    """Fill a centred round hole of every radius at every strength, and audit each result; strength by strength.

    Args:
        fill, image, strengths, seed, on_cell: see `sweep_strength`.
        radii: in pixels; default 50 of them, up to half of the shorter side.
    Raises:
        InputError: see `sweep_strength`; or a radius that is not above 0 or leaves nothing of the picture.
    """
    height, width = image.shape[:2]
    short = min(height, width)
    radii = even(50, short / 2) if radii is None else radii
    holes = [(radius, circle(height, width, radius / short)[0].numpy() == 0) for radius in radii]
    cells = [(strength, radius, hole) for strength in strengths for radius, hole in holes]
    return list(_audited(fill, image, cells, seed, on_cell))


def _audited(
    fill: Fill,
    image: Picture,
    cells: Sequence[tuple[float, float | None, NDArray[np.bool_]]],
    seed: int,
    on_cell: Callable[[AuditRow, Audit], None] | None,
) -> Iterator[AuditRow]:
    for strength, _, _ in cells:
        if not 0 < strength <= 1:
            raise InputError(f"strength {strength}: it lies in (0, 1]; 1 starts from pure noise. Choose one there.")
    for number, (strength, radius, hole) in enumerate(cells):
        # A copy, for one that paints in place and returns it would be compared with itself.
        result = np.asarray(fill(image.copy(), hole.copy(), strength, seed + number))
        its = audit(result, image, hole)
        row = AuditRow(
            strength, radius, float(hole.mean()), its.mse, its.max_change, its.changed, float(its.profile[0])
        )
        if on_cell is not None:
            on_cell(row, its)
        yield row


def repaint_fill(pipe: RePaintPipeline, **options: Any) -> Fill:
    """Our pipeline as a `Fill`.

    Args:
        pipe: any.
        **options: prompt, schedule, guidance_scale and whatever else `RePaintPipeline.__call__` takes.
    """

    def fill(image: Picture, hole: NDArray[np.bool_], strength: float, seed: int) -> Picture:
        result = pipe(image, hole, strength=strength, generator=seed, output_type="np", **options).images[0]
        return np.asarray(result)

    return fill


def diffusers_fill(
    pipe: RePaintPipeline, task: str = "inpaint", *, prompt: str, steps: int, guidance_scale: float = 3.0
) -> Fill:
    """A pipeline of diffusers as a `Fill`, over the components that `pipe` holds: the same weights, not a copy.

    Its result is taken as it returns it. A strength below one step, which it refuses, gets one step. The safety checker
    is left out, for a picture that it blackens tells nothing of the method.

    Args:
        pipe: a pipeline around a Stable Diffusion prior (1.x or 2.x).
        task: "inpaint" or "img2img", see `DIFFUSERS`; the second one never sees the hole.
        prompt: for every filling.
        steps: at strength 1.
        guidance_scale: weight of classifier-free guidance.
    Raises:
        InputError: another task.
        PriorError: another prior.
    """
    import diffusers

    if task not in DIFFUSERS:
        raise InputError(
            f"No task {task!r} of diffusers here: it is one of {', '.join(DIFFUSERS)}.{nearest(task, DIFFUSERS)}"
        )
    inner = pipe.prior.pipeline
    if not isinstance(inner, diffusers.StableDiffusionPipeline):
        raise PriorError(
            f"A {type(pipe.prior).__name__} without a StableDiffusionPipeline: {DIFFUSERS[task]} cannot be built from "
            "it. Compare with a Stable Diffusion 1.x or 2.x model, such as the bundled emoji."
        )
    # A copy of the scheduler, for a pipeline writes into its own.
    mine = {"scheduler": type(inner.scheduler).from_config(inner.scheduler.config), "safety_checker": None}
    theirs = getattr(diffusers, DIFFUSERS[task])(**(inner.components | mine), requires_safety_checker=False)
    theirs.set_progress_bar_config(disable=True)

    def fill(image: Picture, hole: NDArray[np.bool_], strength: float, seed: int) -> Picture:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"A picture of shape {image.shape} and dtype {image.dtype} for {DIFFUSERS[task]}: it takes 8-bit RGB, "
                "(H, W, 3) uint8. Convert the picture."
            )
        height, width = hole.shape
        masked = {"mask_image": Image.fromarray(hole), "height": height, "width": width} if task == "inpaint" else {}
        try:
            result = theirs(
                prompt,
                image=Image.fromarray(image),
                **masked,
                strength=max(strength, nextafter(1 / steps, 1)),
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                generator=torch.Generator().manual_seed(seed),
            )
        except ValueError as error:
            raise InputError(f"{DIFFUSERS[task]} refused a picture of {width} x {height}: {error}") from error
        return np.asarray(result.images[0])

    return fill
