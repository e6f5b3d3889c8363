"""Docstrings of public names: present, complete, and with examples that run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import repaint

SELF = {"self", "cls"}


def modules() -> Iterator[Any]:
    """Yield every module but those of the command line, documented by their help texts, and of Studio."""
    yield repaint
    for found in pkgutil.walk_packages(repaint.__path__, "repaint."):
        if not found.name.startswith(("repaint.cli", "repaint.studio", "repaint.__main__")):
            yield importlib.import_module(found.name)


def public() -> Iterator[tuple[str, Any]]:
    """Yield (name, object) of every class and function in the `__all__` of its own module."""
    for module in modules():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value


NAMES = dict(public())


def test_public_names_are_found() -> None:
    """If this fails, the tests below check nothing."""
    assert len(NAMES) > 150
    assert {
        "repaint.pipeline.RePaintPipeline",
        "repaint.sampling.schedule.JumpSchedule",
        "repaint.pictures.mask_shapes.box",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_its_own_docstring(name: str) -> None:
    """If this fails, help() of a public name is empty."""
    text = NAMES[name].__doc__ or ""
    assert len(text.split()) >= 3, text
    assert not text.startswith(f"{name.rpartition('.')[2]}("), "the docstring is the one that dataclass generates"


def undocumented(function: Any) -> list[str]:
    """Return parameters that the docstring does not name, if it has an Args section or there are at least five."""
    text = inspect.getdoc(function) or ""
    names = [name for name in inspect.signature(function).parameters if name not in SELF and not name.startswith("_")]
    if "Args:" not in text and len(names) < 5:
        return []
    return [name for name in names if name not in text]


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if inspect.isfunction(value)])
def test_its_arguments_are_named(name: str) -> None:
    """If this fails, an argument was added or renamed and its documentation was not updated."""
    assert undocumented(NAMES[name]) == []


def raised(function: Any) -> set[str]:
    """Return the names of the library's errors that a function raises directly."""
    source = inspect.getsource(function)
    kinds = {name for name in importlib.import_module("repaint.errors").__all__ if name.endswith("Error")}
    return {kind for kind in kinds if f"raise {kind}(" in source}


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if inspect.isfunction(value)])
def test_its_errors_are_documented(name: str) -> None:
    """If this fails, a caller cannot know what to catch."""
    text = inspect.getdoc(NAMES[name]) or ""
    assert "Raises:" in text or not raised(NAMES[name]), raised(NAMES[name])


class Finder(doctest.DocTestFinder):
    """Finds examples in functions that the import hook of conftest.py has wrapped, too."""

    def _from_module(self, module: ModuleType | None, object: Any) -> bool:
        return module is not None and getattr(object, "__module__", module.__name__) == module.__name__


EXAMPLES = {
    test.name: test for module in modules() for test in Finder(exclude_empty=True).find(module) if test.examples
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an example in a docstring raises an error or prints something else."""
    monkeypatch.chdir(tmp_path)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(EXAMPLES[name], out=report.write).failed == 0, report.getvalue()


def test_twelve_public_names_have_examples() -> None:
    """If this fails, examples were removed from docstrings, or the finder above no longer sees them."""
    shown = {name for name in NAMES if any(f"{found}.".startswith(f"{name}.") for found in EXAMPLES)}
    assert len(shown) >= 12, sorted(shown)
