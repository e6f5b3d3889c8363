"""Walks: counts against the paper, small walks written out by hand, presets, and the errors of YAML files."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from diffusers import RePaintScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import ScheduleError
from repaint.sampling import presets
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpRule, JumpSchedule

# --- The paper's walk


@pytest.mark.parametrize(
    ("walk", "transitions", "model_calls", "renoises"),
    [
        ((250, 10, 10), 4570, 2410, 2160),
        ((50, 10, 50), 3970, 2010, 1960),
        ((50, 10, 10), 770, 410, 360),
        ((50, 10, 2), 130, 90, 40),
        ((50, 10, 1), 50, 50, 0),
    ],
)
def test_counts_are_the_published_ones(
    walk: tuple[int, int, int], transitions: int, model_calls: int, renoises: int
) -> None:
    """If this fails, `paper` is not the paper's walk, and every documented cost is wrong."""
    schedule = JumpSchedule.paper(*walk)
    assert (len(schedule), schedule.model_calls, schedule.renoises) == (transitions, model_calls, renoises)


def test_a_small_paper_walk_by_hand() -> None:
    """If this fails, jumps start at the wrong level, have the wrong length or the wrong number."""
    # T = 6, j = 2, r = 3: jumps from k = 0 and 2, twice each; k = 4 = T - j does not jump.
    assert JumpSchedule.paper(6, 2, 3).levels == (
        *(6, 5, 4, 3, 2),
        *(3, 4, 3, 2),
        *(3, 4, 3, 2),
        *(1, 0),
        *(1, 2, 1, 0),
        *(1, 2, 1, 0),
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(2, 4))
def test_the_walk_is_that_of_diffusers(steps: int, jump_length: int, jump_n_sample: int) -> None:
    """If this fails, the walk differs from that of diffusers' RePaintScheduler."""
    if jump_length >= steps:
        return  # diffusers makes no jump then; repaint raises
    scheduler = RePaintScheduler(num_train_timesteps=steps)
    scheduler.set_timesteps(steps, jump_length, jump_n_sample)
    assert list(JumpSchedule.paper(steps, jump_length, jump_n_sample).levels[1:]) == scheduler.timesteps.tolist()


def test_start_resampling_leaves_higher_levels_alone() -> None:
    """If this fails, start_resampling is ignored, or applied to the wrong end of a jump."""
    assert JumpSchedule.paper(6, 2, 2, start_resampling=1).levels == (6, 5, 4, 3, 2, 1, 0, 1, 2, 1, 0)


# --- Other walks


def test_nested_jumps_by_hand() -> None:
    """If this fails, a long jump does not restart the short ones below it."""
    rules = [JumpRule(jump_length=1, jump_n_sample=2, every=2), JumpRule(jump_length=3, jump_n_sample=2)]
    assert JumpSchedule.from_rules(6, rules).levels == (
        *(6, 5, 4),
        *(5, 4, 3, 2),  # short jump at 4
        *(3, 2, 1, 0),  # short jump at 2
        *(1, 2, 3, 2),  # long jump at 0; all short ones start over
        *(3, 2, 1, 0),  # short jump at 2 again
        *(1, 0),  # short jump at 0
    )


def test_three_nested_jumps_by_hand() -> None:
    """If this fails, the longest of three jumps does not restart both shorter ones."""
    rules = [JumpRule(jump_length=length, jump_n_sample=2) for length in (1, 2, 3)]
    assert JumpSchedule.from_rules(4, rules).levels == (
        *(4, 3, 2),
        *(3, 2, 1),  # by 1 from 2
        *(2, 1, 0),  # by 1 from 1
        *(1, 2, 3, 2),  # by 3 from 0; all start over
        *(3, 2, 1),
        *(2, 1, 0),
        *(1, 2, 1),  # by 2 from 0; those by 1 start over, but not at 2, which was reached by a jump
        *(2, 1, 0),
        *(1, 0),  # by 1 from 0
    )


def test_a_rule_of_one_sample_never_jumps() -> None:
    """If this fails, jump_n_sample=1 is not a plain descent, or raises on a grid shorter than the jump."""
    rule = JumpRule(jump_length=10, jump_n_sample=1)
    for rules in ([], [rule], [rule, rule]):
        assert JumpSchedule.from_rules(5, rules).levels == (5, 4, 3, 2, 1, 0)
    assert JumpSchedule.paper(1, 10, 1).levels == (1, 0)


@pytest.mark.parametrize(
    ("name", "anchors"), [("early", {25, 30, 35, 40}), ("late", {0, 5, 10, 15}), ("paper", set(range(0, 240, 10)))]
)
def test_windows_jump_inside_their_range(name: str, anchors: set[int]) -> None:
    """If this fails, `early` and `late` do not resample early and late."""
    assert {src for src, dst in JumpSchedule.from_preset(name).moves if dst > src} == anchors


def test_moves_fuse_a_jump_into_one_draw() -> None:
    """If this fails, a jump of ten levels draws noise ten times, or two jumps are fused."""
    schedule = JumpSchedule.from_levels([3, 2, 1, 0, 1, 2, 3, 1, 0])
    assert schedule.moves == ((3, 2), (2, 1), (1, 0), (0, 3), (3, 1), (1, 0))
    assert sum(src < dst for src, dst in JumpSchedule.paper(250, 10, 10).moves) == 216  # of 2160 renoised levels


def test_a_walk_by_hand() -> None:
    """If this fails, a hand-written walk has the wrong transitions or the wrong cost."""
    schedule = JumpSchedule.from_levels([10, 5, 7, 0], steps=20)
    assert schedule.steps == 20
    assert schedule.transitions == ((10, 5), (5, 7), (7, 0))
    assert (len(schedule), schedule.model_calls, schedule.renoises) == (3, 2, 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 40), st.integers(1, 5), st.integers(1, 4), st.data())
def test_capped_walks_stay_below_their_start(steps: int, jump: int, count: int, data: st.DataObject) -> None:
    """If this fails, strength < 1 or a branch starts at, or jumps to, more noise than the sample has."""
    schedule = JumpSchedule.paper(steps, min(jump, steps - 1), count)
    level = data.draw(st.integers(1, steps))
    capped = schedule.capped(level)
    assert capped.levels[0] == max(capped.levels) == level
    assert capped.steps == steps
    assert all(src != dst for src, dst in pairwise(capped.levels))


def test_capped_by_hand() -> None:
    """If this fails, capping drops or adds moves below the cap."""
    walk = JumpSchedule.paper(6, 2, 2)  # 6 5 4 3 2 3 4 3 2 1 0 1 2 1 0
    assert walk.capped(3).levels == (3, 2, 3, 2, 1, 0, 1, 2, 1, 0)
    assert walk.capped(6) == walk
    for level in (0, 7):
        with pytest.raises(ScheduleError, match=f"^level={level} must be a level above 0 that the walk visits"):
            walk.capped(level)


def test_plot_draws_the_walk() -> None:
    """If this fails, `repaint schedule plot` shows a wrong walk."""
    mpl.use("Agg")
    schedule = JumpSchedule.paper(12, 3, 2)
    axes = schedule.plot()
    assert tuple(axes.lines[0].get_ydata()) == schedule.levels
    assert axes.get_title() == f"{len(schedule)} transitions, {schedule.model_calls} model calls"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("transition", "noise level")
    assert schedule.plot(axes) is axes


# --- Presets


@pytest.mark.parametrize("name", presets.available())
def test_presets_state_their_cost(name: str) -> None:
    """If this fails, a bundled preset states a wrong cost or no source, or cannot run."""
    _, content = presets.read(name)
    method = Method.from_preset(name)
    assert content.about.strip()
    assert content.source.strip()
    assert content.counts is not None
    assert content.counts.model_dump(exclude_defaults=True) == method.counts
    assert method.schedule.levels[0] == method.schedule.steps == content.steps
    assert method.schedule.levels[-1] == 0
    assert method.model_calls == sum(move.kind != "renoise" for move in method.moves)
    assert (
        JumpSchedule.from_preset(name) == JumpSchedule.from_yaml(presets.folder() / f"{name}.yaml") == method.schedule
    )


def test_paper_preset_is_the_papers_method() -> None:
    """If this fails, `schedule="paper"` is not the paper's method."""
    method = Method.from_preset("paper").describe()
    assert JumpSchedule.from_preset("paper") == JumpSchedule.paper(250, 10, 10) == JumpSchedule.paper()
    assert (method["merge"], method["solver"], method["corrector"]) == ("fresh", "ddpm(variance=small)", None)


@pytest.mark.parametrize("read", [JumpSchedule.from_preset, Method.from_preset, presets.read])
def test_unknown_presets_suggest_the_nearest(read: object) -> None:
    """If this fails, a typo in a preset's name gives an error without a suggestion."""
    with pytest.raises(ScheduleError, match=r"^preset='papr' must be one of .*paper.* Did you mean 'paper'\?"):
        read("papr")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 50", r"mine.yaml: unknown key 'step': .* Did you mean 'steps'\?"),
        (
            "steps: 50\njumps: [{jump_length: 5, jump_n_samples: 2}]",
            r"unknown key 'jumps.0.jump_n_samples'.*'jump_n_sample'\?",
        ),
        ("steps: 50\ncounts: {transitions: 50, renoises: 0, calls: 50}", r"unknown key 'counts.calls'"),
        ("steps: [50", r"mine.yaml is not YAML: .* Correct that line"),
        ("- steps\n- 50", r"mine.yaml holds list: a preset must be a mapping"),
        ("", r"mine.yaml holds NoneType"),
        ("steps: fifty", r"steps is 'fifty': .*integer"),
        ("steps: 0", r"steps is 0: .*greater than or equal to 1"),
        ("about: no steps", r"mine.yaml: key 'steps' is missing. Add it"),
        ("steps: 50\njumps: [{jump_length: 0, jump_n_sample: 2}]", r"jumps.0.jump_length is 0"),
        ("steps: 50\nlevels: [3, x, 0]", r"levels.1 is 'x'"),
        (
            "steps: 9\njumps: [{jump_length: 1, jump_n_sample: 2}]\nlevels: [9, 0]",
            r"^A preset must give 'jumps' or 'levels', not both",
        ),
        (
            "steps: 9\ncounts: {transitions: 9, renoises: 0, model_calls: 8}",
            r"the stated counts .*8.* are wrong\. Write .*9",
        ),
        ("steps: 9\nspacing: trailin", r"mine: spacing='trailin' must be .*'trailing'\?"),
        ("steps: 9\nmerge: fresch", r"merge='fresch' must be .* Did you mean 'fresh'\?"),
        ("steps: 9\nlevels: [9, 10, 0]", r"^levels\[1\]=10 must be an integer from 0 to 9"),
        ("steps: 9\nmeasured: {here: 3}", r"measured\.here is 3: "),
        ('steps: !!python/object/apply:os.system ["touch pwned"]', r"is not YAML: .*python/object/apply"),
    ],
)
def test_errors_in_a_yaml_file(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a mistake in a preset is ignored, runs code, or ends in a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    with pytest.raises(ScheduleError, match=message):
        Method.from_yaml("mine.yaml")
    assert not Path("pwned").exists()


def test_yaml_files_that_cannot_be_read(tmp_path: Path) -> None:
    """If this fails, a missing or binary file ends in a traceback."""
    with pytest.raises(ScheduleError, match=r"Cannot read .*none.yaml: .*Pass the path of a YAML text file"):
        JumpSchedule.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ScheduleError, match="Cannot read"):
        Method.from_yaml(tmp_path / "binary.yaml")
    with pytest.raises(ScheduleError, match=r"must end in \.yaml or \.yml"):
        JumpSchedule.from_yaml(tmp_path / "walk.json")


# --- Invalid walks


@pytest.mark.parametrize(
    ("levels", "steps", "message"),
    [
        ([], None, r"^levels=\(\) must have at least 2 entries"),
        ([5], None, r"^levels=\(5,\) must have at least 2 entries"),
        ([5, 3, 1], None, r"^levels\[-1\]=1 must be 0 "),
        ([5, 6, 0], 5, r"^levels\[1\]=6 must be an integer from 0 to 5"),
        ([5, -1, 0], 5, r"^levels\[1\]=-1 must be"),
        ([5, 3, 3, 0], 5, r"^levels\[2\]=3 must differ from the level before it"),
        ([1, 0], True, "^steps=True must be an integer of at least 1"),
        ([1, 0], 1.5, r"^steps=1\.5 must be an integer"),
        ([2, True, 0], None, r"^levels\[1\]=True must be an integer from 0 to 2"),
        (np.array([2.0, 1.0, 0.0]), None, r"^levels\[0\]=.*2\.0.* must be an integer"),
        (np.array([True, False]), None, r"^levels\[0\]=.*True.* must be an integer"),
        ([2, 1.5, 0], None, r"^levels\[1\]=1\.5 must be an integer from 0 to 2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_walks_are_refused(levels: Any, steps: int | None, message: str) -> None:
    """If this fails, a walk that does not end in an image starts to run."""
    with pytest.raises(ScheduleError, match=message):
        JumpSchedule.from_levels(levels, steps)


def test_rules_without_effect_are_refused() -> None:
    """If this fails, a rule that never jumps is accepted, and its resampling is measured as if it happened."""
    with pytest.raises(ScheduleError, match=r"^jump_length=10 must allow a jump within steps=10 .* 0 to -1"):
        JumpSchedule.paper(10, 10, 2)
    with pytest.raises(ScheduleError, match=r"^jump_length=10 must allow a jump within steps=50 .* 45 to 39"):
        JumpSchedule.from_rules(50, [JumpRule(jump_length=10, jump_n_sample=2, stop_resampling=45)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps=0 must be an integer of at least 1"),
        ({"steps": True}, "steps=True must be an integer of at least 1"),
        ({"steps": 2.5}, "steps=2.5 must be an integer of at least 1"),
        ({"jump_length": 0}, "jump_length=0 must be an integer of at least 1"),
        ({"jump_n_sample": True}, "jump_n_sample=True must be an integer of at least 1"),
        ({"start_resampling": -1}, "start_resampling=-1 must be an integer of at least 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_arguments_of_the_paper_walk(arguments: dict[str, Any], message: str) -> None:
    """If this fails, a wrong count gives a walk of another length, or a traceback."""
    with pytest.raises(ScheduleError, match=f"^{message}"):
        JumpSchedule.paper(**arguments)


def test_walks_of_any_integer_type() -> None:
    """If this fails, walks computed with numpy are refused, or leak numpy numbers into presets and states."""
    n = np.int64
    walk = JumpSchedule.paper(20, 5, 2, 10)
    rule = JumpRule(
        jump_length=n(5), jump_n_sample=np.uint8(2), start_resampling=n(10), stop_resampling=n(0), every=n(5)
    )
    made = [
        JumpSchedule.paper(n(20), np.int32(5), np.uint8(2), n(10)),
        JumpSchedule.from_rules(n(20), [rule]),
        JumpSchedule.from_levels(np.array(walk.levels), n(20)),
        JumpSchedule.from_levels([n(level) for level in walk.levels]),
    ]
    assert made == [walk] * 4
    assert JumpSchedule.from_levels(np.arange(3, -1, -1)).levels == (3, 2, 1, 0)
    assert walk.capped(n(7)) == walk.capped(7)
    for each in (*made, walk.capped(n(7))):
        assert {type(level) for level in (each.steps, *each.levels)} == {int}


@pytest.mark.parametrize(("steps", "jumps"), [(1000, (8, 4, 2, 1)), (10**9, (10**8,))])
def test_endless_walks_are_refused(steps: int, jumps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, nested rules or a huge step count fill the memory."""
    monkeypatch.setattr("repaint.sampling.schedule.MAX_TRANSITIONS", 20_000)  # a million takes a second to reach
    rules = [JumpRule(jump_length=length, jump_n_sample=20) for length in jumps]
    with pytest.raises(ScheduleError, match=r"^The walk must have at most 20000 transitions"):
        JumpSchedule.from_rules(steps, rules)
    assert len(JumpSchedule.from_rules(20_000, [])) == 20_000  # the limit itself is allowed


def test_a_notebook_shows_the_walk() -> None:
    """If this fails, a schedule at the end of a notebook cell shows as text, or opens a window."""
    import io

    import matplotlib.pyplot as plt
    from PIL import Image

    windows = plt.get_fignums()
    image = Image.open(io.BytesIO(JumpSchedule.paper(20, 5, 2)._repr_png_()))
    assert image.size == (480, 180)
    assert image.convert("HSV").getchannel("S").getextrema()[1] > 100  # only the walk is coloured
    assert plt.get_fignums() == windows


def test_rules_that_are_none(unchecked: None) -> None:
    """If this fails, the form of the YAML files gives an AttributeError in Python."""
    with pytest.raises(ScheduleError, match="must hold JumpRule objects"):
        JumpSchedule.from_rules(10, [{"jump_length": 2, "jump_n_sample": 2}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: true", r"steps is True: must be an integer"),
        ("steps: '5'", r"steps is '5': must be an integer"),
        (
            "steps: 5\njumps: [{jump_length: true, jump_n_sample: 2}]",
            r"jumps.0.jump_length is True: must be an integer",
        ),
        ("steps: 5\ntemperature: false", r"temperature is False: must be a number"),
    ],
)
def test_what_is_no_number_in_yaml(text: str, message: str, tmp_path: Path) -> None:
    """If this fails, `steps: true` is one step."""
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ScheduleError, match=message):
        Method.from_yaml(tmp_path / "my.yaml")
