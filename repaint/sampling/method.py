"""A method combines a walk, level spacing, merge, solver, corrector and guidance. Presets name some combinations.

A few published methods do not fit this form, and have a kernel (`repaint.sampling.kernel`) for the step down instead.
Kernels are found by name among the entry points "repaint.kernels" of installed packages, including this one.

Parts are written as in the YAML files, see `repaint.sampling.parts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from repaint.checks import is_number, lacking, shown
from repaint.errors import NoiseLevelError, ScheduleError
from repaint.sampling import parts, presets
from repaint.sampling.corrector import Corrector, Langevin, PacedCorrector
from repaint.sampling.guidance import GuidanceRule
from repaint.sampling.kernel import Kernel
from repaint.sampling.merge import Carried, Fresh, Linear, Merge, Mixed, Predicted, Relaxed, Trajectory, Unmerged
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.parts import build
from repaint.sampling.reconstruction import DPS, Covariance, FlowChef, FlowDPS, PiGDM
from repaint.sampling.schedule import MAX_TRANSITIONS, JumpSchedule
from repaint.sampling.solvers import DDIM, DDPM, Heun, Multistep, Refresh, Renew, Solver, TwoStageSolver
from repaint.sampling.spacing import Spacing, read_spacing

__all__ = ["CORRECTORS", "GUIDANCE", "MERGES", "SOLVERS", "Method", "Move", "as_method", "as_methods", "kernels"]

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
    "heun": Heun,
}
CORRECTORS: dict[str, Callable[..., Any]] = {"langevin": Langevin}
GUIDANCE: dict[str, Callable[..., Any]] = {
    "dps": DPS,
    "pigdm": PiGDM,
    "covariance": Covariance,
    "flowdps": FlowDPS,
    "flowchef": FlowChef,
}

# The parts of a method: the names that their texts may use, and the protocol of their objects.
PARTS: dict[str, tuple[Mapping[str, Callable[..., Any]], type]] = {
    "merge": (MERGES, Merge),
    "solver": (SOLVERS, Solver),
    "corrector": (CORRECTORS, Corrector),
    "guidance": (GUIDANCE, GuidanceRule),
}


@lru_cache(maxsize=1)
def kernels() -> dict[str, EntryPoint]:
    """Return the kernels of installed packages: name to entry point of the group "repaint.kernels"."""
    return {entry.name: entry for entry in entry_points(group="repaint.kernels")}


class Move(NamedTuple):
    """One move of the sampler.

    "correct" stays at a level, "denoise" goes down, "refine" corrects the step just made; each is one model call,
    except with a kernel. "renoise" goes up, in one draw.
    """

    kind: Literal["correct", "denoise", "refine", "renoise"]
    src: int
    dst: int


@dataclass(frozen=True)
class Method:
    """Everything that decides how a hole is filled, except the model and the seed.

    Attributes:
        schedule: the walk over levels.
        merge: how the known region enters.
        solver: the step down from a level.
        corrector: improves the sample at each level before the step down; None: no corrector.
        guidance: how the known part guides the prediction or the step; None: no guidance.
        kernel: makes the whole step down in place of solver, corrector, guidance and merge; None: those make it. With a
            kernel, the merge only sets the start.
        spacing: where the levels lie, see `repaint.sampling.spacing`; None: the scheduler's own choice.
        init: start of the hole at the first level: pure noise, or noise around a smooth fill of the hole from its rim,
            for walks whose first level has no more noise than such a fill is uncertain.
        temperature: factor of all noise that is drawn, in [0, 1]. 1 samples the posterior. With a Gaussian prior,
            lower values pull each result towards the mean of all results by exactly this factor, and 0 gives that mean.
            Where a hole allows different contents, they also choose the most common one more often.
        name: the preset's name, or the file's.
        about, source: what it is for, and where it comes from.
        guided: False for models distilled to few steps, which classifier-free guidance harms: it is then off unless
            the caller gives a scale.

    Raises:
        ScheduleError: an invalid schedule, part or init, a part that the kernel replaces, or too many model calls.

    >>> Method.from_preset("quick").counts
    {'transitions': 770, 'renoises': 360, 'model_calls': 410}
    """

    schedule: JumpSchedule
    merge: Merge = field(default_factory=Fresh)
    solver: Solver = field(default_factory=DDPM)
    corrector: Corrector | None = None
    spacing: Spacing | None = None
    init: Literal["noise", "smooth"] = "noise"
    name: str = "custom"
    about: str = ""
    source: str = ""
    guidance: GuidanceRule | None = None
    kernel: Kernel | None = None
    guided: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, JumpSchedule):
            raise ScheduleError(
                f"schedule={shown(self.schedule)} must be a JumpSchedule (Method.from_preset reads a preset)."
            )
        if self.init not in ("noise", "smooth"):
            raise ScheduleError(f"init={shown(self.init)} must be noise or smooth.")
        if not (is_number(self.temperature) and 0 <= self.temperature <= 1):
            raise ScheduleError(
                f"temperature={shown(self.temperature)} must be in [0, 1] (1 samples the posterior, 0 gives its mean)."
            )
        for name in PARTS:
            if (part := getattr(self, name)) is not None or name in ("merge", "solver"):
                _check_part(name, part)
        if self.kernel is not None:
            _check_members("kernel", self.kernel, Kernel, "inherit KernelDefaults for those with a default")
        if self.kernel is not None and not (self.corrector is None and self.guidance is None):
            raise ScheduleError(f"{spec(self.kernel)} takes the place of corrector and guidance. Leave them out.")
        if self.kernel is not None and self.temperature != 1:
            raise ScheduleError(
                f"temperature={self.temperature:g} cannot be used with {spec(self.kernel)}, which weighs its own "
                "noise. Leave it out."
            )
        if self.kernel is not None and "particles" in self.kernel.carries and self.schedule.renoises:
            raise ScheduleError(
                f"{spec(self.kernel)} needs a walk without jumps, but this one renoises {self.schedule.renoises} "
                "levels, which would not move its particles. Use a plain descent."
            )
        calls = self.model_calls // (self.kernel.particles if self.kernel else 1)
        if calls > MAX_TRANSITIONS:
            raise ScheduleError(
                f"{spec(self.kernel or self.corrector)} on this walk makes {calls} model calls; at most "
                f"{MAX_TRANSITIONS} are allowed. Lower its iterations."
            )

    @classmethod
    def from_preset(cls, name: str) -> Method:
        """Read a preset of `schedules/` by name; `presets.available()` lists them.

        Raises:
            ScheduleError: no such preset; the message names the nearest one.
        """
        return cls.from_content(*presets.read_named(name))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Method:
        """Read a method from a YAML file in the form of those in `schedules/`.

        Raises:
            ScheduleError: unreadable, an unknown key (the nearest right one is named), or wrong counts.
        """
        return cls.from_content(*presets.read_yaml(path))

    @classmethod
    def from_content(cls, name: str, preset: presets.Preset) -> Method:
        """Make a method from a checked preset.

        Raises:
            ScheduleError: unknown parts or spacing, an invalid walk, or wrong counts.
        """
        if preset.spacing is not None:
            try:
                read_spacing(preset.spacing)
            except NoiseLevelError as error:
                raise ScheduleError(f"{name}: {error}") from error
        texts = {name: getattr(preset, name) for name in PARTS}
        method = cls(
            schedule=JumpSchedule.from_content(preset),
            **{name: _part(name, text) for name, text in texts.items() if text},
            kernel=_kernel(preset.kernel) if preset.kernel else None,
            spacing=preset.spacing,
            init=preset.init,
            temperature=preset.temperature,
            name=name,
            about=" ".join(preset.about.split()),
            source=" ".join(preset.source.split()),
            guided=preset.guided,
        )
        stated = None if preset.counts is None else preset.counts.model_dump(exclude_defaults=True)
        if stated is not None and stated != method.counts:
            raise ScheduleError(f"{name}: the stated counts {stated} are wrong. Write {method.counts}.")
        return method

    def moves_on(self, grid: NoiseSchedule | None) -> tuple[Move, ...]:
        """Return the moves on a grid of noise levels, in order; None if they do not depend on the grid."""
        moves: list[Move] = []
        two_stages = self.kernel is None and isinstance(self.solver, TwoStageSolver)
        for src, dst in self.schedule.moves:
            if src < dst:
                moves.append(Move("renoise", src, dst))
                continue
            if self.corrector is not None:
                moves.extend([Move("correct", src, src)] * self._corrections(src, grid))
            moves.append(Move("denoise", src, dst))
            if two_stages and dst > 0:
                moves.append(Move("refine", dst, dst))
        return tuple(moves)

    @property
    def moves(self) -> tuple[Move, ...]:
        """The moves of the sampler, in order; if they depend on noise levels, for those of `reference`."""
        return self.moves_on(self.reference)

    @property
    def reference(self) -> NoiseSchedule | None:
        """The noise levels for which costs are stated, those of linear betas; None if costs do not depend on levels."""
        paced = isinstance(self.corrector, PacedCorrector) and self.corrector.paced
        return _reference(self.schedule.steps, self.spacing) if paced or self.kernel is not None else None

    def _corrections(self, level: int, grid: NoiseSchedule | None) -> int:
        if self.corrector is None:  # first, because a check of a protocol takes long for each transition of a walk
            return 0
        if isinstance(self.corrector, PacedCorrector) and self.corrector.paced and grid is not None:
            return self.corrector.iterations_at(grid[level])
        return self.corrector.iterations

    @property
    def model_calls(self) -> int:
        """Denoiser calls per image."""
        grid, down = self.reference, [(a, b) for a, b in pairwise(self.schedule.levels) if b < a]
        if self.kernel is not None and grid is not None:
            return sum(self.kernel.calls(grid[a], grid[b]) for a, b in down)
        at_ends = sum(b > 0 for _, b in down) if isinstance(self.solver, TwoStageSolver) else 0
        return len(down) + at_ends + sum(self._corrections(a, grid) for a, _ in down)

    def calls_after(self, position: int) -> int:
        """Return the denoiser calls per image that are left after `position` moves."""
        grid, moves = self.reference, self.moves[position:]
        if self.kernel is not None and grid is not None:
            return sum(self.kernel.calls(grid[m.src], grid[m.dst]) for m in moves if m.kind == "denoise")
        return sum(move.kind != "renoise" for move in moves)

    @property
    def gradient_calls(self) -> int:
        """Backward passes through the denoiser per image, at most."""
        grid = self.reference
        if self.kernel is not None and grid is not None:
            return sum(self.kernel.gradients(grid[a], grid[b]) for a, b in pairwise(self.schedule.levels) if b < a)
        return 0 if self.guidance is None else self.guidance.gradients * self.model_calls

    @property
    def cost(self) -> int:
        """Model calls; each backward pass counts as two more, since it costs about two forward passes."""
        return self.model_calls + 2 * self.gradient_calls

    @property
    def counts(self) -> dict[str, int]:
        """Transitions, renoises of one level, model calls and, if there are any, gradients, as presets state them."""
        gradients = self.gradient_calls
        return {
            "transitions": len(self.schedule),
            "renoises": self.schedule.renoises,
            "model_calls": self.model_calls,
            **({"gradient_calls": gradients} if gradients else {}),
        }

    def __repr__(self) -> str:
        shown = {key: value for key, value in self.describe().items() if value is not None}
        return f"Method({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def describe(self) -> dict[str, Any]:
        """Return the method as plain data for JSON."""
        return {
            "name": self.name,
            "steps": self.schedule.steps,
            "spacing": self.spacing,
            "merge": spec(self.merge),
            "solver": None if self.kernel else spec(self.solver),
            "corrector": spec(self.corrector) if self.corrector else None,
            **({"init": self.init} if self.init != "noise" else {}),
            **({"temperature": self.temperature} if self.temperature != 1 else {}),
            **({} if self.guided else {"guided": False}),
            **({"guidance": spec(self.guidance)} if self.guidance else {}),
            **({"kernel": spec(self.kernel)} if self.kernel else {}),
            **self.counts,
        }


def as_method(
    schedule: str | Path | JumpSchedule | Method,
    *,
    merge: str | Merge | None = None,
    solver: str | Solver | None = None,
    corrector: str | Corrector | None = None,
    guidance: str | GuidanceRule | None = None,
    temperature: float | None = None,
) -> Method:
    """Make a Method from what callers may pass as `schedule`, with parts replaced where given.

    Args:
        schedule: a preset's name, a YAML file's path, a JumpSchedule (then merge "fresh", solver "ddpm", levels even
            on the training clock) or a Method.
        merge, solver, corrector, guidance: a part, or its text as in YAML; "none" removes corrector or guidance. None
            keeps the part.
        temperature: see `Method`; None keeps it.
    Raises:
        ScheduleError: no such preset, file or part, a schedule of another type, or a part that the method's kernel does
            not use.

    >>> as_method("paper", merge="predicted(8)").merge
    Predicted(lam=8, relax=1.0, guard=0.0, fade=inf)
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
    given = {"merge": merge, "solver": solver, "corrector": corrector, "guidance": guidance}
    changes = {name: _part(name, part) for name, part in given.items() if part is not None}
    if method.kernel is not None and changes:
        raise ScheduleError(
            f"{', '.join(changes)} cannot be changed: {method.name} has a kernel, {spec(method.kernel)}, that makes "
            "the whole step. Use another method."
        )
    if temperature is not None:
        changes["temperature"] = temperature
    return replace(method, **changes) if changes else method


def as_methods(schedules: Iterable[str | Path | JumpSchedule | Method]) -> dict[str, Method]:
    """Make methods with distinct names: name to method, in the order given. See `as_method`.

    Raises:
        ScheduleError: two have the same name, such as two files `a/my.yaml` and `b/my.yaml`; or see `as_method`.

    >>> list(as_methods(["quick", "paper"]))
    ['quick', 'paper']
    """
    found: dict[str, Method] = {}
    for schedule in schedules:
        method = as_method(schedule)
        if method.name in found:
            raise ScheduleError(
                f"The names of schedules must differ, but {method.name!r} is repeated. Rename or remove one."
            )
        found[method.name] = method
    return found


def _part(name: str, given: object) -> Any:
    """Return the given part, or the one that a text describes; None for the text "none" of an optional part."""
    if not isinstance(given, str):
        _check_part(name, given)
        return given
    known = PARTS[name][0]
    return None if given == "none" and given not in known else build(name, given, known)


def _check_part(name: str, part: object) -> None:
    """Raise an error for an object that is not a part, such as a class.

    Raises:
        ScheduleError: see above.
    """
    known, kind = PARTS[name]
    _check_members(name, part, kind, f"as_method() and the pipeline also read the text of one of {', '.join(known)}")


def _check_members(name: str, part: object, kind: type, cure: str) -> None:
    if isinstance(part, type) or not isinstance(part, kind):
        missing = lacking(part, kind)
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise ScheduleError(
            f"{name}={shown(part)} must be an object with the members of the {kind.__name__} protocol{lacks}; {cure}."
        )


def _kernel(text: str) -> Kernel:
    """Make the kernel that a text describes, from the package that declares it."""
    known = {name: _loaded(entry) for name, entry in kernels().items()}
    if not known:
        raise ScheduleError(
            f"kernel={shown(text)} cannot be found: kernels are entry points of installed packages, and repaint is "
            "only imported from its folder here. Install it: pip install -e FOLDER."
        )
    kernel: Kernel = build("kernel", text, known)
    return kernel


def _loaded(entry: EntryPoint) -> Callable[..., Any]:
    """Make a kernel, importing its module only now."""
    return lambda *args, **kwargs: entry.load()(*args, **kwargs)


@lru_cache(maxsize=64)
def _reference(steps: int, spacing: Spacing | None) -> NoiseSchedule:
    config = {"beta_schedule": "linear", "num_train_timesteps": max(1000, steps)}
    return NoiseSchedule.from_scheduler(config, steps, spacing)


def spec(part: object) -> str:
    """Return the text of a part; for a caller's own part, the name of its class."""
    known = MERGES | SOLVERS | CORRECTORS | GUIDANCE
    place = f"{type(part).__module__}:{type(part).__qualname__}"
    return parts.spec(part, known | {name: type(part) for name, entry in kernels().items() if entry.value == place})
