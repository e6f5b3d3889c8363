"""Sweeps over strengths and radii: our pipeline is exact in every cell, and changes by others are detected."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_latents import tiny_sd, tiny_sdxl
from helpers.tiny_priors import tiny_folder_pipeline
from numpy.typing import NDArray
from PIL import Image

from repaint import JumpSchedule, RePaintPipeline
from repaint.errors import InputError, PriorError
from repaint.lab.quality.audit_sweep import (
    AuditRow,
    Fill,
    curves,
    diffusers_fill,
    even,
    quadratic_trend,
    repaint_fill,
    sweep_radius,
    sweep_strength,
)
from repaint.measure.audit import Audit

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
HOLE = np.zeros((16, 16), dtype=bool)
HOLE[4:10, 5:12] = True
STRENGTHS = [0.01, 0.3, 1.0]
STEPS = 4


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> RePaintPipeline:
    """Stable Diffusion with random weights."""
    pipe = RePaintPipeline.from_pipe(tiny_sd(tmp_path_factory.mktemp("sd")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def ours(pipe: RePaintPipeline) -> Fill:
    return repaint_fill(pipe, prompt="a", schedule=JumpSchedule.paper(STEPS, 1, 1), guidance_scale=2.0)


def untouched(image: NDArray[Any], hole: NDArray[np.bool_], strength: float, seed: int) -> NDArray[Any]:
    return np.where(hole[..., None], 255 - image, image)


def test_ours_is_exact_in_every_cell(ours: Fill) -> None:
    """If this fails, our pipeline changes kept pixels."""
    painted: list[bool] = []

    def fill(image: NDArray[Any], hole: NDArray[np.bool_], strength: float, seed: int) -> NDArray[Any]:
        result = ours(image, hole, strength, seed)
        painted.append(not np.array_equal(result[hole], image[hole]))
        return np.asarray(result)

    rows = sweep_strength(fill, IMAGE, HOLE, STRENGTHS) + sweep_radius(fill, IMAGE, [1, 4.5, 8], [0.3, 1.0])
    assert len(rows) == 9
    assert all(painted)
    assert all((row.mse, row.max_change, row.changed, row.rim) == (0, 0, 0, 0) for row in rows)


@pytest.mark.parametrize("task", ["inpaint", "img2img"])
def test_those_of_diffusers_change_kept_pixels(pipe: RePaintPipeline, task: str) -> None:
    """If this fails, the audit misses changes: a random autoencoder cannot preserve kept pixels."""
    fill = diffusers_fill(pipe, task, prompt="a", steps=STEPS, guidance_scale=2.0)
    rows = sweep_strength(fill, IMAGE, HOLE, STRENGTHS) + sweep_radius(fill, IMAGE, [1, 8], [1.0])
    assert all(row.mse > 1 and row.max_change > 1 and row.changed > 0.5 and row.rim > 0 for row in rows)


def test_the_adapters_call_what_a_user_of_diffusers_calls(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, the adapter changes the results of diffusers."""
    import diffusers
    import torch

    plain = diffusers.StableDiffusionInpaintPipeline(**tiny_sd(tmp_path).components, requires_safety_checker=False)
    expected = plain(
        "a",
        image=Image.fromarray(IMAGE),
        mask_image=Image.fromarray(HOLE),
        height=16,
        width=16,
        strength=0.5,
        num_inference_steps=STEPS,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    fill = diffusers_fill(pipe, prompt="a", steps=STEPS, guidance_scale=2.0)
    assert np.array_equal(fill(IMAGE, HOLE, 0.5, 3), np.asarray(expected))


def test_the_weights_are_shared_and_the_scheduler_is_not(
    pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, different weights are compared, or auditing diffusers changes our results."""
    import diffusers

    built: dict[str, Any] = {}
    real = diffusers.StableDiffusionInpaintPipeline
    monkeypatch.setattr(
        diffusers, "StableDiffusionInpaintPipeline", lambda **parts: built.update(parts) or real(**parts)
    )
    fill = diffusers_fill(pipe, prompt="a", steps=STEPS)
    inner: Any = pipe.prior
    before = dict(vars(inner.pipeline.scheduler))
    fill(IMAGE, HOLE, 0.5, 0)
    assert built["unet"] is inner.pipeline.unet
    assert built["vae"] is inner.pipeline.vae
    assert vars(inner.pipeline.scheduler) == before


@pytest.mark.parametrize("steps", [1, 4, 49])
def test_the_smallest_strength_is_one_step(pipe: RePaintPipeline, steps: int) -> None:
    """If this fails, low strengths stop a sweep: diffusers rejects less than one step, and 49 * (1 / 49) is below 1."""
    fill = diffusers_fill(pipe, prompt="a", steps=steps, guidance_scale=1.0)
    assert np.asarray(fill(IMAGE, HOLE, 0.001, 0)).shape == IMAGE.shape


def test_one_changed_pixel_is_seen() -> None:
    """If this fails, a method that changes a single pixel is reported as exact."""

    def fill(image: NDArray[Any], hole: NDArray[np.bool_], strength: float, seed: int) -> Image.Image:
        result = untouched(image, hole, strength, seed)
        if strength == 0.5:
            result[0, 0, 1] ^= 1
        return Image.fromarray(result)

    rows = sweep_strength(fill, IMAGE, HOLE, even(4))
    kept = np.count_nonzero(~HOLE)
    assert [row.strength for row in rows] == [0.25, 0.5, 0.75, 1.0]
    assert [row.changed for row in rows] == [0, 1 / kept, 0, 0]
    # Noise is textured everywhere, and the corner is 6.4 pixels from the hole.
    far = sum(math.hypot(max(4 - y, 0, y - 9), max(5 - x, 0, x - 11)) > 6 for y in range(16) for x in range(16))
    expected = (0.5, None, 42 / 256, 1 / (3 * kept), 1, 1 / kept, 0, 0, 1 / (3 * far), None, 1 / (3 * kept))
    assert rows[1] == AuditRow(*expected)


def test_changes_by_region() -> None:
    """If this fails, changes are counted at the wrong distance from the hole, or flat pixels as textured."""
    image = np.full((1, 20), 100, np.uint8)
    image[0, 17:] = (200, 100, 200)  # the neighbour of column 16 differs
    hole = np.zeros((1, 20), bool)
    hole[0, :2] = True
    changes = np.arange(20, dtype=np.uint8)
    (row,) = sweep_strength(lambda image, *_: image + changes, image, hole, [1.0])
    squares = np.arange(20.0) ** 2
    assert row.near == pytest.approx(squares[2:8].mean())
    assert row.far == pytest.approx(squares[8:].mean())
    assert row.flat == pytest.approx(squares[2:16].mean())
    assert row.textured == pytest.approx(squares[16:].mean())


def test_the_mean_of_pictures_has_one_point_for_each_strength() -> None:
    """If this fails, the trend of many pictures is not that of their mean."""
    rows = [row for image in (IMAGE, 255 - IMAGE) for row in sweep_strength(untouched, image, HOLE, [1.0, 0.5, 0.25])]
    changed = [replace(row, mse=float(i)) for i, row in enumerate(rows)]
    (curve,) = curves(changed)
    assert curve.x == [0.25, 0.5, 1.0]
    assert curve.mse == [3.5, 2.5, 1.5]


def test_painting_in_place_does_not_hide_changes() -> None:
    """If this fails, a fill that writes into its input is compared with itself."""

    def fill(image: NDArray[Any], hole: NDArray[np.bool_], strength: float, seed: int) -> NDArray[Any]:
        image[...] = 7
        hole[...] = True
        return image

    before, hole = IMAGE.copy(), HOLE.copy()
    (row,) = sweep_strength(fill, before, hole, [1.0])
    assert row.changed > 0.9
    assert np.array_equal(before, IMAGE)
    assert np.array_equal(hole, HOLE)


def test_cells_their_order_holes_and_seeds() -> None:
    """If this fails, rows contain the numbers of other results."""
    called, seen = [], []

    def fill(image: NDArray[Any], hole: NDArray[np.bool_], strength: float, seed: int) -> NDArray[Any]:
        called.append((strength, int(hole.sum()), seed))
        return untouched(image, hole, strength, seed)

    def on_cell(row: AuditRow, found: Audit) -> None:
        seen.append((row, found.kept))

    rows = sweep_radius(fill, IMAGE, [0.1, 1.6], [0.2, 0.9], seed=5, on_cell=on_cell)
    # The centre lies between four pixels, 0.7 away; the next eight are 1.58 away.
    assert called == [(0.2, 4, 5), (0.2, 12, 6), (0.9, 4, 7), (0.9, 12, 8)]
    assert [(row.strength, row.radius, row.hole) for row in rows] == [
        (0.2, 0.1, 4 / 256),
        (0.2, 1.6, 12 / 256),
        (0.9, 0.1, 4 / 256),
        (0.9, 1.6, 12 / 256),
    ]
    assert seen == list(zip(rows, [252, 244, 252, 244], strict=True))


def test_the_full_sweeps() -> None:
    """If this fails, the sweeps are too short, or leave (0, 1]."""
    strengths = [row.strength for row in sweep_strength(untouched, IMAGE, HOLE)]
    assert (len(strengths), strengths[0], strengths[-1]) == (100, 0.01, 1.0)
    rows = sweep_radius(untouched, IMAGE)
    assert len(rows) == 150
    assert [rows[i].radius for i in (0, 49, 50)] == [0.16, 8, 0.16]
    assert [rows[i].strength for i in (0, 50, 100)] == [0.1, 0.5, 0.9]
    assert not any(row.mse for row in rows)


def test_a_parabola_is_its_own_trend() -> None:
    """If this fails, the coefficients are in a wrong order, or R squared is wrong."""
    x = even(9, 3.0)
    trend = quadratic_trend(x, [2 * v * v - 3 * v + 5 for v in x])
    assert trend.coefficients == pytest.approx((2, -3, 5))
    assert trend.r_squared == pytest.approx(1)
    assert trend(np.array([2.0])) == pytest.approx(7)


def test_r_squared_by_hand() -> None:
    """If this fails, R squared is not 1 - rest / total."""
    # The parabola through (-1, 0), (0, 1.5), (1, 0) halves the two values at 0; the rest is 2 * 0.5^2 of 2.75 in all.
    trend = quadratic_trend([-1, 0, 0, 1], [0, 1, 2, 0])
    assert trend.coefficients == pytest.approx((-1.5, 0, 1.5))
    assert trend.r_squared == pytest.approx(1 - 0.5 / 2.75)


def test_nothing_has_no_variance_to_explain() -> None:
    """If this fails, an exact method gets an R squared of 1 or 0, or a value that JSON lacks."""
    trend = quadratic_trend([0.1, 0.5, 1.0], [0, 0, 0])
    assert trend.coefficients == pytest.approx((0, 0, 0), abs=0)
    assert np.isnan(trend.r_squared)
    assert trend.as_dict() == {"coefficients": [0, 0, 0], "r_squared": None}


def test_misuse(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a wrong sweep runs, or shows a traceback of diffusers."""
    with pytest.raises(InputError, match=r"strength=0 must lie in \(0, 1\]"):
        sweep_strength(untouched, IMAGE, HOLE, [0.5, 0])
    with pytest.raises(InputError, match=r"strength=1\.1 must lie in \(0, 1\]"):
        sweep_radius(untouched, IMAGE, [3], [1.1])
    with pytest.raises(InputError, match="must be positive"):
        sweep_radius(untouched, IMAGE, [0])
    with pytest.raises(InputError, match="The hole is the whole picture"):
        sweep_radius(untouched, IMAGE, [100])
    with pytest.raises(InputError, match=r"The result has shape \(8, 8, 3\)"):
        sweep_strength(lambda image, *_: image[::2, ::2], IMAGE, HOLE, [1])
    with pytest.raises(InputError, match="needs at least 3 different x, but there are 2"):
        quadratic_trend([1, 2, 2], [0, 1, 2])
    with pytest.raises(InputError, match=r"task='inpant' must be one of .* Did you mean 'inpaint'"):
        diffusers_fill(pipe, "inpant", prompt="a", steps=2)
    fill = diffusers_fill(pipe, prompt="a", steps=2)
    with pytest.raises(InputError, match=r"needs a picture of shape \(H, W, 3\) and dtype uint8"):
        fill(IMAGE[..., 0], HOLE, 1.0, 0)
    with pytest.raises(InputError, match="StableDiffusionInpaintPipeline rejects a picture of 15 x 16"):
        fill(IMAGE[:, :15], HOLE[:, :15], 1.0, 0)
    for other in (tiny_sdxl(tmp_path), tiny_folder_pipeline()):
        with pytest.raises(PriorError, match=r"needs a Stable Diffusion 1\.x or 2\.x prior"):
            diffusers_fill(RePaintPipeline.from_pipe(other), prompt="a", steps=2)
