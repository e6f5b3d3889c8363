"""Reading YAML: duplicate keys, bombs and suffixes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

import repaint
from repaint.errors import InputError
from repaint.yaml_files import is_yaml, parse

ROOT = Path(repaint.__file__).parents[1]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = 1


class Example(BaseModel):
    model_config = ConfigDict(extra="forbid")

    steps: int = 1
    parts: tuple[Part, ...] = ()


def read(text: str) -> Example:
    return parse(text, "a.yaml", Example, InputError, what="an example", begin="steps: 1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 5\nparts: []\nsteps: 6", r"^a\.yaml: key 'steps' appears on lines 1 and 3\. Remove one of them\.$"),
        ("steps: 5\nsteps: 5", r"^a\.yaml: key 'steps' appears on lines 1 and 2\."),
        ("steps: 5\n'steps': 6", r"^a\.yaml: key 'steps' appears on lines 1 and 2\."),
        ("parts:\n  - size: 1\n  - size: 2\n    size: 3", r"^a\.yaml: key 'parts\.1\.size' appears on lines 3 and 4\."),
        ("parts: [{size: 1, size: 2}]", r"^a\.yaml: key 'parts\.0\.size' appears twice on line 1\."),
        ("? [1, 2]\n: {a: 1, a: 2}", r"^a\.yaml: key '\?\.a' appears twice on line 2\."),
    ],
)
def test_a_duplicate_key_is_refused(text: str, message: str) -> None:
    """Two values of one key: the first one is silently lost."""
    with pytest.raises(InputError, match=message):
        read(text)


def test_one_key_in_two_mappings_is_not_a_duplicate() -> None:
    """Lists of mappings, which every sweep has, are refused."""
    assert [part.size for part in read("parts:\n  - size: 2\n  - size: 3").parts] == [2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parts: &all [{size: 1}]\nsteps: *all", r"^a\.yaml has the alias \*all, which is not supported\. Write out"),
        ("[" * 40 + "]" * 40, r"^a\.yaml is nested more than 32 levels deep\. Flatten it\.$"),
    ],
)
def test_yaml_bombs_are_refused(text: str, message: str) -> None:
    """A file of a few hundred bytes fills the memory."""
    with pytest.raises(InputError, match=message):
        read(text)


def test_every_yaml_file_of_the_project_has_unique_keys() -> None:
    """A shipped file states a value twice, and only one of the two is used."""
    files = [path for folder in ("schedules", "examples") for path in (ROOT / folder).rglob("*") if is_yaml(path)]
    assert len(files) > 20
    for path in files:
        text = path.read_text(encoding="utf-8")
        model = type("Anything", (BaseModel,), {"model_config": ConfigDict(extra="allow")})
        assert parse(text, str(path), model, InputError, what="a file", begin="").model_extra == yaml.safe_load(text)
