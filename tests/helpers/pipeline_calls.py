"""What diffusers' own pipelines pass to their scheduler, to compare our predictions with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from repaint.priors.sample_layout import SampleLayout
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, from_output, split_variance, weighted

__all__ = ["Call", "calls_of", "largest_difference"]


@dataclass
class Call:
    """What a pipeline passes to its scheduler: x in our scale, the timestep, and the guided output; and the next x."""

    x: Tensor
    t: float
    output: Tensor
    after: Tensor


def calls_of(pipe: Any, size: tuple[int, int] | None, steps: int = 5, **asked: Any) -> list[Call]:
    """Run diffusers' own pipeline and record every call of scheduler.step."""
    pipe.set_progress_bar_config(disable=True)
    calls: list[Call] = []
    step = pipe.scheduler.step

    def record(output: Tensor, t: Tensor, sample: Tensor, **kwargs: Any) -> Any:
        scaled = pipe.scheduler.scale_model_input(sample, t) if hasattr(pipe.scheduler, "scale_model_input") else sample
        before = scaled.clone(), float(t), output.clone()
        stepped = step(output, t, sample, **kwargs)
        calls.append(Call(*before, stepped[0].clone()))
        return stepped

    pipe.scheduler.step = record
    try:
        generator = torch.Generator().manual_seed(0)
        asked = {"output_type": "latent", "generator": generator, "num_inference_steps": steps} | asked
        if size is not None:
            asked |= {"height": size[0], "width": size[1]}
        pipe(**asked)
    finally:
        del pipe.scheduler.step
    return calls


def largest_difference(
    prior: Any, grid: NoiseSchedule, calls: list[Call], kind: str, cells: tuple[int, ...], clip: Clip | None = None
) -> float:
    """Return the largest difference between our prior's noise prediction and the pipeline's, over all levels.

    Args:
        prior: under the conditions of the pipeline's run.
        grid: the levels of that run.
        calls: see `calls_of`.
        kind: what the model predicts.
        cells: (B, C, H, W), the shape of the prior's samples.
        clip: of the clean sample, as in the scheduler.
    """
    assert len(calls) == grid.steps
    worst = 0.0
    for call, level in zip(calls, reversed(grid.levels[1:]), strict=True):
        assert level.t == pytest.approx(call.t, rel=1e-6, abs=1e-3 if level.t % 1 and call.t % 1 else 1), (
            "another clock"
        )
        layout = SampleLayout.of(cells, call.x.shape)
        x, output = layout.unpack(call.x).float(), layout.unpack(call.output).float()  # as the sampler's x
        if output.shape[1] == 2 * x.shape[1]:
            output = split_variance(output)[0]
        scaled = getattr(prior, "preconditioning", None)  # only of priors that have one
        if scaled is not None and ((scales := scaled.at(level)).c_skip or scales.c_out != 1):
            output = weighted((scales.c_skip, x), (scales.c_out, output))
        expected = from_output(kind, output, x, level, clip=clip).eps_hat
        with torch.no_grad():
            # On the pipeline's clock to the last bit: float32 rounds t near 1000 by 6e-5, and models are not flat in t.
            mine = prior.denoise(x, replace(level, t=call.t)).eps_hat
        worst = max(worst, float((mine - expected).abs().max()))
        assert float(expected.std()) > 0.1, "nothing is compared"
    return worst
