"""Kills and full disks: what was saved is whole, what goes on from it is the same to the bit."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_priors import tiny_pipe

from repaint.errors import InputError
from repaint.files import write_image
from repaint.images import read_images
from repaint.pipeline import RePaintPipeline
from repaint.schedule import JumpSchedule
from repaint.state import SamplerState

WALK = JumpSchedule.paper(60, 6, 3)
IMAGE = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
HOLE = np.eye(8, dtype=bool)


def fill_with_saves(state: Path, result: Path, every: int) -> None:
    """Fill, save the state every so many moves, and go on from what is saved."""
    torch.set_num_threads(1)
    pipe = tiny_pipe()

    def keep(_pipe: RePaintPipeline, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        if moves % every == 0:
            kwargs["state"].save(state)

    asked: dict[str, Any] = {"schedule": WALK, "output_type": "np", "callback_on_step_end": keep}
    out = pipe.resume(state, IMAGE, HOLE, **asked) if state.exists() else pipe(IMAGE, HOLE, generator=7, **asked)
    with result.with_suffix(".draft").open("wb") as file:
        np.save(file, out.images)
    result.with_suffix(".draft").rename(result)


def killed(folder: Path, kills: int, every: int) -> tuple[int, int]:
    """Kill sampling at random moments; (kills that struck it at work, saved states they found)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "tiny_priors", "repaint.pipeline", "diffusers.models.unets.unet_2d"])
    chance, struck, found = random.Random(every), 0, 0
    state, result = folder / "state", folder / "result.npy"
    for _ in range(kills):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = context.Process(target=fill_with_saves, args=(state, result, every))
        process.start()
        until = time.monotonic() + 120
        while process.is_alive() and time.monotonic() < until:
            if state.exists() and state.stat().st_mtime_ns != before:
                break
            time.sleep(0.0005)
        time.sleep(chance.random() * 0.02)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        struck += process.exitcode == -signal.SIGKILL
        if state.exists():
            SamplerState.load(state)  # whole, whenever it was killed
            found += 1
        if result.exists():  # it had come to its end: begin anew
            for path in (state, result):
                path.unlink()
    return struck, found


@pytest.mark.parametrize(
    ("kills", "every"),
    [(3, 5), *(pytest.param(20, every, marks=pytest.mark.slow) for every in (1, 4))],
)
def test_sampling_killed_and_resumed(tmp_path: Path, kills: int, every: int) -> None:
    """If this fails, a state is written by halves, or what is resumed from it is another image."""
    struck, found = killed(tmp_path, kills, every)
    assert struck >= kills // 2, "it had ended before the kills: give it more to do"
    assert found >= kills // 2
    fill_with_saves(tmp_path / "state", tmp_path / "result.npy", every)
    unbroken = tiny_pipe()(IMAGE, HOLE, generator=7, schedule=WALK, output_type="np").images
    assert np.array_equal(np.load(tmp_path / "result.npy"), unbroken)


# --- disks


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file may grow beyond `room` bytes: the system refuses, as it does on a disk that is full."""
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
    """If this fails, a disk that fills up costs the state or picture that was there, or leaves half of a new one."""
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
    """If this fails, a read-only folder, a quota or a failing disk ends in a traceback, or the older file is gone."""
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
