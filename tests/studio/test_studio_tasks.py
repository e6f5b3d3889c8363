"""What the studio makes of a picture beside one fill: graded brushes, restoring, removing, and two presets compared."""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from helpers.shell import Run as Shell
from helpers.shell import folder, run
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import Image

from repaint import cli
from repaint.pictures.fills import Fills
from repaint.pipeline import RePaintPipeline
from repaint.removal import remove
from repaint.sampling.rng import antithetic_seed
from repaint.studio import inputs, views
from repaint.studio.app import build
from repaint.studio.canvas import clear, find_damage, fit_brush, invert, take_mask
from repaint.studio.comparing import Comparison
from repaint.studio.exploring import Explorer
from repaint.studio.handlers import Handlers
from repaint.studio.inputs import Photo, read_photo
from repaint.studio.jobs import Run
from repaint.studio.painting import PINK, graded, grown, paint, painted
from repaint.studio.recipe import bundle
from repaint.studio.run import Runner
from repaint.studio.views import label, progress_html, tree_html

__all__ = ["folder", "run"]

SHARES = np.zeros((16, 12), np.uint8)
SHARES[4:9, 3:9] = 255
HOLE = SHARES > 0
SCHEDULE = ("fast", True, 6, 2, 2, None, 0)
LONG = 20  # seconds


def photo(pixels: np.ndarray | None = None) -> Photo:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8) if pixels is None else pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return Photo(file.getvalue(), ".png", Image.fromarray(pixels), "noise")


@pytest.fixture
def does() -> Iterator[Handlers]:
    handlers = Handlers(Runner(lambda _: tiny_pipe(), ["tiny"]))
    yield handlers
    handlers.close()


def ran(does: Handlers, shares: np.ndarray, *task: Any, seeds: int = 1, on: Photo | None = None) -> Run:
    """The finished run of a page with this paint."""
    canvas = {"layers": [np.asarray(paint(shares, photo()))]}
    _, run_id = does.start(on or photo(), canvas, "tiny", "", "", 0, 0, 5, seeds, *SCHEDULE, *(task or ("Fill", 0)))
    run = does.runner.find(run_id)
    assert run.ended.wait(LONG)
    assert run.status == "done", run.message
    return run


def test_grey_paint_is_a_share() -> None:
    """If this fails, a grey brush changes a pixel fully, or not at all."""
    shares, picture = SHARES.copy(), photo()
    shares[4], shares[5, 3:9], shares[6, 3] = 64, 128, 191
    layer = np.asarray(paint(shares, picture)).copy()
    assert np.array_equal(painted([layer], picture), shares)
    assert np.array_equal(graded(shares), shares)
    assert graded(SHARES) is None
    layer[..., 3] = layer[..., 3] // 3  # barely painted
    assert not painted([layer], picture).any()


@pytest.mark.parametrize("most", [255, 128])
def test_a_graded_run_is_the_pipelines(
    does: Handlers, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, grey paint is ignored, progress is wrong, or the recipe gives another picture."""
    shares = np.where(SHARES, np.uint8(most), np.uint8(0))
    shares[4:6] //= 2
    run = ran(does, shares)
    own = {"schedule": run.job.method, "strength": Image.fromarray(shares), "generator": 5}
    expected = tiny_pipe()(photo().image, run.job.mask, **own)
    assert np.array_equal(run.results[0].image, expected.images[0])
    assert (run.calls, run.position) == (expected.model_calls, len(run.job.method.moves))
    assert (expected.model_calls == 10) == (most == 255)
    _, branch = Explorer(does).branch(run.id, 0, 50, "one large jump", 2, 1, 9, 1)
    assert does.runner.find(branch).ended.wait(LONG)
    assert does.runner.find(branch).status == "done"
    reproduced(run, 0, tmp_path, monkeypatch)


@pytest.mark.parametrize(("side", "radius"), [(16, 28), (64, 19), (256, 11), (1448, 60)])
def test_the_brush_fits_the_picture(side: int, radius: int) -> None:
    """If this fails, the brush covers a quarter of a small photograph, or is thinner than a pixel of it."""
    picture = photo(np.zeros((side, side // 2, 3), np.uint8))
    update = fit_brush(picture)
    assert (update["brush"].default_size, update["eraser"].default_size) == (radius, radius)
    assert radius >= picture.magnified
    assert fit_brush(None)["__type__"] == "update"


def reproduced(run: Run, index: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command of a recipe, and compare its bytes."""
    files = bundle(run, index, folder)
    before = files["result"].read_bytes()
    files["result"].unlink()
    tiny_folder_pipeline().save_pretrained(folder / "tiny")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", shlex.split(json.loads(files["recipe"].read_text())["command"]))
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code in (0, None)
    assert files["result"].read_bytes() == before


def test_restoring_averages(does: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Restore gives one of several images, or its recipe another mean."""
    run = ran(does, SHARES, "Restore", 0, seeds=3)
    (result,) = run.results
    seeds = 5, antithetic_seed(5), 6
    alone = [tiny_pipe()(photo().image, HOLE, schedule=run.job.method, generator=s).images[0] for s in seeds]
    mean = np.asarray(Fills.from_images(alone, HOLE).mean().output("pil")).astype(int)
    assert np.abs(np.asarray(result.image).astype(int) - mean).max() <= 1  # they are rounded before this mean
    assert np.array_equal(np.asarray(result.image)[~HOLE], np.asarray(photo().image)[~HOLE])
    assert run.calls == run.job.model_calls
    assert "Restore, own walk, mean of 3 from seed 5: done" in label(run)  # its seeds are not consecutive
    assert "mean of 3, seed 5, 10 model calls" in tree_html([run], run)
    run.status = "running"
    assert ", image " not in progress_html(run)  # all at once
    run.status = "done"
    assert [name for name, _ in list(does.watch(run.id, gr.Request(session_hash="a")))[-1][5]["choices"]] == [
        "mean of 3"
    ]
    with pytest.raises(gr.Error, match="no kept states"):
        Explorer(does).branch(run.id, 0, 50, "new noise", 0, 0, 9, 1)
    reproduced(run, 0, tmp_path, monkeypatch)


def test_removing_ranks(does: Handlers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, Remove does not grow its mask, or puts another image first than `repaint.removal.remove`."""
    run = ran(does, SHARES, "Remove", 2, seeds=4)
    assert np.array_equal(run.job.hole, grown(HOLE, 2))
    assert run.job.hole.sum() > HOLE.sum()
    found = remove(photo().image, HOLE, prior=tiny_pipe(), margin=2, candidates=4, generator=5, schedule=run.job.method)
    assert [result.seed for result in run.results] == [one.seed for one in found]
    assert (
        list(does.watch(run.id, gr.Request(session_hash="a")))[-1][5]["choices"][0][0] == f"best, seed {found[0].seed}"
    )
    reproduced(run, 0, tmp_path, monkeypatch)


def test_tasks_refuse_what_they_cannot_do(does: Handlers) -> None:
    """If this fails, equal images are drawn, or greys are ignored, without a word."""
    canvas = {"layers": [np.asarray(paint(SHARES, photo()))]}
    with pytest.raises(gr.Error, match="images=2 at temperature=0 would give equal results"):
        does.start(photo(), canvas, "tiny", "", "", 0, 0, 5, 2, "mean", *SCHEDULE[1:], "Restore", 0)
    assert ran(does, SHARES, "Restore", 0).job.task == "Fill"  # one image has no mean
    with pytest.raises(gr.Error, match="parts of it are painted in grey"):
        ran(does, np.where(SHARES, np.uint8(64), np.uint8(0)), "Remove", 0, seeds=4)
    assert does.task("Restore")[0] == "mean"
    assert does.task("Fill")[1]["value"] == 1


def test_warnings_of_the_canvas_are_shown_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a warning about found damage or an uploaded mask appears only in the server's terminal."""
    shown: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda text, **_more: shown.append(text))
    find_damage(photo(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)), 0.9, "both")
    assert len(shown) == 1
    assert "of the picture looks damaged" in shown[0]
    layer = np.full((16, 16, 4), 255, np.uint8)
    layer[:2, :, 3] = 0
    Image.fromarray(layer).save(tmp_path / "mask.png")
    take_mask(photo(layer[..., :3]), str(tmp_path / "mask.png"))
    assert len(shown) == 2
    assert "is read from its alpha" in shown[1]


def test_a_large_picture_is_painted_reduced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If this fails, a mask of a large picture loses its detail, or paint on the reduced canvas lies elsewhere."""
    monkeypatch.setattr(inputs, "CANVAS_PIXELS", 16 * 13)
    monkeypatch.setattr(inputs, "CANVAS", 47)
    monkeypatch.setattr(views, "SHOWN", 47)
    large = photo(np.random.default_rng(0).integers(0, 256, (47, 38, 3), dtype=np.uint8))
    assert (large.reduced, large.canvas().size, views.displayed(large.image).size) == (3, (13, 16), (13, 16))
    shares = np.random.default_rng(1).choice([0, 0, 0, 64, 255], (47, 38)).astype(np.uint8)
    drawn, layer = replace(large, drawn=shares), np.asarray(paint(shares, large)).copy()
    assert np.array_equal(painted([layer], drawn), shares)
    layer[3, 5] = (*PINK, 255)  # a brush
    layer[7, 5] = 0  # the eraser
    expected = shares.copy()
    expected[9:12, 15:18], expected[21:24, 15:18] = 255, 0
    assert np.array_equal(painted([layer], drawn), expected)

    inverted, canvas = invert(drawn, {"layers": [layer]})
    assert np.array_equal(painted(canvas["layers"], inverted) > 0, expected == 0)
    cleared, canvas = clear(inverted)
    assert not painted(canvas["layers"], cleared).any()
    Image.fromarray(expected > 128).save(tmp_path / "mask.png")
    masked, canvas = take_mask(large, str(tmp_path / "mask.png"))
    assert np.array_equal(painted(canvas["layers"], masked) > 0, expected > 128)


def test_found_damage_is_shown_on_the_canvas() -> None:
    """If this fails, the mask that Restore finds cannot be corrected, or lies elsewhere."""
    pixels = np.full((64, 48, 3), 90, np.uint8)
    pixels[10:50, 20] = 250
    _, canvas, about = find_damage(photo(pixels), 0.5, "both")
    found = painted(canvas["layers"], photo(pixels)) == 255
    assert found[10:50, 20].all()
    assert not found[:, :15].any()
    assert about.startswith(f"Damage found: {found.mean():.1%} of the picture. Correct the mask")
    assert find_damage(photo(np.full((64, 48, 3), 90, np.uint8)), 0.5, "both")[2].startswith("No damage was found.")
    with pytest.raises(gr.Error, match="There is no picture"):
        find_damage(None, 0.5, "both")


def test_two_presets_side_by_side(does: Handlers) -> None:
    """If this fails, the two sides differ in more than the preset, or a side shows the cost of the other."""
    canvas = {"layers": [np.asarray(paint(SHARES, photo()))]}
    both = Comparison(does)
    ids, runs = both.start(photo(), canvas, "tiny", "", "", 0, 0, 5, "fast", "turbo")
    assert [value for _, value in runs["choices"]] == ids[::-1]
    updates = list(both.watch(ids))
    line, _, other_line, _ = updates[-1]
    image, other_image = ([part[i] for part in updates if isinstance(part[i], Image.Image)][-1] for i in (1, 3))
    assert [part[1] for part in updates].count(None) <= 1  # a picture that was sent is not taken back, nor sent again
    for preset, text, picture in (("fast", line, image), ("turbo", other_line, other_image)):
        expected = tiny_pipe()(photo().image, HOLE, schedule=preset, generator=5)
        assert f"{preset}: {expected.model_calls} model calls, " in text
        assert "seed 5" in text
        times = picture.width // 12
        assert np.array_equal(np.asarray(picture)[::times, ::times], np.asarray(expected.images[0]))
    both.cancel(ids)
    with pytest.raises(gr.Error, match="The mask is empty"):
        both.start(photo(), None, "tiny", "", "", 0, 0, 5, "fast", "turbo")


@pytest.fixture
def at_first(does: Handlers) -> dict[str, Any]:
    """Label to value of the fields of a page that was just opened."""
    components = build(does).blocks.values()
    return {str(each.label): each.value for each in components if isinstance(each, gr.components.FormComponent)}


@pytest.mark.parametrize(("task", "bits"), [("Restore", 16), ("Remove", 8)])
def test_tasks_have_the_defaults_of_the_commands(
    at_first: dict[str, Any], run: Shell, task: str, bits: int, folder: Path, request: pytest.FixtureRequest
) -> None:
    """If this fails, the studio restores or removes with other settings than the command, and gives another picture."""
    pixels = np.full((64, 48), 90 * 257, np.uint16)
    pixels += np.random.default_rng(0).integers(0, 20 * 257, pixels.shape, dtype=np.uint16)
    pixels[10:50, 20] = 240 * 257
    picture = Image.fromarray(pixels if bits == 16 else (pixels >> 8).astype(np.uint8))
    picture.save("scan.png")
    white = np.zeros((64, 48), bool)
    white[20:30, 10:20] = True
    Image.fromarray(white).save("object.png")
    tiny_folder_pipeline().save_pretrained(folder / "tiny")
    does = Handlers(Runner(lambda _: RePaintPipeline.from_pretrained(folder / "tiny"), ["tiny"]))
    request.addfinalizer(does.close)
    given = ["--out", "result.png", "--prior", "tiny", "--device", "cpu", "--dtype", "float32"]
    mask = ["object.png"] if task == "Remove" else []
    assert run(task.lower(), "scan.png", *mask, *given).status == 0

    opened = read_photo("scan.png")
    canvas = {"layers": [np.asarray(paint(white, opened))]}
    if task == "Restore":
        opened, canvas, _ = find_damage(opened, at_first["Sensitivity"], at_first["Damage is"])
    preset, images, margin, _ = does.task(task)
    assert not {"value"} & set(margin)  # its value is the one of the page at first
    schedule = [preset, *SCHEDULE[1:]]
    schedule[1] = False
    settings = [at_first["Seed"], images["value"], *schedule, task, at_first["Grow the mask, pixels"]]
    _, run_id = does.start(opened, canvas, "tiny", "", "", 0, 0, *settings)
    made = does.runner.find(run_id)
    assert made.ended.wait(LONG)
    assert made.status == "done", made.message
    assert np.array_equal(made.results[0].image, Image.open("result.png"))
