"""A method is a point: walk x level spacing x merge x solver x corrector. Presets name some of them.

Parts are written as in the YAML files, see `repaint.sampling.parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from repaint.checks import shown
from repaint.errors import NoiseLevelError, ScheduleError
from repaint.sampling import parts, presets
from repaint.sampling.corrector import Corrector, Langevin
from repaint.sampling.merge import Carried, Fresh, Linear, Merge, Mixed, Predicted, Relaxed, Trajectory, Unmerged
from repaint.sampling.parts import build
from repaint.sampling.schedule import MAX_TRANSITIONS, JumpSchedule
from repaint.sampling.solvers import DDIM, DDPM, Multistep, Refresh, Renew, Solver
from repaint.sampling.spacing import Spacing, read_spacing

__all__ = ["CORRECTORS", "MERGES", "SOLVERS", "Method", "Move", "as_method"]

MERGES: dict[str, Callable[..., Any]] = {
    "fresh": Fresh,
    "trajectory": Trajectory,
    "predicted": Predicted,
    "carry": Carried,
    "mixed": Mixed,
    "relaxed": Relaxed,
    "linear": Linear,
    "none": Unmerged,
}
SOLVERS: dict[str, Callable[..., Any]] = {
    "ddpm": DDPM,
    "ddim": DDIM,
    "multistep": Multistep,
    "refresh": Refresh,
    "renew": Renew,
}
CORRECTORS: dict[str, Callable[..., Any]] = {"langevin": Langevin}


class Move(NamedTuple):
    """One thing the sampler does: correct (stay, one call), denoise (down, one call) or renoise (up, one draw)."""

    kind: Literal["correct", "denoise", "renoise"]
    src: int
    dst: int


@dataclass(frozen=True)
class Method:
    """Everything that decides how a hole is filled, except the model and the seed.

    Attributes:
        schedule: the walk over levels.
        merge: how the known region enters.
        solver: how a level is left downwards.
        corrector: how the sample is improved at each level before the step down; None is no corrector.
        spacing: where the levels lie, see `repaint.sampling.spacing`; None is the scheduler's own choice.
        name: the preset's name, or the file's.
        about, source: what it is for, and where it comes from.

    >>> Method.from_preset("quick").counts
    {'transitions': 770, 'renoises': 360, 'model_calls': 410}
    """

    schedule: JumpSchedule
    merge: Merge = field(default_factory=Fresh)
    solver: Solver = field(default_factory=DDPM)
    corrector: Corrector | None = None
    spacing: Spacing | None = None
    name: str = "custom"
    about: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.model_calls > MAX_TRANSITIONS:
            raise ScheduleError(
                f"{spec(self.corrector)} on this walk makes {self.model_calls} model calls; at most {MAX_TRANSITIONS} "
                "are allowed. Lower its iterations."
            )

    @classmethod
    def from_preset(cls, name: str) -> Method:
        """A preset of `schedules/` by name; `presets.available()` lists them.

        Raises:
            ScheduleError: no such preset; the message names the nearest one.
        """
        return cls.from_content(*presets.read(name))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Method:
        """A method from a YAML file in the form of those in `schedules/`.

        Raises:
            ScheduleError: unreadable, an unknown key (the nearest right one is named), or wrong counts.
        """
        return cls.from_content(*presets.read_yaml(path))

    @classmethod
    def from_content(cls, name: str, preset: presets.Preset) -> Method:
        """A method from a checked preset.

        Raises:
            ScheduleError: unknown parts or spacing, an invalid walk, or wrong counts.
        """
        if preset.spacing is not None:
            try:
                read_spacing(preset.spacing)
            except NoiseLevelError as error:
                raise ScheduleError(f"{name}: {error}") from error
        method = cls(
            schedule=JumpSchedule.from_content(preset),
            merge=build("merge", preset.merge, MERGES),
            solver=build("solver", preset.solver, SOLVERS),
            corrector=build("corrector", preset.corrector, CORRECTORS) if preset.corrector else None,
            spacing=preset.spacing,
            name=name,
            about=" ".join(preset.about.split()),
            source=" ".join(preset.source.split()),
        )
        if preset.counts is not None and preset.counts.model_dump() != method.counts:
            raise ScheduleError(
                f"{name}: the stated counts {preset.counts.model_dump()} are wrong. Write {method.counts}."
            )
        return method

    @property
    def moves(self) -> tuple[Move, ...]:
        """What the sampler does, in order."""
        moves: list[Move] = []
        for src, dst in self.schedule.moves:
            if src < dst:
                moves.append(Move("renoise", src, dst))
                continue
            if self.corrector is not None:
                moves.extend([Move("correct", src, src)] * self.corrector.iterations)
            moves.append(Move("denoise", src, dst))
        return tuple(moves)

    @property
    def model_calls(self) -> int:
        """Denoiser calls per image."""
        return self.schedule.model_calls * (1 + (self.corrector.iterations if self.corrector else 0))

    @property
    def counts(self) -> dict[str, int]:
        """Transitions, renoises of one level and model calls, as presets state them."""
        return {
            "transitions": len(self.schedule),
            "renoises": self.schedule.renoises,
            "model_calls": self.model_calls,
        }

    def describe(self) -> dict[str, Any]:
        """The method as plain JSON-able data."""
        return {
            "name": self.name,
            "steps": self.schedule.steps,
            "spacing": self.spacing,
            "merge": spec(self.merge),
            "solver": spec(self.solver),
            "corrector": spec(self.corrector) if self.corrector else None,
            **self.counts,
        }


def as_method(
    schedule: str | Path | JumpSchedule | Method,
    *,
    merge: str | Merge | None = None,
    solver: str | Solver | None = None,
    corrector: str | Corrector | None = None,
) -> Method:
    """Make a Method from what callers may pass as `schedule`, with parts replaced where given.

    Args:
        schedule: a preset's name, a YAML file's path, a JumpSchedule (then merge "fresh", solver "ddpm", levels even
            on the training clock) or a Method.
        merge, solver, corrector: a part, or its text as in YAML; "none" removes the corrector. None keeps the part.
    Raises:
        ScheduleError: no such preset, file, merge, solver or corrector, or a schedule of another type.

    >>> as_method("paper", merge="predicted(8)").merge
    Predicted(lam=8, relax=1.0)
    """
    if isinstance(schedule, JumpSchedule):
        method = Method(schedule, spacing="linspace")
    elif isinstance(schedule, Method):
        method = schedule
    elif isinstance(schedule, (str, Path)):
        method = Method.from_content(*presets.read(schedule))
    else:
        raise ScheduleError(
            f"schedule={shown(schedule)} must be a preset's name, a YAML file, a JumpSchedule or a Method."
        )
    changes: dict[str, Any] = {}
    if merge is not None:
        changes["merge"] = _part("merge", merge, MERGES, Merge)
    if solver is not None:
        changes["solver"] = _part("solver", solver, SOLVERS, Solver)
    if corrector is not None:
        none = isinstance(corrector, str) and corrector == "none"
        changes["corrector"] = None if none else _part("corrector", corrector, CORRECTORS, Corrector)
    return replace(method, **changes)


def _part(name: str, given: object, known: Mapping[str, Callable[..., Any]], kind: type) -> Any:
    """The given part, or the one that a text describes."""
    if isinstance(given, str):
        return build(name, given, known)
    if not isinstance(given, kind):
        raise ScheduleError(
            f"{name}={shown(given)} must be the text of one of {', '.join(known)}, or an object with the members of "
            f"the {kind.__name__} protocol."
        )
    return given


def spec(part: object) -> str:
    """The text of a part; the class name for a part of a caller's own."""
    return parts.spec(part, MERGES | SOLVERS | CORRECTORS)
