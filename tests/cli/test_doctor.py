"""`repaint doctor`, `--help`, `--version` and completion."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
import typer

import repaint
from repaint import cli
from repaint.measure import metrics
from repaint.priors import load

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["repaint", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


def state_of(stdout: str) -> dict[str, dict[str, str]]:
    return {f"{finding['part']} {finding['name']}": finding for finding in json.loads(stdout)["findings"]}


def test_a_healthy_installation(run: Run) -> None:
    """If this fails, the doctor reports a fault in a healthy installation, or skips a check."""
    status, stdout, _ = run("doctor", "--json")
    found = state_of(stdout)
    assert (status, json.loads(stdout)["healthy"]) == (0, True)
    for name in ("packages torch", "packages diffusers", "packages transformers", "devices cpu", "self-test photos"):
        assert found[name]["state"] == "ok", found[name]
    assert found["packages torch"]["found"] == metadata.version("torch")
    assert {"devices cuda", "devices mps"} <= set(found) or {"devices cuda:0", "devices mps"} <= set(found)
    assert {"priors textures", "priors emoji", "extras gradio", "weights LPIPS alex"} <= set(found)
    assert {"extras opencv-python-headless", "extras torch-fidelity"} <= set(found)
    assert "extras torch" not in found


def test_the_table_and_its_cures(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """If this fails, a command in the output is wrapped and cannot be pasted."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    status, stdout, _ = run("doctor")
    fetch = "python -c \"from torchvision import models; models.alexnet(weights='IMAGENET1K_V1')\""
    assert status == 0
    assert f"\nLPIPS alex: Fetch it once: {fetch}\n" in stdout
    assert "self-test  photos" in stdout


def test_what_is_broken(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """If this fails, an old package, a missing prior or a failed self-test is reported as healthy."""
    wanted = ["torch>=99", "lpips>=0.1", "no-such-package>=1", "no-such-extra>=1; extra == 'app'"]
    monkeypatch.setattr(metadata, "requires", lambda _name: wanted)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "model_index.json").write_text("{}")
    monkeypatch.setattr(load, "BUNDLED", tmp_path)
    status, stdout, _ = run("doctor", "--json")
    found = state_of(stdout)
    assert status == 1
    assert found["packages torch"]["state"] == "broken"
    assert found["packages torch"]["found"].endswith(", but >=99 is required")
    assert found["packages torch"]["cure"] == "pip install 'torch>=99'"
    assert found["packages no-such-package"]["state"] == "broken"
    assert (found["extras no-such-extra"]["state"], found["packages lpips"]["state"]) == ("missing", "ok")
    assert found["extras no-such-extra"]["cure"] == "pip install 'no-such-extra>=1'"
    assert found["priors photos"]["state"] == found["self-test photos"]["state"] == "broken"


def test_a_self_test_that_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the self-test does not check the kept pixels, or the hole."""
    doctor = importlib.import_module("repaint.cli.doctor")  # the command hides its module
    from repaint.pipeline import RePaintOutput, RePaintPipeline

    for change, message in ((255, "kept pixels changed"), (0, "the hole was not filled")):
        monkeypatch.setattr(
            RePaintPipeline,
            "__call__",
            lambda _self, image, *_, change=change, **__: RePaintOutput([image ^ change], 3, [0]),
        )
        assert (doctor._self_test().state, doctor._self_test().found) == ("broken", message)


@pytest.mark.parametrize(
    ("seconds", "state", "found"),
    [
        ({1: 1.0, 4: 30.0}, "slow", "4 threads take 30 times as long as 1"),
        ({1: 1.0, 4: 120.0}, "slow", "take 120 times"),
        ({1: 2.0, 4: 1.0}, "ok", "0.5 times"),
    ],
)
def test_slow_threads(monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], state: str, found: str) -> None:
    """If this fails, there is no warning when many threads are far slower than one."""
    doctor = importlib.import_module("repaint.cli.doctor")
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    monkeypatch.setattr(doctor, "trial_seconds", seconds.__getitem__)
    finding = doctor._threads()
    assert finding.state == state
    assert found in finding.found
    assert bool(finding.cure) == (state == "slow")


def test_lpips_backbones() -> None:
    """If this fails, the command fetches a file that LPIPS does not read."""
    for net in metrics.LPIPS_NETS:
        file, command = metrics.lpips_backbone(net)
        assert file.name.startswith(metrics._BACKBONES[net][0].split("_")[0])
        assert "IMAGENET1K_V1" in command


def commands(app: typer.Typer) -> list[tuple[str, Any]]:
    """Yield every command as (name as typed, click command)."""

    def below(name: str, command: Any) -> list[tuple[str, Any]]:
        children = getattr(command, "commands", {})
        return [(name, command)] + [found for part, its in children.items() for found in below(f"{name} {part}", its)]

    return below("repaint", typer.main.get_command(app))


COMMANDS = commands(cli.app)
LEAVES = [(name, command) for name, command in COMMANDS if not getattr(command, "commands", None)]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_help(run: Run, name: str, command: Any) -> None:
    """If this fails, a command has no help, or help is an error."""
    status, stdout, stderr = run(*name.split()[1:], "--help")
    assert (status, stderr) == (0, "")
    assert "Usage" in stdout
    assert command.help


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_help_has_an_example_that_parses(name: str, command: Any) -> None:
    """If this fails, a command shows no example, or one with an unknown option."""
    lines = [line.strip() for line in command.help.splitlines()]
    examples = [line.removeprefix("Example: ") for line in lines if line.startswith("Example: repaint")]
    assert examples, name
    root = typer.main.get_command(cli.app)
    for example in examples:
        check_parses(root, shlex.split(example)[1:])


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_command_that_runs_a_model_takes_a_device(name: str, command: Any) -> None:
    """If this fails, a command runs its model on the CPU of a computer with a GPU."""
    defaults = {option: each.default for each in command.params for option in each.opts}
    runs_formulas = name == "repaint exactness"
    if {"--prior", "--dtype"} & set(defaults) and not runs_formulas:
        assert defaults.get("--device") == "auto"


def check_parses(group: Any, arguments: list[str]) -> None:
    """Parse a command line with all its subcommands, without running it."""
    context = group.make_context("repaint", list(arguments))
    while getattr(context.command, "commands", None):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


def test_version(run: Run) -> None:
    """If this fails, bug reports cannot name the version."""
    assert run("--version") == (0, f"repaint {repaint.__version__}\n", "")


def test_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the shell does not complete commands and options."""
    monkeypatch.setenv("_REPAINT_COMPLETE", "complete_bash")
    for words, expected in (("repaint in", {"inpaint"}), ("repaint inpaint --over", {"--overwrite"})):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert set(run()[1].split()) == expected
