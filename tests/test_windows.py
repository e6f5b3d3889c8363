"""Crop and stitch: windows around the holes of images larger than the prior."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_inputs import TWO, quiet
from helpers.tiny_latents import tiny_vae
from helpers.tiny_priors import tiny_pipe, tiny_unet
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion
from torch import Tensor
from typer.testing import CliRunner

from repaint.errors import InputError, PriorError, StateError
from repaint.pictures.crop import Crop, Window, windows_around
from repaint.pipeline import RePaintPipeline
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.priors.latent import LatentPrior
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState
from repaint.testing import PixelByPixelPrior

JUMPS = JumpSchedule.from_levels([4, 3, 2, 1, 2, 3, 2, 1, 0])
BATCH_ROUNDING = 2e-4  # see test_pipeline.py

Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def pipe() -> RePaintPipeline:
    """A prior with a training size of 16 pixels, for multiples of 2."""
    return tiny_pipe(sample_size=16)


@pytest.fixture(scope="module")
def latent() -> RePaintPipeline:
    """8 cells of 2 pixels."""
    from diffusers import DDPMScheduler

    unet = tiny_unet(in_channels=4, out_channels=4, sample_size=8)
    pipe = RePaintPipeline(LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def holes(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Mask:
    """White boxes (top, left, height, width)."""
    white = np.zeros((height, width), bool)
    for top, left, h, w in boxes:
        white[top : top + h, left : left + w] = True
    return white


def fill(pipe: RePaintPipeline, image: Any, white: Any, **more: Any) -> Any:
    asked: dict[str, Any] = {"schedule": TWO, "generator": 0, "output_type": "np"}
    return pipe(image, white, **(asked | more))


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    """Boxes and single pixels in an image of up to 60 pixels a side."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    white = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        white[top : top + draw(st.integers(1, 12)), left : left + draw(st.integers(1, 12))] = True
    return white


# --- Where windows stand


@settings(deadline=None, max_examples=200)
@given(masks(), st.integers(4, 40), st.sampled_from([1, 2, 4]), st.floats(0, 2), st.booleans())
def test_windows_share_the_hole_out(white: Mask, size: int, multiple_of: int, context: float, upscale: bool) -> None:
    """If this fails, a hole pixel is left empty or painted twice, or a window leaves the image."""
    windows = windows_around(white, Crop(context=context, upscale=upscale), size, multiple_of)
    owners = np.zeros(white.shape, int)
    for window in windows:
        assert window.top >= 0
        assert window.left >= 0
        assert owners[window.place].shape == window.own.shape, "inside the image"
        owners[window.place] += window.own
    assert np.array_equal(owners, white.astype(int))
    assert len({(window.own.shape, window.scale) for window in windows}) == 1, "one batch"
    held = sum(window.own.size * window.scale**2 for window in windows)
    assert len(windows) == 1 or held <= white.size, "windows cost no more than the image"
    for side, length in zip(windows[0].own.shape, white.shape, strict=True):
        assert side == length or side % multiple_of == 0 or windows[0].scale > 1
        assert side >= min(size, length) or windows[0].scale > 1
        assert windows[0].scale == 1 or windows[0].scale * side <= size


@settings(deadline=None, max_examples=100)
@given(masks(), st.integers(4, 24), st.floats(0, 2))
def test_windows_hold_their_context(white: Mask, size: int, context: float) -> None:
    """If this fails, a window has less context than given, although the image has more."""
    for window in windows_around(white, Crop(context=context), size, 1):
        for axis in (0, 1):
            where = np.flatnonzero(window.own.any(axis=1 - axis))
            begin, length = (window.top, window.left)[axis], white.shape[axis]
            extent = where[-1] + 1 - where[0]
            before, after = where[0], window.own.shape[axis] - 1 - where[-1]
            wanted = math.floor(context * extent)
            assert before >= wanted or begin == 0
            assert after >= wanted or begin + window.own.shape[axis] == length


def places(windows: list[Window]) -> list[tuple[int, int, tuple[int, ...]]]:
    return [(window.top, window.left, window.own.shape) for window in windows]


def test_windows_by_hand() -> None:
    """If this fails, windows are at wrong positions, split near holes, or ignore the largest hole."""
    near = holes(100, 100, (10, 10, 4, 4), (18, 12, 2, 2), (80, 70, 4, 4))
    assert places(windows_around(near, Crop(), 32, 4)) == [(0, 0, (32, 32)), (66, 56, (32, 32))]
    large = holes(100, 100, (10, 10, 20, 4), (80, 90, 4, 4))
    assert places(windows_around(large, Crop(), 32, 4)) == [(0, 0, (40, 32)), (60, 68, (40, 32))]
    assert places(windows_around(large, Crop(context=2), 32, 4)) == [(0, 0, (100, 32)), (0, 68, (100, 32))]
    corners = holes(50, 40, (0, 0, 2, 2), (48, 0, 2, 2), (0, 38, 2, 2), (48, 38, 2, 2))
    assert places(windows_around(corners, Crop(), 24, 4)) == [(0, 0, (50, 40))], "four windows hold more than it"
    odd = holes(100, 100, (40, 40, 5, 7))
    assert places(windows_around(odd, Crop(), 32, 4)) == [(26, 27, (32, 32))], "half a pixel up and to the left"
    touching = holes(100, 100, (10, 10, 4, 4), (14, 14, 4, 4))
    assert len(windows_around(touching, Crop(context=0), 4, 1)) == 1, "connected over a corner"


def test_upscaled_windows_by_hand() -> None:
    """If this fails, small holes are not enlarged by the largest whole factor, or large ones are enlarged."""
    (window,) = windows_around(holes(100, 100, (40, 40, 5, 4)), Crop(upscale=True), 32, 4)
    assert (window.scale, window.own.shape) == (3, (10, 10))
    (window,) = windows_around(holes(100, 100, (40, 40, 20, 4)), Crop(upscale=True), 32, 4)
    assert (window.scale, window.own.shape) == (1, (40, 32))


# --- What is filled, and what is not touched


@settings(deadline=None, max_examples=40)
@given(masks(), st.booleans(), st.sampled_from([0.0, 0.5]))
def test_kept_pixels_and_nothing_read(white: Mask, upscale: bool, context: float) -> None:
    """If this fails, a crop changes kept pixels, leaves a hole unfilled, or depends on pixels under a hole."""
    pipe, crop = tiny_pipe(sample_size=16), Crop(context=context, upscale=upscale)
    image = noise(*white.shape, 3)
    other = np.where(white[..., None], 255 - image, image)
    results = [fill(pipe, one, white, crop=crop).images[0] for one in (image, other)]
    assert np.array_equal(results[0][~white], image[~white])
    assert np.array_equal(results[0], results[1])
    # A random UNet's two steps equal 8 random bits in three channels once in 10^7 pixels.
    assert (results[0] != image)[white].any()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "F"])
def test_modes(pipe: RePaintPipeline, mode: str) -> None:
    """If this fails, a window of a picture of this mode loses its palette, alpha or depth."""
    values, white = noise(40, 50, 4), holes(40, 50, (3, 3, 5, 6), (30, 40, 5, 5))
    wide = values[..., :2].copy().view("<u2")[..., 0]
    flat = {"L": values[..., 0], "I;16": wide, "F": wide.astype(np.float32) / 257, "RGBA": values}.get(mode)
    if flat is not None:
        image = Image.fromarray(flat.copy())
    elif mode == "P":
        image = Image.fromarray(values[..., 0].copy())
        image.putpalette(noise(768, seed=1).tolist())
    else:
        image = Image.frombytes("CMYK", (50, 40), values.tobytes())
    (result,) = fill(pipe, image, white, output_type="pil").images
    assert (result.mode, result.size) == (mode, image.size)
    before, after = np.asarray(image), np.asarray(result)
    assert np.array_equal(after[~white], before[~white])
    for top, left in ((3, 3), (30, 40)):
        assert not np.array_equal(after[top : top + 5, left : left + 5], before[top : top + 5, left : left + 5])


def test_an_image_that_fits_is_not_cropped(pipe: RePaintPipeline) -> None:
    """If this fails, cropping changes the results of images of the training size."""
    image, white = noise(16, 13, 3), holes(16, 13, (4, 4, 8, 5))
    whole = fill(pipe, image, white, crop=None).images
    for crop in ("auto", "off", Crop(), Crop(size=16), Crop(size=1000)):
        assert np.array_equal(fill(pipe, image, white, crop=crop).images, whole)


def test_a_window_is_what_it_is_alone(pipe: RePaintPipeline) -> None:
    """If this fails, a result depends on pixels outside its window."""
    image, white = noise(200, 300, 3), holes(200, 300, (100, 100, 6, 6))
    result = fill(pipe, image, white).images[0]
    place = np.s_[95:111, 95:111]
    alone = fill(pipe, image[place], white[place]).images[0]
    assert np.array_equal(result[place], alone)
    assert fill(pipe, image, white).model_calls == 2


def test_every_window_has_its_own_noise(pipe: RePaintPipeline) -> None:
    """If this fails, equal holes get equal fills, or the fill of a window depends on its batch."""
    tile = noise(32, 32, 3)
    image, white = np.tile(tile, (1, 3, 1)), holes(32, 96, (13, 13, 6, 6), (13, 45, 6, 6), (13, 77, 6, 6))
    states: list[SamplerState] = []

    def look(_pipe: object, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        states.append(kwargs["state"])

    out = fill(pipe, image, white, generator=5, callback_on_step_end=look)
    seeds = [5] + [int(np.random.SeedSequence((5, i)).generate_state(1)[0]) for i in (1, 2)]
    assert states[0].seeds == tuple(seeds)
    assert states[0].x.shape == (3, 3, 16, 16), "windows are one batch"
    assert out.seeds == [5]
    result = out.images[0]
    assert len({result[13:19, left : left + 6].tobytes() for left in (13, 45, 77)}) == 3
    float_image = image / 255
    both = fill(pipe, [float_image, float_image], [white, holes(32, 96, (3, 50, 4, 4))], generator=[5, 9]).images
    alone = fill(pipe, float_image, white, generator=5).images
    np.testing.assert_allclose(both[0], alone[0], atol=BATCH_ROUNDING)


def test_windows_of_two_images_share_a_batch(pipe: RePaintPipeline) -> None:
    """If this fails, windows of one size do not share a batch."""
    batches: list[int] = []
    out = fill(
        pipe,
        [noise(40, 40, 3), noise(50, 30, 3)],
        [holes(40, 40, (3, 3, 4, 4), (30, 30, 4, 4)), holes(50, 30, (20, 10, 4, 4))],
        callback_on_step_end=lambda _p, _m, _l, kwargs: batches.append(len(kwargs["state"].x)),
    )
    assert batches == [3, 3]
    assert out.seeds == [0, 1]


def test_soft_edges_feather_and_strength(latent: RePaintPipeline) -> None:
    """If this fails, soft masks, blend_rim, latent_margin or strength have no effect inside a window."""
    image = np.random.default_rng(0).random((48, 60, 3))
    white = holes(48, 60, (20, 30, 7, 8)).astype(np.float64)
    white[19, 30:38] = 0.5
    out = fill(latent, image, white, blend_rim=2, latent_margin=1, strength=0.6, schedule=JUMPS).images[0]
    place = np.s_[15:31, 26:42]
    alone = fill(latent, image[place], white[place], blend_rim=2, latent_margin=1, strength=0.6, schedule=JUMPS).images[
        0
    ]
    assert np.array_equal(out[white == 0], image[white == 0])
    assert np.array_equal(out[place], alone)
    assert not np.array_equal(out[white == 0.5], image[white == 0.5])


def test_upscaled_windows(pipe: RePaintPipeline, latent: RePaintPipeline) -> None:
    """If this fails, small holes are not enlarged for the prior, or results are stitched in at wrong positions."""
    image, white = np.full((40, 40, 3), 0.75), holes(40, 40, (20, 10, 4, 4))
    for model, cells in ((pipe, 16), (latent, 8)):
        shapes: list[Any] = []

        def ones(_p: object, _m: int, level: int, kwargs: dict[str, Any], shapes: list[Any] = shapes) -> Any:
            from dataclasses import replace

            state = kwargs["state"]
            shapes.append(tuple(state.x.shape[-2:]))
            return {"state": replace(state, x=state.x0.clone())} if level == 0 else {}

        result = fill(model, image, white, crop=Crop(upscale=True), callback_on_step_end=ones).images[0]
        assert shapes == [(cells, cells)] * 2
        assert np.array_equal(result[~white], image[~white])
    assert (fill(pipe, image, white, crop=Crop(upscale=True)).images[0][white] != 0.75).any()


def test_upscaled_windows_are_read_and_averaged_at_their_place() -> None:
    """If this fails, the prior reads an enlarged part that is shifted, or the result is a share of its pixels."""
    pipe = quiet(PixelByPixelPrior(channels=1, preferred_size=16))
    rows, columns = np.mgrid[:40, :40]
    white, place = holes(40, 40, (20, 10, 4, 4)), np.s_[18:26, 8:16]
    pattern = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    states: list[SamplerState] = []

    def ends_in_the_pattern(_pipe: object, _moves: int, level: int, kwargs: dict[str, Any]) -> Any:
        states.append(kwargs["state"])
        return None if level else {"state": replace(kwargs["state"], x=pattern[None, None])}

    options = {"crop": Crop(upscale=True), "callback_on_step_end": ends_in_the_pattern}
    result = fill(pipe, rows / 100 + columns / 200, white, **options).images[0]
    hole, painted = white[place], (pattern.numpy() + 1) / 2
    np.testing.assert_allclose(result[place][hole], painted.reshape(8, 2, 8, 2).mean(axis=(1, 3))[hole], atol=1e-6)
    known = np.kron(~hole, np.ones((2, 2), bool))
    assert np.array_equal(states[0].known[0, 0].numpy(), known)
    row, column = (begin + (np.arange(16) + 0.5) / 2 - 0.5 for begin in (18, 8))  # in pixels of the picture
    ramp = 2 * (row[:, None] / 100 + column / 200) - 1
    far = binary_erosion(known, iterations=2, border_value=1)  # of the smooth fill of the hole, and of the border
    far[[0, -1]] = far[:, [0, -1]] = False
    np.testing.assert_allclose(states[0].x0[0, 0].numpy()[far], ramp[far], atol=1e-6)


def test_the_command_crops_unless_told_not_to(tmp_path: Path) -> None:
    """If this fails, `repaint inpaint` does not crop large images, or ignores --no-crop."""
    from repaint.cli import app

    image, white = noise(12, 90, 3), holes(12, 90, (4, 4, 4, 4))
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(white).save(tmp_path / "mask.png")
    (tmp_path / "two.yaml").write_text("steps: 2\nspacing: linspace\nlevels: [2, 1, 0]\n")
    pipe, results = RePaintPipeline.from_pretrained("textures"), []
    for options, crop in (([], "auto"), (["--no-crop"], "off")):
        files = [str(tmp_path / name) for name in ("image.png", "mask.png", "out.png", "two.yaml")]
        run = [
            "inpaint",
            files[0],
            files[1],
            "--out",
            files[2],
            "--schedule",
            files[3],
            "--prior",
            "textures",
            *options,
        ]
        run += ["--dtype", "float32"]  # whatever the processor
        assert CliRunner().invoke(app, run).exit_code == 0
        results.append(np.asarray(Image.open(files[2])))
        assert np.array_equal(results[-1], fill(pipe, image, white, schedule=files[3], crop=crop).images[0])
    assert not np.array_equal(*results)


# --- Covers: windows along a hole that is larger than one


class Counting(PixelByPixelPrior):
    """Keeps the shapes that it was given."""

    def __init__(self, preferred_size: int = 128, channels: int = 3) -> None:
        super().__init__(channels=channels, preferred_size=preferred_size)
        self.shapes: list[tuple[int, ...]] = []

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        self.shapes.append(tuple(x.shape))
        return super().denoise(x, level)

    def pixels(self) -> int:
        """Pixels given so far; starts again from 0."""
        total = sum(shape[0] * shape[2] * shape[3] for shape in self.shapes)
        self.shapes.clear()
        return total


def scratch(height: int, width: int, thickness: float = 7) -> Mask:
    """From corner to corner."""
    row, column = np.mgrid[:height, :width]
    return np.abs(row * width - column * height) < thickness / 2 * math.hypot(height, width)


def test_cost_follows_the_length_of_a_scratch() -> None:
    """If this fails, a thin scratch across a picture costs as much as the rectangle around it."""
    prior = Counting()
    image, white = np.zeros((1000, 1500, 3), np.uint8), scratch(1000, 1500)
    out = fill(quiet(prior), image, white)
    assert out.model_calls == 2, "calls of the walk, not windows"
    each = prior.pixels() / 2
    assert each < 1.5 * math.hypot(1000, 1500) * 128
    assert each < 0.25 * white.size
    fill(quiet(prior), image, white, crop=Crop(windows=False))
    assert prior.pixels() == 2 * white.size


@pytest.mark.parametrize(("white", "covered"), [
    (scratch(300, 300), True),
    (holes(300, 300, (50, 50, 200, 200)) & ~holes(300, 300, (60, 60, 180, 180)), True),
    (holes(300, 300, (100, 100, 64, 64)), False),
    (holes(300, 300, (20, 20, 64, 260)), False),
])  # fmt: skip
def test_covers_are_used_where_they_halve_the_cost(white: Mask, covered: bool) -> None:
    """If this fails, `Crop.windows=None` gives the model more pixels than needed, or windows for nothing."""
    prior, pixels = Counting(32), []
    for windows in (None, True, False):
        fill(quiet(prior), np.zeros((300, 300), np.float32), white, crop=Crop(windows=windows))
        pixels.append(prior.pixels())
    default, many, one = pixels
    assert covered == (many <= one / 2)
    assert default == (many if covered else one)


def test_covers_of_thin_holes_are_used_where_they_save_a_quarter() -> None:
    """If this fails, scratches all over a picture cost as much as all of it."""
    white = scratch(300, 300, 2) | scratch(300, 300, 2)[::-1] | holes(300, 300, (60, 0, 2, 300))
    prior, pixels = Counting(32), []
    for windows in (None, True, False):
        fill(quiet(prior), np.zeros((300, 300), np.float32), white, crop=Crop(windows=windows))
        pixels.append(prior.pixels())
    assert 0.5 < pixels[1] / pixels[2] <= 0.75
    assert pixels[0] == pixels[1]


def test_a_cover_changes_predictions_alone() -> None:
    """If this fails, the noise of a seed depends on the windows."""
    image, white = np.random.default_rng(0).random((90, 120, 3)), scratch(90, 120)
    starts, results = [], []
    for size, windows in ((32, False), (32, True), (48, True), (16, True)):
        states: list[SamplerState] = []
        look = lambda _p, _m, _l, kwargs, states=states: states.append(kwargs["state"])  # noqa: E731
        crop = Crop(size=size, windows=windows)
        out = fill(quiet(Counting(32)), image, white, crop=crop, schedule=JUMPS, callback_on_step_end=look)
        starts.append(states[0].streams.states)
        results.append(out.images[0])
    assert all(torch.equal(start, starts[0]) for start in starts)
    for result in results[1:]:
        # Pixels are independent under this prior, so windows change nothing but roundings of float32.
        np.testing.assert_allclose(result, results[0], atol=1e-5)


def test_a_cover_does_not_depend_on_the_batch(pipe: RePaintPipeline) -> None:
    """If this fails, the windows of an image, or its last bits, depend on the images beside it."""
    images = np.random.default_rng(0).random((3, 70, 90, 3))
    # The last is too solid for a cover, so it is filled at once, in a batch of its own.
    whites = [scratch(70, 90, 3), scratch(70, 90, 3)[::-1], holes(70, 90, (5, 5, 50, 70))]
    together = fill(pipe, images, whites, schedule=JUMPS).images
    for i, (image, white) in enumerate(zip(images, whites, strict=True)):
        alone = fill(pipe, image, white, schedule=JUMPS, generator=i).images[0]
        assert np.array_equal(together[i], alone)
        assert np.array_equal(alone[~white], image[~white])
        assert (alone != image)[white].any(axis=-1).all()


def test_a_covered_run_resumes_to_the_bit(pipe: RePaintPipeline, latent: RePaintPipeline) -> None:
    """If this fails, the cover of a saved state is another one, or latent cells are covered as pixels."""
    image, white = noise(80, 100, 3), scratch(80, 100, 3)
    for model in (pipe, latent):
        states: list[SamplerState] = []
        look = lambda _p, _m, _l, kwargs, states=states: states.append(kwargs["state"])  # noqa: E731
        whole = fill(model, image, white, schedule=JUMPS, callback_on_step_end=look)
        for state in (states[0], states[3]):
            rest = model.resume(state, image, white, schedule=JUMPS, output_type="np")
            assert np.array_equal(rest.images, whole.images)
        assert np.array_equal(whole.images[0][~white], image[~white])


def test_a_hole_that_is_the_whole_image() -> None:
    """If this fails, an image without a kept pixel cannot be filled, at once or in windows."""
    for windows in (None, True):
        prior = Counting(32)
        out = fill(quiet(prior), noise(90, 70, 3), np.ones((90, 70), bool), crop=Crop(windows=windows))
        assert np.unique(out.images).size > 5
        assert {shape[2:] for shape in prior.shapes} == {(32, 32) if windows else (90, 70)}


@pytest.mark.parametrize("size", [(1, 1500), (1500, 1), (1, 1)])
@pytest.mark.parametrize("windows", [None, True, False])
def test_images_of_one_row_or_column(size: tuple[int, int], windows: bool | None) -> None:
    """If this fails, an image that is one pixel wide ends in a traceback."""
    image, white = noise(*size, 3), np.zeros(size, bool)
    white.flat[::2] = True
    for prior in (Counting(64), tiny_pipe(sample_size=16).prior):
        result = fill(quiet(prior), image, white, crop=Crop(windows=windows)).images[0]
        assert np.array_equal(result[~white], image[~white])
        assert (result != image)[white].any()


@pytest.mark.parametrize("size", [pytest.param(16, marks=pytest.mark.slow), 128])
def test_ten_thousand_holes(size: int) -> None:
    """If this fails, the time grows with the square of the number of holes."""
    image, white = np.zeros((4000, 2667), np.uint8), np.zeros((4000, 2667), bool)
    white.flat[np.random.default_rng(0).choice(white.size, 10_000, replace=False)] = True
    prior = Counting(size, channels=1)
    started = time.process_time()
    result = fill(quiet(prior), image, white, schedule=JumpSchedule.from_levels([1, 0])).images[0]
    assert not result[~white].any()
    assert prior.pixels() <= white.size
    assert time.process_time() - started < 60, "10 s on a loaded machine; with loops over pairs of holes, minutes"


@pytest.mark.slow
def test_an_image_of_100_megapixels() -> None:
    """If this fails, a small hole costs as much as its huge picture."""
    image, white = np.zeros((10_000, 10_000), np.uint8), np.zeros((10_000, 10_000), bool)
    white[7000:7010, 9000:9400] = True
    prior = Counting(channels=1)
    result = fill(quiet(prior), image, white).images[0]
    assert prior.pixels() < 2 * 10 * 128**2
    result[white] = 0
    assert not result.any()


@pytest.mark.slow
def test_memory_of_a_scratch_across_12_megapixels() -> None:
    """If this fails, a scratch from edge to edge of a photo no longer fits into 2 GiB."""
    script = """
        import re
        import numpy as np
        from repaint.pipeline import RePaintPipeline
        from repaint.testing import PixelByPixelPrior
        row, column = np.ogrid[:3000, :4000]
        white = abs(row * 4 - column * 3) < 18
        image = np.zeros((3000, 4000, 3), np.uint8)
        pipe = RePaintPipeline(PixelByPixelPrior(preferred_size=128))
        pipe(image, white, schedule="fast", strength=0.2, generator=0, output_type="np")
        # Not ru_maxrss, which begins at the size of the process that started this one.
        print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 2**20)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 2, "1.9 GiB, of which PyTorch and diffusers take 0.5"


# --- States


def test_resume_and_branch(pipe: RePaintPipeline) -> None:
    """If this fails, a cropped run cannot be resumed with bit-equal results, or cannot be branched."""
    image, white = noise(40, 60, 3), holes(40, 60, (3, 3, 5, 5), (30, 50, 5, 5))
    states: list[SamplerState] = []
    look = lambda _p, _m, _l, kwargs: states.append(kwargs["state"])  # noqa: E731
    whole = fill(pipe, [image, image], white, schedule=JUMPS, num_images_per_prompt=2, callback_on_step_end=look)
    for state in (states[0], states[3]):
        rest = pipe.resume(state, [image, image], white, schedule=JUMPS, output_type="np")
        assert np.array_equal(rest.images, whole.images)
        assert rest.seeds == whole.seeds == [0, 1, 2, 3]
    states.clear()
    one = holes(40, 60, (3, 3, 5, 5))
    fill(pipe, image, one, schedule=JUMPS, callback_on_step_end=look)
    capped = JUMPS.capped(2)
    branches = pipe.resume(states[1].branch([7, 8]), image, one, schedule=capped, output_type="np")
    assert branches.seeds == [7, 8]
    assert not np.array_equal(branches.images[0], branches.images[1])
    assert all(np.array_equal(result[~one], image[~one]) for result in branches.images)
    with pytest.raises(StateError, match=r"Pass the original image, mask, crop and latent_margin"):
        pipe.resume(states[1], image, one, schedule=JUMPS, crop="off")


# --- Priors without a size, and misuse


class Sides(PixelByPixelPrior):
    """Records the sides of what it is given; made for sizes of 16 to 64 pixels."""

    smallest_size = 16

    def __init__(self) -> None:
        super().__init__()
        self.preferred_size = 64
        self.seen: set[tuple[int, int]] = set()

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        self.seen.add((x.shape[-2], x.shape[-1]))
        return super().denoise(x, level)


@pytest.mark.parametrize(("thick", "side"), [(1, 16), (3, 18), (7, 42), (31, 64)])
def test_windows_of_thin_holes_are_small(thick: int, side: int) -> None:
    """If this fails, a speck costs as much as a large hole, or a thick hole gets too little around it."""
    prior = Sides()
    speck, line = holes(200, 200, (90, 90, thick, thick)), holes(200, 200, (90, 0, thick, 200))
    fill(quiet(prior), noise(200, 200, 3), speck)
    assert prior.seen == {(side, side)}
    prior.seen.clear()
    fill(quiet(prior), noise(200, 200, 3), line, crop=Crop(windows=True))
    assert prior.seen == {(side, side)}
    prior.seen.clear()
    fill(quiet(prior), noise(200, 200, 3), speck, crop=Crop(size=32))  # an explicit size is taken
    assert prior.seen == {(max(32, 2 * thick), max(32, 2 * thick))}


def test_a_smallest_size_that_is_no_size(unchecked: None) -> None:
    """If this fails, a prior with a wrong size ends in a TypeError deep in the pipeline."""
    prior = Sides()
    prior.smallest_size = 0
    with pytest.raises(PriorError, match="smallest_size=0 must be an integer of at least 1"):
        fill(quiet(prior), noise(80, 80, 3), holes(80, 80, (4, 4, 2, 2)))


def test_a_prior_without_a_size_is_never_cropped() -> None:
    """If this fails, a prior of a fixed shape gets windows of another shape."""
    prior = GaussianMixturePrior([1.0], torch.zeros(1, 300), torch.eye(300)[None], shape=(1, 10, 30))
    pipe = RePaintPipeline(prior)
    pipe.set_progress_bar_config(disable=True)
    out = fill(pipe, np.random.default_rng(0).random((10, 30)), holes(10, 30, (4, 4, 2, 2)))
    assert out.images.shape == (1, 10, 30)
    unsaid = tiny_pipe(sample_size=None)
    shapes: list[Any] = []
    look = lambda _p, _m, _l, kwargs: shapes.append(kwargs["state"].x.shape)  # noqa: E731
    image, white = noise(40, 40, 3), holes(40, 40, (4, 4, 2, 2))
    fill(unsaid, image, white, callback_on_step_end=look)
    fill(unsaid, image, white, crop=Crop(size=16), callback_on_step_end=look)
    assert [tuple(shape) for shape in shapes[::2]] == [(1, 3, 40, 40), (1, 3, 16, 16)]


def test_preferred_sizes(latent: RePaintPipeline) -> None:
    """If this fails, windows do not have the training size of the prior."""
    assert tiny_pipe(sample_size=16).prior.preferred_size == 16  # type: ignore[attr-defined]
    assert tiny_pipe(sample_size=(16, 24)).prior.preferred_size == 24  # type: ignore[attr-defined]
    assert tiny_pipe(sample_size=None).prior.preferred_size is None  # type: ignore[attr-defined]
    assert latent.prior.preferred_size == 16  # type: ignore[attr-defined]
    assert RePaintPipeline.from_pretrained("textures").prior.preferred_size == 64  # type: ignore[attr-defined]
    assert RePaintPipeline.from_pretrained("emoji").prior.preferred_size == 64  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ("atuo", r"crop='atuo' must be 'auto', 'off', None or a Crop\. Did you mean 'auto'\?"),
        (64, r"crop=64 must be 'auto', 'off', None or a Crop\."),
        (
            Crop(size=1),
            r"size=1 must be at least 2 \(the prior takes multiples of 2 pixels\)\.",
        ),
    ],
)
def test_crop_errors(unchecked: None, pipe: RePaintPipeline, crop: Any, message: str) -> None:
    """If this fails, an invalid crop is ignored, or ends in a traceback."""
    with pytest.raises(InputError, match=message):
        fill(pipe, noise(40, 40, 3), holes(40, 40, (4, 4, 4, 4)), crop=crop)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, r"size=0 must be an integer of at least 1 \(None uses the prior's preferred size\)\."),
        ({"size": True}, r"size=True must be an integer of at least 1"),
        (
            {"context": -0.1},
            r"context=-0\.1 must be finite and at least 0 \(a share of the hole's size; usually 0\.5\)\.",
        ),
        ({"context": math.nan}, r"context=nan must be finite"),
        ({"context": math.inf}, r"context=inf must be finite"),
    ],
)
def test_crop_values(unchecked: None, wrong: dict[str, Any], message: str) -> None:
    """If this fails, an invalid crop is accepted."""
    with pytest.raises(InputError, match=message):
        Crop(**wrong)


def test_latents_of_a_cropped_image(pipe: RePaintPipeline) -> None:
    """If this fails, latents of a window are returned as those of the image."""
    image, white = noise(40, 40, 3), holes(40, 40, (4, 4, 4, 4), (30, 30, 4, 4))
    with pytest.raises(
        InputError, match=r"output_type='latent' needs whole images, but a 40 x 40 numpy image is cut into 2 windows"
    ):
        fill(pipe, image, white, output_type="latent")
    assert tuple(fill(pipe, image, white, output_type="latent", crop="off").images[0].shape) == (3, 40, 40)
