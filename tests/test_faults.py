"""Disks that fill or refuse: the older file stays whole, nothing is left beside it, and one line says why."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_priors import tiny_pipe

from repaint.errors import InputError
from repaint.files import write_image
from repaint.images import read_images
from repaint.pipeline import RePaintPipeline
from repaint.schedule import JumpSchedule
from repaint.state import SamplerState

IMAGE = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
HOLE = np.eye(8, dtype=bool)


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
