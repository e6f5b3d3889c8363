"""Writing image files: nothing is converted or lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repaint.errors import InputError
from repaint.pictures import decoding, encoding


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/folder/out.png", r"Cannot write .*out\.png: no folder .*folder\. Create it first\."),
        ("folder.png", r"Cannot write .*folder\.png: it is a folder\. Use a file name inside it\."),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, path: str, message: str) -> None:
    """A result is lost with a traceback because the path cannot be written."""
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=message):
        encoding.write_image(Image.new("L", (2, 2)), tmp_path / path)


@pytest.mark.parametrize(
    ("mode", "name", "message"),
    [
        ("L", "out", r"the suffix must be one of \.png, .*\.gif\. Rename it"),
        ("L", "out.docx", r"Cannot write .*out\.docx: the suffix must be one of"),
        ("RGBA", "out.jpg", r"JPEG does not hold mode RGBA, only L, RGB, CMYK\. Use \.png, or convert the image first"),
        ("I;16", "out.webp", r"WEBP does not hold mode I;16, only RGB, RGBA\. Use \.png"),
        ("L", "out.avif", r"AVIF does not hold mode L, only RGB, RGBA\. Use \.png"),
        ("RGB", "out.gif", r"GIF does not hold mode RGB, only L, P\. Use \.png"),
        ("HSV", "out.png", r"PNG does not hold mode HSV, .*\. Convert the image first"),
    ],
)
def test_formats_never_convert(tmp_path: Path, mode: str, name: str, message: str) -> None:
    """Alpha, depth or colours are dropped while saving."""
    with pytest.raises(InputError, match=message):
        encoding.write_image(Image.new(mode, (2, 2)), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["results", "results.png", "results/"])
def test_an_existing_folder_is_named_whatever_its_suffix(tmp_path: Path, path: str) -> None:
    """People who pass a folder for one result are sent to the suffix of its name."""
    (tmp_path / path).mkdir()
    for check in (encoding.check_writable, lambda place, image: encoding.write_image(image, place)):
        with pytest.raises(InputError, match=r"Cannot write .*results.*: it is a folder\. Use a file name inside it"):
            check(tmp_path / path, Image.new("L", (2, 2)))


@pytest.mark.parametrize("suffix", list(encoding._SUFFIXES))
@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16", "P", "several"])
@pytest.mark.filterwarnings("ignore:.*changes all pixels")
def test_transparency_without_alpha_is_held_or_refused(tmp_path: Path, mode: str, suffix: str) -> None:
    """A transparent colour or palette entry becomes opaque in the saved file, without a word."""
    values = np.random.default_rng(0).integers(0, 2, (8, 8), dtype=np.uint8)
    grey = Image.fromarray(values * 200)
    keys: dict[str, Any] = {"1": 255, "L": 200, "RGB": (200,) * 3, "I;16": 200, "P": 1, "several": bytes([128, 0])}
    image = Image.fromarray(values.astype(np.uint16) * 200) if mode == "I;16" else grey
    if mode in ("P", "several"):
        image = Image.fromarray(values)
        image.putpalette([0, 0, 0, 250, 0, 0])
    elif mode in ("1", "RGB"):
        image = grey.convert(mode)
    image.info["transparency"] = keys[mode]
    out = tmp_path / f"out{suffix}"
    try:
        encoding.check_writable(out, image)
    except InputError:
        with pytest.raises(InputError, match=r"does not hold (mode|the transparency of this image of mode) "):
            encoding.write_image(image, out)
        assert not list(tmp_path.iterdir())
        return
    encoding.write_image(image, out)
    found = decoding.open_image(out)
    if mode == "I;16":  # PIL ignores such a key when it converts
        assert found.info["transparency"] == keys[mode]
        return
    assert np.array_equal(*(np.asarray(each.convert("RGBA"))[..., 3] for each in (found, image)))


def _held() -> list[tuple[str, str]]:
    return [
        (suffix, mode)
        for suffix, form in encoding._SUFFIXES.items()
        if form not in ("JPEG", "AVIF")
        for mode in encoding._FORMATS[form]
    ]


@pytest.mark.parametrize(("suffix", "mode"), _held())
def test_lossless_formats_hold_what_they_promise(tmp_path: Path, suffix: str, mode: str) -> None:
    """A format of the table changes pixels, so that kept pixels differ on disk."""
    values = np.random.default_rng(1).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode in ("I;16", "I"):
        image = Image.fromarray(values[..., :2].copy().view("<u2")[..., 0].astype("<u2" if mode == "I;16" else "<i4"))
    elif mode == "LA":
        image = Image.fromarray(values[..., :2].copy())
    else:
        image = image.convert("RGB").convert(mode) if mode != "RGBA" else image
    assert image.mode == mode
    encoding.write_image(image, tmp_path / f"out{suffix}")
    again = decoding.open_image(tmp_path / f"out{suffix}")
    shown = "RGB" if mode == "P" or suffix == ".gif" else mode
    assert np.array_equal(np.asarray(again.convert(shown)), np.asarray(image.convert(shown)))
    assert re.fullmatch(rf"{mode}|P", again.mode)


@pytest.mark.parametrize(("mode", "suffix"), [("RGB", ".png"), ("RGBA", ".png"), ("CMYK", ".tif")])
@pytest.mark.parametrize("name", ["out.jpg", "out.avif"])
def test_lossy_formats_name_one_that_is_exact(tmp_path: Path, name: str, mode: str, suffix: str) -> None:
    """A lossy result is written without a word, or the format that is advised does not hold the image."""
    image = Image.new("RGB", (8, 8), (10, 200, 90)).convert(mode)
    if mode not in encoding._FORMATS[encoding._format(name)]:
        pytest.skip("refused, as test_formats_never_convert tests")
    with pytest.warns(UserWarning, match=rf"changes all pixels slightly\. Use \{suffix} to keep them bit-equal"):
        encoding.check_writable(tmp_path / name, image)
    encoding.check_writable(tmp_path / f"out{suffix}", image)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avif_stays_within_its_conversion(tmp_path: Path, mode: str) -> None:
    """AVIF files get the quality of thumbnails, or their opacity changes.

    The conversion to 8-bit YCbCr and back errs by at most 3 of 255.
    """
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("Pillow without AVIF")
    values = np.random.default_rng(1).integers(0, 256, (40, 50, len(mode)), dtype=np.uint8)
    encoding.write_image(Image.fromarray(values), tmp_path / "out.avif")
    found = decoding.open_image(tmp_path / "out.avif")
    assert found.mode == mode
    error = np.abs(np.asarray(found).astype(int) - values)
    assert error[..., :3].max() <= 3
    assert error[..., 3:].max(initial=0) == 0


def test_jpeg_files_keep_detail_and_colour(tmp_path: Path) -> None:
    """If this fails, JPEG files get the quality of thumbnails, or the colours of neighbours are mixed."""
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255
    for values, most in ((noise, 2), (stripes, 4)):  # quality 75 changes noise by 7, and half the colours change by 30
        encoding.write_image(Image.fromarray(values), tmp_path / "out.jpg")
        with Image.open(tmp_path / "out.jpg") as found:
            assert np.abs(np.asarray(found).astype(int) - values).mean() < most


def test_pillow_without_avif_is_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Pillow fails with a KeyError after the work."""
    Image.init()
    monkeypatch.delitem(Image.SAVE, "AVIF", raising=False)
    with pytest.raises(InputError, match=r"out\.avif: this version of Pillow has no AVIF\. Update it, or use \.png"):
        encoding.check_writable(tmp_path / "out.avif", Image.new("RGB", (2, 2)))
