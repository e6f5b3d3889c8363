"""The walk over noise levels as data: its order and its cost are known before anything runs.

A walk is a list of levels that ends at 0 (clean). A step down costs one model call; a step up ("renoise") costs one
draw of noise. The paper's parameters, nested jumps, windows and hand-written lists all compile to such a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex

from repaint.checks import is_integer, shown, whole_number
from repaint.errors import ScheduleError
from repaint.sampling import presets
from repaint.sampling.presets import JumpRule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["JumpRule", "JumpSchedule"]

SHOWN = 30  # the most levels in a representation; of longer walks the first and the last ones
MAX_TRANSITIONS = 1_000_000  # nested rules multiply; a longer walk is a mistake


@dataclass(frozen=True)
class JumpSchedule:
    """A walk over the levels 0 (clean) ... steps (noisiest).

    Any integer type is accepted, such as numpy.int64, and stored as int.

    Attributes:
        levels: every level visited, in order; ends at 0. Walks made from rules go up level by level, as the paper
            counts them; the sampler still makes each jump in one draw (see `moves`).
        steps: the index of the grid's noisiest level.
    Raises:
        ScheduleError: the walk has fewer than two levels, leaves 0 ... steps, repeats a level, or does not end at 0.
    """

    levels: tuple[int, ...]
    steps: int

    def __post_init__(self) -> None:
        steps = whole_number("steps", self.steps, 1, error=ScheduleError)
        levels = tuple(
            level if type(level) is int and 0 <= level <= steps else _checked_level(i, level, steps)
            for i, level in enumerate(self.levels)
        )
        if len(levels) < 2:
            raise ScheduleError(f"levels={levels} must have at least 2 entries (the start, and 0 at the end).")
        for i, (src, dst) in enumerate(pairwise(levels), start=1):
            if src == dst:
                raise ScheduleError(f"levels[{i}]={dst} must differ from the level before it.")
        if levels[-1] != 0:
            raise ScheduleError(f"levels[-1]={levels[-1]} must be 0 (a walk ends at the clean level).")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "levels", levels)

    @classmethod
    def paper(
        cls,
        steps: SupportsIndex = 250,
        jump_length: SupportsIndex = 10,
        jump_n_sample: SupportsIndex = 10,
        start_resampling: SupportsIndex | None = None,
    ) -> JumpSchedule:
        """Build the walk of the RePaint paper: T = steps, j = jump_length, r = jump_n_sample.

        After the step that reaches level k = 0, j, 2j, ... < T - j, renoise by j levels and denoise again, r - 1 times.
        `start_resampling` limits this to k <= start_resampling.

        Raises:
            ScheduleError: a value out of range, or no level to jump from.
        Source:
            Lugmayr et al. 2022 (arXiv 2201.09865), Sec. 4.2.

        >>> walk = JumpSchedule.paper(steps=4, jump_length=2, jump_n_sample=2)
        >>> walk.levels, walk.model_calls
        ((4, 3, 2, 1, 0, 1, 2, 1, 0), 6)
        """
        rule = JumpRule(
            jump_length=whole_number("jump_length", jump_length, 1, error=ScheduleError),
            jump_n_sample=whole_number("jump_n_sample", jump_n_sample, 1, error=ScheduleError),
            start_resampling=None
            if start_resampling is None
            else whole_number("start_resampling", start_resampling, 0, error=ScheduleError),
        )
        return cls.from_rules(steps, [rule])

    @classmethod
    def from_rules(cls, steps: SupportsIndex, rules: Iterable[JumpRule]) -> JumpSchedule:
        """Build a descent with any number of jump rules.

        Longer jumps enclose shorter ones: after a jump, all shorter rules start over, so the stretch below it is
        resampled in full each time.

        Args:
            steps: the index of the noisiest level, from 1.
            rules: see `JumpRule`.
        Raises:
            ScheduleError: a rule that would never jump, or a walk of more than a million transitions.

        >>> late = JumpRule(jump_length=1, jump_n_sample=3, start_resampling=0)
        >>> JumpSchedule.from_rules(3, [late]).levels
        (3, 2, 1, 0, 1, 0, 1, 0)
        """
        rules = list(rules)
        if wrong := [rule for rule in rules if not isinstance(rule, JumpRule)]:
            raise ScheduleError(
                f"rules has {shown(wrong[0])}, but must hold JumpRule objects, such as JumpRule(jump_length=10, "
                "jump_n_sample=5)."
            )
        rules = sorted(rules, key=lambda rule: -rule.jump_length)
        steps = whole_number("steps", steps, 1, error=ScheduleError)
        anchors = [rule.anchors(steps) for rule in rules]
        for rule, own in zip(rules, anchors, strict=True):
            if rule.jump_n_sample > 1 and not own:
                raise ScheduleError(
                    f"jump_length={rule.jump_length} must allow a jump within steps={steps} (jumps start at levels "
                    f"{own.start} to {own.stop - 1}, which is empty)."
                )
        made: list[Counter[int]] = [Counter() for _ in rules]  # jumps from each level
        level, levels = steps, [steps]
        while level > 0:
            level -= 1
            levels.append(level)
            for i, rule in enumerate(rules):
                if level in anchors[i] and made[i][level] < rule.jump_n_sample - 1:
                    made[i][level] += 1
                    made[i + 1 :] = [Counter() for _ in rules[i + 1 :]]
                    levels.extend(range(level + 1, level + rule.jump_length + 1))
                    level += rule.jump_length
                    break
            if len(levels) - 1 > MAX_TRANSITIONS:
                raise ScheduleError(
                    f"The walk must have at most {MAX_TRANSITIONS} transitions (steps={steps}, {len(rules)} jump "
                    "rules). Lower steps or jump_n_sample, or raise every."
                )
        return cls(tuple(levels), steps)

    @classmethod
    def from_levels(cls, levels: Iterable[SupportsIndex], steps: SupportsIndex | None = None) -> JumpSchedule:
        """Build a walk from a list of the levels to visit, in order, ending at 0.

        A drop of several levels is one model call.

        Args:
            levels: integers in [0, steps], such as a list or a numpy array.
            steps: the index of the grid's noisiest level; None: the highest level visited.
        Raises:
            ScheduleError: see `JumpSchedule`.

        >>> walk = JumpSchedule.from_levels([10, 5, 7, 0], steps=20)
        >>> walk.transitions, walk.model_calls
        (((10, 5), (5, 7), (7, 0)), 2)
        """
        visited: tuple[Any, ...] = tuple(int(level) if is_integer(level) else level for level in levels)
        if steps is None:
            steps = max([1, *(level for level in visited if is_integer(level))])
        return cls(visited, whole_number("steps", steps, 1, error=ScheduleError))

    @classmethod
    def from_preset(cls, name: str) -> JumpSchedule:
        """Read the walk of a preset in `schedules/`; `Method.from_preset` reads the whole method.

        Raises:
            ScheduleError: see `Method.from_preset`.
        """
        return cls.from_content(presets.read_named(name)[1])

    @classmethod
    def from_yaml(cls, path: str | Path) -> JumpSchedule:
        """Read the walk of a YAML file in the format of `schedules/`.

        Raises:
            ScheduleError: see `Method.from_yaml`.
        """
        return cls.from_content(presets.read_yaml(path)[1])

    @classmethod
    def from_content(cls, preset: presets.Preset) -> JumpSchedule:
        """Build the walk of a parsed preset. `Method` checks the counts that the preset states.

        Raises:
            ScheduleError: both jumps and levels, or an invalid walk.
        """
        if preset.levels is not None and preset.jumps:
            raise ScheduleError("A preset must give 'jumps' or 'levels', not both. Remove one of them.")
        if preset.levels is not None:
            walk = cls.from_levels(preset.levels, preset.steps)
        else:
            walk = cls.from_rules(preset.steps, preset.jumps)
        return walk if preset.start is None else walk.capped(preset.start)

    @property
    def transitions(self) -> tuple[tuple[int, int], ...]:
        """The consecutive pairs (src, dst) of `levels`."""
        return tuple(pairwise(self.levels))

    @property
    def moves(self) -> tuple[tuple[int, int], ...]:
        """The transitions as the sampler makes them: consecutive renoises are one jump, in one draw."""
        moves: list[tuple[int, int]] = []
        for src, dst in self.transitions:
            if moves and src < dst and moves[-1][0] < moves[-1][1]:
                moves[-1] = (moves[-1][0], dst)
            else:
                moves.append((src, dst))
        return tuple(moves)

    @property
    def model_calls(self) -> int:
        """The denoiser calls per image: one for each transition down."""
        return sum(src > dst for src, dst in self.transitions)

    @property
    def renoises(self) -> int:
        """The number of levels renoised, counted one by one as in the paper."""
        return sum(dst - src for src, dst in self.transitions if dst > src)

    def __repr__(self) -> str:
        levels = self.levels
        shown = levels if len(levels) <= SHOWN else f"({', '.join(map(str, levels[:3]))}, ..., {levels[-2]}, 0)"
        return f"JumpSchedule(levels={shown}, steps={self.steps})"

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.levels) - 1

    def capped(self, level: SupportsIndex) -> JumpSchedule:
        """Start the same walk at `level`: drop everything before its first visit, and jump no higher.

        Raises:
            ScheduleError: the walk never visits this level, or it is 0.
        """
        if not is_integer(level) or level not in self.levels or level == 0:
            raise ScheduleError(f"level={shown(level)} must be a level above 0 that the walk visits.")
        start = int(level)
        below = [min(visited, start) for visited in self.levels[self.levels.index(start) :]]
        kept = [below[0], *(dst for src, dst in pairwise(below) if src != dst)]
        return JumpSchedule(tuple(kept), self.steps)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot level against transition, as in the paper, and return the matplotlib axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=(8, 3), layout="constrained")
        ax.plot(self.levels, linewidth=1.2, color="#33608c")
        ax.set(
            xlabel="transition", ylabel="noise level", title=f"{len(self)} transitions, {self.model_calls} model calls"
        )
        ax.margins(x=0.01)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    def _repr_png_(self) -> bytes:
        """Render the plot as PNG for notebooks."""
        from matplotlib.figure import Figure

        figure, file = Figure(figsize=(8, 3), layout="constrained"), BytesIO()
        self.plot(figure.subplots())
        figure.savefig(file, dpi=60)
        return file.getvalue()


def _checked_level(i: int, level: object, steps: int) -> int:
    return whole_number(f"levels[{i}]", level, 0, steps, error=ScheduleError)
