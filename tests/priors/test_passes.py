"""The unguided prediction is found among the passes of a network."""

from __future__ import annotations

from threading import Thread

import pytest
import torch
from torch import Tensor, nn

from repaint.priors.driven_scheduler import Output
from repaint.priors.passes import Passes
from repaint.priors.sample_layout import SampleLayout
from repaint.priors.text import guide

SHAPE = (1, 4, 4, 4)


class Replay(nn.Module):
    """A network whose outputs are given, in their order."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, _x: Tensor) -> tuple[Tensor]:
        return (self.outputs.pop(0),)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("prompt_first", [False, True])
def test_a_prompt_with_little_effect(prompt_first: bool, dtype: torch.dtype) -> None:
    """If this fails, a run whose first prediction hardly depends on the prompt merges that of the negative prompt."""
    generator = torch.Generator().manual_seed(0)
    without = torch.randn(SHAPE, generator=generator).to(dtype)
    least = torch.finfo(dtype).eps
    with_prompt = without + (least * torch.randn(SHAPE, generator=generator)).to(dtype)
    assert not torch.equal(without, with_prompt)
    rows = [with_prompt, without] if prompt_first else [without, with_prompt]
    network = Replay(list(rows))
    passes = Passes(network, {"guidance_scale": 3.0})
    x = torch.zeros(SHAPE, dtype=dtype)
    with passes.watched(x):
        for _ in rows:
            network(x)
    found = passes.unguided(Output(guide(without, with_prompt, 3.0), SampleLayout.of(SHAPE, SHAPE)))
    assert found is not None
    assert torch.equal(found, with_prompt)


def test_passes_of_other_threads() -> None:
    """If this fails, a pipeline in one thread merges what another thread predicts with the same network."""
    without, with_prompt, other = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    network = Replay([without, with_prompt, other, without, with_prompt])
    passes, x = Passes(network, {"guidance_scale": 3.0}), torch.zeros(SHAPE)
    for others in (0, 1):
        with passes.watched(x):
            for _ in range(others):
                thread = Thread(target=network, args=(x,))
                thread.start()
                thread.join()
            network(x)
            network(x)
        found = passes.unguided(Output(guide(without, with_prompt, 3.0), SampleLayout.of(SHAPE, SHAPE)))
        assert found is not None
        assert torch.equal(found, with_prompt)


@pytest.mark.parametrize(("scale", "found"), [(0.5, False), (1.5, True)])
def test_a_scale_below_1_moves_towards_no_prompt(scale: float, found: bool) -> None:
    """If this fails, kept pixels follow a prompt that a scale below 1 weakens, and guidance exaggerates nothing."""
    without, with_prompt = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    network = Replay([without, with_prompt])
    passes, x = Passes(network, {"guidance_scale": scale}), torch.zeros(SHAPE)
    with passes.watched(x):
        network(x)
        network(x)
    unguided = passes.unguided(Output(guide(without, with_prompt, scale), SampleLayout.of(SHAPE, SHAPE)))
    assert (unguided is not None) == found
