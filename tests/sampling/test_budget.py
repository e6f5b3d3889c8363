"""Presets with another number of steps, or within a number of model calls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from repaint.errors import ScheduleError
from repaint.sampling import presets
from repaint.sampling.budget import with_budget
from repaint.sampling.method import Method


@pytest.mark.parametrize("name", ["fast", "balanced", "best", "quick"])
def test_as_many_steps_as_the_calls_allow(name: str) -> None:
    """If this fails, --calls spends more than it was given, or much less."""
    method = with_budget(name, calls=300)
    assert method.model_calls <= 300
    more = with_budget(name, steps=method.schedule.steps + 1)
    assert more.model_calls > 300
    assert (method.solver, method.merge, method.spacing) == (
        Method.from_preset(name).solver,
        Method.from_preset(name).merge,
        Method.from_preset(name).spacing,
    )


def test_budgets_that_no_walk_fits() -> None:
    """If this fails, a budget below the shortest walk ends in an error about levels, or in a longer walk."""
    with pytest.raises(ScheduleError, match=r"^calls=3 must be at least \d+, the shortest walk of quick\."):
        with_budget("quick", calls=3)
    with pytest.raises(ScheduleError, match=r"steps=0 must be an integer from 1 to 10000"):
        with_budget("fast", steps=0)
    for given in ({}, {"steps": 5, "calls": 5}):
        with pytest.raises(ScheduleError, match=r"exactly one of steps and calls"):
            with_budget("fast", **given)


def test_budgets_near_the_longest_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, walks that are too long count as free, and the budget is said to be too small."""
    monkeypatch.setattr("repaint.sampling.schedule.MAX_TRANSITIONS", 10_000)
    (tmp_path / "many.yaml").write_text("steps: 50\njumps: [{jump_length: 10, jump_n_sample: 30}]\n")
    method = with_budget(tmp_path / "many.yaml", calls=1_000)
    assert 300 <= method.model_calls <= 1_000
    with pytest.raises(ScheduleError, match="at most 10000 transitions"):
        with_budget(tmp_path / "many.yaml", steps=500)


def test_all_but_the_steps_stays(tmp_path: Path) -> None:
    """If this fails, a distilled model is guided, or another setting of a file is lost, where --calls is given."""
    path = tmp_path / "own.yaml"
    path.write_text("steps: 6\nguided: false\ntemperature: 0.5\ninit: smooth\nmerge: predicted(8)\nspacing: karras\n")
    method = with_budget(path, steps=9)
    assert method.model_calls == 9
    assert replace(Method.from_yaml(path), schedule=method.schedule, name=method.name) == method


def test_every_preset_takes_its_own_steps() -> None:
    """If this fails, a preset with its own number of steps is another method."""
    for name in presets.available() + presets.published():
        preset = presets.read(name)[1]
        if preset.levels is not None:
            with pytest.raises(ScheduleError, match="lists its levels one by one"):
                with_budget(name, steps=preset.steps)
            continue
        assert replace(with_budget(name, steps=preset.steps), name=name) == Method.from_preset(name)
    assert with_budget("blended-latent", steps=100).model_calls == 2 * 38, "it skips the same share of the levels"
