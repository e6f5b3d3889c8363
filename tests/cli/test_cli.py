"""The command line: files, output, and one-line errors with exit status 2."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LDMPipeline
from helpers.guided_reference import Flags, random_state
from helpers.shell import PHOTO, WHITE, Run, check_refused, contents, folder, run
from helpers.tiny_latents import tiny_sd, tiny_vae
from helpers.tiny_priors import tiny_folder_pipeline, tiny_unet
from PIL import Image

from repaint import cli
from repaint.cli.console import progress_bar
from repaint.pipeline import RePaintPipeline
from repaint.priors.load import bundled
from repaint.sampling import presets
from repaint.sampling.method import as_method

__all__ = ["folder", "run"]  # fixtures


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny prior of the classes cat and dog."""
    folder = tmp_path_factory.mktemp("prior")
    tiny_folder_pipeline(num_class_embeds=3).save_pretrained(folder)
    index = json.loads((folder / "model_index.json").read_text()) | {"id2label": {"0": "cat", "1": "dog"}}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


# --- inpaint


def test_inpaint(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, the command gives another picture than the library, or changes kept pixels."""
    done = run("inpaint", "photo.png", "mask.png", "--out", "out.png", "--prior", prior, "--schedule", "two.yaml")
    assert done.status == 0
    assert done.out == "2 model calls with schedule two, seed 0. Result: out.png\n"
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype="auto")
    pipe.set_progress_bar_config(disable=True)
    expected = pipe("photo.png", "mask.png", schedule="two.yaml", generator=0, output_type="np").images[0]
    result = np.asarray(Image.open("out.png"))
    assert np.array_equal(result, expected)
    assert np.array_equal(result[~WHITE], PHOTO[~WHITE])
    assert not np.array_equal(result[WHITE], PHOTO[WHITE])
    assert {path.name for path in folder.iterdir()} - {"out.png"} == set(contents(folder)) - {"out.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("inpaint", "photo.png", "mask.png", "--out", "photo.png"),
        ("inpaint", "photo.png", "mask.png", "--out", "mask.png"),
        ("inpaint", "photo.png", "mask.png", "--out", "o.png", "--samples", 4, "--uncertainty", "photo.png"),
        ("inpaint", "photo-1.png", "mask.png", "--out", "photo.png", "--samples", 2),
        ("inpaint", "photo.png", "mask.png", "--out", "keep.png", "--strength", "keep.png"),
        ("remove", "photo.png", "mask.png", "--out", "mask.png"),
        ("restore", "photo.png", "--out", "photo.png"),
        ("restore", "photo.png", "--out", "o.png", "--mask-out", "photo.png"),
        ("outpaint", "photo.png", "--left", 4, "--out", "photo.png"),
        ("audit", "rgba.png", "photo.png", "mask.png", "--heatmap", "photo.png"),
        ("audit", "radius", "--image", "photo.png", "--plot", "photo.png"),
        ("audit", "strength", "--image", "photo.png", "--plot", "photo.png"),
    ],
)
def test_no_command_writes_over_its_input(run: Run, folder: Path, arguments: tuple[object, ...]) -> None:
    """If this fails, a photograph is replaced by its result, and lost."""
    Image.fromarray(PHOTO).save("photo-1.png")
    check_refused(run(*arguments), folder, contents(folder), "it is an input, and would be lost. Choose another name.")


def test_a_branch_in_the_shell(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, a saved state cannot be branched with the schedule of its run."""
    pipe, kept = RePaintPipeline.from_pretrained(prior), []
    pipe.set_progress_bar_config(disable=True)
    keep = {"callback_on_step_end": lambda _pipe, _moves, _level, kwargs: kept.append(kwargs["state"])}
    pipe("photo.png", "mask.png", schedule="fast", generator=0, **keep)
    kept[11].save("half.safetensors")
    where = ("photo.png", "mask.png", "--prior", prior, "--dtype", "float32", "--device", "cpu")
    done = run("inpaint", *where, "--out", "b.png", "--branch", "half.safetensors", "--seed", 7, "--schedule", "fast")
    assert done.status == 0
    assert done.out.startswith("13 model calls with schedule fast")
    method = as_method("fast")
    capped = replace(method, schedule=method.schedule.capped(kept[11].level))
    expected = pipe.resume(kept[11].branch([7]), "photo.png", "mask.png", schedule=capped, output_type="np").images[0]
    assert np.array_equal(np.asarray(Image.open("b.png")), expected)
    # A walk that begins at the state's level is taken as it is: it may jump above.
    level = kept[11].level
    up = [level, level - 1, level + 1, *range(level, -1, -1)]
    Path("up.yaml").write_text(f"steps: 25\nspacing: {method.spacing}\nlevels: {up}\n")
    done = run(
        "inpaint", *where, "--out", "u.png", "--branch", "half.safetensors", "--seed", 7, "--schedule", "up.yaml"
    )
    assert done.status == 0
    assert done.out.startswith(f"{as_method('up.yaml').model_calls} model calls with schedule up")


def test_every_process_waits_for_days(
    run: Run, folder: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a process of a long job that is done first ends the job after accelerate's 30 minutes."""
    made: list[Any] = []
    whole = accelerate.PartialState

    def recorded(*given: Any, **named: Any) -> Any:
        made.append(named.get("timeout"))
        return whole(*given, **named)

    monkeypatch.setattr(accelerate, "PartialState", recorded)
    for name in ("photos", "masks"):
        (folder / name).mkdir()
        Image.open(f"{name[:-1]}.png").save(folder / name / "a.png")
    assert run("inpaint", "photos", "masks", "--out", "o", "--prior", prior, "--schedule", "two.yaml").status == 0
    assert made
    assert set(made) == {timedelta(days=30)}


def test_threads(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, --threads does not reach PyTorch."""
    torch.set_num_threads(2)
    common = ["--out", "out.png", "--prior", prior, "--schedule", "two.yaml"]
    assert run("inpaint", "photo.png", "mask.png", *common, "--threads", 1).status == 0
    assert torch.get_num_threads() == 1


def test_inpaint_json_and_options(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, scripts that read --json break, or an option does not reach the library."""

    def fill(*options: object, mask: str = "mask.png") -> tuple[bytes, dict[str, Any]]:
        common = ["--out", "out.png", "--prior", prior, "--schedule", "two.yaml", "--json", "--dtype", "float32"]
        done = run("inpaint", "photo.png", mask, *common, *options)
        assert done.status == 0, done.err
        return np.asarray(Image.open("out.png")).tobytes(), json.loads(done.out)

    plain, report = fill("--class", "dog", "--seed", 7)
    method = report.pop("method")
    assert report == {
        "image": "photo.png",
        "mask": "mask.png",
        "out": "out.png",
        "prior": str(prior),
        "seed": 7,
        "model_calls": 2,
    }
    assert (method["name"], method["steps"], method["model_calls"]) == ("two", 2, 2)
    assert fill("--class", "1", "--seed", 7)[0] == plain
    assert fill("--class", "dog", "--seed", 7, "--keep-mask", mask="keep.png")[0] == plain
    others = [
        fill("--class", "cat", "--seed", 7)[0],
        fill("--class", "dog", "--seed", 8)[0],
        fill("--class", "dog", "--seed", 7, "--guidance-scale", 4)[0],
        fill("--class", "dog", "--seed", 7, "--keep-mask")[0],
        fill("--class", "dog", "--seed", 7, "--dtype", "bfloat16")[0],
    ]
    assert len({plain, *others}) == 6


def test_several_samples(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, samples overwrite one another, or the mean and its map are not those of the library."""
    common = ["photo.png", "mask.png", "--prior", prior, "--schedule", "two.yaml", "--seed", 3, "--samples", 4]
    done = run("inpaint", *common, "--out", "out.png")
    assert done.out == "2 model calls with schedule two, seeds 3 to 6. Results: out-3.png to out-6.png\n"
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype="auto")
    pipe.set_progress_bar_config(disable=True)
    expected = pipe("photo.png", "mask.png", schedule="two.yaml", generator=3, num_images_per_prompt=4)
    for seed, image in zip(range(3, 7), expected.images, strict=True):
        assert np.array_equal(np.asarray(Image.open(f"out-{seed}.png")), np.asarray(image))
    before = set(contents(folder))

    done = run("inpaint", *common, "--out", "mean.png", "--mean", "--uncertainty", "map.png")
    pairs: dict[str, Any] = {"generator": 3, "num_images_per_prompt": 4, "antithetic": True}
    expected = pipe("photo.png", "mask.png", schedule="two.yaml", **pairs)
    spread = expected.uncertainty()[0]
    assert done.out == (
        "2 model calls with schedule two, seeds 3 to 4 with the noise of both signs. Mean: mean.png. Map: map.png\n"
        f"uncertainty: mean {spread[WHITE].mean():.3g}, largest {spread.max():.3g} of 255 in the hole\n"
    )
    assert set(contents(folder)) == before | {"mean.png", "map.png"}
    mean, heat = (np.asarray(Image.open(name)) for name in ("mean.png", "map.png"))
    assert np.array_equal(mean, np.asarray(expected.mean()[0]))
    assert np.array_equal(mean[~WHITE], PHOTO[~WHITE])
    assert len(np.unique(heat[~WHITE], axis=0)) == 1
    # The end of viridis; matplotlib's versions round differently.
    assert np.allclose(heat[np.unravel_index(spread.argmax(), spread.shape)], [253, 231, 36], atol=1)

    done = run("inpaint", *common, "--out", "mean.png", "--mean", "--uncertainty", "map.png", "--json")
    report = json.loads(done.out)
    assert (report["samples"], report["mean"], report["files"]) == (4, True, ["mean.png"])
    uncertainty = report["uncertainty"]
    assert (uncertainty["out"], uncertainty["white"]) == ("map.png", 255)
    assert np.allclose([uncertainty["mean"], uncertainty["largest"]], [spread[WHITE].mean(), spread.max()])


def test_no_schedule_is_the_priors_own(run: Run, folder: Path, tmp_path: Path) -> None:
    """If this fails, the command ignores the schedule of a prior's card, or fills a folder with another one."""
    own = tmp_path / "own"
    tiny_folder_pipeline().save_pretrained(own)
    common = ["mask.png", "--prior", own, "--json"]
    for card, calls in ((None, 25), ({"schedule": "corrected"}, 99)):
        if card is not None:
            (own / "card.json").write_text(json.dumps(card))
        one = json.loads(run("inpaint", "photo.png", *common, "--out", "out.png").out)
        assert (one["model_calls"], one["method"]["model_calls"]) == (calls, calls)
    many = json.loads(run("inpaint", "photo.png", "colours.png", *common, "--out", "many").out)
    assert many["settings"]["method"]["name"] == "corrected"
    assert {image["model_calls"] for image in many["images"]} == {99}
    (own / "card.json").write_text('{"schedule": "own"}')
    before = contents(folder)
    done = run("inpaint", "photo.png", *common, "--out", "out.png")
    check_refused(done, folder, before, f"{own / 'card.json'}: schedule='own' must be one of balanced, ")


def test_inpaint_treats_the_seam_of_latent_priors(run: Run, folder: Path, tmp_path: Path) -> None:
    """If this fails, --latent-margin or --blend-rim does not reach the library."""
    tiny = tmp_path / "latent"
    LDMPipeline(tiny_vae("VQModel"), tiny_unet(in_channels=4, out_channels=4), DDIMScheduler()).save_pretrained(tiny)
    results = []
    for options in ([], ["--blend-rim", 2], ["--latent-margin", 1]):
        common = ["--out", "out.png", "--prior", tiny, "--schedule", "two.yaml"]
        done = run("inpaint", "photo.png", "mask.png", *common, *options)
        assert done.status == 0, done.err
        results.append(np.asarray(Image.open("out.png")).tobytes())
    assert len(set(results)) == 3


def test_names_with_brackets(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, a file name is read as markup and is missing in the output."""
    Path("photo.png").rename("a[bold]b.png")
    done = run("inpaint", "a[bold]b.png", "mask.png", "--out", "[red].png", "--prior", prior, "--schedule", "two.yaml")
    assert (done.status, done.out.split("Result: ")[1]) == (0, "[red].png\n")
    assert "Plot: [red].svg\n" in run("schedule", "plot", "two.yaml", "--out", "[red].svg").out
    assert "hole: [red].png\n" in run("mask", "box", "--size", "9x9", "--out", "[red].png").out
    assert "[red]no.png" in run("inpaint", "[red]no.png", "mask.png", "--out", "out.png").err


GOOD = {"image": "photo.png", "mask": "mask.png", "--out": "out.png", "--schedule": "two.yaml"}

BAD = [
    ({"image": "none.png"}, "No file none.png. Check the path"),
    ({"image": "text.png"}, "Cannot open text.png: cannot identify image file"),
    ({"image": "cut.png"}, "Cannot decode cut.png: "),
    ({"image": "."}, "Cannot write out.png: many images need a folder for their results, not a file. Pass a folder."),
    ({"mask": "none.png"}, "No file none.png. Check the path"),
    (
        {"mask": "small.png"},
        "mask_image small.png is 6 x 14 and its image 12 x 14 (height x width): a mask is never resized.",
    ),
    ({"mask": "colours.png"}, "mask_image colours.png has colours ("),
    ({"--threshold": "128"}, "threshold=128.0 must be in (0, 1]"),
    ({"--schedule": "papr"}, "preset='papr' must be one of "),
    ({"--schedule": "papr"}, "Did you mean 'paper'?"),
    ({"--schedule": "none.yaml"}, "Cannot read none.yaml: "),
    ({"--schedule": "typo.yaml"}, "typo.yaml: unknown key 'stepps': allowed are "),
    ({"--schedule": "typo.yaml"}, "Did you mean 'steps'?"),
    ({"--schedule": "broken.yaml"}, "broken.yaml is not YAML: "),
    ({"--prior": "texture"}, "prior='texture' must be a folder, a Hub id"),
    ({"--prior": "."}, ". has no model_index.json. "),
    ({"--class": "cta"}, "class_labels: 'cta' must be one of cat, dog. Did you mean 'cat'?"),
    ({"--class": "9"}, "class_labels: 9 must be a class from 0 to 2."),
    ({"--guidance-scale": "2"}, "guidance_scale=2 must be left out or 1: no class_labels are given."),
    ({"--latent-margin": "1"}, "latent_margin=1 needs a latent prior, and PixelPrior works on pixels."),
    ({"--blend-rim": "-1"}, "blend_rim=-1.0 must be a width in pixels of at least 0 (0 disables it)."),
    ({"--out": "out"}, "Cannot write out: the suffix must be one of .png, "),
    ({"--out": "out.xyz"}, "Cannot write out.xyz: the suffix must be one of .png, "),
    ({"image": "rgba.png", "--out": "out.jpg"}, "Cannot write out.jpg: JPEG does not hold mode RGBA"),
    ({"--out": "none/out.png"}, "Cannot write none/out.png: no folder none. Create it first."),
    ({"--dtype": "float8"}, "--dtype float8 must be one of auto, float32, bfloat16, float16."),
    ({"--device": "gpu"}, "device='gpu' must be a device that PyTorch can use on this computer"),
    ({"--seed": "-1"}, "seed=-1 must be an integer from 0 to 8589934591"),
    ({"--seed": "one"}, "Invalid value for '--seed': "),
    ({"--threads": "0"}, "threads='0' must be a whole number of at least 1, or auto."),
    ({"--samples": "0"}, "Invalid value for '--samples': "),
    ({"--uncertainty": "map.png"}, "--uncertainty needs several samples, but --samples is 1. Add --samples 8."),
    (
        {"--samples": "2", "--schedule": "mean"},
        "--samples=2 at temperature=0 would give equal results: no noise is drawn",
    ),
    ({"--samples": "2", "--uncertainty": "map.txt"}, "Cannot write map.txt: the suffix must be one of .png, "),
    ({"--samples": "2", "--uncertainty": "out.png"}, "--uncertainty out.png must be another file than --out."),
    ({"--samples": "2", "--branch": "a.safetensors"}, "--samples 2 cannot be used with --branch: a state continues"),
    ({"--sede": "1"}, "No such option"),
    ({"--out": None}, "Missing option '--out'"),
]


def command(changes: dict[str, Any], prior: Path) -> list[Any]:
    parts = {**GOOD, "--prior": prior, **changes}
    options = [text for name, value in parts.items() if name.startswith("--") and value for text in (name, value)]
    return ["inpaint", parts["image"], parts["mask"], *options]


def test_warnings_are_one_line_with_the_file(run: Run, folder: Path, prior: Path) -> None:
    """A warning shows a path of the library's source and a line of its code, and not the file that it is about."""
    Image.fromarray(np.where(WHITE, 128, 0).astype(np.uint8)).save(folder / "grey.png")
    result = run(*command({"mask": "grey.png"}, prior))
    assert result.status == 0
    (line,) = [line for line in result.err.splitlines() if "warning" in line]
    assert line.startswith("repaint: warning: mask_image grey.png is grey (0.50 of white) in 100% of the hole")
    assert ".py" not in result.err
    assert "warning" not in run(*command({"mask": "grey.png", "--threshold": "0.4"}, prior)).err
    changed = (np.asarray(Image.open("out.png")) != PHOTO).any(-1)
    assert not changed[~WHITE].any()


def test_coloured_masks_are_cured_by_the_option_that_the_error_names(run: Run, folder: Path, prior: Path) -> None:
    """The cure for a red mask is Python code, which a user of the shell cannot follow."""
    Image.fromarray(np.dstack([WHITE * 255, 0 * WHITE, 0 * WHITE]).astype(np.uint8)).save(folder / "red.png")
    refused = run(*command({"mask": "red.png"}, prior))
    assert refused.status == 2
    assert "use --threshold 0.5 in the shell" in refused.err
    assert run(*command({"mask": "red.png", "--threshold": "0.5"}, prior)).status == 0
    assert np.array_equal((np.asarray(Image.open("out.png")) != PHOTO).any(-1), WHITE)


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_input(run: Run, folder: Path, prior: Path, changes: dict[str, Any], message: str) -> None:
    """If this fails, this mistake gives a traceback, a half-written file, exit status 0, or an unhelpful message."""
    before = contents(folder)
    check_refused(run(*command(changes, prior)), folder, before, message)


def test_a_mean_of_one_sample(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, --mean alone writes a single sample under the name of a mean."""
    before = contents(folder)
    done = run(*command({}, prior), "--mean")
    check_refused(done, folder, before, "--mean needs several samples, but --samples is 1. Add --samples 8.")
    done = run(*command({"--samples": "2", "--uncertainty": "map.png"}, prior), "--mean")
    check_refused(done, folder, before, "--mean with --uncertainty needs at least 2 pairs, but --samples is 2.")


def test_samples_of_many_images(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, --samples is silently ignored for a folder."""
    before = contents(folder)
    done = run("inpaint", "photo.png", "rgba.png", "mask.png", "--out", "many", "--prior", prior, "--samples", 2)
    check_refused(done, folder, before, "--samples needs a single image, but there are several. Pass one image")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, --device cuda without a GPU gives a traceback from PyTorch."""
    before = contents(folder)
    done = run(*command({"--device": "cuda"}, prior))
    check_refused(done, folder, before, "device='cuda' must be a device that PyTorch can use on this computer")


def test_decompression_bomb(run: Run, folder: Path, prior: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a small file that unpacks to gigabytes exhausts the memory."""
    before = contents(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    done = run(*command({}, prior))
    check_refused(done, folder, before, "Cannot open photo.png: more than 40 pixels, PIL's limit against decompression")


def test_a_damaged_prior(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """If this fails, the error about a damaged download is hidden among log lines of diffusers."""
    broken = tmp_path_factory.mktemp("broken")
    tiny_folder_pipeline().save_pretrained(broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    before = contents(folder)
    check_refused(run(*command({}, broken)), folder, before, "unet cannot be loaded (")


def test_a_full_disk(run: Run, folder: Path, prior: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a disk that becomes full leaves half a file, or gives a traceback."""

    def full(_image: object, path: Path, **_options: object) -> None:
        if isinstance(path, io.BytesIO):  # a trial of the metadata
            return
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    before = contents(folder)
    monkeypatch.setattr(Image.Image, "save", full)
    check_refused(run(*command({}, prior)), folder, before, "No space left on device")


def test_an_older_result_survives(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, a run that fails late destroys the result of an earlier one."""
    Path("out.png").write_bytes(b"precious")
    before = contents(folder)
    check_refused(run(*command({"mask": "small.png"}, prior)), folder, before, "a mask is never resized")


# --- schedule, mask, priors


def test_schedule_list(run: Run) -> None:
    """If this fails, the list lacks a preset, or its cost."""
    done = run("schedule", "list")
    assert done.status == 0
    assert all(name in done.out for name in presets.available())
    data = json.loads(run("schedule", "list", "--json").out)
    assert sorted(entry["name"] for entry in data) == presets.available()
    assert {entry["name"]: entry["model_calls"] for entry in data}["paper"] == 2410


def test_schedule_show(run: Run, folder: Path) -> None:
    """If this fails, the walk, source or cost shown for a preset is wrong."""
    shown = run("schedule", "show", "paper").out
    assert shown.startswith("paper\nRePaint as published")
    assert "transitions: 4570\n" in shown
    data = json.loads(run("schedule", "show", "paper", "--json").out)
    assert len(data["levels"]) == data["transitions"] + 1 == 4571
    assert json.loads(run("schedule", "show", "two.yaml", "--json").out)["levels"] == [2, 1, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("papr", "Did you mean 'paper'?"),
        ("typo.yaml", "unknown key 'stepps': allowed are about, source, steps"),
        ("broken.yaml", "is not YAML: "),
        ("none.yaml", "Cannot read none.yaml: "),
        ("photo.png", "preset='photo.png' must be one of "),
    ],
)
def test_schedule_errors(run: Run, folder: Path, name: str, message: str) -> None:
    """If this fails, a typo in a schedule gives a traceback, or is read as the default."""
    before = contents(folder)
    check_refused(run("schedule", "show", name), folder, before, message)
    check_refused(run("schedule", "plot", name, "--out", "plot.png"), folder, before, message)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_schedule_plot(run: Run, folder: Path, suffix: str, start: bytes) -> None:
    """If this fails, a walk cannot be drawn to this format."""
    done = run("schedule", "plot", "quick", "--out", f"plot{suffix}")
    assert (done.status, done.out) == (0, f"quick: 770 transitions. Plot: plot{suffix}\n")
    assert Path(f"plot{suffix}").read_bytes().startswith(start)


def test_schedule_import(run: Run, folder: Path) -> None:
    """If this fails, a configuration of the original RePaint does not become a schedule that runs."""
    Path("conf.yml").write_text("schedule_jump_params: {t_T: 4, jump_length: 2, jump_n_sample: 2}\nmodel_path: a.pt\n")
    done = run("schedule", "import", "conf.yml", "--out", "mine.yaml")
    assert (done.status, done.err) == (0, "")
    assert (
        done.out == "8 transitions, 6 model calls. Schedule: mine.yaml\nLeft out, not part of a schedule: model_path\n"
    )
    assert json.loads(run("schedule", "show", "mine.yaml", "--json").out)["levels"] == [4, 3, 2, 1, 0, 1, 2, 1, 0]
    for arguments, message in [
        (("conf.yml", "--out", "mine.txt"), "--out mine.txt must end in .yaml or .yml."),
        (("conf.yml", "--out", "none/mine.yaml"), "Cannot write none/mine.yaml: no folder none."),
        (("conf.yml", "--out", "conf.yml"), "--out conf.yml must differ from the configuration that is read."),
        (("two.yaml", "--out", "b.yaml"), "two.yaml: key 'schedule_jump_params' is missing."),
        (("none.yml", "--out", "b.yaml"), "Cannot read none.yml: "),
    ]:
        check_refused(run("schedule", "import", *arguments), folder, contents(folder), message)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("plot.bmp", "Cannot write plot.bmp: a plot is a .png, .svg or .pdf file. Change the suffix."),
        ("none/plot.png", "Cannot write none/plot.png: no folder none. Create it first."),
    ],
)
def test_schedule_plot_errors(run: Run, folder: Path, out: str, message: str) -> None:
    """If this fails, a wrong --out gives a traceback from matplotlib."""
    check_refused(run("schedule", "plot", "quick", "--out", out), folder, contents(folder), message)


def test_mask(run: Run, folder: Path) -> None:
    """If this fails, a generated mask has a wrong size, polarity or shape."""
    done = run("mask", "box", "--size", "20x10", "--out", "box.png", "--option", "share=0.5")
    assert (done.status, done.out) == (0, "box, 20 x 10, 25.0 % hole: box.png\n")
    white = np.asarray(Image.open("box.png"))
    assert (white.dtype, white.shape) == (np.uint8, (10, 20))
    assert (white[2:7, 5:15] == 255).all()
    assert white.sum() == 50 * 255
    run("mask", "box", "--size", "20x10", "--out", "keep.png", "--option", "h=5", "--option", "w=10", "--keep-mask")
    assert np.array_equal(np.asarray(Image.open("keep.png")), 255 - white)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("mask", "freeform", "--size", "32x32", "--out", f"{name}.png", "--seed", seed).status == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bax"], "mask='bax' must be one of alternating_lines, box, "),
        (["box", "--size", "20"], "--size 20 must be WIDTHxHEIGHT in pixels, such as 256x256."),
        (["box", "--size", "0x5"], "--size 0x5 must be WIDTHxHEIGHT in pixels, such as 256x256."),
        (["box", "--size", "99999x99999"], "--size 99999x99999 must have at most 89478485 pixels ("),
        (["box", "--option", "share"], "--option share must be name=value, such as radius=0.3."),
        (["box", "--option", "shar=1"], "Mask box has no option 'shar'; its options: share, top, left, h, w."),
        (["box", "--option", "share=2"], "share=2 must lie in (0, 1] (a fraction"),
        (["box", "--option", "share=half"], "share='half' must lie in (0, 1]"),
        (["box", "--option", "h=[3]"], "h=[3] must be an integer of at least 1."),
        (["super_resolve", "--option", "factor=2.5"], "factor=2.5 must be an integer of at least 2."),
        (["box", "--seed", "3"], "Mask box has no option 'seed'"),
        (["freeform", "--seed", "-3"], "Invalid value for '--seed': "),
        (["freeform", "--option", "seed=-3"], "seed=-3 must be an integer of at least 0."),
        (["box", "--out", "out.xyz"], "Cannot write out.xyz: the suffix must be one of .png, "),
        (["box", "--out", "none/out.png"], "Cannot write none/out.png: no folder none. Create it first."),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_mask_errors(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    """If this fails, a wrong size or option gives a traceback, or fills the memory."""
    defaults = [
        text
        for name, value in (("--size", "20x10"), ("--out", "out.png"))
        for text in (name, value)
        if name not in arguments
    ]
    check_refused(run("mask", *arguments, *defaults), folder, contents(folder), message)


def test_priors_list(run: Run) -> None:
    """If this fails, the list lacks a bundled prior, or a prior ships without its licence."""
    data = json.loads(run("priors", "list", "--json").out)
    assert [entry["name"] for entry in data] == bundled()
    assert "textures" in bundled()
    assert all(entry["about"] and entry["licence"] and 0 < entry["mib"] <= 20 for entry in data)
    shown = run("priors", "list")
    assert (shown.status, shown.err) == (0, "")
    assert "textures" in shown.out


CONVERTED = Flags(mults=(1, 2), classes=3)
FLAGS = ("--noise-schedule", "cosine", "--head-channels", 16, "--no-new-attention-order")


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    """A tiny guided-diffusion checkpoint in the working folder."""
    torch.save({name: tensor.float() for name, tensor in random_state(CONVERTED).items()}, "model.pt")
    return Path("model.pt")


@pytest.mark.usefixtures("pickles")
def test_priors_convert(run: Run, checkpoint: Path) -> None:
    """If this fails, the flags are not used for the conversion, or the converted folder cannot be loaded."""
    done = run("priors", "convert", checkpoint, "--out", "mine", *FLAGS)
    assert done.out == (
        "1 residual block on each of 2 levels, of 32, 64 channels; attention at 1/2 of the size; 3 classes; learned "
        "variance; 0.8 M parameters.\ncosine noise schedule, heads of 16 channels, legacy attention order.\n"
        "Prior: mine\n"
    )
    assert (done.status, done.err) == (0, "")
    config = json.loads(Path("mine/scheduler/scheduler_config.json").read_text())
    assert config["beta_schedule"] == "squaredcos_cap_v2"
    fill = ("inpaint", "photo.png", "mask.png", "--out", "out.png", "--schedule", "two.yaml", "--prior", "mine")
    assert run(*fill, "--class", 2).status == 0
    assert np.array_equal(np.asarray(Image.open("out.png"))[~WHITE], PHOTO[~WHITE])


@pytest.mark.usefixtures("pickles")
def test_priors_convert_options(run: Run, checkpoint: Path) -> None:
    """If this fails, an option of the conversion is dropped, or scripts that read --json break."""

    def convert(*options: object) -> dict[str, Any]:
        done = run("priors", "convert", checkpoint, "--out", "mine", "--overwrite", "--json", *options)
        assert done.status == 0, done.err
        report: dict[str, Any] = json.loads(done.out)
        return report

    weights = Path("mine/unet/diffusion_pytorch_model.safetensors")
    first = convert(*FLAGS)
    full = weights.stat().st_size
    assert (first["widths"], first["classes"], first["half"]) == ([32, 64], 3, False)
    assert (first["head_channels"], first["heads"], first["new_attention_order"]) == (16, None, False)
    second = convert("--noise-schedule", "linear", "--heads", 4, "--new-attention-order", "--half")
    assert (second["noise_schedule"], second["heads"], second["new_attention_order"]) == ("linear", 4, True)
    assert second["half"] is True
    assert weights.stat().st_size < 0.6 * full


@pytest.mark.usefixtures("pickles")
def test_priors_convert_says_where_diffusers_stops(run: Run, folder: Path) -> None:
    """If this fails, users of the 128 x 128 model are not warned that diffusers cannot load the folder."""
    flags = Flags(mults=(1, 2), attention=(1,), heads=4, head_channels=None)
    torch.save({name: tensor.float() for name, tensor in random_state(flags).items()}, "model.pt")
    told = ("--noise-schedule", "linear", "--heads", 4, "--no-new-attention-order")
    done = run("priors", "convert", "model.pt", "--out", "mine", *told)
    assert "\nThe width of its heads differs between levels: repaint loads this folder, diffusers cannot.\n" in done.out


@pytest.mark.usefixtures("pickles")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pt", "--out", "mine", *FLAGS], "none.pt: cannot be read ("),
        (["photo.png", "--out", "mine", *FLAGS], "photo.png is "),
        (
            ["model.pt", "--out", "mine"],
            "Settings are missing: noise_schedule, new_attention_order, head_",
        ),
        (["model.pt", "--out", "mine", *FLAGS, "--heads", "4"], "heads=4 and head_channels=16 exclude each other."),
        (
            ["model.pt", "--out", "mine", *FLAGS, "--noise-schedule", "sine"],
            "noise_schedule='sine' must be one of linear, cosine.",
        ),
        (["model.pt", "--out", "mine", *FLAGS, "--head-channels", "0"], "Invalid value for '--head-channels': "),
        (["model.pt", "--out", ".", *FLAGS], "Cannot write .: it exists. Remove it, choose another name, or allow"),
        (["model.pt", "--out", ".", *FLAGS, "--overwrite"], "Cannot overwrite .: it has no model_index.json, so it is"),
        (["model.pt", "--out", "none/mine", *FLAGS], "Cannot write none/mine: no folder "),
        (["model.pt", *FLAGS], "Missing option '--out'"),
    ],
)
def test_priors_convert_errors(run: Run, folder: Path, checkpoint: Path, arguments: list[object], message: str) -> None:
    """If this fails, a mistake in the command gives a traceback, half a folder, or deletes an existing folder."""
    before = contents(folder)
    check_refused(run("priors", "convert", *arguments), folder, before, message)
    assert not Path("mine").exists()


# --- The command itself


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["schedule", "nonsense"], ["inpaint"]])
def test_wrong_command_lines(run: Run, folder: Path, arguments: list[str]) -> None:
    """If this fails, the error for a wrong command has several lines."""
    done = run(*arguments)
    check_refused(done, folder, contents(folder), " --help.")


def test_a_bar_beyond_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a bar whose windows were not foreseen shows 696 of 312 calls."""
    with progress_bar("filling", 2, "calls") as advance:
        advance(3)
    assert "3/? calls" in capsys.readouterr().err


def test_an_empty_argument(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, an unset variable of the shell fills all pictures of the current folder."""
    done = run("inpaint", "", "mask.png", "--out", "filled", "--prior", prior)
    assert (done.status, done.err) == (
        2,
        "repaint: An argument is empty, as an unset variable of the shell is. Pass a name or a path.\n",
    )
    assert not (folder / "filled").exists()


@pytest.mark.parametrize("arguments", [[], ["schedule"], ["priors"], ["audit"]])
def test_nothing_asked_shows_help(run: Run, arguments: list[str]) -> None:
    """If this fails, the command without arguments prints nothing, or an empty error."""
    done = run(*arguments)
    assert "Usage" in done.out + done.err
    assert "repaint:" not in done.err


@pytest.mark.parametrize(
    "command", [[], ["inpaint"], ["schedule"], ["schedule", "show"], ["audit"], ["bench"]], ids=" ".join
)
def test_short_help(run: Run, command: list[str]) -> None:
    """If this fails, -h, which most programs have, is an error."""
    done = run(*command, "-h")
    assert done.status == 0
    assert done.out == run(*command, "--help").out


def test_python_m_repaint() -> None:
    """If this fails, `python -m repaint` does not work where the script is not on the PATH."""
    done = subprocess.run([sys.executable, "-m", "repaint", "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("inpaint", "demo", "schedule", "mask", "priors"))


def test_an_error_in_a_real_process(folder: Path) -> None:
    """If this fails, the installed program loses the exit status or the error."""
    done = subprocess.run(
        [sys.executable, "-m", "repaint", "inpaint", "none.png", "mask.png", "--out", "out.png"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("repaint: No file none.png. Check the path")
    assert not Path("out.png").exists()


def test_ctrl_c_during_imports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, Ctrl+C in the first second prints a traceback."""

    class Interrupted:
        def find_spec(self, name: str, *_more: object) -> None:
            if name == "repaint.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "repaint.cli")
    monkeypatch.delitem(sys.modules, "repaint.__main__", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as left:
        runpy.run_module("repaint", run_name="__main__")
    assert left.value.code == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [
        ("blättΩ", "ascii", r"bl\xe4tt\u03a9"),
        ("blättΩ", "cp1252", r"blätt\u03a9"),
        ("bl\udcfftt", "utf-8", r"bl\udcfftt"),  # not valid UTF-8 on disk
    ],
)
def test_names_that_the_output_cannot_encode(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoding: str, shown: str
) -> None:
    """If this fails, a file name ends a command in a traceback after the work, because the output is not UTF-8."""
    Path("photo.png").rename(f"{name}.png")
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, encoding=encoding, write_through=True))
    monkeypatch.setattr(sys, "argv", ["repaint", "audit", f"{name}.png", f"{name}.png", "mask.png"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code is None
    assert output.getvalue().decode(encoding).startswith(f"{shown}.png: none of ")


def test_names_are_no_commands_to_the_terminal(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, the name of a downloaded picture can move the cursor, or rewrite what the terminal shows."""
    name = "a\x1b[2Jb\x9b1m\x07.png"
    common = ["--prior", prior, "--schedule", "two.yaml"]
    assert r"a\x1b[2Jb\x9b1m\x07.png" in run("inpaint", name, "mask.png", "--out", "o.png", *common).err
    Path("photos").mkdir()
    for picture in (f"photos/{name}", name):
        Image.open("photo.png").convert("RGB").save(picture, exif=b"Exif\0\0damaged")
    Path("photos/cut\x1b[2J.png").write_bytes(Path("cut.png").read_bytes())
    for done in (
        run("inpaint", name, "mask.png", "--out", f"{name}.jpg", *common),  # warns, too
        run("inpaint", "photos", "mask.png", "--out", "o\x1b[2J", *common),
    ):
        assert "\\x1b[2J" in done.out
        assert "\\x1b[2J" in done.err
        assert not set("\x1b\x9b\x07") & set(done.out + done.err)


def test_bench_of_a_folder(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, the bench ignores --images, writes wrong files, or leaves table cells empty."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    photo = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[8:24, 6:22] = True
    Image.fromarray(photo).save("images/a.png")
    Image.fromarray(~hole).save("masks/a.png")
    arguments = ["bench", "--prior", prior, "--images", "images", "--masks", "masks", "--keep-mask"]
    arguments += ["--schedule", "two.yaml", "--seeds", 2]
    result = run(*arguments, "--report", "report.csv", "--sheet", "sheet.png", "--json")
    assert result.status == 0
    summary = json.loads(result.out)
    assert list(summary) == ["real (floor)", "biharmonic", "two"]
    assert summary["two"]["model_calls"] == 2
    assert len(Path("report.csv").read_text().splitlines()) == 1 + 1 + 1 + 2
    assert Image.open("sheet.png").size[0] > 4 * 64
    for wrong, message in {
        ("--report", "report.xls"): "the suffix of a report must be one of .csv, .json, .md",
        ("--masks", "nowhere"): "nowhere: no such folder",
    }.items():
        result = run(*arguments, *wrong)
        assert (result.status, message in " ".join(result.err.split())) == (2, True)
    text = " ".join(run(*arguments).out.split())
    assert text.count("n/a") >= 3 + 2  # PSNR of the truth, diversity of the truth and of the baseline; their reasons
    assert "psnr n/a: It is infinite where a fill equals the true content." in text
    assert "fills with gradients psnr ssim seam energy crps diversity" in text, "no column is cut off"
    result = run("bench", "--prior", prior, "--schedule", "two.yaml")
    assert "has no test images. Pass a folder of images with masks (--images)" in " ".join(result.err.split())


@pytest.mark.parametrize(
    "command",
    [
        ("bench",),
        ("bench", "prompts", "--prior", "prior"),
        ("bench", "photographs", "--images", "."),
        ("bench", "--protocol", "repaint-table1", "--data", "data", "--prior", "prior", "--out", "rows.jsonl"),
        ("calibrate", "--prior", "photos", "--out", "rows.jsonl"),
        ("exactness",),
    ],
    ids=" ".join,
)
def test_schedules_of_one_name(run: Run, folder: Path, command: tuple[str, ...]) -> None:
    """If this fails, of two schedules that a file's name alone tells apart, one is dropped without a word."""
    (folder / "other").mkdir()
    (folder / "other" / "two.yaml").write_text("steps: 3\nspacing: linspace\n")
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(folder / "photo.png")
    (folder / "data").mkdir()
    Image.fromarray(np.zeros((256, 256, 3), np.uint8)).save(folder / "data" / "photo.png")
    before = contents(folder)
    options = ("--limit", "1") if "--protocol" in command else ()
    refused = run(*command, *options, "--schedule", "two.yaml", "--schedule", "other/two.yaml")
    check_refused(
        refused, folder, before, "The names of schedules must differ, but 'two' is repeated. Rename or remove one."
    )


def test_bench_prompts(run: Run, folder: Path) -> None:
    """If this fails, the study does not run, or its JSON does not name the compared prompts."""
    tiny_sd(folder / "tokens").save_pretrained("sd")
    arguments = [
        "bench",
        "prompts",
        "--prior",
        "sd",
        "--schedule",
        "two.yaml",
        "--glyphs",
        2,
        "--seeds",
        1,
        "--hole",
        "box",
    ]
    report = json.loads(run(*arguments, "--json").out)
    assert [row["prompt"] for row in report["means"]] == ["right", "empty", "wrong"]
    assert {(row["hole"], row["schedule"], row["model_calls"]) for row in report["means"]} == {("box", "two", 2)}
    assert [row["difference"] for row in report["differences"]] == ["right - empty", "right - wrong"]
    table = run(*arguments).out
    assert "right - wrong" in table
    assert "diversity n/a: It needs several results per hole" in " ".join(table.split())
    for wrong, message in {
        ("--part", "test"): "--part test must be one of train, held_out.",
        ("--hole", "mouht"): "--hole mouht must be one of mouth, half, box. Did you mean 'mouth'?",
        ("--prompt", "left"): "--prompt left must be one of right, empty, wrong.",
        ("--glyphs", 141): "count=141 must be an integer from 1 to 140",
        ("--dtype", "float8"): "--dtype float8 must be one of auto, float32, bfloat16, float16.",
    }.items():
        result = run(*arguments, *wrong)
        assert result.status == 2
        assert message in " ".join(result.err.split())
    alone = run(*arguments, "--prompt", "right")
    assert (alone.status, "difference" in alone.out) == (0, False), "an empty table"
