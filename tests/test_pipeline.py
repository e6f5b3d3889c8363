"""The pipeline: exact kept pixels, seeds, states, conditions and errors."""

from __future__ import annotations

import io
import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_inputs import TWO, quiet
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import repaint
from repaint.arguments import weakened
from repaint.errors import (
    InputError,
    LargeHoleWarning,
    MaskWarning,
    NoiseLevelError,
    NonFiniteError,
    PriorError,
    ScheduleError,
    StateError,
)
from repaint.pictures.images import read_images
from repaint.pipeline import RePaintPipeline
from repaint.removal import remove
from repaint.restoring import restore
from repaint.sampling.corrector import Langevin
from repaint.sampling.levels import Level
from repaint.sampling.merge import Predicted
from repaint.sampling.method import Method, as_method
from repaint.sampling.prior import Conditions
from repaint.sampling.rng import NoiseStreams, antithetic_seed, derived_seed
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDIM
from repaint.sampling.state import SamplerState
from repaint.testing import PixelByPixelPrior

JUMPS = JumpSchedule.from_levels([4, 3, 2, 1, 2, 3, 2, 1, 0])

# A UNet rounds differently in another batch: about 1e-6 of its output. The first x0_hat is the output divided by
# alpha, 0.006 at the noisiest level of linear betas, and pixels are half of [-1, 1]: 1e-6 / 0.006 / 2 = 8e-5.
BATCH_ROUNDING = 2e-4


@pytest.fixture(scope="module")
def pipe() -> RePaintPipeline:
    """Unconditional, RGB."""
    return tiny_pipe()


@pytest.fixture(scope="module")
def grey() -> RePaintPipeline:
    """Unconditional, one channel."""
    return tiny_pipe(in_channels=1, out_channels=1)


@pytest.fixture(scope="module")
def classes() -> RePaintPipeline:
    """Classes cat (0) and dog (1), and the null class (2)."""
    return tiny_pipe(("cat", "dog"))


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def hole(height: int, width: int) -> NDArray[np.bool_]:
    """White in the middle, off centre, as `mask_image`."""
    white = np.zeros((height, width), bool)
    white[height // 4 : max(1, height - height // 3), width // 5 : max(1, width - width // 2)] = True
    return white


def pil(mode: str, height: int, width: int) -> Image.Image:
    """A random image of a PIL mode."""
    values = noise(height, width, 4)
    wide = values[..., :2].copy().view("<u2")[..., 0]
    if mode == "P":
        image = Image.fromarray(values[..., 0])
        image.putpalette(noise(768, seed=1).tolist())
        return image
    if mode == "I;16":
        return Image.fromarray(wide)
    if mode == "F":
        return Image.fromarray(wide.astype(np.float32) / 257)
    if mode == "CMYK":
        return Image.frombytes("CMYK", (width, height), values.tobytes())
    if mode == "1":
        return Image.fromarray(values[..., 0] > 127)
    return Image.fromarray(values[..., 0].copy() if mode == "L" else values[..., : len(mode)].copy())


def record(states: list[SamplerState]) -> Callable[..., None]:
    """A callback that keeps every state."""

    def keep(_pipe: RePaintPipeline, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        states.append(kwargs["state"])

    return keep


# --- Kept pixels


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_kept_pixels_of_every_pil_mode(pipe: RePaintPipeline, mode: str) -> None:
    """If this fails, kept pixels of this mode change, or the hole is not repainted."""
    image, white = pil(mode, 14, 19), hole(14, 19)
    (result,) = pipe(image, Image.fromarray(white), schedule=TWO, generator=0).images
    assert (result.mode, result.size) == (mode, image.size)
    before, after = np.asarray(image), np.asarray(result)
    assert np.array_equal(after[~white], before[~white])
    assert not np.array_equal(after[white], before[white])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 3), (2, 12, 17, 3)])
def test_kept_pixels_of_numpy(pipe: RePaintPipeline, dtype: str, shape: tuple[int, ...]) -> None:
    """If this fails, kept 16-bit or float pixels are rounded by the conversion to the range of the model."""
    unit = np.random.default_rng(0).random(shape)
    image = (unit * {"uint8": 255, "uint16": 65535}.get(dtype, 1)).astype(dtype)
    white = hole(12, 17)
    result = pipe(image, white, schedule=TWO, generator=0, output_type="np").images
    batch = image if image.ndim == 4 else image[None]
    assert (result.dtype, result.shape) == (image.dtype, batch.shape)
    assert np.array_equal(result[:, ~white], batch[:, ~white])
    assert not np.array_equal(result[:, white], batch[:, white])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_kept_pixels_of_tensors(pipe: RePaintPipeline, dtype: torch.dtype) -> None:
    """If this fails, kept pixels of tensors change."""
    image = torch.rand(2, 3, 12, 17, generator=torch.Generator().manual_seed(0)).to(dtype)
    white = torch.from_numpy(hole(12, 17))
    result = pipe(image, white[None], schedule=TWO, generator=0, output_type="pt").images
    assert (result.dtype, result.shape) == (dtype, image.shape)
    assert torch.equal(result[..., ~white], image[..., ~white])
    assert not torch.equal(result[..., white], image[..., white])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (37, 53), (257, 263)])
@pytest.mark.parametrize("kind", ["none", "all", "pixel", "rows", "columns"])
def test_sizes_and_masks(pipe: RePaintPipeline, size: tuple[int, int], kind: str) -> None:
    """If this fails, an unsupported size, or a thin or full mask, gives an error or changes kept pixels."""
    image, white = noise(*size, 3), np.zeros(size, bool)
    white[{"none": (), "all": ...}.get(kind, np.s_[size[0] // 2 :: 2] if kind == "rows" else np.s_[:, ::2])] = True
    if kind in ("none", "pixel"):
        white[:] = False
    if kind == "pixel":
        white[size[0] // 2, size[1] // 2] = True
    out = pipe(image, white, schedule=TWO, generator=0, output_type="np")
    assert out.images.shape == (1, *size, 3)
    assert np.array_equal(out.images[0][~white], image[~white])
    assert out.model_calls == (0 if kind == "none" else 2)
    assert white.any() != np.array_equal(out.images[0], image)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "latent"])
def test_nothing_to_fill_calls_no_model(
    pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch, output_type: str
) -> None:
    """If this fails, an image without a hole costs model calls, or model_calls is wrong."""

    def never(*_args: object) -> None:
        raise AssertionError("the model was called")

    monkeypatch.setattr(type(pipe.prior), "denoise", never)
    image = noise(5, 6, 3)
    out = pipe(image, np.zeros((5, 6), bool), schedule=TWO, output_type=output_type)
    assert out.model_calls == 0
    if output_type == "latent":
        assert torch.equal(out.images[0][:, :5], read_images(image)[0].tensor(3)), "padded to 6 x 6"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_content_of_the_hole_is_never_read(pipe: RePaintPipeline, mode: str) -> None:
    """If this fails, the result depends on pixels or alpha under the hole."""
    image, white = pil(mode, 11, 13), hole(11, 13)
    pixels = np.asarray(image).copy()
    pixels[white] = pixels[white][::-1] // 2
    other = Image.frombytes(mode, image.size, pixels.tobytes())
    if mode == "P":
        other.putpalette(image.getpalette() or [])
    first, second = pipe([image, other], white, schedule=TWO, generator=[3, 3]).images
    assert not np.array_equal(np.asarray(image), np.asarray(other))
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_float_content_of_the_hole_is_never_read(pipe: RePaintPipeline, fill: float) -> None:
    """If this fails, the result for a float image depends on the values under the hole."""
    image, white = np.random.default_rng(0).random((9, 10, 4)), hole(9, 10)
    filled = np.where(white[..., None], fill, image)
    a = pipe(image, white, schedule=TWO, generator=0, output_type="np").images
    b = pipe(filled, white, schedule=TWO, generator=0, output_type="np").images
    assert np.array_equal(a, b)


def test_both_polarities(pipe: RePaintPipeline) -> None:
    """If this fails, mask_image and keep_mask are not opposites, or both or neither are accepted."""
    image, white = noise(10, 9, 3), hole(10, 9)
    a = pipe(image, white, schedule=TWO, generator=0, output_type="np").images
    b = pipe(image, keep_mask=~white, schedule=TWO, generator=0, output_type="np").images
    assert np.array_equal(a, b)
    with pytest.raises(InputError, match=r"Give exactly one of mask_image and keep_mask \(both are given\)\."):
        pipe(image, white, keep_mask=white, schedule=TWO)
    with pytest.raises(InputError, match=r"Give exactly one of mask_image and keep_mask \(neither is given\)\."):
        pipe(image, schedule=TWO)


def test_a_mask_of_another_size_is_refused(pipe: RePaintPipeline) -> None:
    """If this fails, a mask is resized silently, and wrong pixels are kept."""
    with pytest.raises(InputError, match=r"mask_image is 9 x 10 and its image 10 x 9.*: a mask is never resized\."):
        pipe(noise(10, 9, 3), np.ones((9, 10), bool), schedule=TWO)


def test_soft_edges_blend(pipe: RePaintPipeline) -> None:
    """If this fails, a soft mask is thresholded: half-kept pixels come only from the model, or only from the input."""
    image = np.random.default_rng(0).random((8, 8, 3))
    hard, soft = np.ones((8, 8), np.float32), np.full((8, 8), 0.25, np.float32)
    full = pipe(image, hard, schedule=TWO, generator=0, output_type="np").images
    blend = pipe(image, soft, schedule=TWO, generator=0, output_type="np").images
    np.testing.assert_allclose(blend[0], 0.75 * image + 0.25 * full[0], atol=1e-12)


# --- Batches, seeds, generators


def test_lists_of_different_sizes(pipe: RePaintPipeline) -> None:
    """If this fails, images of different sizes cannot share a call, or are returned in another order."""
    sizes = [(8, 8), (9, 12), (8, 8), (7, 5)]
    images = [noise(*size, 3, seed=i) for i, size in enumerate(sizes)]
    masks = [hole(*size) for size in sizes]
    masks[2][:] = False
    out = pipe(images, masks, schedule=TWO, generator=7, output_type="np")
    assert out.seeds == [7, 8, 9, 10]
    assert out.model_calls == 2
    for image, white, result in zip(images, masks, out.images, strict=True):
        assert np.array_equal(result[~white], image[~white])
        assert np.array_equal(result, image) != white.any()


def test_one_size_and_several_types(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a list cannot mix paths, PIL, arrays and tensors of one size, as notebooks do."""
    pixels, white = noise(8, 10, 3), hole(8, 10)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    images = [tmp_path / "a.png", Image.fromarray(pixels), pixels, pixels / 255, torch.rand(3, 8, 10)]
    out = pipe(images, white, schedule=TWO, generator=[1] * 5, output_type="np").images
    assert isinstance(out, list)
    assert all(np.array_equal(one, out[0]) for one in out[:3])
    assert [one.dtype.name for one in out] == ["uint8"] * 3 + ["float64", "float32"]


def test_one_mask_for_many_and_repetitions(pipe: RePaintPipeline) -> None:
    """If this fails, num_images_per_prompt repeats one sample, or assigns results to wrong images."""
    images, white = noise(2, 9, 8, 3), hole(9, 8)
    out = pipe(images, white, schedule=TWO, num_images_per_prompt=3, generator=20, output_type="np")
    assert out.images.shape == (6, 9, 8, 3)
    assert out.seeds == list(range(20, 26))
    for i, result in enumerate(out.images):
        assert np.array_equal(result[~white], images[i // 3][~white])
    assert len({result.tobytes() for result in out.images}) == 6


@pytest.mark.parametrize("schedule", [TWO, JUMPS], ids=["straight", "jumps"])
def test_a_seed_gives_its_image_alone(pipe: RePaintPipeline, schedule: JumpSchedule) -> None:
    """If this fails, `out.seeds` does not reproduce an image of a batch: randomness depends on the batch."""
    image, white = np.random.default_rng(0).random((9, 12, 3), dtype=np.float32), hole(9, 12)
    together: list[SamplerState] = []
    out = pipe(
        image,
        white,
        schedule=schedule,
        num_images_per_prompt=3,
        generator=5,
        output_type="np",
        callback_on_step_end=record(together),
    )
    for i, seed in enumerate(out.seeds):
        alone: list[SamplerState] = []
        again = pipe(
            image, white, schedule=schedule, generator=seed, output_type="np", callback_on_step_end=record(alone)
        )
        for a, b in zip(alone, together, strict=True):  # the noise, to the bit: the streams, and the known part's
            assert torch.equal(a.streams.states[0], b.streams.states[i])
            if b.level > 0 and schedule is TWO:
                known = b.known[i].expand(3, -1, -1)
                assert torch.equal(a.x[0][known], b.x[i][known])
        np.testing.assert_allclose(again.images[0], out.images[i], atol=BATCH_ROUNDING)


def test_generators(pipe: RePaintPipeline) -> None:
    """If this fails, a form of `generator` that diffusers accepts gives another image, or an error."""
    image, white = noise(2, 8, 8, 3), hole(8, 8)

    def run(generator: Any) -> repaint.RePaintOutput:
        return pipe(image, white, schedule=TWO, generator=generator, output_type="np")

    generator = torch.Generator().manual_seed(1)
    first = run(generator)
    assert run(generator).seeds != first.seeds, "a generator advances"
    assert np.array_equal(run(torch.Generator().manual_seed(1)).images, first.images)
    assert np.array_equal(run(first.seeds).images, first.images)
    two = [torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)]
    assert run(two).seeds == [first.seeds[0]] * 2
    assert run(None).seeds != run(None).seeds
    with pytest.raises(InputError, match=r"generator has 3 entries but must have one per image, 2"):
        run([1, 2, 3])
    with pytest.raises(InputError, match=r"seed=-1 must be an integer from 0 to 8589934591"):
        run(-1)


def test_numbers_of_arrays_and_lists_as_strength(pipe: RePaintPipeline, unchecked: None) -> None:
    """If this fails, a number out of an array is read as a map, or the numbers of a list as paths."""
    image, white = noise(8, 8, 3), hole(8, 8)
    asked: dict[str, Any] = {"schedule": TWO, "generator": 0, "output_type": "np"}
    expected = pipe(image, white, strength=0.5, **asked).images
    for number in (np.array(0.5), torch.tensor(0.5)):
        assert np.array_equal(pipe(image, white, strength=number, **asked).images, expected)
    with pytest.raises(InputError, match=r"^strength=\[0\.5, 0\.7\] must be one number for all images, or a map"):
        pipe([image, image], white, strength=[0.5, 0.7], **asked)
    with pytest.raises(InputError, match=r"^prior='photos' is not an argument of the pipeline\. The pipeline has one"):
        pipe(image, white, prior="photos", **asked)


def test_a_temperature_is_less_noise() -> None:
    """If this fails, the argument is ignored, acts on kept pixels, or changes the uncertainty."""
    pipe, image, white = RePaintPipeline(PixelByPixelPrior()), noise(24, 24, 3), hole(24, 24)
    asked: dict[str, Any] = {"schedule": "fast", "generator": 0, "output_type": "np"}
    full, half = (pipe(image, white, temperature=t, num_images_per_prompt=8, **asked) for t in (1.0, 0.5))
    alone = pipe(image, white, temperature=0, **asked).images[0]
    assert np.array_equal(alone[~white], image[~white])
    assert np.abs(alone[white] - 127.5).max() <= 0.5  # the mean of this prior
    spread, narrow = (np.std([each[white] for each in out.images], axis=0).mean() for out in (full, half))
    assert narrow / spread == pytest.approx(0.5, abs=0.03)  # a few values of `full` are clipped
    assert half.uncertainty()[0].mean() == pytest.approx(full.uncertainty()[0].mean(), rel=0.06)
    states: list[SamplerState] = []
    whole = pipe(image, white, temperature=0.5, callback_on_step_end=record(states), **asked)
    again: dict[str, Any] = {"schedule": "fast", "output_type": "np"}
    assert np.array_equal(pipe.resume(states[3], image, white, temperature=0.5, **again).images, whole.images)
    with pytest.raises(StateError, match="belongs to another method"):
        pipe.resume(states[3], image, white, **again)


@pytest.mark.parametrize("way", ["call", "outpaint"])
def test_equal_results_are_refused(pipe: RePaintPipeline, way: str) -> None:
    """If this fails, eight equal images are drawn, and their uncertainty is 0 divided by 0."""
    image, white = noise(8, 8, 3), hole(8, 8)
    asked: dict[str, Any] = {"num_images_per_prompt": 8, "temperature": 0, "schedule": "fast"}
    with pytest.raises(InputError, match=r"^num_images_per_prompt=8 at temperature=0 would give equal results"):
        pipe(image, white, **asked) if way == "call" else pipe.outpaint(image, left=2, **asked)


@pytest.mark.parametrize("count", [0, -1, True, 1.5])
def test_num_images_per_prompt_out_of_range(unchecked: None, pipe: RePaintPipeline, count: Any) -> None:
    """If this fails, an invalid count gives no image, or a traceback."""
    with pytest.raises(InputError, match=rf"num_images_per_prompt={count} must be an integer of at least 1\."):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, num_images_per_prompt=count)


# --- Strength


def test_strength_starts_from_the_input(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, strength < 1 starts at a wrong level, or not from the noised input."""
    seen: list[tuple[Tensor, Level]] = []
    denoise = type(pipe.prior).denoise
    monkeypatch.setattr(
        type(pipe.prior), "denoise", lambda prior, x, level: seen.append((x, level)) or denoise(prior, x, level)
    )
    image, white = torch.rand(3, 8, 10, generator=torch.Generator().manual_seed(0)), torch.from_numpy(hole(8, 10))
    straight = JumpSchedule.from_rules(4, [])
    out = pipe(image, white, schedule=straight, strength=0.5, generator=9)
    grid = pipe.prior.schedule(4, "linspace")
    assert out.model_calls == len(seen) == 2
    assert [level for _, level in seen] == [grid[2], grid[1]]
    z, _ = NoiseStreams.from_seeds([derived_seed(9, 0, 2)]).draw(torch.Size([1, 3, 8, 10]), torch.float32)
    expected = grid[2].alpha * (2 * image - 1) + grid[2].sigma * z[0]
    # Each side rounds a handful of float32 operations on numbers up to 5.
    torch.testing.assert_close(seen[0][0][0][:, white], expected[:, white], atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "strength", [0.5, 1 - 0.5 * np.eye(64), 0.5 + 0.3 * np.eye(64)], ids=["number", "to 1", "to .8"]
)
def test_strength_on_a_result_of_the_same_seed(strength: Any) -> None:
    """If this fails, a result is renoised with the noise that it was made of, and its variance grows by a fifth."""
    pipe, image, mask = RePaintPipeline(PixelByPixelPrior()), np.full((64, 64, 3), 0.5, np.float32), np.ones((64, 64))
    asked: dict[str, Any] = {"schedule": "differential", "output_type": "np"}
    result = pipe(image, mask, generator=0, **asked).images[0]
    again, other = (pipe(result, mask, generator=seed, strength=strength, **asked).images[0] for seed in (0, 1))
    # The standard deviation of 12,288 pixels has an error of 0.6 %; with the same noise it grows by a tenth.
    assert again.std() == pytest.approx(other.std(), rel=0.03)


def test_strength_one_ignores_the_input(pipe: RePaintPipeline) -> None:
    """If this fails, strength 1 reads pixels under the hole, or strength below 1 ignores them."""
    white = hole(8, 10)
    a = noise(8, 10, 3)
    b = np.where(white[..., None], 255 - a, a)

    def run(image: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
        schedule = JumpSchedule.from_rules(10, [])
        out = pipe(image, white, schedule=schedule, strength=strength, generator=0, output_type="np")
        result: NDArray[np.uint8] = out.images[0]
        return result

    assert np.array_equal(run(a, 1.0), run(b, 1.0))
    assert not np.array_equal(run(a, 0.3), run(b, 0.3))


@pytest.mark.parametrize(("strength", "calls"), [(1.0, 6), (0.75, 5), (0.5, 3), (0.01, 1)])
def test_strength_cuts_the_walk(pipe: RePaintPipeline, strength: float, calls: int) -> None:
    """If this fails, the cost of strength is not its share of the walk: jumps above it are still made."""
    image, white = noise(8, 8, 3), hole(8, 8)
    assert JUMPS.model_calls == 6
    out = pipe(image, white, schedule=JUMPS, strength=strength, generator=0)
    assert out.model_calls == calls


def test_a_strength_begins_at_the_nearest_level() -> None:
    """If this fails, a walk of few levels begins with much less noise than the strength says."""
    method = as_method(JumpSchedule.from_levels([10, 5, 2, 0]))
    begun = {share: weakened(method, share).schedule.levels[0] for share in (1.0, 0.8, 0.7, 0.3, 0.05)}
    assert begun == {1.0: 10, 0.8: 10, 0.7: 5, 0.3: 2, 0.05: 2}


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.5, math.nan])
def test_strength_out_of_range(pipe: RePaintPipeline, strength: float) -> None:
    """If this fails, a strength out of range gives noise or a traceback."""
    with pytest.raises(InputError, match=rf"strength={strength} must be in \(0, 1\] \(1 starts from pure noise\)\."):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, strength=strength)


# --- Callback, saved states, branches


def test_callback_arguments(pipe: RePaintPipeline) -> None:
    """If this fails, callbacks get wrong moves, levels or states."""
    seen: list[tuple[int, int, SamplerState]] = []

    def look(owner: RePaintPipeline, moves: int, level: int, kwargs: dict[str, Any]) -> None:
        assert owner is pipe
        assert list(kwargs) == ["state"]
        seen.append((moves, level, kwargs["state"]))

    pipe(noise(8, 8, 3), hole(8, 8), schedule=JUMPS, generator=0, callback_on_step_end=look)
    moves = as_method(JUMPS).moves
    assert [count for count, _, _ in seen] == list(range(1, len(moves) + 1))
    assert [level for _, level, _ in seen] == [move.dst for move in moves]
    assert all((state.position, state.level) == (count, level) for count, level, state in seen)
    assert seen[-1][2].model_calls == JUMPS.model_calls


def test_callback_replaces_the_state(pipe: RePaintPipeline) -> None:
    """If this fails, a callback cannot change the run, or can overwrite kept pixels."""
    image, white = noise(8, 8, 3), hole(8, 8)

    def blank(_pipe: object, _moves: int, level: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        state = kwargs["state"]
        return {"state": replace(state, x=torch.ones_like(state.x))} if level == 0 else {}

    (result,) = pipe(image, white, schedule=TWO, generator=0, output_type="np", callback_on_step_end=blank).images
    assert (result[white] == 255).all()
    assert np.array_equal(result[~white], image[~white])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("callback", "message", "calls"),
    [
        (5, r"callback_on_step_end=5 must be a function \(pipeline, moves, level", 0),
        (lambda *_: {"latents": 1}, r"returned a dict with 'latents', but only \{'state': SamplerState\} is read", 1),
        (lambda *_: {"state": torch.zeros(1)}, r"returned a dict with 'state', but only", 1),
        (lambda *_: True, r"callback_on_step_end returned a bool, but only", 1),
    ],
)
def test_callbacks_that_cannot_be_used(callback: Any, message: str, calls: int) -> None:
    """If this fails, changed latents are ignored without a word, or a wrong callback is a TypeError after the work."""
    pipe = tiny_pipe()
    made: list[object] = []
    denoise = pipe.prior.denoise
    pipe.prior.denoise = lambda *given: made.append(1) or denoise(*given)  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(InputError, match=message):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, generator=0, callback_on_step_end=callback)
    assert len(made) == calls
    with pytest.raises(InputError, match=r"callback_on_step_end=5 must be a function"):
        pipe.resume("missing", noise(8, 8, 3), hole(8, 8), callback_on_step_end=5)


@pytest.mark.usefixtures("unchecked")
def test_states_and_priors_of_a_wrong_type() -> None:
    """If this fails, a list in place of a state, or a prior in place of a name, is a TypeError or a page of tensors."""
    image, white, prior = noise(8, 8, 3), hole(8, 8), PixelByPixelPrior()
    with pytest.raises(InputError, match=r"^state is a list: pass a SamplerState, or the path of a saved one\.$"):
        tiny_pipe().resume([torch.zeros(1)], image, white)
    for call in (repaint.inpaint, remove, partial(restore, sensitivity=0.5)):
        with pytest.raises(InputError, match=r"prior=PixelByPixelPrior.* Make a pipeline of a Prior with RePaintPipe"):
            call(image, **({} if isinstance(call, partial) else {"mask_image": white}), prior=prior)
    out = repaint.inpaint(image, white, prior=quiet(prior), schedule=TWO, generator=0)
    assert out.seeds == [0]


@pytest.mark.usefixtures("unchecked")
def test_seeds_of_branches(tmp_path: Path) -> None:
    """If this fails, seeds in an array or a generator are a TypeError, or a branch of them cannot be saved."""
    pipe, image, white, kept = tiny_pipe(), noise(8, 8, 3), hole(8, 8), []
    pipe(image, white, schedule=TWO, generator=0, callback_on_step_end=lambda *step: kept.append(step[3]["state"]))
    for seeds in (np.array([1, 2]), (seed for seed in (1, 2)), range(1, 3)):
        branch = kept[0].branch(seeds)
        branch.save(tmp_path / "branch.safetensors")
        assert SamplerState.load(tmp_path / "branch.safetensors").seeds == (1, 2)
    for wrong in (1, None):
        with pytest.raises(InputError, match=rf"seeds={wrong} must be a list"):
            kept[0].branch(wrong)
    with pytest.raises(InputError, match="seed=-1 must be an integer from 0"):
        kept[0].branch([-1])


def test_callback_cannot_smuggle_another_level(pipe: RePaintPipeline) -> None:
    """If this fails, a branch returned by a callback is denoised from the first level of the walk."""

    def branch(_pipe: object, _moves: int, _level: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"state": kwargs["state"].branch([1])}

    with pytest.raises(StateError, match=r"This branch is at level 1, but the walk begins at level 2\."):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, generator=0, callback_on_step_end=branch)


METHODS = {
    "fresh": Method(JUMPS),
    "trajectory": Method(JUMPS, merge=as_method(JUMPS, merge="trajectory").merge),
    "multistep": as_method(JUMPS, merge="predicted", solver="multistep"),
    "corrected": as_method(JUMPS, corrector="langevin(2, h=0.5, noise=averaged)"),
}


@pytest.mark.parametrize("name", METHODS)
def test_resume_gives_the_same_bits(classes: RePaintPipeline, tmp_path: Path, name: str) -> None:
    """If this fails, an interrupted run cannot be resumed: a saved state is incomplete, or noise is drawn again."""
    method, white = METHODS[name], hole(9, 7)
    images = np.random.default_rng(0).random((2, 9, 7, 3))
    asked: dict[str, Any] = {"class_labels": ["cat", "dog"], "guidance_scale": 2.0, "schedule": method}

    def save(_pipe: object, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        kwargs["state"].save(tmp_path / f"{moves}.safetensors")

    whole = classes(images, white, generator=3, output_type="np", callback_on_step_end=save, **asked)
    for moves in range(1, len(method.moves) + 1):
        rest = classes.resume(tmp_path / f"{moves}.safetensors", images, white, output_type="np", **asked)
        assert np.array_equal(rest.images, whole.images), f"resumed after move {moves}"
        assert rest.seeds == whole.seeds
        assert rest.model_calls == sum(move.kind != "renoise" for move in method.moves[moves:])


def test_resume_of_repetitions_and_strength(pipe: RePaintPipeline) -> None:
    """If this fails, runs with num_images_per_prompt or strength < 1 cannot be resumed."""
    images, white = noise(2, 8, 8, 3), hole(8, 8)
    states: list[SamplerState] = []
    asked: dict[str, Any] = {"schedule": JUMPS, "strength": 0.5, "output_type": "np"}
    whole = pipe(images, white, generator=3, num_images_per_prompt=2, callback_on_step_end=record(states), **asked)
    rest = pipe.resume(states[1], images, white, **asked)
    assert np.array_equal(rest.images, whole.images)
    assert rest.seeds == [3, 4, 5, 6]


def test_branches(pipe: RePaintPipeline) -> None:
    """If this fails, a state cannot be branched several times, or a branch repeats its run."""
    image, white = noise(8, 8, 3), hole(8, 8)
    states: list[SamplerState] = []
    whole = pipe(image, white, schedule=JUMPS, generator=3, output_type="np", callback_on_step_end=record(states))
    state = states[1]
    assert state.level == 2
    other = JumpSchedule.from_levels([2, 1, 2, 1, 0], steps=4)
    out = pipe.resume(state.branch([10, 11]), image, white, schedule=other, output_type="np")
    assert out.seeds == [10, 11]
    assert out.model_calls == 3
    assert len({result.tobytes() for result in (*out.images, *whole.images)}) == 3
    assert all(np.array_equal(result[~white], image[~white]) for result in out.images)
    again = pipe.resume(state.branch([10, 11]), image, white, schedule=other, output_type="np")
    assert np.array_equal(again.images, out.images)
    capped = pipe.resume(state.branch([10]), image, white, schedule=JUMPS.capped(2), output_type="np")
    assert np.array_equal(capped.images[0][~white], image[~white])
    with pytest.raises(StateError, match=r"This branch is at level 2, but the walk begins at level 4\."):
        pipe.resume(state.branch([10]), image, white, schedule=JUMPS)


def test_resume_refuses_another_problem(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a state resumes with another image, mask or method, and gives a plausible wrong picture."""
    image, white = noise(8, 8, 3), hole(8, 8)
    states: list[SamplerState] = []
    pipe(image, white, schedule=TWO, generator=0, callback_on_step_end=record(states))
    state, seen = states[0], r"This state \(1 samples of shape \(3, 8, 8\)\) was saved for another image or mask\."
    with pytest.raises(StateError, match=seen):
        pipe.resume(state, 255 - image, white, schedule=TWO)
    with pytest.raises(StateError, match=seen):
        pipe.resume(state, image, ~white, schedule=TWO)
    with pytest.raises(StateError, match=seen):
        pipe.resume(state, noise(8, 9, 3), hole(8, 9), schedule=TWO)
    with pytest.raises(StateError, match=seen):
        pipe.resume(state, [image, image], white, schedule=TWO)
    with pytest.raises(StateError, match=r"This state \(move 1, level 1\) belongs to another method than custom\."):
        pipe.resume(state, image, white, schedule=JUMPS)
    for part in ({"solver": "ddim"}, {"merge": "predicted"}, {"temperature": 0.5}, {"guidance": "dps"}):
        with pytest.raises(StateError, match="belongs to another method"):
            pipe.resume(state, image, white, schedule=TWO, **part)
    solved = state.branch(state.seeds)
    assert pipe.resume(solved, image, white, schedule=TWO.capped(1), solver="ddim").model_calls == 1
    (tmp_path / "state").write_bytes(b"no state")
    with pytest.raises(StateError, match=r"state: cannot be read as a saved state \(.*\)\. Pass a file"):
        pipe.resume(tmp_path / "state", image, white, schedule=TWO)


def test_a_network_in_training_mode_is_refused(pipe: RePaintPipeline) -> None:
    """If this fails, dropout is active while a hole is filled, and a seed gives other pixels each time."""
    fresh = tiny_pipe()
    fresh.prior.network.train()
    with pytest.raises(PriorError, match=r"in training mode.*call \.eval\(\)"):
        fresh(noise(8, 8, 3), hole(8, 8), schedule=TWO, generator=0)


def test_a_latent_state_resumes_in_another_type() -> None:
    """If this fails, a run saved on a GPU cannot be continued on a CPU: encoders differ in their last bits."""
    image, white = noise(64, 64, 3), hole(64, 64)
    states: list[SamplerState] = []
    full, half = (
        RePaintPipeline.from_pretrained("emoji", torch_dtype=kind) for kind in (torch.float32, torch.bfloat16)
    )
    asked: dict[str, Any] = {"prompt": "", "schedule": TWO, "output_type": "np"}
    whole = full(image, white, generator=0, callback_on_step_end=record(states), **asked)
    rest = half.resume(states[0], image, white, **asked)
    assert np.array_equal(rest.images[0][~white], image[~white])
    assert not np.array_equal(rest.images, whole.images)
    assert np.abs(rest.images.astype(int) - whole.images).mean() < 2
    with pytest.raises(StateError, match="was saved for another image or mask"):
        half.resume(states[0], np.where(white[..., None], image, 255 - image), white, **asked)


# --- What comes out


def test_output_types(pipe: RePaintPipeline) -> None:
    """If this fails, an output type differs from that of diffusers, or values differ between types."""
    image, white = noise(2, 9, 7, 3), hole(9, 7)

    def run(output_type: str) -> Any:
        return pipe(image, white, schedule=TWO, generator=0, output_type=output_type).images  # type: ignore[arg-type]

    array = run("np")
    assert [np.array_equal(np.asarray(one), two) for one, two in zip(run("pil"), array, strict=True)] == [True, True]
    assert torch.equal(run("pt"), torch.from_numpy(array).permute(0, 3, 1, 2).double().div(255).float())
    latent = run("latent")
    assert [tuple(one.shape) for one in latent] == [(3, 10, 8), (3, 10, 8)], "padded to the model's multiple of 2"
    x0 = read_images(image)[0].tensor(3)
    assert torch.equal(latent[0][:, :9, :7][:, ~white], x0[:, ~white])


def test_unknown_output_type(unchecked: None, pipe: RePaintPipeline) -> None:
    """If this fails, a typo in output_type is found only after the whole walk."""
    with pytest.raises(InputError, match=r"output_type='numpy' must be one of pil, np, pt, latent\."):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, output_type="numpy")  # type: ignore[arg-type]


def test_grey_images_come_back_grey(pipe: RePaintPipeline, grey: RePaintPipeline) -> None:
    """If this fails, a grey photograph becomes RGB, or cannot be used with an RGB prior."""
    image, white = noise(8, 8), hole(8, 8)
    for model in (pipe, grey):
        (result,) = model(Image.fromarray(image), white, schedule=TWO, generator=0).images
        assert result.mode == "L"
        assert np.array_equal(np.asarray(result)[~white], image[~white])
        assert model(image, white, schedule=TWO, generator=0, output_type="np").images.shape == (1, 8, 8)


def test_colour_for_a_grey_prior(grey: RePaintPipeline) -> None:
    """If this fails, a grey prior silently drops colour."""
    with pytest.raises(InputError, match=r"has 3 colour channels: the prior takes 1 and colour is not dropped sil"):
        grey(noise(8, 8, 3), hole(8, 8), schedule=TWO)


# --- Classes and guidance


def test_class_labels_by_name_number_and_list(classes: RePaintPipeline) -> None:
    """If this fails, a class name maps to a wrong number, or labels are assigned to wrong images."""
    images, white = np.random.default_rng(0).random((2, 8, 8, 3)), hole(8, 8)

    def run(labels: Any, **more: Any) -> NDArray[np.float64]:
        out = classes(images, white, class_labels=labels, schedule=TWO, generator=0, output_type="np", **more)
        result: NDArray[np.float64] = out.images
        return result

    cat, dog, null = run(0), run(1), run(None)
    assert np.array_equal(run("cat"), cat)
    assert np.array_equal(run(["cat", 1])[0], cat[0])
    assert np.array_equal(run([0, "dog"])[1], dog[1])
    assert np.array_equal(run(2), null)
    assert len({result.tobytes() for result in (cat, dog, null)}) == 3
    assert np.array_equal(run("cat", guidance_scale=1.0), cat), "1 is no guidance"
    np.testing.assert_allclose(run("cat", guidance_scale=0.0), null, atol=BATCH_ROUNDING)
    assert not np.allclose(run("cat", guidance_scale=3.0), cat, atol=BATCH_ROUNDING)


def test_labels_follow_images_through_groups(classes: RePaintPipeline) -> None:
    """If this fails, images of another size, or repetitions, get the label of another image."""
    sizes = [(8, 8), (6, 8), (8, 8)]
    images = [noise(*size, 3, seed=i) for i, size in enumerate(sizes)]
    masks = [hole(*size) for size in sizes]
    labels = ["cat", "dog", "dog"]
    asked: dict[str, Any] = {"schedule": TWO, "output_type": "np"}
    out = classes(images, masks, class_labels=labels, num_images_per_prompt=2, generator=0, **asked)
    for i, result in enumerate(out.images):
        image, white, label, seed = images[i // 2], masks[i // 2], labels[i // 2], out.seeds[i]
        other = "cat" if label == "dog" else "dog"
        right, wrong = (
            classes(image, white, class_labels=name, generator=seed, **asked).images[0].astype(int)
            for name in (label, other)
        )
        assert np.abs(right - result).max() <= 1, "batch rounding may fall on the other side of a half"
        assert np.abs(wrong - result).max() > 1


def test_guidance_is_linear(classes: RePaintPipeline) -> None:
    """If this fails, guidance does not extrapolate from the null class through the class (arXiv 2207.12598, eq. 6)."""
    free = tiny_pipe(("cat", "dog"), scheduler={"clip_sample": False}).prior
    level = free.schedule(4)[2]
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def eps(scale: float | None, label: int | str | None = "dog") -> Tensor:
        return free.conditioned(1, Conditions(class_labels=label, guidance_scale=scale)).denoise(x, level).eps_hat

    with torch.no_grad():
        expected = eps(None, None) + 2.5 * (eps(None) - eps(None, None))
        # Outputs are of order 1, the UNet rounds them to 1e-6 in batches of 1 and 2, and 2.5 multiplies that.
        torch.testing.assert_close(eps(2.5), expected, atol=1e-5, rtol=0)


def test_guidance_of_classes_keeps_to_its_interval() -> None:
    """If this fails, levels outside of the interval are guided, or those inside are not."""
    prior = tiny_pipe(("cat", "dog"), scheduler={"clip_sample": False}).prior
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    low, middle, high = (prior.schedule(40)[at] for at in (5, 20, 35))

    def eps(level: Level, **guidance: Any) -> Tensor:
        return prior.conditioned(1, Conditions(class_labels="dog", **guidance)).denoise(x, level).eps_hat

    interval = (middle.sigma / middle.alpha * 0.9, middle.sigma / middle.alpha * 1.1)
    with torch.no_grad():
        for level, scale in ((low, 1.0), (middle, 3.0), (high, 1.0)):
            ours = eps(level, guidance_scale=3.0, guidance_interval=interval)
            torch.testing.assert_close(ours, eps(level, guidance_scale=scale), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"class_labels": "cta"}, r"'cta' must be one of cat, dog\. Did you mean 'cat'\?"),
        ({"class_labels": 3}, r"class_labels: 3 must be a class from 0 to 2\."),
        ({"class_labels": -1}, r"class_labels: -1 must be a class from 0 to 2"),
        ({"guidance_scale": 2.0}, r"guidance_scale=2 must be left out or 1: no class_labels are given"),
    ],
)
def test_class_errors(classes: RePaintPipeline, asked: dict[str, Any], message: str) -> None:
    """If this fails, an invalid class gives another class, or a traceback from the model."""
    with pytest.raises(PriorError, match=message):
        classes(noise(8, 8, 3), hole(8, 8), schedule=TWO, **asked)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (-1.0, r"guidance_scale=-1\.0 must be finite and at least 0 \(1 disables guidance\)\."),
        (math.nan, r"guidance_scale=nan must be finite and at least 0"),
    ],
)
def test_scale_errors(classes: RePaintPipeline, scale: float, message: str) -> None:
    """If this fails, an invalid scale reaches the model."""
    with pytest.raises(InputError, match=message):
        classes(noise(8, 8, 3), hole(8, 8), schedule=TWO, class_labels=0, guidance_scale=scale)


def test_a_wrong_number_of_labels(classes: RePaintPipeline) -> None:
    """If this fails, a list of labels of the wrong length is cut or repeated."""
    with pytest.raises(
        InputError, match=r"class_labels has 3 values for 2 images\. Pass one for all, or one for each\."
    ):
        classes(noise(2, 8, 8, 3), hole(8, 8), schedule=TWO, class_labels=[0, 1, 0])


def test_conditions_that_a_model_cannot_take(pipe: RePaintPipeline) -> None:
    """If this fails, labels or guidance are silently ignored by a model without classes."""
    image, white = noise(8, 8, 3), hole(8, 8)
    with pytest.raises(PriorError, match=r"class_labels=\[?0\]? must be left out: this model is unconditional"):
        pipe(image, white, schedule=TWO, class_labels=0)
    with pytest.raises(PriorError, match=r"guidance_scale=2 must be left out or 1: this model has no null class"):
        pipe(image, white, schedule=TWO, guidance_scale=2.0)
    only = tiny_pipe(num_class_embeds=2)
    with pytest.raises(
        PriorError, match=r"class_labels must be given as numbers from 0 to 1 \(this model has no null class"
    ):
        only(image, white, schedule=TWO)
    with pytest.raises(PriorError, match=r"'cat' must be one of numbers from 0 to 1\."):
        only(image, white, schedule=TWO, class_labels="cat")
    with pytest.raises(PriorError, match=r"this model has no null class"):
        only(image, white, schedule=TWO, class_labels=1, guidance_scale=2.0)
    assert only(image, white, schedule=TWO, class_labels=1).model_calls == 2


def test_guidance_hook(pipe: RePaintPipeline) -> None:
    """If this fails, the gradient of a classifier is not computed at each call, or has the wrong sign."""
    image, white = np.full((8, 8, 3), 0.5), np.ones((8, 8), bool)
    levels: list[Level] = []

    def brighter(x: Tensor, level: Level) -> Tensor:
        levels.append(level)
        return torch.full_like(x, 0.5 / level.sigma)

    def mean(**more: Any) -> float:
        out = pipe(image, white, schedule=JUMPS, generator=0, output_type="np", **more)
        return float(out.images.mean())

    assert mean(guidance=brighter) > mean() + 0.01
    grid = pipe.prior.schedule(4, "linspace")
    assert levels == [grid[move.src] for move in as_method(JUMPS).moves if move.kind == "denoise"]


@pytest.mark.parametrize(
    ("returned", "found"),
    [(None, "a NoneType"), (torch.zeros(1, 3, 8, 4), r"\(1, 3, 8, 4\)"), (torch.zeros(()), r"\(\)")],
)
def test_gradients_of_another_shape(pipe: RePaintPipeline, returned: Any, found: str) -> None:
    """If this fails, a function that returns no gradient, or the loss, ends in a traceback or guides all pixels."""
    message = rf"^guidance returned {found}, but must return a tensor of the shape of x, \(1, 3, 8, 8\)\.$"
    with pytest.raises(InputError, match=message):
        pipe(np.full((8, 8, 3), 0.5), np.ones((8, 8), bool), schedule=TWO, guidance=lambda _x, _level: returned)


def test_gradients_of_another_type(pipe: RePaintPipeline) -> None:
    """If this fails, a gradient in float64 turns the sample into float64, and its state cannot be read again."""
    states: list[SamplerState] = []

    def keep(_pipe: object, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        states.append(kwargs["state"])

    given = np.full((8, 8, 3), 0.5), np.eye(8, dtype=bool)
    pipe(*given, schedule=TWO, guidance=lambda x, _level: x.double(), callback_on_step_end=keep)
    assert {state.x.dtype for state in states} == {torch.float32}


# --- Methods


def test_overrides_as_text_and_object(pipe: RePaintPipeline) -> None:
    """If this fails, the text form of a part differs from the part, or an override is not used."""
    image, white = noise(8, 8, 3), hole(8, 8)

    def run(**parts: Any) -> tuple[bytes, int]:
        out = pipe(image, white, schedule=JUMPS, generator=0, output_type="np", **parts)
        return out.images.tobytes(), out.model_calls

    plain = run()
    assert run(merge="predicted(8)") == run(merge=Predicted(8)) != plain
    assert run(solver="ddim(eta=0.5)") == run(solver=DDIM(0.5)) != plain
    assert run(corrector="langevin(2, h=0.4)") == run(corrector=Langevin(2, h=0.4))
    assert run(corrector="langevin(2, h=0.4)")[1] == 3 * plain[1]
    corrected = as_method(JUMPS, corrector="langevin")
    assert pipe(image, white, schedule=corrected, corrector="none", generator=0).model_calls == plain[1]
    with pytest.raises(
        ScheduleError, match=r"merge='frsh' must be one of fresh, trajectory, predicted, .*\. Did you mean"
    ):
        run(merge="frsh")
    with pytest.raises(InputError, match=r"ddim\(eta=2\) must be in \[0, 1\]"):
        run(solver="ddim(2)")


def test_presets_yaml_and_methods(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, one of the four forms of `schedule` gives another walk."""
    image, white = noise(8, 8, 3), hole(8, 8)
    (tmp_path / "mine.yaml").write_text("steps: 4\nspacing: linspace\nlevels: [4, 3, 2, 1, 2, 3, 2, 1, 0]\n")

    def run(schedule: Any) -> bytes:
        result: bytes = pipe(image, white, schedule=schedule, generator=0, output_type="np").images.tobytes()
        return result

    mine = run(tmp_path / "mine.yaml")
    assert mine == run(str(tmp_path / "mine.yaml")) == run(JUMPS) == run(Method(JUMPS, spacing="linspace"))
    assert pipe(image, white, schedule="predicted", generator=0).model_calls == 50


def test_schedule_misuse(unchecked: None, pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a wrong schedule is found late, gives a traceback, or runs another walk."""
    image, white = noise(8, 8, 3), hole(8, 8)
    with pytest.raises(ScheduleError, match=r"preset='papr' must be one of .*Did you mean 'paper'\?"):
        pipe(image, white, schedule="papr")
    with pytest.raises(ScheduleError, match=r"schedule=250 must be a preset's name, a YAML file"):
        pipe(image, white, schedule=250)  # type: ignore[arg-type]
    with pytest.raises(ScheduleError, match=r"Cannot read .*none\.yaml: .*Pass the path of a YAML text file\."):
        pipe(image, white, schedule=tmp_path / "none.yaml")
    with pytest.raises(NoiseLevelError, match=r"steps=1001 must be an integer from 1 to 1000 \(the model was"):
        pipe(image, white, schedule=JumpSchedule.from_levels([1001, 0]))


def test_learned_variance(pipe: RePaintPipeline) -> None:
    """If this fails, a model with learned variance feeds variance into the picture, or ddpm(learned) ignores it."""
    six, image, white = tiny_pipe(out_channels=6), noise(8, 8, 3), hole(8, 8)

    def run(solver: str) -> NDArray[np.uint8]:
        out = six(image, white, schedule=JUMPS, solver=solver, generator=0, output_type="np")
        result: NDArray[np.uint8] = out.images[0]
        return result

    assert np.array_equal(run("ddpm(learned)")[~white], image[~white])
    assert len({run(f"ddpm({kind})").tobytes() for kind in ("learned", "small", "large")}) == 3
    with pytest.raises(
        InputError, match=r"ddpm\(learned\) needs a model that predicts its variance as a share of a range"
    ):
        pipe(image, white, schedule=JUMPS, solver="ddpm(learned)")


def test_guided_variance_is_the_class_s_own() -> None:
    """If this fails, guidance extrapolates a learned variance out of its bounds."""
    prior = tiny_pipe(("cat", "dog"), out_channels=6).prior
    level, x = prior.schedule(4)[2], torch.zeros(1, 3, 8, 8)
    with torch.no_grad():
        plain = prior.conditioned(1, Conditions(class_labels="dog")).denoise(x, level).variance
        strong = prior.conditioned(1, Conditions(class_labels="dog", guidance_scale=9.0)).denoise(x, level).variance
    assert plain is not None
    assert strong is not None
    torch.testing.assert_close(strong, plain, atol=1e-5, rtol=0)  # batches of 2 and 1 round apart by 1e-6


def test_a_prediction_that_is_not_finite() -> None:
    """If this fails, damaged weights or an overflow give a black or noisy picture without an error."""
    broken = tiny_pipe()
    broken.prior.unet.conv_out.bias.data[0] = math.nan  # type: ignore[attr-defined]
    with pytest.raises(NonFiniteError, match=r"PixelPrior predicted NaN or infinity at level 2 of 2 \(alpha .*\)"):
        broken(noise(8, 8, 3), hole(8, 8), schedule=TWO)


class Overflowing(DDIM):
    """A solver whose last step overflows, after predictions that were all finite."""

    def step(self, x: Tensor, *given: Any) -> Any:
        moved, carry = super().step(x, *given)
        return moved * (math.inf if given[2].sigma == 0 else 1), carry


@pytest.mark.parametrize("output_type", ["latent", "np", "pil"])
def test_a_last_step_that_is_not_finite(pipe: RePaintPipeline, output_type: str) -> None:
    """If this fails, latents with infinity, or a picture of black and white spots, are returned as a result."""
    with pytest.raises(NonFiniteError, match="Use another solver" if output_type == "latent" else "NaN or infin"):
        pipe(noise(8, 8, 3), hole(8, 8), schedule=TWO, solver=Overflowing(), output_type=output_type)


# --- Devices, types, and nothing hidden


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(pipe: RePaintPipeline) -> None:
    """If this fails, selecting an absent GPU gives a traceback from PyTorch."""
    with pytest.raises(
        InputError, match=r"device='cuda' must be a device that PyTorch can use .* \((?!.*cuda).*cpu.*\)"
    ):
        pipe.to("cuda")


def test_unknown_device(pipe: RePaintPipeline) -> None:
    """If this fails, a typo in the name of a device gives a traceback, or moves half of the model."""
    with pytest.raises(InputError, match=r"device='gpu' must be a device that PyTorch can use on this computer \(cpu"):
        pipe.to("gpu")
    with pytest.raises(InputError, match=r"device='meta' must be"):  # its tensors hold no values
        pipe.to("meta")
    assert pipe.to("cpu") is pipe
    assert pipe.device == torch.device("cpu")


def test_types_that_no_network_computes_in(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a model is moved to a type in which its first prediction ends in a traceback."""
    with pytest.raises(InputError, match=r"dtype=torch\.float8_e4m3fn must be a floating type .* of at least 16 bits"):
        pipe.to(torch.float8_e4m3fn)
    with pytest.raises(InputError, match=r"torch_dtype=torch\.float8_e4m3fn must be a floating type"):
        RePaintPipeline.from_pretrained("textures", torch_dtype=torch.float8_e4m3fn)
    monkeypatch.setattr(PixelByPixelPrior, "device", torch.device("mps"))
    with pytest.raises(InputError, match=r"dtype=torch\.float64 must be another type on mps"):
        RePaintPipeline(PixelByPixelPrior()).to(torch.float64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models(dtype: torch.dtype) -> None:
    """If this fails, x and the noise are in half precision, as the model is."""
    half, image, white = tiny_pipe().to(dtype), noise(8, 8, 3), hole(8, 8)
    inside: list[torch.dtype] = []
    half.prior.unet.conv_in.register_forward_pre_hook(lambda _m, args: inside.append(args[0].dtype))  # type: ignore[attr-defined]
    states: list[SamplerState] = []
    out = half(image, white, schedule=JUMPS, generator=0, output_type="np", callback_on_step_end=record(states))
    assert set(inside) == {dtype}
    assert {(state.x.dtype, state.x0_hat.dtype) for state in states if state.x0_hat is not None} == {
        (torch.float32,) * 2
    }
    raw = tiny_pipe(scheduler={"clip_sample": False}).to(dtype).prior
    with torch.no_grad():
        assert raw.denoise(torch.zeros(1, 3, 8, 8), raw.schedule(4)[2]).eps_hat.dtype == torch.float32
    assert np.array_equal(out.images[0][~white], image[~white])


@pytest.mark.gpu
def test_cuda_gives_the_same_noise(pipe: RePaintPipeline) -> None:
    """If this fails, a seed gives another picture on a GPU."""
    white = hole(16, 16)
    image = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)
    on_cpu = pipe(image, white, schedule=TWO, generator=0, output_type="np").images
    out = tiny_pipe().to("cuda")(image, white, schedule=TWO, generator=0, output_type="np").images
    assert np.array_equal(out[0][~white], image[~white])
    # cuDNN may convolve in TF32: 1e-3 relative, by the reasoning of BATCH_ROUNDING 0.1; other noise differs by 1.
    assert np.abs(out - on_cpu).mean() < 0.05


def test_inputs_are_not_changed(pipe: RePaintPipeline) -> None:
    """If this fails, the image or mask of the caller is modified."""
    white = hole(8, 8)
    pixels = noise(8, 8, 3)
    inputs: list[tuple[Any, Any]] = [
        (pixels, white),
        (pixels / 255, white.astype(np.float32)),
        (torch.from_numpy(pixels).permute(2, 0, 1) / 255, torch.from_numpy(white)),
        (Image.fromarray(pixels), Image.fromarray(white)),
    ]

    def bits(value: Any) -> bytes:
        data: bytes = (value.contiguous().numpy() if isinstance(value, Tensor) else value).tobytes()
        return data

    for image, mask in inputs:
        before = bits(image), bits(mask)
        for output_type in ("pil", "np", "pt", "latent"):
            out = pipe(image, mask, schedule=TWO, strength=0.5, generator=0, output_type=output_type)  # type: ignore[arg-type]
            if output_type == "np":
                out.images[:] = 0
        kept = pipe(image, np.zeros((8, 8), bool), schedule=TWO, output_type="np").images
        kept[:] = 0
        assert (bits(image), bits(mask)) == before


def test_global_randomness_is_left_alone(unchecked: None, tmp_path: Path) -> None:
    """If this fails, loading or filling changes or reads the global random state of the caller."""
    with torch.random.fork_rng(devices=[]):
        tiny_folder_pipeline().save_pretrained(tmp_path)

        def states() -> tuple[Any, ...]:
            name, keys, *rest = np.random.get_state()  # noqa: NPY002
            return random.getstate(), name, bytes(keys), tuple(rest), torch.random.get_rng_state().tolist()  # type: ignore[arg-type]

        before = states()
        pipe = RePaintPipeline.from_pretrained(tmp_path)
        assert states() == before
        pipe.set_progress_bar_config(disable=True)
        image, white = noise(8, 8, 3), hole(8, 8)
        first = pipe(image, white, schedule=JUMPS, generator=0, corrector="langevin", output_type="np").images
        pipe(image, white, schedule=TWO)  # seeds from the operating system
        assert states() == before
        torch.manual_seed(99)
        again = pipe(image, white, schedule=JUMPS, generator=0, corrector="langevin", output_type="np").images
        assert np.array_equal(again, first)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, long runs show no progress, or a disabled progress bar is shown."""
    pipe, image, white = tiny_pipe(), noise(8, 8, 3), hole(8, 8)
    pipe(image, white, schedule=JUMPS, generator=0)
    assert capsys.readouterr().err == ""
    pipe.set_progress_bar_config(desc="filling", ncols=60)
    pipe(image, white, schedule=JUMPS, generator=0)
    shown = capsys.readouterr().err
    assert "filling" in shown
    assert "6/6" in shown


def test_the_bundled_prior_fills_in_one_line() -> None:
    """If this fails, `repaint.inpaint(image, mask)` does not work offline."""
    image, white = noise(16, 16, 3), hole(16, 16)
    out = repaint.inpaint(image, white, schedule=TWO, generator=0, output_type="np")
    kept = repaint.inpaint(image, keep_mask=white == 0, schedule=TWO, generator=0, output_type="np")
    assert np.array_equal(out.images, kept.images)
    assert np.array_equal(out.images[0][~white], image[~white])
    assert not np.array_equal(out.images[0][white], image[white])


def test_a_notebook_shows_the_images(pipe: RePaintPipeline) -> None:
    """If this fails, a notebook shows a result as text, or fails for arrays."""
    images = [Image.new("L", (8, 8), 90), Image.new("RGBA", (16, 8), (1, 2, 3, 255))]
    out = pipe(images, [np.eye(8), np.eye(8, 16)], schedule=JumpSchedule.paper(2, 1, 1), generator=0)
    shown = out._repr_png_()
    assert shown is not None
    with Image.open(io.BytesIO(shown)) as row:
        assert row.size == (8 + 4 + 16, 8)
        kept = np.asarray(row)[:, 12:][np.eye(8, 16) == 0]
    assert (kept == (1, 2, 3)).all()
    arrays = pipe(images[0], np.eye(8), schedule=JumpSchedule.paper(2, 1, 1), generator=0, output_type="np")
    assert arrays._repr_png_() is None


# --- Arguments that do not exist


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"promt": "a cat"}, r"promt='a cat' is not an argument of the pipeline\. Did you mean 'prompt'\?"),
        (
            {"guidance": None, "guidance_scal": 3},
            r"guidance_scal=3 is not an argument .* Did you mean 'guidance_scale'\?",
        ),
        ({"xyz": 1}, r"xyz=1 is not an argument of the pipeline\.$"),
        ({"xyz": None}, r"xyz=None is not an argument of the pipeline\.$"),
        ({"num_inference_steps": None}, r"num_inference_steps=None is not .*The schedule sets the steps"),
        ({"controlnet_scale": None}, r"controlnet_scale=None is not an argument of the pipeline\."),
        ({"ip_adapter_image": None}, r"ip_adapter_image=None is not an argument of the pipeline\."),
        ({"control_image": 1}, r"Wrap a pipeline with a ControlNet or an adapter"),
        ({"controlnet_conditioning_scale": 1.0}, r"Wrap a pipeline with a ControlNet or an adapter"),
        ({"ip_adapter_image": 1}, r"Load an IP-Adapter into a pipeline before wrapping it"),
        ({"image_embeds": 1}, r"Wrap a pipeline that takes embeddings of images"),
        ({"reference_image": 1}, r"Wrap a pipeline that takes an image beside the prompt"),
        ({"return_dict": False}, r"return_dict=False is not an argument .* A result has names: out\.images"),
        ({"saved": None}, r"saved=None is not an argument of the pipeline\."),
        ({"prior": None}, r"prior=None is not an argument of the pipeline\."),
    ],
)
def test_an_unknown_argument_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    """If this fails, a misspelt argument is silently ignored."""
    with pytest.raises(InputError, match=message):
        tiny_pipe()(np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool), **given)


@pytest.mark.parametrize(
    ("way", "name", "message"),
    [
        *[(way, "eta", "eta=None is not an argument") for way in ("restore", "remove", "outpaint", "resume")],
        ("outpaint", "keep_mask", r"keep_mask must be left out: outpaint\(\) makes the mask"),
        ("restore", "mask_image", r"mask_image must be left out: restore\(\) finds the mask"),
        ("restore", "num_images_per_prompt", "num_images_per_prompt must be left out: restore.. .* samples sets"),
        ("remove", "num_images_per_prompt", "num_images_per_prompt must be left out: candidates sets"),
    ],
)
def test_arguments_that_are_none_are_refused_elsewhere_too(way: str, name: str, message: str) -> None:
    """If this fails, an argument that a task does not have is ignored where its value is None."""
    pipe, image, mask = tiny_pipe(), np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    saved: list[SamplerState] = []
    pipe(image, mask, schedule=JUMPS, callback_on_step_end=lambda *moved: saved.append(moved[3]["state"]))
    call: Callable[..., Any] = {
        "restore": partial(restore, image, prior=pipe),
        "remove": partial(remove, image, mask, prior=pipe),
        "outpaint": partial(pipe.outpaint, image, left=4),
        "resume": partial(pipe.resume, saved[0], image, mask, schedule=JUMPS),
    }[way]
    with pytest.raises(InputError, match=message):
        call(**{name: None})


@pytest.mark.parametrize("name", ["guidance", "callback_on_step_end"])
@pytest.mark.parametrize("way", ["call", "resume"])
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_called_is_refused(way: str, name: str) -> None:
    """If this fails, guidance=3 ends in a TypeError in the middle of the run."""
    pipe, image, mask = tiny_pipe(), np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    saved: list[SamplerState] = []
    pipe(image, mask, schedule=JUMPS, callback_on_step_end=lambda *moved: saved.append(moved[3]["state"]))
    call: Any = pipe if way == "call" else partial(pipe.resume, saved[0])
    with pytest.raises(InputError, match=rf"{name}=3 must be a function"):
        call(image, mask, schedule=JUMPS, **{name: 3})


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.5])
def test_a_constant_map_is_its_number_in_float32(strength: float) -> None:
    """If this fails, a float32 map of 0.1 starts at another level than 0.1, which lies between two of 25 levels."""
    pipe, image, mask = RePaintPipeline(PixelByPixelPrior()), np.full((8, 8, 3), 90, np.uint8), np.eye(8)
    runs = [
        pipe(image, mask, strength=each, generator=0, output_type="np")
        for each in (strength, torch.full((8, 8), strength))
    ]
    assert runs[0].model_calls == runs[1].model_calls
    assert np.array_equal(runs[0].images, runs[1].images)


@pytest.mark.parametrize("prior", [3, None, PixelByPixelPrior, torch.nn.Linear(1, 1)])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_prior_is_refused(prior: Any) -> None:
    """If this fails, RePaintPipeline(network) ends in an AttributeError at the first call."""
    with pytest.raises(InputError, match=r"prior=.* must be a Prior"):
        RePaintPipeline(prior)


@pytest.mark.parametrize("name", ["generator", "num_images_per_prompt", "batch_size"])
def test_resume_refuses_what_the_state_decides(name: str) -> None:
    """If this fails, a seed given to `resume` is silently ignored."""
    with pytest.raises(InputError, match=rf"{name} must be left out: the saved state sets it"):
        tiny_pipe().resume("missing", np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool), **{name: 1})


# --- Several results of one image


def test_mean_and_uncertainty_of_a_batch() -> None:
    """If this fails, fills of different images are mixed, a mean changes kept pixels, or depends on its batch."""
    pipe = quiet(PixelByPixelPrior())
    images, white = [noise(12, 17, 3, seed=seed) for seed in (0, 1)], hole(12, 17)
    both = pipe(images, white, schedule=TWO, num_images_per_prompt=4, generator=list(range(8)), output_type="np")
    for i, image in enumerate(images):
        seeds = both.seeds[4 * i : 4 * i + 4]
        alone = pipe(image, white, schedule=TWO, num_images_per_prompt=4, generator=seeds, output_type="np")
        singles = [pipe(image / 255, white, schedule=TWO, generator=s, output_type="np").images[0] for s in seeds]
        mean, spread = both.mean()[i], both.uncertainty()[i]
        assert (mean.dtype, mean.shape, spread.shape) == (image.dtype, image.shape, (12, 17))
        assert np.array_equal(mean, alone.mean()[0])
        assert np.array_equal(spread, alone.uncertainty()[0])
        assert np.array_equal(mean[~white], image[~white])
        assert (spread[~white] == 0).all()
        assert (spread[white] > 0).all()
        # The fills of a float64 image are not rounded; those of 8-bit images are stored in float32, 255 * 6e-8.
        exact = 255 * np.stack(singles)
        assert np.array_equal(mean, np.rint(exact.mean(axis=0)))
        assert np.allclose(spread, np.sqrt(exact.var(axis=0, ddof=1).mean(axis=-1)), atol=1e-4)
        low, high = both.interval(0.5)[i]
        assert np.allclose([low, high], np.quantile(exact, [0.25, 0.75], axis=0), atol=1e-4)
        assert np.array_equal(low[~white], image[~white])


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_a_mean_has_the_type_of_the_output(output_type: str) -> None:
    """If this fails, a mean cannot take the place of a result."""
    pipe, image = quiet(PixelByPixelPrior()), noise(12, 17, 3)
    out = pipe(image, hole(12, 17), schedule=TWO, num_images_per_prompt=2, generator=0, output_type=output_type)
    (mean,) = out.mean()
    assert type(mean) is type(out.images[0])
    assert np.shape(mean) == np.shape(out.images[0])
    ((low, high),) = out.interval()
    scale = 1 if output_type == "pt" else 255
    assert 0 < out.uncertainty()[0].max() < scale
    assert 0 <= low.min() <= high.max() <= scale


def test_uncertainty_of_windows_and_of_other_sizes() -> None:
    """If this fails, the fills of several windows land at wrong places, or images of two sizes are refused."""
    pipe = quiet(PixelByPixelPrior(preferred_size=8))
    white = np.zeros((40, 60), bool)
    white[3:7, 4:8] = white[30:33, 50:58] = white[5:6, 40:42] = True
    images = [noise(40, 60, 3), noise(12, 17, 3)]
    masks = [Image.fromarray(white), Image.fromarray(hole(12, 17))]
    common: dict[str, Any] = {"schedule": TWO, "num_images_per_prompt": 3, "generator": 0, "output_type": "np"}
    out = pipe(images, masks, **common)
    assert [spread.shape for spread in out.uncertainty()] == [(40, 60), (12, 17)]
    results = np.stack(out.images[:3]).astype(float)
    # Rounding moves each result by at most half a grey value, and their standard deviation by less than one.
    exact = np.sqrt(results.var(axis=0, ddof=1).mean(axis=-1))
    assert np.allclose(out.uncertainty()[0], exact, atol=1)
    assert np.allclose(out.mean()[0], results.mean(axis=0), atol=1)
    assert np.array_equal(out.mean()[0][~white], images[0][~white])
    assert out.uncertainty()[0][white].min() > 0


def test_a_resumed_state_has_a_mean() -> None:
    """If this fails, the mean is lost where a run of several seeds is resumed."""
    pipe, states = quiet(PixelByPixelPrior()), []
    image, white = noise(12, 17, 3), hole(12, 17)
    out = pipe(image, white, schedule=TWO, num_images_per_prompt=3, generator=5, callback_on_step_end=record(states))
    resumed = pipe.resume(states[0], image, white, schedule=TWO)
    assert np.array_equal(resumed.mean()[0], out.mean()[0])
    assert np.array_equal(resumed.uncertainty()[0], out.uncertainty()[0])


@pytest.mark.parametrize("schedule", ["fast", "none", "quick"])
def test_the_mean_of_a_pair_is_exact_where_the_denoiser_is_linear(schedule: str) -> None:
    """If this fails, some noise of a run does not change its sign, or the results of a pair are not samples."""
    pipe, image, white = quiet(PixelByPixelPrior(preferred_size=8)), noise(40, 60, 3), np.zeros((40, 60), bool)
    white[3:7, 4:8] = white[30:33, 50:58] = True  # two windows
    common: dict[str, Any] = {"schedule": schedule, "num_images_per_prompt": 2, "generator": 0, "output_type": "np"}
    out = pipe(image, white, **common, antithetic=True)
    assert out.seeds == [0, antithetic_seed(0)]
    first, second = out.fills[0].values
    np.testing.assert_allclose((first + second) / 2, 0.5, atol=1e-5)  # the prior's mean, by float32
    assert np.abs(first - 0.5).mean() > 0.05
    independent = pipe(image, white, **common)
    assert np.array_equal(independent.images[0], out.images[0])
    assert np.abs(independent.fills[0].values.mean(0) - 0.5).mean() > 0.05


def test_antithetic_results_alone_and_resumed(tmp_path: Path) -> None:
    """If this fails, the second result of a pair cannot be computed again, or a saved state forgets its sign."""
    pipe, states = quiet(PixelByPixelPrior()), []
    image, white = noise(12, 17, 3), hole(12, 17)
    jumping = Method(JumpSchedule.paper(20, jump_length=4, jump_n_sample=2))
    common: dict[str, Any] = {"schedule": jumping, "output_type": "np"}
    pairs: dict[str, Any] = {"num_images_per_prompt": 5, "antithetic": True, "generator": 3}
    out = pipe(image, white, **common, **pairs, callback_on_step_end=record(states))
    for seed, result in zip(out.seeds, out.images, strict=True):
        assert np.array_equal(pipe(image, white, **common, generator=seed).images[0], result)
    states[3].save(tmp_path / "state.safetensors")
    resumed = pipe.resume(tmp_path / "state.safetensors", image, white, **common)
    assert np.array_equal(resumed.images, out.images)
    assert resumed.fills[0].paired
    assert np.array_equal(resumed.uncertainty()[0], out.uncertainty()[0])
    with pytest.raises(InputError, match="antithetic"):
        pipe.resume(states[3], image, white, **common, antithetic=True)
    wide = pipe.outpaint(image, right=4, **common, **pairs)
    assert wide.seeds == out.seeds
    assert wide.fills[0].paired
    again = pipe.outpaint(image, right=4, **common, num_images_per_prompt=5, generator=wide.seeds)
    assert np.array_equal(again.uncertainty()[0], wide.uncertainty()[0])


def test_results_are_shown_in_one_line_and_compared_by_identity() -> None:
    """If this fails, a notebook prints thousands of numbers for a state, or `==` raises an error about arrays."""
    pipe, states = quiet(PixelByPixelPrior()), []
    given: dict[str, Any] = {"generator": 0, "output_type": "np", "num_images_per_prompt": 2}
    out = pipe(noise(12, 17, 3), hole(12, 17), **given, callback_on_step_end=record(states))
    assert repr(pipe) == "RePaintPipeline(PixelByPixelPrior, torch.float32, device='cpu')"
    assert repr(states[3]) == (
        f"SamplerState(x=(2, 3, 12, 17), level=21, position=4, model_calls=4, seeds={tuple(out.seeds)})"
    )
    assert repr(out.fills[0]) == f"Fills(2 of {int(hole(12, 17).sum())} pixels in 12 x 17, paired=False)"
    assert out == out
    assert out != pipe(noise(12, 17, 3), hole(12, 17), **given)
    assert len({out}) == 1


@pytest.mark.parametrize("name", ["mean", "uncertainty", "interval"])
def test_nothing_to_average(pipe: RePaintPipeline, name: str) -> None:
    """If this fails, the mean of one result or of latents is an IndexError, NaN, or the result itself."""
    one = pipe(noise(12, 17, 3), hole(12, 17), schedule=TWO, generator=0)
    with pytest.raises(InputError, match=rf"{name}\(\) needs at least 2 results .* Pass num_images_per_prompt=8."):
        getattr(one, name)()
    latents = pipe(
        noise(12, 18, 3), hole(12, 18), schedule=TWO, generator=0, num_images_per_prompt=2, output_type="latent"
    )
    with pytest.raises(InputError, match=rf"{name}\(\) needs images, but output_type='latent' gave latents. Pass"):
        getattr(latents, name)()


# --- What a prior declares


class Limited(PixelByPixelPrior):
    """A prior for holes of at most 4 pixels, with a schedule of its own."""

    largest_hole = 4
    default_schedule = "none"


def test_a_hole_that_is_too_large_warns_once() -> None:
    """If this fails, a prior fills a hole that it is not made for silently, or warns for each of many images."""
    pipe, image, white = quiet(Limited()), noise(24, 24, 3), np.zeros((24, 24), bool)
    white[3:7, 2:20] = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(image, white, schedule=TWO, generator=0)  # 4 pixels thick
        with pytest.warns(MaskWarning, match="nothing is repainted"):
            pipe(image, np.zeros((24, 24), bool), schedule=TWO, generator=0)
        quiet(PixelByPixelPrior())(image, ~white, schedule=TWO, generator=0)  # no limit
    white[10:19, 2:20] = True
    message = (
        r"^The hole is 9 pixels thick, but this prior is made for holes of at most 4 pixels: .* a model from the "
        r"Hugging Face Hub, such as stable-diffusion-v1-5/stable-diffusion-v1-5\.$"
    )
    with pytest.warns(LargeHoleWarning, match=message) as caught:
        pipe([image] * 3, white, schedule=TWO, generator=0, num_images_per_prompt=2)
    assert len(caught) == 1
    with pytest.warns(LargeHoleWarning, match="The hole covers the whole image, but"):
        pipe(image, np.ones((24, 24), bool), schedule=TWO, generator=0)
    enlarged = repaint.Crop(size=24, upscale=True)
    small = np.zeros((64, 64), bool)
    small[10:14, 10:14] = True  # 4 pixels, but 3 times as many for the model
    with pytest.warns(LargeHoleWarning, match="The hole is 9 pixels thick"):
        pipe(noise(64, 64, 3), small, schedule=TWO, generator=0, crop=enlarged)


@pytest.mark.parametrize("limit", [0, 2.5, "4"])
def test_a_limit_that_is_no_size(limit: Any, unchecked: None) -> None:
    """If this fails, a prior with a wrong limit ends in a TypeError deep in the pipeline."""
    prior = Limited()
    prior.largest_hole = limit
    with pytest.raises(PriorError, match=r"largest_hole=.* must be an integer of at least 1"):
        quiet(prior)(noise(8, 8, 3), hole(8, 8), schedule=TWO, generator=0)


def test_no_schedule_is_the_priors_own() -> None:
    """If this fails, schedule=None ignores the default of the prior, or an empty name is taken for None."""
    image, white = noise(8, 8, 3), hole(8, 8)
    assert quiet(Limited())(image, white, generator=0).model_calls == 250
    assert quiet(PixelByPixelPrior())(image, white, generator=0).model_calls == 25
    assert quiet(Limited())(image, white, generator=0, schedule="fast").model_calls == 25
    with pytest.raises(ScheduleError, match="preset='' must be one of"):
        quiet(Limited())(image, white, generator=0, schedule="")


def test_thin_begins_at_a_smooth_fill_of_the_hole_alone() -> None:
    """If this fails, what was under the hole reaches the result, the batch changes it, or kept pixels change."""
    pipe = RePaintPipeline(PixelByPixelPrior())
    pipe.set_progress_bar_config(disable=True)
    image = np.linspace(0, 255, 24 * 24 * 3).reshape(24, 24, 3).astype(np.uint8)
    hole = np.zeros((24, 24), bool)
    hole[3:20, 10:13] = True
    scratched = np.where(hole[..., None], np.uint8(255), image)
    alone = pipe(image, hole, schedule="thin", generator=4, output_type="np")
    assert alone.model_calls == 12
    both = pipe([scratched, image[::-1]], [hole, hole[::-1]], schedule="thin", generator=[4, 5], output_type="np")
    assert np.array_equal(both.images[0], alone.images[0])
    assert np.array_equal(alone.images[0][~hole], image[~hole])
    noise = replace(Method.from_preset("thin"), init="noise")
    from_noise = pipe(image, hole, schedule=noise, generator=4, output_type="np")
    assert not np.array_equal(from_noise.images[0], alone.images[0])
