"""Devices, types and host reads of the whole product on CUDA, proven with fake tensors; no GPU is needed.

Crops, windows, batches, strengths and resumed runs, of small models and, with `pytest -m slow`, of published ones at
their real size and configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.fake_checks import DRAWS, FAULTS, HALVES, WALK, check_draws, check_types, found
from helpers.fake_cuda import CUDA, Trace, fake_cuda
from helpers.fake_models import MODELS, REAL, SMALL

import repaint.plan
from repaint.pictures.crop import Crop
from repaint.plan import Plan
from repaint.priors.windowed import Windowed
from repaint.sampling.rng import NoiseStreams
from repaint.sampling.state import SamplerState

# Name -> options of the pipeline, the side of the image over that of the model, and copies to the host: the result and,
# for windows in a hole, where the hole is.
SCENES: dict[str, tuple[dict[str, Any], int, int]] = {
    "crop": ({"crop": Crop(), "generator": torch.Generator().manual_seed(0)}, 2, 1),
    "windows": ({"crop": Crop(windows=True)}, 2, 2),
    "batch": ({"num_images_per_prompt": 3, "generator": [3, 1, 2**32 + 3]}, 1, 1),
    "strength": ({"strength": 0.5, "num_images_per_prompt": 2}, 1, 1),
}
STOP = 2  # moves before a state is saved
Spoil = Callable[[Any], None]


def painted(name: str, dtype: torch.dtype, scene: str, resumed: bool = False, spoil: Spoil | None = None) -> Trace:
    """Fill an image with the whole product, check it, and return the trace of the run, or of its resumed part.

    All but reading the image and the mask is on the device. A saved state is moved to the host and back.
    """
    model = MODELS[name]
    prior = model.prior(dtype)
    if spoil is not None:
        spoil(prior.network)
    with fake_cuda():
        conditions = model.given(dtype)
    options, times, copies = SCENES[scene]
    side = model.side * times
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : -side // 4, 2 : 2 + (side // 2 if scene == "windows" else side // 8)] = 255
    image = np.full((side, side, 3), 99, np.uint8)
    given = {"schedule": WALK, "generator": 0, "output_type": "np"} | options | conditions
    plan = Plan.of(prior, None, image, mask, **given)
    (batch,) = plan.batches()
    states: list[SamplerState] = []
    with fake_cuda(), Trace() as trace:
        plan.paint(batch, None, lambda state: states.append(state.to("cpu") if resumed else state))
    assert (states[-1].x.device.type, states[-1].x.dtype) == ("cpu" if resumed else "cuda", torch.float32)
    if resumed:
        with fake_cuda(), Trace() as trace:
            plan.paint(batch, states[STOP - 1].to(CUDA))
    assert trace.copies == copies, "a tensor is copied to the host"
    assert all((np.asarray(result)[mask == 0] == 99).all() for result in plan.images())
    check_types(trace, dtype)
    assert trace.reads == reads_of(name, scene, resumed), "the host reads values at each step"
    drawn = DRAWS - 1 - STOP if resumed else DRAWS  # the start of a resumed run is not drawn again
    check_draws(trace, 1 if scene == "strength" else drawn)
    return trace


def reads_of(name: str, scene: str, resumed: bool) -> int:
    """Return the host reads of a whole run: they do not grow with the walk, the batch or the windows."""
    pixels = MODELS[name].wrap is None
    reads = 1  # the last check for NaN
    reads += 0 if pixels else 4  # encoding and decoding: finite in half precision, and cells that are known
    reads += 3 if scene == "strength" and not pixels else 0  # the image itself is encoded too
    reads += (2 if scene != "windows" else 4) if "driven" in name else 0  # guidance, in each size of batches
    return reads + 2 * resumed  # the state's mask and image are those of the call


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scene", SCENES)
def test_the_product_on_cuda(name: str, scene: str) -> None:
    """If this fails, a crop, windows, a batch or a strength leaves the device, or waits for it at each step."""
    painted(name, torch.float16, scene)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scene", ["batch", "windows"])
def test_a_resumed_run_on_cuda(name: str, scene: str) -> None:
    """If this fails, a state that was saved on the host meets tensors on the device, or a resumed run waits for it."""
    painted(name, torch.bfloat16, scene, resumed=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_the_product_at_real_sizes(name: str, scene: str, dtype: torch.dtype) -> None:
    """If this fails, a model of real size leaves the device or its type in a crop, windows or a batch."""
    painted(name, dtype, scene)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("scene", ["crop", "batch", "windows"])
def test_resumed_runs_at_real_sizes(name: str, scene: str) -> None:
    """If this fails, a model of real size leaves the device or its type where a saved run is resumed."""
    painted(name, torch.bfloat16, scene, resumed=True)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("scene", ["crop", "windows", "batch", "resumed"])
def test_faults_in_a_network_are_found(scene: str, fault: str) -> None:
    """If this fails, the tests above would pass with a `.cpu()`, a float32 constant or a read value in a model."""
    spoil, what = FAULTS[fault]
    resumed = scene == "resumed"
    with found(what):
        painted("pixel", torch.float16, "batch" if resumed else scene, resumed, spoil)


def through_the_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose result was on the host in between."""

    def moved(*args: Any, **options: Any) -> Any:
        out = function(*args, **options)
        return tuple(part.cpu().to(CUDA) for part in out) if isinstance(out, tuple) else out.cpu().to(CUDA)

    return moved


def unpinned(self: NoiseStreams, shape: torch.Size, dtype: torch.dtype, **_options: Any) -> Any:
    return DRAW(self, shape, dtype)


def compared_by_the_host(state: SamplerState, problem: tuple[Any, ...], tolerance: float) -> bool:
    return SAME(state.to("cpu").to(CUDA), problem, tolerance)


DRAW, SAME = NoiseStreams.draw, repaint.plan._same_problem
PARTS: dict[str, tuple[Any, str, Any, str, str]] = {
    "crop": (repaint.plan, "encode", through_the_host(repaint.plan.encode), "copied", "crop"),
    "windows": (Windowed, "_outside", through_the_host(Windowed._outside), "copied", "windows"),
    "batch": (NoiseStreams, "draw", unpinned, "waits for copies of noise", "batch"),
    "resumed": (repaint.plan, "_same_problem", compared_by_the_host, "copied", "batch"),
}


@pytest.mark.parametrize("part", PARTS)
def test_faults_beside_the_network_are_found(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the tests above would pass with a `.cpu()` where a part of this library puts pixels together."""
    owner, name, fault, what, scene = PARTS[part]
    monkeypatch.setattr(owner, name, fault)
    with found(what):
        painted("pixel", torch.float16, scene, resumed=part == "resumed")
