"""The audit of kept pixels, checked against values computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import InputError
from repaint.measure.audit import audit

HOLE = np.zeros((3, 5), dtype=bool)
HOLE[1, 0] = True


def test_two_changes_by_hand() -> None:
    """One of the numbers is not what its name says."""
    image = np.full((3, 5), 100, np.uint8)
    result = image.copy()
    result[1, 0] = 0  # the hole itself counts nowhere
    result[1, 1] = 106
    result[0, 3] = 97  # darker: uint8 arithmetic would make it 253
    found = audit(result, image, HOLE)
    assert found.kept == 14
    assert found.mse == (36 + 9) / 14
    assert found.max_change == 6
    assert found.changed == 2 / 14
    expected = np.array([[0, 0, 0, 3, 0], [np.nan, 6, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert np.array_equal(found.heatmap, expected, equal_nan=True)
    # Distances 1, sqrt 2, sqrt 5, sqrt 10, sqrt 17 in the outer rows and 1, 2, 3, 4 in the middle one.
    # Rings by their farther end, 1 to 5: three pixels in each of the first four, two in the last.
    assert found.profile == pytest.approx([6 / 3, 0, 0, 3 / 3, 0])


def test_channels_are_averaged_in_the_heatmap_and_not_in_the_rest() -> None:
    """A change of one channel is lost among two equal channels."""
    image = np.zeros((3, 5, 3), np.uint16)
    result = image.copy()
    result[2, 2] = 0, 60_000, 0
    found = audit(result, image, HOLE)
    assert (found.max_change, found.changed) == (60_000, 1 / 14)
    assert found.heatmap[2, 2] == 20_000
    assert found.mse == 60_000**2 / (14 * 3)  # beyond uint16 and, in sums of such squares, beyond uint32


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int32", "float32", "float64"])
def test_an_untouched_picture_has_exactly_zero(dtype: str) -> None:
    """An exact result is reported as changed."""
    image = np.random.default_rng(0).integers(0, 2, (3, 5, 4)).astype(dtype)
    result = np.where(HOLE[..., None], 1 - image.astype(int), image).astype(dtype)
    found = audit(result, image, HOLE)
    assert (found.mse, found.max_change, found.changed) == (0, 0, 0)
    assert not found.profile.any()
    assert not found.heatmap[~HOLE].any()


def test_the_smallest_change_of_a_float_is_found() -> None:
    """A result that differs in the last bit passes as bit-equal."""
    image = np.full((3, 5), 0.5, np.float32)
    result = image.copy()
    result[0, 4] = np.nextafter(np.float32(0.5), np.float32(1))
    found = audit(result, image, HOLE)
    assert found.max_change == 2.0**-24
    assert found.changed == 1 / 14
    assert found.mse > 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_the_profile_is_the_heatmap_sorted_by_distance(seed: int) -> None:
    """A ring is empty (NaN), or a pixel is counted in the wrong ring or twice."""
    rng = np.random.default_rng(seed)
    hole = rng.random((7, 9)) < rng.choice([0.02, 0.3, 0.9])
    hole[2, 3], hole[6, 8] = True, False
    image, result = rng.integers(0, 256, (2, 7, 9, 3), dtype=np.uint8)
    found = audit(result, image, hole)
    where = np.argwhere(hole)
    rings: dict[int, list[float]] = {}
    for pixel in np.argwhere(~hole):
        squared = ((where - pixel) ** 2).sum(axis=1).min()
        ring = next(d for d in range(1, 20) if squared <= d * d)
        rings.setdefault(ring, []).append(found.heatmap[tuple(pixel)])
    assert found.profile == pytest.approx([np.mean(rings[d]) for d in range(1, max(rings) + 1)])


def test_as_dict_is_plain() -> None:
    """The numbers cannot be written as JSON."""
    image = np.zeros((3, 5), np.uint8)
    assert audit(image + 2, image, HOLE).as_dict() == {
        "kept": 14,
        "mse": 4.0,
        "max_change": 2.0,
        "changed": 1.0,
        "profile": [2.0] * 5,
    }


IMAGE = np.zeros((3, 5, 3), np.uint8)
NAN = np.where(np.arange(5) == 4, np.nan, np.zeros((3, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.zeros((6, 10, 3), np.uint8), IMAGE, HOLE),
            r"The result has shape \(6, 10, 3\) .* without resizing or converting it",
        ),
        ((np.zeros((3, 5, 4), np.uint8), IMAGE, HOLE), r"The result has shape \(3, 5, 4\)"),
        ((IMAGE.astype(np.float32), IMAGE, HOLE), "dtype float32, but the picture has .* uint8"),
        ((IMAGE, IMAGE, HOLE.astype(np.uint8)), "dtype uint8, but must be bool and 3 x 5"),
        ((IMAGE, IMAGE, HOLE.T), r"The hole has shape \(5, 3\)"),
        ((IMAGE, IMAGE, HOLE & False), "The hole is empty"),
        ((IMAGE, IMAGE, HOLE | True), "The hole is the whole picture"),
        ((NAN, NAN * 0 + 1, HOLE), "The result has 3 NaN or infinite values outside the hole"),
        ((np.zeros((3, 5)), NAN, HOLE), "The picture has 3 NaN"),
    ],
)
def test_misuse(unchecked: None, arguments: Any, message: str) -> None:
    """Pictures that cannot be compared are compared, or refused without a reason."""
    with pytest.raises(InputError, match=message):
        audit(*arguments)


def test_nan_in_the_hole_is_ignored() -> None:
    """A picture that marks its hole with NaN cannot be audited."""
    image = np.where(HOLE, np.nan, 0.25)
    assert audit(np.where(HOLE, 0.5, 0.25), image, HOLE).max_change == 0
