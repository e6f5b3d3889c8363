"""Reading YAML files and checking them against a pydantic model, with one clear error line."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from repaint.checks import nearest, shown
from repaint.errors import RepaintError

__all__ = ["SUFFIXES", "is_yaml", "parse", "read_text"]

Model = TypeVar("Model", bound=BaseModel)

SUFFIXES = (".yaml", ".yml")
MAX_DEPTH = 32  # the deepest file of the library, a sweep, has 6 levels


def is_yaml(path: str | Path) -> bool:
    """Test whether a path ends in .yaml or .yml, in any case.

    >>> is_yaml("schedules/fast.yaml"), is_yaml("FACE.YML"), is_yaml("fast")
    (True, True, False)
    """
    return Path(path).suffix.lower() in SUFFIXES


def read_text(path: Path, error: type[RepaintError]) -> str:
    """Read the text of a file.

    Args:
        path: the file.
        error: the class to raise.
    Raises:
        error: the file is missing, a folder, not readable or not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:  # ValueError: a null character in the path, or bytes that are not UTF-8
        raise error(f"Cannot read {path}: {problem}. Pass the path of a YAML text file.") from problem


def parse(text: str, origin: str, model: type[Model], error: type[RepaintError], *, what: str, begin: str) -> Model:
    """Parse YAML text and check it against a model.

    Args:
        text: the YAML.
        origin: names the text in errors, usually the file's path.
        model: a pydantic model that forbids extra keys, so that a misspelled key is an error.
        error: the class to raise.
        what: names the kind of content in errors, such as "a preset".
        begin: an example of a first line, such as "steps: 50".
    Raises:
        error: the text is not YAML or not a mapping, has a duplicate key, aliases or deep nesting, or does not match
            the model: an unknown key (the nearest valid one is named), a missing key or a wrong value.
    """
    try:
        _check_bounded(text, origin, error)
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_unique(node, origin, error)
        data = None if node is None else loader.construct_document(node)
    except error:
        raise
    except Exception as problem:  # PyYAML raises many types, for example ValueError for a malformed !!int
        detail = _brief(str(problem)) or type(problem).__name__
        raise error(f"{origin} is not YAML: {detail}. Correct that line.") from problem
    if not isinstance(data, dict):
        raise error(f"{origin} holds {type(data).__name__}: {what} must be a mapping. Begin with '{begin}'.")
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise error(f"{origin}: {_first_problem(problem, model)}") from problem


def _check_bounded(text: str, origin: str, error: type[RepaintError]) -> None:
    """Reject YAML bombs (aliases, deep nesting) before any data is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            alias = _brief(str(event.anchor))
            raise error(f"{origin} has the alias *{alias}, which is not supported. Write out the value.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise error(f"{origin} is nested more than {MAX_DEPTH} levels deep. Flatten it.")


def _check_unique(node: yaml.Node | None, origin: str, error: type[RepaintError], path: str = "") -> None:
    """Reject a mapping with a duplicate key, at any depth; PyYAML would silently use the last value."""
    if isinstance(node, yaml.SequenceNode):
        for place, entry in enumerate(node.value):
            _check_unique(entry, origin, error, f"{path}{place}.")
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        name, line = f"{path}?", key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode):
            name = f"{path}{_brief(key.value)}"
            if (key.tag, key.value) in lines:
                first = lines[key.tag, key.value]
                where = f"twice on line {line}" if first == line else f"on lines {first} and {line}"
                raise error(f"{origin}: key {name!r} appears {where}. Remove one of them.")
            lines[key.tag, key.value] = line
        _check_unique(value, origin, error, f"{name}.")


def _brief(text: str) -> str:
    return textwrap.shorten(text, 300, placeholder=" …")


def _first_problem(error: ValidationError, root: type[BaseModel]) -> str:
    """Describe one of pydantic's findings; unknown keys first, because a misspelled key also counts as missing."""
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where, model = _located(root, problem["loc"])
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        if key.count(")") > key.count("("):  # {spacing: karras(7, 40)} has the keys "spacing" and "40)"
            return f'unknown key {shown(where)}. Within braces, quote a value that has a comma: "name(1, 2)".'
        allowed = f"allowed are {', '.join(model.model_fields)}.{nearest(key, model.model_fields)}"
        return f"unknown key {shown(where)}: {allowed}"
    if problem["type"] == "missing":
        return f"key {where!r} is missing. Add it."
    reason = problem["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where or 'the file'} is {shown(problem.get('input'))}: {_brief(reason)}. Correct that value."


def _located(root: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """Convert pydantic's location to dotted keys and the innermost model; pydantic puts union tags in parentheses."""
    model = root
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return ".".join(str(part) for part in loc if not str(part).startswith("(")), model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the model inside a type: `Rule` in `tuple[Rule, ...]` or `Rule | None`."""
    if get_args(annotation):  # checked first: Python 3.10 treats list[int] as a type, too
        return next((found for found in map(_model_in, get_args(annotation)) if found), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
