"""Seeds and noise streams: one per image, independent of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repaint.errors import InputError
from repaint.sampling.rng import MAX_SEED, Draws, NoiseStreams, antithetic_seed, are_pairs, derived_seed, seeds_for

# --- Seeds


def test_an_int_counts_up() -> None:
    """If this fails, image i of a batch differs from the single image of seed + i."""
    assert seeds_for(3, 7) == [7, 8, 9]


def test_seeds_of_any_integer_type() -> None:
    """If this fails, seeds from numpy are refused, or results carry seeds that JSON cannot store."""
    found = [*seeds_for(2, np.int64(7)), *seeds_for(2, np.arange(2)), *seeds_for(2, [np.uint32(5), 6])]
    assert found == [7, 8, 0, 1, 5, 6]
    assert {type(seed) for seed in found} == {int}


def test_a_list_gives_one_seed_per_image() -> None:
    """If this fails, a list of seeds or generators is not used one per image."""
    assert seeds_for(2, [5, 5]) == [5, 5]
    generators = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)]
    first, second = seeds_for(2, generators)
    assert first == second


def test_a_generator_advances() -> None:
    """If this fails, two calls with one generator give the same image twice, unlike in diffusers."""
    generator = torch.Generator().manual_seed(0)
    first, again = seeds_for(2, generator), seeds_for(2, generator)
    assert len({*first, *again}) == 4
    assert seeds_for(2, torch.Generator().manual_seed(0)) == first
    assert all(0 <= seed <= MAX_SEED for seed in first)


def test_none_uses_fresh_entropy() -> None:
    """If this fails, runs without a seed repeat one image, or advance PyTorch's global generator."""
    state = torch.get_rng_state()
    assert len({*seeds_for(4, None), *seeds_for(4, None)}) == 8  # 2^32 values: a collision in 10^8 runs
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("count", "generator", "message"),
    [
        (
            1,
            -1,
            r"^seed=-1 must be an integer from 0 to 8589934591 \(from 2\*\*32 on, .* opposite sign\)\.$",
        ),
        (1, 2**33, r"^seed=8589934592 must be an integer from 0"),
        (2, MAX_SEED, r"^seed=8589934592 must be"),  # the second image's
        (2, 2**32 - 1, r"^seed=4294967296 must be an integer from 0 to 4294967295"),  # of the other sign
        (1, [2**33], r"^seed=8589934592 must be"),
        (3, [1, 2], r"^generator has 2 entries but must have one per image, 3 \(.*number i uses seed \+ i\)\.$"),
        (1, [], r"^generator has 0 entries but must have one per image, 1"),
        (1, True, r"^generator=True must be an integer, a torch\.Generator, or a list"),
        (1, [True], r"^seed=True must be an integer"),
        (1, 1.5, r"^generator=1\.5 must be an integer"),
    ],
)
def test_invalid_seeds_are_refused(count: int, generator: Any, message: str) -> None:
    """If this fails, two different seeds give one image, or an image has no seed."""
    with pytest.raises(InputError, match=message):
        seeds_for(count, generator)


def test_pairs_of_seeds() -> None:
    """If this fails, the results of one image are not pairs, or two images share a pair."""
    assert seeds_for(2, 7, copies=2, antithetic=True) == [7, 2**32 + 7, 8, 2**32 + 8]
    assert seeds_for(2, 7, copies=3, antithetic=True) == [7, 2**32 + 7, 8, 9, 2**32 + 9, 10]
    assert seeds_for(1, [5, 2**32 + 1], copies=4, antithetic=True) == [5, 2**32 + 5, 2**32 + 1, 1]
    assert seeds_for(2, 7, copies=2) == [7, 8, 9, 10]
    assert are_pairs([7, 2**32 + 7, 8])
    assert not are_pairs([7, 2**32 + 7, 8, 9])
    assert not are_pairs([7])


@pytest.mark.usefixtures("unchecked")
def test_invalid_pairs() -> None:
    """If this fails, a single result passes for a pair, or seeds are counted wrongly."""
    with pytest.raises(InputError, match=r"^antithetic=True needs at least 2 .* num_images_per_prompt=2\.$"):
        seeds_for(3, 0, antithetic=True)
    with pytest.raises(InputError, match=r"^generator has 4 entries but must have one per pair of results, 2 \("):
        seeds_for(1, [1, 2, 3, 4], copies=4, antithetic=True)
    with pytest.raises(InputError, match=r"^antithetic='no' must be True or False\.$"):
        seeds_for(1, 0, copies=2, antithetic="no")  # type: ignore[arg-type]


def test_derived_seeds_keep_the_sign() -> None:
    """If this fails, the windows of two antithetic results have unrelated noise."""
    assert derived_seed(antithetic_seed(3), 1) == antithetic_seed(derived_seed(3, 1))
    assert len({derived_seed(3, 1), derived_seed(3, 2), derived_seed(4, 1), derived_seed(3, 1, 1)}) == 4


def test_larger_seeds_do_repeat() -> None:
    """If this fails, PyTorch now uses all 64 bits of a seed, and there can be more streams."""
    streams = NoiseStreams.from_seeds([5])
    assert torch.equal(torch.Generator().manual_seed(2**32 + 5).get_state()[8:], streams.states[0][8:])


# --- Streams


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streams_do_not_depend_on_their_batch(dtype: torch.dtype) -> None:
    """If this fails, an image's noise depends on the rest of the batch."""
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
    """If this fails, drawing from a stream changes a saved state."""
    streams = NoiseStreams.from_seeds([1])
    before = streams.states.clone()
    first, after = streams.draw(torch.Size([1, 4]), torch.float64)
    assert torch.equal(streams.states, before)
    assert torch.equal(streams.draw(torch.Size([1, 4]), torch.float64)[0], first)
    assert not torch.equal(after.states, before)


def test_antithetic_noise_has_the_opposite_sign() -> None:
    """If this fails, antithetic results are independent, or their streams drift apart."""
    streams = NoiseStreams.from_seeds([3, antithetic_seed(3), 4])
    for _ in range(2):
        noise, streams = streams.draw(torch.Size([3, 2, 5]), torch.float32)
        assert torch.equal(noise[0], -noise[1])
        assert not torch.equal(noise[0].abs(), noise[2].abs())
    uniform = Draws(streams, torch.zeros(3, 1)).uniform(4)
    torch.testing.assert_close(uniform[0], 1 - uniform[1])  # the antithetic of a uniform number
    halves, _ = NoiseStreams.from_seeds([3, antithetic_seed(3)]).draw(torch.Size([6, 4]), torch.float64)
    assert torch.equal(halves[:3], -halves[3:])


def test_one_stream_may_serve_a_population() -> None:
    """If this fails, large populations repeat samples, or each needs thousands of generators."""
    noise, _ = NoiseStreams.from_seeds([1, 2]).draw(torch.Size([6, 4]), torch.float64)
    assert len(noise.unique()) == 24
    alone, _ = NoiseStreams.from_seeds([2]).draw(torch.Size([3, 4]), torch.float64)
    assert torch.equal(noise[3:], alone)


def test_uniform_numbers_are_those_of_images() -> None:
    """If this fails, the resampling of a population depends on its number of particles, or numbers are not uniform."""
    streams = NoiseStreams.from_seeds([1, 2])
    found = Draws(streams, torch.zeros(6, 3), images=2).uniform(5000)
    assert torch.equal(found, Draws(streams, torch.zeros(2, 3)).uniform(5000))
    assert float(found.min()) >= 0
    assert float(found.max()) < 1
    for share in (0.1, 0.5, 0.9):  # of 10,000 numbers: a standard error of at most 0.005
        assert float((found < share).double().mean()) == pytest.approx(share, abs=0.02)


def test_noise_is_standard_normal() -> None:
    """If this fails, the noise of every level has the wrong mean or scale."""
    noise, _ = NoiseStreams.from_seeds([0]).draw(torch.Size([1, 1_000_000]), torch.float64)
    assert abs(float(noise.mean())) < 4e-3  # four standard errors
    assert abs(float(noise.std()) - 1) < 4e-3 / 2**0.5


def test_only_locked_memory_is_copied_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, MPS reads noise whose memory is already free or used again, and every result there is wrong."""
    waits: list[bool] = []
    move = Tensor.to

    def watched(self: Tensor, *args: Any, **options: Any) -> Tensor:
        waits.append(self.is_pinned() or not options.get("non_blocking", False))
        return move(self, *args, **options)

    monkeypatch.setattr(Tensor, "to", watched)
    Draws(NoiseStreams.from_seeds([0]), torch.zeros(1, 3, device="meta")).another()
    assert waits == [True]
