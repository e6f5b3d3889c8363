"""A sweep's grid: what its YAML may say, and the cells that it stands for.

A cell is one result: an image, a mask, a method, a condition and a seed. Its key is a hash of all that decides the
result, pixels of image and mask included, so that a cell is known again in a file of results whatever its place.
"""

from __future__ import annotations

import hashlib
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
from repaint.lab.sweep.sources import ImageEntry, MaskEntry, Source, Strict, images_of, masks_of
from repaint.priors.load import bundled
from repaint.sampling import presets
from repaint.sampling.method import Method, as_method
from repaint.sampling.rng import MAX_SEED

__all__ = ["Cell", "Grid", "SweepConfig", "batches", "read_grid", "spread"]

OWN_NAME = "$name"  # in a class or prompt: the name of the bundled sample itself


class InlineSchedule(presets.Preset):
    """A preset written into the sweep itself."""

    name: str = Field(min_length=1)


class Overrides(Strict):
    """Parts of a preset that are replaced; see `repaint.sampling.method.as_method`."""

    merge: str | None = None
    solver: str | None = None
    corrector: str | None = None


def _kind(value: object) -> str:
    return "(name)" if isinstance(value, str) else "(inline)"


Schedule = Annotated[Annotated[str, Tag("(name)")] | Annotated[InlineSchedule, Tag("(inline)")], Discriminator(_kind)]


class SweepConfig(Strict):
    """One YAML file: the grid is the product of its lists.

    Attributes:
        about, source: what it is for, and what it reproduces.
        prior: bundled name, folder (relative to the file) or Hub id.
        dtype: the model's type.
        images, masks: see `repaint.lab.sweep.sources`; a string is the short form of an entry.
        schedules: preset names, YAML files, or presets written in place with a name.
        methods: what replaces parts of every schedule; the default replaces nothing.
        seeds: of the results.
        classes, prompts: null is none; `$name` stands for the name of the bundled sample.
        guidance_scale: weight of classifier-free guidance, for results with a class or prompt.
        batch: results computed at once. It decides speed and memory, not results.
    """

    about: str = ""
    source: str = ""
    prior: str = "textures"
    dtype: str = "float32"
    images: tuple[ImageEntry, ...] = Field(min_length=1)
    masks: tuple[MaskEntry, ...] = Field(min_length=1)
    schedules: tuple[Schedule, ...] = Field(min_length=1)
    methods: tuple[Overrides, ...] = Field(default=(Overrides(),), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(default=(0,), min_length=1)
    classes: tuple[str | int | None, ...] = Field(default=(None,), min_length=1)
    prompts: tuple[str | None, ...] = Field(default=(None,), min_length=1)
    guidance_scale: float | None = None
    batch: int = Field(default=16, ge=1)


@dataclass(frozen=True)
class Cell:
    """One result to be computed."""

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
        """All that decides the result, as JSON would give it back."""
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
        """16 hexadecimal digits of the SHA-256 of `config`."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def conditions(self) -> dict[str, Any]:
        """Keyword arguments for the pipeline, without those that ask for nothing."""
        asked = {"class_labels": self.class_label, "prompt": self.prompt, "guidance_scale": self.guidance_scale}
        return {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Grid:
    """A checked sweep.

    Attributes:
        config: what the file says.
        prior: the prior's name, or its folder found.
        cells: in the order of the file, methods outermost.
    """

    config: SweepConfig
    prior: str
    cells: tuple[Cell, ...]


def read_grid(path: Path) -> Grid:
    """A sweep's YAML file, with every image and mask read once and every schedule checked.

    Raises:
        InputError: whatever is wrong with it, in one line that begins with the file.
    """
    if not yaml_files.is_yaml(path):
        raise InputError(f"{path} does not end in .yaml or .yml: a sweep is a YAML file. Give its path.")
    text = yaml_files.read_text(path, InputError)
    said = yaml_files.parse(text, str(path), SweepConfig, InputError, what="a sweep", begin="images: [textures:brick]")
    try:
        cells = tuple(_cells(said, path.parent))
        _check_different(cells)
    except RepaintError as error:
        raise InputError(f"{path}: {error}") from error
    return Grid(said, _prior(said.prior, path.parent), cells)


def spread(cells: Sequence[Cell], limit: int | None) -> tuple[Cell, ...]:
    """At most `limit` cells, evenly over the grid; all of them for None."""
    if limit is None or limit >= len(cells):
        return tuple(cells)
    return tuple(cells[i * len(cells) // limit] for i in range(limit))


def batches(cells: Sequence[Cell], batch: int) -> list[list[Cell]]:
    """Cells that are computed at once: of one method, size and kind of condition, `batch` at most.

    A function of the cells alone, so that a result is computed in the same batch whichever process does it, and
    whatever was done before.
    """
    groups: dict[Any, list[Cell]] = {}
    for cell in cells:
        kind = cell.method, cell.image.size, tuple(cell.conditions), cell.guidance_scale
        groups.setdefault(kind, []).append(cell)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def _cells(said: SweepConfig, home: Path) -> Iterator[Cell]:
    images = [source for entry in said.images for source in images_of(entry, home)]
    masks = [masks_of(entry, images, home) for entry in said.masks]
    prior = {"name": said.prior, "dtype": said.dtype}
    painted = [(image, mask(image)) for image in images for mask in masks]
    for (method, walk), (image, mask), label, prompt, seed in product(
        _methods(said, home), painted, said.classes, said.prompts, said.seeds
    ):
        label, prompt = _own(label, image), _own(prompt, image)
        scale = None if label is None and prompt is None else said.guidance_scale
        yield Cell(prior, image, mask, method, walk, label, prompt, scale, seed)


def _check_different(cells: Sequence[Cell]) -> None:
    seen = set()
    for cell in cells:
        if cell.key in seen:
            raise InputError(
                f"{cell.image.name} with {cell.mask.name}, {cell.method.name} and seed {cell.seed} stands in the grid "
                "twice: each cell is one row. Remove what is repeated."
            )
        seen.add(cell.key)


def _own(text: Any, image: Source) -> Any:
    if not isinstance(text, str) or OWN_NAME not in text:
        return text
    if not image.name.startswith(("textures:", "emoji:")):
        raise InputError(f"{text!r} for {image.name}: only bundled samples have a name of their own. Write one out.")
    return text.replace(OWN_NAME, image.stem)


def _prior(name: str, home: Path) -> str:
    return str(home / name) if name not in bundled() and (home / name).is_dir() else name


def _methods(said: SweepConfig, home: Path) -> list[tuple[Method, dict[str, Any]]]:
    """Every schedule under every override, with its walk as it is written."""
    found = []
    for entry, changes in product(said.schedules, said.methods):
        name, preset = _preset(entry, home)
        parts = changes.model_dump(exclude_none=True)
        method = as_method(Method.from_content(name, preset), **parts)
        label = ", ".join([name, *("no corrector" if text == "none" else text for text in parts.values())])
        walk = preset.model_dump(mode="json", include={"jumps", "levels"}, exclude_defaults=True)
        found.append((replace(method, name=label), walk))
    names = [method.name for method, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two schedules are called {name!r}: rows are told apart by it. Rename or remove one.")
    return found


def _preset(entry: str | InlineSchedule, home: Path) -> tuple[str, presets.Preset]:
    if isinstance(entry, InlineSchedule):
        return entry.name, entry
    return presets.read(home / entry if yaml_files.is_yaml(entry) else entry)
