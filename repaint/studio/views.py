"""What a page shows of a run, as HTML and pictures: progress, the place on the walk, the tree of continuations."""

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
from repaint.studio.inputs import magnify, shown
from repaint.studio.run import Result, Run
from repaint.studio.tree import reached

__all__ = ["audit_html", "cost", "enlarged", "label", "progress_html", "tree_html", "walk_html"]

SHOWN = 384  # pixels: smaller pictures are magnified to about that for the eye
WORDS = {
    "waiting": "Waiting",
    "running": "Running",
    "done": "Done",
    "cancelled": "Cancelled",
    "failed": "Failed",
}


def enlarged(image: Image.Image) -> Image.Image:
    """For the eye: whole pixels, magnified where the picture is small."""
    return magnify(shown(image), max(1, SHOWN // max(image.size)))


def duration(seconds: float) -> str:
    """ "0.4 s", "12 s", "3 min", "2.5 h"."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cost(calls: int, seeds: int, pace: float | None) -> str:
    """What a run will cost, before it is made."""
    each = f"{seeds} images of {calls} model calls, {calls * seeds} in all" if seeds > 1 else f"{calls} model calls"
    took = "time not measured yet" if pace is None else f"about {duration(calls * seeds * pace)}, {pace:.3g} s a call"
    return f"<p class='cost'>Cost: <b>{each}</b>; {took}.</p>"


def label(run: Run) -> str:
    """One line for the list of runs."""
    job = run.job
    what = f"branch, {job.kind}" if job.origin else job.method.name
    seeds = f"seed {job.seeds[0]}" if len(job.seeds) == 1 else f"{len(job.seeds)} seeds from {job.seeds[0]}"
    begun = time.strftime("%H:%M:%S", time.localtime(run.asked))
    return f"{begun}, {job.photo.name}, {job.prior}, {what}, {seeds}: {WORDS[run.status].lower()}"


def progress_html(run: Run, before: int = 0) -> str:
    """How far a run is, in words and as a bar."""
    planned = run.job.model_calls
    said = WORDS[run.status]
    if run.status == "waiting":
        said += f": {before} before it"
    elif run.message:
        said += f": {escape(run.message)}"
    else:
        said += f": {run.calls} of {planned} model calls"
        if run.status == "running" and len(run.job.seeds) > 1:
            said += f", image {min(len(run.results) + 1, len(run.job.seeds))} of {len(run.job.seeds)}"
        if run.seconds_left is not None:
            said += f", {duration(run.seconds_left)} left"
        if run.status == "done":
            said += f" in {duration(run.seconds)}"
    return (
        f"<div class='progress' role='status' data-status='{run.status}' data-calls='{run.calls}'><span>{said}.</span>"
        f"<progress aria-label='Model calls done' max='{planned}' value='{run.calls}'></progress></div>"
    )


@lru_cache(maxsize=32)
def _drawn(walk: JumpSchedule) -> tuple[str, tuple[float, float, float, float]]:
    """(the plot as a data URI; left and top of (0, 0), and how far one transition and one level go, in percent)."""
    figure, file = walk_plot(walk), io.BytesIO()
    figure.savefig(file, format="png", dpi=90)
    to_display, (width, height) = figure.axes[0].transData, figure.bbox.size
    (x0, y0), (x1, y1) = to_display.transform([(0, 0), (1, 1)])
    place = (100 * x0 / width, 100 - 100 * y0 / height, 100 * (x1 - x0) / width, -100 * (y1 - y0) / height)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), place


def walk_html(run_or_walk: Run | JumpSchedule) -> str:
    """A walk as the paper draws it; of a run with a mark where it stands."""
    walk = run_or_walk.job.method.schedule if isinstance(run_or_walk, Run) else run_or_walk
    picture, (left, top, right, up) = _drawn(walk)
    said, mark = f"{len(walk)} transitions, {walk.model_calls} model calls", ""
    if isinstance(run_or_walk, Run):
        at = reached(run_or_walk.job.method)[run_or_walk.position]
        level = walk.levels[at]
        mark = f"<i class='mark' style='left:{left + right * at:.2f}%;top:{top + up * level:.2f}%'></i>"
        said += f"; at transition {at}, level {level}"
    return f"<div class='walk'><img src='{picture}' alt='Noise level over transition: {said}'>{mark}</div>"


def tree_html(runs: Sequence[Run], run: Run) -> str:
    """The family of a run: its first ancestor that is remembered, and all that was branched from it.

    Args:
        runs: all, in any order.
        run: one of them; it is marked.
    """
    known = {other.id: other for other in runs}
    root = run
    while root.job.origin and root.job.origin.run in known:
        root = known[root.job.origin.run]
    return f"<div class='tree'>{_branches([root], sorted(runs, key=lambda other: other.asked), run)}</div>"


def _branches(some: Sequence[Run], runs: Sequence[Run], marked: Run) -> str:
    items = []
    for run in some:
        if not run.results:
            items.append(f"<li>{_whence(run)}{WORDS[run.status].lower()}</li>")
        for index, result in enumerate(run.results):
            grown = [
                its for its in runs if its.job.origin and (its.job.origin.run, its.job.origin.index) == (run.id, index)
            ]
            below = _branches(grown, runs, marked) if grown else ""
            items.append(f"<li{' class=chosen' * (run is marked)}>{_node(run, result)}{below}</li>")
    return f"<ul>{''.join(items)}</ul>"


def _whence(run: Run) -> str:
    origin = run.job.origin
    return f"after move {origin.position}, level {origin.state.level}: {run.job.kind}, " if origin else ""


def _node(run: Run, result: Result) -> str:
    inherited = run.job.origin.state.model_calls if run.job.origin else 0
    spent = f"{result.model_calls} model calls"
    if inherited:
        spent += f" more, {inherited + result.model_calls} in all"
    file = io.BytesIO()
    thumbnail = shown(result.image)
    thumbnail.thumbnail((96, 96))
    thumbnail.save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    said = f"{_whence(run)}seed {result.seed}, {spent}"
    image = f"<img src='data:image/png;base64,{picture}' alt='Result: {said}'>"
    return f"<figure>{image}<figcaption>{said}</figcaption></figure>"


def audit_html(its: Audit) -> str:
    """An audit in numbers."""
    rows = {
        "kept pixels": f"{its.kept}",
        "of them changed": f"{round(its.changed * its.kept)} ({its.changed:.2%})",
        "mean squared change": f"{its.mse:.4g}",
        "largest change": f"{its.max_change:g}",
    }
    body = "".join(f"<tr><th scope='row'>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    verdict = "No kept pixel changed." if its.max_change == 0 else "Kept pixels changed."
    return f"<div role='status'><p><b>{verdict}</b></p><table class='numbers'>{body}</table></div>"
