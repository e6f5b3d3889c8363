"""Overlapping windows of one x_t, for every family of priors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from helpers.small_inputs import TWO
from helpers.tiny_latents import tiny_dit, tiny_sd, tiny_sdxl, tiny_vae
from helpers.tiny_priors import tiny_pipe, tiny_unet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repaint.errors import InputError, PriorError
from repaint.pictures.crop import Crop
from repaint.pipeline import RePaintPipeline
from repaint.priors.latent import LatentPrior
from repaint.priors.text import StableDiffusionPrior
from repaint.priors.windowed import Windowed
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, Prior
from repaint.testing import PixelByPixelPrior


class Pointwise(PixelByPixelPrior):
    """The exact denoiser of independent standard normal pixels, with every other field of a prediction."""

    def __init__(self) -> None:
        super().__init__(dtype=torch.float64)
        self.seen: list[tuple[int, ...]] = []

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        self.seen.append(tuple(x.shape))
        x0_hat = level.alpha / (level.alpha**2 + level.sigma**2) * x
        return Prediction(x0_hat, (x - level.alpha * x0_hat) / level.sigma, torch.sigmoid(x), x**3)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 16), st.data())
def test_a_pointwise_prior_is_unchanged(height: int, width: int, size: int, data: st.DataObject) -> None:
    """If this fails, weights do not add up to 1 somewhere, a pixel is left out, or predictions land elsewhere."""
    overlap, batch = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 9))
    prior = Pointwise()
    level, x = prior.schedule(10)[5], noise(2, 3, height, width)
    direct = prior.denoise(x, level)
    prior.seen.clear()
    blend = Windowed(prior, size, overlap, batch).denoise(x, level)
    for name in ("x0_hat", "eps_hat", "variance", "unguided"):
        # A weighted mean of equal float64 numbers, of order 10, is off by a few roundings.
        torch.testing.assert_close(getattr(blend, name), getattr(direct, name), atol=1e-12, rtol=1e-12)
    shown = (min(size, height), min(size, width))
    assert all(shape[0] <= 2 * batch and shape[2:] == shown for shape in prior.seen), "memory is that of the batch"


def test_the_prediction_explains_x() -> None:
    """If this fails, x0_hat and eps_hat have other weights, and x_t is not alpha x0_hat + sigma eps_hat."""
    prior = tiny_pipe().prior
    level, x = prior.schedule(10)[5], noise(1, 3, 20, 28).float()
    with torch.no_grad():
        blend = Windowed(prior, 8, 3, 4).denoise(x, level)
    torch.testing.assert_close(level.alpha * blend.x0_hat + level.sigma * blend.eps_hat, x, atol=1e-5, rtol=0)


def test_weights_by_hand() -> None:
    """If this fails, a window's border has the weight of its middle, and is visible as a grid."""

    class Constant(Pointwise):
        def denoise(self, x: Tensor, level: Level) -> Prediction:
            values = torch.arange(len(x), dtype=x.dtype).reshape(-1, 1, 1, 1).expand(x.shape)
            return Prediction(values, values)

    row = Windowed(Constant(), 4, 2).denoise(torch.zeros(1, 1, 1, 6, dtype=torch.float64), Pointwise().schedule(2)[1])
    # Weights 1 2 2 1 of window 0 at columns 0 to 3, of window 1 at columns 2 to 5.
    np.testing.assert_allclose(row.x0_hat[0, 0, 0], [0, 0, 1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize("size", [(16, 16), (16, 12), (8, 8)])
def test_one_window_is_the_prior_to_the_bit(size: tuple[int, int]) -> None:
    """If this fails, wrapping a prior changes results that need no windows."""
    prior = tiny_pipe(("cat", "dog")).prior
    x, level = noise(2, 3, *size).float(), prior.schedule(10)[5]
    asked = Conditions(class_labels=["cat", "dog"], guidance_scale=2.0, size=size)
    with torch.no_grad():
        plain = prior.conditioned(2, asked).denoise(x, level)
        wrapped = Windowed(prior, 16).conditioned(2, asked).denoise(x, level)
    assert torch.equal(plain.x0_hat, wrapped.x0_hat)
    assert torch.equal(plain.eps_hat, wrapped.eps_hat)


def test_conditions_follow_their_image_into_every_window() -> None:
    """If this fails, windows of a batch are denoised under another image's class."""
    prior = tiny_pipe(("cat", "dog")).prior
    x, level = noise(2, 3, 24, 20).float(), prior.schedule(10)[5]

    def run(labels: list[str], x: Tensor, batch: int) -> Tensor:
        asked = Conditions(class_labels=labels, size=(24, 20))
        with torch.no_grad():
            return Windowed(prior, 8, 4, batch).conditioned(len(labels), asked).denoise(x, level).x0_hat

    for batch in (1, 3, 100):
        both = run(["cat", "dog"], x, batch)
        for i, label in enumerate(("cat", "dog")):
            # The UNet rounds by 1e-6 in another batch; alpha at the middle level of ten is above 0.2.
            torch.testing.assert_close(both[i], run([label], x[i : i + 1], 2)[0], atol=1e-4, rtol=0)
        assert not torch.allclose(both[0], run(["dog"], x[:1], 2)[0], atol=1e-3)


def test_latent_windows_are_measured_in_cells() -> None:
    """If this fails, the autoencoder's factor is ignored, and windows have another size than the model's."""
    unet = tiny_unet(in_channels=4, out_channels=4, sample_size=4)
    prior: Prior = LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL"))  # cells of 2 pixels
    shapes: list[tuple[int, ...]] = []
    unet.conv_in.register_forward_pre_hook(lambda _m, args: shapes.append(tuple(args[0].shape)))
    with torch.no_grad():
        Windowed(prior, 8, 4, 3).denoise(noise(1, 4, 8, 6).float(), prior.schedule(10)[5])
    assert shapes == [(3, 4, 4, 4), (3, 4, 4, 4)], "3 x 2 windows of 4 x 4 cells, 2 cells apart"


def test_text_priors_get_the_size_of_a_window(tmp_path: Path) -> None:
    """If this fails, SDXL gets the size of the whole image instead of a window's, or windows lose their prompts."""
    for make in (tiny_sd, tiny_sdxl):
        prior = StableDiffusionPrior(make(tmp_path))
        side = prior.preferred_size
        assert side is not None
        told: list[Any] = []
        hook = lambda _m, _a, kwargs: told.append(kwargs.get("added_cond_kwargs"))  # noqa: E731, B023
        prior.network.register_forward_pre_hook(hook, with_kwargs=True)
        cells = side // prior.codec.factor
        asked = Conditions(prompt=["a cat", "a dog"], size=(2 * side, side))
        x = noise(2, 4, 2 * cells, cells).float()
        with torch.no_grad():
            Windowed(prior, side, 0).conditioned(2, asked).denoise(x, prior.schedule(10)[5])
        if make is tiny_sdxl:
            assert told[0]["time_ids"].tolist() == [[side, side, 0, 0, side, side]] * 8, (
                "2 images, 2 windows, 2 prompts"
            )


class Local(Pointwise):
    """The mean of 5 x 5 pixels: what it predicts depends on two pixels to each side."""

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        x0_hat = torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
        return Prediction(x0_hat, (x - level.alpha * x0_hat) / level.sigma)


def diagonal(height: int, width: int) -> Tensor:
    """Known pixels, (1, 1, H, W): all but a line from corner to corner."""
    row, column = torch.arange(height).unsqueeze(1), torch.arange(width)
    return ((row * width - column * height).abs() > 2 * max(height, width))[None, None]


def test_a_cover_of_a_local_prior_is_exact() -> None:
    """If this fails, predictions next to a window's border count in the hole, although they lack their context."""
    prior = Local()
    level, x0, x = prior.schedule(10)[5], noise(2, 3, 90, 70), noise(2, 3, 90, 70)
    known = torch.cat([diagonal(90, 70), diagonal(90, 70).flip(-1)])
    whole = prior.denoise(x, level)
    blend = Windowed(prior, 32).covering(x0, known).denoise(x, level)
    hole = ~known.expand(x.shape)
    for name in ("x0_hat", "eps_hat"):
        # A weighted mean of equal float64 numbers of order 1.
        torch.testing.assert_close(getattr(blend, name)[hole], getattr(whole, name)[hole], atol=1e-12, rtol=0)
    # On the way from window to window and outside of them, the prediction still explains x.
    torch.testing.assert_close(level.alpha * blend.x0_hat + level.sigma * blend.eps_hat, x, atol=1e-12, rtol=0)


def test_outside_of_a_cover_the_prediction_is_the_known_sample() -> None:
    """If this fails, known pixels far from the hole have a prediction that is empty or left from another step."""
    prior = Pointwise()
    level, x0, x = prior.schedule(10)[5], noise(1, 3, 60, 200), noise(1, 3, 60, 200) + 1
    known = torch.ones(1, 1, 60, 200, dtype=torch.bool)
    known[..., 20:30, 20:60] = False
    blend = (
        Windowed(prior, 16).covering(torch.where(known, x0, torch.full_like(x0, torch.nan)), known).denoise(x, level)
    )
    far = np.s_[..., 80:]
    assert torch.equal(blend.x0_hat[far], x0[far])
    torch.testing.assert_close(blend.eps_hat[far], ((x - level.alpha * x0) / level.sigma)[far])
    assert bool(torch.isfinite(blend.x0_hat).all())
    assert bool(torch.isfinite(blend.eps_hat).all())


def test_a_cover_has_no_seam() -> None:
    """If this fails, the border of a window is visible in the hole."""

    class Numbered(Pointwise):
        """Predicts 0 in every second window and 1 in the others."""

        def denoise(self, x: Tensor, level: Level) -> Prediction:
            values = (torch.arange(len(x), dtype=x.dtype) % 2).reshape(-1, 1, 1, 1).expand(x.shape)
            return Prediction(values, values)

    known = torch.ones(1, 1, 128, 600, dtype=torch.bool)
    known[..., 60:67, 10:590] = False
    x = torch.zeros(1, 1, 128, 600, dtype=torch.float64)
    row = Windowed(Numbered(), 128, batch=100).covering(x, known).denoise(x, Numbered().schedule(2)[1]).x0_hat[0, 0, 63]
    inside = row[10:590]
    assert inside.min() == 0
    assert inside.max() == 1
    # The overlap of 32 pixels less a margin of 8 on each side: a change of 1 over 16 pixels or more.
    assert inside.diff().abs().max() <= 1 / 16 + 1e-9


def test_conditions_follow_their_image_into_its_cover() -> None:
    """If this fails, the windows of an image are denoised under another image's class."""
    prior = tiny_pipe(("cat", "dog")).prior
    x, level = noise(2, 3, 48, 40).float(), prior.schedule(10)[5]
    known = torch.cat([diagonal(48, 40), diagonal(48, 40).flip(-1)])

    def run(labels: list[str], which: slice) -> Tensor:
        windowed = Windowed(prior, 8, 4, 3).covering(x[which], known[which])
        with torch.no_grad():
            asked = Conditions(class_labels=labels, size=(48, 40))
            return windowed.conditioned(len(labels), asked).denoise(x[which], level).x0_hat

    both = run(["cat", "dog"], slice(None))
    assert torch.equal(both[:1], run(["cat"], slice(0, 1)))
    assert torch.equal(both[1:], run(["dog"], slice(1, 2)))
    assert not torch.equal(both[1:], run(["cat"], slice(1, 2)))


def test_crop_decides_about_windows() -> None:
    """If this fails, Crop(windows=...) does not decide whether a large hole is denoised in windows."""
    pipe = tiny_pipe(sample_size=16)
    image = np.random.default_rng(0).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    white = np.zeros((70, 60), bool)
    white[20:40, 10:34] = True
    seen: list[tuple[int, ...]] = []
    pipe.prior.unet.conv_in.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _m, args: seen.append(tuple(args[0].shape[-2:]))
    )
    for windows, shapes in ((None, {(40, 48)}), (False, {(40, 48)}), (True, {(16, 16)})):
        seen.clear()
        out = pipe(image, white, crop=Crop(windows=windows), schedule=TWO, generator=0, output_type="np")
        assert set(seen) == shapes
        assert np.array_equal(out.images[0][~white], image[~white])
        assert out.model_calls == 2
    seen.clear()
    states: list[Any] = []
    asked: dict[str, Any] = {"crop": Crop(windows=True), "schedule": TWO, "output_type": "np"}
    whole = pipe(image, white, generator=0, callback_on_step_end=lambda *a: states.append(a[3]["state"]), **asked)
    assert np.array_equal(pipe.resume(states[0], image, white, **asked).images, whole.images)


def test_a_prior_of_one_size_fills_larger_holes() -> None:
    """If this fails, holes larger than a DiT's one size are refused instead of denoised in windows."""
    pipe = RePaintPipeline.from_pipe(tiny_dit())
    pipe.set_progress_bar_config(disable=True)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    white = np.zeros((40, 50), bool)
    white[10:30, 10:40] = True
    result = pipe(image, white, class_labels=3, schedule=TWO, generator=0, output_type="np").images[0]
    assert np.array_equal(result[~white], image[~white])
    assert not np.array_equal(result[white], image[white])
    with pytest.raises(PriorError, match=r"this DiT supports only 16 x 16"):
        pipe(image, white, class_labels=3, schedule=TWO, crop="off")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 7}, r"size=7 must be a multiple of 2 pixels"),
        ({"size": 0}, r"size=0 must be an integer of at least 1"),
        ({"size": 8, "overlap": 8}, r"overlap=8 must be an integer from 0 to 7 \(less than the window size\)\."),
        ({"size": 8, "overlap": -1}, r"overlap=-1 must be an integer from 0 to 7"),
        ({"size": 8, "overlap": 2, "batch": 0}, r"batch=0 must be an integer of at least 1"),
    ],
)
def test_what_windows_refuse(wrong: dict[str, int], message: str) -> None:
    """If this fails, an invalid window size ends in a traceback or an endless loop."""
    with pytest.raises(InputError, match=message):
        Windowed(tiny_pipe().prior, **wrong)
