"""What people type and bring by habit: one line each, before the work, and nothing lost."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from helpers.shell import PHOTO, WHITE, Run, check_refused, contents, folder, run
from helpers.tiny_priors import tiny_folder_pipeline
from PIL import ExifTags, Image, ImageOps

from repaint.cli import app
from repaint.defaults import restore_schedule
from repaint.priors.load import load
from repaint.sampling.sampler import Sampler
from repaint.version import DISTRIBUTION

__all__ = ["folder", "run"]


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prior")
    tiny_folder_pipeline().save_pretrained(place)
    return place


@pytest.fixture
def common(prior: Path) -> list[object]:
    return ["--prior", prior, "--schedule", "two.yaml", "--device", "cpu", "--dtype", "float32"]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The moves of the sampler, one entry each."""
    made: list[int] = []
    advance = Sampler.advance

    def counted(self: Sampler, state: object) -> object:
        made.append(1)
        return advance(self, state)  # type: ignore[arg-type]

    monkeypatch.setattr(Sampler, "advance", counted)
    return made


# --- Found out before the work


def test_what_cannot_be_written_is_found_out_before_the_work(
    run: Run, folder: Path, common: list[object], moves: list[int]
) -> None:
    """If this fails, minutes of work end in an error, and the result is lost."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70000
    Image.fromarray(PHOTO).save("long.png", exif=exif)
    wide = np.zeros((4, 16384, 3), np.uint8)
    hole = np.zeros((4, 16384), bool)
    hole[1:3, 4:9] = True
    Image.fromarray(wide).save("pano.png")
    Image.fromarray(hole).save("pano-mask.png")
    for image, mask, out, message in (
        ("long.png", "mask.png", "out.jpg", "metadata of the image does not fit into JPEG"),
        ("pano.png", "pano-mask.png", "out.webp", "16384 x 4 pixels, and WEBP at most 16383 on a side. Use .png."),
        ("photo.png", "mask.png", "x" * 300 + ".png", "File name too long"),
    ):
        result = run("inpaint", image, mask, "--out", out, *common)
        assert result.status == 2
        assert message in result.err
        assert result.err.count("\n") == 1
    assert not moves


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/version").exists(), reason="needs a read-only place")
def test_a_place_that_cannot_be_written(run: Run, folder: Path, common: list[object], moves: list[int]) -> None:
    """If this fails, a read-only folder is found out after the work, for one image and for many."""
    Path("photos").mkdir()
    Image.fromarray(PHOTO).save("photos/a.png")
    for out in ("/proc/out.png", "/proc/sys/out.png"):
        assert "Cannot write" in run("inpaint", "photo.png", "mask.png", "--out", out, *common).err
    assert "Cannot write" in run("inpaint", "photos", "mask.png", "--out", "/proc/out", *common).err
    assert not moves


@pytest.mark.parametrize(
    "arguments",
    [
        ("inpaint", "photo.png", "mask.png", "--out", "photo.png"),
        ("inpaint", "photo.png", "mask.png", "--out", "link.png"),
        ("inpaint", "photo.png", "mask.png", "--out", "./mask.png"),
        ("inpaint", "photo.png", "mask.png", "--out", "out.png", "--samples", "2", "--uncertainty", "mask.png"),
        ("inpaint", "photos", "mask.png", "--out", "photos"),
        ("remove", "photo.png", "mask.png", "--out", "mask.png"),
        ("remove", "photo-2.png", "mask.png", "--out", "photo.png", "--candidates", "2", "--all"),
        ("restore", "photo.png", "--out", "photo.png"),
        ("restore", "photo.png", "--mask-out", "photo.png"),
        ("outpaint", "photo.png", "--left", "8", "--out", "photo.png"),
    ],
    ids=" ".join,
)
def test_inputs_are_not_written_over(run: Run, folder: Path, moves: list[int], arguments: tuple[str, ...]) -> None:
    """If this fails, somebody's only copy of a photograph is lost."""
    (folder / "link.png").symlink_to(folder / "photo.png")
    Image.fromarray(PHOTO).save("photo-2.png")
    Path("photos").mkdir()
    Image.fromarray(PHOTO).save("photos/photo.png")
    before = contents(folder)
    refused = run(*arguments)
    check_refused(refused, folder, before, "Cannot write" if "photos" not in arguments else "photos")
    assert not moves


def test_a_result_is_kept_when_its_place_goes(
    run: Run, folder: Path, common: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a folder that vanishes during the work takes the result with it."""
    Path("gone").mkdir()
    advance = Sampler.advance

    def removing(self: Sampler, state: object) -> object:
        if Path("gone").exists():
            Path("gone").rmdir()
        return advance(self, state)  # type: ignore[arg-type]

    monkeypatch.setattr(Sampler, "advance", removing)
    result = run("inpaint", "photo.png", "mask.png", "--out", "gone/filled.png", *common)
    assert result.status == 0
    assert "warning: photo.png: Cannot write gone/filled.png: no folder gone" in result.err
    assert "Result: filled.png" in result.out
    assert np.array_equal(np.asarray(Image.open("filled.png"))[~WHITE], PHOTO[~WHITE])


# --- Warnings and hints


def test_warnings_are_one_line_with_the_file(run: Run, folder: Path, common: list[object]) -> None:
    """If this fails, a warning shows a path of the source code, or not the file that it is about."""
    Image.fromarray(WHITE).convert("L").resize((140, 120)).save("mask.jpg", quality=60)
    Image.fromarray(PHOTO).resize((140, 120)).save("large.png")
    result = run("inpaint", "large.png", "mask.jpg", "--out", "out.jpg", *common)
    lines = [line for line in result.err.splitlines() if line.startswith("repaint: warning:")]
    assert len(lines) == 2
    assert "large.png: out.jpg: JPEG changes all pixels" in lines[0]
    assert "mask.jpg has " in lines[1]
    assert "large.png" not in lines[1]
    assert ".py" not in result.err
    assert "warning" not in run("inpaint", "large.png", "mask.jpg", "--threshold", 0.5, "--out", "o.png", *common).err


def test_a_warning_is_printed_once(run: Run, folder: Path, common: list[object]) -> None:
    """If this fails, a dark scan is named each time that a part of the command reads it."""
    Image.fromarray((PHOTO[..., 0].astype(np.uint16)) * 16).save("scan.png")
    result = run("inpaint", "scan.png", "mask.png", "--out", "out.png", *common)
    assert result.err.count("as its largest value where white is 65535") == 1, result.err


def test_the_cure_of_a_mask_exists_in_every_command(run: Run, folder: Path, common: list[object]) -> None:
    """If this fails, the error of a red mask names an option that the command does not have."""
    Image.fromarray(np.dstack([WHITE * 255, 0 * WHITE, 0 * WHITE]).astype(np.uint8)).save(folder / "red.png")
    Image.fromarray(PHOTO).save(folder / "square.png")
    filled = ("remove", "square.png", "red.png", "--out", "o.png", "--candidates", 1, "--margin", 0, *common)
    audited = ("audit", "o.png", "square.png", "red.png")
    refused = run(*filled)
    assert refused.status == 2
    assert "--threshold 0.5" in refused.err
    assert run(*filled, "--threshold", 0.5).status == 0
    assert np.array_equal((np.asarray(Image.open("o.png")) != PHOTO).any(-1), WHITE)
    assert run(*audited).status == 2
    assert run(*audited, "--threshold", 0.5).out.startswith("o.png: none of ")


def test_warnings_of_many_images_name_theirs(run: Run, folder: Path, common: list[object]) -> None:
    """If this fails, a warning in a run of a folder does not say which file it is about."""
    Path("photos").mkdir()
    Path("masks").mkdir()
    for name in "ab":
        Image.fromarray(PHOTO).save(f"photos/{name}.png")
        Image.fromarray(WHITE & (name == "a")).save(f"masks/{name}.png")
    result = run("inpaint", "photos", "masks", "--out", "out", *common)
    assert result.status == 0
    (line,) = (line for line in result.err.splitlines() if "warning" in line)
    assert "photos/b.png: mask_image masks/b.png is black everywhere: nothing is repainted" in line


def test_messages_end_once(run: Run, folder: Path) -> None:
    """If this fails, a message has two stops in a row."""
    assert run("impaint").err == (
        "repaint: No such command 'impaint'. Did you mean 'inpaint', 'outpaint'? See repaint --help.\n"
    )
    assert "must be 0-65535. Pass another --port" in run("studio", "--port", "99999", "--no-browser").err


def test_the_studio_checks_its_device(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the studio opens, and its first run fails because there is no such device."""
    monkeypatch.setattr("repaint.studio.server.serve", lambda *_, **__: pytest.fail("it serves"))
    result = run("studio", "--device", "gpu", "--no-browser")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "device='gpu' must be a device that PyTorch can use on this computer (cpu" in result.err


def test_a_missing_argument_shows_all_of_them(run: Run, folder: Path) -> None:
    """If this fails, an image without a mask is answered by "Missing argument 'images'", although the mask misses."""
    for command, usage in (("inpaint", "IMAGES... MASK"), ("remove", "IMAGE MASK"), ("restore", "IMAGE")):
        given = ["photo.png"] if command != "restore" else []
        done = run(command, *given, "--out", "o.png")
        assert done.status == 2
        assert done.err == (
            f"repaint: An argument is missing: repaint {command} {usage} [OPTIONS]. See repaint {command} --help.\n"
        )


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--mask", "The mask is an argument without a name: repaint inpaint IMAGES... MASK [OPTIONS]."),
        ("--num-inference-steps", "Use --steps N"),
        ("--eta", "Use --schedule NAME or FILE.yaml: the solver of the schedule sets the noise"),
        ("--output", "Use --out RESULT"),
        ("--model", "Use --prior"),
    ],
)
def test_options_of_other_programs(run: Run, folder: Path, option: str, hint: str) -> None:
    """If this fails, an option that other programs have is refused without its name here."""
    result = run("inpaint", "photo.png", "mask.png", "--out", "out.png", option, 5)
    assert result.status == 2
    assert f"No such option: {option}. {hint}" in result.err
    assert result.err.count("\n") == 1


COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)


@pytest.mark.parametrize("command", [name for name, each in COMMANDS.items() if not hasattr(each, "commands")])
def test_hints_name_only_options_of_the_command(run: Run, folder: Path, command: str) -> None:
    """If this fails, an error sends somebody to an option that the command refuses."""
    known = {name for option in COMMANDS[command].params for name in option.opts}
    for option in ("--mask", "--image", "--num-samples", "--num-inference-steps", "--cfg", "--negative", "--batch"):
        if option in known:
            continue
        hint = run(command, option, 5).err.split("No such option: ")[-1].split(f" See repaint {command} --help.")[0]
        used = re.findall(r"Use (--[\w-]+)|, or (--[\w-]+)", hint)
        assert {name for pair in used for name in pair if name} <= known, hint
        assert "argument without a name" not in hint or f"repaint {command} " in hint


def test_the_help_of_restore_names_its_schedule() -> None:
    """If this fails, the help says that restoring uses the default of the prior, and it uses another."""
    (schedule,) = (option for option in COMMANDS["restore"].params if option.name == "schedule")
    one, several = restore_schedule(1), restore_schedule(2)
    assert f"Default: {one}; {several} if --samples is above 1." in schedule.help


def test_several_samples_of_remove(run: Run, folder: Path) -> None:
    """If this fails, the number of results of `remove` is called --samples, which it does not have."""
    result = run("remove", "photo.png", "mask.png", "--out", "out.png", "--num-samples", 5)
    assert "No such option: --num-samples. Use --candidates N. See repaint remove --help." in result.err


def test_steps_and_calls(run: Run, folder: Path, prior: Path) -> None:
    """If this fails, the number of steps cannot be set without writing a file."""
    plain = ["inpaint", "photo.png", "mask.png", "--out", "out.png", "--prior", prior, "--dtype", "float32"]
    assert "3 model calls with schedule two (3 steps)" in run(*plain, "--schedule", "two.yaml", "--steps", 3).out
    assert "4 model calls" in run(*plain, "--schedule", "two.yaml", "--calls", 4).out
    both = run(*plain, "--steps", 3, "--calls", 3)
    assert (both.status, both.err.count("\n")) == (2, 1)
    assert "exactly one of steps and calls" in both.err
    assert run(*plain, "--steps", 0).status == 2


@pytest.mark.parametrize("command", [[], ["schedule"], ["audit"]])
def test_bare_commands_show_their_help(run: Run, command: list[str]) -> None:
    """If this fails, `repaint` alone ends with an error status."""
    result = run(*command)
    assert result.status == 0
    assert "Usage: repaint" in result.out + result.err


# --- Files


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
def test_a_portrait_of_a_phone_is_upright(run: Run, folder: Path, common: list[object], suffix: str) -> None:
    """If this fails, a result lies on its side in a format without orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(PHOTO).save("phone.png", exif=exif)
    Image.fromarray(np.rot90(WHITE, -1)).save("upright.png")
    assert run("inpaint", "phone.png", "upright.png", "--out", f"out{suffix}", *common).status == 0
    assert ImageOps.exif_transpose(Image.open(f"out{suffix}")).size == (12, 14)
    if suffix != ".jpg":
        assert "none of" in run("audit", f"out{suffix}", "phone.png", "upright.png").out


def test_heic_photographs(run: Run, folder: Path, common: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, photographs of phones are not read, or the missing package is not named."""
    heif = pytest.importorskip("pillow_heif")  # in the extra dev, but without wheels for some systems
    heif.register_heif_opener()
    Image.fromarray(PHOTO).resize((64, 64)).save("photo.heic", quality=90)
    Image.fromarray(WHITE).resize((64, 64)).save("hole.png")
    assert run("inpaint", "photo.heic", "hole.png", "--out", "out.png", *common).status == 0
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    result = run("inpaint", "photo.heic", "hole.png", "--out", "out.png", *common)
    assert result.status == 2
    assert "HEIC needs pillow-heif, which is not installed: pip install pillow-heif" in result.err


# --- The name


def test_nobody_is_sent_to_another_project() -> None:
    """If this fails, a message tells people to install "repaint" from PyPI, which is another project."""
    root = Path(__file__).parents[2]
    (named,) = re.findall(r'^name = "(.*)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert named == DISTRIBUTION == "repaint-diffusers"
    wrong = re.compile(r"""(pip3? install|uv add|uvx|pipx \w+)\s+(-\S+\s+)*["']?repaint(?![\w-])""")
    assert wrong.search("pip install 'repaint[app]'")
    assert not wrong.search("pip install -e . && repaint demo")
    files = [
        root / "README.md",
        *(p for d in ("repaint", "docs", "examples", "notebooks") for p in (root / d).rglob("*")),
    ]
    for path in files:
        if path.suffix in (".py", ".md", ".ipynb", ".yaml", ".sbatch", ".sh"):
            assert not wrong.search(path.read_text(encoding="utf-8")), path


def test_arguments_of_other_libraries(prior: Path) -> None:
    """If this fails, an argument that diffusers has is refused without its name here."""
    from repaint import RePaintPipeline
    from repaint.errors import InputError

    pipe = RePaintPipeline(load(prior))
    for name, value, hint in (
        ("num_inference_steps", 50, r"with_budget\('fast', steps=50\)"),
        ("steps", 50, r"schedule='fast'"),
        ("eta", 0.5, r"solver='ddim\(0\.5\)'"),
        ("mask", WHITE, r"Pass mask_image="),
        ("seed", 3, r"Pass generator="),
        ("init_image", PHOTO, r"Pass image="),
    ):
        with pytest.raises(InputError, match=rf"^{name}=.* is not an argument of the pipeline\. .*{hint}"):
            pipe(mask_image=WHITE, **{name: value}) if name == "init_image" else pipe(PHOTO, WHITE, **{name: value})
    with pytest.raises(InputError, match=r"^image is missing: pass an image and a mask"):
        pipe(mask_image=WHITE)
