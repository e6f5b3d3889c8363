"""Metadata survives in the formats that hold it, and what is left out is said."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from repaint.errors import InputError
from repaint.pictures import encoding
from repaint.pictures.images import read_images, save_image
from repaint.pictures.metadata import exif_orientation, without_thumbnail

PIXELS = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8))
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}" dc:rights="mine"/></x:xmpmeta>'


def exif_of(**more: int | str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription], exif[ExifTags.Base.Artist] = "what it shows", "who took it"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2020:01:01 00:00:00"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 0.0)}
    for name, value in more.items():
        exif[ExifTags.Base[name]] = value
    return exif


def described(path: Path) -> tuple[object, ...]:
    with Image.open(path) as image:
        image.load()
        exif = image.getexif()
        date = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        place = exif.get_ifd(ExifTags.IFD.GPSInfo).get(1)
        return exif.get(ExifTags.Base.ImageDescription), exif.get(ExifTags.Base.Artist), date, place


@pytest.mark.parametrize("source", ["in.tif", "in.png", "in.jpg", "in.webp", "in.avif"])
@pytest.mark.parametrize("target", ["out.tif", "out.png", "out.jpg", "out.webp", "out.avif"])
@pytest.mark.filterwarnings("ignore:.*(JPEG changes|AVIF changes|resolution)")
def test_exif_and_xmp_from_any_format_to_any(tmp_path: Path, source: str, target: str) -> None:
    """If this fails, date, place, author or rights of a photograph are lost by filling a hole."""
    Image.init()
    if "AVIF" not in Image.SAVE and ".avif" in source + target:
        pytest.skip("Pillow without AVIF")
    exif = exif_of()
    if source == "in.tif":
        exif[700] = XMP.format(1).encode()
    block = exif.tobytes()
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", XMP.format(1))
    more = {"in.png": {"pnginfo": chunks}, "in.tif": {}}.get(source, {"xmp": XMP.format(1).encode()})
    PIXELS.save(tmp_path / source, exif=block, **more)
    save_image(read_images(tmp_path / source)[0], tmp_path / target)
    assert described(tmp_path / target) == ("what it shows", "who took it", "2020:01:01 00:00:00", "N")
    with Image.open(tmp_path / target) as image:
        image.load()
        assert b"mine" in image.info["xmp"]


def test_private_tags_of_a_tiff_file(tmp_path: Path) -> None:
    """If this fails, a georeferenced image loses its position."""
    tags = Image.Exif()
    tags[33550], tags[33922], tags[34737] = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 13.4, 52.5, 0.0), "WGS 84|"
    PIXELS.save(tmp_path / "in.tif", exif=tags.tobytes(), compression="tiff_lzw")
    save_image(read_images(tmp_path / "in.tif")[0], tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as image:
        found = image.tag_v2
        assert tuple(found[33550]) == (0.5, 0.5, 0.0)
        assert tuple(found[33922])[3:5] == (13.4, 52.5)
        assert found[34737] == "WGS 84|"
        assert np.array_equal(np.asarray(image), np.asarray(PIXELS))


def test_text_and_gamma_of_a_png_file(tmp_path: Path) -> None:
    """If this fails, the prompt or workflow that made an image, or its brightness on screens, is lost."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", (50_000).to_bytes(4, "big"))
    chunks.add_text("parameters", "a cat, Steps: 20, Seed: 5")
    chunks.add_itxt("workflow", '{"näme": 1}', "de", "Ablauf")
    PIXELS.save(tmp_path / "in.png", pnginfo=chunks)
    picture = read_images(tmp_path / "in.png")[0]
    save_image(picture, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        image.load()
        assert image.text == {"parameters": "a cat, Steps: 20, Seed: 5", "workflow": '{"näme": 1}'}
        assert image.text["workflow"].lang == "de"
        assert image.info["gamma"] == pytest.approx(0.5)
    with pytest.warns(
        UserWarning, match=r"out\.tif: TIFF cannot hold gamma \(gAMA\), the text 'parameters', 'workflow'"
    ):
        save_image(picture, tmp_path / "out.tif")


@pytest.mark.filterwarnings("ignore:.*JPEG changes")
def test_comments_and_primaries(tmp_path: Path) -> None:
    """If this fails, the comment of a JPEG file or the primaries of a PNG file are lost, or text becomes a comment."""
    PIXELS.save(tmp_path / "in.jpg", comment=b"drawn by hand")
    picture = read_images(tmp_path / "in.jpg")[0]
    for name in ("out.jpg", "out.png"):
        save_image(picture, tmp_path / name)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.info["comment"] == b"drawn by hand"
    primaries = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"cHRM", struct.pack(">8I", *primaries))
    chunks.add_text("comment", "text of this name")
    PIXELS.convert("L").save(tmp_path / "in.png", pnginfo=chunks)
    with pytest.warns(UserWarning, match=r"GIF cannot hold chromaticity \(cHRM\), the text 'comment'"):
        save_image(read_images(tmp_path / "in.png")[0], tmp_path / "new.gif")
    save_image(read_images(tmp_path / "in.png")[0], tmp_path / "new.png")
    with Image.open(tmp_path / "out.png") as commented, Image.open(tmp_path / "new.png") as image:
        commented.load()
        image.load()
        assert commented.text == {"Comment": "drawn by hand"}
        assert image.info["chromaticity"] == pytest.approx([value / 100_000 for value in primaries])
        assert image.text == {"comment": "text of this name"}
    with Image.open(tmp_path / "new.gif") as image:
        assert not image.info.get("comment")


@pytest.mark.parametrize("dpi", [(96, 96), (72, 72), (300, 300), (72, 300)])
def test_a_resolution_is_named_unless_it_is_a_default(tmp_path: Path, dpi: tuple[int, int]) -> None:
    """If this fails, every image warns of a resolution that a program filled in, or a scanner's is lost silently."""
    image = PIXELS.copy()
    image.info["dpi"] = dpi
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        encoding.check_writable(tmp_path / "out.webp", image)
    assert [("the resolution (dpi)" in str(each.message)) for each in found] == [True] * (300 in dpi)


@pytest.mark.parametrize("name", ["out.png", "out.tif", "out.webp"])
def test_the_profile_of_a_heic_photograph(tmp_path: Path, name: str) -> None:
    """If this fails, every HEIC photograph with a profile gets a made-up text, or a warning that it was lost."""
    heif = pytest.importorskip("pillow_heif")  # in the extra dev, but without wheels for some systems
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    heif.from_pillow(Image.new("RGB", (16, 16), "red")).save(tmp_path / "in.heic", icc_profile=profile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_image(read_images(tmp_path / "in.heic")[0], tmp_path / name)
    with Image.open(tmp_path / name) as found:
        assert found.info["icc_profile"] == profile
        assert not [value for value in found.info.values() if value == "prof"]


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    """If this fails, the colour profile is dropped without a word, and the colours change."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PIXELS.save(tmp_path / "in.png", icc_profile=profile, exif=exif_of(Orientation=6))
    picture = read_images(tmp_path / "in.png")[0]
    with pytest.warns(UserWarning, match=r"out\.bmp: BMP cannot hold EXIF, the ICC colour profile of the image.*\.png"):
        save_image(picture, tmp_path / "out.bmp")
    with pytest.warns(UserWarning, match=r"out\.jpg: JPEG changes all pixels slightly\. Use \.png"):
        save_image(picture, tmp_path / "out.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_image(picture, tmp_path / "out.png")
        save_image(picture, tmp_path / "out.tif")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_of_xmp_alone_is_ignored(tmp_path: Path, suffix: str) -> None:
    """If this fails, a photograph is turned that browsers show as it is stored."""
    xmp, path = XMP.format(6).encode(), tmp_path / f"in{suffix}"
    tags = Image.Exif()
    tags[700] = xmp
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", xmp.decode())
    PIXELS.save(path, **{".png": {"pnginfo": chunks}, ".tif": {"exif": tags}}.get(suffix, {"xmp": xmp}))
    assert read_images(path)[0].size == (4, 6)


@pytest.mark.parametrize("big_endian", [False, True])
def test_upright_results_say_so_everywhere(big_endian: bool) -> None:
    """If this fails, a program turns an upright result a second time, by its EXIF or XMP."""
    exif = exif_of(Orientation=6)
    exif.endian = ">" if big_endian else "<"
    image = PIXELS.copy()
    image.info |= {"exif": exif.tobytes(), "xmp": XMP.format(6).encode()}
    assert exif_orientation(image) == 6
    result = read_images(image)[0].output("pil")
    assert result.size == (4, 6)
    assert ImageOps.exif_transpose(result).size == (4, 6)
    assert result.getexif()[ExifTags.Base.Orientation] == 1
    assert result.getexif()[ExifTags.Base.Artist] == "who took it"
    assert b'tiff:Orientation="1"' in result.info["xmp"]
    assert image.info["xmp"] == XMP.format(6).encode()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_exif_block_that_is_cut_short_turns_a_result_once() -> None:
    """If this fails, a result is turned a second time by an orientation that stands before the damage."""
    exif = exif_of(Orientation=6).tobytes()
    count = exif.index(b"MM") + 8 if b"MM" in exif else exif.index(b"II") + 9
    image = PIXELS.copy()
    image.info["exif"] = exif[:count] + b"\x01" + exif[count + 1 :]  # 256 entries more than there are
    assert exif_orientation(image) == 6
    result = read_images(image)[0].output("pil")
    assert ImageOps.exif_transpose(result).size == result.size == (4, 6)


def test_metadata_that_does_not_fit_is_refused_before_the_work(tmp_path: Path) -> None:
    """If this fails, the work is done and cannot be written."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    PIXELS.save(tmp_path / "in.png", exif=exif)
    image = read_images(tmp_path / "in.png")[0].output("pil")
    with pytest.raises(InputError, match=r"metadata of the image does not fit into JPEG \(EXIF data is too long\)"):
        encoding.check_writable(tmp_path / "out.jpg", image)
    encoding.check_writable(tmp_path / "out.tif", image)


@pytest.mark.parametrize(("name", "side"), [("o.webp", 16384), ("o.jpg", 65501), ("o.gif", 65536)])
def test_sizes_that_do_not_fit_are_refused_before_the_work(tmp_path: Path, name: str, side: int) -> None:
    """If this fails, a panorama is filled and cannot be written."""
    image = Image.new("L" if name == "o.gif" else "RGB", (side, 1))
    with pytest.raises(InputError, match=rf"the image has {side} x 1 pixels, and \w+ at most {side - 1} on a side"):
        encoding.check_writable(tmp_path / name, image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoding.check_writable(tmp_path / name, image.crop((0, 0, side - 1, 1)))
    encoding.write_image(image.crop((0, 0, side - 1, 1)), tmp_path / name)  # the limit is not too high


def test_a_finished_result_is_written_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a finished result is thrown away because its place is gone or its metadata does not fit."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    image = PIXELS.copy()
    image.info["exif"] = exif.tobytes()
    with pytest.warns(UserWarning, match=r"EXIF data is too long.* The result is in .*out\.png"):
        kept = encoding.keep_result(image, tmp_path / "out.jpg")
    with Image.open(kept) as again:
        assert np.array_equal(np.asarray(again), np.asarray(PIXELS))
    with pytest.warns(UserWarning, match=r"no folder .*gone.* The result is in other\.png"):
        assert encoding.keep_result(PIXELS, tmp_path / "gone" / "other.png") == Path("other.png")
    assert encoding.keep_result(PIXELS, tmp_path / "fine.png") == tmp_path / "fine.png"


def test_a_result_beside_its_place_replaces_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a result that does not fit into its format overwrites a file of the user."""
    for folder in ("here", "there", "temporary"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    long = PIXELS.copy()
    long.info["exif"] = exif_of(ImageDescription="x" * 70000).tobytes()
    for expected in ("there", "here", "temporary"):
        with pytest.warns(UserWarning, match=r"The result is in .*out\.png"):
            kept = encoding.keep_result(long, tmp_path / "there" / "out.jpg").resolve()
        assert kept == tmp_path / expected / "out.png"
        kept.write_bytes(b"mine")
    with pytest.raises(InputError, match="EXIF data is too long"):
        encoding.keep_result(long, tmp_path / "there" / "out.jpg")
    assert {path.read_bytes() for path in tmp_path.rglob("*.png")} == {b"mine"}


def with_thumbnail(picture: bytes, orientation: int) -> bytes:
    """An EXIF block with an orientation and a thumbnail."""
    order = "<"
    block = b"II*\0" + struct.pack(f"{order}I", 8)
    block += struct.pack(f"{order}HHHIHxxI", 1, 0x0112, 3, 1, orientation, 26)
    entries = struct.pack(f"{order}HHII", 0x0201, 4, 1, 56) + struct.pack(f"{order}HHII", 0x0202, 4, 1, len(picture))
    return b"Exif\0\0" + block + struct.pack(f"{order}H", 2) + entries + bytes(4) + picture


@pytest.mark.parametrize("orientation", [1, 6])
def test_thumbnails_do_not_show_what_was_repainted(orientation: int) -> None:
    """If this fails, the EXIF thumbnail of a result still shows the person who was removed from it."""
    image = Image.new("RGB", (4, 6))
    image.info["exif"] = with_thumbnail(b"SECRET", orientation)
    before = Image.Exif()
    before.load(image.info["exif"])
    assert before.get_ifd(ExifTags.IFD.IFD1)
    result = read_images(image)[0].output("pil")
    assert b"SECRET" not in result.info["exif"]
    assert len(result.info["exif"]) == len(image.info["exif"])
    after = Image.Exif()
    after.load(result.info["exif"])
    assert after[ExifTags.Base.Orientation] == 1
    assert not after.get_ifd(ExifTags.IFD.IFD1)
    assert b"SECRET" in image.info["exif"], "the caller's image changed"


@pytest.mark.parametrize("block", [b"Exif\0\0II*\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0garbage", b""])
def test_thumbnails_of_damaged_blocks(block: bytes) -> None:
    """If this fails, a damaged EXIF block ends in a traceback."""
    assert without_thumbnail(block) == block


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tif", "png"])
def test_turned_photographs_are_written_upright(tmp_path: Path, suffix: str) -> None:
    """If this fails, a photograph that is written as it was read lies on its side in formats without EXIF."""
    stored = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as photo:
        photo.load()
        save_image(photo, tmp_path / f"copy.{suffix}")
    with Image.open(tmp_path / f"copy.{suffix}") as copy:
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(copy).convert("L")), np.rot90(stored, -1))
