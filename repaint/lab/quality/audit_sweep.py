"""Measure changes of kept pixels over strengths and sizes of the hole.

Our pipeline and those of diffusers run with the same weights and differ in the treatment of kept pixels. The inpainting
pipeline of diffusers restores known latents, but decodes all pixels; its image-to-image pipeline has no mask.
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
from repaint.measure.metrics import mse
from repaint.pictures.decoding import NUMPY_WHITE
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
"""(image (H, W) or (H, W, C), hole (H, W), strength in (0, 1], seed) -> image of the same size, numpy or PIL."""

NEAR = 6  # pixels
FLAT = 0.05  # of the range of the values

# Task to the diffusers pipeline for Stable Diffusion.
DIFFUSERS = {"inpaint": "StableDiffusionInpaintPipeline", "img2img": "StableDiffusionImg2ImgPipeline"}


@dataclass(frozen=True)
class AuditRow:
    """The audit of one result; see `repaint.measure.audit.Audit`.

    Attributes:
        strength: in (0, 1].
        radius: of the round hole, in pixels; None for a given hole.
        hole: share of the picture inside the hole.
        mse, max_change, changed: of the kept pixels.
        rim: mean change of the kept pixels that share a side with the hole.
        near, far: mean squared change of the kept pixels at most `NEAR` pixels from the hole, and of the others.
        flat, textured: mean squared change of the kept pixels around which the picture varies by at most `FLAT` of its
            range within 3 x 3 pixels, and of the others. None without such pixels.
    """

    strength: float
    radius: float | None
    hole: float
    mse: float
    max_change: float
    changed: float
    rim: float
    near: float | None
    far: float | None
    flat: float | None
    textured: float | None


@dataclass(frozen=True)
class Trend:
    """A quadratic trend line.

    Attributes:
        coefficients: (a, b, c) of a x^2 + b x + c.
        r_squared: share of the variance that the trend explains; NaN if all values are equal.
    """

    coefficients: tuple[float, float, float]
    r_squared: float

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate the trend at x."""
        a, b, c = self.coefficients
        return (a * x + b) * x + c

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON, with None for NaN."""
        r_squared = None if np.isnan(self.r_squared) else self.r_squared
        return {"coefficients": list(self.coefficients), "r_squared": r_squared}


@dataclass(frozen=True)
class Curve:
    """MSE outside the hole over strengths or radii.

    Attributes:
        strength: of a curve over radii; None for a curve over strengths.
        x: strengths, or radii in pixels, in ascending order.
        mse: of the kept pixels; the mean over the pictures at each x.
        trend: of `mse` over `x`.
    """

    strength: float | None
    x: list[float]
    mse: list[float]
    trend: Trend


def curves(rows: Sequence[AuditRow]) -> list[Curve]:
    """Group rows of one or more pictures into curves: one over strengths, or one over radii for each strength."""
    swept: dict[float | None, dict[float, list[float]]] = {}
    for row in rows:
        strength, x = (None, row.strength) if row.radius is None else (row.strength, row.radius)
        swept.setdefault(strength, {}).setdefault(x, []).append(row.mse)
    found = []
    for strength, points in swept.items():
        places = sorted(points)
        errors = [float(np.mean(points[x])) for x in places]
        found.append(Curve(strength, places, errors, quadratic_trend(places, errors)))
    return found


def quadratic_trend(x: Sequence[float], y: Sequence[float]) -> Trend:
    """Fit a parabola by least squares.

    Raises:
        InputError: fewer than three different x.
    """
    if len(set(x)) < 3:
        raise InputError(f"A quadratic trend needs at least 3 different x, but there are {len(set(x))}.")
    a, b, c = map(float, np.polyfit(x, y, 2))
    trend = Trend((a, b, c), float("nan"))
    rest, total = np.var(np.asarray(y) - trend(np.asarray(x, dtype=np.float64))), np.var(y)
    return replace(trend, r_squared=float(1 - rest / total)) if total else trend


def even(count: int, most: float = 1.0) -> list[float]:
    """Return `count` evenly spaced values in (0, most], ending with `most`.

    >>> even(4)
    [0.25, 0.5, 0.75, 1.0]
    """
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
    """Fill one hole at every strength, and audit each result.

    Args:
        fill: fills the hole in a copy of the image.
        image: (H, W) or (H, W, C).
        hole: (H, W), True is repainted.
        strengths: in (0, 1]; None: 0.01 to 1 in 100 steps.
        seed: of the first result. Each further result has the next seed, so that the scatter of the method shows.
        on_cell: called after each result.
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
    """Fill a centred round hole of every radius at every strength, and audit each result.

    Args:
        fill, image, strengths, seed, on_cell: see `sweep_strength`.
        radii: in pixels; None: 50 radii up to half of the shorter side.
    Raises:
        InputError: see `sweep_strength`; also a radius that is not positive or leaves no kept pixel.
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
            raise InputError(f"strength={strength} must lie in (0, 1] (1 starts from pure noise).")
    flat = _flat(image)
    for number, (strength, radius, hole) in enumerate(cells):
        # A copy: a fill that writes into its input would otherwise be compared with itself.
        result = np.asarray(fill(image.copy(), hole.copy(), strength, seed + number))
        found = audit(result, image, hole)
        row = AuditRow(
            strength,
            radius,
            float(hole.mean()),
            found.mse,
            found.max_change,
            found.changed,
            float(found.profile[0]),
            **_regions(result, image, hole, flat),
        )
        if on_cell is not None:
            on_cell(row, found)
        yield row


def _flat(image: Picture) -> NDArray[np.bool_]:
    """Test where the picture varies by at most `FLAT` of its range within 3 x 3 pixels, (H, W)."""
    from scipy.ndimage import maximum_filter, minimum_filter

    values = image.reshape(*image.shape[:2], -1).astype(np.float64)
    spans = maximum_filter(values, (3, 3, 1)) - minimum_filter(values, (3, 3, 1))
    level: NDArray[np.bool_] = spans.max(axis=2) <= FLAT * NUMPY_WHITE.get(image.dtype.name, 1.0)
    return level


def _regions(
    result: Picture, image: Picture, hole: NDArray[np.bool_], flat: NDArray[np.bool_]
) -> dict[str, float | None]:
    """Average squared changes by distance from the hole and by the texture of the picture; see `AuditRow`."""
    from scipy.ndimage import distance_transform_edt

    near = distance_transform_edt(~hole) <= NEAR
    regions = {"near": near, "far": ~near, "flat": flat, "textured": ~flat}
    kept = {name: region & ~hole for name, region in regions.items()}
    return {name: mse(result, image, region) if region.any() else None for name, region in kept.items()}


def repaint_fill(pipe: RePaintPipeline, **options: Any) -> Fill:
    """Make a `Fill` from our pipeline.

    Args:
        pipe: the pipeline.
        **options: prompt, schedule, guidance_scale and others; see `RePaintPipeline.__call__`.
    """

    def fill(image: Picture, hole: NDArray[np.bool_], strength: float, seed: int) -> Picture:
        result = pipe(image, hole, strength=strength, generator=seed, output_type="np", **options).images[0]
        return np.asarray(result)

    return fill


def diffusers_fill(
    pipe: RePaintPipeline, task: str = "inpaint", *, prompt: str, steps: int, guidance_scale: float = 3.0
) -> Fill:
    """Make a `Fill` from a pipeline of diffusers that shares its components, and so its weights, with `pipe`.

    Results are not changed. A strength below one step, which diffusers rejects, is raised to one step. The safety
    checker is left out, because it can blacken results.

    Args:
        pipe: a pipeline around a Stable Diffusion prior (1.x or 2.x).
        task: a key of `DIFFUSERS`; img2img ignores the hole.
        prompt: for all results.
        steps: at strength 1.
        guidance_scale: weight of classifier-free guidance.
    Raises:
        InputError: an unknown task.
        PriorError: a prior of another kind.
    """
    import diffusers

    if task not in DIFFUSERS:
        raise InputError(f"task={task!r} must be one of {', '.join(DIFFUSERS)}.{nearest(task, DIFFUSERS)}")
    inner = pipe.prior.pipeline
    if not isinstance(inner, diffusers.StableDiffusionPipeline):
        raise PriorError(
            f"{DIFFUSERS[task]} needs a Stable Diffusion 1.x or 2.x prior, such as the bundled emoji, but the prior is "
            f"a {type(pipe.prior).__name__} without a StableDiffusionPipeline."
        )
    # A copy of the scheduler, because each pipeline changes its own.
    changed = {"scheduler": type(inner.scheduler).from_config(inner.scheduler.config), "safety_checker": None}
    peer = getattr(diffusers, DIFFUSERS[task])(**(inner.components | changed), requires_safety_checker=False)
    peer.set_progress_bar_config(disable=True)

    def fill(image: Picture, hole: NDArray[np.bool_], strength: float, seed: int) -> Picture:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"{DIFFUSERS[task]} needs a picture of shape (H, W, 3) and dtype uint8, but the picture has shape "
                f"{image.shape} and dtype {image.dtype}."
            )
        height, width = hole.shape
        masked = {"mask_image": Image.fromarray(hole), "height": height, "width": width} if task == "inpaint" else {}
        try:
            result = peer(
                prompt,
                image=Image.fromarray(image),
                **masked,
                strength=max(strength, nextafter(1 / steps, 1)),
                num_inference_steps=steps,
                guidance_scale=guidance_scale,
                generator=torch.Generator().manual_seed(seed),
            )
        except ValueError as error:
            raise InputError(f"{DIFFUSERS[task]} rejects a picture of {width} x {height}: {error}") from error
        return np.asarray(result.images[0])

    return fill
