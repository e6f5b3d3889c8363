"""Griffe extension for the API reference: docstrings in the form of this library become sections and code blocks."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

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
