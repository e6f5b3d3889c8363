"""The programs under examples/, each run in its short form, and the commands of examples/cluster."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from PIL import Image

from repaint import cli

EXAMPLES = Path(__file__).parents[1] / "examples"
CLUSTER = EXAMPLES / "cluster"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs an example in a new folder, as a shell does."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 255
    for i in range(2):
        Image.fromarray(photo // (i + 1)).save(f"photos/{i}.png")
    Image.fromarray(mask).save("mask.png")

    def call(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    return call


@pytest.mark.parametrize(
    "name", ["pixel", "prompt", "custom_schedule", "custom_prior", "uses", "restore", "graded", "outpaint", "remove"]
)
def test_it_writes_a_picture(run, name: str) -> None:
    """If this fails, an example ends in a traceback."""
    run(name, "--short", "--out", "out.png")
    assert min(Image.open("out.png").size) >= 64


def test_many_images(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, the loop over processes misses an image, or changes kept pixels."""
    run("many_images", "photos", "mask.png", "filled", "--short")
    assert "2 images in filled, by 1 processes" in capsys.readouterr().out
    kept = np.asarray(Image.open("mask.png")) == 0
    for name in ("0.png", "1.png"):
        before, after = (np.asarray(Image.open(f"{folder}/{name}")) for folder in ("photos", "filled"))
        assert np.array_equal(before[kept], after[kept])
        assert not np.array_equal(before[~kept], after[~kept])


def test_guidance_comes_near_the_exact_answer(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, guidance does not follow Bayes' rule, or the example does not show it."""
    run("guidance", "--short")
    found = re.findall(r"mean (-?[\d.]+), standard deviation ([\d.]+)", capsys.readouterr().out)
    plain, guided, exact = ((float(mean), float(std)) for mean, std in found)
    # 300 samples: three standard errors of a mean are 0.05, of a standard deviation 0.035; the sampler's own error
    # at 100 levels is 0.01 on each.
    assert guided == pytest.approx(exact, abs=0.07)
    assert abs(plain[0] - exact[0]) > 0.5


def test_opposite_noise_is_measured(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, results of a pair are not opposite, or the table of the documentation cannot be reproduced."""
    run("antithetic", "--prior", "textures", "--holes", "2")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["2", "4", "8"]
    assert float(rows[0][4]) > float(rows[0][3]) > float(rows[0][2])  # a pair, two independent results, one
    assert float(rows[0][6]) < -0.5  # measured on five holes: -0.78


def test_half_precision_is_measured(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a bundled prior does not run in half precision, or changes kept pixels there."""
    run("half_precision", "--short")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [(row[0], row[1]) for row in rows] == [
        (f"`{prior}`", kind) for prior in ("photos", "textures", "emoji") for kind in ("float16", "bfloat16")
    ]
    # The largest of 25 calls is 4 for float16; noise that differs gives more than 100.
    assert all(int(row[4]) == 0 and int(row[2]) <= (8 if row[1] == "float16" else 80) for row in rows)


def test_the_walk_is_animated(run) -> None:
    """If this fails, the callback misses steps, or the state has no prediction."""
    run("walk_gif", "--short", "--out", "walk.gif")
    with Image.open("walk.gif") as walk:
        assert walk.n_frames >= 5


def test_a_sweep_is_drawn(run) -> None:
    """If this fails, the pictures beside the figures of a sweep are not those that were measured."""
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    content = "prior: textures\nimages: [{sample: 'textures:brick', size: 16, count: 2}]\nmasks: [{generator: box}]\n"
    Path("sweep.yaml").write_text(content + "classes: [$name]\nschedules: [two.yaml]\nseeds: [0, 1]\n")
    run("sweep_pictures", "sweep.yaml", "--out", "all.png")
    assert Image.open("all.png").width > 3 * 32
    run("sweep_pictures", "sweep.yaml", "--count", "1", "--out", "one.png")
    assert Image.open("one.png").height + 16 < Image.open("all.png").height


def test_beside_diffusers(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, the statements of the README about sizes, kept pixels and seeds are wrong."""
    run("beside_diffusers")
    found = re.findall(r"repaint, .*, ([\d.]+)% of kept .* differ by (\d+) of", capsys.readouterr().out)
    found = [(float(changed), int(apart)) for changed, apart in found]
    assert len(found) == 2
    assert all(changed == 0 and apart <= 1 for changed, apart in found)  # 1: the network's rounding in a batch


def test_examples_are_short() -> None:
    """If this fails, an example is too long for one topic."""
    names = "pixel prompt many_images custom_schedule custom_prior guidance walk_gif uses beside_diffusers"
    for name in names.split():
        assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 61, name


# --- examples/cluster


def commands(text: str) -> list[list[str]]:
    """List the `repaint ...` commands of a script, with continued lines joined and variables as words."""
    joined = text.replace("\\\n", " ")
    found = re.findall(r"(?:-m |^|\s)(repaint (?:inpaint|sweep|doctor)[^#;&|\n]*)", joined, flags=re.MULTILINE)
    return [shlex.split(re.sub(r"\$\(\([^)]*\)\)|\$\{?\w+\}?", "1", line)) for line in found]


def check_parses(arguments: list[str]) -> None:
    """Parse a command line with the real options, without running it."""
    context = typer.main.get_command(cli.app).make_context("repaint", arguments[1:])
    name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, rest, parent=context)


def test_the_slurm_script() -> None:
    """If this fails, a job of a thousand tasks ends at a syntax error or an unknown option."""
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True)
    found = commands((CLUSTER / "slurm.sh").read_text(encoding="utf-8"))
    assert [arguments[1] for arguments in found] == ["inpaint"]
    for arguments in found:
        check_parses(arguments)
        assert "--shard" in arguments


def test_the_kubernetes_job() -> None:
    """If this fails, the job is not YAML, runs work twice, or has options that do not exist."""
    job = yaml.safe_load((CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8"))
    spec = job["spec"]
    assert (job["kind"], spec["completionMode"]) == ("Job", "Indexed")
    container = spec["template"]["spec"]["containers"][0]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in spec["template"]["spec"]["volumes"]
    }
    (arguments,) = commands(container["command"][-1])
    check_parses(arguments)
    assert f"/{spec['completions']}" in container["command"][-1]
    assert spec["parallelism"] <= spec["completions"]


def test_the_commands_of_the_plan() -> None:
    """If this fails, the setup for many GPUs shows a command that does not exist."""
    found = commands((CLUSTER / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 2
    for arguments in found:
        check_parses(arguments)
