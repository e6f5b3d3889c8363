"""Bundled pictures: the training part and the held-out part never overlap."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest

from repaint.pictures.samples import PHOTOGRAPHS, glyphs, halve, held_out_crops, photograph


def test_glyphs_are_split_by_the_rule_of_the_training_script():
    """A held-out score is measured on training glyphs; the hash of the name decides, as in examples/emoji_glyphs.py."""
    unseen, seen = glyphs("held_out"), glyphs("train")
    assert all(crc32(name.encode()) % 10 == 0 for name in unseen)
    assert not any(crc32(name.encode()) % 10 == 0 for name in seen)
    assert len(unseen) == len(seen) == 140
    assert list(glyphs()) == [*unseen, *seen]


def test_a_glyph_is_the_picture_that_its_name_says():
    """Names and tiles of the sheet do not match; squares of one colour show it."""
    pictures = glyphs()
    colours = {"large orange square": (247, 147, 30), "large purple square": (150, 80, 190)}
    for name, colour in colours.items():
        assert np.abs(pictures[name][24:40, 24:40].mean(axis=(0, 1)) - colour).max() < 40, name
    assert pictures["black heart"].shape == (64, 64, 3)
    assert (pictures["black heart"][:2] == 255).all(), "the background of glyphs is white"


def test_the_training_part_and_the_held_out_part_share_no_pixel():
    """The parts overlap, so quality is measured on training data."""
    for name in PHOTOGRAPHS:
        whole, train, held_out = (photograph(name, part) for part in ("whole", "train", "held_out"))
        assert train.shape[1] + held_out.shape[1] == whole.shape[1]
        assert np.array_equal(np.concatenate([train, held_out], axis=1), whole)
        assert held_out.shape[1] == pytest.approx(whole.shape[1] / 4, abs=1)


def test_held_out_crops_lie_in_the_held_out_part():
    """A crop comes from the training part, so the demo shows training data."""
    for name in PHOTOGRAPHS:
        part = halve(photograph(name, "held_out"))
        windows = np.lib.stride_tricks.sliding_window_view(part, (64, 64, 3))[:, :, 0]
        for crop in held_out_crops(name, 64, 3):
            assert (windows == crop).all(axis=(2, 3, 4)).any()
