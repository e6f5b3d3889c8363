"""The studio without a browser: runs and their queue, branches, recipes, uploads and served routes."""

from __future__ import annotations

import io
import json
import shlex
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from diffusers import DDPMScheduler
from helpers.studio_process import studio
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe, tiny_unet
from PIL import ExifTags, Image

from repaint import JumpSchedule, Method, RePaintPipeline, cli
from repaint.errors import InputError, warn
from repaint.priors.pixel import PixelPrior
from repaint.sampling import presets
from repaint.studio import guard, inputs, run, server, tree
from repaint.studio.auditing import Auditor
from repaint.studio.canvas import extend
from repaint.studio.exploring import Explorer
from repaint.studio.handlers import Handlers
from repaint.studio.inputs import Photo, read_mask, read_photo, sample
from repaint.studio.jobs import Job, Origin, Run
from repaint.studio.painting import paint, painted
from repaint.studio.recipe import bundle, schedule_yaml
from repaint.studio.run import Runner
from repaint.studio.settings import chosen_method, takes
from repaint.studio.views import progress_html, tree_html, walk_html
from repaint.testing import PixelByPixelPrior

WALK = Method(JumpSchedule.paper(6, 2, 2), spacing="linspace")
HOLE = np.zeros((16, 12), bool)
HOLE[4:9, 3:9] = True
LONG = 20  # seconds; each wait takes less than a tenth of it on an idle machine


class Gated(PixelPrior):
    """A tiny prior that blocks each call until the test allows it with `allow`."""

    def __init__(self) -> None:
        super().__init__(tiny_unet(), DDPMScheduler())
        self.gate, self.calls = threading.Semaphore(0), [0]

    def denoise(self, x: Any, level: Any) -> Any:
        assert self.gate.acquire(timeout=LONG)
        self.calls[0] += 1
        return super().denoise(x, level)

    def allow(self, calls: int) -> None:
        self.gate.release(calls)


def photo(seed: int = 0, size: tuple[int, int] = (16, 12)) -> Photo:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Photo(file.getvalue(), ".png", Image.fromarray(pixels), f"noise {seed}")


def job(**changes: Any) -> Job:
    return replace(Job(photo(), HOLE, "tiny", WALK, (3,)), **changes)


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.005)


@pytest.fixture
def runner() -> Runner:
    return Runner(lambda name: tiny_pipe(("cat", "dog")) if name == "classes" else tiny_pipe(), ["tiny", "classes"])


@pytest.fixture
def gated() -> tuple[Runner, Gated]:
    prior = Gated()
    return Runner(lambda _: RePaintPipeline(prior), ["tiny"]), prior


def finished(runner: Runner, job: Job) -> Run:
    done = runner.submit(job)
    assert done.ended.wait(LONG)
    assert done.status == "done", done.message
    return done


# Runs


def test_a_run_gives_what_the_pipeline_gives(runner: Runner) -> None:
    """If this fails, results of the studio differ from those of the library, or kept pixels change."""
    done = finished(runner, job(seeds=(3, 4)))
    assert [result.seed for result in done.results] == [3, 4]
    for result in done.results:
        alone = tiny_pipe()(photo().image, job().mask, schedule=WALK, generator=result.seed).images[0]
        assert np.array_equal(result.image, alone)
        assert np.array_equal(np.asarray(result.image)[~HOLE], np.asarray(photo().image)[~HOLE])
    assert done.calls == done.job.model_calls == 2 * WALK.model_calls
    assert done.position == len(WALK.moves)


def test_progress_counts_calls_and_time(gated: tuple[Runner, Gated]) -> None:
    """If this fails, the page shows a wrong number of calls, or no remaining time."""
    runner, prior = gated
    first = runner.submit(job(seeds=(0, 1)))
    prior.allow(3)
    wait(lambda: first.calls == 3)
    assert first.status == "running"
    assert f"3 of {2 * WALK.model_calls} model calls, image 1 of 2" in progress_html(first)
    assert first.seconds_left is not None
    assert first.seconds_left > 0
    prior.allow(1000)
    assert first.ended.wait(LONG)
    assert first.seconds_left is None
    assert "Done: " in progress_html(first)


def test_cancel_stops_within_one_call_and_frees_the_worker(gated: tuple[Runner, Gated]) -> None:
    """If this fails, a cancelled run continues, or the next run never starts."""
    runner, prior = gated
    first, second = runner.submit(job()), runner.submit(job())
    prior.allow(2)
    wait(lambda: first.calls == 2)
    assert runner.before(second) == 1
    runner.cancel(first.id)
    prior.allow(1)  # the current call
    assert first.ended.wait(LONG)
    done = prior.calls[0]
    assert first.status == "cancelled"
    assert done in (2, 3)  # 2 if the callback of the second call had not yet ended
    prior.allow(WALK.model_calls)
    assert second.ended.wait(LONG)
    assert (second.status, prior.calls[0]) == ("done", done + WALK.model_calls)


def test_a_waiting_run_is_cancelled_at_once(gated: tuple[Runner, Gated]) -> None:
    """If this fails, a run that was cancelled in the queue is computed anyway."""
    runner, prior = gated
    first, second = runner.submit(job()), runner.submit(job())
    wait(lambda: first.status == "running")
    runner.cancel(second.id)
    assert second.ended.is_set()
    assert second.status == "cancelled"
    prior.allow(1000)
    assert first.ended.wait(LONG)
    third = finished(runner, job())
    assert second.results == []
    assert prior.calls[0] == 2 * WALK.model_calls, third


def test_queued_runs_are_never_mixed(runner: Runner) -> None:
    """If this fails, a user gets the picture of another user."""
    runs = [runner.submit(job(photo=photo(i), seeds=(i,))) for i in range(8)]
    for i, queued in enumerate(runs):
        assert queued.ended.wait(LONG)
        alone = tiny_pipe()(photo(i).image, job().mask, schedule=WALK, generator=i).images[0]
        assert np.array_equal(queued.results[0].image, alone)
        assert runner.find(queued.id) is queued


def test_a_model_that_breaks_ends_its_run_alone(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, one error stops the studio for all users."""
    with monkeypatch.context() as patch:
        patch.setattr(PixelPrior, "denoise", lambda *_: 1 / 0)
        broken = runner.submit(job())
        assert broken.ended.wait(LONG)
    assert (broken.status, broken.message) == ("failed", "ZeroDivisionError: division by zero")
    assert "Failed: ZeroDivisionError" in progress_html(broken)
    finished(runner, job())


def test_warnings_are_shown_on_the_page(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a warning about the user's hole or prompt appears only in the terminal of the server."""
    denoise = PixelPrior.denoise

    def warned(*given: Any) -> Any:
        warn("The hole is <thick>.")
        return denoise(*given)

    monkeypatch.setattr(PixelPrior, "denoise", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runner.seconds_per_call(job())  # measured on a hole that is not the user's
    assert progress_html(finished(runner, job())).count("<p>Warning: The hole is &lt;thick&gt;.</p>") == 1


def test_warnings_of_a_run_are_its_own(gated: tuple[Runner, Gated], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a page that reads a picture while a run begins takes the warnings of the run away."""
    runner, prior = gated
    denoise, begun = prior.denoise, threading.Event()

    def warned(*given: Any) -> Any:
        begun.set()
        found = denoise(*given)
        warn("The hole is thick.")
        return found

    monkeypatch.setattr(prior, "denoise", warned)
    with warnings.catch_warnings():  # of another thread: entered before the run, and left during it
        running = runner.submit(job())
        assert begun.wait(LONG)
    prior.allow(100)
    assert running.ended.wait(LONG)
    assert running.warnings == ["The hole is thick."]


def test_the_queue_is_bounded(gated: tuple[Runner, Gated]) -> None:
    """If this fails, waiting runs can fill the memory."""
    runner, prior = gated
    first = runner.submit(job())
    wait(lambda: first.status == "running")
    runs = [runner.submit(job()) for _ in range(run.MOST_WAITING)]
    with pytest.raises(InputError, match="The queue is full: 32 runs are waiting"):
        runner.submit(job())
    for waiting in [*runs, first]:
        runner.cancel(waiting.id)
    prior.allow(1)


def test_only_the_last_runs_are_remembered(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, memory grows with every run, or a run is dropped too early."""
    monkeypatch.setattr(run, "MOST_RUNS", 3)
    monkeypatch.setattr(run, "MOST_WITH_STATES", 1)
    runs = [finished(runner, job(seeds=(i,))) for i in range(5)]
    assert [stored.id for stored in runner.runs()] == [done.id for done in runs[:1:-1]][:3]
    # States are dropped on submission: the then latest finished run and the submitted one keep theirs.
    assert [bool(done.results[0].states) for done in runs[2:]] == [False, True, True]
    with pytest.raises(InputError, match="Only the last 3 are stored"):
        runner.find(runs[0].id)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hole": np.zeros((16, 12), bool)}, "The mask is empty"),
        ({"hole": np.ones((16, 12), bool)}, "covers the whole picture"),
        ({"seeds": ()}, "images=0 must be from 1 to 16"),
        ({"seeds": (2**40,)}, "seed=1099511627776 must be an integer from 0 to"),
        ({"conditions": {"prompt": "a cat"}}, "prompt='a cat' must be empty for the prior tiny"),
        ({"conditions": {"class_labels": "cat"}}, "class='cat' must be empty for the prior tiny"),
        (
            {"prior": "classes", "conditions": {"class_labels": "cow"}},
            "class='cow' must be one of cat, dog for the prior classes",
        ),
        ({"prior": "/etc"}, "prior='/etc' must be one of tiny, classes"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(runner: Runner, changes: dict[str, Any], message: str) -> None:
    """If this fails, a user waits for a run that must fail, or loads a folder of the server."""
    with pytest.raises(InputError, match=message):
        runner.submit(job(**changes))


def test_the_pace_is_measured_once_and_not_beside_a_run(gated: tuple[Runner, Gated]) -> None:
    """If this fails, the pace is measured beside a run, or each change of a setting costs model calls."""
    runner, prior = gated
    prior.allow(2)
    pace = runner.seconds_per_call(job())
    assert pace is not None
    assert 0 < pace < LONG
    assert prior.calls[0] == 2
    assert runner.seconds_per_call(job(method=Method(JumpSchedule.paper(50), spacing="linspace"))) == pace
    running = runner.submit(job())
    prior.allow(1)
    wait(lambda: running.calls == 1)
    assert runner.seconds_per_call(job(photo=photo(size=(8, 8)), hole=HOLE[:8, :8])) is None
    runner.cancel(running.id)
    prior.allow(1)


def test_the_pace_is_that_of_one_window() -> None:
    """If this fails, opening a large photograph runs the model on half of it, and its cost is that of half of it."""
    prior = PixelByPixelPrior(preferred_size=16)
    sizes, denoise = [], prior.denoise
    prior.denoise = lambda x, level: sizes.append(tuple(x.shape[2:])) or denoise(x, level)  # type: ignore
    runner = Runner(lambda _name: RePaintPipeline(prior), ["tiny"])
    pace = runner.seconds_per_call(job(photo=photo(size=(64, 80)), hole=np.zeros((64, 80), bool)))
    assert sizes == [(16, 16)] * 2
    assert runner.seconds_per_call(job(photo=photo(size=(16, 32)), hole=np.zeros((16, 32), bool))) == pace
    assert runner.seconds_per_call(job(photo=photo(size=(12, 32)), hole=np.zeros((12, 32), bool))) != pace


def test_the_cost_of_a_branch_has_the_pace_of_its_run(runner: Runner) -> None:
    """If this fails, the time of a branch is that of a window, though its hole takes many."""
    run = finished(runner, job(seeds=(0, 1)))
    assert run.pace is not None
    assert run.pace == pytest.approx(run.seconds / (run.calls - 1))
    explorer = Explorer(Handlers(runner))
    run.seconds = 1000.0 * (run.calls - 1)
    assert "1e+03 s a call" in explorer.branch_cost(run.id, 0, 50, "new noise", 0, 0, 0, 1)


def test_what_a_prior_takes() -> None:
    """If this fails, the page shows a prompt field that the prior rejects, or hides the classes."""
    assert takes(tiny_pipe().prior) == {"prompt": False, "classes": []}
    assert takes(tiny_pipe(("cat", "dog")).prior) == {"prompt": False, "classes": ["cat", "dog"]}
    assert takes(RePaintPipeline.from_pretrained("emoji").prior)["prompt"] is True


# Kept states and branches


@pytest.mark.parametrize("name", ["paper", "corrected", "large-jump"])
def test_a_place_on_the_walk(name: str) -> None:
    """If this fails, the mark on the walk shows a wrong level."""
    method = Method.from_preset(name)
    places = tree.reached(method)
    assert len(places) == len(method.moves) + 1
    assert [method.schedule.levels[place] for place in places[1:]] == [move.dst for move in method.moves]
    assert (places[0], places[-1]) == (0, len(method.schedule))


def test_states_are_kept_at_every_move_or_evenly(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a state of a run cannot be chosen, or states fill the memory."""
    states = finished(runner, job()).results[0].states
    assert [state.position for state in states] == list(range(1, len(WALK.moves) + 1))
    monkeypatch.setattr(tree, "MOST_STATES", 4)
    assert [state.position for state in finished(runner, job()).results[0].states] == [3, 6, 9, 12]
    monkeypatch.setattr(tree, "STATE_BYTES", 1)
    assert tree.kept_positions(12, states[0]) == {6, 12}


def test_a_continuation_begins_where_the_run_stood(runner: Runner) -> None:
    """If this fails, a branch jumps to wrong levels, or its cost is wrong."""
    method = Method(JumpSchedule.paper(50, 10, 1), spacing="linspace")
    rest = tree.continuation(method, 20, "new noise").schedule
    assert rest.levels == tuple(range(30, -1, -1))
    large = tree.continuation(method, 20, "one large jump", 30).schedule
    assert (large.levels[0], large.model_calls, large.moves[20]) == (30, 60, (10, 40))
    small = tree.continuation(method, 20, "small late jumps", 2, 15)
    ups = [move for move in small.schedule.moves if move[0] < move[1]]
    assert (len(ups), small.model_calls, max(src for src, _ in ups), min(src for src, _ in ups)) == (15, 60, 9, 0)
    assert {dst - src for src, dst in ups} == {2}
    after = tree.continuation(method, 50, "one large jump", 30).schedule
    assert after.levels[:2] + after.levels[-1:] == (0, 1, 0)
    for given, message in [
        ((50, "new noise"), "The chosen state is the end of the run"),
        ((20, "one large jump", 41), "length=41 must be from 1 to 40, to jump from level 10 of 50"),
        ((20, "small late jumps", 2, 0), "times=0 must be at least 1"),
        ((20, "a leap"), "kind='a leap' must be one of new noise, "),
    ]:
        with pytest.raises(InputError, match=message):
            tree.continuation(method, *given)


def branch_of(parent: run.Run, number: int, kind: str, *given: int, **changes: Any) -> Job:
    state = parent.results[0].states[number]
    method = tree.continuation(parent.job.method, state.position, kind, *given)
    return replace(parent.job, method=method, origin=Origin(parent.id, 0, state.position, state), kind=kind, **changes)


def test_a_branch_is_the_librarys_and_stands_in_the_tree(runner: Runner) -> None:
    """If this fails, a branch does not continue from its state, or its cost is shown wrong."""
    parent = finished(runner, job())
    child = finished(runner, branch_of(parent, 5, "one large jump", 3, seeds=(8,)))
    state, method = parent.results[0].states[5], child.job.method
    alone = tiny_pipe().resume(state.branch([8]), photo().image, job().mask, schedule=method)
    assert np.array_equal(child.results[0].image, alone.images[0])
    assert not np.array_equal(child.results[0].image, parent.results[0].image)
    grandchild = finished(runner, branch_of(child, 0, "new noise", seeds=(9,)))
    shown = tree_html(runner.runs(), grandchild)
    assert shown.count("<li") == 3
    assert f"seed 3, {WALK.model_calls} model calls" in shown
    assert f"seed 8, {method.model_calls} model calls more, {state.model_calls + method.model_calls} in all" in shown
    assert shown.index("seed 3") < shown.index("seed 8") < shown.index("seed 9")


# Recipes


def reproduced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The result of the command in a recipe."""
    recipe = json.loads((folder / "recipe.json").read_text())
    words = shlex.split(recipe["command"])
    monkeypatch.chdir(folder)
    (folder / "result.png").rename(folder / "first.png")
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (0, None)
    return (folder / "result.png").read_bytes()


@pytest.mark.parametrize("way", ["preset", "own walk", "branch"])
def test_a_recipe_makes_the_same_bytes(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a recipe does not reproduce its result."""
    runner = Runner(RePaintPipeline.from_pretrained, ["textures"])
    fast = Method.from_preset("fast")
    settings = job(prior="textures", conditions={"class_labels": "grass", "guidance_scale": 1.5})
    if way == "preset":
        done = finished(runner, replace(settings, method=fast, preset="fast", blend_rim=1.0))
    else:
        own = replace(fast, schedule=JumpSchedule.paper(5, 2, 2), corrector=None)
        done = finished(runner, replace(settings, method=own))
    if way == "branch":
        done = finished(runner, branch_of(done, 4, "small late jumps", 1, 2, seeds=(8,)))
    files = bundle(done, 0, tmp_path)
    names = {"picture.png", "mask.png", "result.png", "recipe.json"}
    names |= {"preset": set(), "own walk": {"schedule.yaml"}, "branch": {"schedule.yaml", "state.safetensors"}}[way]
    assert set(zipfile.ZipFile(files["everything"]).namelist()) == names
    first = files["result"].read_bytes()
    assert np.array_equal(np.asarray(Image.open(files["result"])), done.results[0].image)
    assert reproduced(tmp_path, monkeypatch) == first


def test_a_recipe_with_a_prompt_makes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a prompt with quotes or a leading dash is lost on the way to the shell."""
    runner = Runner(RePaintPipeline.from_pretrained, ["emoji"])
    hole = np.zeros((64, 64), bool)
    hole[20:40, 20:40] = True
    own = Method(JumpSchedule.paper(2, 1, 1), spacing="linspace")
    settings = Job(sample("emoji:grinning face"), hole, "emoji", own, (1,), None, {"prompt": "--a 'cat'; $HOME"})
    done = finished(runner, settings)
    first = bundle(done, 0, tmp_path)["result"].read_bytes()
    assert reproduced(tmp_path, monkeypatch) == first


@pytest.mark.parametrize("name", [*presets.available(), *presets.published()])
def test_a_method_survives_its_yaml(name: str, tmp_path: Path) -> None:
    """If this fails, schedule.yaml in a recipe describes a different method."""
    method = Method.from_preset(name)
    (tmp_path / "own.yaml").write_text(schedule_yaml(method))
    again = Method.from_yaml(tmp_path / "own.yaml")
    assert again.describe() | {"name": name} == method.describe()
    assert again.moves == method.moves
    assert replace(again, schedule=method.schedule, name="", about="", source="") == replace(
        method, name="", about="", source=""
    )


@pytest.mark.parametrize("name", presets.available())
def test_a_custom_walk_keeps_the_other_parts(name: str) -> None:
    """If this fails, a custom walk loses a part of its schedule: the smooth fill of thin, the guidance of turbo."""
    method, preset = chosen_method(name, True, 5, 2, 2, None, 0)
    assert (preset, method.schedule) == (None, JumpSchedule.paper(5, 2, 2))
    before = Method.from_preset(name)
    own = {"schedule": before.schedule, "name": before.name, "about": before.about, "source": before.source}
    assert replace(method, **own) == before


# Uploads


def saved(tmp_path: Path, name: str, image: Image.Image, **options: Any) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_heic_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the studio does not read the photographs of phones that the commands read."""
    heif = pytest.importorskip("pillow_heif")  # in the extra dev, but without wheels for some systems
    path = tmp_path / "phone.HEIC"
    heif.from_pillow(Image.new("RGB", (20, 12), "red")).save(path)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])  # not registered by another test
    assert read_photo(path).size == (12, 20)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"^Cannot open phone.HEIC: HEIC needs pillow-heif, which is not installed"):
        read_photo(path)


def test_uploads_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a bad upload ends in a traceback, fills the memory, or is silently converted."""
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(InputError, match=r"^text.png: not a readable image"):
        read_photo(text)
    small = Image.new("RGB", (20, 10))
    frames = saved(tmp_path, "moving.gif", small, save_all=True, append_images=[Image.new("RGB", (20, 10), "red")])
    with pytest.raises(InputError, match=r"^moving.gif has 2 frames: one picture is repainted at a time"):
        read_photo(frames)
    with pytest.raises(InputError, match=r"^cmyk.jpg: the studio writes PNG .* mode CMYK.*--out RESULT.tif"):
        read_photo(saved(tmp_path, "cmyk.jpg", Image.new("CMYK", (20, 10))))
    cut = tmp_path / "cut.png"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    cut.write_bytes(saved(tmp_path, "noise.png", noise).read_bytes()[:5000])
    with pytest.raises(InputError, match=r"Cannot decode cut.png.*damaged or cut short"):
        read_photo(cut)
    with pytest.raises(
        InputError, match=r"^huge.png: 8192 x 4097 is more than 33554432 pixels, the limit of the studio"
    ):
        read_photo(saved(tmp_path, "huge.png", Image.new("1", (8192, 4097))))
    monkeypatch.setattr(inputs, "MAX_BYTES", 2**10)
    with pytest.raises(InputError, match=r"^noise.png: 0.0 MiB is more than 0 MiB, the limit of the studio"):
        read_photo(tmp_path / "noise.png")


def test_a_turned_photograph_is_painted_as_it_is_seen(runner: Runner, tmp_path: Path) -> None:
    """If this fails, the hole in a rotated photograph is not where it was painted."""
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated by 90 degrees
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    turned = read_photo(saved(tmp_path, "turned.png", Image.fromarray(pixels), exif=exif))
    assert turned.size == HOLE.shape
    assert turned.canvas().size == (12 * turned.magnified, 16 * turned.magnified)
    result = finished(runner, job(photo=turned)).results[0].image
    seen = inputs.shown(result)
    kept, before = np.asarray(seen)[~HOLE], np.asarray(inputs.shown(turned.image))[~HOLE]
    assert np.array_equal(kept, before)
    assert not np.array_equal(np.asarray(seen)[HOLE], np.asarray(inputs.shown(turned.image))[HOLE])


def test_a_painted_mask_is_the_hole() -> None:
    """If this fails, the hole differs from what was painted."""
    picture = photo()
    assert picture.magnified == 28
    assert np.array_equal(painted([np.asarray(paint(HOLE, picture, (1, 2, 255)))], picture), 255 * HOLE)
    layer = np.full((16 * 28, 12 * 28, 4), (228, 0, 127, 0), np.uint8)
    layer[:28, :14, 3] = 255  # half of the first pixel
    layer[:28, 28:41, 3] = 255  # less than half of the second
    layer[:28, 56:84, 3] = 127  # all of the third, below half opacity
    assert np.argwhere(painted([layer], picture)).tolist() == [[0, 0]]
    with pytest.raises(InputError, match="The canvas is 336 x 447 and must be 336 x 448"):
        painted([layer[1:]], picture)


def test_an_uploaded_mask(tmp_path: Path) -> None:
    """If this fails, a mask is inverted or resized, or its grey pixels are silently rounded."""
    grey = np.where(HOLE, np.uint8(255), np.uint8(0))
    grey[0, :3] = [100, 127, 128]
    hole, soft = read_mask(saved(tmp_path, "mask.png", Image.fromarray(grey)), (16, 12))
    assert soft == 3
    assert np.argwhere(hole & ~HOLE).tolist() == [[0, 2]]
    with pytest.raises(InputError, match=r"Mask mask.png: .* is 16 x 12 and its image 12 x 16"):
        read_mask(tmp_path / "mask.png", (12, 16))


# Event handlers


SCHEDULE = ("fast", True, 6, 2, 2, None, 0)


@pytest.fixture
def does(runner: Runner) -> Iterator[Handlers]:
    handlers = Handlers(runner)
    yield handlers
    handlers.close()


def canvas(picture: Photo) -> dict[str, Any]:
    return {"layers": [np.asarray(paint(HOLE, picture))]}


def test_a_page_from_start_to_audit(does: Handlers, runner: Runner) -> None:
    """If this fails, a page shows a different run from the one it started, or loses its result."""
    picture = photo()
    walk, cost = does.plan(picture, "tiny", 2, *SCHEDULE)
    assert "14 transitions, 10 model calls" in walk
    assert "2 images of 10 model calls, 20 in all" in cost
    update, run_id = does.start(picture, canvas(picture), "tiny", "", "", 0, 0, 5, 2, *SCHEDULE, "Fill", 4)
    request = gr.Request(session_hash="page")
    seen = list(does.watch(run_id, request))
    assert update["value"] == run_id
    assert "Done: 20 of 20 model calls" in seen[-1][0]
    assert [name for _, name in seen[-1][3]["value"]] == ["seed 5", "seed 6"]
    assert [Path(path).name for path in does.choose(run_id, 1)[1]["value"]] == [
        "mask.png",
        "picture.png",
        "recipe.json",
        "repaint-seed-6.zip",
        "result.png",
        "schedule.yaml",
    ]
    assert Explorer(does).look(run_id, 0, 50)[1] == "After move 6 of 12, at level 3 of 6, after 5 model calls."
    _, branch_id = Explorer(does).branch(run_id, 0, 50, "one large jump", 2, 1, 9, 1)
    assert list(does.watch(branch_id, request))[-1][0].count("Done") == 1
    numbers, _ = Auditor(runner).audit_run(branch_id, 0)
    assert "No kept pixel changed." in numbers
    assert [value for _, value in does.choices()] == [branch_id, run_id]
    assert does.refresh(run_id)["value"] == run_id
    assert does.refresh("gone")["value"] is None


def test_mean_and_uncertainty_of_several_images(does: Handlers, runner: Runner) -> None:
    """If this fails, the panel shows the mean of other images, stays after its run, or appears for a single image."""
    several = finished(runner, job(seeds=(3, 4, 5)))
    panel, summary, mean, heat = does.spread(several.id)
    images = np.stack([np.asarray(result.image) for result in several.results]).astype(float)
    spread = np.sqrt(images.var(axis=0, ddof=1).mean(axis=-1))
    assert panel["visible"]
    assert summary == (
        f"3 images. Uncertainty: mean {spread[HOLE].mean():.3g}, largest {spread.max():.3g} of 255 in the hole."
    )
    times = mean.width // 12
    assert np.array_equal(np.asarray(mean)[::times, ::times], np.rint(images.mean(axis=0)))
    assert heat.size == mean.size
    for other in (finished(runner, job()).id, None, "gone"):
        hidden, *rest = does.spread(other)
        assert (hidden["visible"], rest) == (False, ["", None, None])


def test_the_uncertainty_of_less_noise(does: Handlers, runner: Runner) -> None:
    """If this fails, the panel shows another uncertainty than the library where a method has a temperature."""
    half = replace(WALK, temperature=0.5)
    several = finished(runner, job(seeds=(3, 4, 5), method=half))
    images = np.stack([np.asarray(result.image) for result in several.results]).astype(float)
    mean = images.mean(axis=0)
    wide = np.clip(mean + 2 * (images - mean), 0, 255)
    spread = np.sqrt(wide.var(axis=0, ddof=1).mean(axis=-1))
    assert does.spread(several.id)[1].startswith(f"3 images. Uncertainty: mean {spread[HOLE].mean():.3g}, ")


def test_no_schedule_is_the_priors_own(does: Handlers, runner: Runner, tmp_path: Path) -> None:
    """If this fails, the page ignores the default of a prior, or a recipe does not name the schedule that was used."""
    runner.pipe("tiny").prior.default_schedule = "corrected"  # type: ignore[misc]
    its, plain = photo(), ("", False, 6, 2, 2, None, 0)
    assert "99 model calls" in does.plan(its, "tiny", 1, *plain)[1]
    assert "25 model calls" in does.plan(its, "classes", 1, *plain)[1]
    _, run_id = does.start(its, canvas(its), "tiny", "", "", 0, 0, 5, 1, *plain, "Fill", 4)
    asked = runner.find(run_id)
    assert (asked.job.preset, asked.job.model_calls) == ("corrected", 99)
    assert asked.ended.wait(LONG)
    command = json.loads(bundle(asked, 0, tmp_path)["recipe"].read_text())["command"]
    assert "--schedule=corrected" in command


def test_a_page_that_looks_elsewhere_stops_looking(gated: tuple[Runner, Gated]) -> None:
    """If this fails, two runs alternately update one page."""
    runner, prior = gated
    does = Handlers(runner)
    runs = [runner.submit(job()) for _ in range(2)]
    request = gr.Request(session_hash="page")
    first, second = (does.watch(watched.id, request) for watched in runs)
    begins = next(first)
    assert begins[5]["value"] is None  # no result yet, and the list keeps its choices for late events of another run
    assert "choices" not in begins[5]
    next(first)
    next(second)
    assert list(first) == []
    for watched in runs:
        runner.cancel(watched.id)
    prior.allow(1)
    assert "Cancelled" in list(second)[-1][0]


def test_a_page_may_look_at_an_ended_run_in_between(gated: tuple[Runner, Gated]) -> None:
    """If this fails, choosing an ended run while another is watched ends in an error on the page."""
    runner, prior = gated
    does, request = Handlers(runner), gr.Request(session_hash="page")
    running, ended = (runner.submit(job()) for _ in range(2))
    watching = does.watch(running.id, request)
    next(watching)
    runner.cancel(ended.id)
    assert ended.ended.wait(LONG)
    assert "Cancelled" in list(does.watch(ended.id, request))[-1][0]
    assert list(watching) == []
    runner.cancel(running.id)
    prior.allow(1)
    assert does._watching == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: None}, "There is no picture to fill"),
        ({1: None}, "The mask is empty"),
        ({3: "<b>cat</b>"}, "prompt=&#x27;&lt;b&gt;cat&lt;/b&gt;&#x27; must be empty for the prior tiny"),
        ({7: None}, "seed=None and images=1 must be whole numbers"),
        ({7: -1}, "seed=-1 must be an integer from 0 to"),
        ({11: 0}, "steps=0 must be an integer of at least 1"),
        ({12: 0}, "jump_length=0 and jump_n_sample=2 must be at least 1"),
        ({12: None}, "steps, jump_length and jump_n_sample in the schedule editor must be whole numbers"),
        ({12: 7}, "jump_length=7 must allow a jump within"),
    ],
)
def test_bad_settings_are_told_on_the_page(does: Handlers, changes: dict[int, Any], message: str) -> None:
    """If this fails, a wrong setting shows a traceback or nothing, or markup in an input is executed."""
    picture = photo()
    values: list[Any] = [picture, canvas(picture), "tiny", "", "", 0, 0, 0, 1, *SCHEDULE, "Fill", 4]
    for place, value in changes.items():
        values[place] = value
    with pytest.raises(gr.Error, match=message.replace("(", r"\(")):
        does.start(*values)


def test_an_audit_of_any_result(does: Handlers, tmp_path: Path) -> None:
    """If this fails, changed pixels of an uploaded result are reported as equal."""
    before = np.asarray(photo().image)
    after = before.copy()
    after[0, 0] ^= 4
    files = [
        str(saved(tmp_path, name, Image.fromarray(pixels)))
        for name, pixels in {
            "after.png": after,
            "before.png": before,
            "mask.png": np.where(HOLE, np.uint8(255), np.uint8(0)),
        }.items()
    ]
    assert "Kept pixels changed." in Auditor(does.runner).audit_upload(*files)[0]
    assert "1 (0.62%)" in Auditor(does.runner).audit_upload(*files)[0]
    with pytest.raises(gr.Error, match="An audit needs three files"):
        Auditor(does.runner).audit_upload(files[0], None, files[2])


@pytest.mark.parametrize("orientation", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(16, 12), (14, 14)])
def test_an_audit_of_a_turned_photograph(
    runner: Runner, tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    """If this fails, the audit compares the result with the pixels before their EXIF rotation, and reports changes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    taken = read_photo(saved(tmp_path, "turned.png", photo(size=size).image, exif=exif))
    hole = np.zeros(taken.size, bool)
    hole[3:6, 3:6] = True
    done = finished(runner, job(photo=taken, hole=hole))
    assert "No kept pixel changed." in Auditor(runner).audit_run(done.id, 0)[0]
    assert f"{hole.size - 9}" in Auditor(runner).audit_run(done.id, 0)[0]


def test_the_walk_is_marked_where_the_run_stands(runner: Runner) -> None:
    """If this fails, the mark is outside the plot, or drawn without a run."""
    done = finished(runner, job())
    assert "class='mark'" not in walk_html(WALK.schedule)
    left, top = (float(part.split("%")[0].split(":")[1]) for part in walk_html(done).split("style='")[1].split(";")[:2])
    assert 90 < left < 100
    assert 60 < top < 100


# Served routes


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as chosen:  # another port for each process of the tests, which start studios at the same time
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    app, does, url = server.serve(lambda _: tiny_pipe(), [], port=port)
    yield url
    app.close()
    does.close()


def status(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=LONG) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "file:///etc/passwd",
        "//etc/passwd",
        str(Path(__file__).resolve()),
        str(Path(__file__).resolve().parents[2] / "README.md"),
        "pyproject.toml",
        "http://127.0.0.1:1/etc/passwd",
    ],
)
def test_no_file_of_the_machine_is_served(address: str, path: str) -> None:
    """If this fails, anyone who reaches the port can read the disk."""
    code, body = status(f"{address}/gradio_api/file={path}")
    assert code in (403, 404)
    assert b"root:" not in body


def test_every_answer_forbids_other_hosts(address: str) -> None:
    """If this fails, the page may load fonts or scripts from other hosts, which reveals its users."""
    with urllib.request.urlopen(address, timeout=LONG) as answer:
        policy = answer.headers["content-security-policy"]
    assert policy == guard.POLICY
    assert "http:" not in policy
    assert "https:" not in policy


def test_an_upload_over_the_limit_is_refused(address: str) -> None:
    """If this fails, one upload fills the disk."""
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body += b"0" * (inputs.MAX_BYTES + 1000) + b"\r\n--x--\r\n"
    request = urllib.request.Request(
        f"{address}/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=LONG)
    assert refused.value.code == 413


def test_ports_and_hosts() -> None:
    """If this fails, a port in use ends in a traceback, or the studio opens to a network without a password."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Cannot listen on 127.0.0.1, port {port}: .*in use"):
            server.free_port("127.0.0.1", port)
    with pytest.raises(InputError, match=r"Cannot listen on 127.0.0.1, port 70000"):
        server.free_port("127.0.0.1", 70000)
    with pytest.raises(InputError, match=r"--host 0.0.0.0 needs --password"):
        server.serve(lambda _: tiny_pipe(), host="0.0.0.0")


def test_a_busy_first_port_leads_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a second studio does not start beside the first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(server, "FIRST_PORT", taken.getsockname()[1])
        assert server.free_port("127.0.0.1", None) > taken.getsockname()[1]


def test_a_port_that_is_taken_during_the_start_leads_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, two studios that start at once choose the same port, and one ends in a traceback."""
    first = server.free_port("127.0.0.1", None)
    monkeypatch.setattr(server, "FIRST_PORT", first)
    with socket.socket() as other:
        asked = []

        def launch(server_port: int) -> None:
            asked.append(server_port)
            if len(asked) == 1:  # another program listens now
                other.bind(("127.0.0.1", server_port))
                other.listen()
                raise OSError("Cannot find empty port")

        assert server._on_free_port(launch, "127.0.0.1", None) == asked[1] > asked[0] == first

    def broken(server_port: int) -> None:
        raise OSError(f"port {server_port} is free, but")

    with pytest.raises(OSError, match="is free, but"):
        server._on_free_port(broken, "127.0.0.1", None)


def test_the_command_without_gradio_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """If this fails, an installation without gradio shows a traceback."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["repaint", "studio"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert "pip install gradio" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_studio_that_is_ended_removes_its_files(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """If this fails, uploads stay on the disk when a service manager or a closed terminal ends the studio."""

    def ended() -> None:
        assert callable(signal.getsignal(number))
        signal.raise_signal(number)

    closed: list[bool] = []
    parts = SimpleNamespace(block_thread=ended), SimpleNamespace(close=lambda: closed.append(True)), "http://address"
    monkeypatch.setattr(server, "serve", lambda *_given, **_named: parts)
    monkeypatch.setattr(sys, "argv", ["repaint", "studio", "--device", "cpu", "--dtype", "float32", "--threads", "1"])
    before = signal.signal(number, signal.SIG_DFL)  # nohup ignores SIGHUP, and so would the studio
    try:
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert left.value.code == 128 + number
    assert closed == [True]


@pytest.mark.slow
def test_twenty_runs_of_five_clients(tmp_path: Path) -> None:
    """If this fails, runs are lost or mixed up between several open pages."""
    from concurrent.futures import ThreadPoolExecutor

    from gradio_client import Client, handle_file

    tiny_folder_pipeline().save_pretrained(tmp_path / "tiny")
    brick = sample("textures:brick")
    hole = np.zeros(brick.size, bool)
    hole[20:40, 20:40] = True
    background = saved(tmp_path, "background.png", brick.canvas())
    layer = saved(tmp_path, "layer.png", paint(hole, brick, (228, 0, 127)))
    editor = {"background": handle_file(background), "layers": [handle_file(layer)], "composite": None}

    def visit(url: str, number: int) -> dict[int, Any]:
        client = Client(url, verbose=False, download_files=False)
        client.predict("textures:brick", api_name="/sample")
        found, runs = {}, {}
        for seed in range(4 * number, 4 * number + 4):
            settings = (editor, str(tmp_path / "tiny"), "", "", 0, 0, seed, 1, "fast", True, 6, 2, 2, None, 0)
            runs[seed] = client.predict(*settings, api_name="/start")[0]["value"]
        for seed, run_id in runs.items():
            client.predict(run_id, api_name="/watch")
            files = client.predict(run_id, 0, api_name="/result")[1]["value"]
            path = next(file["path"] for file in files if file["path"].endswith("result.png"))
            code, body = status(f"{url}/gradio_api/file={path}")
            assert code == 200, path
            found[seed] = np.asarray(Image.open(io.BytesIO(body)))
        return found

    with studio("--prior", tmp_path / "tiny", "--dtype", "float32") as url, ThreadPoolExecutor(5) as pool:
        found = pool.map(partial(visit, url), range(5))
        results = {seed: image for images in found for seed, image in images.items()}
    fast = replace(Method.from_preset("fast"), schedule=JumpSchedule.paper(6, 2, 2))
    mask = np.where(hole, np.uint8(255), np.uint8(0))
    alone = [
        np.asarray(tiny_pipe()(brick.image, mask, schedule=fast, generator=seed).images[0]).astype(int)
        for seed in range(20)
    ]
    for seed in range(20):
        # Another process can round differently, by 1 of 255. Results of other seeds differ by far more.
        apart = [np.abs(results[seed] - other).max() for other in alone]
        assert apart[seed] <= 1
        assert min(apart[:seed] + apart[seed + 1 :]) > 20
        assert np.array_equal(results[seed][~hole], np.asarray(brick.image)[~hole])


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_is_extended_on_the_canvas(tmp_path: Path, orientation: int) -> None:
    """If this fails, the new space is on another side, the painted mask moves, or the picture itself changes."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.asarray(photo().image)).save(tmp_path / "photo.png", exif=exif)
    before = read_photo(tmp_path / "photo.png")
    hole = np.zeros(before.size, dtype=bool)
    hole[2:5, 1:4] = True
    layers = {"layers": [np.asarray(paint(hole, before))]}
    larger, canvas, about = extend(before, layers, 5, 0, 3, None)
    height, width = before.size
    assert larger.size == (height + 3, width + 5)
    assert about.startswith(f"photo.png, extended: {width + 5} x {height + 3} pixels")
    found = painted(canvas["layers"], larger)
    expected = np.ones(larger.size, dtype=bool)
    expected[3:, 5:] = hole
    assert np.array_equal(found, 255 * expected)
    assert np.array_equal(np.asarray(inputs.shown(larger.image))[3:, 5:], np.asarray(inputs.shown(before.image)))
    with pytest.raises(gr.Error, match="nothing to add"):
        extend(before, layers, 0, 0, 0, 0)
    with pytest.raises(gr.Error, match="more than 33554432 pixels"):
        extend(before, layers, 4000, 4000, 4000, 4000)
