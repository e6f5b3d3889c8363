"""States kept along a run, and walks that go on from one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repaint.errors import InputError
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState

__all__ = ["KINDS", "continuation", "kept_positions", "reached", "small_and_large"]

KINDS = ("new noise", "one large jump", "small late jumps")
STATE_BYTES = 64 * 2**20  # of the states that one result keeps
MOST_STATES = 48


def kept_positions(moves: int, state: SamplerState) -> frozenset[int]:
    """After which of a run's moves its state is kept: all, or as many as the bounds allow, evenly spread.

    Args:
        moves: how many the run makes.
        state: any state of it; x, x0_hat and one draw of noise are what each further one adds.
    """
    each = 3 * state.x.numel() * state.x.element_size()
    count = min(moves, MOST_STATES, max(2, STATE_BYTES // each))
    return frozenset(moves - (moves * i) // count for i in range(count))


def reached(method: Method) -> list[int]:
    """The transition of the walk that stands behind each position: entry p is after p moves.

    The sampler makes a run of renoises as one move, and a corrector's moves stay where they are.
    """
    transitions, at, found = method.schedule.transitions, 0, [0]
    for move in method.moves:
        if move.kind == "denoise":
            at += 1
        elif move.kind == "renoise":
            while at < len(transitions) and transitions[at][0] < transitions[at][1]:
                at += 1
        found.append(at)
    return found


def small_and_large(steps: int) -> tuple[int, int]:
    """Usual lengths of small and large jumps on a grid of that many steps: of 50, 2 and 30 levels."""
    return max(1, round(0.04 * steps)), max(1, round(0.6 * steps))


def continuation(method: Method, position: int, kind: str, length: int = 0, times: int = 1) -> Method:
    """The method of a branch: the same parts on a walk that begins where a run stood.

    "new noise" makes the rest of the run's own walk. "one large jump" goes down to a fifth of the levels, once up by
    `length` and on to the end, or at once up where the state is lower. "small late jumps" goes down, and up by `length`
    and down again `times` times in all, spread over the last fifth of the levels.

    Args:
        method: of the run.
        position: moves made when the state was kept.
        kind: one of `KINDS`.
        length: levels of one jump.
        times: how many small jumps.
    Raises:
        InputError: another kind, a jump that leaves the grid, or the end of a run with nothing left to do.
    """
    walk, steps = method.schedule, method.schedule.steps
    at = reached(method)[position]
    level = walk.levels[at]
    if kind == "new noise":
        if at == len(walk):
            raise InputError("The run has ended there: no noise is left to draw. Choose an earlier state, or a jump.")
        return replace(method, schedule=JumpSchedule(walk.levels[at:], steps), name="branch")
    if kind not in KINDS:
        raise InputError(f"No kind of branch {kind!r}: there are {', '.join(KINDS)}. Choose one.")
    late = steps // 5
    if kind == "one large jump":
        anchors, times = [min(level, late)], 1
    else:
        low = min(level, late)
        anchors = sorted({low * (times - 1 - i) // times for i in range(times)}, reverse=True)
    if times < 1 or length < 1 or anchors[0] + length > steps:
        raise InputError(
            f"{times} jumps of {length} levels from level {anchors[0] if times > 0 else level} of {steps}: a jump has "
            f"1 level or more and stays on the grid. Choose a length from 1 to {steps - min(level, late)}."
        )
    return replace(
        method, schedule=JumpSchedule(tuple(_with_jumps(level, anchors, length, times)), steps), name="branch"
    )


def _with_jumps(level: int, anchors: Sequence[int], length: int, times: int) -> list[int]:
    """Levels from `level` down to 0 with `times` jumps, spread over the anchors."""
    levels = [level]
    for number, anchor in enumerate(anchors):
        levels += range(levels[-1] - 1, anchor - 1, -1)
        for _ in range(len(range(number, times, len(anchors)))):
            levels += [*range(anchor + 1, anchor + length + 1), *range(anchor + length - 1, anchor - 1, -1)]
    return [*levels, *range(levels[-1] - 1, -1, -1)]
