"""Presets with another number of steps, given directly or as a limit of model calls."""

from __future__ import annotations

import math
from pathlib import Path

from repaint.checks import whole_number
from repaint.errors import ScheduleError
from repaint.sampling import presets
from repaint.sampling.method import Method

__all__ = ["with_budget"]

_MOST_STEPS = 10_000


def with_budget(schedule: str | Path, *, steps: int | None = None, calls: int | None = None) -> Method:
    """Read a preset, and change only its number of steps: jumps, level spacing, merge and solver stay.

    A preset that starts below its noisiest level still starts at that share of its levels.

    Args:
        schedule: the name of a preset, or a YAML file.
        steps: number of noise levels, 1 to 10000.
        calls: instead of `steps`, a limit of model calls; the largest number of steps that fits is used.
    Raises:
        ScheduleError: both or neither are given, no number of steps fits, or the file lists its levels one by one.

    >>> with_budget("fast", steps=10).model_calls, with_budget("quick", calls=300).model_calls <= 300
    (10, True)
    """
    if (steps is None) == (calls is None):
        raise ScheduleError("Pass exactly one of steps and calls.")
    name, preset = presets.read(schedule)
    if preset.levels is not None:
        raise ScheduleError(
            f"{name} lists its levels one by one, so that its steps cannot be changed. Use another schedule."
        )

    def of(count: int) -> Method:
        start = None if preset.start is None else max(1, round(preset.start * count / preset.steps))
        changed = preset.model_copy(update={"steps": count, "counts": None, "start": start})
        return Method.from_content(f"{name} ({count} step{'s' * (count != 1)})", changed)

    if steps is not None:
        return of(whole_number("steps", steps, 1, _MOST_STEPS, error=ScheduleError))
    budget = whole_number("calls", calls, 1, error=ScheduleError)

    def cost(count: int) -> float:
        """Count the model calls; infinite if there is no walk: too few steps for the jumps, or too many transitions."""
        try:
            return of(count).model_calls
        except ScheduleError:
            return math.inf

    shortest = next((count for count in range(1, preset.steps) if cost(count) < math.inf), preset.steps)
    if cost(shortest) > budget:
        raise ScheduleError(f"calls={budget} must be at least {cost(shortest):g}, the shortest walk of {name}.")
    low, high = shortest, max(shortest, min(budget, _MOST_STEPS))  # a step is at least one call
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle - 1)
    return of(low)
