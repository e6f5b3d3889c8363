"""Inpainting many images into a folder of results: batched, shared between processes, and resumable.

The folder holds `repaint.json`, the settings of all results in it; other settings are rejected. Each result is written
atomically, and a later call reads it to check that it is complete. After an interruption, repeat the same command.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image

from repaint.arguments import calls_at
from repaint.checks import shown
from repaint.errors import InputError, joined_lines, warn
from repaint.files import atomic_path, check_place
from repaint.pictures.decoding import open_image
from repaint.pictures.encoding import PNG_MODES, check_writable, keep_result
from repaint.pictures.images import Picture, read_images
from repaint.pictures.masks import ReadMask, known, read_masks
from repaint.pictures.metadata import exif_orientation
from repaint.pictures.pairs import (
    RESULTS,
    check_paired,
    masks_of,
    picture_files,
    picture_suffixes,
    split_masks,
    unique_stems,
)
from repaint.pipeline import RePaintPipeline
from repaint.placement import Halving
from repaint.sampling.method import Method
from repaint.sampling.prior import Conditions

__all__ = [
    "SETTINGS",
    "Outcome",
    "Task",
    "batches",
    "check_options",
    "check_settings",
    "is_one_file",
    "run",
    "share_of",
    "tasks",
    "write_settings",
]

T = TypeVar("T")

SETTINGS = RESULTS
RESULT_SUFFIXES = (".png", ".tif")


@dataclass(frozen=True)
class Task:
    """One image to inpaint.

    Attributes:
        image, mask: files.
        stem: path of the result without its suffix.
        seed: of the result; `repaint inpaint` on this image alone with this seed gives the same result.
    """

    image: Path
    mask: Path
    stem: Path
    seed: int


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


def is_one_file(images: Sequence[Path], mask: Path) -> bool:
    """Test whether a command line names one image and its mask, rather than folders, patterns or several images."""
    return len(images) == 1 and not (images[0].is_dir() or mask.is_dir() or _matches(images[0]))


def tasks(images: Sequence[Path], masks: Path, out: Path, seed: int, *, recursive: bool = False) -> list[Task]:
    """List the tasks, sorted by name.

    The seed of a result depends only on `seed` and the name of its image, not on the other images or processes.

    Args:
        images: a folder, or files and patterns such as "photos/*.jpg". Names without suffix must differ.
        masks: one mask for all images, or a folder with masks: NAME, NAME_mask or NAME_mask001, of any suffix, for the
            image NAME. It may be the folder of the images. An image with several masks has a result for each, named
            like the mask.
        out: the folder of results.
        seed: in [0, 2**33).
        recursive: a folder of images, and one of masks, is searched with its subfolders; results keep their places.
    Raises:
        InputError: no images, two images of one name, or an image without a mask.
    """
    pictures = _pictures(images, recursive)
    if not masks.is_dir():
        if not masks.exists():
            raise InputError(f"No file {masks}. Check the path (the current folder is {Path.cwd()}).")
        return [Task(path, masks, out / name, _seed(seed, name)) for name, path in sorted(pictures.items())]
    whole = len(images) == 1 and images[0].is_dir()  # a selection of images does not need all masks of a folder
    if whole and images[0].resolve() == masks.resolve():
        pictures, holes = split_masks(pictures)
    else:
        holes = masks_of(pictures, picture_files(masks, recursive=recursive))
    if not whole:
        holes = {name: found for name, found in holes.items() if name in pictures}
    check_paired(pictures, {name: next(iter(found.values())) for name, found in holes.items()}, images[0], masks)
    return [
        Task(path, mask, out / (name if len(holes[name]) == 1 else own), _seed(seed, name))
        for name, path in sorted(pictures.items())
        for own, mask in sorted(holes[name].items())
    ]


def batches(todo: Sequence[Task], batch: int) -> list[list[Task]]:
    """Group tasks into batches of at most `batch` images of one size.

    The grouping depends only on the tasks, so that a result is computed in the same batch in every process. A `batch`
    of 1 opens no file.
    """
    if batch == 1:
        return [[task] for task in todo]
    groups: dict[tuple[int, int], list[Task]] = {}
    for task in todo:
        groups.setdefault(_size(task.image), []).append(task)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def share_of(batches: Sequence[T], part: str | None, process: int, processes: int) -> list[T]:
    """Select the batches of one process, first by job-array part and then by process.

    Args:
        batches: all of them, in the same order in every process and including those that are already done.
        part: "i/n" with i from 1 to n; None selects all.
        process: index of this process, from 0.
        processes: number of processes of this job.
    Raises:
        InputError: `part` has another form.

    >>> share_of(list(range(12)), "2/3", 0, 2)
    [1, 7]
    """
    first, slash, count = (part or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard={shown(part)} must be i/n with i from 1 to n (for example 2/8).")
    return list(batches)[int(first) - 1 :: int(count)][process::processes]


def check_settings(
    out: Path, settings: Mapping[str, Any], todo: Sequence[Task] = (), *, overwrite: bool = False
) -> None:
    """Check that a folder is new, or holds results of the same settings.

    Args:
        out: the folder; it may be missing, but its parent must exist.
        settings: JSON-serialisable; everything that determines a result besides the image and mask. The entry
            "repaint" is the version of the library.
        todo: all tasks of this run.
        overwrite: accept a folder with other settings if all its images are earlier results of these tasks;
            `write_settings` then deletes them.
    Raises:
        InputError: the folder cannot be used; the message names the settings that differ, the version of repaint
            that wrote them, or the images that would be mixed with results of other settings.
    """
    if not out.parent.is_dir():
        raise InputError(f"Cannot write {out}: no folder {out.parent}. Create it first.")
    check_place(out / SETTINGS if out.is_dir() else out)
    if not out.is_dir() and (out.exists() or out.suffix.lower() in picture_suffixes()):
        raise InputError(f"Cannot write {out}: many images need a folder for their results, not a file. Pass a folder.")
    found = _read_settings(out)
    if found is None:
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise InputError(f"{out}: the folder is not empty and has no {SETTINGS}. Pass a new folder.")
        return
    before, now = _flat(found), _flat(settings)
    differ = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not differ:
        return
    if overwrite:
        if others := _other_images(out, todo):
            named = f"{', '.join(str(path.relative_to(out)) for path in others[:3])}{', ...' * (len(others) > 3)}"
            raise InputError(
                f"{out} has {len(others)} image{'s' * (len(others) > 1)} that --overwrite would not replace ({named}), "
                "so that results of two settings would be mixed. Remove them, or pass another --out."
            )
        return
    if "repaint" in differ:
        version = found.get("repaint")
        writer = f"version {shown(version)}" if isinstance(version, str) else "an unknown version"
        raise InputError(
            f"{out} was made by {writer} of repaint, but this is {shown(settings.get('repaint'))}. "
            "Pass another --out, or --overwrite to replace its results."
        )
    changes = (f"{name} was {shown(before.get(name))} and is now {shown(now.get(name))}" for name in differ[:3])
    raise InputError(
        f"{out} was made with other settings: {'; '.join(changes)}. "
        "Pass another --out, or --overwrite to replace its results."
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten settings: entries of mappings, such as a method, get dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def write_settings(out: Path, settings: Mapping[str, Any], todo: Sequence[Task] = ()) -> None:
    """Create the folder with its settings file. If it had other settings, delete the earlier results of these tasks."""
    out.mkdir(exist_ok=True)
    found = _read_settings(out)
    if found == settings:
        return
    if found is not None:
        for path in _earlier(todo):
            path.unlink(missing_ok=True)
    with atomic_path(out / SETTINGS) as draft:
        draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _earlier(todo: Sequence[Task]) -> set[Path]:
    """List the files that earlier results of the tasks can have."""
    return {task.stem.with_name(task.stem.name + suffix) for task in todo for suffix in RESULT_SUFFIXES}


def _other_images(out: Path, todo: Sequence[Task]) -> list[Path]:
    """List the images in a folder of results that are not of these tasks, without nested folders of results."""
    own, others = _earlier(todo), []
    for folder, inside, names in os.walk(out):
        place = Path(folder)
        inside[:] = [name for name in inside if not (place / name / SETTINGS).exists()]
        images = (place / name for name in names if Path(name).suffix in RESULT_SUFFIXES and not name.startswith("."))
        others += [path for path in images if path not in own]
    return sorted(others)


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


def _pictures(images: Sequence[Path], recursive: bool) -> dict[str, Path]:
    """Map the name of each image, without its suffix, to its path."""
    if len(images) == 1 and images[0].is_dir():
        return picture_files(images[0], recursive=recursive, name_others=True)
    if recursive:
        raise InputError("--recursive needs one folder of images. Pass a folder, or leave it out.")
    found: dict[Path, None] = {}
    for path in images:
        if path.is_dir():
            raise InputError(f"{path}: a folder cannot be combined with other images. Pass one folder, or files.")
        found |= dict.fromkeys(_matches(path) or [path])
    return unique_stems(list(found))


def _matches(pattern: Path) -> list[Path]:
    """List the files that match a pattern; none if the pattern is the name of a file."""
    return [] if pattern.exists() else [Path(text) for text in sorted(glob.glob(str(pattern)))]  # noqa: PTH207


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _size(path: Path) -> tuple[int, int]:
    """Read (height, width) as displayed from the header; (0, 0) if the file cannot be read, which `run` reports."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if exif_orientation(image) > 4 else (height, width)
    except Exception:  # PIL's decoders raise many types for a damaged header
        return 0, 0


def _read_settings(out: Path) -> dict[str, Any] | None:
    path = out / SETTINGS
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read {path}: {error}. Pass a new folder.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a repaint settings file. Pass a new folder.")
    return found
