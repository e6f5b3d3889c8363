"""Event handlers of the tab Explore: kept states of a result, and their branches."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from repaint.errors import InputError
from repaint.sampling.state import SamplerState
from repaint.studio.following import show
from repaint.studio.handlers import Handlers
from repaint.studio.jobs import Job, Origin, Run
from repaint.studio.page_errors import errors_on_page
from repaint.studio.settings import chosen_seeds
from repaint.studio.tree import continuation, small_and_large
from repaint.studio.views import cost, displayed

__all__ = ["Explorer"]


class Explorer:
    """The event handlers of the tab.

    Args:
        does: the handlers of runs.
    """

    def __init__(self, does: Handlers) -> None:
        self._does, self._runner = does, does.runner

    def look(self, run_id: str | None, index: int | None, share: float) -> tuple[Any, str]:
        """Return x0_hat of the kept state nearest to `share` percent of the run, and its position in words."""
        run = self._does.with_result(run_id, index)
        if run is None or index is None or not run.results[index].states:
            return None, "No states are kept for this result."
        state = _state(run, index, share)
        position = f"After move {state.position} of {len(run.job.method.moves)}, at level {state.level} of "
        position += f"{run.job.method.schedule.steps}, after {state.model_calls} model calls."
        return displayed(show(self._runner.pipe(run.job.prior).prior, state)), position

    def lengths(self, run_id: str | None, kind: str) -> tuple[Any, Any]:
        """Return the default length and number of jumps for a kind of branch."""
        try:
            small, large = small_and_large(self._runner.find(run_id).job.method.schedule.steps)
        except InputError:
            small, large = small_and_large(50)
        jumps, small_ones = kind != "new noise", kind == "small late jumps"
        return (
            gr.update(visible=jumps, value=small if small_ones else large),
            gr.update(visible=small_ones, value=15),
        )

    def branched(self, run_id: str | None, index: int | None, share: float, kind: str, *more: Any) -> Job:
        """Return the job of a branch.

        Raises:
            InputError: no result, no kept states, or an invalid jump.
        """
        length, times, seed, seeds = more
        run = self._runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result to branch from. Wait until it has one.")
        if not run.results[index].states:
            raise InputError(
                "This result has no kept states: a mean has none, and only the most recent runs keep theirs."
            )
        state = _state(run, index, share)
        method = continuation(run.job.method, state.position, kind, int(length or 0), int(times or 0))
        job = run.job
        origin = Origin(run.id, index, state.position, state)
        branched: dict[str, Any] = {"preset": None, "task": "Fill", "origin": origin, "kind": kind}
        return replace(job, method=method, seeds=chosen_seeds(seed, seeds), **branched)

    @errors_on_page
    def branch_cost(self, *values: Any) -> str:
        """Format the cost of a branch."""
        try:
            job = self.branched(*values)
        except InputError as error:
            return f"<p class='cost'>{escape(str(error))}</p>"
        return cost(job.method.model_calls, len(job.seeds), self._runner.find(values[0]).pace)

    @errors_on_page
    def branch(self, *values: Any) -> tuple[Any, str]:
        """Start a branch; return (list of runs with it chosen, its id)."""
        return self._does.listed(self._runner.submit(self.branched(*values)))


def _state(run: Run, index: int, share: float) -> SamplerState:
    """Return the kept state nearest to `share` percent of the run."""
    states = run.results[index].states
    return min(states, key=lambda state: abs(state.position / states[-1].position - share / 100))
