"""Writing image files: nothing is converted or lost."""

from __future__ import annotations

import re
from pathlib import Path

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
        ("RGB", "out.gif", r"GIF does not hold mode RGB, only L, P\. Use \.png"),
        ("HSV", "out.png", r"PNG does not hold mode HSV, .*\. Convert the image first"),
    ],
)
def test_formats_never_convert(tmp_path: Path, mode: str, name: str, message: str) -> None:
    """Alpha, depth or colours are dropped while saving."""
    with pytest.raises(InputError, match=message):
        encoding.write_image(Image.new(mode, (2, 2)), tmp_path / name)
    assert not list(tmp_path.iterdir())


def _held() -> list[tuple[str, str]]:
    return [
        (suffix, mode)
        for suffix, form in encoding._SUFFIXES.items()
        if form != "JPEG"
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
