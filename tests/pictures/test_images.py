"""Pictures: conversion in both directions, and kept pixels that are bit-equal to the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps
from torch import Tensor

from repaint.errors import InputError, NonFiniteError
from repaint.pictures.images import Picture, read_images, save_image

SIZES = [(1, 1), (1, 7), (6, 1), (5, 9), (257, 263)]
PIL_MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"]
NUMPY_DTYPES = ["bool", "uint8", "uint16", "float16", "float32", "float64"]
TORCH_DTYPES = [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def array(dtype: str, *shape: int, seed: int = 0) -> NDArray[Any]:
    """Random pixels over the whole range of a dtype, its ends included."""
    unit = np.random.default_rng(seed).random(shape)
    unit.flat[0] = 1
    white = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    return np.rint(unit).astype(bool) if dtype == "bool" else (unit * white).astype(dtype)


def pil(mode: str, height: int, width: int, seed: int = 0) -> Image.Image:
    """A random PIL image of a mode; the palette of P is half transparent."""
    values = noise(height, width, 4, seed=seed)
    wide = values[..., :2].copy().view("<u2")[..., 0]
    if mode == "P":
        image = Image.fromarray(values[..., 0] % 6)
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 250, 10, 10])
        image.info["transparency"] = 1
        return image
    if mode in ("I;16", "I"):
        return Image.fromarray(wide if mode == "I;16" else wide.astype(np.int32))
    if mode == "F":
        field = wide.astype(np.float32) / 257
        field.flat[0] = 255
        return Image.fromarray(field)
    pixels = {"1": values[..., 0] > 127, "L": values[..., 0].copy(), "CMYK": values}
    image = Image.fromarray(pixels.get(mode, values[..., : len(mode)].copy()))
    return Image.frombytes("CMYK", image.size, values.tobytes()) if mode == "CMYK" else image


def one(image: object) -> Picture:
    pictures = read_images(image)
    assert len(pictures) == 1
    return pictures[0]


COLOUR_MODES = ("P", "RGB", "RGBA", "CMYK")


def random_result(channels: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    """Model output with some overshoot, as priors give it."""
    return 2.4 * torch.rand(channels, *size, generator=torch.Generator().manual_seed(seed)) - 1.2


def keeps(height: int, width: int) -> dict[str, Tensor]:
    """All kept, all hole, one pixel of each, one-pixel stripes, noise."""
    ones = torch.ones(1, height, width)
    pixel, stripes, across = ones.clone(), ones.clone(), ones.clone()
    pixel[0, height // 2, width // 2] = 0
    stripes[0, ::2] = 0
    across[0, :, 1::2] = 0
    random = (torch.rand(1, height, width, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    return {
        "all": ones,
        "none": 0 * ones,
        "pixel": pixel,
        "lone": 1 - pixel,
        "rows": stripes,
        "columns": across,
        "noise": random,
    }


def assert_kept(before: NDArray[Any], after: NDArray[Any], keep: Tensor) -> None:
    mask = keep[0].numpy() == 1
    assert before.dtype == after.dtype
    assert before.shape == after.shape
    assert before[mask].tobytes() == after[mask].tobytes()


# Kept pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", PIL_MODES)
def test_pil_round_trip_keeps_every_kept_bit(mode: str, size: tuple[int, int]) -> None:
    """A kept pixel of a PIL image changes, or its mode, palette or size does."""
    image = pil(mode, *size)
    picture = one(image)
    assert image.mode == mode
    assert picture.size == size
    for keep in keeps(*size).values():
        result = random_result(3 if mode in COLOUR_MODES else 1, size)
        out = picture.compose(result, keep).output("pil")
        assert out.mode == mode
        assert out.size == image.size
        assert out.getpalette() == image.getpalette()
        assert_kept(np.asarray(image), np.asarray(out), keep)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (5, 9, 1), (5, 9, 2), (5, 9, 3), (5, 9, 4), (64, 33, 3)])
@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_numpy_round_trip_keeps_every_kept_bit(dtype: str, shape: tuple[int, ...]) -> None:
    """A kept pixel of an array changes, or its dtype or shape does; or the user's array is written to."""
    image = array(dtype, *shape)
    before = image.copy()
    image.flags.writeable = False
    picture = one(image)
    grey = len(shape) == 2 or shape[2] < 3
    for keep in keeps(*shape[:2]).values():
        out = picture.compose(random_result(1 if grey else 3, picture.size), keep).output("np")
        assert_kept(before, out, keep)
    out[:] = 0
    assert np.array_equal(image, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_tensor_round_trip_keeps_every_kept_bit(dtype: torch.dtype, channels: int) -> None:
    """A kept pixel of a tensor changes by a rounding on the way through [-1, 1]."""
    values = torch.rand(channels, 17, 13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = (values * 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)
    picture = one(image)
    for keep in keeps(17, 13).values():
        out = picture.compose(random_result(min(channels, 3), (17, 13)), keep).output("pt")
        expected = image.float() / 255 if dtype == torch.uint8 else image
        assert out.dtype == expected.dtype
        assert torch.equal(out[:, keep[0] == 1], expected[:, keep[0] == 1])
        assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("mode", PIL_MODES)
def test_nothing_depends_on_what_lies_under_the_hole(mode: str) -> None:
    """The result depends on the pixels (or the alpha) in the hole."""
    keep = keeps(8, 8)["noise"]
    first, second = np.array(pil(mode, 8, 8, seed=1)), np.array(pil(mode, 8, 8, seed=2))
    mask = keep[0].numpy() == 1
    second[mask] = first[mask]
    outs = []
    for pixels in (first, second):
        picture = one(pil(mode, 8, 8))
        picture = Picture(pixels, picture.kind, picture.like)
        outs.append(picture.compose(random_result(3 if mode in COLOUR_MODES else 1, (8, 8)), keep).output("np"))
    assert np.array_equal(*outs)
    assert not np.array_equal(first, second)


def test_everything_kept_is_the_same_picture() -> None:
    """A picture without a hole is changed, or refused because the unused result is NaN."""
    picture = one(array("float32", 4, 4, 3))
    assert picture.compose(torch.full((3, 4, 4), torch.nan), torch.ones(1, 4, 4)) is picture


def test_nan_matters_in_the_hole_alone() -> None:
    """NaN under kept pixels breaks a good result, or NaN in the hole becomes a colour."""
    picture, keep = one(noise(4, 4, 3)), keeps(4, 4)["rows"]
    result = torch.zeros(3, 4, 4)
    result[:, 1::2] = torch.nan
    assert_kept(picture.raw, picture.compose(result, keep).raw, keep)
    with pytest.raises(NonFiniteError, match=r"24 of 24 values in the hole are NaN or infinite\. .*float32"):
        picture.compose(result.flip(1), keep)


# Conversions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_every_integer_survives_the_model_range(dtype: str, precision: torch.dtype) -> None:
    """Integers pass through [-1, 1] and come back off by one (truncation instead of rounding)."""
    image = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(16, -1)
    picture = one(image)
    tensor = picture.tensor(1).to(precision)
    assert (tensor.min(), tensor.max()) == (-1, 1)
    assert np.array_equal(picture.compose(tensor, torch.zeros(1, *image.shape)).raw, image)


def test_values_are_rounded_to_nearest_and_clipped() -> None:
    """Results are truncated (darker by half a step) or wrap around at the ends."""
    result = torch.tensor([[[-1.3, 1.3, 0.0, 2 * 100.4 / 255 - 1, 2 * 100.6 / 255 - 1]]])
    out = one(np.zeros((1, 5), np.uint8)).compose(result, torch.zeros(1, 1, 5)).raw
    assert out.tolist() == [[0, 255, 128, 100, 101]]


def test_soft_edges_blend_in_float() -> None:
    """A soft edge jumps, or is blended after rounding: 100 and 201 at one half are 150.5, at one quarter 175.75."""
    keep = torch.tensor([[[1.0, 0.0, 0.25, 0.75]]])
    result = torch.full((1, 1, 4), 2 * 201 / 255 - 1, dtype=torch.float64)
    out = one(np.full((1, 4), 100, np.uint8)).compose(result, keep).raw
    assert out.tolist() == [[100, 201, 176, 125]]


def test_float64_pixels_reach_the_model_as_float64() -> None:
    """float64 input is rounded, or float16 input is computed in float16."""
    for dtype, expected in [
        ("float64", torch.float64),
        (">f8", torch.float64),
        ("float32", torch.float32),
        ("float16", torch.float32),
    ]:
        image = array(dtype, 2, 3, 3)
        tensor = one(image).tensor(3)
        assert tensor.dtype == expected
        assert torch.equal(tensor, torch.from_numpy(2 * image.astype(np.float64) - 1).permute(2, 0, 1).to(expected))


@pytest.mark.parametrize("mode", PIL_MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_model_sees_what_pil_shows(mode: str, channels: int) -> None:
    """The model sees other colours than a viewer: a wrong scale, palette indices as greys, alpha as a colour."""
    image = pil(mode, 4, 5)
    if mode in COLOUR_MODES and channels == 1:
        with pytest.raises(
            InputError, match=rf"4 x 5 PIL image of mode {mode} has 3 colour channels: .*convert\('L'\)"
        ):
            one(image).tensor(1)
        return
    shown = {"I;16": 65535, "I": 65535, "F": 255}
    if mode in shown:
        unit = np.repeat(np.asarray(image).astype(float)[..., None] / shown[mode], 3, axis=2)
    else:
        unit = np.asarray(image.convert("RGB")) / 255
    tensor = one(image).tensor(channels)
    assert tensor.shape == (channels, 4, 5)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, torch.from_numpy((2 * unit - 1)[..., :channels]).permute(2, 0, 1).float())


def test_colour_result_in_a_grey_picture_is_luma() -> None:
    """A grey picture filled by a colour prior takes one channel instead of PIL's Rec. 601 luma."""
    colours = noise(6, 7, 3)
    result = torch.from_numpy(colours / 255 * 2 - 1).permute(2, 0, 1)
    out = one(np.zeros((6, 7), np.uint8)).compose(result, torch.zeros(1, 6, 7)).raw
    # PIL computes luma in 16-bit fixed point: at most one step off the rounded exact value.
    assert np.abs(out.astype(int) - np.asarray(Image.fromarray(colours).convert("L"))).max() <= 1
    assert np.array_equal(out, np.rint(colours @ np.array([0.299, 0.587, 0.114])))


@pytest.mark.parametrize(
    ("image", "channels", "message"),
    [
        (
            np.zeros((3, 8, 8), np.uint8),
            3,
            r"A 3 x 8 numpy image has 8 channels, but the prior takes 1 to 4 .*tensors \(C, H, W\)",
        ),
        (torch.zeros(8, 8, 3), 3, r"A 8 x 3 tensor image has 8 channels, but the prior takes 1 to 4"),
        (np.zeros((8, 8, 3), np.uint8), 4, r"has 3 channels, but the prior takes exactly 4\."),
        (np.zeros((8, 8, 3), np.uint8), 1, r"has 3 colour channels: the prior takes 1 and colour is not dropped"),
    ],
)
def test_channels_that_do_not_fit(image: Any, channels: int, message: str) -> None:
    """Axes in the wrong order or a wrong number of channels reach the model."""
    with pytest.raises(InputError, match=message):
        one(image).tensor(channels)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_exactly_the_priors_channels_pass(channels: int) -> None:
    """Pictures for a prior with 2, 4 or 5 channels are refused, or the last channel is treated as alpha."""
    image = torch.rand(channels, 3, 4, generator=torch.Generator().manual_seed(0))
    picture = one(image)
    assert torch.allclose(picture.tensor(channels), 2 * image - 1)
    out = picture.compose(2 * image.flip(0) - 1, torch.zeros(1, 3, 4)).output("pt")
    assert torch.allclose(out, image.flip(0), atol=1e-6)  # float32 rounding of [-1, 1]: 2^-24 twice


# Alpha and palettes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_holes_become_opaque_and_kept_alpha_stays(mode: str) -> None:
    """A transparent hole stays invisible after it was filled, or kept pixels lose their alpha."""
    image, keep = pil(mode, 6, 6), keeps(6, 6)["rows"]
    keep[0, 1, 0] = 0.5
    out = np.asarray(one(image).compose(torch.zeros(3, 6, 6), keep).output("pil"))
    alpha = np.asarray(image)[..., -1]
    assert (out[0::2, :, -1] == 255).all()
    assert out[1, 0, -1] == round(alpha[1, 0] / 2 + 127.5)
    assert np.array_equal(out[3::2, :, -1], alpha[3::2])


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255, 254, 255, 255])])
def test_palette_holes_take_the_nearest_opaque_colour(transparency: int | bytes) -> None:
    """A hole in a palette picture is filled with the transparent entry, although red is nearest to it."""
    image = pil("P", 2, 2)
    image.info["transparency"] = transparency
    colours = torch.tensor([[255, 0, 0], [240, 240, 250], [10, 0, 20], [0, 200, 0]]) / 127.5 - 1
    picture = one(image).compose(colours.T.reshape(3, 2, 2), torch.zeros(1, 2, 2))
    assert picture.output("np").tolist() == [[5, 4], [0, 2]]
    assert picture.output("pil").info["transparency"] == transparency


def test_palette_of_one_colour_without_entries() -> None:
    """A palette picture without a palette causes a traceback."""
    assert one(Image.new("P", (2, 2))).compose(torch.zeros(3, 2, 2), torch.zeros(1, 2, 2)).output("pil").mode == "P"


@pytest.mark.parametrize(
    ("mode", "key"), [("L", 128), ("RGB", (128, 128, 128)), ("RGB", (128, 128, 255)), ("I;16", 32768)]
)
def test_transparent_colour_key_is_avoided(mode: str, key: Any) -> None:
    """A hole pixel with the transparent colour of a PNG becomes transparent."""
    image = Image.new(mode, (2, 1))
    image.info["transparency"] = key
    wanted = np.ravel(key) / (65535 if mode == "I;16" else 255) * 2 - 1
    result = torch.tensor(wanted)[:, None, None].expand(-1, 1, 2)
    out = one(image).compose(result, torch.zeros(1, 1, 2)).output("np").reshape(2, -1).astype(int)
    assert np.abs(out - np.ravel(key)).sum(axis=1).tolist() == [1, 1]


# Orientation, metadata, files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_exif_orientation_there_and_back(tmp_path: Path, orientation: int, suffix: str) -> None:
    """A turned photograph is filled at the wrong place, or is turned twice."""
    stored = Image.fromarray(noise(3, 5, 3))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Artist] = "somebody"
    stored.save(tmp_path / f"in{suffix}", exif=exif, **({"lossless": True} if suffix == ".webp" else {}))
    with Image.open(tmp_path / f"in{suffix}") as opened:
        shown = np.asarray(ImageOps.exif_transpose(opened))
    picture = one(tmp_path / f"in{suffix}")
    assert np.array_equal(picture.raw, shown)
    assert picture.size == shown.shape[:2]

    keep = torch.ones(1, *picture.size)
    keep[0, 0, 1] = 0
    out = picture.compose(torch.ones(3, *picture.size), keep)
    save_image(out, tmp_path / f"out{suffix}")
    expected = shown.copy()
    expected[0, 1] = 255
    result = out.output("pil")
    result.save(tmp_path / f"plain{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    result.save(tmp_path / "plain.bmp")
    for name in (f"out{suffix}", f"plain{suffix}", "plain.bmp"):
        with Image.open(tmp_path / name) as again:
            assert np.array_equal(np.asarray(ImageOps.exif_transpose(again)), expected), name
    with Image.open(tmp_path / f"out{suffix}") as again:
        assert again.getexif()[ExifTags.Base.Artist] == "somebody"
    assert result.getexif()[ExifTags.Base.Artist] == "somebody"


def test_profile_and_resolution_are_kept(tmp_path: Path) -> None:
    """Colours shift after saving because the ICC profile is gone."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pil("RGB", 4, 4).save(tmp_path / "in.png", icc_profile=profile, dpi=(300, 300))
    picture = one(str(tmp_path / "in.png"))
    for name in ("out.png", "out.jpg", "out.tif", "out.webp"):
        save_image(picture, tmp_path / name)
        with Image.open(tmp_path / name) as again:
            assert again.info["icc_profile"] == profile
            if name != "out.webp":
                assert tuple(map(round, again.info["dpi"])) == (300, 300)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_files_round_trip(tmp_path: Path, mode: str) -> None:
    """Opening and saving a file without any hole changes it."""
    image = pil(mode, 9, 11)
    image.save(tmp_path / "in.png")
    save_image(one(tmp_path / "in.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as again:
        assert again.mode == mode
        assert np.array_equal(np.asarray(again), np.asarray(image))
        assert again.info.get("transparency") == image.info.get("transparency")


def test_save_image_refuses_to_drop_alpha(tmp_path: Path) -> None:
    """Alpha is lost in a .jpg without an error."""
    with pytest.raises(InputError, match=r"JPEG does not hold mode RGBA"):
        save_image(one(pil("RGBA", 2, 2)), tmp_path / "out.jpg")
    save_image(pil("RGBA", 2, 2), tmp_path / "out.png")


# Outputs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (array("uint8", 3, 4), "L"),
        (array("uint8", 3, 4, 1), "L"),
        (array("uint8", 3, 4, 2), "LA"),
        (array("uint8", 3, 4, 3), "RGB"),
        (array("uint8", 3, 4, 4), "RGBA"),
        (array("uint16", 3, 4), "I;16"),
        (array("uint16", 3, 4).astype(">u2"), "I;16"),
        (array("uint16", 3, 4, 3), "RGB"),
        (array("bool", 3, 4), "1"),
        (array("bool", 3, 4, 3), "RGB"),
        (array("float32", 3, 4), "L"),
        (torch.from_numpy(array("float64", 3, 4, 5)), "RGB"),
    ],
)
def test_arrays_as_pil(image: Any, mode: str) -> None:
    """An array comes out as a PIL image of another mode or with truncated values."""
    out = one(image).output("pil")
    assert out.mode == mode
    values = np.moveaxis(image.numpy(), 0, 2) if isinstance(image, Tensor) else image
    if mode in ("I;16", "1") or values.dtype == np.uint8:
        assert np.array_equal(np.asarray(out), values.reshape(np.asarray(out).shape))
    else:
        white = 65535 if values.dtype == np.uint16 else 1
        assert np.array_equal(np.asarray(out), np.rint(values.astype(float) / white * 255))


@pytest.mark.parametrize("mode", PIL_MODES)
def test_pt_of_pil_is_the_unit_picture(mode: str) -> None:
    """Tensors of a PIL image are on another scale than [0, 1]."""
    image = pil(mode, 3, 4)
    tensor = one(image).output("pt")
    assert tensor.dtype == torch.float32
    shape = {"LA": 2, "RGBA": 4}.get(mode, 3 if mode in ("P", "RGB", "CMYK") else 1)
    assert tensor.shape == (shape, 3, 4)
    if shape in (1, 3):
        assert torch.allclose(2 * tensor - 1, one(image).tensor(shape), atol=1e-6)  # two roundings of 2^-24


def test_big_endian_arrays() -> None:
    """Arrays from TIFF and FITS readers, which are big-endian, crash in torch."""
    for dtype in (">u2", ">f4"):
        image = array("float32", 3, 4) if dtype == ">f4" else array("uint16", 3, 4)
        picture = one(image.astype(dtype))
        assert torch.equal(picture.output("pt"), one(image).output("pt"))
        assert picture.compose(torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)).output("np").dtype == np.dtype(dtype)


def test_unknown_output_type() -> None:
    """A typo in output_type returns something else."""
    with pytest.raises(InputError, match=r"output_type='pill' must be one of pil, np, pt\. Did you mean 'pil'\?"):
        one(noise(2, 2)).output("pill")
    with pytest.raises(
        InputError, match=r"A 2 x 2 numpy image has 5 channels, but PIL supports 1 to 4\. Use output_type"
    ):
        one(noise(2, 2, 5)).output("pil")


# Reading -------------------------------------------------------------------------------------------------------------


def test_batches_and_lists(tmp_path: Path) -> None:
    """Batches are read in another order or number."""
    pil("L", 3, 4).save(tmp_path / "a.png")
    batch = noise(2, 3, 4, 3)
    pictures = read_images(
        [tmp_path / "a.png", str(tmp_path / "a.png"), pil("RGB", 5, 6), batch, torch.rand(3, 3, 7, 8)]
    )
    assert [picture.kind for picture in pictures] == ["pil"] * 3 + ["numpy"] * 2 + ["tensor"] * 3
    assert [picture.size for picture in pictures] == [(3, 4)] * 2 + [(5, 6)] + [(3, 4)] * 2 + [(7, 8)] * 3
    assert np.array_equal(pictures[4].output("np"), batch[1])
    assert len(read_images((batch[0], batch[1]))) == 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([], r"No image in list\. Pass an image"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"No image in ndarray"),
        (torch.zeros(0, 3, 4, 4), r"No image in Tensor"),
        (5, r"Image is a int: allowed are a path, a PIL image, a numpy array, a tensor, or a list"),
        ([[np.zeros((2, 2))]], r"Image is a list: allowed are"),
        (np.zeros((2, 2), np.int64), r"Image array has dtype int64: allowed are bool, uint8, uint16, float16"),
        (np.zeros((2, 2), complex), r"Image array has dtype complex128"),
        (np.zeros(2), r"Image array has shape \(2,\): it must be \(H, W\), \(H, W, C\) or \(B, H, W, C\)"),
        (np.zeros((2, 0, 3)), r"Image array has shape \(2, 0, 3\): .*not empty"),
        (torch.zeros(2, 2), r"Image tensor has shape \(2, 2\): .*Add a channel axis with x\[None\]"),
        (torch.zeros(3, 0, 2), r"Image tensor has shape \(3, 0, 2\): .*not empty"),
        (
            torch.zeros(3, 2, 2, dtype=torch.int64),
            r"Image tensor has dtype torch\.int64: it must be float in \[0, 1\] or uint8",
        ),
        (torch.full((3, 2, 2), -1.0), r"Image tensor has values from -1\.0 to -1\.0: .*\(x \+ 1\) / 2"),
        (np.full((2, 2), 255.0), r"Image array has values from 255\.0 to 255\.0: .*x / 255"),
        (np.full((2, 2), np.nan), r"Image array has 4 NaN or infinite values"),
        (
            Image.fromarray(np.full((2, 2), -1, np.int32)),
            r"Image has values from -1 to -1: they must lie in \[0, 65535\]",
        ),
        (Image.fromarray(np.full((2, 2), 0.5, np.float32)), r"Image has float values up to 0\.5 where white is 255"),
        (Image.new("LAB", (2, 2)), r"Image has PIL mode LAB: allowed are 1, L, LA, P"),
    ],
)
def test_what_is_refused(image: Any, message: str) -> None:
    """Input that cannot be read exactly is guessed at, or ends in a traceback."""
    with pytest.raises(InputError, match=message):
        read_images(image)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 24), st.integers(1, 24), st.sampled_from(NUMPY_DTYPES), st.sampled_from([0, 1, 3, 4]), st.data())
def test_composing_is_exact_for_any_array(
    height: int, width: int, dtype: str, channels: int, data: st.DataObject
) -> None:
    """A combination of size, dtype and mask changes a kept pixel, or leaves a hole unfilled."""
    image = array(dtype, height, width, *([channels] if channels else []), seed=height)
    soft = data.draw(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=height * width, max_size=height * width))
    keep = torch.tensor(soft).reshape(1, height, width)
    out = one(image).compose(torch.ones(3 if channels > 1 else 1, height, width), keep).raw
    assert_kept(image, out, keep)
    assert (out[keep[0].numpy() == 0] == {"uint8": 255, "uint16": 65535}.get(dtype, 1)).all()
