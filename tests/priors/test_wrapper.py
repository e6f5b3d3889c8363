"""Wrappers forward everything that the protocol declares."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler
from helpers.tiny_latents import tiny_vae
from helpers.tiny_priors import tiny_unet

from repaint.priors.latent import LatentPrior
from repaint.priors.windowed import Windowed
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.prior import Conditions, Prior

DECLARED = [name for name, value in vars(Prior).items() if isinstance(value, property)]


def latent() -> LatentPrior:
    unet = tiny_unet(in_channels=4, out_channels=4, num_class_embeds=3, sample_size=8)
    prior = LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL"), {0: "cat", 1: "dog"})
    # None of the declared attributes has its default.
    prior.default_schedule, prior.largest_hole, prior.smallest_size = "quick", 24, 4
    prior.pipeline = object()
    return prior


def test_every_declared_attribute_is_forwarded() -> None:
    """If this fails, an attribute is lost behind a wrapper: a wrapped prior has another size, classes or preset."""
    prior = latent()
    for wrapper in (PriorWrapper(prior), Windowed(prior, 8)):
        assert isinstance(wrapper, Prior)
        for name in DECLARED:
            assert getattr(wrapper, name) == getattr(prior, name), name


def test_conditions_keep_the_wrapper() -> None:
    """If this fails, conditions remove the wrapper, and the bare prior is run."""

    class Shifted(PriorWrapper):
        def denoise(self, x: Any, level: Any) -> Any:
            return super().denoise(x + 1, level)

    prior, asked = latent(), Conditions(class_labels="dog", guidance_scale=2.0)
    x, level = torch.zeros(1, 4, 4, 4), prior.schedule(4)[2]
    with torch.no_grad():
        found = Shifted(prior).conditioned(1, asked).denoise(x, level)
        expected = prior.conditioned(1, asked).denoise(x + 1, level)
    assert torch.equal(found.x0_hat, expected.x0_hat)
