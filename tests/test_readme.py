"""The README and the pages of docs/: their programs, commands, tables and links."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from helpers.tiny_latents import tiny_sd
from helpers.tiny_priors import tiny_folder_pipeline
from PIL import Image

from repaint import JumpSchedule, Method, RePaintPipeline, cli
from repaint.sampling import presets
from repaint.sampling.method import CORRECTORS, GUIDANCE, MERGES, SOLVERS
from repaint.sampling.spacing import CLOCK, SPACINGS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CARDS = sorted((ROOT / "repaint" / "priors" / "bundled").glob("*/README.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TESTED = [*PAGES, *CARDS, ROOT / "examples" / "cluster" / "README.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with photo.png and mask.png, as the pages assume."""
    monkeypatch.chdir(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    mask = np.zeros((16, 24), np.uint8)
    mask[4:10, 6:14] = 255
    Image.fromarray(photo).save("photo.png")
    Image.fromarray(mask).save("mask.png")
    return tmp_path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace models of the Hub by tiny ones of the same kind, and CUDA by the CPU."""
    original = RePaintPipeline.from_pretrained

    def load(name: str, **options: Any) -> RePaintPipeline:
        if "/" not in name:
            return original(name, **options)
        tiny = tiny_sd(tmp_path / "tokens") if "stable-diffusion" in name else tiny_folder_pipeline()
        pipe = RePaintPipeline.from_pipe(tiny)
        monkeypatch.setattr(pipe, "to", lambda *_: pipe)
        return pipe

    monkeypatch.setattr(RePaintPipeline, "from_pretrained", load)


def check_filled(image: str, result: str, mask: str) -> None:
    """Kept pixels are equal and pixels of the hole are not."""
    before, after, hole = (np.asarray(Image.open(name)) for name in (image, result, mask))
    assert np.array_equal(before[hole == 0], after[hole == 0])
    assert not np.array_equal(before[hole == 255], after[hole == 255])


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=ids)
def test_python_programs_run(page: Path, folder: Path, hub: None) -> None:
    """If this fails, the first program that a reader pastes from this page ends in a traceback."""
    names: dict[str, Any] = {"image": "photo.png", "mask": "mask.png"}
    for program in blocks(page, "python"):
        exec(compile(program.replace('"paper"', '"fast"'), str(page), "exec"), names)  # fewer calls
    if (folder / "filled.png").exists():
        check_filled("photo.png", "filled.png", "mask.png")


def test_first_program_prints_what_its_comment_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, the README's first program fills no hole or states the wrong cost."""
    exec(blocks(README, "python")[0], {})
    assert capsys.readouterr().out == "25 [0]\n"
    check_filled("photo.png", "filled.png", "mask.png")


def commands() -> list[tuple[str, str]]:
    """(page, command) of each shell command that is shown in a block, in backticks or in an example's docstring."""
    found = []
    for page in [*TESTED, *EXAMPLES]:
        text = page.read_text(encoding="utf-8")
        if page.suffix == ".py":
            text = ast.get_docstring(ast.parse(text)) or ""
        text = text.replace("\\\n", " ")
        shown = re.findall(
            r"^(?: {4})?((?:repaint|pytest|python|accelerate launch -m repaint) .*)$", text, re.MULTILINE
        )
        shown += re.findall(r"`((?:repaint|pytest|python) [^`]*)`", text)
        found += [(ids(page), " ".join(command.split("#")[0].split())) for command in shown]
    return sorted(set(found))


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_exist(page: str, command: str) -> None:
    """If this fails, a page shows a command, an option or a file that does not exist, or leaves out what it needs."""
    words = shlex.split(command.removeprefix("accelerate launch -m ").removesuffix("..."))
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    if words[0] == "repaint":
        # `repaint inpaint --mean` names an option; a command with several is one to copy. The changelog names them all.
        check_parses(words[1:], given, whole=len(given) > 1 and page != "CHANGELOG.md")
    else:
        for word in words:
            if word.startswith(("examples/", "schedules/", "tests/")):
                assert (ROOT / word.split("::")[0]).exists(), word
        if words[1].startswith("examples/"):
            sources = [(ROOT / name).read_text(encoding="utf-8") for name in (words[1], "examples/training.py")]
            assert [option for option in given if f'"{option}"' not in "".join(sources)] == []


def check_parses(arguments: list[str], given: set[str], *, whole: bool) -> None:
    """Parse a command line with the real options, without running it. Unless it is whole, parts may be left out."""
    context: Any = typer.main.get_command(cli.app).make_context("repaint", arguments, resilient_parsing=not whole)
    while getattr(context.command, "commands", None) and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context, resilient_parsing=not whole)
    options = {name for option in context.command.params for name in (*option.opts, *option.secondary_opts)}
    assert given <= options | {"--help"}, f"unknown: {given - options}"


def test_ci_runs_the_two_commands() -> None:
    """If this fails, CI no longer finds the README's two commands, or runs others."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    found = re.findall(r"sed -n 's/(\^pip install .*?)/&/p' README\.md", script)
    assert len(found) == 2
    lines = [re.findall(pattern.rstrip("/"), README.read_text(encoding="utf-8"), re.MULTILINE) for pattern in found]
    assert [len(line) for line in lines] == [1, 1]
    assert "\n".join(line[0] for line in lines) + "\n" == blocks(README, "bash")[0]


def test_readme_is_short() -> None:
    """If this fails, the README is longer or shorter than its form allows: move text to docs/."""
    assert 850 <= len(README.read_text(encoding="utf-8").split()) <= 950


def test_each_measured_row_has_its_command() -> None:
    """If this fails, the README states a figure that a reader cannot reproduce."""
    section = README.read_text(encoding="utf-8").split("## Why it is different")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert 1 <= len(rows) <= 8
    for row in rows:
        assert re.search(r"\| `(repaint|pytest|python) [^`]+` \|$", row), row


def test_table_of_schedules_states_the_true_costs() -> None:
    """If this fails, a preset was added or changed and its documentation was not."""
    text = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| .* \| (\d+) \|$", text, flags=re.MULTILINE)
    stated = {name: int(calls) for names, calls in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert stated == {name: Method.from_preset(name).model_calls for name in presets.available()}


def test_table_of_parts_states_the_true_names() -> None:
    """If this fails, a part of a method or one of its arguments was renamed, and docs/methods.md was not."""
    lines = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").splitlines()
    tables = {"merge": MERGES, "solver": SOLVERS, "corrector": CORRECTORS, "guidance": GUIDANCE, "spacing": SPACINGS}
    for part, table in tables.items():
        (row,) = [line for line in lines if line.startswith(f"| {part} |") and line.count("|") == 4]
        shown = dict(re.findall(r"`(\w+)(?:\((.*?)\))?`", row))
        assert set(shown) == {*table, *(CLOCK if part == "spacing" else ())}, part
        for name, text in shown.items():
            words = [word.strip(" =") for word in text.split(",") if word]
            positional = [word.strip() for word in text.split(",") if word and "=" not in word]
            known = [*inspect.signature(table[name]).parameters] if words else []
            assert set(words) <= set(known), name
            assert positional == known[: len(positional)], name


def rows_of(section: str) -> list[list[str]]:
    """Return the cells of each table row in a section of docs/measured.md."""
    text = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    lines = text.split(f"\n## {section}\n")[1].split("\n## ")[0].splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_measured_figures_of_presets_agree_with_the_page() -> None:
    """If this fails, a preset and docs/measured.md state different figures for the same measurement."""
    measured = {name: presets.read(name)[1].measured for name in presets.available()}
    stated: dict[tuple[str, str], list[float]] = {}
    for name, *cells in rows_of("An exact posterior"):
        stated[name, "two_pixels"] = [float(cell) for cell in cells[:2] if name in measured]
    for name, *cells in rows_of("Texture"):
        stated[name.split("`")[0], "textures"] = [float(cell) for cell in cells[:3] if name.split("`")[0] in measured]
    priors = {"HSC, 32 x 32": "galaxies_hsc32", "HSC, 64 x 64": "galaxies_hsc64", "LSST, 60 x 60": "galaxies_lsst"}
    prior = ""
    for first, name, *cells in rows_of("Calibration"):
        prior = priors.get(first, first) or prior
        if cells[-3:-2] and re.fullmatch(r"[\d.]+", cells[-3]):
            stated[name, f"calibration_{prior}"] = [float(cells[-3]), float(cells[-1].split()[0])]
    compared = 0
    for (name, key), figures in stated.items():
        if key in measured.get(name, {}):
            assert [value for what, value in measured[name][key].items() if what != "holes"] == figures, (name, key)
            compared += 1
    assert compared >= 26


def test_example_preset_is_accepted(tmp_path: Path) -> None:
    """If this fails, the YAML file that the documentation shows is refused."""
    (program,) = blocks(ROOT / "docs" / "schedules.md", "yaml")
    (tmp_path / "mine.yaml").write_text(program, encoding="utf-8")
    assert JumpSchedule.from_yaml(tmp_path / "mine.yaml").steps == yaml.safe_load(program)["steps"]


def test_promises_are_held_by_tests_that_exist() -> None:
    """If this fails, the documentation promises something that no test checks."""
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("|") and "tests/" in line]
    assert len(rows) >= 39  # promises, and what people bring
    for row in rows:
        file = ""
        for path, name in re.findall(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`", row):
            file = path or file
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), (file, name)


@pytest.mark.parametrize("page", TESTED, ids=ids)
def test_links_resolve(page: Path) -> None:
    """If this fails, an image is missing or a link of the documentation is dead."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for target, _, anchor in (link.partition("#") for link in found if "://" not in link):
        other = (page.parent / target).resolve() if target else page
        assert other.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads], anchor


def test_every_page_is_in_the_navigation() -> None:
    """If this fails, a page of docs/ cannot be reached in the site."""
    named = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= named
