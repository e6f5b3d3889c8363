"""Methods as points: parts from text and back, moves in order, overrides."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from repaint.errors import InputError, RepaintError, ScheduleError
from repaint.sampling.corrector import Langevin
from repaint.sampling.merge import Carried, Fresh, Linear, Mixed, Predicted, Relaxed, Trajectory, Unmerged
from repaint.sampling.method import CORRECTORS, MERGES, SOLVERS, Method, Move, as_method, build, spec
from repaint.sampling.reconstruction import DPS, Covariance, FlowChef, FlowDPS, PiGDM
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDIM, DDPM, Multistep, Refresh, Renew

PARTS = [
    (Fresh(), "fresh"),
    (Trajectory(), "trajectory"),
    (Predicted(8.0), "predicted(lam=8.0, relax=1.0, guard=0.0, fade=inf)"),
    (Predicted(), "predicted(lam=inf, relax=1.0, guard=0.0, fade=inf)"),
    (Carried(), "carry(zeta=posterior)"),
    (Mixed(0.3), "mixed(zeta=0.3)"),
    (Relaxed(5.0, math.inf), "relaxed(lam=5.0, h=inf)"),
    (Linear(0.5, -0.5, 0.0), "linear(eps=0.5, n=-0.5, z=0.0)"),
    (Unmerged(), "none"),
    (DDPM("learned"), "ddpm(variance=learned)"),
    (Renew("(1-alpha)^2"), "renew(zeta=(1-alpha)^2)"),
    (Renew("1-sigma"), "renew(zeta=1-sigma)"),
    (Renew(0.7225), "renew(zeta=0.7225)"),
    (DDIM(0.5), "ddim(eta=0.5)"),
    (Multistep(), "multistep(eta=0.0)"),
    (Langevin(2, 1.0, "averaged"), "langevin(iterations=2, h=1.0, noise=averaged, pace=even)"),
]


@pytest.mark.parametrize(("part", "text"), PARTS)
def test_parts_survive_being_written_down(part: object, text: str) -> None:
    """If this fails, a method printed in a report cannot be run again."""
    assert spec(part) == text
    assert build("part", text, {**MERGES, **SOLVERS, **CORRECTORS}) == part


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("predicted", Predicted(math.inf)),
        (" predicted ( inf ) ", Predicted(math.inf)),
        ("ddpm(large)", DDPM("large")),
        ("renew( (1 - alpha) ^ 2 )", Renew("(1-alpha)^2")),
        ("langevin(3, noise=averaged)", Langevin(3, 0.6, "averaged")),
    ],
)
def test_short_forms(text: str, part: object) -> None:
    """If this fails, the forms that the documentation shows are refused."""
    assert build("part", text, {**MERGES, **SOLVERS, **CORRECTORS}) == part


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "ddin(0.5)",
            ScheduleError,
            r"solver='ddin' must be one of ddpm, ddim, multistep, refresh, renew, heun. Did you",
        ),
        ("ddim(0.5", ScheduleError, r"solver='ddim\(0.5' must be one of"),
        ("ddim(1, 2, 3)", ScheduleError, r"solver='ddim\(1, 2, 3\)' cannot be read"),
        ("ddim(gamma=1)", ScheduleError, r"cannot be read.*Write it like ddim\(0.5\)"),
        ("ddim(eta=)", ScheduleError, r"cannot be read"),
        ("ddim(__import__('os').system('true'))", ScheduleError, r"arguments are numbers, inf or words"),
        ("renew(1-beta)", InputError, r"renew\(zeta='1-beta'\) must be in"),
        ("ddim(2)", InputError, r"must be in \[0, 1\]"),
        ("ddim(half)", RepaintError, r"ddim"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unreadable_parts_are_refused(text: str, error: type[Exception], message: str) -> None:
    """If this fails, a typo runs another method, or code."""
    with pytest.raises(error, match=message):
        build("solver", text, SOLVERS)


def test_moves_come_in_order_and_cost_what_is_stated() -> None:
    """If this fails, the corrector runs at the wrong level, or progress bars and budgets are wrong."""
    method = Method(JumpSchedule.from_levels([2, 1, 2, 0]), corrector=Langevin(2))
    assert method.moves == (
        *[Move("correct", 2, 2)] * 2,
        Move("denoise", 2, 1),
        Move("renoise", 1, 2),
        *[Move("correct", 2, 2)] * 2,
        Move("denoise", 2, 0),
    )
    assert method.model_calls == 6
    assert method.counts == {"transitions": 3, "renoises": 1, "model_calls": 6}


def test_as_method_replaces_parts() -> None:
    """If this fails, an argument of the pipeline does not override its part of the preset, or also overrides others."""
    preset = as_method("corrected")
    assert preset == Method.from_preset("corrected")
    changed = as_method("corrected", merge="fresh", solver=DDPM("large"), corrector="none")
    assert (changed.merge, changed.solver, changed.corrector) == (Fresh(), DDPM("large"), None)
    assert (changed.schedule, changed.spacing) == (preset.schedule, preset.spacing)
    assert as_method(preset) == preset
    assert as_method(JumpSchedule.paper(9, 2, 2), corrector="langevin(2)").corrector == Langevin(2)


def test_a_bare_walk_is_the_papers_method_on_it() -> None:
    """If this fails, schedule=JumpSchedule.paper() and schedule="paper" differ in more than their names."""
    bare, preset = as_method(JumpSchedule.paper()).describe(), as_method("paper").describe()
    assert {key for key in bare if bare[key] != preset[key]} == {"name"}


def test_methods_come_from_files(tmp_path: Path) -> None:
    """If this fails, a custom preset does not run."""
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 9\nspacing: quadratic\nmerge: predicted(8)\nsolver: ddim(0.5)\ncorrector: langevin(1)\n")
    expected = Method(
        JumpSchedule.paper(9, 1, 1), Predicted(8), DDIM(0.5), Langevin(1), spacing="quadratic", name="mine"
    )
    assert Method.from_yaml(path) == as_method(path) == as_method(str(path)) == expected


@dataclass(frozen=True)
class Halfway:
    """A custom solver."""

    def step(self, x: torch.Tensor, *rest: object) -> torch.Tensor:
        return x / 2


def test_the_temperature_of_a_method(tmp_path: Path, unchecked: None) -> None:
    """If this fails, a temperature is lost on the way from a file or an argument, or a senseless one is accepted."""
    (tmp_path / "warm.yaml").write_text("steps: 5\ntemperature: 0.3\n")
    method = Method.from_yaml(tmp_path / "warm.yaml")
    assert method.temperature == method.describe()["temperature"] == 0.3
    assert as_method(method).temperature == 0.3
    assert as_method(method, temperature=1).describe().get("temperature") is None
    wrongs: list[Any] = [-0.1, 1.1, math.nan, "cold"]
    for wrong in wrongs:
        with pytest.raises(ScheduleError, match=r"temperature=.* must be in \[0, 1\] \(1 samples the posterior"):
            as_method("fast", temperature=wrong)
    with pytest.raises(ScheduleError, match=r"temperature=0.5 cannot be used with daps.*, which weighs its own noise"):
        as_method("daps", temperature=0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": JumpSchedule.paper(9, 2, 3)},
        {"merge": Predicted(8.0)},
        {"solver": DDIM(0.5)},
        {"corrector": Langevin(2)},
        {"spacing": "karras"},
        {"init": "smooth"},
        {"guidance": DPS()},
        {"guided": False},
        {"temperature": 0.5},
    ],
)
def test_a_description_holds_all_that_decides_a_result(change: dict[str, Any]) -> None:
    """If this fails, a folder or a sweep mixes results of two methods, since it compares their descriptions."""
    method = Method(JumpSchedule.paper(9, 2, 2))
    assert replace(method, **change).describe() != method.describe()


def test_own_parts_are_welcome() -> None:
    """If this fails, a custom solver does not run."""
    method = as_method("quick", solver=Halfway())
    assert method.solver == Halfway()
    assert method.describe()["solver"] == "Halfway"


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_schedule_is_refused() -> None:
    """If this fails, schedule=250 ends in a traceback."""
    with pytest.raises(ScheduleError, match=r"schedule=250 must be a preset's name"):
        as_method(250)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["merge", "solver", "corrector"])
def test_a_part_that_is_no_part_is_refused(part: str, unchecked: None) -> None:
    """If this fails, merge=0.5 ends in an AttributeError deep in the loop."""
    with pytest.raises(ScheduleError, match=rf"{part}=0.5 must be an object with .* read the text of one of"):
        as_method("quick", **{part: 0.5})


def test_missing_members_of_a_part(unchecked: None) -> None:
    """If this fails, a user's corrector without `iterations` is refused without saying what it lacks."""
    lacking = {"corrector": "iterations", "merge": "after_renoise, noise", "kernel": "calls, carries, gradients"}
    for part, members in lacking.items():
        with pytest.raises(ScheduleError, match=rf"{part}=.*protocol \(it lacks {members}.*\);"):
            replace(as_method("quick"), **{part: Halfway()})


@pytest.mark.parametrize(
    ("part", "kind"), [("merge", Fresh), ("solver", DDPM), ("corrector", Langevin), ("guidance", DPS)]
)
@pytest.mark.usefixtures("unchecked")
def test_a_class_in_place_of_a_part_is_refused(part: str, kind: type) -> None:
    """If this fails, solver=DDPM without parentheses ends in a TypeError deep in the loop."""
    with pytest.raises(ScheduleError, match=rf"{part}=.*{kind.__name__}.* must be an object with .*protocol"):
        as_method("quick", **{part: kind})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"solver": "ddim(0)"}, r"solver='ddim\(0\)' must be an object .* as_method\(\) and the pipeline also read"),
        ({"merge": None}, r"merge=None must be an object"),
        ({"guidance": 0.5}, r"guidance=0.5 must be an object"),
        ({"schedule": "fast"}, r"schedule='fast' must be a JumpSchedule \(Method\.from_preset reads"),
        ({"init": "smoth"}, r"init='smoth' must be noise or smooth\."),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_method_of_other_things_is_refused(given: dict[str, Any], message: str) -> None:
    """If this fails, Method(walk, solver="ddim(0)") is accepted, and ends in an AttributeError deep in the loop."""
    with pytest.raises(ScheduleError, match=message):
        Method(**{"schedule": JumpSchedule.paper(9, 2, 2), **given})


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        (DDIM, "eta"),
        (Multistep, "eta"),
        (Refresh, "extrapolate"),
        (Renew, "zeta"),
        (Predicted, "lam"),
        (Predicted, "relax"),
        (Predicted, "guard"),
        (Predicted, "fade"),
        (Relaxed, "lam"),
        (Relaxed, "h"),
        (Linear, "eps"),
        (Carried, "zeta"),
        (Mixed, "zeta"),
        (Langevin, "h"),
        (DPS, "zeta"),
        (PiGDM, "sigma_y"),
        (Covariance, "tolerance"),
        (FlowDPS, "weight"),
        (FlowChef, "kappa"),
    ],
)
@pytest.mark.parametrize("value", ["half", None])
@pytest.mark.usefixtures("unchecked")
def test_arguments_that_are_no_numbers(kind: type, argument: str, value: object) -> None:
    """If this fails, ddim(half) is refused without the argument and its range, or with a TypeError."""
    with pytest.raises(InputError, match=rf"\({argument}={value!r}\) must be "):
        kind(**{argument: value})


class NoDescription(DDPM):
    """A solver that is not a dataclass of its own."""


def test_methods_are_shown_in_one_line() -> None:
    """If this fails, a notebook prints the 4571 levels of the paper's walk, or a part of one's own cannot be shown."""
    assert repr(as_method("paper")).startswith("Method(name='paper', steps=250, spacing='linspace', merge='fresh', ")
    own = Method(JumpSchedule.paper(4, 2, 2), solver=NoDescription())
    assert "NoDescription" in repr(own)
    assert repr(own.schedule) == "JumpSchedule(levels=(4, 3, 2, 1, 0, 1, 2, 1, 0), steps=4)"
    assert repr(JumpSchedule.paper(250)) == "JumpSchedule(levels=(250, 249, 248, ..., 1, 0), steps=250)"
