"""What a sweep is made over: images (files, folders, bundled samples) and masks (generators, files, folders)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor

from repaint.checks import nearest
from repaint.errors import InputError
from repaint.pictures.decoding import open_image, upright
from repaint.pictures.mask_shapes import GENERATORS, generate
from repaint.pictures.masks import known, read_keep
from repaint.pictures.pairs import check_paired, picture_files
from repaint.pictures.samples import PHOTOGRAPHS, Part, crops, glyphs, halve, photograph

__all__ = ["ImageEntry", "MaskEntry", "Source", "Strict", "images_of", "masks_of"]


class Strict(BaseModel):
    """A model that refuses keys it does not know, so that a typo is never read as a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Image(Strict):
    """A file or folder, or a bundled sample: `textures:brick` or `emoji:grinning face`.

    Attributes:
        path: relative to the YAML file.
        sample: where it is given, `part`, `size` and `count` say which crops of a photograph are taken, at the scale
            that the `textures` prior was trained at. Glyphs are 64 x 64 as they are.
    """

    path: str | None = None
    sample: str | None = None
    part: Part = "held_out"
    size: int = Field(default=64, ge=1)
    count: int = Field(default=1, ge=1)


class _Mask(Strict):
    """A generator of `repaint.pictures.masks` with its options, or a file for all images, or a folder paired by name."""

    generator: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    path: str | None = None
    keep_mask: bool = False


def _image(value: object) -> object:
    if not isinstance(value, str):
        return value
    return {"sample" if value.partition(":")[0] in ("textures", "emoji") else "path": value}


def _mask(value: object) -> object:
    if not isinstance(value, str):
        return value
    return {"generator" if value in GENERATORS else "path": value}


ImageEntry = Annotated[_Image, BeforeValidator(_image)]
MaskEntry = Annotated[_Mask, BeforeValidator(_mask)]


@dataclass(frozen=True)
class Source:
    """An image or a mask that is read when it is needed.

    Attributes:
        name: what rows call it.
        stem: what pairs an image with its mask; of a bundled sample, its own name.
        size: (height, width).
        sha256: of its pixels, 16 digits.
        read: (H, W, 3) uint8 of an image; (1, H, W) in [0, 1] of a mask, 1 keeps the input pixel.
    """

    name: str
    stem: str
    size: tuple[int, int]
    sha256: str
    read: Callable[[], Any]


def _one_of(entry: BaseModel, what: str, *names: str) -> None:
    given = [name for name in names if getattr(entry, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"{what} gives {' and '.join(given) or 'nothing'}: it has one of {', '.join(names)}. Correct it."
        )


def images_of(entry: _Image, home: Path) -> list[Source]:
    """The images that an entry stands for.

    Args:
        entry: one of a sweep's `images`.
        home: the folder that paths are relative to.
    Raises:
        InputError: a file, folder or sample that is not there, or an entry that says too much or too little.
    """
    _one_of(entry, "An image", "path", "sample")
    if entry.sample is not None:
        return list(_samples(entry.sample, entry))
    assert entry.path is not None
    path = home / entry.path
    if path.is_dir():
        return [_image_file(f"{entry.path.rstrip('/')}/{file.name}", file) for file in picture_files(path).values()]
    if not path.exists():
        samples = [f"textures:{name}" for name in PHOTOGRAPHS]
        raise InputError(
            f"No image {path}: it is a file, a folder, or a bundled sample such as textures:brick or "
            f"emoji:grinning face.{nearest(entry.path, samples)}"
        )
    return [_image_file(entry.path, path)]


def _image_file(name: str, path: Path) -> Source:
    read = partial(_read_rgb, path)
    return _source(name, path.stem, read(), read)


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    """As it is displayed, in 8-bit RGB: what the measures compare."""
    return np.asarray(upright(open_image(path)).convert("RGB"))


def _source(name: str, stem: str, image: NDArray[np.uint8], read: Callable[[], Any]) -> Source:
    return Source(name, stem, (image.shape[0], image.shape[1]), _digest(image), read)


def _samples(sample: str, entry: _Image) -> Iterator[Source]:
    kind, _, name = sample.partition(":")
    tables: dict[str, Any] = {"textures": PHOTOGRAPHS, "emoji": _all_glyphs() if kind == "emoji" else ()}
    if kind not in tables:
        raise InputError(f"No samples {kind!r}: there are {', '.join(tables)}.{nearest(kind, tables)}")
    if name not in tables[kind]:
        some = ", ".join(list(tables[kind])[:5])
        raise InputError(
            f"No sample {sample!r}: there are {some}{', ...' * (kind == 'emoji')}.{nearest(name, tables[kind])}"
        )
    if kind == "emoji":
        if entry.model_fields_set & {"part", "size", "count"}:
            raise InputError(f"{sample} with part, size or count: a glyph is one picture of 64 x 64. Leave them out.")
        pictures = [_all_glyphs()[name]]
    else:
        pictures = crops(halve(photograph(name, entry.part)), entry.size, entry.count)
    where = [
        sample,
        *([entry.part] if entry.part != "held_out" else []),
        *([f"{entry.size} px"] if entry.size != 64 else []),
    ]
    for i, picture in enumerate(pictures):
        number = [f"crop {i}"] if entry.count > 1 else []
        yield _source(", ".join(where + number), name, picture, partial(np.copy, picture))


@lru_cache(maxsize=1)
def _all_glyphs() -> dict[str, NDArray[np.uint8]]:
    return glyphs("whole")


def masks_of(entry: _Mask, images: Sequence[Source], home: Path) -> Callable[[Source], Source]:
    """What gives the mask of an image.

    Args:
        entry: one of a sweep's `masks`.
        images: all that it must serve.
        home: the folder that paths are relative to.
    Raises:
        InputError: options that do not go together, or a file, folder or generator that is not there.
    """
    _one_of(entry, "A mask", "generator", "path")
    if entry.generator is not None:
        if entry.keep_mask:
            raise InputError(f"keep_mask for the mask {entry.generator}: a generator knows its polarity. Leave it out.")
        return partial(_generated, entry, {})
    assert entry.path is not None
    if entry.options:
        raise InputError(f"options for the mask {entry.path}: they are a generator's. Leave them out.")
    path = home / entry.path
    if path.is_dir():
        files = picture_files(path)
        names = {stem: f"{entry.path.rstrip('/')}/{file.name}" for stem, file in files.items()}
        check_paired({image.stem: image.name for image in images}, names, "the images", entry.path)
        return lambda image: _mask_file(names[image.stem], files[image.stem], entry.keep_mask, image)
    if not path.exists():
        there = ", ".join(GENERATORS)
        raise InputError(f"No mask {path}: it is a file, a folder, or one of {there}.{nearest(entry.path, GENERATORS)}")
    return lambda image: _mask_file(str(entry.path), path, entry.keep_mask, image)


def _generated(entry: _Mask, made: dict[tuple[int, int], Source], image: Source) -> Source:
    """A generator's mask, drawn once for every size."""
    assert entry.generator is not None
    if image.size not in made:
        given = ", ".join(f"{name}={value}" for name, value in entry.options.items())
        name = f"{entry.generator}({given})" if given else entry.generator
        keep = generate(entry.generator, *image.size, **entry.options)
        made[image.size] = Source(name, entry.generator, image.size, _digest(keep.numpy()), lambda: keep)
    return made[image.size]


def _mask_file(name: str, path: Path, keep_mask: bool, image: Source) -> Source:
    def read() -> Float[Tensor, "1 h w"]:
        try:
            return read_keep(**{"keep_mask" if keep_mask else "mask_image": path}, sizes=[image.size])[0]
        except InputError as error:
            raise InputError(f"{name} on {image.name}: {error}") from error

    keep = read()
    if bool(known(keep).all()):
        raise InputError(f"{name} leaves no hole in {image.name}: white is repainted, unless keep_mask: true is given.")
    return Source(name, path.stem, image.size, _digest(keep.numpy()), read)


def _digest(array: NDArray[Any]) -> str:
    """16 hexadecimal digits of the SHA-256 of an array's shape and values."""
    return hashlib.sha256(repr((array.shape, array.dtype.name)).encode() + array.tobytes()).hexdigest()[:16]
