"""A run: its settings, its progress and its results."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from repaint.sampling.method import Method
from repaint.sampling.state import SamplerState
from repaint.studio.inputs import Photo

__all__ = ["TASKS", "Job", "Origin", "Result", "Run", "Task"]

Status = Literal["waiting", "running", "done", "cancelled", "failed"]
Task = Literal["Fill", "Restore", "Remove"]
# Fill: a result for each seed. Restore: their mean. Remove: the results, ranked.
TASKS: tuple[Task, ...] = ("Fill", "Restore", "Remove")


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
        strengths: (H, W) how much each pixel may change, 255 is all; None: all of the hole.
        task: what is made of the results; see `TASKS`.
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
    strengths: NDArray[np.uint8] | None = None
    task: Task = "Fill"
    origin: Origin | None = None
    kind: str = ""

    @property
    def mask(self) -> Image.Image:
        """The mask; white is repainted."""
        return Image.fromarray(np.where(self.hole, np.uint8(255), np.uint8(0)))

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the pipeline that its image, mask and seeds do not cover."""
        given = dict(schedule=self.method, blend_rim=self.blend_rim, **self.conditions)
        return given if self.strengths is None else {**given, "strength": Image.fromarray(self.strengths)}

    @property
    def model_calls(self) -> int:
        return self.method.model_calls * len(self.seeds)


@dataclass(frozen=True, eq=False)
class Result:
    """One image, with its seed, its cost and the states kept on the way, in order. A mean has its first seed."""

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
    elapsed: float = 0.0  # seconds of the whole run
    calls: int = 0
    position: int = 0  # finished moves of the current seed
    preview: Image.Image | None = None
    warnings: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def pace(self) -> float | None:
        """Seconds per model call so far; None before two calls."""
        return self.seconds / (self.calls - 1) if self.calls > 1 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the pace so far; None before two calls."""
        return self.pace * (self.job.model_calls - self.calls) if self.status == "running" and self.pace else None
