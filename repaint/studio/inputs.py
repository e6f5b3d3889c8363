"""What a visitor gives: a picture, and a mask that was painted or uploaded. Checked here, explained in one line."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repaint.checks import nearest
from repaint.errors import InputError
from repaint.pictures.decoding import open_image, upright
from repaint.pictures.encoding import check_writable
from repaint.pictures.masks import read_keep
from repaint.pictures.samples import PHOTOGRAPHS, glyphs, held_out_crops

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Photo",
    "check_hole",
    "magnify",
    "paint",
    "painted",
    "read_mask",
    "read_photo",
    "sample",
    "samples",
    "shown",
]

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 2**21  # 1448 x 1448: beyond it one model call on a CPU takes minutes
CANVAS = 448  # pixels: pictures smaller than half of it are magnified to be painted on


@dataclass(frozen=True, eq=False)
class Photo:
    """One picture as it was given.

    Attributes:
        data: the file's own bytes, which a reproduction needs.
        suffix: of such a file, ".png".
        image: decoded, its pixels as stored.
        name: what to call it.
    """

    data: bytes
    suffix: str
    image: Image.Image
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as displayed."""
        width, height = upright(self.image).size
        return height, width

    @property
    def magnified(self) -> int:
        """How many pixels of the canvas, each way, stand for one of the picture."""
        return max(1, CANVAS // max(self.size))

    def canvas(self) -> Image.Image:
        """What is painted on: whole pixels, magnified where the picture is small."""
        return magnify(shown(self.image), self.magnified)


def shown(image: Image.Image) -> Image.Image:
    """As displayed, in 8-bit RGB: for the eye, never for the result."""
    image = upright(image)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def magnify(image: Image.Image, times: int) -> Image.Image:
    """Each pixel as a block of times x times."""
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def read_photo(path: str | Path, name: str | None = None) -> Photo:
    """A picture from an uploaded file.

    Raises:
        InputError: no image, too large, animated, damaged, or of a mode that PNG cannot hold.
    """
    path = Path(path)
    name = name or path.name
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{name} has {path.stat().st_size / 2**20:.1f} MiB: the studio takes {MAX_BYTES // 2**20} MiB. "
            "Use `repaint inpaint`, or save it smaller."
        )
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as header:
            (width, height), suffix = header.size, f".{str(header.format).lower()}"
    except Exception as error:  # decoders raise whatever a damaged header makes them stumble over
        raise InputError(f"{name} is no image that can be read. Give a PNG, JPEG, WebP, TIFF or BMP file.") from error
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name} is {width} x {height}: the studio takes {MAX_PIXELS} pixels. "
            "Use `repaint inpaint`, or crop or shrink it first."
        )
    try:
        image = open_image(path)
        check_writable("result.png", image.mode)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    return Photo(data, suffix, image, name)


def samples() -> list[str]:
    """Names of the bundled pictures, none of which a bundled prior has seen."""
    return [f"textures:{name}" for name in PHOTOGRAPHS] + [f"emoji:{name}" for name in glyphs("held_out")]


def sample(name: str) -> Photo:
    """A bundled picture, 64 x 64.

    Raises:
        InputError: no such sample.
    """
    kind, _, what = name.partition(":")
    if kind == "textures" and what in PHOTOGRAPHS:
        pixels = held_out_crops(what, 64, 1)[0]
    elif kind == "emoji" and what in (known := glyphs("held_out")):
        pixels = known[what]
    else:
        raise InputError(f"No sample {name!r}: choose one of the list.{nearest(name, samples())}")
    file, image = io.BytesIO(), Image.fromarray(pixels)
    image.save(file, "PNG")
    return Photo(file.getvalue(), ".png", image, name)


def read_mask(path: str | Path, size: tuple[int, int]) -> tuple[NDArray[np.bool_], int]:
    """(the hole, how many grey pixels were decided at one half) from an uploaded mask; white is repainted.

    Raises:
        InputError: no image, or of another size than the picture.
    """
    name = Path(path).name
    try:
        share = 1 - read_keep(read_photo(path).image, sizes=[size])[0][0].numpy()
    except InputError as error:
        raise InputError(f"The mask {name}: {error}") from error
    return share >= 0.5, int(np.count_nonzero((share > 0) & (share < 1)))


def painted(layers: list[Any], photo: Photo) -> NDArray[np.bool_]:
    """The hole from what was painted on the canvas.

    A pixel of the picture is in the hole where at least half of its block is painted at least half opaque.

    Args:
        layers: (H, W, 4) uint8 each, of the canvas's size.
        photo: what was painted on.
    Raises:
        InputError: a layer of another size: the canvas was cropped or belongs to another picture.
    """
    (height, width), times = photo.size, photo.magnified
    hole = np.zeros((height, width), bool)
    for layer in layers:
        alpha = np.asarray(layer)[..., 3] >= 128
        if alpha.shape != (height * times, width * times):
            raise InputError(
                f"The canvas is {alpha.shape[1]} x {alpha.shape[0]} for a picture of {width * times} x "
                f"{height * times}: it was resized. Choose the picture again."
            )
        hole |= alpha.reshape(height, times, width, times).mean(axis=(1, 3)) >= 0.5
    return hole


def paint(hole: NDArray[np.bool_], photo: Photo, colour: tuple[int, int, int]) -> Image.Image:
    """The inverse of `painted`: one layer, (H, W, 4)."""
    layer = np.zeros((*hole.shape, 4), np.uint8)
    layer[hole] = (*colour, 255)
    return magnify(Image.fromarray(layer), photo.magnified)


def check_hole(hole: NDArray[np.bool_]) -> None:
    """Refuse a mask with nothing to repaint, or with nothing known.

    Raises:
        InputError: an empty or a full mask.
    """
    if not hole.any():
        raise InputError("The mask is empty: nothing would be repainted. Paint over what is to go, or press Invert.")
    if hole.all():
        raise InputError("The mask covers the whole picture: nothing would be kept. Leave some of it, or press Invert.")
