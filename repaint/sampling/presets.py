"""The YAML presets of `schedules/`: finding, reading and checking them.

A preset describes a whole method. This module reads it; `schedule.py` and `method.py` build objects from it.
"""

from __future__ import annotations

from functools import lru_cache, partial
from numbers import Integral
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from repaint import yaml_files
from repaint.checks import nearest, shown
from repaint.errors import ScheduleError

__all__ = [
    "Integer",
    "JumpRule",
    "Number",
    "Preset",
    "available",
    "folder",
    "parse",
    "published",
    "read",
    "read_named",
    "read_yaml",
]


def _plain(kind: str, value: object) -> object:
    """Convert any integer type to int, and refuse what pydantic would read as a number: texts, true and false."""
    if isinstance(value, (bool, str)):
        raise ValueError(f"must be {kind}")
    return int(value) if isinstance(value, Integral) else value


Integer = Annotated[int, BeforeValidator(partial(_plain, "an integer"))]
Number = Annotated[float, BeforeValidator(partial(_plain, "a number"))]


class JumpRule(BaseModel):
    """Resample at a set of levels: after the step that reaches level k, renoise up and denoise again.

    Attributes:
        jump_length: how many levels a jump goes up (the paper's j).
        jump_n_sample: how many times each stretch is sampled in total (the paper's r); 1 makes no jump.
        start_resampling: the highest level k that jumps; None: the highest the paper allows, steps - j - 1.
        stop_resampling: the lowest level k that jumps.
        every: distance between levels that jump, counted up from `stop_resampling`; None: jump_length.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jump_length: Integer = Field(ge=1)
    jump_n_sample: Integer = Field(ge=1)
    start_resampling: Integer | None = Field(default=None, ge=0)
    stop_resampling: Integer = Field(default=0, ge=0)
    every: Integer | None = Field(default=None, ge=1)

    def anchors(self, steps: int) -> range:
        """List the levels k after which this rule jumps, on a grid of `steps` levels."""
        top = steps - self.jump_length - 1
        high = top if self.start_resampling is None else min(top, self.start_resampling)
        return range(self.stop_resampling, high + 1, self.every or self.jump_length)


class Counts(BaseModel):
    """The cost of a walk, as a preset states it; `Method` checks it against the walk."""

    # pydantic before 2.10 warns about field names that start with model_
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    transitions: Integer
    renoises: Integer
    model_calls: Integer
    gradient_calls: Integer = 0


class Preset(BaseModel):
    """The content of one YAML file: `jumps` (rules) or `levels` (the whole walk); without either, a plain descent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    source: str = ""
    steps: Integer = Field(ge=1)
    spacing: str | None = None
    guided: bool = True
    jumps: tuple[JumpRule, ...] = ()
    levels: tuple[Integer, ...] | None = None
    start: Integer | None = None
    init: Literal["noise", "smooth"] = "noise"
    temperature: Number = 1.0
    merge: str = "fresh"
    solver: str = "ddpm"
    corrector: str | None = None
    guidance: str | None = None
    kernel: str | None = None
    unverified: str = ""
    counts: Counts | None = None
    measured: dict[str, dict[str, Number]] = Field(default_factory=dict)


def folder() -> Path:
    """Find the `schedules/` folder: inside an installed package, or beside it in a source checkout.

    Raises:
        ScheduleError: the folder is missing, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "schedules", package.parent / "schedules"):
        if (candidate / "paper.yaml").is_file():
            return candidate
    raise ScheduleError(
        f"{package}: the schedules folder is missing. Reinstall repaint, or pass the path of a YAML file."
    )


def available() -> list[str]:
    """List the names of the bundled presets, sorted, without those in `published`."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def published() -> list[str]:
    """List the names of the bundled presets of published methods, sorted. They are read by name like any other."""
    return sorted(path.stem for path in (folder() / "published").glob("*.yaml"))


def read(name_or_path: str | Path) -> tuple[str, Preset]:
    """Read a preset by name, or by the path of a YAML file, as (name, content).

    Raises:
        ScheduleError: no such preset or file, or a file that is not a valid preset.
    """
    path = Path(name_or_path)
    return _read(path) if yaml_files.is_yaml(path) else read_named(str(name_or_path), ", or a path ending in .yaml")


def read_named(name: str, otherwise: str = "") -> tuple[str, Preset]:
    """Read a bundled preset, published methods included, by name. No other file is read.

    Args:
        name: the name.
        otherwise: what else the caller accepts, for the error.
    Raises:
        ScheduleError: no such preset.
    """
    names, others = available(), published()
    if name not in (*names, *others):
        raise ScheduleError(
            f"preset={shown(str(name))} must be one of {', '.join(names)}, a published method (repaint schedule list "
            f"--published){otherwise}.{nearest(str(name), [*names, *others])}"
        )
    return _read(folder() / ("published" if name in others else "") / f"{name}.yaml")


def _read(path: Path) -> tuple[str, Preset]:
    return path.stem, parse(yaml_files.read_text(path, ScheduleError), str(path))


def read_yaml(path: str | Path) -> tuple[str, Preset]:
    """Read a preset by the path of a YAML file.

    Raises:
        ScheduleError: the path does not end in .yaml or .yml, or the file is missing or not a valid preset.
    """
    if not yaml_files.is_yaml(path):
        raise ScheduleError(f"path={path} must end in .yaml or .yml (use from_preset for the name of a preset).")
    return _read(Path(path))


@lru_cache(maxsize=128)  # PyYAML takes 15 milliseconds for a preset, which each call of a pipeline reads
def parse(text: str, origin: str) -> Preset:
    """Parse and check the YAML text of a preset; `origin` names it in errors.

    Raises:
        ScheduleError: not a valid preset.
    """
    return yaml_files.parse(text, origin, Preset, ScheduleError, what="a preset", begin="steps: 50")
