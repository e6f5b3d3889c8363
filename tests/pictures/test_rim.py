"""Blending at the rim of a hole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from repaint.errors import InputError
from repaint.pictures.rim import meet_rim


def problem(size: tuple[int, int] = (13, 17), channels: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A result, an image and a random hole: every pixel of the three is independent."""
    g = torch.Generator().manual_seed(0)
    result, image = (torch.rand(channels, *size, generator=g) - 0.5 for _ in range(2))
    return result, image, torch.rand(1, *size, generator=g) < 0.3


def row(width: float, error: float, length: int = 7) -> list[float]:
    """The offset in one row, of which the first pixel alone is known and wrong by `error`."""
    known = torch.zeros(1, 1, length, dtype=torch.bool)
    known[..., 0] = True
    offset = meet_rim(torch.zeros(1, 1, length), torch.full((1, 1, length), error), known, width)
    return offset[0, 0].tolist()


def test_a_constant_error_falls_linearly_to_nothing() -> None:
    """The blended band is wider or narrower than `width`, or has a step at one end."""
    assert row(3, 0.4) == pytest.approx([0, 0.3, 0.2, 0.1, 0, 0, 0], abs=1e-7)  # float32
    assert row(1, 0.4) == pytest.approx([0, 0.2, 0, 0, 0, 0, 0], abs=1e-7)
    assert row(2.5, 0.4) == pytest.approx([0, 0.3, 0.2, 0.1, 0, 0, 0], abs=1e-7)  # pixels at distance 1, 2 and 3
    assert row(0, 0.4) == [0] * 7
    assert row(math.inf, 0.4) == pytest.approx([0] + [0.4] * 6, abs=1e-6)  # no far end: all of it is corrected


def test_the_offset_is_harmonic() -> None:
    """The offset is no longer the smoothest one: it has bumps of its own."""
    result, image, known = problem()
    offset = np.pad((meet_rim(result, image, known, math.inf) - result).numpy(), ((0, 0), (1, 1), (1, 1)))
    error = np.pad(torch.where(known, image - result, 0).numpy(), ((0, 0), (1, 1), (1, 1)))
    inside = np.pad(np.ones(known.shape[1:]), 1)
    total = np.where(np.pad(known[0].numpy(), 1), error, offset)
    shifts = [(0, 1), (0, -1), (1, 1), (1, -1)]
    neighbours = sum(np.roll(total * inside, step, axis=axis + 1) for axis, step in shifts)
    count = sum(np.roll(inside, step, axis=axis) for axis, step in shifts)
    hole = np.pad(~known[0].numpy(), 1)
    assert np.allclose((neighbours / np.maximum(count, 1))[:, hole], total[:, hole], atol=1e-6)


@pytest.mark.parametrize("width", [1, 2.5, 100, math.inf])
def test_only_kept_pixels_at_the_rim_are_read_and_only_the_hole_changes(width: float) -> None:
    """What was hidden under the hole comes back through its rim, or kept pixels are moved."""
    result, image, known = problem()
    met = meet_rim(result, image, known, width)
    for hidden in (1e6, float("nan")):
        assert torch.equal(meet_rim(result, torch.where(known, image, hidden), known, width), met)
    assert torch.equal(torch.where(known, met, 0), torch.where(known, result, 0))
    assert not torch.equal(met, result)
    low, high = (torch.where(known, image - result, 0).amin(), torch.where(known, image - result, 0).amax())
    assert bool(((met - result >= low - 1e-6) & (met - result <= high + 1e-6)).all())  # the maximum principle


def test_a_result_that_reproduces_the_kept_pixels_stays() -> None:
    """Results of pixel-space priors, which reproduce the kept pixels, are changed by blending."""
    result, _, known = problem()
    assert torch.equal(meet_rim(result, result, known, 4), result)


def test_overshoot_is_no_error() -> None:
    """White that a decoder overshoots darkens the hole beside it."""
    known = torch.tensor([[[True, False, False]]])
    met = meet_rim(torch.tensor([[[1.2, 0.9, 0.9]]]), torch.ones(1, 1, 3), known, 2)
    assert met.tolist() == [[[1.0, pytest.approx(0.9), pytest.approx(0.9)]]]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_degenerate_sizes(size: tuple[int, int], share: float) -> None:
    """A tiny image, or one without a kept or a hidden pixel, ends in a traceback."""
    result, image, _ = problem(size)
    known = torch.rand(1, *size, generator=torch.Generator().manual_seed(1)) < share
    for width in (2, math.inf):
        met = meet_rim(result, image, known, width)
        assert bool(torch.isfinite(met).all())
        if share in (0.0, 1.0):
            assert torch.equal(met, result)


def test_precision_is_the_results() -> None:
    """Float64 pixels lose their last bits, or a float32 result becomes float64."""
    result, image, known = problem()
    single, double = meet_rim(result, image, known, 3), meet_rim(result.double(), image.double(), known, 3)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.allclose(single.double(), double, atol=1e-6)


def test_a_negative_width_is_refused() -> None:
    """A negative width is accepted."""
    with pytest.raises(InputError, match=r"width=-1 must be at least 0 \(0 changes nothing\)"):
        meet_rim(*problem(), -1)
