"""The YAML files of `schedules/`: where they are, what they may say, and one clear error where they are wrong.

A preset is data about a whole method. This file reads and checks it; `schedule.py` and `method.py` give it meaning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from repaint import yaml_files as config
from repaint.checks import nearest, shown
from repaint.errors import ScheduleError

__all__ = ["JumpRule", "Preset", "available", "folder", "parse", "read", "read_yaml"]


class JumpRule(BaseModel):
    """Resample at some levels: after the step that reaches level k, renoise up and denoise again.

    Attributes:
        jump_length: how many levels a jump goes up (the paper's j).
        jump_n_sample: how often each piece is sampled in all (the paper's r); 1 means no jump.
        start_resampling: the highest level k that jumps; None is the highest that the paper allows, steps - j - 1.
        stop_resampling: the lowest level k that jumps.
        every: distance between levels that jump, counted up from `stop_resampling`; None is jump_length.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jump_length: int = Field(ge=1)
    jump_n_sample: int = Field(ge=1)
    start_resampling: int | None = Field(default=None, ge=0)
    stop_resampling: int = Field(default=0, ge=0)
    every: int | None = Field(default=None, ge=1)

    def anchors(self, steps: int) -> range:
        """The levels k after which this rule jumps, on a grid of `steps` levels."""
        top = steps - self.jump_length - 1
        high = top if self.start_resampling is None else min(top, self.start_resampling)
        return range(self.stop_resampling, high + 1, self.every or self.jump_length)


class Counts(BaseModel):
    """What a walk costs; recomputed and compared whenever a preset is read."""

    # pydantic before 2.10 warns of any name that begins as its own methods do
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    transitions: int
    renoises: int
    model_calls: int


class Preset(BaseModel):
    """One YAML file. `jumps` (rules) or `levels` (the whole walk), not both; neither is a straight descent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str = ""
    source: str = ""
    steps: int = Field(ge=1)
    spacing: str | None = None
    jumps: tuple[JumpRule, ...] = ()
    levels: tuple[int, ...] | None = None
    merge: str = "fresh"
    solver: str = "ddpm"
    corrector: str | None = None
    counts: Counts | None = None
    measured: dict[str, Any] = Field(default_factory=dict)


def folder() -> Path:
    """`schedules/`: inside the package when it was installed from a wheel, beside it in a source checkout.

    Raises:
        ScheduleError: there is none: the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "schedules", package.parent / "schedules"):
        if (candidate / "paper.yaml").is_file():
            return candidate
    raise ScheduleError(
        f"No presets beside {package}: the installation is incomplete. Reinstall repaint, or pass a YAML file's path."
    )


def available() -> list[str]:
    """Names of the presets that ship, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def read(name_or_path: str | Path) -> tuple[str, Preset]:
    """A preset by name or by a YAML file's path: (its name, its content).

    Raises:
        ScheduleError: no such preset or file, or a file that is not a valid preset.
    """
    path = Path(name_or_path)
    if not config.is_yaml(path):
        if str(name_or_path) not in available():
            raise ScheduleError(
                f"No preset {shown(str(name_or_path))}: there are {', '.join(available())}."
                f"{nearest(str(name_or_path), available())} A file of your own is named by its path, ending in .yaml."
            )
        path = folder() / f"{name_or_path}.yaml"
    return path.stem, parse(config.read_text(path, ScheduleError), str(path))


def read_yaml(path: str | Path) -> tuple[str, Preset]:
    """A preset by a YAML file's path alone.

    Raises:
        ScheduleError: a bare name, or a file that is missing or no preset.
    """
    if not config.is_yaml(path):
        raise ScheduleError(f"{path} does not end in .yaml or .yml: rename it, or use from_preset for a preset's name.")
    return read(path)


def parse(text: str, origin: str) -> Preset:
    """Check YAML text as a preset; `origin` names it in errors."""
    return config.parse(text, origin, Preset, ScheduleError, what="a preset", begin="steps: 50")
