"""The queue of runs. One worker thread computes them in order.

A run does not belong to a browser session: a reloaded page finds it by its id.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from repaint.arguments import check_copies
from repaint.cutouts import window_seed
from repaint.errors import InputError, RepaintError, collected_warnings
from repaint.pictures.decoding import upright
from repaint.pipeline import RePaintPipeline
from repaint.removal import ranked
from repaint.restoring import fill_damage
from repaint.sampling.rng import seeds_for
from repaint.studio.following import Follower, Stopped
from repaint.studio.jobs import Job, Result, Run
from repaint.studio.painting import check_hole
from repaint.studio.settings import takes

__all__ = ["Runner"]

MOST_WAITING = 32
MOST_RUNS = 64  # stored with their results
MOST_WITH_STATES = 16  # runs that also keep their states
MOST_SEEDS = 16


class Runner:
    """Runs jobs one at a time, and stores the most recent runs.

    Args:
        load: returns the pipeline of a prior by name.
        names: of the priors on offer.
        device, dtype: of the pipelines that `load` returns, for recipes.
    """

    def __init__(
        self, load: Callable[[str], RePaintPipeline], names: list[str], device: str = "cpu", dtype: str = "float32"
    ) -> None:
        self.names, self.device, self.dtype = names, device, dtype
        self._load = load
        self._pipes: dict[str, RePaintPipeline] = {}
        self._runs: dict[str, Run] = {}
        self._waiting: queue.Queue[Run] = queue.Queue()
        self._lock = threading.Lock()  # for the runs
        self._loading = threading.Lock()
        self._machine = threading.Lock()  # held during model calls
        self._pace: dict[Any, float] = {}
        threading.Thread(target=self._work, name="repaint-studio", daemon=True).start()

    def pipe(self, name: str) -> RePaintPipeline:
        """Return the pipeline of a prior, loaded once.

        Raises:
            InputError: a prior that is not on offer.
        """
        if name not in self.names:
            raise InputError(
                f"prior={name!r} must be one of {', '.join(self.names)} (`repaint studio --prior` adds another)."
            )
        with self._loading:
            if name not in self._pipes:
                pipe = self._load(name)
                pipe.set_progress_bar_config(disable=True)
                self._pipes[name] = pipe
            return self._pipes[name]

    def submit(self, job: Job) -> Run:
        """Queue a job.

        Raises:
            InputError: an empty, full or grey mask, a wrong number of seeds, a prompt or class that the prior does not
                support, or a full queue.
        """
        check_hole(job.hole)
        if not 1 <= len(job.seeds) <= MOST_SEEDS:
            raise InputError(f"images={len(job.seeds)} must be from 1 to {MOST_SEEDS}.")
        check_copies(job.method, len(job.seeds), "images")
        seeds_for(len(job.seeds), list(job.seeds))
        if job.task == "Remove" and job.strengths is not None:
            raise InputError("Remove fills all of the mask, but parts of it are painted in grey. Paint in pink.")
        self._check_conditions(job)
        with self._lock:
            if sum(run.status == "waiting" for run in self._runs.values()) >= MOST_WAITING:
                raise InputError(f"The queue is full: {MOST_WAITING} runs are waiting. Cancel a run, or wait.")
            run = Run(job)
            self._runs[run.id] = run
            self._forget()
            self._waiting.put(run)
        return run

    def _check_conditions(self, job: Job) -> None:
        supported = takes(self.pipe(job.prior).prior)
        for name in ("prompt", "negative_prompt"):
            if job.conditions.get(name) and not supported["prompt"]:
                raise InputError(
                    f"{name}={job.conditions[name]!r} must be empty for the prior {job.prior}. Or choose a "
                    "text-conditioned prior."
                )
        label = job.conditions.get("class_labels")
        if label is not None and str(label) not in supported["classes"]:
            classes = supported["classes"]
            rule = f"one of {', '.join(classes[:10])}{', ...' * (len(classes) > 10)}" if classes else "empty"
            raise InputError(f"class={label!r} must be {rule} for the prior {job.prior}.")

    def _forget(self) -> None:
        """Drop the oldest finished runs, and the states of all but the most recent."""
        ended = [run for run in self._runs.values() if run.ended.is_set()]
        for run in ended[: max(0, len(self._runs) - MOST_RUNS)]:
            del self._runs[run.id]
        for run in ended[:-MOST_WITH_STATES]:
            run.results = [Result(r.seed, r.image, r.model_calls, ()) for r in run.results]

    def runs(self) -> list[Run]:
        """List all stored runs, newest first."""
        with self._lock:
            return list(self._runs.values())[::-1]

    def find(self, run_id: str | None) -> Run:
        """Find a run by its id.

        Raises:
            InputError: an unknown run, or one that was dropped.
        """
        with self._lock:
            if run_id not in self._runs:
                raise InputError(
                    f"There is no run {run_id}. Only the last {MOST_RUNS} are stored."
                    if run_id
                    else "No run is chosen. Choose or start one."
                )
            return self._runs[run_id]

    def before(self, run: Run) -> int:
        """Count the runs ahead of a waiting one."""
        others = [other for other in self.runs()[::-1] if other.status in ("waiting", "running")]
        return others.index(run) if run in others else 0

    def cancel(self, run_id: str | None) -> Run:
        """Stop a run: at once if it is waiting, else after the current model call."""
        run = self.find(run_id)
        with self._lock:
            run.stop.set()
            if run.status == "waiting":
                self._end(run, "cancelled")
        return run

    def seconds_per_call(self, job: Job) -> float | None:
        """Return the duration of one model call on one window, or None if it is not known and the machine is busy.

        It is measured once for each prior, size up to that of a window, and guidance, on the second call of a run.
        """
        guided = job.conditions.get("guidance_scale") not in (None, 1)
        key = job.prior, *self.window(job), guided
        if key not in self._pace and self._machine.acquire(blocking=False):
            try:
                self._pace[key] = self._timed(job)
            finally:
                self._machine.release()
        return self._pace.get(key)

    def window(self, job: Job) -> tuple[int, int]:
        """Return the (height, width) of a picture, each at most that of a window of the prior."""
        height, width = job.photo.size
        side = self.pipe(job.prior).prior.preferred_size or max(height, width)
        return min(height, side), min(width, side)

    def _timed(self, job: Job) -> float:
        ticks: list[float] = []

        def tick(_pipe: Any, _position: int, _level: int, _kwargs: dict[str, Any]) -> None:
            ticks.append(time.perf_counter())
            if len(ticks) == 2:
                raise Stopped

        given: dict[str, Any] = {"prompt": ""} if takes(self.pipe(job.prior).prior)["prompt"] else {}
        hole, (height, width) = np.zeros(job.photo.size, bool), self.window(job)
        hole[: -(-height // 4), : -(-width // 4)] = True
        start = time.perf_counter()
        try:
            given |= job.conditions
            with collected_warnings():  # this hole is not the user's
                self.pipe(job.prior)(
                    job.photo.image,
                    Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))),
                    **given,
                    schedule=job.method,
                    generator=0,
                    callback_on_step_end=tick,
                )
        except Stopped:
            pass
        return ticks[1] - ticks[0] if len(ticks) > 1 else time.perf_counter() - start

    def _work(self) -> None:
        while True:
            run = self._waiting.get()
            with self._lock:
                if run.status != "waiting":
                    continue
                run.status = "running"
            try:
                with self._machine:
                    begun = time.perf_counter()
                    with collected_warnings() as found:
                        self._compute(run)
                    run.elapsed = time.perf_counter() - begun
                    run.warnings = list(dict.fromkeys(found))
                status, message = "done", ""
            except Stopped:
                status, message = "cancelled", ""
            except RepaintError as error:
                status, message = "failed", str(error)
            except Exception as error:  # no error of a model may end the worker
                status, message = "failed", f"{type(error).__name__}: {error}"
            with self._lock:
                self._end(run, status, message)

    def _compute(self, run: Run) -> None:
        if run.job.task == "Restore":
            self._restore(run)
            return
        for seed in run.job.seeds:
            self._make(run, seed)
        if run.job.task == "Remove":
            self._rank(run)

    def _end(self, run: Run, status: Any, message: str = "") -> None:
        run.status, run.message, run.preview = status, message, None
        run.ended.set()

    def _make(self, run: Run, seed: int) -> None:
        """Make one result."""
        if run.stop.is_set():
            raise Stopped
        job, pipe = run.job, self.pipe(run.job.prior)
        follow = Follower(run, pipe)
        given: dict[str, Any] = {**job.options, "callback_on_step_end": follow}
        if job.origin is None:
            out = pipe(upright(job.photo.image), job.mask, generator=seed, **given)
        else:
            state = job.origin.state
            branch = state.branch([window_seed(seed, n) for n in range(len(state.x))])
            out = pipe.resume(branch, upright(job.photo.image), job.mask, **given)
        run.results.append(Result(seed, out.images[0], out.model_calls, tuple(follow.kept)))

    def _restore(self, run: Run) -> None:
        """Make the mean of all results."""
        job, pipe = run.job, self.pipe(run.job.prior)
        given = {**job.options, "callback_on_step_end": Follower(run, pipe), "batch_size": "auto"}
        seeds = {"samples": len(job.seeds), "generator": job.seeds[0]}
        restored = fill_damage(pipe, upright(job.photo.image), job.hole, **seeds, **given)
        run.results.append(Result(job.seeds[0], restored.image, restored.output.model_calls, ()))

    def _rank(self, run: Run) -> None:
        """Sort the results of a removal, the best first."""
        job, by_seed = run.job, {result.seed: result for result in run.results}
        images, prior = [result.image for result in run.results], self.pipe(job.prior).prior
        options = {"mask_image": job.mask, "schedule": job.method, **job.conditions}
        found = ranked(prior, images, list(by_seed), job.hole, **options)
        run.results = [by_seed[one.seed] for one in found]
