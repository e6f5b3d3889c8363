"""Views of a run as HTML and pictures: progress, position on the walk, tree of branches."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from functools import lru_cache
from html import escape

from PIL import Image

from repaint.measure.audit import Audit
from repaint.measure.plots import walk_plot
from repaint.sampling.schedule import JumpSchedule
from repaint.studio.inputs import magnify, reduction, shown
from repaint.studio.jobs import Result, Run
from repaint.studio.tree import reached

__all__ = [
    "audit_html",
    "cost",
    "displayed",
    "duration",
    "label",
    "progress_html",
    "result_names",
    "tree_html",
    "walk_html",
]

SHOWN = 384  # pixels: smaller pictures are magnified to about this size for display
WORDS = {
    "waiting": "Waiting",
    "running": "Running",
    "done": "Done",
    "cancelled": "Cancelled",
    "failed": "Failed",
}


def displayed(image: Image.Image) -> Image.Image:
    """Convert a picture for display, magnified by a whole factor if it is small, reduced if it is large."""
    image = shown(image)
    return magnify(image.reduce(reduction(image.height, image.width)), max(1, SHOWN // max(image.size)))


def duration(seconds: float) -> str:
    """Format a duration: "0.4 s", "12 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cost(calls: int, seeds: int, pace: float | None, window: int | None = None) -> str:
    """Format the cost of a run before it starts, as HTML.

    Args:
        calls: model calls of each image.
        seeds: images.
        pace: seconds per call; None if it is not known.
        window: side of the window that `pace` holds for, if the picture is larger.
    """
    calls_text = (
        f"{seeds} images of {calls} model calls, {calls * seeds} in all" if seeds > 1 else f"{calls} model calls"
    )
    where = "" if window is None else f" for a hole in one window of {window} pixels"
    time_text = (
        "time not measured yet"
        if pace is None
        else f"about {duration(calls * seeds * pace)}{where}, {pace:.3g} s a call"
    )
    return f"<p class='cost'>Cost: <b>{calls_text}</b>; {time_text}.</p>"


def label(run: Run) -> str:
    """Format a run as one line for the list of runs."""
    job = run.job
    method = f"branch, {job.kind}" if job.origin else job.method.name
    method = method if job.task == "Fill" else f"{job.task}, {method}"
    first, count = job.seeds[0], len(job.seeds)
    seeds = f"seed {first}" if count == 1 else f"{count} seeds from {first}"
    if job.task == "Restore":
        seeds = f"{_mean_of(run)} from seed {first}"
    submitted = time.strftime("%H:%M:%S", time.localtime(run.asked))
    return f"{submitted}, {job.photo.name}, {job.prior}, {method}, {seeds}: {WORDS[run.status].lower()}"


def result_names(run: Run) -> list[str]:
    """Name each result of a run, in order."""
    if run.job.task == "Restore":
        return [_mean_of(run) for _ in run.results]
    best = "best, " if run.job.task == "Remove" and run.status == "done" else ""
    return [f"{best * (number == 0)}seed {result.seed}" for number, result in enumerate(run.results)]


def _mean_of(run: Run) -> str:
    """Name the result of Restore, without seeds: its images come in pairs of opposite noise."""
    return f"mean of {len(run.job.seeds)}"


def progress_html(run: Run, before: int = 0) -> str:
    """Format the progress of a run, in words and as a bar."""
    planned = run.job.model_calls
    text = WORDS[run.status]
    if run.status == "waiting":
        text += f": {before} ahead in the queue"
    elif run.message:
        text += f": {escape(run.message)}"
    else:
        text += f": {run.calls} of {planned} model calls"
        if run.status == "running" and len(run.job.seeds) > 1 and run.job.task != "Restore":
            text += f", image {min(len(run.results) + 1, len(run.job.seeds))} of {len(run.job.seeds)}"
        if run.seconds_left is not None:
            text += f", {duration(run.seconds_left)} left"
        if run.status == "done":
            text += f" in {duration(run.elapsed)}"
    return (
        f"<div class='progress' role='status' data-status='{run.status}' data-calls='{run.calls}'><span>{text}.</span>"
        f"<progress aria-label='Model calls done' max='{planned}' value='{run.calls}'></progress>"
        f"{''.join(f'<p>Warning: {escape(each)}</p>' for each in run.warnings)}</div>"
    )


@lru_cache(maxsize=32)
def _drawn(walk: JumpSchedule) -> tuple[str, tuple[float, float, float, float]]:
    """Return (plot as a data URI; left and top of (0, 0) and the size of one transition and one level, in percent)."""
    figure, file = walk_plot(walk), io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    to_display, (width, height) = figure.axes[0].transData, figure.bbox.size
    (x0, y0), (x1, y1) = to_display.transform([(0, 0), (1, 1)])
    place = (100 * x0 / width, 100 - 100 * y0 / height, 100 * (x1 - x0) / width, -100 * (y1 - y0) / height)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), place


def walk_html(run_or_walk: Run | JumpSchedule) -> str:
    """Draw a walk as in the paper, with a mark at the position of a run."""
    walk = run_or_walk.job.method.schedule if isinstance(run_or_walk, Run) else run_or_walk
    picture, (left, top, right, up) = _drawn(walk)
    text, mark = f"{len(walk)} transitions, {walk.model_calls} model calls", ""
    if isinstance(run_or_walk, Run):
        at = reached(run_or_walk.job.method)[run_or_walk.position]
        level = walk.levels[at]
        mark = f"<i class='mark' style='left:{left + right * at:.2f}%;top:{top + up * level:.2f}%'></i>"
        text += f"; at transition {at}, level {level}"
    return f"<div class='walk'><img src='{picture}' alt='Noise level over transition: {text}'>{mark}</div>"


def tree_html(runs: Sequence[Run], run: Run) -> str:
    """Draw the tree of branches that contains a run, from its first stored ancestor.

    Args:
        runs: all runs, in any order.
        run: the run to mark.
    """
    known = {other.id: other for other in runs}
    root = run
    while root.job.origin and root.job.origin.run in known:
        root = known[root.job.origin.run]
    return f"<div class='tree'>{_branches([root], sorted(runs, key=lambda other: other.asked), run)}</div>"


def _branches(siblings: Sequence[Run], runs: Sequence[Run], marked: Run) -> str:
    items = []
    for run in siblings:
        if not run.results:
            items.append(f"<li>{_origin_text(run)}{WORDS[run.status].lower()}</li>")
        for index, result in enumerate(run.results):
            children = [
                other
                for other in runs
                if other.job.origin and (other.job.origin.run, other.job.origin.index) == (run.id, index)
            ]
            below = _branches(children, runs, marked) if children else ""
            items.append(f"<li{' class=chosen' * (run is marked)}>{_node(run, result)}{below}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _origin_text(run: Run) -> str:
    origin = run.job.origin
    return f"after move {origin.position}, level {origin.state.level}: {run.job.kind}, " if origin else ""


def _node(run: Run, result: Result) -> str:
    inherited = run.job.origin.state.model_calls if run.job.origin else 0
    calls = f"{result.model_calls} model calls"
    if inherited:
        calls += f" more, {inherited + result.model_calls} in all"
    file = io.BytesIO()
    thumbnail = shown(result.image)
    thumbnail.thumbnail((96, 96))
    thumbnail.save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    made = f"{_mean_of(run)}, " if run.job.task == "Restore" else ""
    text = f"{_origin_text(run)}{made}seed {result.seed}, {calls}"
    image = f"<img src='data:image/png;base64,{picture}' alt='Result: {text}'>"
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def audit_html(found: Audit) -> str:
    """Format the numbers of an audit as HTML."""
    rows = {
        "kept pixels": f"{found.kept}",
        "of them changed": f"{round(found.changed * found.kept)} ({found.changed:.2%})",
        "mean squared change": f"{found.mse:.4g}",
        "largest change": f"{found.max_change:g}",
    }
    body = "".join(f"<tr><th scope='row'>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    verdict = "No kept pixel changed." if found.max_change == 0 else "Kept pixels changed."
    return f"<div role='status'><p><b>{verdict}</b></p><table class='numbers'>{body}</table></div>"
