"""The walk as data: counts against the paper, walks written out by hand, presets, and every error in a YAML file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
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
    """If this fails, `paper` is not the paper's walk, and no cost stated anywhere is right."""
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
    """If this fails, our reading of the walk and that of diffusers' RePaintScheduler have parted."""
    if jump_length >= steps:
        return  # diffusers makes no jump then; we refuse a rule without effect
    scheduler = RePaintScheduler(num_train_timesteps=steps)
    scheduler.set_timesteps(steps, jump_length, jump_n_sample)
    assert list(JumpSchedule.paper(steps, jump_length, jump_n_sample).levels[1:]) == scheduler.timesteps.tolist()


def test_start_resampling_leaves_higher_levels_alone() -> None:
    """If this fails, the paper's start of resampling is ignored, or applied to the wrong end of a jump."""
    assert JumpSchedule.paper(6, 2, 2, start_resampling=1).levels == (6, 5, 4, 3, 2, 1, 0, 1, 2, 1, 0)


# --- Other walks


def test_nested_jumps_by_hand() -> None:
    """If this fails, a long jump no longer encloses the short ones below it (they must begin anew)."""
    rules = [JumpRule(jump_length=1, jump_n_sample=2, every=2), JumpRule(jump_length=3, jump_n_sample=2)]
    assert JumpSchedule.from_rules(6, rules).levels == (
        *(6, 5, 4),
        *(5, 4, 3, 2),  # short jump at 4
        *(3, 2, 1, 0),  # short jump at 2
        *(1, 2, 3, 2),  # long jump at 0; from here all short ones anew
        *(3, 2, 1, 0),  # short jump at 2 again
        *(1, 0),  # short jump at 0
    )


def test_three_nested_jumps_by_hand() -> None:
    """If this fails, the longest of three jumps does not make both shorter ones begin anew."""
    rules = [JumpRule(jump_length=length, jump_n_sample=2) for length in (1, 2, 3)]
    assert JumpSchedule.from_rules(4, rules).levels == (
        *(4, 3, 2),
        *(3, 2, 1),  # by 1 from 2
        *(2, 1, 0),  # by 1 from 1
        *(1, 2, 3, 2),  # by 3 from 0; all anew
        *(3, 2, 1),
        *(2, 1, 0),
        *(1, 2, 1),  # by 2 from 0; those by 1 anew, and 2 was jumped to, not stepped down to
        *(2, 1, 0),
        *(1, 0),  # by 1 from 0
    )


def test_a_rule_of_one_sample_never_jumps() -> None:
    """If this fails, jump_n_sample=1 is no plain descent, or is refused where the grid is shorter than its jump."""
    rule = JumpRule(jump_length=10, jump_n_sample=1)
    for rules in ([], [rule], [rule, rule]):
        assert JumpSchedule.from_rules(5, rules).levels == (5, 4, 3, 2, 1, 0)
    assert JumpSchedule.paper(1, 10, 1).levels == (1, 0)


@pytest.mark.parametrize(
    ("name", "anchors"), [("early", {25, 30, 35, 40}), ("late", {0, 5, 10, 15}), ("paper", set(range(0, 240, 10)))]
)
def test_windows_jump_where_they_say(name: str, anchors: set[int]) -> None:
    """If this fails, `early` and `late` compare something other than early with late resampling."""
    assert {src for src, dst in JumpSchedule.from_preset(name).moves if dst > src} == anchors


def test_moves_fuse_a_jump_into_one_draw() -> None:
    """If this fails, a jump of ten levels draws ten times, or two jumps run into one."""
    schedule = JumpSchedule.from_levels([3, 2, 1, 0, 1, 2, 3, 1, 0])
    assert schedule.moves == ((3, 2), (2, 1), (1, 0), (0, 3), (3, 1), (1, 0))
    assert sum(src < dst for src, dst in JumpSchedule.paper(250, 10, 10).moves) == 216  # of 2160 renoised levels


def test_a_walk_by_hand() -> None:
    """If this fails, hand-written walks cost or reach something other than what is written."""
    schedule = JumpSchedule.from_levels([10, 5, 7, 0], steps=20)
    assert schedule.steps == 20
    assert schedule.transitions == ((10, 5), (5, 7), (7, 0))
    assert (len(schedule), schedule.model_calls, schedule.renoises) == (3, 2, 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(3, 40), st.integers(1, 5), st.integers(1, 4), st.data())
def test_capped_walks_stay_below_their_start(steps: int, jump: int, count: int, data: st.DataObject) -> None:
    """If this fails, strength < 1 or a branch starts at, or climbs to, more noise than its sample has."""
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
        with pytest.raises(ScheduleError, match=f"never stands at level {level}"):
            walk.capped(level)


def test_plot_draws_the_walk() -> None:
    """If this fails, `repaint schedule plot` shows another walk than the one that runs."""
    mpl.use("Agg")
    schedule = JumpSchedule.paper(12, 3, 2)
    axes = schedule.plot()
    assert tuple(axes.lines[0].get_ydata()) == schedule.levels
    assert axes.get_title() == f"{len(schedule)} transitions, {schedule.model_calls} model calls"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("transition", "noise level")
    assert schedule.plot(axes) is axes


# --- Presets


@pytest.mark.parametrize("name", presets.available())
def test_presets_are_true(name: str) -> None:
    """If this fails, a shipped preset states a cost it does not have, or no source, or cannot run."""
    _, content = presets.read(name)
    method = Method.from_preset(name)
    assert content.about.strip()
    assert content.source.strip()
    assert content.counts is not None
    assert content.counts.model_dump() == method.counts
    assert method.schedule.levels[0] == method.schedule.steps == content.steps
    assert method.schedule.levels[-1] == 0
    assert method.model_calls == sum(move.kind != "renoise" for move in method.moves)
    assert (
        JumpSchedule.from_preset(name) == JumpSchedule.from_yaml(presets.folder() / f"{name}.yaml") == method.schedule
    )


def test_paper_preset_is_the_papers_method() -> None:
    """If this fails, `schedule="paper"` is some other method."""
    method = Method.from_preset("paper").describe()
    assert JumpSchedule.from_preset("paper") == JumpSchedule.paper(250, 10, 10) == JumpSchedule.paper()
    assert (method["merge"], method["solver"], method["corrector"]) == ("fresh", "ddpm(variance=small)", None)


@pytest.mark.parametrize("read", [JumpSchedule.from_preset, Method.from_preset, presets.read])
def test_unknown_presets_suggest_the_nearest(read: object) -> None:
    """If this fails, a typo gives no hint."""
    with pytest.raises(ScheduleError, match=r"No preset 'papr': there are .*paper.* Did you mean 'paper'\?"):
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
            r"Both 'jumps' and 'levels' are given",
        ),
        ("steps: 9\ncounts: {transitions: 9, renoises: 0, model_calls: 8}", r"states .*8.* but makes .*9"),
        ("steps: 9\nspacing: trailin", r"Spacing 'trailin' in mine: .*'trailing'\?"),
        ("steps: 9\nmerge: fresch", r"No merge 'fresch': .* Did you mean 'fresh'\?"),
        ("steps: 9\nlevels: [9, 10, 0]", r"Level 10 in a walk over 0 \.\.\. 9: it leaves the grid"),
        ('steps: !!python/object/apply:os.system ["touch pwned"]', r"is not YAML: .*python/object/apply"),
    ],
)
def test_errors_in_a_yaml_file(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a mistake in a preset is ignored, runs code, or is explained by a traceback."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    with pytest.raises(ScheduleError, match=message):
        Method.from_yaml("mine.yaml")
    assert not Path("pwned").exists()


def test_yaml_files_that_cannot_be_read(tmp_path: Path) -> None:
    """If this fails, a missing or binary file ends in a traceback."""
    with pytest.raises(ScheduleError, match=r"Cannot read .*none.yaml: .*Give the path of a YAML text file"):
        JumpSchedule.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ScheduleError, match="Cannot read"):
        Method.from_yaml(tmp_path / "binary.yaml")
    with pytest.raises(ScheduleError, match=r"does not end in .yaml or .yml"):
        JumpSchedule.from_yaml(tmp_path / "walk.json")


# --- Walks that cannot be


@pytest.mark.parametrize(
    ("levels", "steps", "message"),
    [
        ([], None, "A walk of 0 levels: it needs two at least"),
        ([5], None, "A walk of 1 levels"),
        ([5, 3, 1], None, "The walk ends at level 1: a result must be clean. End it with 0"),
        ([5, 6, 0], 5, "Level 6 in a walk over 0 ... 5: it leaves the grid"),
        ([5, -1, 0], 5, "Level -1"),
        ([5, 3, 3, 0], 5, "The walk stands still at level 3"),
        ([1, 0], True, "True steps: they are a whole number"),
        ([1, 0], 1.5, "1.5 steps: they are a whole number"),
        ([2, True, 0], None, r"Level True in a walk over 0 \.\.\. 2"),
        ([2, 1.5, 0], None, r"Level 1.5 in a walk over 0 \.\.\. 2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_broken_walks_are_refused(levels: list[int], steps: int | None, message: str) -> None:
    """If this fails, a walk that cannot end in an image starts to run."""
    with pytest.raises(ScheduleError, match=message):
        JumpSchedule.from_levels(levels, steps)


def test_rules_without_effect_are_refused() -> None:
    """If this fails, somebody measures a resampling that never happened."""
    with pytest.raises(ScheduleError, match=r"A jump of 10 levels .* never happens in 10 steps"):
        JumpSchedule.paper(10, 10, 2)
    with pytest.raises(ScheduleError, match="never happens in 50 steps"):
        JumpSchedule.from_rules(50, [JumpRule(jump_length=10, jump_n_sample=2, stop_resampling=45)])
    with pytest.raises(
        ScheduleError, match=r"Jump rule .*'jump_length': 0.*: lengths and counts are whole numbers from 1"
    ):
        JumpSchedule.paper(10, 0, 2)


@pytest.mark.parametrize("steps", [0, True, 2.5])
@pytest.mark.usefixtures("unchecked")
def test_step_counts_that_are_none_are_refused(steps: int) -> None:
    """If this fails, a wrong step count becomes a walk of another length, or a traceback."""
    with pytest.raises(ScheduleError, match=f"{steps} steps: a walk has one step at least"):
        JumpSchedule.paper(steps)


@pytest.mark.parametrize(("steps", "jumps"), [(1000, (8, 4, 2, 1)), (10**9, (10**8,))])
def test_walks_that_would_not_end_are_refused(
    steps: int, jumps: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, four nested rules or a step count with too many zeros fill the memory."""
    monkeypatch.setattr("repaint.sampling.schedule.MAX_TRANSITIONS", 20_000)  # a million takes a second to reach
    rules = [JumpRule(jump_length=length, jump_n_sample=20) for length in jumps]
    with pytest.raises(ScheduleError, match="over 20000 transitions"):
        JumpSchedule.from_rules(steps, rules)
    assert len(JumpSchedule.from_rules(20_000, [])) == 20_000  # the limit itself is allowed


def test_a_notebook_shows_the_walk() -> None:
    """If this fails, a schedule at the end of a cell is a wall of numbers, or opens a window."""
    import io

    import matplotlib.pyplot as plt
    from PIL import Image

    windows = plt.get_fignums()
    image = Image.open(io.BytesIO(JumpSchedule.paper(20, 5, 2)._repr_png_()))
    assert image.size == (480, 180)
    assert image.convert("HSV").getchannel("S").getextrema()[1] > 100  # axes and text are grey, the walk is not
    assert plt.get_fignums() == windows
