"""Griffe extension for the API reference: docstrings in the form of this library become sections and code blocks, and
shared defaults are shown as values."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

from repaint import defaults

EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)  # up to the next blank line
HEADING = re.compile(r"(?<!\n)\n(?=(?:Args|Attributes|Returns|Yields|Raises|Source):\n)")


def fenced(match: re.Match[str]) -> str:
    indent = match.group(1)
    return f"\n{indent}```pycon\n{match.group()}\n{indent}```\n"


class DocstringForm(Extension):
    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Fence `>>>` examples, and put a blank line before each section, which griffe requires."""
        if obj.docstring is not None:
            obj.docstring.value = HEADING.sub("\n\n", EXAMPLE.sub(fenced, obj.docstring.value))

    def on_function_instance(self, *, func: Any, **_: Any) -> None:
        """Show a default of `repaint.defaults` as its value."""
        for parameter in func.parameters:
            if str(parameter.default) in defaults.__all__:
                parameter.default = repr(getattr(defaults, str(parameter.default)))
