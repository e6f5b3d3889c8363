"""Parts of a method as text: a name, and arguments in parentheses as in Python.

Examples: "fresh", "predicted(8)", "ddim(eta=0.5)", "langevin(2, h=0.6)", "karras(rho=4, top=80)", "renew((1-alpha)^2)".
"""

from __future__ import annotations

import ast
import math
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, cast

from repaint.checks import is_number, nearest, shown
from repaint.errors import RepaintError, ScheduleError

__all__ = ["build", "spec"]

Table = Mapping[str, Callable[..., Any]]


def build(part: str, text: str, known: Table, error: type[RepaintError] = ScheduleError) -> Any:
    """Make a part from its text.

    Args:
        part: what it is, for messages: "merge", "solver", "corrector" or "spacing".
        text: such as "ddim(eta=0.5)".
        known: name to class.
        error: what to raise.
    Raises:
        ScheduleError or `error`: unknown name, or arguments that the part does not take.
        InputError: arguments out of range.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    name = match.group(1) if match else text
    if match is None or name not in known:
        raise error(f"{part}={shown(name)} must be one of {', '.join(known)}.{nearest(name, known)}")
    try:
        args, kwargs = _arguments(match.group(2) or "")
        return known[name](*args, **kwargs)
    except RepaintError:
        raise
    except (TypeError, SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as reason:
        # Python's parser raises different errors for deep nesting and null characters.
        raise error(
            f"{part}={shown(text)} cannot be read: {_reason(reason)}. Write it like ddim(0.5) or langevin(2, h=0.6)."
        ) from reason


def spec(part: object, known: Table) -> str:
    """Write the text from which `build` makes a part again; the class name for a part not in `known`."""
    names = {cls: name for name, cls in known.items()}
    name = names.get(cast("Callable[..., Any]", type(part)))
    if name is None or not is_dataclass(part):
        return type(part).__name__
    arguments = ", ".join(f"{entry.name}={getattr(part, entry.name)}" for entry in fields(part))
    return f"{name}({arguments})" if arguments else name


def _reason(error: Exception) -> str:
    return textwrap.shorten(str(error), 200, placeholder=" …") or type(error).__name__


def _arguments(text: str) -> tuple[list[Any], dict[str, Any]]:
    """Read positional and keyword arguments; values are numbers, inf, words, or formulas of words as text."""
    source = f"f({text})"
    call = ast.parse(source, mode="eval").body
    if not isinstance(call, ast.Call):
        raise SyntaxError("not an argument list")
    keywords = {k.arg or "**": _value(k.value, source) for k in call.keywords}
    return [_value(a, source) for a in call.args], keywords


FORMULA = (ast.BinOp, ast.Name, ast.Constant, ast.operator, ast.expr_context)


def _value(node: ast.expr, source: str) -> Any:
    if isinstance(node, ast.Name):
        return math.inf if node.id == "inf" else node.id
    if isinstance(node, ast.BinOp) and all(isinstance(inner, FORMULA) for inner in ast.walk(node)):
        return "".join((ast.get_source_segment(source, node) or "").split())
    try:
        value = ast.literal_eval(node)
    except ValueError as error:
        raise SyntaxError("arguments are numbers, inf or words") from error
    if not isinstance(value, str) and not is_number(value):
        raise SyntaxError("arguments are numbers, inf or words")
    return value
