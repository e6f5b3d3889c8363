"""Mean, standard deviation and quantiles of several fills, against numpy on results made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from repaint.errors import InputError
from repaint.pictures.fills import Fills
from repaint.pictures.images import read_images

HOLE = np.zeros((5, 7), bool)
HOLE[1:4, 2:6] = True


def results(count: int = 6, channels: int = 3) -> NDArray[np.uint8]:
    """Several (5, 7, channels) images that differ in the hole only."""
    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (1, 5, 7, channels), dtype=np.uint8), count, axis=0)
    images[:, HOLE] = rng.integers(0, 256, (count, int(HOLE.sum()), channels))
    return images


def test_values_against_numpy() -> None:
    """If this fails, a mean, a standard deviation or a quantile is wrong: the divisor, the axis or the unit."""
    images = results()
    fills = Fills.from_images(list(images), HOLE)
    assert np.array_equal(fills.mean().output("np"), np.rint(images.mean(axis=0)))
    expected = np.sqrt(images.astype(float).var(axis=0, ddof=1).mean(axis=-1))
    assert np.allclose(fills.deviation("np"), expected, atol=1e-9)  # float64 rounding of values up to 255
    lower, upper = fills.interval(0.5, "np")
    assert np.allclose(lower, np.quantile(images, 0.25, axis=0), atol=1e-9)
    assert np.allclose(upper, np.quantile(images, 0.75, axis=0), atol=1e-9)
    found = fills.deviation("np")[HOLE]
    assert fills.in_hole("np") == (found.mean(), found.max())


def test_the_variance_of_pairs_is_unbiased() -> None:
    """If this fails, antithetic fills claim more certainty, or less, than independent ones."""
    rng = np.random.default_rng(0)
    picture, everywhere = read_images(np.zeros((100, 100, 1), np.uint8))[0], np.ones((100, 100), bool)
    half = 0.5 + 0.1 * rng.standard_normal((4, 10_000, 1))
    pairs = np.stack([half, 1 - half], axis=1).reshape(8, 10_000, 1)
    deviation = Fills(picture, everywhere, pairs, 1, paired=True).deviation("pt")
    assert np.square(deviation).mean() == pytest.approx(0.01, rel=0.03)  # standard error 0.8 %
    assert np.square(Fills(picture, everywhere, pairs, 1).deviation("pt")).mean() > 0.011  # 8/7 of it
    odd = Fills(picture, everywhere, pairs[:5], 1, paired=True).deviation("pt")
    assert np.square(odd).mean() == pytest.approx(0.01, rel=0.03)


def test_deviations_are_those_of_a_temperature_of_one() -> None:
    """If this fails, fills that were drawn with half the noise claim half the uncertainty."""
    rng = np.random.default_rng(0)
    picture, everywhere = read_images(np.zeros((10, 10, 1), np.uint8))[0], np.ones((10, 10), bool)
    values = rng.uniform(0.4, 0.6, (6, 100, 1))
    mean = values.mean(axis=0)
    full, half = (
        Fills(picture, everywhere, values, 1),
        Fills(picture, everywhere, mean + (values - mean) / 2, 1, temperature=0.5),
    )
    assert np.array_equal(full.mean().output("np"), half.mean().output("np"))
    assert np.allclose(full.deviation("pt"), half.deviation("pt"), rtol=0, atol=1e-12)
    assert np.allclose(full.interval(0.9, "pt"), half.interval(0.9, "pt"), rtol=0, atol=1e-12)
    wide = Fills(picture, everywhere, values, 1, temperature=0.1).interval(1, "pt")
    assert wide[0].min() == 0  # a value is never below black
    assert wide[1].max() == 1


def test_one_pair_has_no_uncertainty() -> None:
    """If this fails, the deviation of a pair, which is opposite by design, passes for an uncertainty."""
    fills = Fills.from_images(list(results(2)), HOLE, paired=True)
    fills.mean()
    with pytest.raises(InputError, match=r"^uncertainty needs at least 2 antithetic pairs, .* Pass num_images"):
        fills.deviation("np")


def test_the_mean_is_rounded_once() -> None:
    """If this fails, the mean of unrounded fills is that of rounded ones: off by one grey value."""
    picture = read_images(np.zeros((1, 1, 1), np.uint8))[0]
    values = np.array([10.4, 10.4, 11.4]).reshape(3, 1, 1) / 255  # the mean is 10.73; truncated or rounded first, 10
    assert Fills(picture, np.ones((1, 1), bool), values, 1).mean().output("np").item() == 11


@pytest.mark.parametrize(("kind", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_units_are_those_of_the_output(kind: str, white: int) -> None:
    """If this fails, the uncertainty of a 16-bit or float image is in the units of another type."""
    images = (results(channels=1)[..., 0] / 255 * white).astype(kind)
    fills = Fills.from_images(list(images), HOLE)
    exact = images.astype(float).std(axis=0, ddof=1)
    assert np.allclose(fills.deviation("np"), exact, rtol=1e-6)
    assert np.allclose(fills.deviation("pt"), exact / white, rtol=1e-6)
    assert np.allclose(fills.deviation("pil"), exact / white * (65535 if kind == "uint16" else 255), rtol=1e-6)
    assert fills.interval(1, "np")[0].shape == (5, 7)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_known_pixels_of_every_mode(mode: str) -> None:
    """If this fails, a mean changes kept pixels, or has another mode than the results."""
    rgb = [Image.fromarray(image) for image in results(3)]
    if mode == "P":
        palette = rgb[0].quantize(64)
        images: list[Any] = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in rgb]
    elif mode == "I;16":
        images = [Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257) for image in rgb]
    else:
        images = [image.convert(mode) for image in rgb]
    fills = Fills.from_images(images, HOLE)
    mean = fills.mean().output("pil")
    assert mean.mode == mode
    assert np.array_equal(np.asarray(mean)[~HOLE], np.asarray(images[0])[~HOLE])
    assert (fills.deviation("pil")[~HOLE] == 0).all()
    lower, upper = fills.interval(0.9, "pil")
    known = np.asarray(images[0].convert("RGB")) if mode in ("P", "CMYK") else np.asarray(images[0])
    assert np.array_equal(lower[~HOLE], known[~HOLE])
    assert np.array_equal(upper[~HOLE], known[~HOLE])
    assert (lower <= upper).all()


def test_alpha_does_not_dilute_the_uncertainty() -> None:
    """If this fails, an image with an alpha channel, which is constant in the hole, looks more certain."""
    images = results()
    opaque = np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)
    plain, with_alpha = (Fills.from_images(list(each), HOLE).deviation("np") for each in (images, opaque))
    assert np.array_equal(plain, with_alpha)


def test_turned_photographs_are_upright() -> None:
    """If this fails, the uncertainty of a photograph with an EXIF orientation does not lie under its mask."""
    upright, exif = results(2), Image.Exif()
    exif[274] = 6  # stored turned by 90 degrees
    images = [Image.fromarray(image).transpose(Image.Transpose.ROTATE_90) for image in upright]
    for image in images:
        image.info["exif"] = exif.tobytes()
    fills = Fills.from_images(images, HOLE)
    assert np.allclose(fills.deviation("pil"), Fills.from_images(list(upright), HOLE).deviation("np"))
    assert fills.mean().output("pil").size == images[0].size[::-1]


def test_no_hole() -> None:
    """If this fails, an image without a hole in a batch ends in NaN or a warning."""
    images = results()[[0, 0]]
    fills = Fills.from_images(list(images), np.zeros((5, 7), bool))
    assert np.array_equal(fills.mean().output("np"), images[0])
    assert not fills.deviation("np").any()
    assert fills.in_hole("np") == (0, 0)


@pytest.mark.parametrize(
    ("images", "hole", "message"),
    [
        (results()[:1], HOLE, "images has 1 result, but a mean needs at least 2. Draw more with other seeds."),
        (
            [results()[0], results()[0][:4]],
            HOLE,
            "images has a 5 x 7 numpy image and a 4 x 7 numpy image, but results of one image have one size",
        ),
        (results(), HOLE[:4], r"hole is \(4, 7\) and the results are 5 x 7 \(height x width\): give a hole of the"),
    ],
)
def test_bad_input(images: Any, hole: NDArray[np.bool_], message: str) -> None:
    """If this fails, results of several images are averaged, or numpy's error about shapes reaches the user."""
    with pytest.raises(InputError, match=message):
        Fills.from_images(list(images), hole)


@pytest.mark.parametrize("coverage", [0, 1.5, float("nan")])
def test_coverage_out_of_range(coverage: float) -> None:
    """If this fails, a coverage in percent gives an interval of nothing."""
    with pytest.raises(InputError, match=r"coverage=.* must be in \(0, 1\]"):
        Fills.from_images(list(results()), HOLE).interval(coverage, "np")
