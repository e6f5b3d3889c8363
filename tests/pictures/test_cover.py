"""Windows that cover a hole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from repaint.pictures.cover import cover


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 30), st.sampled_from([0.001, 0.02, 0.3, 1.0]), st.data())
def test_every_hole_pixel_has_its_context(
    height: int, width: int, side: int, share: float, data: st.DataObject
) -> None:
    """If this fails, a hole pixel has no window, or one whose border is too near, or a window leaves the image."""
    hole = np.random.default_rng(data.draw(st.integers(0, 99))).random((height, width)) < share
    context = data.draw(st.integers(0, (side - 1) // 2))
    size = min(side, height), min(side, width)
    covered = np.zeros_like(hole)
    places = cover(hole, size, context)
    assert places is not None
    for top, left in places:
        assert 0 <= top <= height - size[0]
        assert 0 <= left <= width - size[1]
        rows = slice(top + context if top else 0, top + size[0] - (context if top + size[0] < height else 0))
        columns = slice(left + context if left else 0, left + size[1] - (context if left + size[1] < width else 0))
        assert hole[top : top + size[0], left : left + size[1]].any(), "a window without a hole is wasted"
        covered[rows, columns] = True
    assert covered[hole].all()
    assert cover(hole, size, context, most=len(places)) == places
    assert not places or cover(hole, size, context, most=len(places) - 1) is None


def line(slope: float) -> NDArray[np.bool_]:
    """A scratch of 7 pixels through 1000 x 1500 pixels."""
    row, column = np.mgrid[:1000, :1500]
    return np.abs(row - 500 - slope * (column - 750)) * np.cos(np.arctan(slope)) < 3.5


@pytest.mark.parametrize("slope", [0.0, 0.1, 2 / 3, -2 / 3, 1.0, -5.0, 50.0])
def test_a_line_costs_its_length(slope: float) -> None:
    """If this fails, a scratch takes more windows in one direction than in another."""
    hole = line(slope)
    places = cover(hole, (128, 128), 16)
    assert places is not None
    # A window advances by at least 96 - 7 pixels along one axis; one more where the line ends within a window.
    length = max(np.flatnonzero(hole.any(axis=axis)).size for axis in (0, 1))
    assert len(places) <= length / (96 - 7) + 1


def test_covers_by_hand() -> None:
    """If this fails, windows are not centred on what they hold, or do not shift inwards at the border."""
    hole = np.zeros((100, 100), dtype=bool)
    hole[50, 50] = True
    assert cover(hole, (21, 21), 5) == [(40, 40)]
    hole[:] = False
    hole[0, 0] = hole[99, 99] = True
    assert cover(hole, (21, 21), 5) == [(0, 0), (79, 79)]
    assert cover(np.zeros((9, 9), dtype=bool), (3, 3), 1) == []
    assert cover(np.ones((48, 48), dtype=bool), (16, 16), 2) == [
        (i, j) for i in (0, 12, 24, 32) for j in (0, 12, 24, 32)
    ]
