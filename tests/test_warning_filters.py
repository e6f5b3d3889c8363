"""Warnings in several threads: no thread hides those of another one."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from repaint.errors import collected_warnings, warn
from repaint.pictures.decoding import open_image
from repaint.pictures.metadata import exif_orientation
from repaint.priors.quiet_loading import quiet

SOON = 0.1  # seconds in which another thread enters a block, unless something keeps it out

Meet = Callable[[], None]


def in_another_thread(call: Callable[..., object], *arguments: object) -> None:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    thread.join()


class Turns:
    """Two blocks: the second begins inside the first, if it can, and ends after it."""

    def __init__(self) -> None:
        self.first_in, self.second_in, self.first_out = (threading.Event() for _ in range(3))

    def first(self) -> None:
        self.first_in.set()
        self.second_in.wait(SOON)

    def second(self) -> None:
        self.second_in.set()
        self.first_out.wait(SOON)

    def run(self, block: Callable[[Meet], object]) -> None:
        def begin() -> None:
            block(self.first)
            self.first_out.set()

        def follow() -> None:
            self.first_in.wait(10)
            block(self.second)

        threads = [threading.Thread(target=each) for each in (begin, follow)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)


class Slow(Image.Image):
    """An image whose EXIF block takes time to read."""

    meet: Meet

    def getexif(self) -> Image.Exif:
        self.meet()
        return Image.Exif()


def reading_exif(meet: Meet) -> None:
    image = Slow()
    image.meet = meet
    exif_orientation(image)


def loading(meet: Meet) -> None:
    with quiet("diffusers"):
        meet()


@pytest.mark.parametrize("block", [reading_exif, loading])
def test_overlapping_blocks_restore_the_filters(block: Callable[[Meet], object]) -> None:
    """If this fails, warnings stay hidden in all of a program once two of its threads opened pictures or models."""
    block(lambda: None)  # imports set filters of their own
    before = list(warnings.filters)
    Turns().run(block)
    assert list(warnings.filters) == before


def test_a_picture_opened_while_a_model_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a thread that loads a model keeps the filters of one that opens a picture."""
    loading(lambda: None)
    before, turns = list(warnings.filters), Turns()
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    opened = Image.open

    def slow(path: Any) -> Image.Image:
        turns.first()
        return opened(path)

    monkeypatch.setattr(Image, "open", slow)

    def block(meet: Meet) -> None:
        if meet == turns.first:
            open_image(tmp_path / "a.png")
        else:
            loading(meet)

    turns.run(block)
    assert list(warnings.filters) == before


@pytest.mark.parametrize("outer", [nullcontext, collected_warnings])
def test_collected_warnings_are_those_of_one_thread(outer: Callable[[], AbstractContextManager[Any]]) -> None:
    """If this fails, a warning about one user's picture is shown to another user, or to nobody."""
    with outer() as around, collected_warnings() as found:
        warn("of this thread")
        with pytest.warns(UserWarning, match="of the other thread"):
            in_another_thread(warn, "of the other thread")
    assert found == ["of this thread"]
    assert not around
    with pytest.warns(UserWarning, match="afterwards"):
        warn("afterwards")
