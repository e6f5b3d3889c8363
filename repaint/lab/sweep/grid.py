"""Read the grid of a sweep from YAML.

A cell of the grid is one result: an image, a mask, a method, a condition and a seed. Its key is a hash of everything
that decides the result, including the pixels of image and mask. It identifies the cell in a file of results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from repaint import yaml_files
from repaint.errors import InputError, RepaintError
from repaint.lab.sweep.rows import config_key
from repaint.lab.sweep.sources import ImageEntry, MaskEntry, Source, Strict, images_of, masks_of
from repaint.priors.load import bundled
from repaint.sampling import presets
from repaint.sampling.method import Method, as_method, as_methods
from repaint.sampling.presets import Integer, Number
from repaint.sampling.rng import MAX_SEED

__all__ = ["Cell", "Grid", "SweepConfig", "batches", "read_grid", "spread"]

OWN_NAME = "$name"  # in a class or prompt: replaced by the name of the bundled sample


class InlineSchedule(presets.Preset):
    """A preset written in the sweep file."""

    name: str = Field(min_length=1)


class Overrides(Strict):
    """Replacements for parts of a preset; see `repaint.sampling.method.as_method`."""

    merge: str | None = None
    solver: str | None = None
    corrector: str | None = None
    temperature: Number | None = None


def _kind(value: object) -> str:
    return "(name)" if isinstance(value, str) else "(inline)"


Schedule = Annotated[Annotated[str, Tag("(name)")] | Annotated[InlineSchedule, Tag("(inline)")], Discriminator(_kind)]


class SweepConfig(Strict):
    """The content of a sweep file. The grid is the product of its lists.

    Attributes:
        about, source: purpose of the sweep, and the publication that it reproduces.
        prior: bundled name, folder (relative to the file) or Hub id.
        dtype: of the model.
        images, masks: see `repaint.lab.sweep.sources`; a string is the short form of an entry.
        schedules: preset names, YAML files, or inline presets with a name.
        methods: replacements for parts of every schedule; the default replaces nothing.
        seeds: of the results.
        classes, prompts: null: no class or prompt; `$name` is replaced by the name of the bundled sample.
        guidance_scale: weight of classifier-free guidance, for results with a class or prompt.
        batch: results computed at once. It affects speed and memory, but not results.
    """

    about: str = ""
    source: str = ""
    prior: str = "textures"
    dtype: str = "float32"
    images: tuple[ImageEntry, ...] = Field(min_length=1)
    masks: tuple[MaskEntry, ...] = Field(min_length=1)
    schedules: tuple[Schedule, ...] = Field(min_length=1)
    methods: tuple[Overrides, ...] = Field(default=(Overrides(),), min_length=1)
    seeds: tuple[Annotated[Integer, Field(ge=0, le=MAX_SEED)], ...] = Field(default=(0,), min_length=1)
    classes: tuple[str | int | None, ...] = Field(default=(None,), min_length=1)
    prompts: tuple[str | None, ...] = Field(default=(None,), min_length=1)
    guidance_scale: Number | None = None
    batch: Integer = Field(default=16, ge=1)


@dataclass(frozen=True)
class Cell:
    """One result to compute."""

    prior: Mapping[str, Any]
    image: Source
    mask: Source
    method: Method
    walk: Mapping[str, Any]
    class_label: str | int | None
    prompt: str | None
    guidance_scale: float | None
    seed: int

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON values."""
        height, width = self.image.size
        method = {name: value for name, value in self.method.describe().items() if name != "name"}
        data = {
            "prior": self.prior,
            "image": {"name": self.image.name, "height": height, "width": width, "sha256": self.image.sha256},
            "mask": {"name": self.mask.name, "sha256": self.mask.sha256},
            "schedule": self.method.name,
            "method": {**method, **self.walk},
            "class_label": self.class_label,
            "prompt": self.prompt,
            "guidance_scale": self.guidance_scale,
            "seed": self.seed,
        }
        plain: dict[str, Any] = json.loads(json.dumps(data))
        return plain

    @cached_property
    def key(self) -> str:
        """See `config_key`."""
        return config_key(self.config)

    @property
    def conditions(self) -> dict[str, Any]:
        """Keyword arguments for the pipeline, without those that are None."""
        given = {"class_labels": self.class_label, "prompt": self.prompt, "guidance_scale": self.guidance_scale}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Grid:
    """A checked sweep.

    Attributes:
        config: content of the file.
        prior: name or folder of the prior.
        cells: in the order of the file, methods outermost.
    """

    config: SweepConfig
    prior: str
    cells: tuple[Cell, ...]


def read_grid(path: Path) -> Grid:
    """Read a sweep file, and check all its images, masks and schedules.

    Raises:
        InputError: an invalid file. The message is one line and begins with the path.
    """
    if not yaml_files.is_yaml(path):
        raise InputError(f"{path}: the suffix of a sweep file must be .yaml or .yml.")
    text = yaml_files.read_text(path, InputError)
    config = yaml_files.parse(
        text, str(path), SweepConfig, InputError, what="a sweep", begin="images: [textures:brick]"
    )
    try:
        cells = tuple(_cells(config, path.parent))
        _check_different(cells)
    except RepaintError as error:
        raise InputError(f"{path}: {error}") from error
    return Grid(config, _prior(config.prior, path.parent), cells)


def spread(cells: Sequence[Cell], limit: int | None) -> tuple[Cell, ...]:
    """Select at most `limit` cells, evenly spread over the grid; None: all."""
    if limit is None or limit >= len(cells):
        return tuple(cells)
    return tuple(cells[i * len(cells) // limit] for i in range(limit))


def batches(cells: Sequence[Cell], batch: int) -> list[list[Cell]]:
    """Group cells of one method, size and kind of condition into batches of at most `batch`.

    The batches depend only on the cells, so that each result is computed in the same batch in every process and after
    every interruption.
    """
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        kind = cell.method, cell.image.size, tuple(cell.conditions), cell.guidance_scale
        groups.setdefault(kind, []).append(cell)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def _cells(config: SweepConfig, home: Path) -> Iterator[Cell]:
    images = [source for entry in config.images for source in images_of(entry, home)]
    masks = [masks_of(entry, images, home) for entry in config.masks]
    prior = {"name": config.prior, "dtype": config.dtype}
    pairs = [(image, mask(image)) for image in images for mask in masks]
    for (method, walk), (image, mask), label, prompt, seed in product(
        _methods(config, home), pairs, config.classes, config.prompts, config.seeds
    ):
        label, prompt = _own(label, image), _own(prompt, image)
        scale = None if label is None and prompt is None else config.guidance_scale
        yield Cell(prior, image, mask, method, walk, label, prompt, scale, seed)


def _check_different(cells: Sequence[Cell]) -> None:
    seen = set()
    for cell in cells:
        if cell.key in seen:
            raise InputError(
                f"The cells of the grid must differ, but {cell.image.name} with {cell.mask.name}, {cell.method.name} "
                f"and seed {cell.seed} is repeated. Remove the duplicate."
            )
        seen.add(cell.key)


def _own(text: Any, image: Source) -> Any:
    if not isinstance(text, str) or OWN_NAME not in text:
        return text
    if not image.name.startswith(("textures:", "emoji:")):
        raise InputError(
            f"{text!r} needs a bundled sample, but the image is {image.name}. Replace {OWN_NAME} by a name."
        )
    return text.replace(OWN_NAME, image.stem)


def _prior(name: str, home: Path) -> str:
    return str(home / name) if name not in bundled() and (home / name).is_dir() else name


def _methods(config: SweepConfig, home: Path) -> list[tuple[Method, dict[str, Any]]]:
    """List each schedule with each override: (method, walk as written in the file)."""
    found = []
    for entry, changes in product(config.schedules, config.methods):
        name, preset = _preset(entry, home)
        parts = changes.model_dump(exclude_none=True)
        method = as_method(Method.from_content(name, preset), **parts)
        label = ", ".join([name, *(_label(value) for value in parts.values())])
        walk = preset.model_dump(mode="json", include={"jumps", "levels"}, exclude_defaults=True)
        found.append((replace(method, name=label), walk))
    as_methods(method for method, _ in found)
    return found


def _label(value: str | float) -> str:
    return f"temperature {value:g}" if isinstance(value, float) else "no corrector" if value == "none" else value


def _preset(entry: str | InlineSchedule, home: Path) -> tuple[str, presets.Preset]:
    if isinstance(entry, InlineSchedule):
        return entry.name, entry
    return presets.read(home / entry if yaml_files.is_yaml(entry) else entry)
