"""Event handlers of the page: component values in, updates out. The layout is in `app.py`."""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from repaint.errors import InputError, RepaintError
from repaint.measure.audit import Audit, audit, audit_files
from repaint.measure.plots import changes_plot, heat_map
from repaint.pictures.fills import Fills
from repaint.pictures.margins import Margins
from repaint.sampling.method import Method
from repaint.sampling.state import SamplerState
from repaint.studio.inputs import Photo, extended_photo, paint, painted, read_mask, read_photo, sample, shown
from repaint.studio.recipe import bundle
from repaint.studio.run import Job, Origin, Run, Runner, show, takes
from repaint.studio.settings import chosen_conditions, chosen_method, chosen_seeds
from repaint.studio.tree import continuation, small_and_large
from repaint.studio.views import audit_html, cost, enlarged, label, progress_html, tree_html, walk_html

__all__ = ["PINK", "Handlers"]

PINK = (228, 0, 127)
TICK = 0.25  # seconds between two updates of a watched run
NOTHING_RUN = "<div class='progress' role='status' data-status='none'><span>No run yet.</span></div>"


def errors_on_page(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors of the library as one line on the page, which stays unchanged."""

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except RepaintError as error:
            raise gr.Error(escape(str(error)), duration=15, print_exception=False) from error

    return wrapped


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
    def take_upload(self, path: str | None) -> tuple[Any, Any, str]:
        """An uploaded picture -> (photo, canvas, description)."""
        if path is None:
            return None, None, ""
        return self._taken(read_photo(path))

    @errors_on_page
    def take_sample(self, name: str | None) -> tuple[Any, Any, str]:
        """The name of a bundled picture -> (photo, canvas, description)."""
        return (None, None, "") if name is None else self._taken(sample(name))

    def _taken(self, photo: Photo) -> tuple[Photo, dict[str, Any], str]:
        height, width = photo.size
        return photo, self._canvas(photo), f"{photo.name}: {width} x {height} pixels, mode {photo.image.mode}"

    def _canvas(self, photo: Photo, hole: Any = None) -> dict[str, Any]:
        background = photo.canvas()
        hole = np.zeros(photo.size, bool) if hole is None else hole
        return {"background": background, "layers": [paint(hole, photo, PINK)], "composite": None}

    def _photo(self, photo: Photo | None) -> Photo:
        if photo is None:
            raise InputError("There is no picture to fill. Upload one, or choose a sample.")
        return photo

    @errors_on_page
    def invert(self, photo: Photo | None, value: Any) -> dict[str, Any]:
        """The canvas with its mask inverted."""
        photo = self._photo(photo)
        return self._canvas(photo, ~painted(value["layers"] if value else [], photo))

    @errors_on_page
    def clear(self, photo: Photo | None) -> dict[str, Any]:
        """The canvas with an empty mask."""
        return self._canvas(self._photo(photo))

    @errors_on_page
    def take_mask(self, photo: Photo | None, path: str) -> dict[str, Any]:
        """The canvas with an uploaded mask; white is repainted."""
        photo = self._photo(photo)
        hole, grey = read_mask(path, photo.size)
        if grey:
            gr.Warning(
                f"{grey} grey pixels of the mask were rounded to black or white. `repaint inpaint` keeps soft edges."
            )
        return self._canvas(photo, hole)

    @errors_on_page
    def extend(self, photo: Photo | None, value: Any, *sides: Any) -> tuple[Photo, dict[str, Any], str]:
        """The picture and the pixels to add left, right, above and below -> (larger photo, canvas, description)."""
        photo = self._photo(photo)
        margins = Margins(*(int(side or 0) for side in sides))
        if margins.largest == 0:
            raise InputError("There is nothing to add. Set the pixels to add on one side.")
        larger, hole = extended_photo(photo, margins)
        height, width = photo.size
        inner = hole[margins.top : margins.top + height, margins.left : margins.left + width]
        inner |= painted(value["layers"] if value else [], photo)
        _, _, about = self._taken(larger)
        return larger, self._canvas(larger, hole), about

    @errors_on_page
    def abilities(self, prior: str) -> tuple[Any, Any, Any]:
        """A prior -> updates that show the prompt, class and guidance fields it supports."""
        supported = takes(self.runner.pipe(prior).prior)
        classes = [("no class", ""), *((name, name) for name in supported["classes"])]
        guided = supported["prompt"] or bool(supported["classes"])
        return (
            gr.update(visible=supported["prompt"]),
            gr.update(visible=bool(supported["classes"]), choices=classes, value=""),
            gr.update(visible=guided),
        )

    @errors_on_page
    def plan(self, *values: Any) -> tuple[str, str]:
        """The picture, the prior and the schedule settings -> (walk, cost)."""
        photo, prior, seeds, *settings = values
        method, _ = self._method(prior, *settings)
        pace = None
        if photo is not None:
            job = Job(photo, np.zeros(photo.size, bool), prior, method, (0,))
            pace = self.runner.seconds_per_call(job)
        return walk_html(method.schedule), cost(method.model_calls, int(seeds or 1), pace)

    @errors_on_page
    def start(self, *values: Any) -> tuple[Any, str]:
        """All settings of the page -> (list of runs with the new one chosen, its id for the browser to store)."""
        photo, canvas, prior, prompt, class_label, guidance, blend_rim, seed, seeds, *settings = values
        photo = self._photo(photo)
        method, preset = self._method(prior, *settings)
        supported = takes(self.runner.pipe(prior).prior)
        conditions = chosen_conditions(supported["prompt"], prompt, class_label, guidance)
        job = Job(
            photo,
            painted(canvas["layers"] if canvas else [], photo),
            prior,
            method,
            chosen_seeds(seed, seeds),
            preset,
            conditions,
            float(blend_rim or 0),
        )
        return self._listed(self.runner.submit(job))

    def _method(self, prior: str, preset: str, *editor: Any) -> tuple[Method, str | None]:
        """See `chosen_method`; an empty preset is the prior's own default."""
        return chosen_method(preset or self.runner.pipe(prior).prior.default_schedule, *editor)

    def _listed(self, run: Run) -> tuple[Any, str]:
        return gr.update(choices=self.choices(), value=run.id), run.id

    def choices(self) -> list[tuple[str, str]]:
        """The stored runs for the list, newest first."""
        return [(label(run), run.id) for run in self.runner.runs()]

    def refresh(self, chosen: str | None) -> Any:
        """The current list of runs."""
        ids = {run.id for run in self.runner.runs()}
        return gr.update(choices=self.choices(), value=chosen if chosen in ids else None)

    @errors_on_page
    def cancel(self, run_id: str | None) -> None:
        """Stop the chosen run."""
        self.runner.cancel(run_id)

    def watch(self, run_id: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """Yield (progress, walk, preview, gallery, slider, index of the result) until the run ends.

        Stops early when the page starts to watch another run.
        """
        try:
            run = self.runner.find(run_id)
        except InputError:
            yield NOTHING_RUN, gr.skip(), None, gr.update(visible=False), None, gr.update(choices=[], value=None)
            return
        token = self._watching[str(request.session_hash)] = object()
        previous: Any = None
        yield progress_html(run), walk_html(run), None, gr.skip(), None, gr.update(choices=[], value=None)
        while not run.ended.wait(TICK):
            if self._watching[str(request.session_hash)] is not token:
                return
            latest = run.preview
            preview = gr.skip() if latest is None or latest is previous else enlarged(latest)
            previous = latest
            yield progress_html(run, self.runner.before(run)), walk_html(run), preview, *[gr.skip()] * 3
        self._watching.pop(str(request.session_hash), None)
        yield _ended(run)

    def choose(self, run_id: str | None, index: int | None) -> tuple[Any, Any, str]:
        """A result -> (slider, files, tree)."""
        run = self._with_result(run_id, index)
        if run is None or index is None:
            return None, gr.update(value=None, visible=False), self.tree(run_id)
        result = run.results[index]
        # Written into gradio's cache: gradio copies files from elsewhere into it, and can serve a copy half-written.
        folder = self.cache / run.id / str(index)
        with self._bundling:
            if not (folder / "recipe.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                bundle(run, index, folder, self.runner.device, self.runner.dtype)
        files = gr.update(value=sorted(str(path) for path in folder.iterdir()), visible=True)
        return (enlarged(run.job.photo.image), enlarged(result.image)), files, self.tree(run_id)

    def spread(self, run_id: str | None) -> tuple[Any, ...]:
        """A run of several results -> (the panel, what its map spans, their mean, the map of their uncertainty)."""
        run = self._with_result(run_id, 1)
        if run is None or not run.ended.is_set():
            return gr.update(visible=False), "", None, None
        fills = Fills.from_images([result.image for result in run.results], run.job.hole)
        summary = f"{len(run.results)} images. Uncertainty: {fills.summary('pil')}."
        mean, heat = fills.mean().output("pil"), heat_map(fills.deviation("pil"))
        return gr.update(visible=True), summary, enlarged(mean), enlarged(heat)

    def pick(self, event: gr.SelectData) -> int:
        """The index of the result chosen in the gallery."""
        return int(event.index)

    def _with_result(self, run_id: str | None, index: int | None) -> Run | None:
        try:
            run = self.runner.find(run_id)
        except InputError:
            return None
        return run if index is not None and index < len(run.results) else None

    def tree(self, run_id: str | None) -> str:
        """The tree of branches that contains a run."""
        try:
            return tree_html(self.runner.runs(), self.runner.find(run_id))
        except InputError:
            return "<p>Start a run, then branch it here.</p>"

    def look(self, run_id: str | None, index: int | None, share: float) -> tuple[Any, str]:
        """The kept state nearest to `share` percent of the run -> (its x0_hat, its position in words)."""
        run = self._with_result(run_id, index)
        if run is None or index is None or not run.results[index].states:
            return None, "No states are kept for this result."
        state = _state(run, index, share)
        position = f"After move {state.position} of {len(run.job.method.moves)}, at level {state.level} of "
        position += f"{run.job.method.schedule.steps}, after {state.model_calls} model calls."
        return enlarged(show(self.runner.pipe(run.job.prior).prior, state)), position

    def lengths(self, run_id: str | None, kind: str) -> tuple[Any, Any]:
        """A kind of branch -> default length and number of its jumps."""
        try:
            small, large = small_and_large(self.runner.find(run_id).job.method.schedule.steps)
        except InputError:
            small, large = small_and_large(50)
        jumps, small_ones = kind != "new noise", kind == "small late jumps"
        return (
            gr.update(visible=jumps, value=small if small_ones else large),
            gr.update(visible=small_ones, value=15),
        )

    def branched(self, run_id: str | None, index: int | None, share: float, kind: str, *more: Any) -> Job:
        """The job of a branch.

        Raises:
            InputError: no result, no kept states, or an invalid jump.
        """
        length, times, seed, seeds = more
        run = self.runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result to branch from. Wait until it has one.")
        if not run.results[index].states:
            raise InputError(
                "The states of this run were dropped, because only the most recent runs keep them. Run it again."
            )
        state = _state(run, index, share)
        method = continuation(run.job.method, state.position, kind, int(length or 0), int(times or 0))
        job = run.job
        origin = Origin(run.id, index, state.position, state)
        return replace(job, method=method, seeds=chosen_seeds(seed, seeds), preset=None, origin=origin, kind=kind)

    @errors_on_page
    def branch_cost(self, *values: Any) -> str:
        """The cost of a branch."""
        try:
            job = self.branched(*values)
        except InputError as error:
            return f"<p class='cost'>{escape(str(error))}</p>"
        return cost(job.method.model_calls, len(job.seeds), self.runner.seconds_per_call(job, measure=False))

    @errors_on_page
    def branch(self, *values: Any) -> tuple[Any, str]:
        """Start a branch -> (list of runs with it chosen, its id)."""
        return self._listed(self.runner.submit(self.branched(*values)))

    @errors_on_page
    def audit_run(self, run_id: str | None, index: int | None) -> tuple[str, Any]:
        """Audit the pixels outside the hole of the chosen result."""
        run = self.runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result to audit. Wait until it has one, or upload one.")
        before, after = (np.asarray(image) for image in (run.job.photo.image, run.results[index].image))
        hole = run.job.hole
        if before.shape[:2] != hole.shape:
            before, after = np.asarray(shown(run.job.photo.image)), np.asarray(shown(run.results[index].image))
        return _audited(audit(after, before, hole))

    @errors_on_page
    def audit_upload(self, result: str | None, image: str | None, mask: str | None) -> tuple[str, Any]:
        """Audit an uploaded result of any program."""
        if not (result and image and mask):
            raise InputError("An audit needs three files: the result, the picture and the mask. Add the missing ones.")
        for path in (result, image, mask):
            read_photo(path)
        return _audited(audit_files(result, image, mask))


def _state(run: Run, index: int, share: float) -> SamplerState:
    """The kept state nearest to `share` percent of the run."""
    states = run.results[index].states
    return min(states, key=lambda state: abs(state.position / states[-1].position - share / 100))


def _ended(run: Run) -> tuple[Any, ...]:
    """The last updates of `watch`."""
    images = [enlarged(result.image) for result in run.results]
    names = [f"seed {result.seed}" for result in run.results]
    return (
        progress_html(run),
        walk_html(run),
        images[-1] if images else None,
        gr.update(value=list(zip(images, names, strict=True)), visible=len(images) > 1),
        (enlarged(run.job.photo.image), images[0]) if images else None,
        gr.update(choices=[(name, number) for number, name in enumerate(names)], value=0 if images else None),
    )


def _audited(found: Audit) -> tuple[str, Any]:
    return audit_html(found), changes_plot(found)
