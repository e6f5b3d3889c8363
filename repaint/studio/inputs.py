"""Reads and checks uploaded pictures, and masks that are painted or uploaded."""

from __future__ import annotations

import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repaint.checks import nearest
from repaint.errors import InputError
from repaint.pictures.decoding import open_image, register_heif, upright
from repaint.pictures.encoding import PNG_MODES
from repaint.pictures.images import save_image
from repaint.pictures.margins import Margins, extended
from repaint.pictures.masks import read_keep
from repaint.pictures.metadata import upright_size
from repaint.pictures.samples import PHOTOGRAPHS, UNSEEN, glyphs, held_out_crops, unseen

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Photo",
    "extended_photo",
    "magnify",
    "read_mask",
    "read_photo",
    "reduction",
    "sample",
    "samples",
    "shown",
]

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 2**25  # of a picture, about 6700 x 5000
CANVAS = 448  # pixels: pictures smaller than half of it are magnified for painting
CANVAS_PIXELS = 2**21  # pixels in the browser: larger pictures are reduced there, not in results


@dataclass(frozen=True, eq=False)
class Photo:
    """An uploaded or bundled picture.

    Attributes:
        data: bytes of the file, for recipes.
        suffix: of the file, for example ".png".
        image: the decoded image, before EXIF rotation.
        name: for labels and messages.
        drawn: (H, W) the mask that the canvas was last set to, 0 to 255; None: empty.
    """

    data: bytes
    suffix: str
    image: Image.Image
    name: str
    drawn: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) after EXIF rotation."""
        return upright_size(self.image)

    @property
    def magnified(self) -> int:
        """Side of the square of canvas pixels that shows one pixel of the picture."""
        return max(1, CANVAS // max(self.size))

    @property
    def reduced(self) -> int:
        """Side of the square of picture pixels that one canvas pixel shows; above 1 for large pictures only."""
        return reduction(*self.size)

    def canvas(self) -> Image.Image:
        """Return the background for painting, magnified or reduced by a whole factor."""
        return magnify(shown(self.image).reduce(self.reduced), self.magnified)


def shown(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB as displayed. Results are never computed from it."""
    image = upright(image)
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


def reduction(height: int, width: int) -> int:
    """Return the least whole factor that reduces a picture to at most `CANVAS_PIXELS` pixels."""
    return math.ceil(math.sqrt(height * width / CANVAS_PIXELS))


def magnify(image: Image.Image, times: int) -> Image.Image:
    """Enlarge each pixel to a block of times x times."""
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def read_photo(path: str | Path, name: str | None = None) -> Photo:
    """Read a picture from an uploaded file.

    Raises:
        InputError: a file that is not an image, is too large, animated or damaged, or has a mode that PNG cannot store.
    """
    path = Path(path)
    name = name or path.name
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{name}: {path.stat().st_size / 2**20:.1f} MiB is more than {MAX_BYTES // 2**20} MiB, the limit of the "
            "studio. Use `repaint inpaint`, or a smaller file."
        )
    data = path.read_bytes()
    try:
        register_heif(path)
        with Image.open(io.BytesIO(data)) as header:
            (width, height), suffix = header.size, f".{str(header.format).lower()}"
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    except Exception as error:  # on a damaged header, decoders raise errors of any type
        raise InputError(f"{name}: not a readable image. Upload a PNG, JPEG, WebP, TIFF or BMP file.") from error
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{name}: {width} x {height} is more than {MAX_PIXELS} pixels, the limit of the studio. "
            "Use `repaint inpaint`, or crop or shrink it."
        )
    try:
        image = open_image(path)
    except InputError as error:
        raise InputError(str(error).replace(str(path), name)) from error
    if image.mode not in PNG_MODES:
        raise InputError(
            f"{name}: the studio writes PNG files, which do not hold mode {image.mode}. Use `repaint inpaint` with "
            "--out RESULT.tif, or convert the picture."
        )
    return Photo(data, suffix, image, name)


def extended_photo(photo: Photo, margins: Margins) -> tuple[Photo, NDArray[np.bool_]]:
    """Return a picture with new space around it, and the mask of that space, as displayed.

    Raises:
        InputError: a result that is too large.
    """
    canvas, mask = extended(photo.image, margins)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        save_image(canvas, path)  # with the orientation and colours of the picture
        return read_photo(path, f"{photo.name}, extended"), mask


def samples() -> list[str]:
    """List the names of the bundled pictures. No bundled prior was trained on them."""
    textures = [f"textures:{name}" for name in PHOTOGRAPHS]
    return [f"photos:{name}" for name in UNSEEN] + textures + [f"emoji:{name}" for name in glyphs("held_out")]


def sample(name: str) -> Photo:
    """Load a bundled picture: 64 x 64 pixels, or a photograph of up to 256.

    Raises:
        InputError: an unknown sample.
    """
    kind, _, stem = name.partition(":")
    if kind == "photos" and stem in UNSEEN:
        pixels = unseen(stem)
    elif kind == "textures" and stem in PHOTOGRAPHS:
        pixels = held_out_crops(stem, 64, 1)[0]
    elif kind == "emoji" and stem in (known := glyphs("held_out")):
        pixels = known[stem]
    else:
        raise InputError(f"sample={name!r} must be one of the list.{nearest(name, samples())}")
    file, image = io.BytesIO(), Image.fromarray(pixels)
    image.save(file, "PNG")
    return Photo(file.getvalue(), ".png", image, name)


def read_mask(path: str | Path, size: tuple[int, int]) -> tuple[NDArray[np.bool_], int]:
    """Read an uploaded mask, white is repainted: (the hole, the number of grey pixels, which are rounded).

    Raises:
        InputError: a file that is not an image, or differs in size from the picture.
    """
    name = Path(path).name
    try:
        share = 1 - read_keep(read_photo(path).image, sizes=[size])[0][0].numpy()
    except InputError as error:
        raise InputError(f"Mask {name}: {error}") from error
    return share >= 0.5, int(np.count_nonzero((share > 0) & (share < 1)))
