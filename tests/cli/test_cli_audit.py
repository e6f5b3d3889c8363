"""repaint audit: saved results, and sweeps over a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.shell import PHOTO, WHITE, Run, check_refused, contents, folder, run
from helpers.tiny_latents import tiny_sd
from PIL import Image

from repaint.errors import InputError
from repaint.lab.quality.audit_plot import audit_plot
from repaint.measure.audit import audit_files
from repaint.pictures.samples import glyphs

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture
def saved(folder: Path) -> Path:
    """The working folder with an exact result, one with a changed pixel, and results that cannot be compared."""
    filled = np.where(WHITE[..., None], 255 - PHOTO, PHOTO)
    Image.fromarray(filled).save("exact.png")
    filled[0, 0] = 255 - filled[0, 0]
    Image.fromarray(filled).save("changed.png")
    Image.fromarray(filled[:6]).save("half.png")
    Image.fromarray(PHOTO).quantize(8).save("palette.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion with random weights, as a folder."""
    place = tmp_path_factory.mktemp("model")
    tiny_sd(place / "tokens").save_pretrained(place / "sd")
    return place / "sd"


@pytest.mark.parametrize("plain", [[], ["file"]])
def test_an_exact_result(run: Run, saved: Path, plain: list[str]) -> None:
    """If this fails, the command does not report whether kept pixels changed."""
    done = run("audit", *plain, "exact.png", "photo.png", "mask.png")
    assert (done.status, done.out, done.err) == (0, "exact.png: none of 133 kept pixels changed.\n", "")
    assert run("audit", *plain, "exact.png", "photo.png", "keep.png", "--keep-mask").out == done.out


def test_a_changed_pixel(run: Run, saved: Path) -> None:
    """If this fails, the numbers of the command differ from those of the library."""
    done = run("audit", "changed.png", "photo.png", "mask.png", "--heatmap", "heat.png")
    change = np.abs(255 - 2.0 * PHOTO[0, 0])
    assert done.status == 0
    assert done.out.splitlines() == [
        "changed.png: 1 of 133 kept pixels changed (0.8%).",
        f"MSE {(change**2).sum() / 399:.4g}, largest change {change.max():g}.",
        "Mean change 0 at 1 pixel from the hole, 0 at 6.",
    ]
    assert Image.open("heat.png").format == "PNG"
    for name, most, status in (("exact.png", "0", 0), ("changed.png", "0", 1), ("changed.png", "255", 0)):
        assert run("audit", name, "photo.png", "mask.png", "--max-change", most).status == status
    data = json.loads(run("audit", "--json", "changed.png", "photo.png", "mask.png").out)
    found = audit_files("changed.png", "photo.png", "mask.png")
    assert data == {"result": "changed.png", "image": "photo.png", "mask": "mask.png"} | found.as_dict()
    assert found.profile[4] > 0, "the corner is 5 pixels from the hole: hypot(3, 4)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["half.png", "photo.png", "mask.png"], "The result has shape (6, 14, 3)"),
        (["rgba.png", "photo.png", "mask.png"], "rgba.png has PIL mode RGBA and photo.png RGB: values of two modes"),
        (["exact.png", "photo.png", "small.png"], "a mask is never resized"),
        (["exact.png", "none.png", "mask.png"], "No file none.png"),
        (["text.png", "photo.png", "mask.png"], "Cannot open text.png"),
        (["exact.png", "photo.png", "mask.png", "--heatmap", "heat.jpg"], "a plot is a .png, .svg or .pdf file"),
        (["exact.png", "photo.png", "mask.png", "--heatmap", "none/heat.png"], "no folder none"),
        (["exact.png", "photo.png"], "An argument is missing: repaint audit file RESULT IMAGE MASK"),
        (["strength", "--image", "rgba.png"], "rgba.png: PIL mode RGBA is not supported here. Convert it to RGB"),
        (["strength", "--prompt", "grining face"], "Did you mean 'grinning face'?"),
        (["strength", "--plot", "plot.jpg"], "a plot is a .png, .svg or .pdf file"),
        (["strength", "--fill", "inpant"], "--fill inpant must be one of inpaint, img2img, repaint. Did"),
        (["radius", "--values", "2"], "Invalid value for '--values'"),
        (["radius", "--prior", "textures"], "needs a Stable Diffusion 1.x or 2.x prior"),
    ],
)
def test_misuse(run: Run, saved: Path, arguments: list[str], message: str) -> None:
    """If this fails, files that cannot be compared give numbers or a traceback."""
    check_refused(run("audit", *arguments), saved, contents(saved), message)


def test_a_palette_is_compared_by_its_colours(saved: Path) -> None:
    """If this fails, equal palette indices with different colours are reported as equal."""
    image = Image.open("palette.png")
    assert audit_files("palette.png", "palette.png", "mask.png").max_change == 0
    other = image.copy()
    other.putpalette([255 - value for value in image.getpalette() or ()])
    other.save("other.png")
    assert np.array_equal(np.asarray(other), np.asarray(image))
    assert audit_files("other.png", "palette.png", "mask.png").changed > 0.9


def test_files_are_compared_as_displayed(saved: Path) -> None:
    """If this fails, a photograph with an EXIF rotation cannot be audited."""
    turned = Image.open("exact.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save("turned.png", exif=exif)
    assert audit_files("turned.png", "photo.png", "mask.png").max_change == 0


def test_a_mask_of_the_stored_pixels_is_turned_like_the_photograph(saved: Path) -> None:
    """If this fails, an audit refuses a mask with which the photograph was filled."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("photo", "exact"):
        Image.open(f"{name}.png").transpose(Image.Transpose.ROTATE_90).save(f"{name}-stored.png", exif=exif)
    Image.open("mask.png").transpose(Image.Transpose.ROTATE_90).save("mask-stored.png")
    assert audit_files("exact-stored.png", "photo-stored.png", "mask-stored.png").max_change == 0
    assert audit_files("exact.png", "photo-stored.png", "mask-stored.png").kept == 133


def test_the_threshold_of_a_mask(saved: Path) -> None:
    """If this fails, the artefacts of a JPEG mask count as part of the hole."""
    faint = np.where(WHITE, 200, 40).astype(np.uint8)
    Image.fromarray(faint).save("faint.png")
    assert audit_files("changed.png", "photo.png", "faint.png", threshold=0.5).kept == 133


def test_a_soft_pixel_may_change(saved: Path) -> None:
    """If this fails, a soft edge of the mask counts as damage."""
    soft = WHITE * np.uint8(255)
    soft[0, 0] = 1
    Image.fromarray(soft).save("soft.png")
    found = audit_files("changed.png", "photo.png", "soft.png")
    assert (found.kept, found.max_change) == (132, 0)


def test_sixteen_bit_colour_is_refused(saved: Path) -> None:
    """If this fails, a file with changes in its lower eight bits is reported as bit-equal."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = np.zeros((12, 1 + 14 * 6), np.uint8)  # a filter byte, then 16-bit RGB
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 14, 12, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels.tobytes())) + chunk(b"IEND", b"")
    Path("deep.png").write_bytes(data)
    with pytest.raises(InputError, match=r"deep\.png has 16-bit colour, of which PIL reads 8 bits"):
        audit_files("deep.png", "deep.png", "mask.png")


@pytest.mark.parametrize("what", ["strength", "radius"])
def test_sweeps(run: Run, folder: Path, model: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the commands do not run, or their text, plot and JSON differ."""
    drawn: list[list[str]] = []
    monkeypatch.setattr(
        "repaint.lab.quality.audit_plot.audit_plot",
        lambda rows, shown: drawn.append(list(shown)) or audit_plot(rows, shown),
    )
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save("photo.png")
    options: list[Any] = ["--image", "photo.png", "--prompt", "a", "--prior", model, "--schedule", "two.yaml"]
    options += ["--values", 3, *(["--strength", 0.5, "--strength", 1] if what == "radius" else ["--fill", "repaint"])]
    options += ["--fill", "inpaint"] if what == "strength" else []
    done = run("audit", what, *options, "--json", "--plot", "plot.png")
    assert done.status == 0
    data = json.loads(done.out)
    assert list(data) == ["repaint", "diffusers, inpaint"]
    ours, theirs = data.values()
    assert len(ours["rows"]) == len(theirs["rows"]) == {"strength": 3, "radius": 6}[what]
    assert all(row["max_change"] == row["changed"] == row["mse"] == 0 for row in ours["rows"])
    assert all(row["mse"] > 1 for row in theirs["rows"])
    places = [(row["strength"], row["radius"]) for row in theirs["rows"]]
    if what == "strength":
        assert places == [(1 / 3, None), (2 / 3, None), (1, None)]
        assert [trend["strength"] for trend in theirs["trends"]] == [None]
    else:
        assert places[:4] == [
            (0.5, pytest.approx(8 / 3)),
            (0.5, pytest.approx(16 / 3)),
            (0.5, 8),
            (1, pytest.approx(8 / 3)),
        ]
        assert [trend["strength"] for trend in theirs["trends"]] == [0.5, 1]
    assert ours["trends"][0]["r_squared"] is None
    assert theirs["trends"][0]["r_squared"] == pytest.approx(1), "a parabola goes through three points"
    assert Image.open("plot.png").width > 1000
    where = "strength 1" if what == "strength" else "strength 1, radius 5.33333"
    assert drawn == [[f"repaint\n{where}", f"diffusers, inpaint\n{where}"]]
    table = run("audit", what, *options).out
    assert f"{sum(row['mse'] for row in theirs['rows'][:3]) / 3:.4g}" in table


def test_the_hole_of_a_strength_sweep(run: Run, folder: Path, model: Path) -> None:
    """If this fails, --mask is not read, or read with the wrong polarity."""
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save("photo.png")
    mask = np.zeros((16, 16), bool)
    mask[:4] = True
    Image.fromarray(mask).save("mask.png")
    options = ["--image", "photo.png", "--mask", "mask.png", "--prompt", "a", "--prior", model, "--values", 3]
    done = run("audit", "strength", *options, "--schedule", "two.yaml", "--fill", "repaint", "--json")
    assert [row["hole"] for row in json.loads(done.out)["repaint"]["rows"]] == [0.25] * 3


@pytest.mark.parametrize("what", ["strength", "radius"])
def test_many_pictures(run: Run, folder: Path, model: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, pictures share a prompt, one is missing from rows or plot, or the worst are not those drawn."""
    drawn: list[Any] = []
    monkeypatch.setattr(
        "repaint.lab.quality.audit_plot.audit_plot",
        lambda rows, shown: drawn.append((rows, shown)) or audit_plot(rows, shown),
    )
    names = list(glyphs())
    options: list[Any] = ["--pictures", 3, "--prompt", names[-1], "--prior", model, "--schedule", "two.yaml"]
    options += ["--values", 3]
    options += ["--fill", "inpaint", "--json", "--plot", "plot.png"]
    options += ["--strength", 0.5] if what == "radius" else []
    done = run("audit", what, *options)
    assert done.status == 0, done
    data = json.loads(done.out)["diffusers, inpaint"]
    assert [row["picture"] for row in data["rows"]] == [name for name in (names[-1], *names[:2]) for _ in range(3)]
    assert len(data["trends"]) == 1
    worst = sorted((row["mse"] for row in data["rows"]), reverse=True)[:3]
    ((rows, shown),) = drawn
    assert list(rows["diffusers, inpaint"]) == [names[-1], *names[:2]]
    assert [found.mse for found in shown.values()] == worst
    assert Image.open("plot.png").height > Image.open("plot.png").width / 2


def test_images_may_be_repeated(run: Run, folder: Path, model: Path) -> None:
    """If this fails, only the last of several images is filled, or images of other sizes get a wrong mask."""
    for side in (16, 24):
        Image.fromarray(np.full((side, side, 3), side, np.uint8)).save(f"{side}.png")
    options: list[Any] = ["--image", "16.png", "--image", "24.png", "--prompt", "a", "--prior", model, "--values", 3]
    done = run("audit", "strength", *options, "--schedule", "two.yaml", "--fill", "repaint", "--json")
    assert [row["picture"] for row in json.loads(done.out)["repaint"]["rows"]] == ["16.png"] * 3 + ["24.png"] * 3
    done = run("audit", "strength", *options, "--pictures", 2)
    assert "--pictures 2 must be left out with --image" in done.err
    done = run("audit", "strength", "--pictures", 999)
    assert "--pictures 999 must be at most 280" in done.err
