"""PyTorch's default device and floating type, which users set for their own code, change nothing here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from helpers.small_inputs import TWO, hole, photo, quiet
from helpers.tiny_latents import tiny_sd, tiny_sd3, tiny_vae
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe, tiny_unet

from repaint import Crop, GaussianMixturePrior, JumpSchedule, RePaintPipeline, remove, restore
from repaint.priors.driven import DrivenPrior
from repaint.priors.latent import LatentPrior
from repaint.sampling.budget import with_budget
from repaint.testing import PixelByPixelPrior

JUMPS = JumpSchedule.from_levels([4, 3, 2, 3, 2, 1, 0])
Case = Callable[[Path], Callable[[], Any]]


def filled(pipe: RePaintPipeline, **options: Any) -> Callable[[], Any]:
    """A call that returns its images."""
    options = {"schedule": TWO, "generator": 0, "output_type": "np"} | options
    return lambda: pipe(photo(), hole(), **options).images


def prompted(pipe: Any, **embeds: tuple[int, ...]) -> Callable[[], Any]:
    """A call with embeddings. Texts are left out, because transformers makes their tokens on the default device."""
    given = {name: torch.linspace(-1, 1, int(np.prod(shape))).reshape(shape) for name, shape in embeds.items()}
    return filled(RePaintPipeline.from_pipe(pipe), **given)


def called(function: Callable[..., Any], pipe: RePaintPipeline) -> Callable[[], Any]:
    """A call of `remove` or `restore`."""
    given = (photo(), hole()) if function is remove else (hole(),)
    found = partial(function, *given, prior=pipe, schedule=TWO, generator=0, output_type="np")
    return lambda: [one.image for one in (found() if function is remove else [found()])]


def extended(pipe: RePaintPipeline) -> Callable[[], Any]:
    """A call of `outpaint`, in two steps."""
    return lambda: pipe.outpaint(photo(), right=6, schedule=TWO, generator=0, output_type="np").images


def latent() -> RePaintPipeline:
    unet = tiny_unet(in_channels=4, out_channels=4, sample_size=8)
    return quiet(LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL")))


def mixture() -> Any:
    prior = GaussianMixturePrior([0.3, 0.7], [[0.0, 1.0], [1.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]] * 2)
    own = prior.posterior([0], [0.5])
    return torch.cat([own.means, own.sample(3, torch.Generator("cpu").manual_seed(0))]).numpy()


COVER = {"crop": Crop(size=8, windows=True), "num_images_per_prompt": 2, "blend_rim": 2, "strength": 0.7}
SD = {"prompt_embeds": (1, 77, 8), "negative_prompt_embeds": (1, 77, 8)}
POOLED = {"pooled_prompt_embeds": (1, 16), "negative_pooled_prompt_embeds": (1, 16)}
CASES: dict[str, Case] = {
    "steps": lambda _: filled(tiny_pipe(), schedule=JUMPS),
    "multistep": lambda _: filled(tiny_pipe(), schedule=JUMPS, solver="multistep(1)"),
    "heun": lambda _: filled(tiny_pipe(), schedule=JUMPS, solver="heun", corrector="langevin(2)"),
    **{
        name: partial(lambda name, _: filled(quiet(PixelByPixelPrior()), schedule=with_budget(name, steps=3)), name)
        for name in ("copaint", "daps", "lanpaint-paper")
    },
    "windows": lambda _: filled(quiet(PixelByPixelPrior(multiple_of=4, preferred_size=8)), **COVER),
    "latents": lambda _: filled(latent(), merge="trajectory"),
    "remove": lambda _: called(remove, latent()),
    "restore": lambda _: called(restore, tiny_pipe()),
    "outpaint": lambda _: extended(tiny_pipe(sample_size=8)),
    "Stable Diffusion": lambda folder: prompted(tiny_sd(folder), **SD),
    "Stable Diffusion 3": lambda folder: prompted(
        tiny_sd3(folder), **dict.fromkeys(SD, (1, 77, 16)), **dict.fromkeys(POOLED, (1, 16))
    ),
    "Gaussians": lambda _: mixture,
}


@pytest.mark.parametrize("case", CASES)
def test_the_default_device_plays_no_part(case: str, tmp_path: Path) -> None:
    """If this fails, torch.set_default_device("cuda") breaks a call.

    Tensors on "meta" have no values, so that each one that is made there by mistake raises an error.
    """
    call = CASES[case](tmp_path)
    expected = call()
    with torch.device("meta"):
        found = call()
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


def test_the_default_type_plays_no_part() -> None:
    """If this fails, latents are scaled in the default floating type, and torch.set_default_dtype changes results."""
    parts = latent().prior.network, DDPMScheduler(), tiny_vae("AutoencoderKL")

    def call() -> Any:
        return filled(quiet(LatentPrior(*parts)), crop=None, output_type="latent")()[0]

    expected = call()
    torch.set_default_dtype(torch.float16)
    try:
        found = call()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["unconditional", "driven"])
def test_inference_mode_changes_nothing(name: str, tmp_path: Path) -> None:
    """If this fails, methods with gradients, or a state that is resumed outside, fail under torch.inference_mode()."""
    given: dict[str, Any] = {"schedule": JUMPS, "guidance": "dps(1)", "output_type": "pt"}
    states: list[Any] = []

    def keep(_pipe: RePaintPipeline, _moves: int, _level: int, kwargs: dict[str, Any]) -> None:
        states.append(kwargs["state"])

    if name == "driven":
        given |= {"prompt_embeds": torch.ones(1, 77, 8), "negative_prompt_embeds": torch.zeros(1, 77, 8)}

    sd = tiny_sd(tmp_path / "tokens")
    tiny_folder_pipeline().save_pretrained(tmp_path / "model")

    def loaded() -> RePaintPipeline:
        return quiet(DrivenPrior(sd)) if name == "driven" else RePaintPipeline.from_pretrained(tmp_path / "model")

    expected = loaded()(photo(), hole(), generator=0, **given).images
    with torch.inference_mode():
        pipe = loaded()
        found = pipe(photo(), hole(), generator=0, callback_on_step_end=keep, **given).images
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
    assert torch.equal(found, expected)
    assert not found.is_inference()
    assert torch.equal(pipe.resume(states[2], photo(), hole(), **given).images, expected)
