"""Padding by reflection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repaint.errors import InputError
from repaint.pictures.crop import pad


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 33), st.sampled_from([(), (3,), (2, 1)]))
def test_padding_keeps_place_and_reaches_the_multiple(
    height: int, width: int, multiple_of: int, batch: tuple[int, ...]
) -> None:
    """Padded images come back shifted, or have a size that the prior refuses."""
    image = torch.rand(*batch, height, width, generator=torch.Generator().manual_seed(height * 41 + width))
    padded = pad(image, multiple_of)
    assert padded.shape[-2] % multiple_of == padded.shape[-1] % multiple_of == 0
    assert 0 <= padded.shape[-2] - height < multiple_of
    assert 0 <= padded.shape[-1] - width < multiple_of
    assert torch.equal(padded[..., :height, :width], image)


@pytest.mark.parametrize(
    ("row", "multiple_of", "expected"),
    [
        ([7], 4, [7, 7, 7, 7]),
        ([1, 2], 5, [1, 2, 1, 2, 1]),
        ([1, 2, 3], 8, [1, 2, 3, 2, 1, 2, 3, 2]),
        ([1, 2, 3, 4, 5], 8, [1, 2, 3, 4, 5, 4, 3, 2]),
        ([1, 2, 3, 4], 4, [1, 2, 3, 4]),
    ],
)
def test_reflection_by_hand(row: list[float], multiple_of: int, expected: list[float]) -> None:
    """Padding repeats edges, or fails if it is wider than the image."""
    for image in (torch.tensor([row]), torch.tensor([row]).T):
        padded = pad(image.expand(1, *image.shape), multiple_of)
        line = padded[0, 0] if image.shape[0] == 1 else padded[0, :, 0]
        assert line.tolist() == expected


def test_agrees_with_torch_where_torch_can() -> None:
    """The reflection differs from PyTorch's."""
    image = torch.rand(1, 3, 13, 21, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.pad(image, (0, 3, 0, 3), mode="reflect")
    assert torch.equal(pad(image, 8), expected)


def test_mask_and_image_stay_consistent() -> None:
    """Image and mask are padded differently."""
    image = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(1))
    keep = image[:1] > 0.5
    assert torch.equal(pad(keep, 8), pad(image, 8)[:1] > 0.5)


def test_nothing_missing_copies_nothing() -> None:
    """Images that need no padding are copied."""
    image = torch.zeros(3, 16, 8)
    assert pad(image, 8) is image


def test_multiple_below_one() -> None:
    """A wrong multiple causes a ZeroDivisionError."""
    with pytest.raises(InputError, match=r"multiple_of=0 must be an integer of at least 1\."):
        pad(torch.zeros(1, 2, 2), 0)
