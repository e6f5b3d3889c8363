"""Many images: the same bytes for any split of the work, the settings file, and bad files among good ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.kills import launched, workers
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from PIL import ExifTags, Image, ImageOps

from repaint import Crop, RePaintPipeline, cli
from repaint.errors import InputError, OutOfMemory
from repaint.folders.filling import run
from repaint.folders.result_folder import SETTINGS, check_settings
from repaint.folders.tasks import batches, tasks
from repaint.placement import Halving
from repaint.sampling.method import as_method

SIZES = [(12, 14)] * 5 + [(16, 10)] * 3  # height, width
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    tiny_folder_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with eight photographs of two sizes, their masks, and a short schedule."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    for i, (height, width) in enumerate(SIZES):
        photo = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        hole = np.zeros((height, width), bool)
        hole[3:8, 2 + i % 3 : 8] = True
        Image.fromarray(photo).save(f"photos/p{i}.png")
        Image.fromarray(hole).save(f"masks/p{i}.png")
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    Path("three.yaml").write_text("steps: 3\nspacing: linspace\n")
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], prior: Path) -> Call:
    """`repaint inpaint` in this process: (exit status, stdout, stderr)."""

    def inpaint(*arguments: object, schedule: str = "two.yaml") -> tuple[int, str, str]:
        common = ["--prior", prior, "--schedule", schedule, "--device", "cpu"]
        plain = ["--dtype", "float32"]  # whatever the processor
        monkeypatch.setattr(sys, "argv", ["repaint", "inpaint", *plain, *map(str, [*arguments, *common])])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (int(left.value.code or 0), *capsys.readouterr())

    return inpaint


def results(folder: str | Path) -> dict[str, bytes]:
    """The contents of a folder of results, without hidden files that a kill may leave behind."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if not path.name.startswith(".")}


def test_a_folder_with_masks(folder: Path, call: Call, prior: Path) -> None:
    """If this fails, an image gets the mask or seed of another, or its kept pixels change."""
    status, stdout, _ = call("photos", "masks", "--out", "out", "--seed", 5, "--json")
    report = json.loads(stdout)
    assert status == 0
    assert (report["filled"], report["found"], report["failed"]) == (8, 0, 0)
    assert sorted(results("out")) == [*(f"p{i}.png" for i in range(8)), SETTINGS]
    assert len({entry["seed"] for entry in report["images"]}) == 8
    pipe = RePaintPipeline.from_pretrained(prior)
    pipe.set_progress_bar_config(disable=True)
    for entry in report["images"]:
        assert Path(entry["mask"]).name == Path(entry["image"]).name == Path(entry["out"]).name
        before, after = np.asarray(Image.open(entry["image"])), np.asarray(Image.open(entry["out"]))
        hole = np.asarray(Image.open(entry["mask"]))
        assert np.array_equal(before[~hole], after[~hole])
        options = {"schedule": "two.yaml", "generator": entry["seed"], "output_type": "np"}
        alone = pipe(entry["image"], entry["mask"], **options).images[0]
        # A batch of another size may round a value differently; noise of another seed is off by tens.
        assert np.abs(alone.astype(int) - after).max() <= 1


def test_the_same_bytes_however_it_is_cut(folder: Path, call: Call) -> None:
    """If this fails, results depend on shards, patterns, or interruptions."""
    call("photos", "masks", "--out", "whole")
    whole = results("whole")
    for i in (3, 1, 2):
        assert call("photos", "masks", "--out", "shards", "--shard", f"{i}/3", "--batch-size", 8)[0] == 0
    assert results("shards") == whole
    call("photos", "masks", "--out", "again")
    for name in ("p1.png", "p6.png"):
        Path("again", name).unlink()
    Path("again", "p4.png").write_bytes(whole["p4.png"][:90])
    status, stdout, _ = call("photos", "masks", "--out", "again")
    assert (status, stdout) == (0, "3 filled, 5 already filled. Results: again\n")
    assert results("again") == whole
    status, stdout, _ = call("photos", "masks", "--out", "again")
    assert stdout == "8 already filled. Results: again\n"
    call("photos/p[0-4].png", "masks", "--out", "pattern")  # all those of one size: the same batches
    call(*(f"photos/p{i}.png" for i in range(5)), "masks", "--out", "listed")
    assert results("pattern") == results("listed")
    assert results("pattern").items() < whole.items()


def test_one_mask_for_all(folder: Path, call: Call) -> None:
    """If this fails, a single mask is used for the first image only, or an image of another size ends the run."""
    status, stdout, stderr = call("photos", "masks/p0.png", "--out", "out", "--json")
    report = json.loads(stdout)
    assert (status, report["filled"], report["failed"]) == (2, 5, 3)
    assert sorted(results("out")) == [*(f"p{i}.png" for i in range(5)), SETTINGS]
    reason = "is 12 x 14 and its image 16 x 10 (height x width): a mask is never resized."
    assert all(f"photos/p{i}.png: mask_image masks/p0.png {reason}" in stderr for i in (5, 6, 7))
    assert [reason in entry.get("reason", "") for entry in report["images"]] == [False] * 5 + [True] * 3


def test_one_map_of_strengths_for_all(folder: Path, call: Call) -> None:
    """If this fails, a map of strengths is checked against the size of a picture that nobody gave."""
    images = [f"photos/p{i}.png" for i in range(5)]
    Image.fromarray(np.full(SIZES[0], 128, np.uint8)).save("map.png")
    status, stdout, stderr = call(*images, "masks/p0.png", "--out", "out", "--strength", "map.png")
    assert (status, stdout) == (0, "5 filled. Results: out\n"), stderr
    assert call(*images, "masks/p0.png", "--out", "none", "--strength", "no.png")[0] == 2
    assert not Path("none").exists()
    status, stdout, stderr = call("photos", "masks/p0.png", "--out", "all", "--strength", "map.png")
    assert (status, stdout) == (2, "5 filled, 3 failed. Results: all\n"), stderr


def test_masks_are_read_as_in_a_single_call(folder: Path) -> None:
    """If this fails, a folder inverts its masks, keeps grey pixels soft, or ignores how a photograph is turned."""
    stored, hole = np.random.default_rng(1).integers(0, 256, (12, 14, 3), dtype=np.uint8), np.zeros((12, 14), bool)
    hole[2:6, 3:12] = True
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in ("phone/sub", "kept/sub"):
        Path(name).mkdir(parents=True)
    Image.fromarray(stored).save("phone/sub/a.png", exif=exif)
    Image.fromarray(np.where(hole, 60, 200).astype(np.uint8)).save("kept/sub/a.png")  # drawn on the stored pixels
    todo = tasks([Path("phone")], Path("kept"), Path("out"), 0, recursive=True)
    for status in ("filled", "found"):
        (done,) = run(tiny_pipe(), [todo], as_method("two.yaml"), {}, keep_mask=True, threshold=0.5)
        assert done.status == status, done.reason
    after = np.rot90(np.asarray(ImageOps.exif_transpose(Image.open("out/sub/a.png"))))
    assert np.array_equal(stored[~hole], after[~hole])
    assert (stored[hole] != after[hole]).any(axis=1).mean() > 0.9


def test_a_seed_gives_its_results(folder: Path) -> None:
    """If this fails, a folder has the same results for every seed."""
    images = [Path("a.png"), Path("b.png")]
    Path("mask.png").touch()
    first, second = ({task.seed for task in tasks(images, Path("mask.png"), Path("out"), seed)} for seed in (0, 1))
    assert len(first | second) == 4


def test_a_missing_mask_for_all_is_one_line(folder: Path, call: Call) -> None:
    """If this fails, a typing error in the name of the mask is reported once for each of thousands of images."""
    status, _, stderr = call("photos", "mask.png", "--out", "out")
    assert (status, stderr.count("\n")) == (2, 1)
    assert stderr.startswith("repaint: No file mask.png. Check the path")
    assert not Path("out").exists()


def test_a_bad_file_is_named_once(folder: Path, call: Call) -> None:
    """If this fails, a line begins with the name of the file twice."""
    first, second = (Image.open(f"photos/p{i}.png").quantize() for i in (0, 1))
    Path("moving").mkdir()
    first.save("moving/a.gif", save_all=True, append_images=[second])
    status, _, stderr = call("moving", "masks/p0.png", "--out", "out")
    assert status == 2
    assert stderr.startswith("moving/a.gif has 2 frames: "), stderr
    assert "moving/a.gif: " not in stderr


def test_a_bad_file_among_many(folder: Path, call: Call) -> None:
    """If this fails, one damaged file ends the run, or is silently skipped."""
    whole = Path("photos/p2.png").read_bytes()
    Path("photos/p2.png").write_bytes(whole[:60])
    Path("masks/p6.png").write_text("no mask")
    status, stdout, stderr = call("photos", "masks", "--out", "out")
    assert (status, stdout) == (2, "6 filled, 2 failed. Results: out\n")
    assert "photos/p2.png: Cannot " in stderr
    assert "photos/p6.png: Cannot open masks/p6.png: " in stderr
    Path("photos/p2.png").write_bytes(whole)
    assert call("photos", "masks", "--out", "out")[:2] == (2, "1 filled, 6 already filled, 1 failed. Results: out\n")


def test_other_settings_never_mix(folder: Path, call: Call) -> None:
    """If this fails, a folder mixes results of two schedules or seeds."""
    call("photos", "masks", "--out", "out")
    Path("out/p3.png").unlink()
    before = results("out")
    for options, schedule, message in (
        (["--seed", 1], "two.yaml", "seed was 0 and is now 1"),
        ([], "three.yaml", "method.name was 'two' and is now 'three'; method.steps was 2 and is now 3; method."),
        (["--dtype", "bfloat16"], "two.yaml", "dtype was 'float32' and is now 'bfloat16'"),
    ):
        status, stdout, stderr = call("photos", "masks", "--out", "out", *options, schedule=schedule)
        assert (status, stdout) == (2, "")
        assert f"repaint: out was made with other settings: {message}" in stderr
        assert "or --overwrite to replace its results." in stderr
        assert results("out") == before
    assert call("photos", "masks", "--out", "out", "--overwrite")[1] == "1 filled, 7 already filled. Results: out\n"
    assert call("photos", "masks", "--out", "out", "--seed", 1, "--overwrite")[1] == "8 filled. Results: out\n"
    call("photos", "masks", "--out", "fresh", "--seed", 1)
    assert results("out") == results("fresh")


def test_overwrite_replaces_only_what_the_run_writes(folder: Path, call: Call) -> None:
    """If this fails, --overwrite deletes the results of another run, or the user's own files."""
    call("photos", "masks", "--out", "out")
    call("photos", "masks", "--out", "out/nested")
    Path("out/notes").mkdir()
    Path("out/notes/.draft.png").write_bytes(b"mine")
    nested = results("out/nested")
    assert call("photos", "masks", "--out", "out", "--seed", 1, "--overwrite")[1] == "8 filled. Results: out\n"
    assert results("out/nested") == nested
    assert Path("out/notes/.draft.png").read_bytes() == b"mine"

    Path("out/notes/sketch.png").write_bytes(b"mine")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    for images, named in (
        ("photos", f"1 image that --overwrite would not replace ({Path('notes/sketch.png')})"),
        ("photos/p[0-3].png", "5 images that --overwrite would not replace (notes/sketch.png, p4.png, p5.png, ...)"),
    ):
        status, _, stderr = call(images, "masks", "--out", "out", "--seed", 2, "--overwrite")
        assert (status, stderr.count("\n")) == (2, 1)
        assert f"repaint: out has {named}" in stderr
        assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def test_a_result_of_another_mask_is_not_taken_for_done(folder: Path, call: Call) -> None:
    """If this fails, the old result of a changed mask or image is kept without an error."""
    call("photos", "masks", "--out", "out")
    before = results("out")
    Image.fromarray(np.eye(12, 14, dtype=bool)).save("masks/p1.png")
    status, stdout, stderr = call("photos", "masks", "--out", "out")
    assert (status, stdout) == (2, "7 already filled, 1 failed. Results: out\n")
    assert "photos/p1.png: out/p1.png: the kept pixels differ from this image and mask. Remove the file" in stderr
    assert results("out") == before


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_results_of_every_mode_are_found_again(folder: Path, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, pictures of this mode are rejected, or filled again by every run."""
    size = (14, 12)
    values = np.random.default_rng(1).integers(0, 255, (12, 14, 3), dtype=np.uint8)
    if mode in ("I;16", "I", "F"):
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((values[..., 0].astype(np.float64) * (1 if mode == "F" else 257)).astype(dtype))
    else:
        image = Image.fromarray(values).convert("L" if mode == "LA" else "RGB").convert(mode)
    assert (image.mode, image.size) == (mode, size)
    image.save("odd.tif")
    todo = tasks([Path("odd.tif")], Path("masks/p0.png"), Path("photos"), 0)
    pipe, method = tiny_pipe(), as_method("two.yaml")
    first, second = (next(run(pipe, [todo], method, {})) for _ in range(2))
    assert (first.status, second.status) == ("filled", "found"), first.reason or second.reason
    suffix = ".tif" if mode in ("CMYK", "I", "F") else ".png"
    assert first.out == second.out == str(Path("photos") / f"odd{suffix}")


REFUSED: list[tuple[list[object], str]] = [
    (["photos", "masks", "--out", "none/out"], "Cannot write none/out: no folder none. Create it first."),
    (["photos", "masks", "--out", "two.yaml"], "Cannot write two.yaml: many images need a folder for their results"),
    (["photos", "masks", "--out", "photos"], f"photos: the folder is not empty and has no {SETTINGS}."),
    (["photos", "masks", "--out", "out", "--shard", "3/2"], "--shard='3/2' must be i/n with i from 1 to n"),
    (["photos", "masks", "--out", "out", "--class", "cat"], "class_labels"),
    (["photos", "masks", "--out", "out", "--latent-margin", "2"], "latent_margin=2 needs a latent prior"),
    (["photos", "masks", "--out", "out", "--seed", "-1"], "seed=-1 must be an integer from 0 to"),
    (["photos", "masks", "--out", "out", "--batch-size", "0"], "Invalid value for '--batch-size'"),
    (["photos", "empty", "--out", "out"], "empty: the folder has no image"),
    (["photos", "few", "--out", "out"], "photos/p1.png has no mask of the same name in few (7 without one)"),
    (["photos/p0.png", "photos", "masks", "--out", "out"], "photos: a folder cannot be combined with other images."),
    (["photos/p0.png", "twins/p0.jpg", "masks", "--out", "out"], "have the same name without suffix."),
    (["photos/p0.png", "masks/p0.png", "--out", "o.png", "--shard", "1/2"], "--shard needs many images, but one"),
    (["photos/p0.png", "masks/p0.png", "--out", "o.png", "--overwrite"], "--overwrite needs many images, but"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refusals(folder: Path, call: Call, arguments: list[object], message: str) -> None:
    """If this fails, this mistake gives a traceback, an incomplete folder, or mixed results."""
    for name in ("empty", "few", "twins"):
        Path(name).mkdir()
    for name in ("few/p0.png", "twins/p0.jpg"):
        Path(name).write_bytes(Path("photos/p0.png").read_bytes())
    before = sorted(folder.rglob("*"))
    status, stdout, stderr = call(*arguments)
    assert (status, stdout) == (2, "")
    assert stderr.startswith("repaint: ")
    assert message in stderr
    assert stderr.count("\n") == 1, stderr
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("text", "message"), [("{", "Cannot read "), ("[]", "not a repaint settings file")])
def test_damaged_settings(folder: Path, call: Call, text: str, message: str) -> None:
    """If this fails, a damaged settings file gives a traceback, or is overwritten."""
    Path("out").mkdir()
    Path("out", SETTINGS).write_text(text)
    status, _, stderr = call("photos", "masks", "--out", "out", "--overwrite")
    assert (status, message in stderr) == (2, True)
    assert results("out") == {SETTINGS: text.encode()}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"repaint": "0.0.9", "seed": 0, "steps": 250},
            "out was made by version '0.0.9' of repaint, but this is '0.1.0'. "
            "Pass another --out, or --overwrite to replace its results.",
        ),
        ({"seed": 0}, "out was made by an unknown version of repaint, but this is '0.1.0'. Pass another --out,"),
        ({"repaint": None, "seed": 1}, "out was made by an unknown version of repaint, but this is '0.1.0'."),
        (
            {"repaint": "0.1.0", "seed": 1},
            "out was made with other settings: seed was 1 and is now 0. Pass another --out,",
        ),
    ],
)
def test_settings_of_another_version_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], message: str
) -> None:
    """If this fails, the error for a folder of an older version lists settings instead of the versions."""
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out", SETTINGS).write_text(json.dumps(found))
    settings = {"repaint": "0.1.0", "seed": 0}
    with pytest.raises(InputError) as caught:
        check_settings(Path("out"), settings)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    check_settings(Path("out"), settings, overwrite=True)


def test_hidden_files_are_not_images(folder: Path) -> None:
    """If this fails, files such as ._p0.png, which macOS writes beside each image, are read as images."""
    Path("photos/._p0.png").write_bytes(b"resource fork")
    Path("masks/.draft.png").write_bytes(b"")
    found = tasks([Path("photos")], Path("masks"), Path("out"), 0)
    assert [task.image.name for task in found] == [f"p{i}.png" for i in range(8)]


def test_batches_are_of_one_size_and_do_not_depend_on_the_process(folder: Path) -> None:
    """If this fails, the last bits of a result depend on the number of processes."""
    todo = tasks([Path("photos")], Path("masks"), Path("out"), 0)
    found = batches(todo, 3)
    assert [[task.image.stem for task in batch] for batch in found] == [
        ["p0", "p1", "p2"],
        ["p3", "p4"],
        ["p5", "p6", "p7"],
    ]
    assert batches(todo, 1) == [[task] for task in todo]
    assert [
        task.seed for task in tasks([Path("photos/p3.png"), Path("photos/p1.png")], Path("masks"), Path("x"), 0)
    ] == [
        todo[1].seed,
        todo[3].seed,
    ]


def test_progress_ends_at_the_total(folder: Path) -> None:
    """If this fails, the progress bar does not end at its total when files fail or are already filled."""
    Path("photos/p2.png").write_bytes(b"")
    todo, method, out = (
        batches(tasks([Path("photos")], Path("masks"), Path("out"), 0), 3),
        as_method("two.yaml"),
        Path("out"),
    )
    out.mkdir()
    for _ in range(2):
        steps: list[int] = []
        list(run(tiny_pipe(), todo, method, {}, on_calls=steps.append))
        assert sum(steps) == 8 * method.model_calls


def test_progress_never_goes_back(folder: Path) -> None:
    """If this fails, the bar of a folder goes back and loses its total: with several windows, or a strength below 1."""
    wide = np.zeros((12, 80), bool)
    wide[4:6, 4:6] = wide[4:6, 70:78] = True
    for i in range(len(SIZES)):
        Image.fromarray(np.zeros((12, 80, 3), np.uint8)).save(f"photos/p{i}.png")
        Image.fromarray(wide).save(f"masks/p{i}.png")
    method = as_method("three.yaml")
    for strength, calls in ((1.0, 3), (0.34, 1)):
        steps: list[int] = []
        todo = batches(tasks([Path("photos")], Path("masks"), Path(f"out{calls}"), 0), 3)
        options = {"crop": Crop(size=8), "strength": strength}
        list(run(tiny_pipe(), todo, method, options, on_calls=steps.append))
        assert min(steps) >= 0
        assert sum(steps) == len(SIZES) * calls


def test_what_fails_in_a_batch_fails_alone() -> None:
    """If this fails, one bad image affects its batch, or each batch runs out of memory again."""
    seen: list[int] = []

    def compute(some: Any) -> list[int]:
        seen.append(len(some))
        if len(some) > 2:
            raise OutOfMemory("too small")
        if 3 in some:
            raise InputError("three")
        return [10 * entry for entry in some]

    said: list[str] = []
    halving = Halving(say=said.append)
    found = [
        (list(some), done if isinstance(done, list) else str(done))
        for some, done in halving.results([1, 2, 3, 4, 5], compute)
    ]
    assert found == [([1, 2], [10, 20]), ([3], "three"), ([4, 5], [40, 50])]
    assert [len(some) for some, _ in halving.results([6, 7, 8], compute)] == [2, 1]
    line = "Not enough memory for {} at once: continuing with {}."
    assert said == [line.format(5, 3), line.format(3, 2)]


# --- processes


@pytest.mark.slow
def test_two_processes_under_accelerate(folder: Path, prior: Path, call: Call) -> None:
    """If this fails, `accelerate launch` changes results, reports twice, or ends at a bad file."""
    asked = ["photos", "masks", "--batch-size", 2]
    call(*asked, "--out", "one")
    Path("photos/bad.png").write_text("no image")
    Path("masks/bad.png").write_text("no image")
    options = ["--out", "two", "--prior", prior, "--schedule", "two.yaml", "--dtype", "float32", "--json"]
    process = launched("inpaint", *asked, *options, processes=2)
    workers(process, 2)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode != 0
    report = json.loads(stdout)
    assert (report["filled"], report["failed"]) == (8, 1), stderr
    assert "photos/bad.png: Cannot open photos/bad.png" in stderr
    assert results("two") == results("one")


def test_every_format_and_subfolders(folder: Path, call: Call) -> None:
    """If this fails, images of a folder are left out without a word, or those of subfolders overwrite each other."""
    photo = Image.open("photos/p0.png")
    Path("mixed/sub").mkdir(parents=True)
    for name, form in (
        ("a.avif", "avif"),
        ("b.gif", "gif"),
        ("c.jfif", "jpeg"),
        ("d.tga", "tga"),
        ("sub/a.png", "png"),
    ):
        photo.save(f"mixed/{name}", form)
    Path("mixed/._a.png").write_bytes(b"\0\5\26\7")
    Path("mixed/film.mp4").write_bytes(b"")
    status, _, stderr = call("mixed", "masks/p0.png", "--out", "out", "--recursive")
    assert status == 0
    assert "mixed: 1 file left out, not an image that can be read: film.mp4" in stderr
    found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.png")}
    assert found == {"a.png", "b.png", "c.png", "d.png", "sub/a.png"}
    assert call("mixed", "masks/p0.png", "--out", "out", "--recursive")[1].startswith("5 already filled")


def test_images_and_masks_in_one_folder(folder: Path, call: Call) -> None:
    """If this fails, a folder as IOPaint or LaMa write it is refused, or its masks are filled."""
    Path("both").mkdir()
    for i, name in enumerate(("p0_mask", "p1_mask001", "p2_mask001")):
        Image.open(f"photos/p{i}.png").save(f"both/p{i}.png")
        Image.open(f"masks/p{i}.png").save(f"both/{name}.png")
    Image.open("masks/p3.png").save("both/p2_mask002.png")
    status, _, stderr = call("both", "both", "--out", "out")
    assert status == 0, stderr
    assert sorted(results("out")) == ["p0.png", "p1.png", "p2_mask001.png", "p2_mask002.png", SETTINGS]
    call("photos/p0.png", "masks/p0.png", "--out", "one.png")
    for i in (0, 1):
        hole = np.asarray(Image.open(f"masks/p{i}.png"))
        before, after = (np.asarray(Image.open(f"{place}/p{i}.png")) for place in ("photos", "out"))
        assert np.array_equal(before[~hole], after[~hole])
        assert (before[hole] != after[hole]).any()
