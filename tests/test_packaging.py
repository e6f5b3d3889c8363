"""Packaging: presets and priors are found from a wheel, an editable install and a checkout, in any working folder."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

import repaint
from repaint.sampling import presets

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = ROOT / "pyproject.toml"
PRESETS = sorted(path.stem for path in (ROOT / "schedules").glob("*.yaml"))
PUBLISHED = sorted(path.stem for path in (ROOT / "schedules" / "published").glob("*.yaml"))

# The dependencies that every install must declare.
MISSION = {"torch", "diffusers", "transformers", "accelerate", "lpips", "numpy", "pillow", "scikit-image"}

PROBE = """
import json, repaint
from repaint.sampling import presets
from repaint.priors.load import BUNDLED, bundled
sizes = {name: sum(file.stat().st_size for file in (BUNDLED / name).rglob("*")) for name in bundled()}
print(json.dumps({"file": repaint.__file__, "presets": presets.available(), "bundled": sizes}))
"""


def probe(python: Path | str, cwd: Path, path: Path | None = None) -> dict[str, object]:
    """Run `PROBE` in a new interpreter, with `path` on its path if given, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [str(python), "-c", PROBE], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def check(found: dict[str, object], home: Path) -> None:
    """Check that the package lies under `home` and finds all presets and the weights of a bundled prior."""
    assert Path(str(found["file"])).is_relative_to(home)
    assert found["presets"] == PRESETS
    bundled = found["bundled"]
    assert isinstance(bundled, dict)
    assert bundled["textures"] > 2**20, "config found, weights missing"


def dependencies() -> dict[str, set[str]]:
    """Return the distribution names of each extra in pyproject.toml; "" holds the required ones."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        tomllib = pytest.importorskip("tomli")
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    tables = {"": project["dependencies"], **project["optional-dependencies"]}
    return {name: {re.split(r"[^\w.-]", line)[0].lower() for line in lines} for name, lines in tables.items()}


def imports() -> dict[str, set[str]]:
    """Return the top-level packages that repaint/ imports, each with the files that import it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "repaint").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(path.relative_to(ROOT / "repaint").as_posix())
    return found


def test_presets_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, presets are searched in the working folder, and nothing runs outside the checkout."""
    monkeypatch.chdir(tmp_path)
    assert presets.folder() == ROOT / "schedules"
    assert presets.available() == PRESETS
    assert presets.published() == PUBLISHED
    assert {"dps", "lanpaint"} <= set(PUBLISHED)
    assert "paper" in PRESETS


def test_an_incomplete_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a package without its presets returns an empty list, or raises a traceback."""
    monkeypatch.setattr(presets, "__file__", str(tmp_path / "repaint" / "sampling" / "presets.py"))
    with pytest.raises(repaint.RepaintError, match=r"the schedules folder is missing\. Reinstall"):
        presets.folder()


def test_promised_dependencies_are_declared() -> None:
    """If this fails, an install lacks a dependency that the project promises."""
    assert dependencies()[""] >= MISSION


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs importlib.metadata of Python 3.11")
def test_every_import_is_declared() -> None:
    """If this fails, a fresh install breaks at the import of a package that pyproject.toml does not declare."""
    declared = dependencies()
    distributions = importlib.metadata.packages_distributions()
    # Folders and files that need an extra.
    lab = declared["bench"] | declared["metrics"]
    optional = {"studio": declared["app"], "lab": lab, "pictures/decoding.py": declared["heif"]}
    for package, files in imports().items():
        if package in sys.stdlib_module_names or package == "repaint":
            continue
        names = {name.lower().replace("_", "-") for name in distributions.get(package, [package])}
        for file in files:
            allowed = (
                declared[""] | optional.get(Path(file).parts[0].removesuffix(".py"), set()) | optional.get(file, set())
            )
            assert names & allowed, f"repaint/{file} imports {package}: declare one of {names} in pyproject.toml"


def test_imports_are_found() -> None:
    """If this fails, the test above checks nothing."""
    assert {"PIL", "torch", "yaml", "skimage"} <= set(imports())
    assert "pictures/masks.py" in imports()["scipy"], "imported inside a function"


def test_the_version_is_one() -> None:
    """If this fails, `repaint.__version__` differs from the version in pyproject.toml."""
    assert f'version = "{repaint.__version__}"' in PYPROJECT.read_text(encoding="utf-8")


def test_the_supported_versions_are_the_declared_ones() -> None:
    """If this fails, the documentation states other version bounds than pyproject.toml."""
    text = PYPROJECT.read_text(encoding="utf-8")
    least = dict(re.findall(r'"([\w-]+)>=([\d.]+)', text)) | {
        "Python": re.findall(r'requires-python = ">=(.*)"', text)[0]
    }
    table = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8").split("## ")[0]
    for name in ("Python", "torch", "diffusers", "transformers"):
        assert re.search(rf"^\| {name} \| {re.escape(least[name])}(;| \|)", table, re.MULTILINE), name
    newest = re.findall(r"^\| Python .* (\S+) \|$", table, re.MULTILINE)[0]
    assert re.findall(r"Python :: (3\.\d+)", text)[-1] == newest


def test_a_checkout_on_the_path(tmp_path: Path) -> None:
    """If this fails, a clone cannot be used without installation."""
    check(probe(sys.executable, tmp_path, ROOT), ROOT / "repaint")


def build(out: Path, *options: str) -> None:
    """Build the archives of this checkout into `out`, with the installed backend if there is one."""
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    subprocess.run(
        [sys.executable, "-m", "build", *options, *isolation, "--outdir", out, ROOT], check=True, timeout=600
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the sdist from the checkout and the wheel from the sdist, as a release does. Returns (wheel, sdist)."""
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    build(out)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.mark.slow
def test_the_archives(built: tuple[Path, Path]) -> None:
    """If this fails, a release lacks presets or weights, or contains caches and training runs."""
    wheel, sdist = built
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    files = {f"schedules/{name}.yaml" for name in (*PRESETS, *(f"published/{name}" for name in PUBLISHED))}
    assert {f"repaint/{name}" for name in files} <= in_wheel
    assert files <= in_sdist
    (declared,) = (name for name in in_wheel if name.endswith(".dist-info/entry_points.txt"))
    assert "[repaint.kernels]" in zipfile.ZipFile(wheel).read(declared).decode()
    for names in (in_wheel, in_sdist):
        textures = {name for name in names if name.startswith("repaint/priors/bundled/textures/")}
        assert any(name.endswith(".safetensors") for name in textures)
        assert {Path(name).name for name in textures} >= {"model_index.json", "card.json", "config.json"}
        assert not {name for name in names if "__pycache__" in name or name.startswith(("runs/", ".git/"))}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/test_packaging.py"} <= in_sdist
    assert not {name for name in in_wheel if name.startswith(("tests/", "examples/"))}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel)


@pytest.mark.slow
def test_the_sdist_loses_nothing(built: tuple[Path, Path], tmp_path: Path) -> None:
    """If this fails, a wheel built from the sdist differs from one built from the checkout."""
    build(tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    from_checkout, from_sdist = (
        {file.filename: file.CRC for file in zipfile.ZipFile(wheel).infolist()} for wheel in (direct, built[0])
    )
    assert from_sdist == from_checkout


@pytest.mark.slow
def test_a_wheel_install(built: tuple[Path, Path], tmp_path: Path) -> None:
    """If this fails, an installed wheel finds neither its presets nor its prior."""
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, built[0]]
    subprocess.run(pip, check=True, timeout=300)
    check(probe(sys.executable, tmp_path, target), target)
    doctor = [sys.executable, "-m", "repaint", "doctor", "--json"]
    done = subprocess.run(doctor, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(target)}, stdout=subprocess.PIPE)
    states = {finding["part"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
    assert states["self-test"] == "ok", "the wheel cannot fill a hole"


@pytest.mark.slow
def test_an_editable_install(tmp_path: Path) -> None:
    """If this fails, `pip install -e .` finds no presets, which lie outside the package in a checkout."""
    if not (find_spec("hatchling") and find_spec("editables")):
        pytest.skip("needs hatchling and editables")
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    home = {"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")}
    python = Path(sysconfig.get_path("scripts", "venv", home)) / "python"
    site = Path(sysconfig.get_path("purelib", "venv", home))
    # Add the site-packages of this environment as a plain path: .pth files in it are then ignored, and with them an
    # editable install of this checkout. The presets that hatchling copies there form a folder `repaint` without code.
    (site / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation"]
    with pytest.raises(AssertionError, match=r"No module named 'repaint(\.sampling)?'|unknown location"):
        probe(python, tmp_path)
    subprocess.run([*pip, "--editable", ROOT], check=True, timeout=300)
    check(probe(python, tmp_path), ROOT / "repaint")
