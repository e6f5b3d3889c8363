"""Event handlers of runs: what starts them, and what shows them. The layout is in `app.py`."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from repaint.arguments import weakened
from repaint.defaults import CANDIDATES, SAMPLES, restore_schedule
from repaint.errors import InputError
from repaint.measure.plots import heat_map
from repaint.pictures.fills import Fills
from repaint.sampling.method import Method
from repaint.studio.canvas import chosen_photo
from repaint.studio.inputs import Photo
from repaint.studio.jobs import Job, Run, Task
from repaint.studio.page_errors import errors_on_page
from repaint.studio.painting import graded, grown, painted
from repaint.studio.recipe import bundle
from repaint.studio.run import Runner
from repaint.studio.settings import chosen_conditions, chosen_method, chosen_seeds, takes
from repaint.studio.views import cost, displayed, label, progress_html, result_names, tree_html, walk_html

__all__ = ["NOTHING_RUN", "TICK", "Handlers"]

TICK = 0.25  # seconds between two updates of a watched run
NOTHING_RUN = "<div class='progress' role='status' data-status='none'><span>No run yet.</span></div>"


class Handlers:
    """The event handlers of one server.

    Args:
        runner: computes the runs.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.folder = Path(tempfile.mkdtemp(prefix="repaint-studio-"))
        self.cache = self.folder / "cache"
        self._bundling = threading.Lock()
        self._watching: dict[str, object] = {}  # page to a token of its latest `watch`

    def close(self) -> None:
        """Remove the download files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @errors_on_page
    def abilities(self, prior: str) -> tuple[Any, Any, Any]:
        """Return updates that show the prompt, class and guidance fields that a prior supports."""
        supported = takes(self.runner.pipe(prior).prior)
        classes = [("no class", ""), *((name, name) for name in supported["classes"])]
        guided = supported["prompt"] or bool(supported["classes"])
        return (
            gr.update(visible=supported["prompt"]),
            gr.update(visible=bool(supported["classes"]), choices=classes, value=""),
            gr.update(visible=guided),
        )

    def task(self, task: Task) -> tuple[Any, ...]:
        """Return updates of (schedule, number of images, margin, the panel that finds damage) for a task."""
        preset = restore_schedule(SAMPLES) if task == "Restore" else ""
        images = {"Fill": 1, "Restore": SAMPLES, "Remove": CANDIDATES}[task]
        return (
            preset,
            gr.update(value=images),
            gr.update(visible=task == "Remove"),
            gr.update(visible=task == "Restore"),
        )

    @errors_on_page
    def plan(self, *values: Any) -> tuple[str, str]:
        """Return (walk, cost) for the picture, the prior and the schedule settings."""
        photo, prior, seeds, *settings = values
        method, _ = self._method(prior, *settings)
        pace = window = None
        if photo is not None:
            job = Job(photo, np.zeros(photo.size, bool), prior, method, (0,))
            pace, size = self.runner.seconds_per_call(job), self.runner.window(job)
            window = None if size == photo.size else max(size)
        return walk_html(method.schedule), cost(method.model_calls, int(seeds or 1), pace, window)

    @errors_on_page
    def start(self, *values: Any) -> tuple[Any, str]:
        """Start a run with the settings of the page; return (list of runs with it chosen, its id for the browser)."""
        *picture, seed, seeds, preset, own, steps, length, samples, start, stop, task, margin = values
        schedule = [preset, own, steps, length, samples, start, stop]
        job = self.job(*picture, seed=seed, seeds=seeds, schedule=schedule, task=task, margin=margin)
        return self.listed(self.runner.submit(job))

    def job(
        self,
        photo: Photo | None,
        canvas: Any,
        prior: str,
        prompt: str,
        class_label: str,
        guidance: Any,
        blend_rim: Any,
        *,
        seed: Any,
        seeds: Any,
        schedule: list[Any],
        task: Task = "Fill",
        margin: Any = 0,
    ) -> Job:
        """Return the job that the settings of the page describe.

        Raises:
            RepaintError: wrong settings.
        """
        photo = chosen_photo(photo)
        method, preset = self._method(prior, *schedule)
        supported = takes(self.runner.pipe(prior).prior)
        conditions = chosen_conditions(supported["prompt"], prompt, class_label, guidance)
        shares = painted(canvas["layers"] if canvas else [], photo)
        strengths, hole = graded(shares), shares > 0
        if strengths is not None:
            method = weakened(method, float(shares.max() / 255))
        if task == "Remove":
            hole = grown(hole, float(margin or 0))
        parts = chosen_seeds(seed, seeds), preset, conditions, float(blend_rim or 0)
        if task == "Restore" and len(parts[0]) == 1:
            task = "Fill"  # nothing to average
        return Job(photo, hole, prior, method, *parts, strengths, task)

    def _method(self, prior: str, preset: str, *editor: Any) -> tuple[Method, str | None]:
        """Return the method and its preset; see `chosen_method`. An empty preset is the prior's own default."""
        return chosen_method(preset or self.runner.pipe(prior).prior.default_schedule, *editor)

    def listed(self, run: Run) -> tuple[Any, str]:
        """Return (the list of runs with this one chosen, its id)."""
        return gr.update(choices=self.choices(), value=run.id), run.id

    def choices(self) -> list[tuple[str, str]]:
        """Return the stored runs for the list, newest first."""
        return [(label(run), run.id) for run in self.runner.runs()]

    def refresh(self, chosen: str | None) -> Any:
        """Return the current list of runs."""
        ids = {run.id for run in self.runner.runs()}
        return gr.update(choices=self.choices(), value=chosen if chosen in ids else None)

    @errors_on_page
    def cancel(self, run_id: str | None) -> None:
        """Stop the chosen run."""
        self.runner.cancel(run_id)

    def watch(self, run_id: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yield (progress, walk, preview, gallery, slider, index of the result) until the run ends.

        It stops early when the page starts to watch another run.
        """
        try:
            run = self.runner.find(run_id)
        except InputError:
            yield NOTHING_RUN, gr.skip(), None, gr.update(visible=False), None, gr.update(choices=[], value=None)
            return
        session, token = str(request.session_hash), object()
        self._watching[session] = token
        previous: Any = None
        # The list keeps its choices: gradio rejects an event of the previous run whose choice is no longer in the list.
        yield progress_html(run), walk_html(run), None, gr.skip(), None, gr.update(value=None)
        while not run.ended.wait(TICK):
            if self._watching.get(session) is not token:
                return
            latest = run.preview
            preview = gr.skip() if latest is None or latest is previous else displayed(latest)
            previous = latest
            yield progress_html(run, self.runner.before(run)), walk_html(run), preview, *[gr.skip()] * 3
        if self._watching.get(session) is token:
            del self._watching[session]
        yield _ended(run)

    def choose(self, run_id: str | None, index: int | None) -> tuple[Any, Any, str]:
        """Return (slider, files, tree) for a result."""
        run = self.with_result(run_id, index)
        if run is None or index is None:
            return None, gr.update(value=None, visible=False), self.tree(run_id)
        result = run.results[index]
        # Written into gradio's cache: gradio copies other files there, and can serve a half-written copy.
        folder = self.cache / run.id / str(index)
        with self._bundling:
            if not (folder / "recipe.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                bundle(run, index, folder, self.runner.device, self.runner.dtype)
        files = gr.update(value=sorted(str(path) for path in folder.iterdir()), visible=True)
        return (displayed(run.job.photo.image), displayed(result.image)), files, self.tree(run_id)

    def spread(self, run_id: str | None) -> tuple[Any, ...]:
        """Return (the panel, a summary, the mean, the map of uncertainty) for a run of several results."""
        run = self.with_result(run_id, 1)
        if run is None or not run.ended.is_set():
            return gr.update(visible=False), "", None, None
        fills = Fills.from_images(
            [result.image for result in run.results], run.job.hole, temperature=run.job.method.temperature
        )
        summary = f"{len(run.results)} images. Uncertainty: {fills.summary('pil')}."
        mean, heat = fills.mean().output("pil"), heat_map(fills.deviation("pil"))
        return gr.update(visible=True), summary, displayed(mean), displayed(heat)

    def pick(self, event: gr.SelectData) -> int:
        """Return the index of the result chosen in the gallery."""
        return int(event.index)

    def with_result(self, run_id: str | None, index: int | None) -> Run | None:
        """Return a run if it is stored and has this result, else None."""
        try:
            run = self.runner.find(run_id)
        except InputError:
            return None
        return run if index is not None and index < len(run.results) else None

    def tree(self, run_id: str | None) -> str:
        """Return the tree of branches that contains a run."""
        try:
            return tree_html(self.runner.runs(), self.runner.find(run_id))
        except InputError:
            return "<p>Start a run, then branch it here.</p>"


def _ended(run: Run) -> tuple[Any, ...]:
    """Return the last updates of `watch`."""
    images = [displayed(result.image) for result in run.results]
    names = result_names(run)
    return (
        progress_html(run),
        walk_html(run),
        images[-1] if images else None,
        gr.update(value=list(zip(images, names, strict=True)), visible=len(images) > 1),
        (displayed(run.job.photo.image), images[0]) if images else None,
        gr.update(choices=[(name, number) for number, name in enumerate(names)], value=0 if images else None),
    )
