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
import torch
import typer
import yaml
from PIL import Image

from repaint import GaussianMixturePrior, JumpSchedule, Method, cli
from repaint.sampling.method import as_method
from repaint.sampling.sampler import Sampler

EXAMPLES = Path(__file__).parents[1] / "examples"
CLUSTER = EXAMPLES / "cluster"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Return a function that runs an example in a new folder, as a shell does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
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


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_it_imports(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an example that no other test runs imports a name that was renamed."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(path))


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


@pytest.mark.slow
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


def test_a_sweep_is_drawn_with_a_row_for_each_class(run) -> None:
    """If this fails, results of another class or prompt are drawn under the name of a schedule, or not at all."""
    images = "images: [{sample: 'textures:brick', size: 16}]\nmasks: [{generator: box}]\n"
    schedules = "schedules: [{name: a, steps: 1}, {name: b, steps: 2}, {name: c, steps: 3}]\n"
    Path("sweep.yaml").write_text(images + schedules + "classes: [brick, grass]\n")
    run("sweep_pictures", "sweep.yaml", "--out", "all.png")
    run("sweep_pictures", "sweep.yaml", "--count", "1", "--out", "one.png")
    run("sweep_pictures", "sweep.yaml", "--count", "1", "--columns", "2", "--out", "below.png")
    every, one, below = (np.asarray(Image.open(f"{name}.png")) for name in ("all", "one", "below"))
    row, column, title = 32 + 4, 32 + 4, 22  # tiles of 16 pixels, twice as large, with gaps; see `strip`
    assert one.shape[:2] == (title + row, 5 * column + 4)
    assert every.shape[:2] == (title + 2 * row, 5 * column + 4)
    assert below.shape[:2] == (2 * (title + row), 4 * column + 4)
    tile = slice(title, title + 32)
    assert np.array_equal(below[tile], one[tile, : 4 * column + 4])
    last, third = slice(4 + 4 * column, 4 + 4 * column + 32), slice(4 + 2 * column, 4 + 2 * column + 32)
    assert np.array_equal(below[title + row :][tile, third], one[tile, last])
    assert np.array_equal(every[tile], one[tile])


def test_colourising_keeps_the_grey_channel(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, the example changes the photograph that it colours, or leaves it grey."""
    run("colourise", "photos", "--short", "--out", "out.png")
    printed = capsys.readouterr().out
    # Two rotations in float32 of values up to 3 ** 0.5: a few times 1.2e-7.
    assert float(re.findall(r"grey channel: ([\d.e-]+) of", printed)[0]) < 1e-6
    found = {name: float(value) for name, value in re.findall(r"^(.*): PSNR .* colourfulness ([\d.]+)", printed, re.M)}
    assert found["grey"] == 0 < found["one sample"]
    assert Image.open("out.png").width == 5 * 68 + 4


def test_colour_axes_are_exact() -> None:
    """If this fails, colours do not follow the posterior given grey: the rotation or the mask of channels is wrong."""
    example = runpy.run_path(str(EXAMPLES / "colourise.py"))
    axes, known = example["AXES"].double(), example["KNOWN"]
    assert torch.allclose(axes @ axes.T, torch.eye(3, dtype=torch.float64), atol=1e-6)
    root = torch.tensor([[0.5, 0, 0], [0.3, 0.4, 0], [-0.2, 0.3, 0.3]], dtype=torch.float64)
    prior = GaussianMixturePrior([1.0], [[0.1, -0.2, 0.3]], (root @ root.T)[None], shape=(3, 1, 1))
    turned = GaussianMixturePrior([1.0], prior.means @ axes.T, axes @ prior.covariances @ axes.T)
    exact = turned.posterior([0], [0.4])
    count, x0 = 2000, torch.tensor([0.4, 9.0, 9.0], dtype=torch.float64)[:, None, None]
    sampler = Sampler(example["ColourAxes"](prior), as_method("best"))
    *_, last = sampler.run(sampler.start(x0.expand(count, 3, 1, 1), known, [0]))
    assert bool((last.x[:, 0] == 0.4).all())
    colours = last.x[:, 1:, 0, 0]
    # Four standard errors of 2000 draws of std 0.28 and 0.18 are 0.025; best itself is within 3 % here (two pixels).
    assert torch.allclose(colours.mean(0), exact.means[0], atol=0.04)
    assert torch.allclose(torch.cov(colours.T), exact.covariances[0], atol=0.015)


@pytest.mark.slow
def test_the_probability_flow_is_solved_to_its_tolerance(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, a smaller tolerance does not come nearer to the flow, or DDIM follows another one."""
    run("probability_flow", "--short")
    found = re.findall(r"^(.*): (\d+) calls, error ([\d.]+)", capsys.readouterr().out, flags=re.MULTILINE)
    calls, errors = ({name: float(row[i]) for name, *row in found} for i in (0, 1))
    assert errors["RK45, 0.001"] == 0
    assert errors["RK45, 0.01"] < errors["RK45, 0.1"] < errors["DDIM, 8 steps"] < errors["DDIM, 4 steps"]
    assert calls["RK45, 0.1"] < calls["RK45, 0.01"] < calls["RK45, 0.001"]


def test_the_probability_flow_of_a_gaussian() -> None:
    """If this fails, the flow, its clock, or the last step to the clean level is wrong."""
    example = runpy.run_path(str(EXAMPLES / "probability_flow.py"))
    std, noise = torch.tensor([0.3, 2.0], dtype=torch.float64), torch.tensor([[0.7, -1.1]], dtype=torch.float64)
    prior = GaussianMixturePrior([1.0], torch.zeros(1, 2), torch.diag(std**2)[None])
    levels = prior.schedule(1000, "linspace").levels
    sizes = [(level.alpha**2 * std**2 + level.sigma**2).sqrt() for level in (levels[-1], levels[1])]
    at_least = noise * sizes[1] / sizes[0]  # each coordinate keeps its quantile
    exact = at_least * levels[1].alpha * std**2 / sizes[1] ** 2
    found, calls = example["solved"](prior, noise, 1e-6)
    assert torch.allclose(found, exact, rtol=1e-4)
    assert 20 < calls < 1000


def test_a_variance_is_learned(run, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, the bound is wrong: it falls with training, and no variance is better than the learned one."""
    run("learned_variance", "--short")
    bits = re.search(r"4 steps, bits: small ([\d.]+), large ([\d.]+), learned ([\d.]+)", capsys.readouterr().out)
    small, large, learned = map(float, bits.groups())
    # Untrained, it lies halfway in the log domain; at four steps the small variance is far too small.
    assert large < learned < small


def test_the_bound_is_least_at_the_optimal_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the divergence is wrong: its minimum is elsewhere, or is not that of two Gaussians."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    divergence = runpy.run_path(str(EXAMPLES / "learned_variance.py"))["divergence"]
    small, square = torch.tensor(0.3).log(), 0.5
    logs = torch.linspace(-2, 1, 3001)
    found = divergence(logs, small, square)
    assert logs[found.argmin()].exp().item() == pytest.approx(0.3 + square, rel=2e-3)
    a, b = torch.distributions.Normal(0.0, 0.3**0.5), torch.distributions.Normal(square**0.5, logs[7].mul(0.5).exp())
    assert found[7].item() == pytest.approx(torch.distributions.kl_divergence(a, b).item() / np.log(2), rel=1e-5)


def test_euler_maruyama_reaches_the_prior() -> None:
    """If this fails, the reverse SDE beside the flow has a wrong drift or a wrong diffusion."""
    example = runpy.run_path(str(EXAMPLES / "probability_flow.py"))
    std = torch.tensor([0.3, 2.0], dtype=torch.float64)
    prior = GaussianMixturePrior([1.0], torch.zeros(1, 2), torch.diag(std**2)[None])
    sampler = Sampler(prior, Method(JumpSchedule.from_rules(500, []), solver=example["EulerMaruyama"]()))
    nothing = torch.zeros(2000, 2, dtype=torch.float64)
    *_, last = sampler.run(sampler.start(nothing, torch.zeros(1, dtype=torch.bool), [0]))
    # Three standard errors of 2000 draws are 5 %; 500 steps cost 2 %.
    assert torch.allclose(last.x.std(0), std, rtol=0.07)


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
