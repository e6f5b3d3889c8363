"""The walk over noise levels as pure data: where it goes, in what order, and what it costs, before anything runs.

A walk is a list of levels that ends at 0 (clean). A step down costs one model call; a step up ("renoise") costs one
draw of noise. The paper's parameters, nested jumps, windows and hand-written lists all become such a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from repaint.checks import shown
from repaint.errors import ScheduleError
from repaint.sampling import presets
from repaint.sampling.presets import JumpRule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["JumpRule", "JumpSchedule"]

MAX_TRANSITIONS = 1_000_000  # nested rules multiply; beyond this a walk is a mistake, not a plan


@dataclass(frozen=True)
class JumpSchedule:
    """A walk over the levels 0 (clean) ... steps (noisiest).

    Attributes:
        levels: every level visited, in order; ends at 0. Jumps made from rules go up level by level, as the paper
            counts them; the sampler still makes each jump in one draw (see `moves`).
        steps: the number of the grid's noisiest level.
    Raises:
        ScheduleError: the walk is empty, leaves 0 ... steps, stands still, or does not end clean.
    """

    levels: tuple[int, ...]
    steps: int

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int):
            raise ScheduleError(f"{shown(self.steps)} steps: they are a whole number. Give the noisiest level's.")
        if len(self.levels) < 2:
            raise ScheduleError(f"A walk of {len(self.levels)} levels: it needs two at least. Begin at the noisiest.")
        for level in self.levels:
            if isinstance(level, bool) or not isinstance(level, int) or not 0 <= level <= self.steps:
                raise ScheduleError(
                    f"Level {shown(level)} in a walk over 0 ... {self.steps}: it leaves the grid. Stay inside."
                )
        for src, dst in self.transitions:
            if src == dst:
                raise ScheduleError(f"The walk stands still at level {src}: each move must go up or down. Remove one.")
        if self.levels[-1] != 0:
            raise ScheduleError(f"The walk ends at level {self.levels[-1]}: a result must be clean. End it with 0.")

    @classmethod
    def paper(
        cls, steps: int = 250, jump_length: int = 10, jump_n_sample: int = 10, start_resampling: int | None = None
    ) -> JumpSchedule:
        """RePaint's own walk: T = steps, j = jump_length, r = jump_n_sample.

        After the step that reaches level k = 0, j, 2j, ... < T - j, renoise by j levels and denoise again, r - 1 times.
        `start_resampling` limits that to k <= start_resampling.

        Source:
            Lugmayr et al. 2022 (arXiv 2201.09865), Sec. 4.2.
        """
        rule = _rule(jump_length=jump_length, jump_n_sample=jump_n_sample, start_resampling=start_resampling)
        return cls.from_rules(steps, [rule])

    @classmethod
    def from_rules(cls, steps: int, rules: Iterable[JumpRule]) -> JumpSchedule:
        """A descent with any number of jump rules at once.

        Longer jumps enclose shorter ones: after a jump, all shorter rules begin anew, so the stretch below it is
        resampled in full each time.

        Args:
            steps: number of the noisiest level.
            rules: see `JumpRule`.
        Raises:
            ScheduleError: a rule that would never jump, or a walk of more than a million transitions.
        """
        rules = sorted(rules, key=lambda rule: -rule.jump_length)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ScheduleError(f"{shown(steps)} steps: a walk has one step at least. Give a whole number from 1.")
        for rule in rules:
            if rule.jump_n_sample > 1 and not rule.anchors(steps):
                raise ScheduleError(
                    f"A jump of {rule.jump_length} levels from {rule.start_resampling} down to {rule.stop_resampling} "
                    f"never happens in {steps} steps: jumps start below level steps - jump_length. Shorten it."
                )
        anchors = [rule.anchors(steps) for rule in rules]
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
                    f"These {len(rules)} nested rules make a walk of over {MAX_TRANSITIONS} transitions: that would "
                    "not end in a lifetime. Lower jump_n_sample or widen `every`."
                )
        return cls(tuple(levels), steps)

    @classmethod
    def from_levels(cls, levels: Sequence[int], steps: int | None = None) -> JumpSchedule:
        """A walk written by hand: the levels to visit, in order, ending at 0.

        A drop of several levels is one model call. `steps` is the grid's noisiest level; None: the highest visited.
        """
        levels = tuple(levels)
        return cls(
            levels, max((level for level in levels if isinstance(level, int)), default=0) if steps is None else steps
        )

    @classmethod
    def from_preset(cls, name: str) -> JumpSchedule:
        """The walk of a preset in `schedules/`; `Method.from_preset` gives the whole method."""
        return cls.from_content(presets.read(name)[1])

    @classmethod
    def from_yaml(cls, path: str | Path) -> JumpSchedule:
        """The walk of a YAML file in the form of those in `schedules/`."""
        return cls.from_content(presets.read_yaml(path)[1])

    @classmethod
    def from_content(cls, preset: presets.Preset) -> JumpSchedule:
        """The walk that a checked preset describes; `Method` compares its stated counts."""
        if preset.levels is not None and preset.jumps:
            raise ScheduleError("Both 'jumps' and 'levels' are given: a walk has one description. Remove one of them.")
        if preset.levels is not None:
            return cls.from_levels(preset.levels, preset.steps)
        return cls.from_rules(preset.steps, preset.jumps)

    @property
    def transitions(self) -> tuple[tuple[int, int], ...]:
        """Consecutive pairs (src, dst) of `levels`."""
        return tuple(pairwise(self.levels))

    @property
    def moves(self) -> tuple[tuple[int, int], ...]:
        """The transitions as the sampler makes them: a run of renoises is one jump, in one draw."""
        moves: list[tuple[int, int]] = []
        for src, dst in self.transitions:
            if moves and src < dst and moves[-1][0] < moves[-1][1]:
                moves[-1] = (moves[-1][0], dst)
            else:
                moves.append((src, dst))
        return tuple(moves)

    @property
    def model_calls(self) -> int:
        """Denoiser calls per image: one for each transition down."""
        return sum(src > dst for src, dst in self.transitions)

    @property
    def renoises(self) -> int:
        """Levels renoised, counted one by one as the paper does."""
        return sum(dst - src for src, dst in self.transitions if dst > src)

    def __len__(self) -> int:
        """The number of transitions."""
        return len(self.levels) - 1

    def capped(self, level: int) -> JumpSchedule:
        """The same walk begun at `level`: what lies before is left out and no later jump goes above.

        Raises:
            ScheduleError: the walk never visits this level, or it is 0.
        """
        if not isinstance(level, int) or level not in self.levels or level == 0:
            raise ScheduleError(
                f"The walk never stands at level {shown(level)} with work left: begin at one it visits."
            )
        below = [min(visited, level) for visited in self.levels[self.levels.index(level) :]]
        kept = [below[0], *(dst for src, dst in pairwise(below) if src != dst)]
        return JumpSchedule(tuple(kept), self.steps)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw level over transition, as the paper draws it; returns the matplotlib axes."""
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
        """The plot, for notebooks."""
        from matplotlib.figure import Figure

        figure, file = Figure(figsize=(8, 3), layout="constrained"), BytesIO()
        self.plot(figure.subplots())
        figure.savefig(file, dpi=60)
        return file.getvalue()


def _rule(**values: int | None) -> JumpRule:
    """A JumpRule from Python arguments, with this library's error where they are wrong."""
    try:
        return JumpRule.model_validate(values)
    except ValueError as error:
        raise ScheduleError(
            f"Jump rule {shown(values)}: lengths and counts are whole numbers from 1. Correct them."
        ) from error
