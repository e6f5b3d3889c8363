"""The house: a file imports only from files above it, heavy packages are imported late, public names are pinned."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import repaint

ROOT = Path(repaint.__file__).parent

FOLDERS = {"lab", "studio", "cli"}  # one entry each; their files may import one another

# Top to bottom; entries of one line may not import each other.
ORDER = [
    ["version"],
    ["errors"],
    ["config"],
    ["rng"],
    ["files"],
    ["noise"],
    ["presets", "original"],
    ["schedule"],
    ["prediction"],
    ["masks"],
    ["images"],
    ["samples"],
    ["crop", "seam"],
    ["merge"],
    ["solvers"],
    ["method"],
    ["state"],
    ["priors.base", "priors.trust"],
    ["priors.preconditioning"],
    ["priors.gaussian", "priors.pixel", "priors.guided_anatomy", "priors.windowed"],
    ["priors.latent"],
    ["priors.text", "priors.dit"],
    ["priors.flow", "priors.guided"],
    ["priors.load"],
    ["jobs", "memory"],
    ["sampler"],
    ["pipeline"],
    ["metrics"],
    ["audit"],
    ["lab"],
    ["plots"],
    ["demo", "folders"],
    ["studio"],
    ["cli"],
    ["__init__", "__main__"],
]
PLACE = {name: place for place, names in enumerate(ORDER) for name in names}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def entry(module: str) -> str:
    """The entry of ORDER that a module belongs to."""
    return module.split(".")[0] if module.split(".")[0] in FOLDERS else module


def imported(path: Path) -> set[str]:
    """Modules of repaint that a file imports, anywhere in it; names from a package are modules where one exists."""
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


def exists(module: str) -> bool:
    path = ROOT.parent.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


FILES = sorted(path for path in ROOT.rglob("*.py") if path.stat().st_size > 0)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_import_only_from_above(path: Path) -> None:
    """If this fails, modules reach back: the code can no longer be read, or tested, from top to bottom."""
    name = entry(module_name(path))
    assert name in PLACE, f"{name} has no place: add it to ORDER where its imports allow"
    for other in imported(path):
        if entry(other) == name and name in FOLDERS:
            continue  # files of one folder may share
        assert entry(other) in PLACE, f"{name} imports {other}, which has no place in ORDER"
        assert PLACE[entry(other)] < PLACE[name], f"{name} imports {other}, which stands below or beside it"


def test_the_walk_sees_imports() -> None:
    """If this fails, the test above sees nothing and passes always."""
    assert {"errors", "noise", "merge", "method", "prediction", "priors.base", "rng", "state"} == imported(
        ROOT / "sampler.py"
    )
    assert "presets" in imported(ROOT / "schedule.py")  # from repaint import presets
    assert "pipeline" in imported(ROOT / "cli" / "inpaint.py")  # inside a function


def test_importing_repaint_stays_light() -> None:
    """If this fails, `import repaint` takes seconds longer, or breaks where an optional package is missing."""
    heavy = ["diffusers", "transformers", "lpips", "matplotlib", "gradio", "skimage"]
    code = f"import repaint, sys; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.split() == []


def test_public_names_are_pinned() -> None:
    """If this fails, a public name was added, removed or renamed: say so in the changelog, then change this list."""
    assert sorted(repaint.__all__) == [
        "GaussianMixturePrior",
        "JumpSchedule",
        "Method",
        "NoiseSchedule",
        "RePaintOutput",
        "RePaintPipeline",
        "RepaintError",
        "inpaint",
    ]
    assert all(getattr(repaint, name).__module__.startswith("repaint.") for name in repaint.__all__)
