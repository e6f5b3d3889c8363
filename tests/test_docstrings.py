"""Public names say what they are, what they take, and what goes wrong."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import repaint

SELF = {"self", "cls"}


def modules() -> Iterator[Any]:
    """Every public module but the command line, whose help is its documentation, and the browser app."""
    yield repaint
    for found in pkgutil.walk_packages(repaint.__path__, "repaint."):
        if not found.name.startswith(("repaint.cli", "repaint.studio", "repaint.__main__")):
            yield importlib.import_module(found.name)


def public() -> Iterator[tuple[str, Any]]:
    """Every class and function of a module's __all__, where it is defined."""
    for module in modules():
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__:
                yield f"{module.__name__}.{name}", value


NAMES = dict(public())


def test_it_sees_them() -> None:
    """If this fails, the tests below see nothing and pass always."""
    assert len(NAMES) > 150
    assert {
        "repaint.pipeline.RePaintPipeline",
        "repaint.sampling.schedule.JumpSchedule",
        "repaint.pictures.mask_shapes.box",
    } <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_docstring_of_its_own(name: str) -> None:
    """If this fails, help() of a public name says nothing."""
    text = NAMES[name].__doc__ or ""
    assert len(text.split()) >= 3, text
    assert not text.startswith(f"{name.rpartition('.')[2]}("), "a dataclass without its own docstring"


def undocumented(function: Any) -> list[str]:
    """Parameters that the docstring does not name, where it lists them at all or there are five and more."""
    text = inspect.getdoc(function) or ""
    names = [name for name in inspect.signature(function).parameters if name not in SELF and not name.startswith("_")]
    if "Args:" not in text and len(names) < 5:
        return []
    return [name for name in names if name not in text]


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if inspect.isfunction(value)])
def test_its_arguments_are_named(name: str) -> None:
    """If this fails, an argument was added or renamed and its documentation was not."""
    assert undocumented(NAMES[name]) == []


def raised(function: Any) -> set[str]:
    """The library's own errors that a function raises itself."""
    source = inspect.getsource(function)
    kinds = {name for name in importlib.import_module("repaint.errors").__all__ if name.endswith("Error")}
    return {kind for kind in kinds if f"raise {kind}(" in source}


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if inspect.isfunction(value)])
def test_its_errors_are_told(name: str) -> None:
    """If this fails, a caller cannot know what to catch."""
    text = inspect.getdoc(NAMES[name]) or ""
    told = "Raises:" in text
    assert told or not raised(NAMES[name]), raised(NAMES[name])
