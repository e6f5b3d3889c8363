"""Conversion of the original RePaint's .yml configuration files to presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field

from repaint import yaml_files
from repaint.checks import shown
from repaint.errors import ScheduleError

__all__ = ["Converted", "convert"]

NESTED = ("jump2_length", "jump2_n_sample", "jump3_length", "jump3_n_sample")


class _Jumps(BaseModel):
    """`schedule_jump_params`. The parameters in NESTED and n_sample must be 1: no paper defines other values."""

    model_config = ConfigDict(extra="forbid")

    t_T: int = Field(ge=1)
    n_sample: int = 1
    jump_length: int = Field(default=1, ge=1)
    jump_n_sample: int = Field(default=1, ge=1)
    jump2_length: int = 1
    jump2_n_sample: int = 1
    jump3_length: int = 1
    jump3_n_sample: int = 1
    start_resampling: int | None = Field(default=None, ge=0)


class _Original(BaseModel):
    model_config = ConfigDict(extra="allow")

    schedule_jump_params: _Jumps
    timestep_respacing: str | int | None = None


class Converted(NamedTuple):
    """The result of a conversion.

    Attributes:
        text: YAML in the format of `schedules/`.
        left_out: keys of the file that do not describe the walk (model, data, program).
    """

    text: str
    left_out: tuple[str, ...]


def convert(path: str | Path) -> Converted:
    """Convert a configuration file of the original RePaint to a preset.

    The result is `schedules/paper.yaml` with the file's numbers: T = t_T levels spaced evenly over the training
    steps, j = jump_length, r = jump_n_sample.

    Source:
        Lugmayr et al. 2022 (arXiv 2201.09865), Sec. 4.2 and 5.1.
    Raises:
        ScheduleError: the file cannot be read, lacks `schedule_jump_params`, or uses a parameter without a
            published definition.
    """
    path = Path(path)
    read = yaml_files.parse(
        yaml_files.read_text(path, ScheduleError),
        str(path),
        _Original,
        ScheduleError,
        what="a configuration of the original RePaint",
        begin="schedule_jump_params:",
    )
    jumps = read.schedule_jump_params
    for key in ("n_sample", *NESTED):
        if getattr(jumps, key) != 1:
            raise ScheduleError(
                f"{path}: {key}={shown(getattr(jumps, key))} must be 1 (other values have no published definition). "
                "Write the walk as a preset with 'jumps' or 'levels' instead."
            )
    if read.timestep_respacing not in (None, "", jumps.t_T, str(jumps.t_T)):
        raise ScheduleError(
            f"{path}: timestep_respacing={shown(read.timestep_respacing)} must equal t_T={jumps.t_T} (the walk covers "
            "every step)."
        )
    content: dict[str, Any] = {
        "about": f"The walk of {path.name}.",
        "source": "A configuration of the original RePaint (arXiv 2201.09865)",
        "steps": jumps.t_T,
        "spacing": "linspace",
    }
    if jumps.jump_n_sample > 1:
        rule = {"jump_length": jumps.jump_length, "jump_n_sample": jumps.jump_n_sample}
        if jumps.start_resampling is not None:
            rule["start_resampling"] = jumps.start_resampling
        content["jumps"] = [rule]
    content |= {"merge": "fresh", "solver": "ddpm"}
    return Converted(yaml.safe_dump(content, sort_keys=False), tuple(sorted(read.model_extra or {})))
