"""Which states of a run are kept, and the walks of branches that start from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from repaint.errors import InputError
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState

__all__ = ["KINDS", "continuation", "kept_positions", "reached", "small_and_large"]

KINDS = ("new noise", "one large jump", "small late jumps")
STATE_BYTES = 64 * 2**20  # limit for the states of one result
MOST_STATES = 48


def kept_positions(moves: int, state: SamplerState) -> frozenset[int]:
    """Choose the moves after which a state is kept: all, or as many as the limits allow, evenly spaced.

    Args:
        moves: number of moves of the run.
        state: any state of the run. Each kept state adds the size of x, x0_hat and one draw of noise.
    """
    each = 3 * state.x.numel() * state.x.element_size()
    count = min(moves, MOST_STATES, max(2, STATE_BYTES // each))
    return frozenset(moves - (moves * i) // count for i in range(count))


def reached(method: Method) -> list[int]:
    """Return the number of transitions of the walk that are done after each number of moves.

    The sampler merges consecutive renoises into one move, and moves of a corrector do not advance along the walk.
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
    """Return the default lengths of small and large jumps on a grid: 2 and 30 levels of 50."""
    return max(1, round(0.04 * steps)), max(1, round(0.6 * steps))


def continuation(method: Method, position: int, kind: str, length: int = 0, times: int = 1) -> Method:
    """Make the method of a branch: the parts of the run, on a walk that starts at a kept state.

    "new noise" follows the rest of the walk of the run. "one large jump" goes down to a fifth of the levels (unless the
    state is already lower), up once by `length`, and down to 0. "small late jumps" goes down to 0 with `times` jumps of
    `length` levels, spread over the last fifth of the levels.

    Args:
        method: of the run.
        position: moves before the state.
        kind: one of `KINDS`.
        length: levels of one jump.
        times: number of small jumps.
    Raises:
        InputError: an unknown kind, a jump that leaves the grid, or new noise at the end of the run.
    """
    walk, steps = method.schedule, method.schedule.steps
    at = reached(method)[position]
    level = walk.levels[at]
    if kind == "new noise":
        if at == len(walk):
            raise InputError("The chosen state is the end of the run. Choose an earlier state, or a jump.")
        return replace(method, schedule=JumpSchedule(walk.levels[at:], steps), name="branch")
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} must be one of {', '.join(KINDS)}.")
    late = steps // 5
    if kind == "one large jump":
        anchors, times = [min(level, late)], 1
    else:
        low = min(level, late)
        anchors = sorted({low * (times - 1 - i) // times for i in range(times)}, reverse=True)
    if times < 1:
        raise InputError(f"times={times} must be at least 1.")
    if not 1 <= length <= steps - anchors[0]:
        raise InputError(
            f"length={length} must be from 1 to {steps - anchors[0]}, to jump from level {anchors[0]} of {steps}."
        )
    return replace(
        method, schedule=JumpSchedule(tuple(_with_jumps(level, anchors, length, times)), steps), name="branch"
    )


def _with_jumps(level: int, anchors: Sequence[int], length: int, times: int) -> list[int]:
    """List the levels from `level` down to 0 with `times` jumps, spread over the anchors."""
    levels = [level]
    for number, anchor in enumerate(anchors):
        levels += range(levels[-1] - 1, anchor - 1, -1)
        for _ in range(len(range(number, times, len(anchors)))):
            levels += [*range(anchor + 1, anchor + length + 1), *range(anchor + length - 1, anchor - 1, -1)]
    return [*levels, *range(levels[-1] - 1, -1, -1)]
