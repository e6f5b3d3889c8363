"""Conversion between images (files, PIL, numpy, tensors) and float tensors in [-1, 1].

A `Picture` stores the original image: pixels, mode, dtype, palette, alpha, EXIF and ICC. `tensor` gives the input of
the model, `compose` inserts the model's result into the holes without changing a kept pixel, and `output` converts back
to the original kind of image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from repaint.checks import nearest, shown
from repaint.errors import InputError, NonFiniteError
from repaint.pictures.decoding import (
    NUMPY_WHITE,
    PIL_WHITE,
    ImageLike,
    check_range,
    load_image,
    open_image,
    plain,
    to_numpy,
    upright,
    warn_if_dark,
)
from repaint.pictures.encoding import check_writable, write_image
from repaint.pictures.metadata import collected, exif_orientation, without_thumbnail

__all__ = ["COLOURS", "LUMA", "ImageLike", "Picture", "read_images", "save_image", "side_by_side"]

Unit = NDArray[np.float64]

# Number of channels to number of colour channels: grey, grey + alpha, RGB, RGB + alpha.
COLOURS = {1: 1, 2: 1, 3: 3, 4: 3}
_TENSOR_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue: Rec. 601, as PIL's convert("L")


@dataclass(frozen=True, eq=False)
class Picture:
    """One input image.

    Attributes:
        raw: (H, W) or (H, W, C) in the dtype of the input, as displayed: with the EXIF orientation applied, tensors as
            channels last, bfloat16 as float32. Read-only by convention.
        kind: type of the input; a path is "pil".
        like: an empty example of the input: for PIL a 1 x 1 image with its mode, palette and info (EXIF, ICC,
            transparency), for a tensor an empty one with its dtype and device.
        orientation: EXIF orientation of the stored pixels of the input, 1 to 8; 1 is upright. `raw` is upright.
    """

    raw: NDArray[Any]
    kind: Literal["pil", "numpy", "tensor"]
    like: Image.Image | Tensor | None = None
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as displayed."""
        return self.raw.shape[0], self.raw.shape[1]

    @property
    def mode(self) -> str:
        """PIL mode; "" for arrays and tensors."""
        return self.like.mode if isinstance(self.like, Image.Image) else ""

    @property
    def white(self) -> int:
        """The raw value of white."""
        return PIL_WHITE[self.mode] if self.mode else NUMPY_WHITE[self.raw.dtype.name]

    def __str__(self) -> str:
        what = f"PIL image of mode {self.mode}" if self.mode else f"{self.kind} image"
        return f"{self.size[0]} x {self.size[1]} {what}"

    def tensor(self, channels: int) -> Float[Tensor, "c h w"]:
        """Convert to the input of a model.

        Args:
            channels: number of channels of the prior. A picture with the same number is used as it is; otherwise alpha
                is dropped and grey is repeated to RGB.
        Returns:
            (channels, H, W) in [-1, 1] on the CPU; float64 for float64 pixels, otherwise float32.
        Raises:
            InputError: a colour picture for a grey prior, or another number of channels.
        """
        unit = self.unit
        if unit.shape[2] != channels:
            colours = COLOURS.get(unit.shape[2])
            if colours == 3 and channels == 1:
                raise InputError(
                    f"A {self} has 3 colour channels: the prior takes 1 and colour is not dropped silently. "
                    f"Convert it to grey, with PIL by image.convert('L')."
                )
            if colours not in (1, channels) or channels not in (1, 3):
                raise InputError(
                    f"A {self} has {unit.shape[2]} channels, but the prior takes {_accepted(channels)}. "
                    f"Arrays are (H, W, C), tensors (C, H, W): transpose or convert it."
                )
            unit = np.repeat(unit[..., :colours], channels // colours, axis=2)
        return torch.from_numpy((2 * unit - 1).astype(self.precision)).permute(2, 0, 1).contiguous()

    def compose(self, result: Float[Tensor, "c h w"], keep: Float[Tensor, "1 h w"]) -> Picture:
        """Fill the holes: use the raw pixel where keep is 1, the result where keep is 0, and a blend in between.

        Only pixels with keep < 1 are computed: they are converted to the mode and dtype of the picture, rounded to
        nearest. They become opaque (kept pixels keep their alpha), so the content of the hole has no influence. In a
        palette picture they take the nearest opaque entry.

        Args:
            result: (C, H, W) in [-1, 1] as displayed, C as in `tensor`; values outside are clipped.
            keep: (1, H, W) in [0, 1]; 1 keeps the input pixel bit for bit.
        Returns:
            A new picture of the same kind.
        Raises:
            NonFiniteError: NaN or infinity inside the hole.
        """
        hole = to_numpy(keep)[0] < 1
        return self.filled(hole, self.blended(result, keep)) if hole.any() else self

    def blended(self, result: Float[Tensor, "c h w"], keep: Float[Tensor, "1 h w"]) -> Unit:
        """Compute what `compose` fills in, before it is rounded.

        Args:
            result, keep: see `compose`.
        Returns:
            (n, C) in [0, 1]: the pixels with keep < 1 in row order; palette and CMYK pictures as RGB.
        Raises:
            NonFiniteError: NaN or infinity inside the hole.
        """
        weight = to_numpy(keep)[0]
        hole = weight < 1
        new = to_numpy(result)[:, hole].T.astype(np.float64)
        if not np.isfinite(new).all():
            raise NonFiniteError(
                f"{np.count_nonzero(~np.isfinite(new))} of {new.size} values in the hole are NaN or infinite. "
                f"Run the model in a wider dtype (float32, or bfloat16 instead of float16)."
            )
        # As a picture of one row, because float64 values of all pixels would take much memory.
        own, share = replace(self, raw=self.raw[hole][None]).unit[0], weight[hole, None].astype(np.float64)
        new = _match((new.clip(-1, 1) + 1) / 2, own.shape[1])
        blended: Unit = share * own + (1 - share) * new
        return blended

    def filled(self, hole: Bool[np.ndarray, "h w"], values: Unit) -> Picture:
        """Replace the pixels of a hole, rounded to the dtype of the picture; all other pixels stay bit-equal.

        Args:
            hole: (H, W) True at the pixels to replace.
            values: (n, C) in [0, 1], in row order; palette and CMYK pictures as RGB.
        """
        raw = self.raw.copy()
        raw[hole] = self._encode(values).reshape(raw[hole].shape)
        return replace(self, raw=raw)

    def window(self, place: tuple[slice, slice]) -> Picture:
        """Crop to these rows and columns; the pixels are shared, not copied."""
        return replace(self, raw=self.raw[place])

    def stitched(self, parts: Sequence[tuple[tuple[slice, slice], Bool[np.ndarray, "h w"], Picture]]) -> Picture:
        """Replace pixels by those of windows; all other pixels stay bit-equal.

        Args:
            parts: for each window its rows and columns, (H, W) True at the pixels to take, and its new picture.
        """
        raw = self.raw.copy()
        for place, taken, part in parts:
            raw[place][taken] = part.raw[taken]
        return replace(self, raw=raw)

    def output(self, output_type: str) -> Any:
        """Convert to an output type.

        Args:
            output_type:
                "pil": a PIL image, upright: an EXIF orientation is applied to the pixels and set to 1. A PIL input
                    keeps its mode, palette, transparency, and metadata in `info` (EXIF, XMP, ICC, text). Arrays and
                    tensors become L, LA, RGB or RGBA, grey uint16 becomes I;16, grey bool becomes 1. PIL has no float
                    or 16-bit colour images, so these are rounded to 8 bits.
                "np": a copy of `raw`: upright, in the dtype of the input, channels last.
                "pt": (C, H, W) in [0, 1], upright, on the device of the input. Floats keep their dtype and values;
                    others are value / white in float32, with P and CMYK as RGB.
        Raises:
            InputError: another `output_type`, or "pil" for more than 4 channels.
        """
        if output_type == "pil":
            return self._to_pil()
        if output_type == "np":
            return self.raw.copy()
        if output_type == "pt":
            return self._to_tensor()
        choices = ("pil", "np", "pt")
        raise InputError(
            f"output_type={shown(output_type)} must be one of {', '.join(choices)}.{nearest(output_type, choices)}"
        )

    @property
    def channels_last(self) -> NDArray[Any]:
        """(H, W, C) in [0, white], alpha included; palette and CMYK pictures as RGB."""
        if self.mode == "P":
            values: NDArray[Any] = self._palette[self.raw, :3]
        elif self.mode == "CMYK":
            values = np.asarray(self._canvas(self.raw).convert("RGB"))
        else:
            values = self.raw
        return values.reshape(*self.size, -1)

    @property
    def unit(self) -> Unit:
        """`channels_last` in [0, 1]."""
        return self.channels_last.astype(np.float64) / self.white

    @property
    def precision(self) -> type[np.floating[Any]]:
        """The float type that results need: float64 for float64 pixels, else float32."""
        return np.float64 if self.raw.dtype.name == "float64" else np.float32

    def white_of(self, output_type: str) -> int:
        """Return the value of white in an output type; see `output`."""
        if output_type == "pt":
            return 1
        if output_type == "np" or self.kind == "pil":
            return self.white
        grey = self.channels_last.shape[2] == 1
        return self.white if grey and self.raw.dtype.name in ("bool", "uint16") else 255

    @property
    def _palette(self) -> NDArray[np.uint8]:
        """(256, 4) RGBA of every palette index."""
        ramp = self._canvas(np.arange(256, dtype=np.uint8)[None])
        return np.asarray(ramp.convert("RGBA")).reshape(256, 4)

    def _canvas(self, raw: NDArray[Any]) -> Image.Image:
        """Make a PIL image of these pixels with the mode, palette and info of the input."""
        assert isinstance(self.like, Image.Image)
        canvas = self.like.resize((raw.shape[1], raw.shape[0]), Image.Resampling.NEAREST)
        canvas.frombytes(raw.tobytes(), "raw", "1;8" if self.mode == "1" else self.mode)
        return canvas

    def _encode(self, unit: Unit) -> Any:
        """Convert (N, C) in [0, 1] to N pixels of the picture's mode and dtype, rounded to nearest."""
        if self.mode == "P":
            return self._nearest_entries(unit)
        if self.raw.dtype.kind == "f":
            return (unit * self.white).astype(self.raw.dtype)
        values = np.rint(unit * self.white)
        if self.mode == "CMYK":
            return np.asarray(Image.fromarray(values.astype(np.uint8)[None]).convert("CMYK"))[0]
        return self._off_key(values).astype(self.raw.dtype)

    def _nearest_entries(self, unit: Unit) -> NDArray[np.uint8]:
        """Find the index of the nearest palette colour in RGB, among the most opaque entries."""
        from scipy.spatial import KDTree

        assert isinstance(self.like, Image.Image)
        table = self._palette[: len(self.like.getpalette() or ()) // 3 or None]
        allowed = np.flatnonzero(table[:, 3] == table[:, 3].max())
        _, found = KDTree(table[allowed, :3] / 255).query(unit)
        indices: NDArray[np.uint8] = allowed[found].astype(np.uint8)
        return indices

    def _off_key(self, values: Unit) -> NDArray[Any]:
        """Move hole pixels by one step off the colour that a PNG declares transparent, so that they stay opaque."""
        key = np.ravel(self.like.info.get("transparency", ())) if isinstance(self.like, Image.Image) else np.empty(0)
        if self.mode in ("L", "RGB", "I;16") and key.size == values.shape[1]:
            hit = (values == key).all(axis=1)
            values[hit, -1] += 1 if key[-1] < self.white else -1
        return values

    def _to_pil(self) -> Image.Image:
        if self.kind == "pil":
            return self._canvas(self.raw)
        channels = self.unit.shape[2]
        if channels not in COLOURS:
            raise InputError(
                f"A {self} has {channels} channels, but PIL supports 1 to 4. Use output_type='np' or 'pt'."
            )
        grey = channels == 1
        if grey and self.raw.dtype == bool:
            return Image.fromarray(self.raw.reshape(self.size))
        if grey and self.raw.dtype.name == "uint16":
            return Image.fromarray(self.raw.reshape(self.size).astype("=u2"))
        values = np.rint(self.unit * 255).astype(np.uint8)
        return Image.fromarray(values[..., 0] if grey else values)

    def _to_tensor(self) -> Tensor:
        exact = self.kind != "pil" and self.raw.dtype.kind == "f"
        values = self.raw.reshape(*self.size, -1) if exact else self.unit
        dtype = self.raw.dtype.newbyteorder("=") if exact else np.float32
        tensor = torch.from_numpy(values.astype(dtype)).permute(2, 0, 1).contiguous()
        if isinstance(self.like, Tensor):
            return tensor.to(self.like.device, self.like.dtype if exact else None)
        return tensor


def _accepted(channels: int) -> str:
    """Describe the numbers of channels that a prior of `channels` accepts."""
    words = {1: "1 or 2 (grey, with or without alpha)", 3: "1 to 4 (grey or RGB, with or without alpha)"}
    return words.get(channels, f"exactly {channels}")


def _match(unit: Unit, channels: int) -> Unit:
    """Convert (N, C) of the model to (N, channels) of a picture: RGB to grey by luma, alpha opaque."""
    if unit.shape[1] == channels:
        return unit
    if unit.shape[1] == 3 and COLOURS[channels] == 1:
        unit = unit @ LUMA[:, None]
    opaque = np.ones((len(unit), channels - unit.shape[1]))
    return np.concatenate([unit, opaque], axis=1)


def read_images(image: object) -> list[Picture]:
    """Read images of any kind as a list of pictures.

    Args:
        image: a path, a PIL image, a numpy array (H, W), (H, W, C) or (B, H, W, C), a tensor (C, H, W) or
            (B, C, H, W), or a list of these. Floats lie in [0, 1]; integers are uint8, or uint16 in numpy.
    Returns:
        The pictures in order; batches are expanded.
    Raises:
        InputError: no image, a type, dtype, shape or mode that is not listed, values out of range, or a file that
            cannot be read.
    Warns:
        UserWarning: see `repaint.pictures.decoding.warn_if_dark`.

    >>> [picture.size for picture in read_images(np.zeros((2, 32, 48, 3), dtype=np.uint8))]
    [(32, 48), (32, 48)]
    """
    items = list(image) if isinstance(image, (list, tuple)) else [image]
    pictures = [picture for item in items for picture in _read(item)]
    if not pictures:
        raise InputError(f"No image in {type(image).__name__}. Pass an image or a list of images.")
    return pictures


def _read(item: object) -> list[Picture]:
    if isinstance(item, (str, os.PathLike)):
        return [_from_pil(open_image(item), f"Image {item}")]
    if isinstance(item, Image.Image):
        return [_from_pil(load_image(item, "Image"), "Image")]
    if isinstance(item, np.ndarray):
        return _from_numpy(plain(item, "Image"))
    if isinstance(item, Tensor):
        return _from_tensor(item)
    raise InputError(
        f"Image is a {type(item).__name__}: allowed are a path, a PIL image, a numpy array, a tensor, "
        f"or a list of these."
    )


def _from_pil(image: Image.Image, name: str) -> Picture:
    shown_image = upright(image)
    raw = np.asarray(shown_image)
    check_range(raw, PIL_WHITE[image.mode], name)
    if image.mode != "P":
        warn_if_dark(raw, PIL_WHITE[image.mode], name)
    like = shown_image.crop((0, 0, 1, 1))
    like.info.clear()
    like.info.update(collected(shown_image))
    if exif := like.info.get("exif"):
        like.info["exif"] = without_thumbnail(exif)
    return Picture(raw, "pil", like, exif_orientation(image))


def _from_numpy(array: NDArray[Any]) -> list[Picture]:
    if array.dtype.name not in NUMPY_WHITE:
        raise InputError(
            f"Image array has dtype {array.dtype}: allowed are {', '.join(NUMPY_WHITE)}. "
            f"Convert it, for example with x.astype(numpy.uint8)."
        )
    if array.ndim not in (2, 3, 4) or 0 in array.shape[-3:]:
        raise InputError(
            f"Image array has shape {array.shape}: it must be (H, W), (H, W, C) or (B, H, W, C), not empty. Reshape it."
        )
    batch = list(array) if array.ndim == 4 else [array]
    for one in batch:
        check_range(one, NUMPY_WHITE[array.dtype.name], "Image array")
        warn_if_dark(one, NUMPY_WHITE[array.dtype.name], "Image array")
    return [Picture(one, "numpy") for one in batch]


def _from_tensor(tensor: Tensor) -> list[Picture]:
    if tensor.dtype not in _TENSOR_DTYPES:
        raise InputError(
            f"Image tensor has dtype {tensor.dtype}: it must be float in [0, 1] or uint8. Convert it, for example with "
            f"x.float() / 255 or x.to(torch.uint8)."
        )
    if tensor.ndim not in (3, 4) or 0 in tensor.shape[-3:]:
        raise InputError(
            f"Image tensor has shape {tuple(tensor.shape)}: it must be (C, H, W) or (B, C, H, W), not empty. "
            f"Add a channel axis with x[None] if it lacks one."
        )
    like = tensor.new_empty(0)
    raws = np.moveaxis(to_numpy(tensor if tensor.ndim == 4 else tensor[None]), 1, 3)
    for raw in raws:
        check_range(raw, NUMPY_WHITE[raw.dtype.name], "Image tensor")
        warn_if_dark(raw, NUMPY_WHITE[raw.dtype.name], "Image tensor")
    return [Picture(raw, "tensor", like) for raw in raws]


def side_by_side(images: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Place images of any mode and size in one row, in RGB.

    Args:
        images: at least one.
        gap: white pixels between neighbours.
    """
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        row.paste(image.convert("RGB"), (left, 0))
        left += image.width + gap
    return row


def save_image(picture: Picture | Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image file atomically, with the metadata that the format holds: EXIF, XMP, ICC profile, text.

    PNG, TIFF, BMP and WebP are lossless and keep every pixel; JPEG (quality 95, full chroma) and AVIF are not.

    Args:
        picture: a PIL image, or a `Picture`, which is written as its `output("pil")`.
        path: the suffix determines the format.
    Raises:
        InputError: the suffix is unknown, the format does not support the mode (nothing is converted silently), or
            the folder is missing or cannot be written.
    Warns:
        UserWarning: see `repaint.pictures.encoding.check_writable`.
    """
    image = picture.output("pil") if isinstance(picture, Picture) else picture
    check_writable(path, image)
    write_image(image, path)
