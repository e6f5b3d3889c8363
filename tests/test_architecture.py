"""The layout of the package: layers of imports, no lab in the product, and unique names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import repaint

ROOT = Path(repaint.__file__).parent

# Layers from the bottom up. A module imports only from layers below it, and not from its own layer.
STAIR = [
    ["version", "errors"],
    ["checks", "defaults"],
    ["cpu_memory", "files", "precision", "shards", "threads", "warning_filters", "yaml_files"],
    ["pictures", "sampling"],
    ["priors", "measure"],
    ["placement"],
    ["arguments", "cutouts"],
    ["outpainting", "plan"],
    ["pipeline"],
    ["folders", "removal", "restoring", "testing"],
    ["__init__"],
    ["lab", "studio"],
    ["cli"],
    ["__main__"],
]
PLACE = {name: place for place, names in enumerate(STAIR) for name in names}
LABORATORY = {"lab", "cli"}  # the two packages that may import lab


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def wing(module: str) -> str:
    return module.split(".")[0]


def exists(module: str) -> bool:
    path = ROOT.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imported(path: Path) -> set[str]:
    """The modules of repaint that a file imports, also inside functions, without the prefix `repaint.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name if exists(name) else str(node.module) for name in names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        found |= {module.removeprefix("repaint.") for module in modules if module.startswith("repaint.")}
        found |= {"__init__" for module in modules if module == "repaint"}
    return found


FILES = sorted(path for path in ROOT.rglob("*.py") if path.stat().st_size > 0)
MODULES = {module_name(path): path for path in FILES}


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_the_stair(name: str) -> None:
    """If this fails, a module imports from its own layer or a layer above."""
    own = wing(name)
    assert own in PLACE, f"{own} has no place: add it to STAIR where its imports allow"
    for other in imported(MODULES[name]):
        assert wing(other) in PLACE, f"{name} imports {other}, which has no place in STAIR"
        if wing(other) != own:
            assert PLACE[wing(other)] < PLACE[own], f"{name} imports {other}, which is above it or beside it"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """If this fails, two modules import each other, at least one of them inside a function."""
    graph = {name: {other for other in imported(path) if other in MODULES} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", MODULES)
def test_the_product_never_imports_the_laboratory(name: str) -> None:
    """If this fails, the product imports experiments, and an experiment can break it."""
    if wing(name) not in LABORATORY:
        assert not {other for other in imported(MODULES[name]) if wing(other) == "lab"}


def test_the_walk_sees_imports() -> None:
    """If this fails, the tests above find no imports and always pass."""
    assert {"sampling.merge", "sampling.method", "sampling.prior"} <= imported(ROOT / "sampling" / "sampler.py")
    assert "sampling.presets" in imported(ROOT / "sampling" / "schedule.py")  # from repaint.sampling import presets
    assert "pipeline" in imported(ROOT / "cli" / "inpaint.py")  # inside a function
    assert len(MODULES) > 60


def test_the_layout_names_every_module() -> None:
    """If this fails, a module or package was added, and the layout in CONTRIBUTING.md was not."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for wing in PLACE:
        if not wing.startswith("__"):
            name = f"`{wing}/`" if (ROOT / wing).is_dir() else f"`{wing}.py`"
            assert name in text, name


def test_no_two_modules_share_a_name() -> None:
    """If this fails, two files have the same name."""
    counts = Counter(path.stem for path in FILES if path.stem not in ("__init__", "__main__"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_two_public_classes_share_a_name() -> None:
    """If this fails, two public classes have the same name, which is ambiguous in tracebacks."""
    counts = Counter(
        node.name
        for path in FILES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", MODULES)
def test_what_a_part_needs_is_declared(name: str) -> None:
    """If this fails, a caller reads an undeclared attribute of a part or prior, which wrappers do not forward."""
    text = MODULES[name].read_text(encoding="utf-8")
    if wing(name) in ("sampling", "plan", "pipeline", "placement", "folders", "studio", "lab"):
        assert not re.findall(r"getattr\((?:\w+\.)*(?:prior|merge|solver|corrector|method)\b[^)]*", text)
    assert "def __getattr__" not in text


HEAVY = ["diffusers", "transformers", "lpips", "matplotlib", "gradio", "skimage"]


def loaded_by(statement: str, names: list[str]) -> list[str]:
    """The names that are loaded after a statement in a new interpreter."""
    code = f"{statement}; import sys; print(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    return done.stdout.split()


def test_importing_repaint_and_its_commands_stays_light() -> None:
    """If this fails, `import repaint`, `repaint --help` and each completion in the shell take seconds longer."""
    assert loaded_by("import repaint, repaint.cli", ["torch", "numpy", *HEAVY, "repaint.lab"]) == []


def test_every_public_name_is_there() -> None:
    """If this fails, `__init__.pyi` lists a name that its module lacks, or type checkers do not read it."""
    listed = ast.parse((ROOT / "__init__.pyi").read_text(encoding="utf-8")).body
    assert sorted(alias.name for node in listed if isinstance(node, ast.ImportFrom) for alias in node.names) == sorted(
        repaint.__all__
    )
    assert all(getattr(repaint, name).__name__ == name for name in repaint.__all__)
    assert (ROOT / "py.typed").exists()


def test_importing_any_product_module_stays_light() -> None:
    """If this fails, importing a module of the product loads a package that only some calls need."""
    product = [name for name in MODULES if wing(name) not in {"lab", "cli", "studio"} and "__" not in name]
    statement = "; ".join(f"import repaint.{name}" for name in product)
    assert loaded_by(statement, [*HEAVY, "repaint.lab"]) == []


def test_public_names_are_pinned() -> None:
    """If this fails, a public name was added, removed or renamed: update the changelog and this list."""
    assert sorted(repaint.__all__) == [
        "Crop",
        "GaussianMixturePrior",
        "JumpSchedule",
        "Method",
        "NoiseSchedule",
        "Prior",
        "RePaintOutput",
        "RePaintPipeline",
        "RepaintError",
        "detect_damage",
        "inpaint",
        "remove",
        "restore",
    ]
    assert all(getattr(repaint, name).__module__.startswith("repaint.") for name in repaint.__all__)


def test_warnings_are_issued_in_one_place() -> None:
    """If this fails, a warning may point into the library instead of the line of its caller."""
    found = [
        module_name(path)
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "warnings.warn"
    ]
    assert found == ["errors"]


def test_warnings_point_to_the_caller(tmp_path: Path) -> None:
    """If this fails, a user searches for the cause of a warning in files that are not theirs."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import warnings, numpy as np\n"
        "from repaint import RePaintPipeline\n"
        "from repaint.pictures.masks import read_keep\n"
        "from repaint.testing import PixelByPixelPrior\n"
        "pipe, image = RePaintPipeline(PixelByPixelPrior()), np.zeros((16, 16, 3), np.uint8)\n"
        "pipe.prior.largest_hole = 4\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    pipe(image, np.zeros((16, 16), bool), schedule='turbo')\n"
        "    pipe(image, np.ones((16, 16), bool), schedule='turbo')\n"
        "    pipe.outpaint(image, left=8, schedule='turbo')\n"
        "    read_keep(np.zeros((16, 16), bool), None, sizes=[(16, 16)])\n"
        "print(*((w.filename.endswith('mine.py'), w.lineno) for w in caught))\n"
    )
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert found.split("\n")[-2] == "(True, 9) (True, 10) (True, 11) (True, 12)"


def test_a_script_beside_the_package_is_not_part_of_it() -> None:
    """If this fails, a warning of a script such as `repaint_demo.py` in a checkout points to what called the script."""
    script = f"from repaint.errors import warn; exec(compile('warn(1)', {f'{ROOT}_demo.py'!r}, 'exec'))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert found.startswith(f"{ROOT}_demo.py:1: UserWarning: 1")
