"""How many at once: batches that shrink until they fit, with results that do not depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_priors import tiny_pipe
from numpy.typing import NDArray

from repaint.errors import InputError, PriorError
from repaint.pipeline import RePaintPipeline
from repaint.placement import in_batches
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState
from repaint.testing import PixelByPixelPrior

JUMPS = JumpSchedule.from_levels([4, 3, 2, 1, 2, 3, 2, 1, 0])
FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def pipe() -> RePaintPipeline:
    return tiny_pipe()


def limited(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch, fits: Callable[[int, int], bool]) -> list[int]:
    """Memory runs out where fits(batch, number of the call) is False; returns the batches that were tried."""
    shown: list[int] = []
    denoise = type(pipe.prior).denoise

    def fail(prior: Any, x: torch.Tensor, level: Any) -> Any:
        shown.append(len(x))
        if not fits(len(x), len(shown)):
            raise FULL
        return denoise(prior, x, level)

    monkeypatch.setattr(type(pipe.prior), "denoise", fail)
    return shown


def fill(pipe: RePaintPipeline, count: int = 7, **more: Any) -> NDArray[np.float64]:
    images = np.random.default_rng(0).random((count, 8, 8, 3))
    white = np.zeros((8, 8), bool)
    white[2:6, 2:5] = True
    result: NDArray[np.float64] = pipe(images, white, schedule=JUMPS, generator=3, output_type="np", **more).images
    return result


def test_results_do_not_depend_on_the_batch_size(pipe: RePaintPipeline) -> None:
    """If this fails, a smaller batch gives other images: noise, or conditions, depend on the batch."""
    whole = fill(pipe)
    seen: list[int] = []

    def look(_pipe: object, moves: int, _level: int, kwargs: dict[str, SamplerState]) -> None:
        if moves == 1:
            seen.append(len(kwargs["state"].x))

    assert np.array_equal(fill(pipe, batch_size="auto", callback_on_step_end=look), whole)
    assert np.array_equal(fill(pipe, batch_size=100, callback_on_step_end=look), whole)
    for size, batches in ((1, [1] * 7), (3, [3, 3, 1])):
        seen.clear()
        # The rounding of another batch, 1e-6 of an output, divided by alpha = 0.006 at the noisiest level.
        np.testing.assert_allclose(fill(pipe, batch_size=size, callback_on_step_end=look), whole, atol=2e-4)
        assert seen == batches


def test_auto_halves_until_it_fits(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, "auto" gives up though less would fit, forgets what fitted, or leaves images out."""
    whole = fill(pipe)
    shown = limited(pipe, monkeypatch, lambda batch, _: batch <= 2)
    np.testing.assert_allclose(fill(pipe, batch_size="auto"), whole, atol=2e-4)
    assert shown == [7, 4] + [2] * 6 * 3 + [1] * 6


@pytest.mark.parametrize("k", range(1, 14))
def test_a_failure_at_any_call(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """If this fails, memory that runs out in the middle of a walk loses images, or mixes two attempts up."""
    whole = fill(pipe, 3)
    shown = limited(pipe, monkeypatch, lambda _, call: call != k)
    np.testing.assert_allclose(fill(pipe, 3, batch_size="auto"), whole, atol=2e-4)
    assert len(shown) == (k + 2 * 6 if k <= 6 else 6)


def test_memory_that_is_too_small(pipe: RePaintPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, "auto" tries forever, or the error does not say what to lower."""
    shown = limited(pipe, monkeypatch, lambda _batch, _call: False)
    with pytest.raises(
        PriorError,
        match=r"Out of memory with a batch of 1 \(CUDA out of memory\. Tried .*\)\. Use a smaller Crop\(size=\.\.\.\), "
        r"torch_dtype=torch\.bfloat16, or enable_model_cpu_offload\(\)\.",
    ):
        fill(pipe, batch_size="auto")
    assert shown == [7, 4, 2, 1]
    for size in (None, 4):
        with pytest.raises(
            PriorError, match=r"Out of memory with a batch of [74] .* Pass batch_size='auto' or a smaller one\. Use a"
        ):
            fill(pipe, batch_size=size)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "all"])
def test_no_batch_size(unchecked: None, pipe: RePaintPipeline, size: Any) -> None:
    """If this fails, an invalid batch size gives an endless loop, or is read as another."""
    with pytest.raises(InputError, match=rf"batch_size={size!r} must be an integer of at least 1, 'auto', or None\."):
        fill(pipe, batch_size=size)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_memory_of_other_devices(error: Exception) -> None:
    """If this fails, "auto" backs off on CUDA alone."""
    done: list[int] = []

    def work(batch: Any) -> None:
        if len(batch) > 1:
            raise error
        done.extend(batch)

    in_batches([1, 2, 3], "auto", work)
    assert done == [1, 2, 3]
    with pytest.raises(PriorError, match=r"Out of memory with a batch of 2"):
        in_batches([1, 2], None, work)


def test_other_errors_pass() -> None:
    """If this fails, a bug in a model or a callback is retried, or called a lack of memory."""
    calls: list[int] = []

    def work(batch: Any) -> None:
        calls.append(len(batch))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match=r"^mat1 and mat2"):
        in_batches([1, 2], "auto", work)
    assert calls == [2]


def test_the_type_of_a_pipeline() -> None:
    """If this fails, code that reads `pipe.dtype`, as in diffusers, gets the type of x and not of the model."""
    pipe = tiny_pipe()
    assert pipe.dtype == torch.float32
    assert pipe.to(torch.bfloat16).dtype == torch.bfloat16
    assert RePaintPipeline(PixelByPixelPrior(dtype=torch.float64)).dtype == torch.float64
