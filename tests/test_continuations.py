"""examples/continuations.py: walks of equal cost, and the distance that it measures."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from helpers.tiny_priors import tiny_pipe

from repaint import JumpSchedule
from repaint.pictures.samples import PHOTOGRAPHS


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    __import__("continuations")
    return sys.modules["continuations"]


@pytest.mark.parametrize("level", [10, 25])
def test_walks_with_different_jumps_cost_the_same(script: ModuleType, level: int) -> None:
    """If this fails, continuations are compared at different cost, or jump at other levels than the table says."""
    walks = {name: JumpSchedule.from_levels(levels, script.STEPS) for name, levels in script.walks(level).items()}
    calls = dict.fromkeys(walks, level + script.EXTRA) | {"other noise": level}
    assert {name: walk.model_calls for name, walk in walks.items()} == calls
    assert {walk.levels[0] for walk in walks.values()} == {level}
    for name, walk in walks.items():
        stated = re.fullmatch(r"(\d+) of (\d+)(, .*)?", name)
        ups = "".join("u" if b > a else "d" for a, b in walk.transitions)
        assert re.findall("u+", ups) == (["u" * int(stated[2])] * int(stated[1]) if stated else [])


def test_distance_of_two_fills(script: ModuleType) -> None:
    """If this fails, the distance includes kept pixels, or the blurred distance includes fine detail."""
    black = np.zeros((script.SIZE, script.SIZE, 3), np.uint8)
    grey = np.where(script.HOLE[..., None], np.uint8(40), np.uint8(0)).repeat(3, axis=2)
    assert script.moved(black, grey) == 40
    checks = np.where(np.indices(script.HOLE.shape).sum(axis=0)[..., None] % 2, grey, black)
    assert script.moved(black, checks) == pytest.approx(40 / 2**0.5)
    # A Gaussian of 3 pixels turns the checkerboard into its mean, half of the grey square.
    assert script.moved(black, checks, 3) == pytest.approx(script.moved(black, grey, 3) / 2, rel=0.01)


def test_the_script_runs(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """If this fails, the README's command ends in a traceback, or compares with another baseline than `other noise`."""
    monkeypatch.setattr(script.RePaintPipeline, "from_pretrained", lambda *_, **__: tiny_pipe(tuple(PHOTOGRAPHS)))
    monkeypatch.setattr(sys, "argv", ["continuations.py", "--crops", "1"])
    monkeypatch.setenv("COLUMNS", "120")
    script.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(script.walks(25)) + 1
    assert lines[1].split()[:3] == ["other", "noise", "25"]
    assert lines[1].split()[-3:] == ["+0.0", "[+0.0,", "+0.0]"]
    assert lines[-1].split()[:2] == ["anew", "50"]
