"""Opening image files, turning them upright and checking pixel values."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, features

from repaint.errors import InputError
from repaint.pictures import decoding
from repaint.pictures.images import read_images, save_image
from repaint.pictures.masks import read_keep
from repaint.pictures.metadata import exif_orientation


def _write(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


def test_missing_file(tmp_path: Path) -> None:
    """A wrong path gives a bare FileNotFoundError instead of one clear line."""
    with pytest.raises(InputError, match=r"^No file .*nothing\.png\. Check the path \(the current folder is "):
        decoding.open_image(tmp_path / "nothing.png")


@pytest.mark.parametrize("content", [b"", b"this is text", b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    """A text or empty file with an image's suffix gives a decoder's traceback."""
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"Cannot (open|decode) .*text\.png: .*\. (Give an image file|The file is)"):
        decoding.open_image(path)


def test_a_folder_is_not_an_image(tmp_path: Path) -> None:
    """A folder in place of a file gives an IsADirectoryError."""
    with pytest.raises(InputError, match=r"Cannot open .*: .*Give an image file that PIL can read\."):
        decoding.open_image(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_truncated_file(tmp_path: Path, suffix: str) -> None:
    """Half a file is repainted with a grey rest, or gives a decoder's traceback."""
    path = _write(tmp_path / f"half{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"Cannot (open|decode) .*half"):
        decoding.open_image(path)


@pytest.mark.parametrize("limit", [60 * 40, 20 * 20])
def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """PIL's guard passes as a mere warning (up to twice the limit), or as a traceback (above)."""
    path = _write(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    before = list(warnings.filters)
    with pytest.raises(InputError, match=rf"more than {limit} pixels.*raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        decoding.open_image(path)
    assert warnings.filters == before


def test_animated_file(tmp_path: Path) -> None:
    """Only the first frame of an animation is repainted, without an error."""
    frames = [Image.new("L", (4, 4), value) for value in (0, 128, 255)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"moving\.gif has 3 frames: .*image\.seek\(index\) and pass image\.copy\(\)"):
        decoding.open_image(tmp_path / "moving.gif")
    with Image.open(tmp_path / "moving.gif") as image:
        image.seek(1)
        assert decoding.load_image(image.copy(), "frame").size == (4, 4)


def test_phone_photo_is_one_picture(tmp_path: Path) -> None:
    """A phone's MPO photograph, whose second frame is a depth map, is refused as an animation."""
    photo = Image.new("RGB", (16, 16), "red")
    photo.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))])
    with Image.open(tmp_path / "phone.jpg") as image:
        assert image.format == "MPO"
        assert getattr(image, "n_frames", 1) == 2
    assert decoding.open_image(tmp_path / "phone.jpg").getpixel((0, 0)) == (254, 0, 0)


def test_mode_that_cannot_be_restored() -> None:
    """An image of a mode that cannot be restored (HSV, LAB) comes out in another mode."""
    with pytest.raises(
        InputError, match=r"Image has PIL mode HSV: allowed are 1, L, LA, P, RGB, RGBA, CMYK, I;16, I, F\."
    ):
        decoding.load_image(Image.new("HSV", (2, 2)), "Image")


def test_empty_image() -> None:
    """An image without pixels reaches the model."""
    with pytest.raises(InputError, match=r"Image has no pixels \(0 x 3\)\."):
        decoding.load_image(Image.new("L", (0, 3)), "Image")


def test_sixteen_bit_colour_is_not_halved_silently(tmp_path: Path) -> None:
    """PIL's silent reduction of 16-bit colour to 8 goes unnoticed; or ordinary 8-bit files warn."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" + b"\x12\x34" * 3)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.warns(UserWarning, match=r"deep\.png has 16-bit colour, of which PIL reads 8 bits\. Pass a uint16"):
        decoding.open_image(tmp_path / "deep.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoding.open_image(_write(tmp_path / "plain.png"))


@pytest.mark.skipif(not features.check("avif"), reason="PIL was built without AVIF")
@pytest.mark.parametrize(("flags", "bits"), [(0x40, 10), (0x60, 12)])
def test_ten_bits_of_avif(tmp_path: Path, flags: int, bits: int) -> None:
    """PIL's silent reduction of AVIF colour to 8 bits goes unnoticed; or ordinary AVIF files warn."""
    path = tmp_path / "hdr.avif"
    Image.new("RGB", (32, 32), "red").save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoding.open_image(path)
    data = bytearray(path.read_bytes())  # no encoder of 10 bits is at hand: the header alone says so
    data[data.find(b"av1C") + 6] |= flags
    depths = data.find(b"pixi") + 9
    data[depths : depths + 3] = bytes([bits]) * 3
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=rf"hdr\.avif has {bits}-bit colour, of which PIL reads 8 bits\."):
        decoding.open_image(path)


def test_ten_bits_of_heic(tmp_path: Path) -> None:
    """The silent reduction of HEIC colour to 8 bits goes unnoticed; or ordinary HEIC files warn."""
    heif = pytest.importorskip("pillow_heif")  # in the extra dev, but without wheels for some systems
    path = tmp_path / "hdr.heic"
    heif.from_bytes("RGB;16", (64, 64), bytes(64 * 64 * 6)).save(path)
    with pytest.warns(UserWarning, match=r"hdr\.heic has 10-bit colour, of which PIL reads 8 bits\."):
        decoding.open_image(path)
    heif.from_pillow(Image.new("RGB", (64, 64))).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoding.open_image(path)


def test_sixteen_bits_in_the_other_byte_order(tmp_path: Path) -> None:
    """If this fails, a grey 16-bit TIFF file in Motorola's byte order is refused, or loses its values or tags."""
    values = np.random.default_rng(0).integers(0, 2**16, (12, 14)).astype(np.uint16)
    other, tags = Image.frombytes("I;16B", (14, 12), values.astype(">u2").tobytes()), Image.Exif()
    tags[ExifTags.Base.ImageDescription] = "words"
    other.save(tmp_path / "scan.tif", exif=tags)
    assert (tmp_path / "scan.tif").read_bytes().startswith(b"MM")
    opened = decoding.open_image(tmp_path / "scan.tif")
    assert opened.mode == "I;16"
    assert np.array_equal(opened, values)
    (live,) = read_images(Image.open(tmp_path / "scan.tif"))
    assert np.array_equal(live.raw, values)
    save_image(opened, tmp_path / "again.tif")
    again = Image.open(tmp_path / "again.tif")
    assert again.getexif()[ExifTags.Base.ImageDescription] == "words"
    assert np.array_equal(again, values)
    hole = values > 2**15
    Image.frombytes("I;16B", (14, 12), (hole * 65535).astype(">u2").tobytes()).save(tmp_path / "mask.tif")
    (keep,) = read_keep(tmp_path / "mask.tif", sizes=[(12, 14)])
    assert np.array_equal(keep[0] == 0, hole)


@pytest.mark.parametrize("block", [b"Exif\0\0garbage", b"", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"\0" * 50])
def test_damaged_exif_is_upright(block: bytes) -> None:
    """A photograph with a damaged EXIF block, which every viewer shows, cannot be read."""
    image = Image.new("L", (3, 2))
    image.info["exif"] = block
    assert exif_orientation(image) == 1
    assert decoding.upright(image).size == (3, 2)


@pytest.mark.parametrize(
    ("values", "white", "message"),
    [
        (
            [-1.0, 0.5],
            1,
            r"X has values from -1\.0 to 0\.5: they must lie in \[0, 1\]\. Map \[-1, 1\] with \(x \+ 1\) / 2",
        ),
        ([0.0, 255.0], 1, r"from 0\.0 to 255\.0: they must lie in \[0, 1\]\. Map \[0, 255\] with x / 255"),
        ([-3.0, 900.0], 1, r"from -3\.0 to 900\.0: .*Scale or clip the values to \[0, 1\]"),
        ([-1, 70000], 65535, r"from -1 to 70000: they must lie in \[0, 65535\]"),
        ([0.0, float("nan")], 1, r"X has 1 NaN or infinite values \(the others from 0\.0 to 0\.0\)\. Replace them"),
        ([0.0, float("inf")], 1, r"X has 1 NaN or infinite values \(the others from 0\.0 to 0\.0\)"),
        (
            [0.0, 1.0],
            255,
            r"X has float values up to 1\.0 where white is 255, which is nearly black\. Multiply it by 255",
        ),
    ],
)
def test_range_errors(values: list[float], white: int, message: str) -> None:
    """Values of another convention are clipped or misread instead of refused with the conversion."""
    with pytest.raises(InputError, match=message):
        decoding.check_range(np.array(values), white, "X")


def test_bfloat16_to_numpy_is_exact() -> None:
    """bfloat16 pixels cannot be read, or change on the way."""
    tensor = torch.tensor([0.1, 0.7, 1.0], dtype=torch.bfloat16, requires_grad=True)
    assert (torch.from_numpy(decoding.to_numpy(tensor)).to(torch.bfloat16) == tensor).all()


@pytest.mark.parametrize(
    ("most", "dtype", "message"),
    [
        (4095, np.uint16, r"4095 as its largest value where white is 65535, .* 12-bit values in 16 bits\. .* by 16 be"),
        (16383, np.uint16, r"14-bit values in 16 bits\. Multiply it by 4 "),
        (3000, np.int32, r"values of fewer bits\. Multiply it by 21 "),
        (255, np.uint16, r"8-bit values in 16 bits\. Multiply it by 257 "),
        (193, np.uint16, r"8-bit values in 16 bits\. Multiply it by 257 "),
        (1, np.uint8, r"0/1 values\. Multiply it by 255 "),
    ],
)
def test_dark_values_of_fewer_bits_are_named(tmp_path: Path, most: int, dtype: type, message: str) -> None:
    """If this fails, a 12-bit scan is black to the model and to the finder of damage, without a word."""
    values = np.linspace(0, most, 64).astype(dtype).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "scan.tif")
    given = [tmp_path / "scan.tif", Image.fromarray(values), *([] if dtype is np.int32 else [values])]
    for image in given:
        with pytest.warns(UserWarning, match=message):
            read_images(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bright = values.astype(np.int64) * (255 if dtype is np.uint8 else 65535) // most
        read_images(Image.fromarray(bright.astype(dtype)))
        read_images(np.zeros((4, 4), np.uint16))
        read_images(np.full((4, 4), 9, np.uint8))
