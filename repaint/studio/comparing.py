"""Event handlers of the tab Compare: two presets on one picture, mask and seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from repaint.studio.handlers import TICK, Handlers
from repaint.studio.jobs import Run
from repaint.studio.page_errors import errors_on_page
from repaint.studio.views import displayed, duration, progress_html

__all__ = ["Comparison"]

PLAIN = [False, 1, 1, 1, None, 0]  # no walk of the schedule editor


class Comparison:
    """The event handlers of the tab.

    Args:
        does: the handlers of runs.
    """

    def __init__(self, does: Handlers) -> None:
        self._does, self._runner = does, does.runner

    @errors_on_page
    def start(self, *values: Any) -> tuple[list[str], Any]:
        """Start a run for each of two presets; return (ids of the runs, the list of runs)."""
        *settings, seed, one, other = values
        jobs = [self._does.job(*settings, seed=seed, seeds=1, schedule=[name, *PLAIN]) for name in (one, other)]
        runs = [self._runner.submit(job) for job in jobs]
        return [run.id for run in runs], gr.update(choices=self._does.choices())

    @errors_on_page
    def cancel(self, ids: list[str]) -> None:
        """Stop both runs."""
        for run_id in ids:
            self._runner.cancel(run_id)

    def watch(self, ids: list[str]) -> Iterator[tuple[Any, ...]]:
        """Yield (line, picture) of each run, until both have ended."""
        runs = [self._runner.find(run_id) for run_id in ids]
        shown: list[Any] = [None] * len(runs)
        while True:
            ended = all(run.ended.wait(TICK) for run in runs)
            latest = [run.results[0].image if run.ended.is_set() and run.results else run.preview for run in runs]
            parts: list[Any] = []
            for run, picture, before in zip(runs, latest, shown, strict=True):
                # A picture is sent once: gradio would write its file again while the page reads it.
                parts += [self._line(run), gr.skip() if picture is before else picture and displayed(picture)]
            shown = latest
            yield tuple(parts)
            if ended:
                return

    def _line(self, run: Run) -> str:
        if not (run.ended.is_set() and run.results):
            return progress_html(run, self._runner.before(run))
        result, name = run.results[0], run.job.method.name
        line = f"{name}: {result.model_calls} model calls, {duration(run.elapsed)}, seed {result.seed}."
        return f"<p role='status' class='compared'><b>{line}</b></p>"
