"""The command line called in this process, and a working folder for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from repaint import cli

__all__ = ["PHOTO", "WHITE", "Result", "Run", "check_refused", "contents", "folder", "run"]


WHITE = np.zeros((12, 14), bool)
WHITE[3:8, 4:11] = True

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)


class Result(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Call the entry point in this process, as the installed command does, and restore PyTorch's threads."""
    threads = torch.get_num_threads()

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["repaint", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code is None or isinstance(left.value.code, int)
        return Result(left.value.code or 0, *capsys.readouterr())

    yield call
    torch.set_num_threads(threads)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image, its mask, a short schedule, and faulty files."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PHOTO).save("photo.png")
    Image.fromarray(WHITE).save("mask.png")
    Image.fromarray(~WHITE).save("keep.png")
    Image.fromarray(WHITE[:6]).save("small.png")
    Image.fromarray(PHOTO).convert("RGBA").save("rgba.png")
    Image.fromarray(PHOTO).save("colours.png")
    Path("text.png").write_text("no image")
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:300])
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    Path("typo.yaml").write_text("stepps: 2\n")
    Path("broken.yaml").write_text("steps: [\n")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refused(result: Result, folder: Path, before: dict[str, bytes], message: str) -> None:
    """Assert one line on stderr with the message, status 2, nothing on stdout, and nothing written."""
    assert result.status == 2
    assert result.out == ""
    assert result.err.startswith("repaint: ")
    assert result.err.count("\n") == 1, result.err
    assert message in result.err
    assert contents(folder) == before
