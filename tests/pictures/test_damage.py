"""Damage is drawn as described."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from repaint.errors import InputError
from repaint.pictures.damage import DAMAGE, damage


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("size", [(2, 2), (3, 200), (128, 128), (500, 300)])
def test_damage_is_a_hole_of_the_picture(kind: str, size: tuple[int, int]) -> None:
    """If this fails, a benchmark fills nothing, or everything."""
    for seed in range(5):
        hole = damage(kind, *size, seed)
        assert hole.shape == size
        assert hole.any()
        assert hole.view(np.uint8).max() == 1, "SciPy reads other bytes as other numbers"
        assert (hole == damage(kind, *size, seed)).all()
    assert min(size) < 100 or hole.mean() < 0.4


@pytest.mark.parametrize(
    ("kind", "thickness"), [("scratches", 3), ("spots", 17), ("piece", 40), ("dust", 5), ("wire", 5)]
)
def test_damage_has_the_size_in_pixels_that_it_names(kind: str, thickness: int) -> None:
    """If this fails, figures of 3-pixel scratches are of another width."""
    found = []
    for seed in range(8):
        distance = ndimage.distance_transform_edt(np.pad(damage(kind, 128, 128, seed), 1))
        found.append(2 * distance.max() - 1)
    # crossings of lines, and neighbouring dots, are thicker than one of them
    assert thickness - 2 <= np.median(found) <= thickness + 3


def test_dust_has_100_dots_in_a_crop() -> None:
    """If this fails, dust is sparser or denser than stated."""
    dots = [ndimage.label(damage("dust", 128, 128, seed), np.ones((3, 3)))[1] for seed in range(8)]
    assert 70 <= np.mean(dots) <= 100  # some touch


def test_bad_arguments_are_refused() -> None:
    """If this fails, a typo draws another kind of damage."""
    with pytest.raises(InputError, match=r"^damage='scratch' must be one of scratches, .* Did you mean 'scratches'\?"):
        damage("scratch", 10, 10)
    with pytest.raises(InputError, match=r"^height=1 must be an integer of at least 2"):
        damage("dust", 1, 10)
