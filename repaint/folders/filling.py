"""Fill the images of tasks, batch by batch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from repaint.arguments import calls_at
from repaint.errors import InputError, joined_lines, warn
from repaint.folders.tasks import Task
from repaint.pictures.decoding import open_image
from repaint.pictures.encoding import PNG_MODES, check_writable, keep_result
from repaint.pictures.images import Picture, read_images
from repaint.pictures.masks import ReadMask, known, read_masks
from repaint.pipeline import RePaintPipeline
from repaint.placement import Halving
from repaint.sampling.method import Method
from repaint.sampling.prior import Conditions

__all__ = ["Outcome", "check_options", "run"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a task.

    Attributes:
        image, mask, seed: of the task.
        out: file of the result; None if the task failed.
        status: "filled" in this run, "found" from an earlier run, or "failed".
        reason: why the task failed.
        model_calls: for this image; None unless it was filled in this run.
        seconds: the time of the batch divided by the number of images in it; None unless it was filled in this run.
    """

    image: str
    mask: str
    seed: int
    out: str | None
    status: Literal["filled", "found", "failed"]
    reason: str | None = None
    model_calls: int | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Convert to JSON-serialisable data without the entries that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class _Opened:
    """A task whose files have been read."""

    task: Task
    image: Image.Image
    keep: ReadMask
    out: Path
    found: bool


def check_options(pipe: RePaintPipeline, options: Mapping[str, Any]) -> None:
    """Check that the prior supports the options, before any work is done.

    Raises:
        RepaintError: see `RePaintPipeline.__call__`.
    """
    options = dict(options)
    if isinstance(options.get("strength"), str):  # a map, whose size is that of the images
        open_image(options["strength"])
        options["strength"] = 1
    side = 8 * pipe.prior.multiple_of
    whole = np.zeros((side, side), np.uint8)  # without a hole, so nothing is computed
    pipe(whole, keep_mask=ReadMask(torch.ones(1, side, side, device="cpu")), generator=0, **options)
    conditions = {name: value for name, value in options.items() if name in Conditions.__dataclass_fields__}
    pipe.prior.conditioned(1, Conditions.join(Conditions(**conditions).split(1), (side, side)))


def run(
    pipe: RePaintPipeline,
    own_batches: Sequence[Sequence[Task]],
    method: Method,
    options: Mapping[str, Any],
    *,
    keep_mask: bool = False,
    threshold: float | None = None,
    on_calls: Callable[[int], None] = lambda _more: None,
    say: Callable[[str], None] = lambda _text: None,
) -> Iterator[Outcome]:
    """Inpaint the images whose results are missing, batch by batch.

    A batch with a missing result is computed as a whole, so that every result has the same bits as in an uninterrupted
    run. A file that cannot be read fails on its own, without the rest of its batch.

    Args:
        pipe: the pipeline.
        own_batches: the batches of this process; see `batches` and `share_of`.
        method: the `schedule` of the pipeline.
        options: other keyword arguments of the pipeline, the same for all images.
        keep_mask: the white of the masks is kept instead of repainted.
        threshold: see `read_keep`.
        on_calls: called with the number of model calls done or skipped since the last call; in total those of `method`
            at the strength in `options` for each image, or up to `method.model_calls` with a map of strength.
        say: called with one line when a batch does not fit into memory.
    Yields:
        One outcome per task.
    """
    halving, reported, ended, filling = Halving(say=say), 0, 0, 0
    calls = calls_at(method, options.get("strength", 1.0))

    def report(done: int) -> None:
        nonlocal reported
        on_calls(max(0, done - reported))  # windows of several sizes are filled one after the other
        reported = max(done, reported)

    def step(_pipe: object, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        report(ended * calls + filling * kwargs["state"].model_calls)

    def fill(piece: Sequence[_Opened]) -> list[Outcome]:
        nonlocal filling
        started, filling = time.perf_counter(), len(piece)
        more = f" and {len(piece) - 1} more" if len(piece) > 1 else ""
        with _warnings_of(f"{piece[0].task.image}{more}"):
            result = pipe(
                [item.image for item in piece],
                keep_mask=[item.keep for item in piece],
                generator=[item.task.seed for item in piece],
                schedule=method,
                callback_on_step_end=step,
                **options,
            )
        for item, image in zip(piece, result.images, strict=True):
            if not item.found:
                item.out.parent.mkdir(parents=True, exist_ok=True)
                item.out = keep_result(image, item.out)
        seconds = round((time.perf_counter() - started) / len(piece), 6)
        filled = {"status": "filled", "model_calls": result.model_calls, "seconds": seconds}
        return [_outcome(item.task, out=item.out, **({"status": "found"} if item.found else filled)) for item in piece]

    for batch in own_batches:
        opened: list[_Opened] = []
        for task in batch:
            try:
                with _warnings_of(str(task.image)):
                    opened.append(_open(task, keep_mask, threshold))
            except InputError as error:
                yield _outcome(task, status="failed", reason=joined_lines(error))
        ended += len(batch) - len(opened)
        if all(item.found for item in opened):
            yield from (_outcome(item.task, out=item.out, status="found") for item in opened)
            ended += len(opened)
        else:
            for piece, done in halving.results(opened, fill):
                if isinstance(done, Exception):
                    yield _outcome(piece[0].task, status="failed", reason=joined_lines(done))
                else:
                    yield from done
                ended += len(piece)
        report(ended * calls)


def _outcome(task: Task, *, out: Path | None = None, **entries: Any) -> Outcome:
    return Outcome(str(task.image), str(task.mask), task.seed, None if out is None else str(out), **entries)


def _open(task: Task, keep_mask: bool, threshold: float | None) -> _Opened:
    image = open_image(task.image)
    picture = read_images(image)[0]
    given = {"keep_mask" if keep_mask else "mask_image": task.mask}
    keep = read_masks(**given, sizes=[picture.size], turns=[picture.orientation], threshold=threshold)[0]
    out = task.stem.with_name(f"{task.stem.name}{'.png' if image.mode in PNG_MODES else '.tif'}")
    found = out.exists() and _is_result(out, picture, keep.keep)
    if not found and out.parent.is_dir():
        check_writable(out, picture.output("pil"))
    return _Opened(task, image, keep, out, found)


@contextmanager
def _warnings_of(name: str) -> Iterator[None]:
    """Issue the warnings of a block again, with the name of the file that they are about."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for each in caught:
        text = str(each.message)
        warn(text if name in text else f"{name}: {text}", each.category)


def _is_result(out: Path, picture: Picture, keep: Any) -> bool:
    """Test whether a file is a complete result for this picture and mask; False if it is damaged.

    Raises:
        InputError: the file is another picture, or a result for another image or mask.
    """
    try:
        found = read_images(out)[0]
    except InputError:
        return False
    kept = known(keep)[0].numpy()
    if found.raw.shape != picture.raw.shape or not np.array_equal(found.raw[kept], picture.raw[kept]):
        raise InputError(
            f"{out}: the kept pixels differ from this image and mask. Remove the file to fill the image again."
        )
    return True
