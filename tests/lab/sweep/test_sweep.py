"""Sweeps: one row per cell despite kills, full disks and several processes; and one-line errors."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import resource
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers.kills import launched, workers
from helpers.tiny_priors import tiny_folder_pipeline
from PIL import Image

from repaint import cli
from repaint.errors import InputError, NonFiniteError, PriorError
from repaint.lab.sweep.grid import batches, read_grid, spread
from repaint.lab.sweep.rows import Rows
from repaint.lab.sweep.runner import MEASURES, _measure, check_conditions, run
from repaint.lab.sweep.summary import summary
from repaint.measure.metrics import mse, psnr, seam_contrast, ssim
from repaint.measure.patches import gradient_distance, gradients, not_measurable, patch_distance, patches, roughness
from repaint.pictures.mask_shapes import generate
from repaint.pictures.samples import PHOTOGRAPHS, glyphs, held_out_crops
from repaint.pipeline import RePaintPipeline
from repaint.sampling.method import Method, as_method, spec
from repaint.sampling.schedule import JumpSchedule
from repaint.shards import share_of

ROOT = Path(__file__).resolve().parents[3]
BASE: dict[str, Any] = {
    "prior": "prior",
    "images": ["pictures"],
    "masks": ["box", {"generator": "freeform", "options": {"seed": 1}}],
    "schedules": [
        {"name": "two", "steps": 2, "spacing": "linspace"},
        {"name": "jumps", "steps": 3, "spacing": "linspace", "jumps": [{"jump_length": 1, "jump_n_sample": 2}]},
    ],
    "seeds": [0, 1, 2],
    "batch": 4,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny unconditional prior, and four pictures of two sizes."""
    folder = tmp_path_factory.mktemp("sweep")
    tiny_folder_pipeline().save_pretrained(folder / "prior")
    (folder / "pictures").mkdir()
    for i, size in enumerate([(16, 16), (16, 16), (16, 16), (12, 20)]):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{'abcd'[i]}.png")
    return folder


def written(tiny: Path, name: str = "sweep", /, **changes: Any) -> Path:
    """Write the YAML of a sweep to the folder; a change to None leaves the key out."""
    path = tiny / f"{name}.yaml"
    content = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(content))
    return path


def loaded(tiny: Path) -> RePaintPipeline:
    pipe = RePaintPipeline.from_pretrained(tiny / "prior")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sweep(config: Path, out: Path, part: str | None = None, **options: Any) -> list[dict[str, Any]]:
    """All rows of a sweep, run in this process."""
    grid = read_grid(config)
    rows = Rows(out, {cell.key: cell.config for cell in grid.cells})
    pipe = RePaintPipeline.from_pretrained(grid.prior)
    pipe.set_progress_bar_config(disable=True)
    run(pipe, share_of(batches(grid.cells, grid.config.batch), part, 0, 1), rows, **options)
    return lines(out)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def results(rows: list[dict[str, Any]], but: tuple[str, ...] = ("seconds",)) -> list[dict[str, Any]]:
    """Rows without timings, sorted by key; all other values must be equal."""
    return sorted(({k: v for k, v in row.items() if k not in but} for row in rows), key=lambda row: row["key"])


@pytest.fixture(scope="module")
def unbroken(tiny: Path) -> list[dict[str, Any]]:
    rows = sweep(written(tiny, "unbroken"), tiny / "unbroken.jsonl")
    assert len(rows) == 4 * 2 * 2 * 3
    return rows


# --- values of a row


def test_a_row_is_what_the_library_gives(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, the measures of a row belong to another image, mask, method or seed."""
    pipe = loaded(tiny)
    for row in unbroken[:: len(unbroken) // 6]:
        path = tiny / row["image"]["name"]
        image = np.asarray(Image.open(path))
        options = {"freeform(seed=1)": ("freeform", {"seed": 1}), "box": ("box", {})}[row["mask"]["name"]]
        keep = generate(options[0], *image.shape[:2], **options[1])
        entry = next(entry for entry in BASE["schedules"] if entry["name"] == row["schedule"])
        (tiny / "alone.yaml").write_text(yaml.safe_dump({k: v for k, v in entry.items() if k != "name"}))
        method = as_method(tiny / "alone.yaml")
        painted = pipe(image, keep_mask=keep, schedule=method, generator=row["seed"], output_type="np").images[0]
        hole = keep[0].numpy() == 0
        assert row["psnr"] == psnr(painted, image, hole)
        assert row["ssim"] == ssim(painted, image, hole)
        assert row["mse"] == mse(painted, image, hole) / 255**2
        assert row["seam_contrast"] == seam_contrast(painted, hole)
        assert row["outside_mse"] == 0
        # The smaller pictures have no 7 x 7 patch at half size.
        pair = patches(painted, hole), patches(image, ~hole)
        if reason := not_measurable(*pair):
            assert row["patches"] is None
            assert reason in row["notes"]["patches"]
        else:
            assert row["patches"] == patch_distance(*pair)
        assert row["gradients"] == gradient_distance(gradients(painted, hole), gradients(image, ~hole))
        assert row["roughness"] == roughness(painted, image, hole)
        assert row["model_calls"] == method.model_calls
        assert row["method"].items() >= {k: v for k, v in method.describe().items() if k != "name"}.items()
        assert row["method"].get("jumps", []) == entry.get("jumps", [])
    assert {row["status"] for row in unbroken} == {"ok"}
    assert all(row["seconds"] > 0 and row["device"] == "cpu" for row in unbroken)
    assert set(unbroken[0]["versions"]) == {"repaint", "torch", "diffusers"}


def test_lpips_without_weights_says_so(unbroken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, LPIPS uses random weights, or the row does not say how to fetch the right ones."""
    for row in unbroken:
        if row["lpips"] is None:
            assert "Fetch it once: python -c" in row["notes"]["lpips"]


def test_results_do_not_depend_on_the_batch(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, the score of a cell depends on the memory of the machine."""
    alone = sweep(written(tiny, "alone", batch=1), tiny / "alone.jsonl")
    assert {row["batch"] for row in alone} == {1}
    assert results(alone, ("seconds", "batch")) == results(unbroken, ("seconds", "batch"))


def test_shards_make_the_same_rows(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, a job array loses cells, computes cells twice, or changes results."""
    out, config = tiny / "shards.jsonl", written(tiny)
    first = len(sweep(config, out, "2/2"))
    assert 0 < first < len(unbroken)
    assert results(sweep(config, out, "1/2")) == results(unbroken)
    whole = batches(read_grid(config).cells, 1)
    shares = [share_of(whole, f"{i}/3", process, 2) for i in (1, 2, 3) for process in (0, 1)]
    assert sorted(cell.key for share in shares for (cell,) in share) == sorted(cell.key for (cell,) in whole)
    for part in ("0/2", "3/2", "2", "a/b", "1/0"):
        with pytest.raises(InputError, match=f"--shard={part!r} must be i/n with i from 1 to n"):
            share_of([], part, 0, 1)


def test_a_limit_takes_cells_from_everywhere(tiny: Path) -> None:
    """If this fails, a quick run of a long sweep covers only its first schedule."""
    cells = read_grid(written(tiny)).cells
    selected = spread(cells, 8)
    assert len(selected) == 8
    assert {cell.method.name for cell in selected} == {"two", "jumps"}
    assert len({cell.image.name for cell in selected}) >= 3
    assert spread(cells, None) == spread(cells, 10**6) == cells


def test_the_grid_is_the_product_of_its_lists(tiny: Path) -> None:
    """If this fails, cells are missing, or their keys depend on their order."""
    methods = [{}, {"solver": "ddim(0)", "merge": "predicted(8)"}]
    cells = read_grid(written(tiny, methods=methods, schedules=["quick", "corrected"])).cells
    assert len({cell.key for cell in cells}) == len(cells) == 4 * 2 * 4 * 3
    assert [*dict.fromkeys(cell.method.name for cell in cells)] == [
        "quick",
        "quick, predicted(8), ddim(0)",
        "corrected",
        "corrected, predicted(8), ddim(0)",
    ]
    turned = read_grid(written(tiny, methods=methods[::-1], schedules=["corrected", "quick"], seeds=[2, 0, 1])).cells
    assert {cell.key for cell in turned} == {cell.key for cell in cells}


def test_a_key_depends_on_pixels(tiny: Path, tmp_path: Path) -> None:
    """If this fails, rows of an old picture are taken for those of a changed picture with the same name."""
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    config = written(tmp_path, images=["a.png"], prior="textures")
    before = {cell.key for cell in read_grid(config).cells}
    assert before == {cell.key for cell in read_grid(config).cells}
    Image.fromarray(np.ones((16, 16, 3), np.uint8)).save(tmp_path / "a.png")
    assert not before & {cell.key for cell in read_grid(config).cells}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bfloat16"},
        {"guidance_scale": 3.0},
        {"classes": [None]},
        {"seeds": [1]},
        {"methods": [{"temperature": 0.5}]},
        {"masks": ["half"]},
        {"masks": [{"generator": "box", "options": {"share": 0.1}}]},
        {"schedules": [{"name": "two", "steps": 2, "spacing": "linspace", "levels": [2, 1, 2, 0]}]},
        {"schedules": [{"name": "two", "steps": 2, "spacing": "linspace", "guided": False}]},
    ],
)
def test_a_key_depends_on_everything_that_decides_a_result(tmp_path: Path, change: dict[str, Any]) -> None:
    """If this fails, rows of another type, guidance or mask are taken for those of this sweep."""
    base = {"images": ["textures:brick"], "prior": "textures", "masks": ["box"], "classes": ["$name"], "seeds": [0]}
    base |= {"guidance_scale": 2.0, "schedules": BASE["schedules"][:1]}
    (first,), (second,) = (read_grid(written(tmp_path, **base | more)).cells for more in ({}, change))
    assert first.key != second.key


def test_lpips_is_measured_in_the_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, LPIPS is that of the whole picture, most of which is equal in every row."""
    monkeypatch.setattr("repaint.lab.sweep.runner.lpips", lambda _painted, _image, region=None: float(region.sum()))
    image, hole = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8), np.zeros((16, 16), bool)
    hole[4:9, 3:12] = True
    assert _measure(255 - image, image, hole)[0]["lpips"] == 45


def test_bundled_samples(tmp_path: Path) -> None:
    """If this fails, a sample is the stderr picture, or its name does not reach the prior."""
    images = ["textures:brick", {"sample": "textures:sky", "size": 32, "count": 2, "part": "whole"}]
    grid = read_grid(written(tmp_path, images=images, prior="textures", classes=["$name", None], seeds=None))
    assert [*dict.fromkeys(cell.image.name for cell in grid.cells)] == [
        "textures:brick",
        "textures:sky, whole, 32 px, crop 0",
        "textures:sky, whole, 32 px, crop 1",
    ]
    assert [*dict.fromkeys((cell.image.stem, cell.class_label) for cell in grid.cells)] == [
        ("brick", "brick"),
        ("brick", None),
        ("sky", "sky"),
        ("sky", None),
    ]
    assert np.array_equal(grid.cells[0].image.read(), held_out_crops("brick", 64, 1)[0])
    named = written(tmp_path, images=["emoji:grinning face"], prompts=["a $name"], guidance_scale=3.0)
    cell = read_grid(named).cells[0]
    assert np.array_equal(cell.image.read(), glyphs()["grinning face"])
    assert cell.conditions == {"prompt": "a grinning face", "guidance_scale": 3.0}


def test_folders_are_paired_by_name(tiny: Path) -> None:
    """If this fails, images get the masks of other images, or masks are inverted."""
    for folder, white in (("holes", 255), ("kept", 0)):
        (tiny / folder).mkdir(exist_ok=True)
        for i, name in enumerate("abcd"):
            mask = np.full((12, 20) if name == "d" else (16, 16), 255 - white, np.uint8)
            mask[i : i + 6, 4:10] = white
            Image.fromarray(mask).save(tiny / folder / f"{name}.bmp")
    grid = read_grid(written(tiny, masks=["holes", {"path": "kept", "keep_mask": True}], seeds=None))
    for cell in grid.cells:
        hole = cell.mask.read()[0].numpy() == 0
        assert cell.mask.name in (f"holes/{cell.image.stem}.bmp", f"kept/{cell.image.stem}.bmp")
        assert (hole.sum(), hole.any(axis=1).argmax()) == (36, "abcd".index(cell.image.stem))


def test_classes_reach_the_prior(tiny: Path) -> None:
    """If this fails, a class or its guidance does not reach the prior."""
    tiny_folder_pipeline(num_class_embeds=3).save_pretrained(tiny / "classes")
    index = json.loads((tiny / "classes" / "model_index.json").read_text()) | {"id2label": {"0": "cat", "1": "dog"}}
    (tiny / "classes" / "model_index.json").write_text(json.dumps(index))
    few = {"prior": "classes", "images": ["pictures/a.png"], "masks": ["box"], "schedules": BASE["schedules"][:1]}
    config = written(tiny, **few, classes=[None, "cat", "dog", 0], guidance_scale=2.0, seeds=[0])
    by_class = {row["class_label"]: row for row in sweep(config, tiny / "classes.jsonl")}
    assert by_class["cat"]["psnr"] == by_class[0]["psnr"]
    assert len({by_class[label]["psnr"] for label in (None, "cat", "dog")}) == 3
    assert (by_class[None]["guidance_scale"], by_class["cat"]["guidance_scale"]) == (None, 2.0)
    pipe = RePaintPipeline.from_pretrained(tiny / "classes")
    with pytest.raises(PriorError, match=r"'cow' must be one of cat, dog\."):
        check_conditions(pipe, read_grid(written(tiny, **few, classes=["cat", "cow"])).cells)


# --- failures during a sweep


def test_a_non_finite_result_is_a_row_and_the_sweep_goes_on(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, one overflow ends the sweep, or affects the other rows of its batch."""

    def spoil(pipe: Any, step: int, level: int, kwargs: dict[str, Any]) -> None:
        if 1 in kwargs["state"].seeds:
            raise NonFiniteError("The prediction holds NaN or infinity.")

    rows = sweep(written(tiny), tiny / "spoilt.jsonl", on_call=spoil)
    assert len(rows) == len(unbroken)
    failed = [row for row in rows if row["status"] == "failed"]
    assert {row["seed"] for row in failed} == {1}
    assert len(failed) == len(rows) // 3
    assert {row["reason"] for row in failed} == {"The prediction holds NaN or infinity."}
    assert all(row[name] is None for row in failed for name in (*MEASURES, "seconds", "model_calls"))
    right = [row for row in unbroken if row["seed"] != 1]
    others = [row for row in rows if row["status"] == "ok"]
    assert results(others, ("seconds", "batch")) == results(right, ("seconds", "batch"))
    means = summary(rows)
    assert [(entry["rows"], entry["failed"]) for entry in means] == [(24, 8), (24, 8)]


def test_a_full_gpu_halves_the_batch(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, a batch too large for the GPU ends the sweep, is retried each time, or changes results."""
    said: list[str] = []
    tried: list[int] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def full(pipe: Any, step: int, level: int, kwargs: dict[str, Any]) -> None:
        if step == 1:
            tried.append(len(kwargs["state"].seeds))
            assert not [1 for tensor in held if tensor() is not None], "the failed attempt still holds its memory"
            held.append(weakref.ref(kwargs["state"].x))
        if len(kwargs["state"].seeds) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    rows = sweep(written(tiny), tiny / "full.jsonl", on_call=full, say=said.append)
    assert results(rows, ("seconds", "batch")) == results(unbroken, ("seconds", "batch"))
    assert said == [
        "Not enough memory for 4 at once: continuing with 2.",
        "Not enough memory for 2 at once: continuing with 1.",
    ]
    assert tried[:2] == [4, 2]
    assert set(tried[2:]) == {1}


def test_what_does_not_fit_is_left_to_the_next_run(tiny: Path) -> None:
    """If this fails, a picture too large for the GPU ends the sweep, or is never tried on a larger one."""
    said: list[str] = []

    def full(pipe: Any, step: int, level: int, kwargs: dict[str, Any]) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    assert sweep(written(tiny, seeds=[0]), tiny / "never.jsonl", on_call=full, say=said.append) == []
    assert said[-1].startswith("Left out 1 of the cells: Out of memory with a batch of 1 (CUDA out of memory.)")
    rows = sweep(written(tiny, seeds=[0]), tiny / "never.jsonl")
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.gpu
def test_a_gpu_that_is_really_full(tiny: Path) -> None:
    """If this fails, the memory of a failed batch is still held when its halves are computed."""
    free = torch.cuda.mem_get_info()[1]
    pipe = RePaintPipeline.from_pretrained(tiny / "prior").to("cuda")
    pipe.set_progress_bar_config(disable=True)
    large = [{"sample": "textures:brick", "part": "whole", "size": 256}]
    grid = read_grid(written(tiny, images=large, masks=["box"], seeds=list(range(64)), batch=64))
    rows = Rows(tiny / "gpu.jsonl", {cell.key: cell.config for cell in grid.cells})
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 3e8) / free)
    try:
        run(pipe, batches(grid.cells, 64), rows)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert {row["status"] for row in rows.found.values()} == {"ok"}
    assert max(row["batch"] for row in rows.found.values()) < 64


# --- kills


def test_a_file_cut_at_any_byte_is_made_whole(
    tiny: Path, unbroken: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a process killed during a write leaves a row lost, duplicated or mixed with the next."""
    monkeypatch.setattr(os, "fsync", lambda _file: None)  # saves the time of hundreds of calls
    kept = unbroken[:4]
    whole = b"".join((tiny / "unbroken.jsonl").read_bytes().splitlines(keepends=True)[:4])
    configs = {row["key"]: {} for row in kept}
    out = tmp_path / "cut.jsonl"
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    cuts = {*range(20), *range(0, len(whole), 31), *(end + d for end in ends for d in (-2, -1, 0, 1, 2))}
    for cut in sorted(cut for cut in cuts if cut <= len(whole)):
        out.write_bytes(whole[:cut])
        rows = Rows(out, configs)
        assert len(rows.found) == sum(end <= cut for end in ends)
        assert out.read_bytes() == whole[:cut], "reading must not change the file: another process may be writing"
        rows.append(kept[:2])
        rows.append(kept)
        assert out.read_bytes() == whole


def test_a_batch_cut_in_two_is_computed_as_one(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, the rest of an interrupted batch is computed in a different batch."""
    out = tiny / "half.jsonl"
    out.write_bytes(b"".join((tiny / "unbroken.jsonl").read_bytes().splitlines(keepends=True)[:6]))
    assert results(sweep(written(tiny), out)) == results(unbroken)


def test_two_writers_never_double_a_row(tiny: Path, unbroken: list[dict[str, Any]], tmp_path: Path) -> None:
    """If this fails, running the same command twice at once writes every row twice."""
    configs = {cell.key: cell.config for cell in read_grid(written(tiny)).cells}
    first, second = (Rows(tmp_path / "both.jsonl", configs) for _ in range(2))
    first.append(unbroken[:8])
    second.append(unbroken[4:12])
    first.append(unbroken[10:14])
    assert lines(tmp_path / "both.jsonl") == unbroken[:14]
    assert list(first.found) == [row["key"] for row in unbroken[:14]]


def test_nothing_is_written_without_the_lock(tiny: Path, unbroken: list[dict[str, Any]], tmp_path: Path) -> None:
    """If this fails, two processes change the file at once, and one of them loses rows."""
    configs = {cell.key: cell.config for cell in read_grid(written(tiny)).cells}
    rows, out = Rows(tmp_path / "locked.jsonl", configs), tmp_path / "locked.jsonl"
    rows.append(unbroken[:1])
    torn = out.read_bytes() + b'{"key": "a process writes this'
    out.write_bytes(torn)
    with out.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=rows.append, args=(unbroken[1:2],))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert out.read_bytes() == torn
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.join(30)
    assert lines(out) == unbroken[:2]


@pytest.mark.slow
def test_two_processes_under_accelerate_make_the_same_rows(
    tiny: Path, unbroken: list[dict[str, Any]], tmp_path: Path
) -> None:
    """If this fails, `accelerate launch` loses cells, computes cells twice, prints two tables, or never ends."""
    out = tmp_path / "both.jsonl"
    done = launched("sweep", written(tiny), "--out", out, "--json", processes=2)
    workers(done, 2)
    stdout, stderr = done.communicate(timeout=600)
    assert done.returncode == 0, stderr
    assert results(lines(out)) == results(unbroken)
    assert [entry["rows"] for entry in json.loads(stdout)] == [24, 24]


# --- bad files


def test_a_full_disk_loses_nothing(tiny: Path, unbroken: list[dict[str, Any]], tmp_path: Path) -> None:
    """If this fails, a full disk leaves half a row in the file, or shows a traceback."""
    configs = {cell.key: cell.config for cell in read_grid(written(tiny)).cells}
    rows = Rows(tmp_path / "full.jsonl", configs)
    rows.append(unbroken[:2])
    size = (tmp_path / "full.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, hard))  # the system accepts 300 bytes more
    try:
        with pytest.raises(
            InputError, match=r"full\.jsonl: cannot be written \(.*free space, .* rows so far are safe\."
        ):
            rows.append(unbroken[2:4])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "full.jsonl").stat().st_size == size
    rows.append(unbroken[2:])
    assert lines(tmp_path / "full.jsonl") == unbroken


def refused(tiny: Path, content: bytes, message: str) -> None:
    out = tiny / "refused.jsonl"
    out.write_bytes(content)
    configs = {cell.key: cell.config for cell in read_grid(written(tiny)).cells}
    with pytest.raises(InputError, match=message):
        Rows(out, configs)
    assert out.read_bytes() == content


def test_rows_of_another_sweep_are_refused(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, two experiments are mixed in one file, or the error does not say what differs."""
    other = [dict(BASE["schedules"][0], steps=5), BASE["schedules"][1]]
    cell = read_grid(written(tiny, schedules=other)).cells[0]
    content = (json.dumps({"key": cell.key, "format": Rows.FORMAT, **cell.config}) + "\n").encode()
    refused(
        tiny,
        (tiny / "unbroken.jsonl").read_bytes() + content,
        r"refused\.jsonl line 49: from another run \(method\.steps is 5 instead of 2; "
        r"method\.transitions is 5 instead of 2; .*\)\. Pass another --out, or the original config",
    )
    cell = read_grid(written(tiny, seeds=[7])).cells[0]
    content = (json.dumps({"key": cell.key, "format": Rows.FORMAT, **cell.config}) + "\n").encode()
    refused(tiny, content, r"line 1: from another run \(seed is 7 instead of 0\)\. Pass")
    config = read_grid(written(tiny)).cells[0].config
    edited = (json.dumps({"key": "0" * 16, "format": Rows.FORMAT, **config}) + "\n").encode()
    refused(tiny, edited, r"from another run \(its key does not match its config\)")


def test_rows_of_another_format_are_refused(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, rows of two versions with different fields are mixed in one file."""
    old = {name: value for name, value in unbroken[0].items() if name != "format"}
    message = r"line 1: repaint \d\S* wrote it in row format 1, but repaint \S+ reads format 2\. Pass another --out"
    refused(tiny, (json.dumps(old) + "\n").encode(), message)
    newer = json.dumps({**unbroken[0], "format": 99}) + "\n"
    refused(tiny, newer.encode(), r"in row format 99, .* or use the version that wrote it\.")


def test_a_grid_may_grow(tiny: Path, unbroken: list[dict[str, Any]]) -> None:
    """If this fails, adding seeds computes everything again."""
    out = tiny / "grown.jsonl"
    out.write_bytes((tiny / "unbroken.jsonl").read_bytes())
    rows = sweep(written(tiny, "grown", seeds=[0, 1, 2, 3]), out)
    assert rows[: len(unbroken)] == unbroken
    assert [row["seed"] for row in rows[len(unbroken) :]] == [3] * (len(unbroken) // 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a letter without an end", r"line 1: not a row of a sweep\. Pass another --out"),
        (b'{"key": "no json\n', r"line 1: damaged \(.*\)\. Remove the line, and its cell is computed again"),
        (b'{"name": 1}\n', "line 1: not a row of a sweep"),
        (b"[1]\n", "line 1: not a row of a sweep"),
        (b"\x89PNG\r\n\x1a\n", "line 1: damaged"),
    ],
)
def test_other_files_are_refused_and_stay_whole(tiny: Path, content: bytes, message: str) -> None:
    """If this fails, a mistyped --out destroys a file."""
    refused(tiny, content, message)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("rows.csv", r"rows\.csv: the suffix must be \.jsonl"),
        ("none/rows.jsonl", r"rows\.jsonl: the folder .*none does not exist\. Create it first"),
        ("folder.jsonl", r"folder\.jsonl: this is a folder\. Pass a file name"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, out: str, message: str) -> None:
    """If this fails, a sweep runs for hours before its file turns out not to be writable."""
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(InputError, match=message):
        Rows(tmp_path / out, {})


# --- bad configs

BAD: list[tuple[dict[str, Any], str]] = [
    ({"imagse": []}, r"unknown key 'imagse': allowed are about, source, .*Did you mean 'images'\?"),
    ({"images": None}, r"key 'images' is missing\. Add it\."),
    ({"images": []}, r"images is \[\]: .* at least 1 item"),
    ({"images": [{"sample": "textures:brick", "sise": 3}]}, r"unknown key 'images\.0\.sise': .*Did you mean 'size'\?"),
    ({"images": ["none.png"]}, r"none\.png: no such file or folder\. Or pass a bundled sample"),
    ({"images": ["texture:brick"]}, r"texture:brick: no such file .*Did you mean 'textures:brick'\?"),
    ({"images": ["textures:bric"]}, r"sample='textures:bric' must be one of brick, .*Did you mean 'brick'\?"),
    (
        {"images": ["emoji:grining face"]},
        r"sample='emoji:grining face' must be one of .*Did you mean 'grinning face'\?",
    ),
    (
        {"images": [{"sample": "texture:brick"}]},
        r"sample='texture:brick' must begin with one of textures, emoji\. Did you mean",
    ),
    ({"images": [{"sample": "emoji:grinning face", "size": 8}]}, r"part, size and count must be left out for a glyph"),
    ({"images": [{"sample": "textures:brick", "size": 999}]}, "size=999 must be at most "),
    ({"images": [{"sample": "textures:brick", "part": "left"}]}, r"images\.0\.part is 'left': Input should be 'train'"),
    ({"images": [{}]}, "An image must have exactly one of the keys path and sample, but has none"),
    (
        {"images": [{"path": "pictures", "sample": "textures:sky"}]},
        "An image must have exactly one of the keys path and sample, but has path and sample",
    ),
    ({"images": ["empty"]}, r"empty: the folder has no image \(.*\)\. Give another folder"),
    ({"images": ["twins"]}, r"a\.jpg and .*a\.png have the same name without suffix\. Rename or remove one"),
    ({"masks": ["boks"]}, r"boks: no such file or folder\. Or pass a generator: .*Did you mean 'box'\?"),
    ({"masks": [{"generator": "boks"}]}, r"mask='boks' must be one of .*Did you mean 'box'\?"),
    ({"masks": [{"generator": "box", "options": {"sahre": 1}}]}, r"Mask box has no option 'sahre'; .*'share'"),
    (
        {"masks": [{"generator": "box", "options": {"share": "a"}}]},
        r"share='a' must lie in \(0, 1\]",
    ),
    ({"masks": [{"generator": "box", "keep_mask": True}]}, "keep_mask must be left out for the generated mask box"),
    ({"masks": [{"path": "few", "options": {"share": 1}}]}, "options must be left out for the mask few"),
    ({"masks": ["few"]}, r"pictures/b\.png has no mask of the same name in few \(3 without one\)"),
    (
        {"images": ["pictures/b.png"], "masks": ["few"]},
        r"pictures/b\.png has no mask of the same name in few \(1 without one\)",
    ),
    (
        {"images": ["pictures/a.png"], "masks": ["more"]},
        r"more/z\.png has no image of the same name in the images \(1 without one\)",
    ),
    ({"masks": ["empty"]}, "empty: the folder has no image"),
    ({"masks": ["few/a.png"]}, r"few/a\.png on pictures/d\.png: mask_image .*a\.png is 16 x 16 and its image 12 x 20"),
    (
        {"images": ["pictures/a.png"], "masks": ["black.png"]},
        r"black\.png on pictures/a\.png: the mask has no hole\. White is",
    ),
    ({"schedules": ["papr"]}, r"preset='papr' must be one of .*Did you mean 'paper'\?"),
    ({"schedules": ["none.yaml"]}, r"Cannot read .*none\.yaml: "),
    ({"schedules": [{"name": "x", "stepps": 3}]}, r"unknown key 'schedules\.0\.stepps': .*Did you mean 'steps'\?"),
    (
        {"schedules": [{"name": "x", "steps": 0}]},
        r"schedules\.0\.steps is 0: Input should be greater than or equal to 1",
    ),
    ({"schedules": [{"steps": 3}]}, r"key 'schedules\.0\.name' is missing"),
    ({"schedules": [{"name": "x", "steps": 3, "solver": "dpm"}]}, "solver='dpm' must be one of ddpm, ddim"),
    (
        {"schedules": [{"name": "x", "steps": 9, "jumps": [{"jump_lenth": 2}]}]},
        r"unknown key 'schedules\.0\.jumps\.0\.jump_lenth': .*Did you mean 'jump_length'\?",
    ),
    ({"schedules": ["quick", "quick"]}, r"The names of schedules must differ, but 'quick' is repeated"),
    (
        {"methods": [{"solvr": "ddim"}]},
        r"unknown key 'methods\.0\.solvr': allowed are merge, solver, corrector, temperature\. Did",
    ),
    ({"methods": [{"merge": "fersh"}]}, r"merge='fersh' must be .*Did you mean 'fresh'\?"),
    ({"seeds": [-1]}, r"seeds\.0 is -1: Input should be greater than or equal to 0"),
    ({"seeds": [2**33]}, r"seeds\.0 is 8589934592: "),
    ({"seeds": [3, 3]}, r"cells of the grid must differ, but pictures/a\.png with box, two and seed 3 is repeated"),
    ({"batch": 0}, "batch is 0: Input should be greater than or equal to 1"),
    ({"classes": ["$name"]}, r"'\$name' needs a bundled sample, but the image is pictures/a\.png"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_bad_config(tiny: Path, unchecked: None, changes: dict[str, Any], message: str) -> None:
    """If this fails, this mistake gives a traceback, an unhelpful message, or a stderr sweep."""
    for folder in ("empty", "few", "more", "twins"):
        (tiny / folder).mkdir(exist_ok=True)
    square = np.zeros((16, 16), np.uint8)
    Image.fromarray(square).save(tiny / "black.png")
    square[4:8] = 255
    for name in ("few/a.png", "more/a.png", "more/z.png", "twins/a.png", "twins/a.jpg"):
        Image.fromarray(square).save(tiny / name)
    path = written(tiny, "bad", **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_grid(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_config(tmp_path: Path) -> None:
    """If this fails, a stderr path gives a traceback."""
    with pytest.raises(InputError, match=r"Cannot read .*none\.yaml: .*Pass the path of a YAML text file"):
        read_grid(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"grid\.json: the suffix of a sweep file must be \.yaml or \.yml"):
        read_grid(tmp_path / "grid.json")
    for text, message in (
        ("images: [", "is not YAML: "),
        ("- a", r"holds list: a sweep must be a mapping\. Begin with"),
        ("schedules: [{spacing: karras(7, 40)}]", r"unknown key 'schedules\.0\.40\)'\. Within braces, quote"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(InputError, match=message):
            read_grid(tmp_path / "bad.yaml")


# --- the command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repaint", "sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


def test_the_command(tiny: Path, unbroken: list[dict[str, Any]], command: Any, tmp_path: Path) -> None:
    """If this fails, the command writes other rows than the library, or computes existing rows again."""
    config, out = written(tiny), tmp_path / "rows.jsonl"
    status, stdout, _ = command(config, "--out", out, "--device", "cpu", "--limit", 6)
    assert (status, len(lines(out))) == (0, 6)
    assert "6 of 48 cells in" in stdout
    assert command(config, "--out", out, "--device", "cpu", "--shard", "1/2")[0] == 0
    status, stdout, _ = command(config, "--out", out, "--device", "cpu", "--json", "--by", "size")
    assert results(lines(out), ("seconds", "batch")) == results(unbroken, ("seconds", "batch"))
    means = json.loads(stdout)
    assert [(entry["schedule"], entry["size"], entry["rows"]) for entry in means] == [
        ("two", "16 x 16", 18),
        ("two", "12 x 20", 6),
        ("jumps", "16 x 16", 18),
        ("jumps", "12 x 20", 6),
    ]
    values = [row["psnr"] for row in unbroken if row["schedule"] == "two" and row["image"]["height"] == 16]
    assert means[0]["psnr"] == pytest.approx(math.fsum(values) / len(values), rel=1e-12)
    nothing = command(config, "--out", tmp_path / "none.jsonl", "--device", "cpu", "--shard", "99/99")
    assert (nothing[0], nothing[1]) == (0, f"0 of 48 cells in {tmp_path / 'none.jsonl'}\n")
    before = out.read_bytes()
    status, stdout, _ = command(config, "--out", out, "--device", "cpu")
    assert out.read_bytes() == before
    assert "48 of 48 cells" in stdout
    assert [line.split()[:2] for line in stdout.splitlines()[1:3]] == [["two", "24"], ["jumps", "24"]]
    for name in ("lpips", "patches"):
        explained = map(int, re.findall(rf"{name} n/a in (\d+) of 48 rows: ", stdout))
        assert sum(explained) == sum(row[name] is None for row in unbroken)


def test_the_command_compares_and_draws(
    tiny: Path, unbroken: list[dict[str, Any]], command: Any, tmp_path: Path
) -> None:
    """If this fails, the differences do not match the table, or the plot is missing."""
    out, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    out.write_text("".join(json.dumps(row) + "\n" for row in unbroken))
    arguments = [
        written(tiny),
        "--out",
        out,
        "--device",
        "cpu",
        "--against",
        "two",
        "--measure",
        "psnr",
        "--plot",
        plot,
    ]
    status, stdout, _ = command(*arguments, "--json")
    report = json.loads(stdout)
    (entry,) = report["differences"]
    first, second = (mean["psnr"] for mean in report["means"])
    assert (status, entry["schedule"]) == (0, "jumps")
    assert entry["psnr"]["mean"] == pytest.approx(second - first, rel=1e-9)
    assert plot.stat().st_size > 5_000
    stdout = command(*arguments)[1].splitlines()
    at = stdout.index("Difference to two. 95 % intervals resample 4 pictures, which are few: they are rough.")
    mean, low, high = (entry["psnr"][name] for name in ("mean", "low", "high"))
    expected = ["jumps", "psnr", f"{mean:+.3g}", f"[{low:+.3g},", f"{high:+.3g}]"]
    assert stdout[at + 2].split() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "rows.csv"], "rows.csv: the suffix must be .jsonl"),
        (["--out", "rows.jsonl", "--shard", "3/2"], "--shard='3/2' must be i/n"),
        (["--out", "rows.jsonl", "--by", "sise"], "--by sise must be one of"),
        (["--out", "rows.jsonl", "--over", "sise"], "--over sise must be one of"),
        (["--out", "rows.jsonl", "--measure", "pnsr"], "--measure pnsr must be one of"),
        (["--out", "rows.jsonl", "--against", "too"], "--against too must be one of two, jumps"),
        (["--out", "rows.jsonl", "--plot", "rows.txt"], "Cannot write rows.txt: a plot is a .png, .svg or .pdf file"),
        (["--out", "rows.jsonl", "--limit", "0"], "Invalid value for '--limit'"),
        (["--out", "rows.jsonl", "--device", "gpu"], "device='gpu' must be a device that PyTorch can use"),
    ],
)
def test_bad_options(
    tiny: Path, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    """If this fails, this mistake gives a traceback, exit status 0, or an empty file."""
    monkeypatch.chdir(tmp_path)
    status, stdout, stderr = command(written(tiny), *options)
    assert (status, stdout) == (2, "")
    assert message in stderr
    assert stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_wrong_class_is_refused_before_any_work(tiny: Path, command: Any, tmp_path: Path) -> None:
    """If this fails, one typo turns every cell of a sweep into a failed row."""
    status, _, stderr = command(written(tiny, classes=["cat"]), "--out", tmp_path / "rows.jsonl", "--device", "cpu")
    assert status == 2
    assert "must be left out: this model is unconditional" in stderr
    assert not list(tmp_path.iterdir())


# --- bundled sweeps

EXAMPLES = sorted((ROOT / "examples" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_sweeps_that_ship(path: Path) -> None:
    """If this fails, a bundled sweep cannot be run, or does not say what it reproduces."""
    grid = read_grid(path)
    assert grid.prior == ("emoji" if path.stem == "wrong-prompt" else "textures")
    assert grid.config.about
    assert grid.config.source
    assert len({cell.image.name for cell in grid.cells if cell.image.size == grid.cells[0].image.size}) == 10
    if grid.prior == "textures":
        assert {cell.class_label for cell in grid.cells} <= set(PHOTOGRAPHS)


def test_the_experiments_are_those_of_the_sources() -> None:
    """If this fails, a sweep varies the stderr parameter, or a comparison is not at equal cost."""

    def methods(name: str) -> dict[str, Method]:
        cells = read_grid(ROOT / "examples" / "sweeps" / f"{name}.yaml").cells
        return {cell.method.name: cell.method for cell in cells}

    assert len(EXAMPLES) == 10
    assert [method.model_calls for method in methods("steps").values()] == [2, 5, 10, 25, 50, 100, 250, 500, 1000]
    assert [method.schedule for method in methods("resampling").values()] == [
        JumpSchedule.paper(50, 10, r) for r in (1, 2, 5, 10, 25, 50)
    ]
    assert {name: method.model_calls for name, method in methods("early-late").items()} == {
        "early": 250,
        "late": 250,
        "none": 250,
    }
    assert [method.schedule for method in list(methods("jump-sizes").values())[:5]] == [
        JumpSchedule.paper(50, j, 5) for j in (1, 2, 5, 10, 20)
    ]
    assert [method.schedule for method in methods("jump-grid").values()] == [
        JumpSchedule.paper(50, j, 1 + patterns) for patterns in (1, 4, 9) for j in (2, 5, 10)
    ]
    assert [method.schedule for method in methods("wrong-prompt").values()] == [
        JumpSchedule.paper(50, 10, r) for r in (1, 2, 5, 10, 25)
    ]
    cells = read_grid(ROOT / "examples" / "sweeps" / "wrong-prompt.yaml").cells
    assert all(cell.prompt != cell.image.stem for cell in cells)
    assert [(method.schedule.steps, spec(method.solver)) for method in methods("ddpm-ddim").values()] == [
        (steps, solver) for steps in (25, 50, 100) for solver in ("ddpm(variance=small)", "ddim(eta=0)")
    ]
    assert [(method.schedule.steps, method.solver.variance) for method in methods("lower-half").values()] == [
        (steps, variance) for steps in (25, 100, 500, 1000) for variance in ("small", "large")
    ]
    sizes = [cell.image.size[0] for cell in read_grid(ROOT / "examples" / "sweeps" / "image-size.yaml").cells]
    assert sizes == [size for size in (32, 64, 128, 256) for _ in range(10 * 3)]


def test_the_grid_in_the_documentation(tmp_path: Path) -> None:
    """If this fails, the sweep in the documentation does not run."""
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (tmp_path / "grid.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / "photos" / "photo.png")
    assert len(read_grid(tmp_path / "grid.yaml").cells) == 2 * 2 * 2 * 2 * 3
    (line,) = [line for line in page.splitlines() if line.startswith("repaint sweep")]
    assert (ROOT / line.split()[2]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_quick_form_of_the_sweeps_that_ship(path: Path, command: Any, tmp_path: Path) -> None:
    """If this fails, a bundled sweep does not run with its prior."""
    content = yaml.safe_load(path.read_text())
    content["schedules"] = content["schedules"][:2]  # --limit alone would select the longest walk too
    (tmp_path / path.name).write_text(yaml.safe_dump(content))
    out = tmp_path / "rows.jsonl"
    status, stdout, stderr = command(tmp_path / path.name, "--out", out, "--limit", 2)
    assert status == 0, stderr
    assert [row["status"] for row in lines(out)] == ["ok", "ok"]
    assert "2 of " in stdout
