"""PIL / numpy / tensor / file  <->  float tensor in [-1, 1], with the original kept beside it.

A `Picture` remembers what came in: pixels, mode, dtype, palette, alpha, EXIF and ICC. The model sees `.tensor()`;
`.compose()` lays its result into the holes and never touches a kept pixel; `.output()` gives back what came in.
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

from repaint.checks import nearest
from repaint.errors import InputError, NonFiniteError
from repaint.pictures.decoding import (
    NUMPY_WHITE,
    PIL_WHITE,
    TURNS,
    ImageLike,
    check_range,
    load_image,
    open_image,
    orientation,
    plain,
    to_numpy,
    upright,
)
from repaint.pictures.encoding import write_image

__all__ = ["ImageLike", "Picture", "read_images", "save_image", "side_by_side"]

Unit = NDArray[np.float64]

# Channels of colour among the channels of a picture: grey, grey + alpha, RGB, RGB + alpha.
_COLOURS = {1: 1, 2: 1, 3: 3, 4: 3}
_TENSOR_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601, as PIL's convert("L")


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture as it came in.

    Attributes:
        raw: (H, W) or (H, W, C) in the input's own dtype, as displayed: EXIF orientation applied, tensors turned to
            channels last, bfloat16 as float32. Not to be written to.
        kind: what came in; a path is "pil".
        like: an example of what came in: for PIL a 1 x 1 image that carries mode, palette and info (EXIF, ICC,
            transparency), for a tensor an empty one that carries dtype and device.
        orientation: EXIF orientation of the stored pixels, 1 to 8; 1 is upright.
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
        """PIL mode; '' for arrays and tensors."""
        return self.like.mode if isinstance(self.like, Image.Image) else ""

    @property
    def white(self) -> int:
        """The raw value that means white."""
        return PIL_WHITE[self.mode] if self.mode else NUMPY_WHITE[self.raw.dtype.name]

    def __str__(self) -> str:
        what = f"PIL image of mode {self.mode}" if self.mode else f"{self.kind} image"
        return f"{self.size[0]} x {self.size[1]} {what}"

    def tensor(self, channels: int) -> Float[Tensor, "c h w"]:
        """What a model sees.

        Args:
            channels: what the prior takes. A picture of as many channels passes as it is; else alpha is dropped and
                grey is repeated to RGB.
        Returns:
            (channels, H, W) in [-1, 1] on the CPU; float64 for float64 pixels, else float32.
        Raises:
            InputError: a colour picture for a grey prior, or a number of channels that fits no rule.
        """
        unit = self._unit
        if unit.shape[2] != channels:
            colours = _COLOURS.get(unit.shape[2])
            if colours == 3 and channels == 1:
                raise InputError(
                    f"A {self} has 3 colour channels: the prior takes 1 and colour is not dropped silently. "
                    f"Convert it to grey first, with PIL by image.convert('L')."
                )
            if colours not in (1, channels) or channels not in (1, 3):
                raise InputError(
                    f"A {self} has {unit.shape[2]} channels: the prior takes {channels}, and what can serve is "
                    f"{_served(channels)}. Arrays are (H, W, C), tensors (C, H, W): transpose or convert it."
                )
            unit = np.repeat(unit[..., :colours], channels // colours, axis=2)
        dtype = np.float64 if self.raw.dtype.name == "float64" else np.float32
        return torch.from_numpy((2 * unit - 1).astype(dtype)).permute(2, 0, 1).contiguous()

    def compose(self, result: Float[Tensor, "c h w"], keep: Float[Tensor, "1 h w"]) -> Picture:
        """The picture with its holes filled: raw pixels where keep is 1, the result where it is 0, a blend between.

        Only pixels with keep < 1 are computed at all: to the picture's own mode and dtype, rounded to nearest. They
        become opaque (kept pixels keep their alpha), so nothing depends on what lay under the hole. In a palette
        picture they take the nearest opaque entry.

        Args:
            result: (C, H, W) in [-1, 1] as displayed, C as in `tensor`; overshoot is clipped, in the hole alone.
            keep: (1, H, W) in [0, 1]; 1 keeps the input pixel bit for bit.
        Returns:
            A new picture of the same kind.
        Raises:
            NonFiniteError: NaN or infinity inside the hole.
        """
        weight = to_numpy(keep)[0]
        hole = weight < 1
        if not hole.any():
            return self
        new = to_numpy(result)[:, hole].T.astype(np.float64)
        if not np.isfinite(new).all():
            raise NonFiniteError(
                f"{np.count_nonzero(~np.isfinite(new))} of {new.size} values in the hole are NaN or infinite: "
                f"a model must give finite pixels. Run it in a wider dtype (float32, or bfloat16 instead of float16)."
            )
        own, share = self._unit[hole], weight[hole, None].astype(np.float64)
        new = _match((new.clip(-1, 1) + 1) / 2, own.shape[1])
        raw = self.raw.copy()
        raw[hole] = self._encode(share * own + (1 - share) * new).reshape(raw[hole].shape)
        return replace(self, raw=raw)

    def window(self, place: tuple[slice, slice]) -> Picture:
        """The picture of these rows and columns; its pixels are shared, not copied."""
        return replace(self, raw=self.raw[place])

    def stitched(self, parts: Sequence[tuple[tuple[slice, slice], Bool[np.ndarray, "h w"], Picture]]) -> Picture:
        """The picture with pixels of some windows replaced, and all others bit-equal.

        Args:
            parts: (rows and columns, (H, W) True at the pixels that are taken, the new picture of that window) each.
        """
        raw = self.raw.copy()
        for place, taken, part in parts:
            raw[place][taken] = part.raw[taken]
        return replace(self, raw=raw)

    def output(self, output_type: str) -> Any:
        """The picture as its user wants it.

        Args:
            output_type:
                "pil": a PIL image. What came in as PIL comes back in its mode with palette, transparency, EXIF and
                    ICC, and in its stored orientation, so that the EXIF tag stays true. Arrays and tensors
                    become L, LA, RGB or RGBA, grey uint16 I;16, grey bool 1; what PIL cannot hold (float, 16-bit
                    colour) is rounded to 8 bit.
                "np": `raw`: upright, own dtype, channels last.
                "pt": (C, H, W) in [0, 1], upright; floats keep their dtype and values, others are value / white in
                    float32, P and CMYK as RGB. On the device the input was on.
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
            f"output_type is {output_type!r}: it must be one of {', '.join(choices)}."
            f"{nearest(str(output_type), choices)} Choose one of these."
        )

    @property
    def _unit(self) -> Unit:
        """(H, W, C) in [0, 1], alpha included; palette and CMYK pictures as RGB."""
        if self.mode == "P":
            values: NDArray[Any] = self._palette[self.raw, :3]
        elif self.mode == "CMYK":
            values = np.asarray(self._canvas(self.raw).convert("RGB"))
        else:
            values = self.raw
        return values.reshape(*self.size, -1).astype(np.float64) / self.white

    @property
    def _palette(self) -> NDArray[np.uint8]:
        """(256, 4) RGBA of every palette index."""
        ramp = self._canvas(np.arange(256, dtype=np.uint8)[None])
        return np.asarray(ramp.convert("RGBA")).reshape(256, 4)

    def _canvas(self, raw: NDArray[Any]) -> Image.Image:
        """A PIL image of these pixels with the mode, palette and info of the one that came in."""
        assert isinstance(self.like, Image.Image)
        canvas = self.like.resize((raw.shape[1], raw.shape[0]), Image.Resampling.NEAREST)
        canvas.frombytes(raw.tobytes(), "raw", "1;8" if self.mode == "1" else self.mode)
        return canvas

    def _encode(self, unit: Unit) -> Any:
        """(N, C) in [0, 1] to N pixels of the picture's own mode and dtype, rounded to nearest."""
        if self.mode == "P":
            return self._nearest_entries(unit)
        if self.raw.dtype.kind == "f":
            return (unit * self.white).astype(self.raw.dtype)
        values = np.rint(unit * self.white)
        if self.mode == "CMYK":
            return np.asarray(Image.fromarray(values.astype(np.uint8)[None]).convert("CMYK"))[0]
        return self._off_key(values).astype(self.raw.dtype)

    def _nearest_entries(self, unit: Unit) -> NDArray[np.uint8]:
        """The index of the nearest palette colour in RGB, among the most opaque entries."""
        from scipy.spatial import KDTree

        assert isinstance(self.like, Image.Image)
        table = self._palette[: len(self.like.getpalette() or ()) // 3 or None]
        allowed = np.flatnonzero(table[:, 3] == table[:, 3].max())
        _, found = KDTree(table[allowed, :3] / 255).query(unit)
        indices: NDArray[np.uint8] = allowed[found].astype(np.uint8)
        return indices

    def _off_key(self, values: Unit) -> NDArray[Any]:
        """A PNG may declare one colour transparent; a hole pixel that hits it moves by one step to stay opaque."""
        key = np.ravel(self.like.info.get("transparency", ())) if isinstance(self.like, Image.Image) else np.empty(0)
        if self.mode in ("L", "RGB", "I;16") and key.size == values.shape[1]:
            hit = (values == key).all(axis=1)
            values[hit, -1] += 1 if key[-1] < self.white else -1
        return values

    def _to_pil(self) -> Image.Image:
        if self.kind == "pil":
            undo = {6: 8, 8: 6}.get(self.orientation, self.orientation)
            canvas = self._canvas(self.raw)
            return canvas.transpose(TURNS[undo]) if undo in TURNS else canvas
        channels = self._unit.shape[2]
        if channels not in _COLOURS:
            raise InputError(f"A {self} has {channels} channels: PIL holds 1 to 4. Ask for output_type='np' or 'pt'.")
        grey = channels == 1
        if grey and self.raw.dtype == bool:
            return Image.fromarray(self.raw.reshape(self.size))
        if grey and self.raw.dtype.name == "uint16":
            return Image.fromarray(self.raw.reshape(self.size).astype("=u2"))
        values = np.rint(self._unit * 255).astype(np.uint8)
        return Image.fromarray(values[..., 0] if grey else values)

    def _to_tensor(self) -> Tensor:
        exact = self.kind != "pil" and self.raw.dtype.kind == "f"
        values = self.raw.reshape(*self.size, -1) if exact else self._unit
        dtype = self.raw.dtype.newbyteorder("=") if exact else np.float32
        tensor = torch.from_numpy(values.astype(dtype)).permute(2, 0, 1).contiguous()
        if isinstance(self.like, Tensor):
            return tensor.to(self.like.device, self.like.dtype if exact else None)
        return tensor


def _served(channels: int) -> str:
    """The numbers of channels that a prior of `channels` takes, in words."""
    return {1: "1 or 2 (with alpha)", 3: "1 to 4 (grey or RGB, with or without alpha)"}.get(
        channels, f"{channels} alone"
    )


def _match(unit: Unit, channels: int) -> Unit:
    """(N, C) of the model to (N, channels) of a picture: RGB to grey by luma, alpha opaque."""
    if unit.shape[1] == channels:
        return unit
    if unit.shape[1] == 3 and _COLOURS[channels] == 1:
        unit = unit @ _LUMA[:, None]
    opaque = np.ones((len(unit), channels - unit.shape[1]))
    return np.concatenate([unit, opaque], axis=1)


def read_images(image: object) -> list[Picture]:
    """One picture for every image given.

    Args:
        image: a path, a PIL image, a numpy array (H, W), (H, W, C) or (B, H, W, C), a tensor (C, H, W) or
            (B, C, H, W), or a list of these. Floats lie in [0, 1]; integers are uint8, or uint16 in numpy.
    Returns:
        The pictures in order; batches are expanded.
    Raises:
        InputError: nothing given, a type, dtype, shape or mode that is not listed, values out of range, or a file that
            cannot be read.
    """
    items = list(image) if isinstance(image, (list, tuple)) else [image]
    pictures = [picture for item in items for picture in _read(item)]
    if not pictures:
        raise InputError(
            f"No image in {type(image).__name__}: at least one is needed. Pass an image or a list of them."
        )
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
        f"or one list of these. Pass one of them."
    )


def _from_pil(image: Image.Image, name: str) -> Picture:
    raw = np.asarray(upright(image))
    check_range(raw, PIL_WHITE[image.mode], name)
    return Picture(raw, "pil", image.crop((0, 0, 1, 1)), orientation(image))


def _from_numpy(array: NDArray[Any]) -> list[Picture]:
    if array.dtype.name not in NUMPY_WHITE:
        raise InputError(
            f"Image array has dtype {array.dtype}: allowed are {', '.join(NUMPY_WHITE)}. "
            f"Convert it, for example with x.astype(numpy.uint8)."
        )
    if array.ndim not in (2, 3, 4) or 0 in array.shape[-3:]:
        raise InputError(
            f"Image array has shape {array.shape}: it must be (H, W), (H, W, C) or (B, H, W, C), without empty axes. "
            f"Reshape it."
        )
    batch = list(array) if array.ndim == 4 else [array]
    for one in batch:
        check_range(one, NUMPY_WHITE[array.dtype.name], "Image array")
    return [Picture(one, "numpy") for one in batch]


def _from_tensor(tensor: Tensor) -> list[Picture]:
    if tensor.dtype not in _TENSOR_DTYPES:
        raise InputError(
            f"Image tensor has dtype {tensor.dtype}: it must be float in [0, 1] or uint8. Convert it, for example with "
            f"x.float() / 255 or x.to(torch.uint8)."
        )
    if tensor.ndim not in (3, 4) or 0 in tensor.shape[-3:]:
        raise InputError(
            f"Image tensor has shape {tuple(tensor.shape)}: it must be (C, H, W) or (B, C, H, W), without empty axes. "
            f"Add a channel axis with x[None] if it lacks one."
        )
    like = tensor.new_empty(0)
    raws = np.moveaxis(to_numpy(tensor if tensor.ndim == 4 else tensor[None]), 1, 3)
    for raw in raws:
        check_range(raw, NUMPY_WHITE[raw.dtype.name], "Image tensor")
    return [Picture(raw, "tensor", like) for raw in raws]


def side_by_side(images: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Images of any modes and sizes in one row, in RGB, for the eye.

    Args:
        images: at least one.
        gap: white pixels between two.
    """
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        row.paste(image.convert("RGB"), (left, 0))
        left += image.width + gap
    return row


def save_image(picture: Picture | Image.Image, path: str | os.PathLike[str]) -> None:
    """Write an image file whole or not at all, with its EXIF, ICC profile, XMP and resolution.

    PNG, TIFF, BMP and WebP are written without loss and keep every pixel; JPEG (quality 95, full chroma) cannot.

    Args:
        picture: what to write; a `Picture` as its `output("pil")`.
        path: the suffix chooses the format.
    Raises:
        InputError: an unknown suffix, a mode the format cannot hold (nothing is converted silently), or a folder that
            is missing or cannot be written.
    """
    write_image(picture.output("pil") if isinstance(picture, Picture) else picture, path)
