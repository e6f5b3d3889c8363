"""Devices, types and host reads of a walk on CUDA, proven with fake tensors; no GPU is needed.

`pytest -m slow -s tests/priors/test_fake_cuda.py` prints floating-point operations and memory at real sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.fake_checks import CALLS, DRAWS, FAULTS, HALVES, WALK, check_draws, check_types, found
from helpers.fake_cuda import CUDA, CudaGenerator, Trace, fake_cuda
from helpers.fake_models import MODELS, REAL, SMALL

from repaint.sampling.finite import PATIENCE
from repaint.sampling.method import as_method
from repaint.sampling.prior import Conditions
from repaint.sampling.rng import seeds_for
from repaint.sampling.sampler import Sampler


def filled(prior: Any, side: int, given: Callable[[], dict[str, Any]], patience: int = PATIENCE) -> Trace:
    """Fill an image, from encoding to decoding, and return the trace of the walk alone; check all devices and types."""
    with fake_cuda():
        conditions = Conditions(**given(), size=(side, side), calls=CALLS)
        bound = prior.conditioned(1, conditions)
    sampler = Sampler(bound, as_method(WALK))  # reads its scheduler, which is real
    assert sampler.patience == PATIENCE
    sampler.patience = patience
    with fake_cuda():
        image = torch.zeros(1, prior.channels, side, side, device=CUDA)
        known = torch.ones(1, 1, side, side, dtype=torch.bool, device=CUDA)
        with Trace() as ends:
            x0, mask = prior.encode(image, known)
        assert (x0.device, x0.dtype, mask.device) == (CUDA, torch.float32, CUDA)
        with Trace() as trace:
            state = sampler.start(x0, mask, seeds=[0])
            for moved in sampler.run(state):
                state = moved
            bound.release()
        assert (state.x.device, state.x.dtype) == (CUDA, torch.float32)
        with ends:
            decoded = prior.decode(state.x)
        assert (decoded.device, decoded.dtype, decoded.shape) == (CUDA, torch.float32, image.shape)
        assert ends.copies == 0
        assert ends.reads <= 4  # whether encoding and decoding overflowed, and whether a mask leaves known cells
    return trace


LOOKS = 2  # a driven run compares guided predictions once, to find the unguided one


def check(trace: Trace, dtype: torch.dtype, looks: int = 0) -> None:
    """Check what a walk does on the device: one host read, no copy to the host, and all heavy work in one type."""
    assert trace.reads == 1 + looks, "the host reads values besides the last check for NaN"
    assert trace.copies == 0, "a tensor is copied to the host"
    assert trace.uploads <= DRAWS + 2 * CALLS, "more than noise and times is copied to the device"
    check_draws(trace)
    check_types(trace, dtype)


def run(name: str, dtype: torch.dtype, spoil: Callable[[Any], None] = lambda _network: None) -> Trace:
    model = MODELS[name]
    prior = model.prior(dtype)
    spoil(prior.network)
    return filled(prior, model.side, lambda: model.given(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_half_precision_on_cuda(name: str, dtype: torch.dtype) -> None:
    """If this fails, a GPU waits for the host, tensors meet on two devices, or part of a model runs in float32."""
    check(run(name, dtype), dtype, LOOKS if "driven" in name else 0)


def test_what_it_saves_to_check_predictions_together() -> None:
    """If this fails, a GPU waits at each prediction, or the check could as well be made at each."""
    prior = SMALL["pixel"].prior(torch.float16)
    assert [filled(prior, 16, dict, patience).reads for patience in (1, PATIENCE)] == [CALLS, 1]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["pixel", "driven", "flow"])
def test_planted_faults_are_found(name: str, fault: str) -> None:
    """If this fails, the tests above would pass with a `.cpu()`, a float32 constant or a read value in a model."""
    spoil, what = FAULTS[fault]
    with found(what):
        check(run(name, torch.float16, spoil), torch.float16, LOOKS if "driven" in name else 0)


def test_seeds_are_drawn_where_the_generator_is() -> None:
    """If this fails, a generator on the GPU fails, because its numbers are drawn on the host.

    Without a driver, torch.Generator("cuda") raises an error, so one that only says it is there takes its place. Noise
    is drawn on the host in any case, by the code of the product, from generators of its own. Only their states are not
    set, because fake tensors have no values to set them to.
    """
    with fake_cuda(), Trace() as trace:
        seeds_for(2, [CudaGenerator(), CudaGenerator()])
    assert trace.reads == 2
    assert seeds_for(2, torch.Generator().manual_seed(0)) == seeds_for(2, torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", REAL)
def test_real_sizes(name: str, dtype: torch.dtype) -> None:
    """If this fails, a model of real size meets tensors of two devices or types that a small copy does not."""
    trace = run(name, dtype)
    flops = sum(trace.flops.values()) / CALLS
    print(f"\n{name}: {flops / 1e12:.2f} TFLOP a prediction, {trace.peak / 2**20:.0f} MiB besides the weights")  # noqa: T201
    check(trace, dtype, LOOKS if "driven" in name else 0)
