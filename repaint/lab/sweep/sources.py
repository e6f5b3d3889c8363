"""The images (files, folders, bundled samples) and masks (generators, files, folders) of a sweep."""

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
from repaint.pictures.decoding import read_upright
from repaint.pictures.mask_shapes import GENERATORS, generate
from repaint.pictures.masks import known, read_keep
from repaint.pictures.pairs import check_paired, picture_files
from repaint.pictures.samples import PHOTOGRAPHS, Part, crops, glyphs, halve, photograph
from repaint.sampling.presets import Integer

__all__ = ["ImageEntry", "MaskEntry", "Source", "Strict", "images_of", "masks_of", "picture_of"]


class Strict(BaseModel):
    """A model that rejects unknown keys, so that a typo is never read as a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Image(Strict):
    """A file or folder, or a bundled sample: `textures:brick` or `emoji:grinning face`.

    Attributes:
        path: relative to the YAML file.
        sample: name of a bundled sample.
        part, size, count: which crops of a photograph to take, at the scale of the training data of `textures`. Not
            for glyphs, which are 64 x 64.
    """

    path: str | None = None
    sample: str | None = None
    part: Part = "held_out"
    size: Integer = Field(default=64, ge=1)
    count: Integer = Field(default=1, ge=1)


class _Mask(Strict):
    """A shape of `repaint.pictures.mask_shapes` with its options, a file for all images, or a folder paired by name."""

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
    """An image or a mask that is read on demand.

    Attributes:
        name: in the rows.
        stem: pairs images with masks; of a bundled sample, its name.
        size: (height, width).
        sha256: of the pixels, 16 digits.
        read: returns (H, W, 3) uint8 for an image; (1, H, W) in [0, 1] for a mask, 1 keeps the input pixel.
    """

    name: str
    stem: str
    size: tuple[int, int]
    sha256: str
    read: Callable[[], Any]


def _check_one_of(entry: BaseModel, kind: str, *names: str) -> None:
    given = [name for name in names if getattr(entry, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"{kind} must have exactly one of the keys {' and '.join(names)}, but has {' and '.join(given) or 'none'}."
        )


def images_of(entry: _Image, home: Path) -> list[Source]:
    """List the images of an entry.

    Args:
        entry: one of the `images` of a sweep.
        home: folder that paths are relative to.
    Raises:
        InputError: a missing file, folder or sample, or an invalid entry.
    """
    _check_one_of(entry, "An image", "path", "sample")
    if entry.sample is not None:
        return list(_samples(entry.sample, entry))
    assert entry.path is not None
    path = home / entry.path
    if path.is_dir():
        return [_image_file(f"{entry.path.rstrip('/')}/{file.name}", file) for file in picture_files(path).values()]
    if not path.exists():
        samples = [f"textures:{name}" for name in PHOTOGRAPHS]
        raise InputError(
            f"{path}: no such file or folder. Or pass a bundled sample, such as textures:brick or emoji:grinning face."
            f"{nearest(entry.path, samples)}"
        )
    return [_image_file(entry.path, path)]


def _image_file(name: str, path: Path) -> Source:
    read = partial(read_upright, path)
    return _source(name, path.stem, read(), read)


def _source(name: str, stem: str, image: NDArray[np.uint8], read: Callable[[], Any]) -> Source:
    return Source(name, stem, (image.shape[0], image.shape[1]), _digest(image), read)


def _samples(sample: str, entry: _Image) -> Iterator[Source]:
    kind, _, name = sample.partition(":")
    tables: dict[str, Any] = {"textures": PHOTOGRAPHS, "emoji": _all_glyphs() if kind == "emoji" else ()}
    if kind not in tables:
        raise InputError(f"sample={sample!r} must begin with one of {', '.join(tables)}.{nearest(kind, tables)}")
    if name not in tables[kind]:
        names = ", ".join(list(tables[kind])[:5]) + ", ..." * (kind == "emoji")
        raise InputError(f"sample={sample!r} must be one of {names}.{nearest(name, tables[kind])}")
    if kind == "emoji":
        if entry.model_fields_set & {"part", "size", "count"}:
            raise InputError(f"{sample}: part, size and count must be left out for a glyph (one picture of 64 x 64).")
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


def picture_of(name: str) -> str:
    """Return the picture that an image of a sweep shows: its own name, or the photograph that it was cut from.

    >>> picture_of("textures:brick, 48 px, crop 1"), picture_of("folder/a, b.png")
    ('textures:brick', 'folder/a, b.png')
    """
    return name.partition(",")[0] if name.startswith("textures:") else name


@lru_cache(maxsize=1)
def _all_glyphs() -> dict[str, NDArray[np.uint8]]:
    return glyphs("whole")


def masks_of(entry: _Mask, images: Sequence[Source], home: Path) -> Callable[[Source], Source]:
    """Return a function from an image to its mask.

    Args:
        entry: one of the `masks` of a sweep.
        images: all images that need a mask.
        home: folder that paths are relative to.
    Raises:
        InputError: options that exclude each other, or a missing file, folder or generator.
    """
    _check_one_of(entry, "A mask", "generator", "path")
    if entry.generator is not None:
        if entry.keep_mask:
            raise InputError(f"keep_mask must be left out for the generated mask {entry.generator}.")
        return partial(_generated, entry, {})
    assert entry.path is not None
    if entry.options:
        raise InputError(f"options must be left out for the mask {entry.path} (they belong to generators).")
    path = home / entry.path
    if path.is_dir():
        files = picture_files(path)
        names = {stem: f"{entry.path.rstrip('/')}/{file.name}" for stem, file in files.items()}
        check_paired({image.stem: image.name for image in images}, names, "the images", entry.path)
        return lambda image: _mask_file(names[image.stem], files[image.stem], entry.keep_mask, image)
    if not path.exists():
        known_masks = ", ".join(GENERATORS)
        raise InputError(
            f"{path}: no such file or folder. Or pass a generator: {known_masks}.{nearest(entry.path, GENERATORS)}"
        )
    return lambda image: _mask_file(str(entry.path), path, entry.keep_mask, image)


def _generated(entry: _Mask, cache: dict[tuple[int, int], Source], image: Source) -> Source:
    """Return the mask of a generator, drawn once for each size."""
    assert entry.generator is not None
    if image.size not in cache:
        given = ", ".join(f"{name}={value}" for name, value in entry.options.items())
        name = f"{entry.generator}({given})" if given else entry.generator
        keep = generate(entry.generator, *image.size, **entry.options)
        cache[image.size] = Source(name, entry.generator, image.size, _digest(keep.numpy()), lambda: keep)
    return cache[image.size]


def _mask_file(name: str, path: Path, keep_mask: bool, image: Source) -> Source:
    def read() -> Float[Tensor, "1 h w"]:
        try:
            return read_keep(*((None, path) if keep_mask else (path, None)), sizes=[image.size])[0]
        except InputError as error:
            raise InputError(f"{name} on {image.name}: {error}") from error

    keep = read()
    if bool(known(keep).all()):
        raise InputError(f"{name} on {image.name}: the mask has no hole. White is repainted, unless keep_mask is true.")
    return Source(name, path.stem, image.size, _digest(keep.numpy()), read)


def _digest(array: NDArray[Any]) -> str:
    """Compute 16 hexadecimal digits of the SHA-256 of the shape and values of an array."""
    return hashlib.sha256(repr((array.shape, array.dtype.name)).encode() + array.tobytes()).hexdigest()[:16]
