"""Many images to one folder of results: in batches, over processes, resumed after any end.

Beside the results lies `repaint.json`, the settings that all of them were made with; others are refused there. A result
is written whole or not at all, and found again by reading it: so what a killed process leaves is always right, and
the same command goes on from it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from repaint.checks import shown
from repaint.errors import InputError
from repaint.files import atomic_path
from repaint.pictures.decoding import open_image, orientation
from repaint.pictures.images import Picture, read_images, save_image
from repaint.pictures.masks import known, read_keep
from repaint.pictures.pairs import SUFFIXES, check_paired, picture_files, unique_stems
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

SETTINGS = "repaint.json"
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}  # what is of another mode is written as TIFF


@dataclass(frozen=True)
class Task:
    """An image to fill.

    Attributes:
        image, mask: files.
        stem: the result's path without its suffix.
        seed: of the result; `repaint inpaint` on the image alone with this seed paints the same.
    """

    image: Path
    mask: Path
    stem: Path
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        image, mask, seed: of the task.
        out: the result's file; None where it failed.
        status: "filled" now, "found" there from before, or "failed".
        reason: why it failed.
        model_calls: of this image; None unless it was filled now.
        seconds: its share of its batch's time; None unless it was filled now.
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
        """Plain JSON-able data, without what does not apply."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass
class _Opened:
    """A task whose files could be read."""

    task: Task
    image: Image.Image
    keep: Any
    out: Path
    found: bool


def is_one_file(images: Sequence[Path], mask: Path) -> bool:
    """Whether a command line names one image and its mask, and not a folder, a pattern or several."""
    return len(images) == 1 and not (images[0].is_dir() or mask.is_dir() or _matches(images[0]))


def tasks(images: Sequence[Path], masks: Path, out: Path, seed: int) -> list[Task]:
    """What there is to fill, sorted by name.

    A result's seed comes from `seed` and its image's name alone, so that neither the other images nor the number of
    processes change it.

    Args:
        images: a folder, or files and patterns such as "photos/*.jpg". Names without suffix must differ.
        masks: one mask for all, or a folder of masks, each with its image's name (the suffix may differ).
        out: the folder of results.
        seed: in [0, 2**32).
    Raises:
        InputError: nothing found, two images of one name, or an image without its mask.
    """
    pictures = _pictures(images)
    pairs = dict.fromkeys(pictures, masks)
    if masks.is_dir():
        pairs = picture_files(masks)
        whole = len(images) == 1 and images[0].is_dir()  # a choice of images needs not all masks of a folder
        holes = pairs if whole else {name: pairs[name] for name in pictures if name in pairs}
        check_paired(pictures, holes, images[0], masks)
    return [Task(path, pairs[name], out / name, _seed(seed, name)) for name, path in sorted(pictures.items())]


def batches(todo: Sequence[Task], batch: int) -> list[list[Task]]:
    """Images that are filled at once: of one size, `batch` at most.

    A function of all images together, so that a result is computed in the same batch whichever process does it. With a
    batch of 1 no file is opened for it.
    """
    if batch == 1:
        return [[task] for task in todo]
    groups: dict[tuple[int, int], list[Task]] = {}
    for task in todo:
        groups.setdefault(_size(task.image), []).append(task)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def share_of(batches: Sequence[T], part: str | None, process: int, processes: int) -> list[T]:
    """The batches of one process: every n-th, of every m-th where a job array splits them first.

    Args:
        batches: all of them, in an order that every process agrees on; what is done already must still be among them.
        part: "i/n", with i from 1 to n; None is all.
        process: number of this process, from 0.
        processes: how many there are in this job.
    Raises:
        InputError: another text.
    """
    first, slash, count = (part or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise InputError(f"--shard {part}: it is i/n with i from 1 to n, such as 2/8. Correct it.")
    return list(batches)[int(first) - 1 :: int(count)][process::processes]


def check_settings(out: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
    """Refuse a folder whose results were made with other settings, or that holds other things.

    Args:
        out: the folder; it may be missing, its parent may not.
        settings: JSON-able; all that decides a result but its image and mask.
        overwrite: other settings are no reason to refuse it.
    Raises:
        InputError: what differs, or what is in the way.
    """
    if not out.parent.is_dir():
        raise InputError(f"Cannot write {out}: no folder {out.parent}. Create it first.")
    if not out.is_dir() and (out.exists() or out.suffix.lower() in SUFFIXES):
        raise InputError(
            f"Cannot write {out}: many images make a folder of results, and this is a file. Name a folder."
        )
    found = _read_settings(out)
    if found is None:
        if out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise InputError(f"{out} holds files and no {SETTINGS}: results would mix with others. Give a new folder.")
        return
    differ = [name for name in {**found, **settings} if found.get(name) != settings.get(name)]
    if differ and not overwrite:
        told = "; ".join(
            f"{name} was {shown(found.get(name))} and is {shown(settings.get(name))}" for name in differ[:3]
        )
        raise InputError(
            f"{out} was made with other settings: {told}. Give another --out, or --overwrite to lose what is there."
        )


def write_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder with its settings; results made with others are removed first."""
    out.mkdir(exist_ok=True)
    found = _read_settings(out)
    if found == settings:
        return
    if found is not None:
        for path in out.iterdir():
            if path.suffix in (".png", ".tif"):
                path.unlink()
    with atomic_path(out / SETTINGS) as draft:
        draft.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def check_options(pipe: RePaintPipeline, options: Mapping[str, Any]) -> None:
    """Refuse, before any work is done, options that the prior does not take, which would fail every image.

    Raises:
        RepaintError: see `RePaintPipeline.__call__`.
    """
    side = 8 * pipe.prior.multiple_of
    whole = np.zeros((side, side), np.uint8)  # without a hole: nothing is computed
    pipe(whole, keep_mask=np.ones((side, side), bool), generator=0, **options)
    asked = {name: value for name, value in options.items() if name in Conditions.__dataclass_fields__}
    pipe.prior.conditioned(1, Conditions.join(Conditions(**asked).split(1), (side, side)))


def run(
    pipe: RePaintPipeline,
    mine: Sequence[Sequence[Task]],
    method: Method,
    options: Mapping[str, Any],
    *,
    keep_mask: bool = False,
    on_calls: Callable[[int], None] = lambda _more: None,
    say: Callable[[str], None] = lambda _text: None,
) -> Iterator[Outcome]:
    """Fill what is missing, batch by batch.

    A batch of which a part is missing is computed as a whole, so that its results are the bits that they would have
    been. A file that cannot be used fails alone.

    Args:
        pipe: the pipeline.
        mine: see `batches` and `share_of`.
        method: the pipeline's `schedule`.
        options: other keyword arguments of the pipeline that all images share.
        keep_mask: the masks' white is kept.
        on_calls: is told how many model calls more are done or saved, `method.model_calls` an image.
        say: is told when memory is too small for a batch.
    """
    halving, told, ended = Halving(say=say), 0, 0

    def tell(calls: int) -> None:
        nonlocal told
        on_calls(calls - told)
        told = calls

    def step(_pipe: object, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        state = kwargs["state"]
        tell(ended * method.model_calls + len(state.x) * state.model_calls)

    def fill(some: Sequence[_Opened]) -> list[Outcome]:
        started = time.perf_counter()
        result = pipe(
            [each.image for each in some],
            keep_mask=[each.keep for each in some],
            generator=[each.task.seed for each in some],
            schedule=method,
            callback_on_step_end=step,
            **options,
        )
        for each, image in zip(some, result.images, strict=True):
            if not each.found:
                save_image(image, each.out)
        seconds = round((time.perf_counter() - started) / len(some), 6)
        filled = {"status": "filled", "model_calls": result.model_calls, "seconds": seconds}
        return [_outcome(each.task, out=each.out, **({"status": "found"} if each.found else filled)) for each in some]

    for batch in mine:
        opened: list[_Opened] = []
        for task in batch:
            try:
                opened.append(_open(task, keep_mask))
            except InputError as error:
                yield _outcome(task, status="failed", reason=_line(error))
        ended += len(batch) - len(opened)
        if all(each.found for each in opened):
            yield from (_outcome(each.task, out=each.out, status="found") for each in opened)
            ended += len(opened)
        else:
            for some, done in halving.results(opened, fill):
                if isinstance(done, Exception):
                    yield _outcome(some[0].task, status="failed", reason=_line(done))
                else:
                    yield from done
                ended += len(some)
        tell(ended * method.model_calls)


def _outcome(task: Task, *, out: Path | None = None, **what: Any) -> Outcome:
    return Outcome(str(task.image), str(task.mask), task.seed, None if out is None else str(out), **what)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _open(task: Task, keep_mask: bool) -> _Opened:
    image = open_image(task.image)
    picture = read_images(image)[0]
    keep = read_keep(**{"keep_mask" if keep_mask else "mask_image": task.mask}, sizes=[picture.size])[0]
    out = task.stem.with_name(f"{task.stem.name}{'.png' if image.mode in PNG_MODES else '.tif'}")
    return _Opened(task, image, keep, out, out.exists() and _is_result(out, picture, keep))


def _is_result(out: Path, picture: Picture, keep: Any) -> bool:
    """Whether a file is a result of this picture under this mask; False where it is damaged.

    Raises:
        InputError: it is another picture, or a result of another image or mask.
    """
    try:
        found = read_images(out)[0]
    except InputError:
        return False
    kept = known(keep)[0].numpy()
    if found.raw.shape != picture.raw.shape or not np.array_equal(found.raw[kept], picture.raw[kept]):
        raise InputError(f"{out} is no result of this image and mask: kept pixels differ. Remove it.")
    return True


def _pictures(images: Sequence[Path]) -> dict[str, Path]:
    if len(images) == 1 and images[0].is_dir():
        return picture_files(images[0])
    found: dict[Path, None] = {}
    for path in images:
        if path.is_dir():
            raise InputError(f"{path} is a folder among other images: give one folder, or files.")
        found |= dict.fromkeys(_matches(path) or [path])
    return unique_stems(list(found))


def _matches(pattern: Path) -> list[Path]:
    """The files that a pattern stands for; none where it is the name of a file itself."""
    return [] if pattern.exists() else [Path(text) for text in sorted(glob.glob(str(pattern)))]  # noqa: PTH207


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:4], "big")


def _size(path: Path) -> tuple[int, int]:
    """(height, width) as displayed, from the file's header; (0, 0) where it cannot be read: `run` says why."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (width, height) if orientation(image) > 4 else (height, width)
    except Exception:  # decoders raise whatever a damaged header makes them stumble over
        return 0, 0


def _read_settings(out: Path) -> dict[str, Any] | None:
    path = out / SETTINGS
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"Cannot read {path}: {error}. Give a new folder.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is no settings of results. Give a new folder.")
    return found
