"""Patch and gradient distances on cases whose answer is known, and the reason where they are not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from repaint.errors import InputError
from repaint.measure.patches import gradient_distance, gradients, not_measurable, patch_distance, patches, roughness
from repaint.pictures.mask_shapes import generate


def test_equal_sets_are_at_distance_zero_and_a_shift_is_measured_in_standard_deviations():
    """If the scale is wrong, distances of different photographs cannot be averaged."""
    rng = np.random.default_rng(0)
    real = [rng.standard_normal((4000, 147))]
    assert patch_distance(real, real) == 0
    # A shift by c along every axis moves each unit projection by c * sum(direction): mean |N(0, 1)| * c.
    shifted = [real[0] + 0.5]
    assert patch_distance(shifted, real) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.15)  # 256 projections: 6 %


def test_patches_are_those_inside_the_region():
    """If patches reach over the rim, kept content counts as painted."""
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    box = np.zeros((40, 40), dtype=bool)
    box[8:28, 10:30] = True
    assert [len(level) for level in patches(image, box)] == [14 * 14, 4 * 4]  # 20 - 6 and 10 - 6 to a side
    dented = box.copy()
    dented[8, 10] = False  # the first corner: one patch of each level lay on it
    assert [len(level) for level in patches(image, dented)] == [14 * 14 - 1, 4 * 4 - 1]
    assert gradients(image, box).size == 18 * 18


def test_patches_are_those_of_a_laplacian_pyramid() -> None:
    """If this fails, patches hold the brightness of a picture, or fine texture is aliased into the coarse level.

    A Gaussian of 1 pixel passes g = exp(-2 pi^2 / 9) of stripes of period 3: the finest level holds 1 - g of them, and
    the next one, on every second row, g (1 - g).
    """
    image = np.zeros((66, 66, 3), dtype=np.uint8)
    image[...] = np.array([150, 75, 75], dtype=np.uint8)[np.arange(66) % 3][:, None, None]
    inside = np.zeros((66, 66), dtype=bool)
    inside[12:54, 12:54] = True  # a multiple of the period, away from the border
    passed, deviation = np.exp(-2 * np.pi**2 / 9), np.std([150, 75, 75]) / 255
    found = [level.std() for level in patches(image, inside)]
    assert found == pytest.approx([(1 - passed) * deviation, passed * (1 - passed) * deviation], rel=0.02)
    assert [abs(level.mean()) < 0.01 * deviation for level in patches(image, inside)] == [True, True]


def test_patch_distances_are_in_units_of_the_real_patches() -> None:
    """If this fails, the painted patches set the unit, the levels are not averaged, or all seeds are the same."""
    real = [np.random.default_rng(0).standard_normal((300, 20))] * 2
    # Every projection of 2 x differs from that of x by |x|, whose mean is sqrt(2 / pi) for a normal projection.
    assert patch_distance([2 * level for level in real], real) == pytest.approx(np.sqrt(2 / np.pi), rel=0.05)
    shifted = [level + 0.5 for level in real]
    whole = patch_distance(shifted[:1], real[:1])
    assert patch_distance([shifted[0], real[1]], real) == pytest.approx(whole / 2, rel=1e-12)
    assert patch_distance(shifted[:1], real[:1], seed=1) != whole


def test_gradients_are_those_of_luma() -> None:
    """If this fails, a gradient is not a share of white per pixel, or all colours weigh the same."""
    everywhere = np.ones((9, 9), dtype=bool)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        image = np.zeros((9, 9, 3), dtype=np.uint8)
        image[..., channel] = 10 * np.arange(9)[:, None]
        assert gradients(image, everywhere) == pytest.approx(np.full(49, weight * 10 / 255), rel=1e-9)


def test_roughness_by_hand() -> None:
    """A smooth fill is called rough, or a flat one divides by zero."""
    ramp = np.repeat(np.arange(12, dtype=np.uint8)[None, :, None], 12, axis=0).repeat(3, axis=2)
    everywhere = np.ones((12, 12), dtype=bool)
    assert roughness(ramp * 3, ramp, everywhere) == pytest.approx(3, rel=1e-12)
    flat = np.zeros_like(ramp)
    assert roughness(flat, ramp, everywhere) == 0
    assert roughness(ramp, flat, everywhere) == float("inf")
    with pytest.raises(InputError, match=r"roughness is not defined: both pictures are flat in the region"):
        roughness(flat, flat, everywhere)
    with pytest.raises(InputError, match=r"hole thinner than 3 px"):
        roughness(ramp, ramp, np.eye(12, dtype=bool))


@pytest.mark.parametrize(
    ("mask", "options", "reason"),
    [
        ("alternating_lines", {}, "hole thinner than 7 px"),
        ("box", {"h": 6, "w": 40}, "hole thinner than 7 px"),
        ("box", {"h": 8, "w": 40}, "hole thinner than 14 px"),
        ("expand", {"share": 0.1}, "reference region thinner than 7 px"),
        ("expand", {"share": 0.25}, "reference region thinner than 14 px"),
        ("box", {"share": 0.4}, None),  # 14 px stay on each side
        ("expand", {"share": 0.4}, None),
    ],
)
def test_regions_without_a_patch_are_named(mask: str, options: dict[str, Any], reason: str | None) -> None:
    """A report shows NaN instead of the reason why a hole has no patch distance."""
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    hole = generate(mask, 48, 48, **options)[0].numpy() == 0
    painted, real = patches(image, hole), patches(image, ~hole)
    assert not_measurable(painted, real) == reason
    if reason is None:
        assert np.isfinite(patch_distance(painted, real))
        return
    with pytest.raises(InputError, match=rf"^The patch distance is not defined: {reason}\. Use a larger region\.$"):
        patch_distance(painted, real)


@pytest.mark.parametrize(
    ("painted", "real", "message"),
    [
        ([], [0.1, 0.2], r"^Gradients are not defined: hole thinner than 3 px\. Use a larger region\.$"),
        ([0.1], [], r"^Gradients are not defined: reference region thinner than 3 px\."),
        ([0.1], [0.0, 0.0], r"^The gradient distance is not defined: reference region without any texture\."),
    ],
)
def test_gradients_that_cannot_be_compared(painted: list[float], real: list[float], message: str) -> None:
    """A thin hole scores NaN, or every painting of a flat wall scores 0, which is perfect."""
    with pytest.raises(InputError, match=message):
        gradient_distance(np.array(painted), np.array(real))


def test_noise_in_a_flat_picture_is_far_from_it() -> None:
    """If this fails, any fill of a nearly flat picture has a gradient distance of 0, which is perfect.

    At 99 % of the pixels the picture is flat, so that nearly all quantiles of its gradients are 0.
    """
    rng, everywhere = np.random.default_rng(0), np.ones((64, 64), dtype=bool)
    flat = np.full((64, 64, 3), 200, dtype=np.uint8)
    flat[10:12, 10:12] = 40
    real = gradients(flat, everywhere)
    assert 0.98 < (real == 0).mean() < 1
    for strength in (3, 40):
        noise = (flat + rng.integers(-strength, strength + 1, flat.shape)).clip(0, 255).astype(np.uint8)
        assert gradient_distance(gradients(noise, everywhere), real) > 0.9
    assert gradient_distance(real, real) == 0
    moved = np.roll(flat, 20, axis=0)
    assert gradient_distance(gradients(moved, everywhere), real) == 0
    assert gradient_distance(np.zeros(1000), real) == pytest.approx((real > 0).mean())


@pytest.mark.parametrize("common", [0.0, 0.1, 0.2])
def test_gradients_that_are_mostly_equal_are_compared(common: float) -> None:
    """If this fails, only flat pictures are compared correctly, not ramps."""
    real = np.concatenate([np.full(990, common), np.linspace(0.11, 0.2, 10)])
    assert gradient_distance(real, real) == 0
    assert gradient_distance(np.full(50, common), real) == pytest.approx((real != common).mean())
    assert gradient_distance(np.full(50, 0.05), real) == pytest.approx(1)
    assert gradient_distance(np.full(50, 0.15), real) > 0.98


def test_flat_pictures_have_no_patch_distance() -> None:
    """A picture of one colour causes a division by zero."""
    flat = [np.zeros((3, 147)), np.zeros((2, 147))]
    assert not_measurable(flat, flat) == "reference region without any texture"
    with pytest.raises(InputError, match="without any texture"):
        patch_distance(flat, flat)
