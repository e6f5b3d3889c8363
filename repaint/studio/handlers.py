"""What the page's events do: components' values in, updates out. No layout."""

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
from repaint.sampling.method import Method, as_method
from repaint.sampling.presets import JumpRule
from repaint.sampling.rng import seeds_for
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState
from repaint.studio.inputs import Photo, paint, painted, read_mask, read_photo, sample, shown
from repaint.studio.recipe import bundle
from repaint.studio.run import Job, Origin, Run, Runner, show, takes
from repaint.studio.tree import continuation, small_and_large
from repaint.studio.views import audit_html, cost, enlarged, label, progress_html, tree_html, walk_html

__all__ = ["PINK", "Handlers"]

PINK = (228, 0, 127)
TICK = 0.25  # seconds between two looks at a run
NOBODY = "<div class='progress' role='status' data-status='none'><span>Nothing was run yet.</span></div>"


def told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The library's errors become the page's: one line, and nothing changes."""

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except RepaintError as error:
            raise gr.Error(escape(str(error)), duration=15, print_exception=False) from error

    return wrapped


class Handlers:
    """One for a server.

    Args:
        runner: makes the runs.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.folder = Path(tempfile.mkdtemp(prefix="repaint-studio-"))
        self.cache = self.folder / "cache"
        self._bundling = threading.Lock()
        self._watching: dict[str, object] = {}  # of each page, the look at a run that goes on

    def close(self) -> None:
        """Remove the files that were written for downloads."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @told
    def take_upload(self, path: str | None) -> tuple[Any, Any, str]:
        """An uploaded picture -> (photo, canvas, what it is)."""
        if path is None:
            return None, None, ""
        return self._taken(read_photo(path))

    @told
    def take_sample(self, name: str | None) -> tuple[Any, Any, str]:
        """A bundled picture -> the same."""
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
            raise InputError("There is no picture: nothing can be filled. Drop one, or choose a sample.")
        return photo

    @told
    def invert(self, photo: Photo | None, value: Any) -> dict[str, Any]:
        """The canvas with hole and kept part exchanged."""
        photo = self._photo(photo)
        return self._canvas(photo, ~painted(value["layers"] if value else [], photo))

    @told
    def clear(self, photo: Photo | None) -> dict[str, Any]:
        """The canvas with nothing painted."""
        return self._canvas(self._photo(photo))

    @told
    def take_mask(self, photo: Photo | None, path: str) -> dict[str, Any]:
        """The canvas with an uploaded mask; white is repainted."""
        photo = self._photo(photo)
        hole, grey = read_mask(path, photo.size)
        if grey:
            gr.Warning(f"{grey} grey pixels of the mask were decided at one half. `repaint inpaint` keeps soft edges.")
        return self._canvas(photo, hole)

    @told
    def abilities(self, prior: str) -> tuple[Any, Any, Any]:
        """A prior -> which of prompt, class and guidance it takes."""
        able = takes(self.runner.pipe(prior).prior)
        classes = [("no class", ""), *((name, name) for name in able["classes"])]
        guided = able["prompt"] or bool(able["classes"])
        return (
            gr.update(visible=able["prompt"]),
            gr.update(visible=bool(able["classes"]), choices=classes, value=""),
            gr.update(visible=guided),
        )

    @told
    def plan(self, *values: Any) -> tuple[str, str]:
        """The picture, the prior and the schedule's settings -> (the walk, the cost)."""
        photo, prior, seeds, *settings = values
        method, _ = self._method(prior, *settings)
        pace = None
        if photo is not None:
            job = Job(photo, np.zeros(photo.size, bool), prior, method, (0,))
            pace = self.runner.seconds_per_call(job)
        return walk_html(method.schedule), cost(method.model_calls, int(seeds or 1), pace)

    @told
    def start(self, *values: Any) -> tuple[Any, str]:
        """Everything on the page -> (the list of runs with the new one chosen, its id for the browser to remember)."""
        photo, canvas, prior, prompt, class_label, guidance, blend_rim, seed, seeds, *settings = values
        photo = self._photo(photo)
        method, preset = self._method(prior, *settings)
        able = takes(self.runner.pipe(prior).prior)
        conditions: dict[str, Any] = {}
        if able["prompt"] or prompt:  # a prompt for a prior that takes none is refused, not forgotten
            conditions["prompt"] = prompt or ""
        if class_label:
            conditions["class_labels"] = int(class_label) if class_label.isdecimal() else class_label
        if guidance:
            conditions["guidance_scale"] = float(guidance)
        job = Job(
            photo,
            painted(canvas["layers"] if canvas else [], photo),
            prior,
            method,
            _seeds(seed, seeds),
            preset,
            conditions,
            float(blend_rim or 0),
        )
        return self._listed(self.runner.submit(job))

    def _method(self, prior: str, preset: str, *editor: Any) -> tuple[Method, str | None]:
        """See `_method`; an empty preset is the prior's own default."""
        return _method(preset or self.runner.pipe(prior).prior.default_schedule, *editor)

    def _listed(self, run: Run) -> tuple[Any, str]:
        return gr.update(choices=self.choices(), value=run.id), run.id

    def choices(self) -> list[tuple[str, str]]:
        """The remembered runs for the list, the newest first."""
        return [(label(run), run.id) for run in self.runner.runs()]

    def refresh(self, chosen: str | None) -> Any:
        """The list of runs as it is now."""
        ids = {run.id for run in self.runner.runs()}
        return gr.update(choices=self.choices(), value=chosen if chosen in ids else None)

    @told
    def cancel(self, run_id: str | None) -> None:
        """Stop the chosen run."""
        self.runner.cancel(run_id)

    def watch(self, run_id: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """A run as it goes: (progress, walk, preview, gallery, slider, result's number) until it has ended.

        It also ends when its page watches another run.
        """
        try:
            run = self.runner.find(run_id)
        except InputError:
            yield NOBODY, gr.skip(), None, gr.update(visible=False), None, gr.update(choices=[], value=None)
            return
        mine = self._watching[str(request.session_hash)] = object()
        seen: Any = None
        yield progress_html(run), walk_html(run), None, gr.skip(), None, gr.update(choices=[], value=None)
        while not run.ended.wait(TICK):
            if self._watching[str(request.session_hash)] is not mine:
                return
            latest = run.preview
            preview = gr.skip() if latest is None or latest is seen else enlarged(latest)
            seen = latest
            yield progress_html(run, self.runner.before(run)), walk_html(run), preview, *[gr.skip()] * 3
        self._watching.pop(str(request.session_hash), None)
        yield _ended(run)

    def choose(self, run_id: str | None, index: int | None) -> tuple[Any, Any, str]:
        """A result -> (slider, files, the tree)."""
        run = self._with_result(run_id, index)
        if run is None or index is None:
            return None, gr.update(value=None, visible=False), self.tree(run_id)
        result = run.results[index]
        # Inside gradio's cache: what lies elsewhere it copies there, and serves copies of equal files half-written.
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
        """The result that was chosen in the gallery."""
        return int(event.index)

    def _with_result(self, run_id: str | None, index: int | None) -> Run | None:
        try:
            run = self.runner.find(run_id)
        except InputError:
            return None
        return run if index is not None and index < len(run.results) else None

    def tree(self, run_id: str | None) -> str:
        """The continuations around a run."""
        try:
            return tree_html(self.runner.runs(), self.runner.find(run_id))
        except InputError:
            return "<p>Run something, then branch it here.</p>"

    def look(self, run_id: str | None, index: int | None, share: float) -> tuple[Any, str]:
        """A kept state -> (its x0_hat, where it stands)."""
        run = self._with_result(run_id, index)
        if run is None or index is None or not run.results[index].states:
            return None, "No state is kept of this result."
        state = _state(run, index, share)
        said = f"After move {state.position} of {len(run.job.method.moves)}, at level {state.level} of "
        said += f"{run.job.method.schedule.steps}, {state.model_calls} model calls in."
        return enlarged(show(self.runner.pipe(run.job.prior).prior, state)), said

    def lengths(self, run_id: str | None, kind: str) -> tuple[Any, Any]:
        """A kind of branch -> usual length and number of its jumps."""
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
            InputError: no result, no state kept, or a jump that cannot be made.
        """
        length, times, seed, seeds = more
        run = self.runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result yet: a branch begins at one of its states. Wait for it.")
        if not run.results[index].states:
            raise InputError(
                "The states of this run were dropped to make room: only the last runs keep them. Run it again."
            )
        state = _state(run, index, share)
        method = continuation(run.job.method, state.position, kind, int(length or 0), int(times or 0))
        job = run.job
        origin = Origin(run.id, index, state.position, state)
        return replace(job, method=method, seeds=_seeds(seed, seeds), preset=None, origin=origin, kind=kind)

    @told
    def branch_cost(self, *values: Any) -> str:
        """What a branch would cost."""
        try:
            job = self.branched(*values)
        except InputError as error:
            return f"<p class='cost'>{escape(str(error))}</p>"
        return cost(job.method.model_calls, len(job.seeds), self.runner.seconds_per_call(job, measure=False))

    @told
    def branch(self, *values: Any) -> tuple[Any, str]:
        """Start a branch -> the list of runs with it chosen, and its id."""
        return self._listed(self.runner.submit(self.branched(*values)))

    @told
    def audit_run(self, run_id: str | None, index: int | None) -> tuple[str, Any]:
        """What the chosen result changed outside its hole."""
        run = self.runner.find(run_id)
        if index is None or index >= len(run.results):
            raise InputError("The chosen run has no result yet: there is nothing to audit. Wait for it, or upload one.")
        before, after = (np.asarray(image) for image in (run.job.photo.image, run.results[index].image))
        hole = run.job.hole
        if before.shape[:2] != hole.shape:
            before, after = np.asarray(shown(run.job.photo.image)), np.asarray(shown(run.results[index].image))
        return _audited(audit(after, before, hole))

    @told
    def audit_upload(self, result: str | None, image: str | None, mask: str | None) -> tuple[str, Any]:
        """The same of any program's result."""
        if not (result and image and mask):
            raise InputError("An audit needs three files: a result, its picture, and its mask. Add what is missing.")
        for path in (result, image, mask):
            read_photo(path)
        return _audited(audit_files(result, image, mask))


def _state(run: Run, index: int, share: float) -> SamplerState:
    """The kept state nearest to that share of the run, in percent."""
    states = run.results[index].states
    return min(states, key=lambda state: abs(state.position / states[-1].position - share / 100))


def _ended(run: Run) -> tuple[Any, ...]:
    """What `watch` gives last."""
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


def _audited(its: Audit) -> tuple[str, Any]:
    return audit_html(its), changes_plot(its)


def _seeds(seed: Any, seeds: Any) -> tuple[int, ...]:
    if seed is None or seed != int(seed) or seeds is None:
        raise InputError(f"Seed {seed}, {seeds} images: both are whole numbers. Write them.")
    return tuple(seeds_for(int(seeds), int(seed)))


def _method(
    preset: str, own: bool, steps: Any, length: Any, samples: Any, start: Any, stop: Any
) -> tuple[Method, str | None]:
    """(the method, its preset's name or None) from the schedule's settings; a walk of one's own keeps the other parts.

    Raises:
        RepaintError: a walk that is none.
    """
    method = as_method(preset)
    if not own:
        return method, preset
    if any(value is None or value != int(value) for value in (steps, length, samples)):
        raise InputError("The schedule editor has an empty field: steps, jump length and samples are whole numbers.")
    walk = JumpSchedule.from_rules(int(steps), [])
    if int(samples) != 1:
        try:
            rule = JumpRule(
                jump_length=int(length),
                jump_n_sample=int(samples),
                start_resampling=None if start is None else int(start),
                stop_resampling=int(stop or 0),
            )
        except ValueError as error:
            raise InputError(
                f"Jumps of {length} levels, {samples} samples, window {start} to {stop}: lengths and samples are whole "
                "numbers from 1, levels from 0. Correct them."
            ) from error
        walk = JumpSchedule.from_rules(int(steps), [rule])
    return Method(walk, method.merge, method.solver, method.corrector, method.spacing, name="own walk"), None
