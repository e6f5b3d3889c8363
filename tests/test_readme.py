"""The README's programs and commands, run as they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repaint import cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with the photo.png and mask.png that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:10, 6:14] = 255
    Image.fromarray(photo).save("photo.png")
    Image.fromarray(mask).save("mask.png")
    return tmp_path


def needs_the_hub(block: str) -> bool:
    """Whether a program names a model of the Hub, owner/name."""
    return re.search(r'"[\w.-]+/[\w.-]+"', block) is not None


def test_its_prompt_program_runs_with_a_model_of_that_kind(folder, monkeypatch):
    """If this fails, the program with a prompt does not run even where its model is at hand."""
    import diffusers
    from helpers.tiny_latents import tiny_sd

    program = next(block for block in blocks("python") if "prompt=" in block)
    tiny = tiny_sd(folder / "tokens")
    monkeypatch.setattr(tiny, "to", lambda *_: tiny)
    monkeypatch.setattr(diffusers.StableDiffusionPipeline, "from_pretrained", lambda *_: tiny)
    exec(program, {})
    before, after, hole = (np.asarray(Image.open(name)) for name in ("photo.png", "filled.png", "mask.png"))
    assert np.array_equal(before[hole == 0], after[hole == 0])
    assert not np.array_equal(before[hole == 255], after[hole == 255])


def test_its_programs_run_one_after_the_other(folder, capsys):
    """If this fails, a newcomer's first paste ends in a traceback."""
    programs = [block for block in blocks("python") if not needs_the_hub(block)]
    assert len(programs) == 4
    names: dict[str, object] = {}
    for program in programs:
        exec(program, names)
        names.setdefault("image", "photo.png")
        names.setdefault("mask", "mask.png")
    assert capsys.readouterr().out == "25 [0]\n"
    before, after, hole = (np.asarray(Image.open(name)) for name in ("photo.png", "filled.png", "mask.png"))
    assert np.array_equal(before[hole == 0], after[hole == 0])
    assert not np.array_equal(before[hole == 255], after[hole == 255])
    assert len(names["more"]) == 3


def test_its_hub_program_is_the_same_call():
    """If this fails, the program for the Hub is no longer the one that is tested offline."""
    local, hub = (block for block in blocks("python")[:2])
    calls = [re.search(r"out = pipe\((.*)\)", block).group(1) for block in (local, hub)]
    assert [call.split("schedule")[0].split(",")[1] for call in calls] == [' "mask.png"', ' "mask.png"']
    compile(hub, "README.md", "exec")


def test_its_schedule_commands_run(folder, monkeypatch, capsys):
    """If this fails, a command of the README does not exist or has other options."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("repaint schedule")]
    assert len(lines) == 3
    for line in lines:
        monkeypatch.setattr("sys.argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None), line
    assert (folder / "walk.png").stat().st_size > 10_000


def test_its_table_of_schedules_states_the_true_costs():
    """If this fails, a preset was changed and the README was not."""
    from repaint import Method
    from repaint.sampling import presets

    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| .* \| (\d+) \|$", README, flags=re.MULTILINE)
    stated = {name: int(calls) for names, calls in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert stated == {name: Method.from_preset(name).model_calls for name in presets.available()}


def test_its_promises_are_held_by_tests_that_exist():
    """If this fails, the README promises something that no test holds."""
    section = README.split("## Promises")[1].split("\n## ")[0]
    rows = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("|") and "tests/test_" in line]
    assert len(rows) == 15
    for row in rows:
        text = ""
        for file, name in re.findall(r"`(?:(tests/\w+\.py)::)?(test_\w+)`", row):
            text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8") if file else text
            assert f"def {name}(" in text, name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    """If this fails, a picture is missing or a link of the documentation is dead."""
    path = ROOT / page
    found = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    for target, _, anchor in (link.partition("#") for link in found if "://" not in link):
        other = (path.parent / target).resolve() if target else path
        assert other.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads], anchor
