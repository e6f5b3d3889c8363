"""Seeds and streams: one per image, whatever the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from repaint.errors import InputError
from repaint.sampling.rng import MAX_SEED, NoiseStreams, seeds_for

# --- Seeds


def test_an_int_counts_up() -> None:
    """If this fails, image i of a batch is not the image that seed + i gives alone."""
    assert seeds_for(3, 7) == [7, 8, 9]
    assert seeds_for(1, 9) == [9]


def test_a_list_names_each() -> None:
    """If this fails, a list of seeds or generators is not one per image."""
    assert seeds_for(2, [5, 5]) == [5, 5]
    generators = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)]
    first, second = seeds_for(2, generators)
    assert first == second


def test_a_generator_advances() -> None:
    """If this fails, a caller who passes one generator twice, as with diffusers, gets the same image twice."""
    generator = torch.Generator().manual_seed(0)
    first, again = seeds_for(2, generator), seeds_for(2, generator)
    assert len({*first, *again}) == 4
    assert seeds_for(2, torch.Generator().manual_seed(0)) == first
    assert all(0 <= seed <= MAX_SEED for seed in first)


def test_nothing_is_fresh_entropy() -> None:
    """If this fails, runs without a seed all give one image, or draw from (and disturb) PyTorch's global generator."""
    state = torch.get_rng_state()
    assert len({*seeds_for(4, None), *seeds_for(4, None)}) == 8  # 2^32 values: a collision in 10^8 runs
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("count", "generator", "message"),
    [
        (1, -1, r"Seed -1: seeds lie in \[0, 4294967295\]"),
        (1, 2**32, r"Seed 4294967296: .*since larger ones repeat"),
        (2, MAX_SEED, r"Seed 4294967296"),  # the second image's
        (1, [2**32], r"Seed 4294967296"),
        (3, [1, 2], r"2 generators or seeds for 3 images: there must be one each.*image i then takes seed \+ i"),
        (1, [], r"0 generators or seeds for 1 images"),
    ],
)
def test_seeds_that_cannot_be_are_refused(count: int, generator: Any, message: str) -> None:
    """If this fails, two different seeds give one image, or an image has none."""
    with pytest.raises(InputError, match=message):
        seeds_for(count, generator)


def test_larger_seeds_do_repeat() -> None:
    """If this fails, PyTorch uses all 64 bits now, and MAX_SEED may grow."""
    streams = NoiseStreams.from_seeds([5])
    assert torch.equal(torch.Generator().manual_seed(2**32 + 5).get_state()[8:], streams.states[0][8:])


# --- Streams


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streams_do_not_depend_on_their_batch(dtype: torch.dtype) -> None:
    """If this fails, an image's noise changes with its neighbours."""
    together, streams = NoiseStreams.from_seeds([1, 2, 3]), []
    for _ in range(3):
        noise, together = together.draw(torch.Size([3, 2, 5]), dtype)
        streams.append(noise)
    assert noise.dtype == dtype
    alone = NoiseStreams.from_seeds([2])
    for noise in streams:
        single, alone = alone.draw(torch.Size([1, 2, 5]), dtype)
        assert torch.equal(single[0], noise[1])
    assert len(torch.cat(streams).unique()) == 90  # every draw is new


def test_drawing_changes_nothing_in_place() -> None:
    """If this fails, a kept state's randomness moves on without it."""
    streams = NoiseStreams.from_seeds([1])
    before = streams.states.clone()
    first, after = streams.draw(torch.Size([1, 4]), torch.float64)
    assert torch.equal(streams.states, before)
    assert torch.equal(streams.draw(torch.Size([1, 4]), torch.float64)[0], first)
    assert not torch.equal(after.states, before)


def test_one_stream_may_serve_a_population() -> None:
    """If this fails, large populations repeat samples, or each needs thousands of generators."""
    noise, _ = NoiseStreams.from_seeds([1, 2]).draw(torch.Size([6, 4]), torch.float64)
    assert len(noise.unique()) == 24
    alone, _ = NoiseStreams.from_seeds([2]).draw(torch.Size([3, 4]), torch.float64)
    assert torch.equal(noise[3:], alone)


def test_noise_is_standard_normal() -> None:
    """If this fails, every noise level is off by one factor."""
    noise, _ = NoiseStreams.from_seeds([0]).draw(torch.Size([1, 1_000_000]), torch.float64)
    assert abs(float(noise.mean())) < 4e-3  # four standard errors
    assert abs(float(noise.std()) - 1) < 4e-3 / 2**0.5
