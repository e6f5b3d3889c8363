"""The queue of runs. One worker thread computes them in order.

A run does not belong to a browser session: a reloaded page finds it by its id.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from repaint.cutouts import window_seed
from repaint.errors import InputError, RepaintError
from repaint.pictures.decoding import upright
from repaint.pipeline import RePaintPipeline
from repaint.sampling.method import Method
from repaint.sampling.prior import Prior
from repaint.sampling.rng import seeds_for
from repaint.sampling.state import SamplerState
from repaint.studio.inputs import Photo, check_hole
from repaint.studio.tree import kept_positions

__all__ = ["Job", "Origin", "Result", "Run", "Runner", "takes"]

Status = Literal["waiting", "running", "done", "cancelled", "failed"]
MOST_WAITING = 32
MOST_RUNS = 64  # stored with their results
MOST_WITH_STATES = 16  # runs that also keep their states
MOST_SEEDS = 16
MOST_SHOWN = 4  # windows in a preview
PREVIEW_SECONDS = 0.3


@dataclass(frozen=True, eq=False)
class Origin:
    """The origin of a branch: a result (`run`, `index`), and its state after `position` moves."""

    run: str
    index: int
    position: int
    state: SamplerState


@dataclass(frozen=True, eq=False)
class Job:
    """The settings of a run.

    Attributes:
        photo: the picture.
        hole: (H, W), True is repainted.
        prior: a name that the runner offers.
        method: the method.
        seeds: one result each, computed one by one, so that each equals a run with its seed alone.
        preset: name of the method in `schedules/`; None for a custom walk.
        conditions: the given ones of prompt, negative_prompt, class_labels and guidance_scale.
        blend_rim: see `RePaintPipeline.__call__`.
        origin: of a branch; None for other runs.
        kind: of a branch, one of `repaint.studio.tree.KINDS`.
    """

    photo: Photo
    hole: NDArray[np.bool_]
    prior: str
    method: Method
    seeds: tuple[int, ...]
    preset: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    blend_rim: float = 0.0
    origin: Origin | None = None
    kind: str = ""

    @property
    def mask(self) -> Image.Image:
        """White is repainted."""
        return Image.fromarray(np.where(self.hole, np.uint8(255), np.uint8(0)))

    @property
    def model_calls(self) -> int:
        return self.method.model_calls * len(self.seeds)


@dataclass(frozen=True, eq=False)
class Result:
    """One image, with its seed, its cost and the states kept on the way, in order."""

    seed: int
    image: Image.Image
    model_calls: int
    states: tuple[SamplerState, ...]


@dataclass(eq=False)
class Run:
    """A job and its progress. Only the worker writes to it."""

    job: Job
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    status: Status = "waiting"
    message: str = ""
    asked: float = field(default_factory=time.time)  # time of submission
    seconds: float = 0.0  # since the end of the first move
    calls: int = 0
    position: int = 0  # finished moves of the current seed
    preview: Image.Image | None = None
    results: list[Result] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the pace so far; None before two calls."""
        if self.status != "running" or self.calls < 2:
            return None
        return self.seconds / (self.calls - 1) * (self.job.model_calls - self.calls)


class _Stopped(Exception):
    """Raised in the callback of a run to stop it."""


def takes(prior: Prior) -> dict[str, Any]:
    """The conditions that a prior supports: whether it takes a prompt, and its class names or numbers."""
    classes = list(prior.class_names.values()) or [str(number) for number in range(prior.num_classes)]
    return {"prompt": "prompt" in prior.serves, "classes": classes}


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
        """The pipeline of a prior, loaded once.

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
            InputError: an empty or full mask, a wrong number of seeds, a prompt or class that the prior does not
                support, or a full queue.
        """
        check_hole(job.hole)
        if not 1 <= len(job.seeds) <= MOST_SEEDS:
            raise InputError(f"images={len(job.seeds)} must be from 1 to {MOST_SEEDS}.")
        seeds_for(len(job.seeds), list(job.seeds))
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
        """All stored runs, newest first."""
        with self._lock:
            return list(self._runs.values())[::-1]

    def find(self, run_id: str | None) -> Run:
        """A run by its id.

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
        """The number of runs ahead of a waiting one."""
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

    def seconds_per_call(self, job: Job, *, measure: bool = True) -> float | None:
        """The duration of one model call, or None if it is not known and the machine is busy.

        It is measured once for each prior, size and guidance, on the second call of a run.
        """
        key = job.prior, job.photo.size, job.conditions.get("guidance_scale") not in (None, 1)
        if key not in self._pace and measure and self._machine.acquire(blocking=False):
            try:
                self._pace[key] = self._timed(job)
            finally:
                self._machine.release()
        return self._pace.get(key)

    def _timed(self, job: Job) -> float:
        ticks: list[float] = []

        def tick(_pipe: Any, _position: int, _level: int, _kwargs: dict[str, Any]) -> None:
            ticks.append(time.perf_counter())
            if len(ticks) == 2:
                raise _Stopped

        given: dict[str, Any] = {"prompt": ""} if takes(self.pipe(job.prior).prior)["prompt"] else {}
        hole = np.zeros(job.photo.size, bool)
        hole[: -(-hole.shape[0] // 2)] = True
        start = time.perf_counter()
        try:
            given |= job.conditions
            self.pipe(job.prior)(
                job.photo.image,
                Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))),
                **given,
                schedule=job.method,
                generator=0,
                callback_on_step_end=tick,
            )
        except _Stopped:
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
                    for seed in run.job.seeds:
                        self._make(run, seed)
                status, message = "done", ""
            except _Stopped:
                status, message = "cancelled", ""
            except RepaintError as error:
                status, message = "failed", str(error)
            except Exception as error:  # no error of a model may end the worker
                status, message = "failed", f"{type(error).__name__}: {error}"
            with self._lock:
                self._end(run, status, message)

    def _end(self, run: Run, status: Any, message: str = "") -> None:
        run.status, run.message, run.preview = status, message, None
        run.ended.set()

    def _make(self, run: Run, seed: int) -> None:
        """One result."""
        if run.stop.is_set():
            raise _Stopped
        job, pipe = run.job, self.pipe(run.job.prior)
        follow = _Follower(run, pipe)
        given: dict[str, Any] = dict(
            schedule=job.method, blend_rim=job.blend_rim, callback_on_step_end=follow, **job.conditions
        )
        if job.origin is None:
            out = pipe(upright(job.photo.image), job.mask, generator=seed, **given)
        else:
            state = job.origin.state
            branch = state.branch([window_seed(seed, n) for n in range(len(state.x))])
            out = pipe.resume(branch, upright(job.photo.image), job.mask, **given)
        run.results.append(Result(seed, out.images[0], out.model_calls, tuple(follow.kept)))


class _Follower:
    """The callback of one result. It counts calls, keeps states, updates the preview, and stops cancelled runs."""

    def __init__(self, run: Run, pipe: RePaintPipeline) -> None:
        self.run, self.pipe = run, pipe
        self.kept: list[SamplerState] = []
        self._positions: frozenset[int] | None = None
        self._base, self._inherited = run.calls, run.job.origin.state.model_calls if run.job.origin else 0
        self._last = self._shown = time.perf_counter()

    def __call__(self, _pipe: Any, position: int, _level: int, kwargs: dict[str, Any]) -> None:
        state: SamplerState = kwargs["state"]
        run, now = self.run, time.perf_counter()
        if run.calls:
            run.seconds += now - self._last
        run.calls = self._base + state.model_calls - self._inherited
        run.position = position
        if self._positions is None:
            self._positions = kept_positions(len(run.job.method.moves), state)
        if position in self._positions:
            self.kept.append(state.to("cpu"))
        if state.x0_hat is not None and now - self._shown > PREVIEW_SECONDS:
            run.preview = show(self.pipe.prior, state)
            # Decoding can cost as much as a call. Limit it to a quarter of the time.
            spent = time.perf_counter() - now
            self._shown = now + 3 * spent
        self._last = time.perf_counter()
        if run.stop.is_set():
            raise _Stopped


def show(prior: Prior, state: SamplerState) -> Image.Image:
    """x0_hat of a state (x before the first call) as an 8-bit preview, including padding.

    Of a picture that is cut into windows, the first few side by side.
    """
    x = state.x if state.x0_hat is None else state.x0_hat
    with torch.no_grad():
        windows = prior.decode(x[:MOST_SHOWN].to(prior.device)).float().cpu()
    image = torch.cat(list(windows), dim=-1)
    pixels = image.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[..., 0])
