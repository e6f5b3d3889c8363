"""Kills, failing model calls and failing disks: saved files are complete, and resumed runs are bit-equal.

The default suite kills a few processes. `pytest -m slow tests/test_faults.py` kills more than 200, at moments that
depend on PYTEST_SEED, and prints the number.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from helpers.kills import (
    KILLS,
    Target,
    Work,
    command,
    dying,
    ended,
    forks,
    killed_until_done,
    launched,
    ranks,
    strike,
    workers,
)
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import Image
from safetensors import safe_open

from repaint.errors import InputError, OutOfMemory
from repaint.files import atomic_path
from repaint.pictures.encoding import write_image
from repaint.pictures.images import read_images
from repaint.pipeline import RePaintPipeline
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState

IMAGE = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
HOLE = np.eye(8, dtype=bool)


# --- Kills during three kinds of work

LONG = JumpSchedule.paper(60, 10, 3)


@pytest.fixture(scope="module", autouse=True)
def counted(say: Callable[[str], None]) -> Iterator[None]:
    """Print the number of kills at the end."""
    yield
    if KILLS:
        say(f"{sum(KILLS.values())} kills: {', '.join(f'{name} {number}' for name, number in KILLS.items())}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny prior, twelve images, a mask, a schedule, and a sweep of 24 cells."""
    forks()
    folder = tmp_path_factory.mktemp("place")
    tiny_folder_pipeline().save_pretrained(folder / "prior")
    (folder / "pictures").mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"p{i:02}.png")
    Image.fromarray(HOLE).save(folder / "mask.png")
    (folder / "twelve.yaml").write_text("steps: 12\nspacing: linspace\n")
    grid = {"prior": "prior", "images": ["pictures"], "masks": ["mask.png"], "schedules": ["twelve.yaml"]}
    (folder / "grid.yaml").write_text(yaml.safe_dump({**grid, "seeds": [0, 1], "batch": 2}))
    return folder


def fill_with_saves(folder: Path, every: int) -> None:
    """Fill the hole, resuming from a saved state if there is one; save the state every `every` moves."""
    torch.set_num_threads(1)
    state, pipe = folder / "state", tiny_pipe()

    def keep(_pipe: RePaintPipeline, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        if moves % every == 0:
            kwargs["state"].save(state)

    options: dict[str, Any] = {"schedule": LONG, "output_type": "np", "callback_on_step_end": keep}
    out = pipe.resume(state, IMAGE, HOLE, **options) if state.exists() else pipe(IMAGE, HOLE, generator=7, **options)
    with atomic_path(folder / "result.npy") as draft:
        np.save(draft, out.images)


def position(state: Path) -> tuple[int, str]:
    """Read (moves made, checksum) of a saved state."""
    with safe_open(str(state), framework="pt") as file:
        metadata = file.metadata()
    return json.loads(metadata["facts"])["position"], metadata["sha256"]


@cache
def checksums(place: Path, every: int) -> dict[int, str]:
    """Return the checksums of the states of an uninterrupted run, by moves made."""
    right: dict[int, str] = {}

    def remember(_pipe: RePaintPipeline, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        if moves % every == 0:
            kwargs["state"].save(place / "state")
            right.update([position(place / "state")])

    tiny_pipe()(IMAGE, HOLE, generator=7, schedule=LONG, callback_on_step_end=remember)
    return right


def sampling(place: Path, folder: Path, processes: int = 1, every: int = 3) -> Work:
    state, result, right = folder / "state", folder / "result.npy", checksums(place, every)
    total = max(right) + every

    def done() -> int:
        if result.exists():
            return total
        return position(state)[0] if state.exists() else 0

    def kept() -> dict[str, Any]:
        if state.exists():
            SamplerState.load(state)  # verifies the checksum
            moves, checksum = position(state)
            assert right[moves] == checksum
        return {"result": result.read_bytes()} if result.exists() else {}

    return Work("sampling", lambda: [(fill_with_saves, (folder, every))], done, total, kept)


def commands(folder: Path, processes: int, arguments: list[object]) -> list[Target]:
    words = [*map(str, arguments), "--device", "cpu"]
    return [(command, (environment, folder / "log", words)) for environment in ranks(processes)]


def sweep_of(place: Path, out: Path) -> list[object]:
    return ["sweep", place / "grid.yaml", "--out", out]


def sweep(place: Path, folder: Path, processes: int = 1) -> Work:
    out = folder / "rows.jsonl"

    def kept() -> dict[str, Any]:
        content = out.read_bytes() if out.exists() else b""
        rows = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
        found = {row["key"]: json.dumps({k: v for k, v in row.items() if k != "seconds"}) for row in rows}
        assert len(found) == len(rows), "a row occurs twice"
        return found

    def done() -> int:
        return out.read_bytes().count(b"\n") if out.exists() else 0

    targets = partial(commands, folder, processes, sweep_of(place, out))
    return Work(f"sweep on {processes}", targets, done, 24, kept)


def fills_of(place: Path, out: Path) -> list[object]:
    options = ["--prior", place / "prior", "--schedule", place / "twelve.yaml", "--batch-size", 1]
    return ["inpaint", place / "pictures", place / "mask.png", "--out", out, *options]


def fills(place: Path, folder: Path, processes: int = 1) -> Work:
    out = folder / "out"

    def names() -> list[str]:
        """List the visible files; a file that a kill left incomplete has a hidden name."""
        return [path.name for path in out.glob("[!.]*")]

    def kept() -> dict[str, Any]:
        return {name: (out / name).read_bytes() for name in names()}

    targets = partial(commands, folder, processes, fills_of(place, out))
    return Work(f"folder on {processes}", targets, lambda: len(names()), 13, kept)


WORKS: dict[str, Callable[..., Work]] = {"sampling": sampling, "sweep": sweep, "folder": fills}
LONG_FORMS = [("sampling", 1), ("sweep", 1), ("sweep", 2), ("folder", 1), ("folder", 2)]


@pytest.mark.parametrize(
    ("kind", "processes", "rounds", "kills"),
    [
        *[(kind, 1, 1, 2) for kind in WORKS],
        *[pytest.param(kind, processes, 5, 10, marks=pytest.mark.slow) for kind, processes in LONG_FORMS],
    ],
)
def test_killed_at_any_moment(place: Path, tmp_path: Path, kind: str, processes: int, rounds: int, kills: int) -> None:
    """If this fails, a killed job leaves an incomplete file, loses or repeats work, or ends with other bits."""
    for name in ("whole", *map(str, range(rounds))):
        (tmp_path / name).mkdir()
    whole = WORKS[kind](place, tmp_path / "whole").finish()
    for i in range(rounds):
        killed_until_done(WORKS[kind](place, tmp_path / str(i), processes), whole, kills, i)


@pytest.mark.parametrize("kind", ["sampling", "folder"])
def test_killed_within_a_write(place: Path, tmp_path: Path, kind: str) -> None:
    """If this fails, a kill during a write leaves an incomplete state or image under its final name."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole, work = WORKS[kind](place, tmp_path / "whole").finish(), WORKS[kind](place, tmp_path / "cut")
    for drafts, step in enumerate(("renamed", "half written", "written")):
        ((target, arguments),) = work.targets()
        before = work.done()
        dead = forks().Process(target=dying, args=(step, 3, target, arguments))
        dead.start()
        assert ended([dead]) == [-signal.SIGKILL]
        KILLS[f"{kind}, {step}"] += 1
        assert before < work.done() < work.total
        assert work.kept().items() <= whole.items()
        assert len([path for path in (tmp_path / "cut").rglob(".*") if path.is_file()]) == drafts
    assert work.finish() == whole


@pytest.mark.parametrize(
    ("kind", "victim"),
    [
        ("sweep", 1),
        *[pytest.param(*case, marks=pytest.mark.slow) for case in (("sweep", 0), ("folder", 0), ("folder", 1))],
    ],
)
def test_one_process_of_two_is_killed(place: Path, tmp_path: Path, kind: str, victim: int) -> None:
    """If this fails, the other process hangs, loses its share or ends in a traceback, or the job cannot be resumed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    work = WORKS[kind](place, tmp_path / "two", 2)
    processes = work.start()
    work.reach(processes, 0.2 * work.total)
    strike(processes[victim])
    codes = ended(processes)
    assert (codes[victim], codes[1 - victim]) == (-signal.SIGKILL, 2)
    KILLS[f"one of two in a {kind}"] += 1
    assert work.total // 2 <= work.done() < work.total, "the other process must do exactly its own share"
    log = (tmp_path / "two" / "log").read_text()
    assert "repaint: Another process of this job ended early (" in log
    assert "so far are saved: read its output, and run the same command again.\n" in log
    assert "Traceback" not in log
    assert work.finish() == WORKS[kind](place, tmp_path / "one").finish()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("sweep", sweep_of), ("folder", fills_of)])
def test_one_process_under_accelerate_is_killed(
    place: Path, tmp_path: Path, kind: str, words: Callable[..., list[object]]
) -> None:
    """If this fails, `accelerate launch` waits forever for a dead worker, or the job cannot be resumed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    work = WORKS[kind](place, tmp_path / "two")
    line = words(place, tmp_path / "two" / {"sweep": "rows.jsonl", "folder": "out"}[kind])
    process = launched(*line, processes=2)
    two = workers(process, 2)
    until = time.monotonic() + 120
    while work.done() <= 0.1 * work.total and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(two[-1].pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert "SIGKILL" in errors or "exitcode  : -9" in errors
    KILLS[f"one of two in a {kind} under accelerate"] += 1
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in two)
    assert work.done() < work.total
    again = launched(*line, processes=2)
    _, errors = again.communicate(timeout=240)
    assert again.returncode == 0, errors
    assert work.kept() == WORKS[kind](place, tmp_path / "one").finish()


# --- Failing model calls

SHORT = JumpSchedule.from_levels([3, 2, 1, 2, 1, 0])


def no_room() -> None:
    torch.empty(2**62, dtype=torch.uint8)  # raises the allocator's own error


def refuse(error: Exception) -> None:
    raise error


FAILURES: dict[str, tuple[Callable[[], None], type[Exception], str]] = {
    "allocator": (
        no_room,
        OutOfMemory,
        r"Out of memory with a batch of 1 \(.*DefaultCPUAllocator: can't allocate.*\)\. ",
    ),
    "accelerator": (
        partial(refuse, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")),
        OutOfMemory,
        r"Out of memory with a batch of 1 \(CUDA out of memory\. Tried to allocate 2 GiB\.\)\. ",
    ),
    "python": (partial(refuse, MemoryError()), OutOfMemory, r"Out of memory with a batch of 1 \(MemoryError\)\. "),
    "device": (partial(refuse, RuntimeError("The device fell off.")), RuntimeError, r"^The device fell off\.$"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_at_any_call_of_the_model(tmp_path: Path, failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an out-of-memory error breaks the pipeline, damages the last saved state, or hides the cause."""
    fail, kind, message = FAILURES[failure]
    pipe, state = tiny_pipe(), tmp_path / "state"
    at, calls = -1, 0
    forward = pipe.prior.unet.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            fail()
        return forward(*args, **kwargs)

    def keep(_pipe: RePaintPipeline, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        kwargs["state"].save(state)

    monkeypatch.setattr(pipe.prior.unet, "forward", counted)
    options: dict[str, Any] = {"schedule": SHORT, "corrector": "langevin", "output_type": "np"}
    whole = pipe(IMAGE, HOLE, generator=7, **options).images
    count = calls
    assert count > len(SHORT.transitions), "the corrector must call the model too"
    for k in range(1, count + 1):
        state.unlink(missing_ok=True)
        at, calls = k, 0
        with pytest.raises(kind, match=message):
            pipe(IMAGE, HOLE, generator=7, callback_on_step_end=keep, **options)
        assert calls == k, "the run continued after the failure"
        assert list(tmp_path.iterdir()) == [state] * (k > 1)
        if k > 1:
            at, calls = 1, 0
            before = state.read_bytes()
            with pytest.raises(
                kind, match=message + ("" if kind is RuntimeError else r"A state keeps its batch: resume it")
            ):
                pipe.resume(state, IMAGE, HOLE, **options)
            assert state.read_bytes() == before
            at, calls = -1, 0
            resumed = pipe.resume(state, IMAGE, HOLE, **options)
            assert np.array_equal(resumed.images, whole)
            assert resumed.model_calls == calls == count - k + 1
    at = -1
    assert np.array_equal(pipe(IMAGE, HOLE, generator=7, **options).images, whole)


# --- Failing disks


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """Limit every file to `room` bytes, so that larger writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def a_state() -> SamplerState:
    states: list[SamplerState] = []

    def keep(_pipe: RePaintPipeline, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        states.append(kwargs["state"])

    tiny_pipe()(IMAGE, HOLE, generator=7, schedule=JumpSchedule.from_levels([2, 1, 0]), callback_on_step_end=keep)
    return states[0]


@pytest.mark.parametrize("room", [0, 1, 100, 1000, 5000])
def test_a_full_disk_leaves_the_older_file(tmp_path: Path, room: int) -> None:
    """If this fails, a full disk destroys the existing state or image, or leaves an incomplete new one."""
    state, picture = a_state(), read_images((255 * IMAGE.repeat(20, 0)).astype(np.uint8))[0].output("pil")
    places = {tmp_path / "state": state.save, tmp_path / "a.png": lambda path: write_image(picture, path)}
    for path, write in places.items():
        write(path)
        assert path.stat().st_size > 5000 or path.suffix
        before = path.read_bytes()
        if room < len(before):
            with full_disk(room), pytest.raises(InputError, match=r"Cannot write .*free space\."):
                write(path)
        assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == sorted(places)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_place_that_cannot_be_written(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a read-only folder, a quota or a failing disk gives a traceback or destroys the existing file."""
    state, path = a_state(), tmp_path / "state"
    state.save(path)
    before = path.read_bytes()

    def refuse(*_arguments: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    for name in ("write_bytes", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refuse)
            with pytest.raises(InputError, match=rf"Cannot write .*state: .*{os.strerror(number)}"):
                state.save(path)
        assert [each.read_bytes() for each in tmp_path.iterdir()] == [before]
