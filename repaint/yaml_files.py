"""YAML that people write, checked against a pydantic model: one clear line where it is wrong."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from repaint.checks import nearest, shown
from repaint.errors import RepaintError

__all__ = ["parse", "read_text"]

Model = TypeVar("Model", bound=BaseModel)

MAX_DEPTH = 32  # a sweep takes 6


def read_text(path: Path, error: type[RepaintError]) -> str:
    """The text of a file that somebody named.

    Raises:
        error: it is missing, a folder, not readable or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:  # a name with a null character, bytes that are no text
        raise error(f"Cannot read {path}: {problem}. Give the path of a YAML text file.") from problem


def parse(text: str, origin: str, model: type[Model], error: type[RepaintError], *, what: str, begin: str) -> Model:
    """Check YAML text as a model.

    Args:
        text: the YAML.
        origin: names it in errors.
        model: forbids extra keys, so that a typo is never read as a default.
        error: the class to raise.
        what: what the text is called in errors, "a preset".
        begin: how one begins, "steps: 50".
    Raises:
        error: no YAML, aliases or deep nesting (either can take all memory), no mapping, or what the model refuses: an
            unknown key (the nearest right one is named), a missing one, or a wrong value.
    """
    try:
        _check_bounded(text, origin, error)
        data = yaml.safe_load(text)
    except error:
        raise
    except Exception as problem:  # a tag such as !!int raises whatever its text makes it stumble over
        detail = _brief(str(problem)) or type(problem).__name__
        raise error(f"{origin} is not YAML: {detail}. Mend that line.") from problem
    if not isinstance(data, dict):
        raise error(f"{origin} holds {type(data).__name__}: {what} is a mapping. Begin with '{begin}'.")
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise error(f"{origin}: {_first_problem(problem, model)}") from problem


def _check_bounded(text: str, origin: str, error: type[RepaintError]) -> None:
    """Refuse what is small as text and endless as data, before any data is made."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise error(
                f"{origin} has the alias *{_brief(str(event.anchor))}: none is followed. Write out what it means."
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise error(f"{origin} is nested more than {MAX_DEPTH} deep: nothing here takes as much. Flatten it.")


def _brief(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" …")


def _first_problem(error: ValidationError, root: type[BaseModel]) -> str:
    """One of pydantic's findings as one sentence: an unknown key first, for a typo is also a key that is missing."""
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where, model = _located(root, problem["loc"])
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        allowed = f"allowed are {', '.join(model.model_fields)}.{nearest(key, model.model_fields)}"
        return f"unknown key {shown(where)}: {allowed}"
    if problem["type"] == "missing":
        return f"key {where!r} is missing. Add it."
    reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where or 'the file'} is {shown(problem.get('input'))}: {_brief(reason)}. Correct that value."


def _located(root: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """A finding's place as dotted keys, and the innermost model around it. A union's tags stand in parentheses."""
    model = root
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return ".".join(str(part) for part in loc if not str(part).startswith("(")), model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is made of: `Rule` in `tuple[Rule, ...]` or `Rule | None`."""
    if get_args(annotation):  # asked first: to Python 3.10 list[int] is a type too
        return next((found for found in map(_model_in, get_args(annotation)) if found), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
