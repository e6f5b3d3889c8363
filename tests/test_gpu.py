"""What only a GPU can show: `pytest -m gpu`. The default suite runs the same bodies on the CPU, to keep them sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel
from helpers.tiny_latents import TEXT, seeded, tiny_dit, tiny_sd, tiny_vae
from helpers.tiny_pipelines import sd_like
from helpers.tiny_priors import tiny_pipe
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from repaint.pictures.crop import Crop
from repaint.pipeline import RePaintPipeline
from repaint.priors.networks import network_of
from repaint.sampling.schedule import JumpSchedule

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
HALVES = [torch.float16, torch.bfloat16]
WALK = JumpSchedule.paper(4, 2, 2)
SIZE = 32


def image(count: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def hole() -> NDArray[np.uint8]:
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:20, 6:24] = 255
    return mask


def latent() -> Any:
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    config: dict[str, Any] = {"sample_size": 16, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16)}
    unet = seeded(lambda: UNet2DModel(**config, **blocks, norm_num_groups=4, layers_per_block=1))
    return LDMPipeline(tiny_vae("AutoencoderKL"), unet, DDIMScheduler(clip_sample=False))


PROMPT: dict[str, Any] = {"prompt": "a red cat"}
# Name -> a small pipeline of diffusers or of this library, and its conditions.
MODELS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "pixel": (lambda _folder: tiny_pipe(), {}),
    "latent": (lambda _folder: latent(), {}),
    "dit": (lambda _folder: tiny_dit(), {"class_labels": 3, "crop": "auto"}),
    **{name: (build, PROMPT) for name, build in TEXT.items()},
    "controlnet": (
        lambda folder: sd_like(folder, "StableDiffusionControlNetPipeline"),
        PROMPT | {"control_image": Image.fromarray(image()[0])},
    ),
    "pag": (lambda folder: sd_like(folder, "StableDiffusionPAGPipeline"), PROMPT | {"pag_scale": 2.0}),
}


def pipe_of(name: str, folder: Path) -> RePaintPipeline:
    made = MODELS[name][0](folder)
    pipe = made if isinstance(made, RePaintPipeline) else RePaintPipeline.from_pipe(made)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def fill(name: str, pipe: RePaintPipeline, pictures: Any = None, **options: Any) -> NDArray[np.uint8]:
    """Return the filled images. Kept pixels are bit-equal."""
    pictures = image() if pictures is None else pictures
    asked: dict[str, Any] = {"schedule": WALK, "generator": 0, "output_type": "np", "crop": "off"}
    found: NDArray[np.uint8] = pipe(pictures, hole(), **asked | MODELS[name][1] | options).images
    kept = hole() == 0
    for before, after in zip(np.repeat(pictures, len(found) // len(pictures), 0), found, strict=True):
        assert np.array_equal(after[kept], before[kept])
    return found


# Mean difference in the hole, in 8-bit values. On a CPU, the largest are 0.56 and 4.9 (sd2, which predicts v). Their
# ratio is that of the rounding to 11 and to 8 bits. Twice that is allowed. Another noise differs by 49 or more.
LIMITS = {torch.float16: 1.1, torch.bfloat16: 10.0}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_is_near_float32_on_the_cpu(tmp_path: Path, name: str, dtype: torch.dtype, device: str) -> None:
    """If this fails, a prior in half precision mixes devices or types, or computes something else."""
    expected = fill(name, pipe_of(name, tmp_path / "1")).astype(int)
    found = fill(name, pipe_of(name, tmp_path / "2").to(device, dtype))
    assert np.abs(found - expected)[0][hole() > 0].mean() < LIMITS[dtype]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["pixel", "sd1", "controlnet"])
def test_batches_and_windows(tmp_path: Path, name: str, device: str) -> None:
    """If this fails, several results or windows do not work on a device, or a result depends on its batch."""
    pipe = pipe_of(name, tmp_path).to(device)
    both = fill(name, pipe, num_images_per_prompt=2, generator=[4, 5]).astype(int)
    # Convolutions of another batch add in another order: 1e-6 of the range on a CPU, and 1e-3 in TF32.
    assert np.abs(both[1:] - fill(name, pipe, generator=5)).max() <= (1 if device == "cpu" else 8)
    fill(name, pipe, crop=Crop(size=16, windows=name != "controlnet"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["pixel", "sd1", "controlnet"])
def test_a_saved_state_goes_on(tmp_path: Path, name: str, device: str) -> None:
    """If this fails, a state that was saved on a device cannot be continued there to the same bits."""
    pipe = pipe_of(name, tmp_path).to(device)
    states: list[Any] = []
    whole = fill(name, pipe, callback_on_step_end=lambda *step: states.append(step[3]["state"]))
    states[2].save(tmp_path / "state.safetensors")
    asked = {"schedule": WALK, "output_type": "np", "crop": "off"} | MODELS[name][1]
    assert np.array_equal(pipe.resume(tmp_path / "state.safetensors", image(), hole(), **asked).images, whole)


@pytest.mark.parametrize("device", DEVICES)
def test_generators_of_either_device(tmp_path: Path, device: str) -> None:
    """If this fails, a generator of one device cannot be used on another, or a seed gives another noise there."""
    pipe = pipe_of("pixel", tmp_path).to(device)
    for place in ("cpu", device):
        first, again = (fill("pixel", pipe, generator=torch.Generator(place).manual_seed(3)) for _ in range(2))
        assert np.array_equal(first, again)
    on_cpu = fill("pixel", pipe_of("pixel", tmp_path), generator=7).astype(int)
    assert np.abs(fill("pixel", pipe, generator=7) - on_cpu).mean() < 1  # TF32; other noise differs by 20


@pytest.mark.parametrize("device", DEVICES)
def test_offloaded_parts_come_and_go(tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, an offloaded pipeline computes something else, or its parts stay on the device after a run."""
    expected = fill("sd1", pipe_of("sd1", tmp_path).to(device))
    pipe = pipe_of("sd1", tmp_path)
    if device == "cpu":  # diffusers offloads only from accelerators: the hooks alone
        from accelerate import cpu_offload_with_hook

        live = tiny_sd(tmp_path)
        for part in (live.text_encoder, live.unet, live.vae):
            cpu_offload_with_hook(part, "cpu")
        pipe = RePaintPipeline.from_pipe(live)
        pipe.set_progress_bar_config(disable=True)
    else:
        pipe.enable_model_cpu_offload(device=device)
    assert np.array_equal(fill("sd1", pipe), expected)
    assert {parameter.device.type for parameter in network_of(pipe.prior).parameters()} == {"cpu"}


@pytest.mark.parametrize("device", [pytest.param("cpu", marks=pytest.mark.slow), *DEVICES[1:]])
@pytest.mark.parametrize("name", ["pixel", "sd1", "controlnet"])
def test_compiled_networks_compute_the_same(tmp_path: Path, name: str, device: str) -> None:
    """If this fails, compiling (on a GPU with CUDA graphs) changes results, or one call overwrites those of another."""
    expected = fill(name, pipe_of(name, tmp_path).to(device)).astype(int)
    options = {"backend": "eager"} if device == "cpu" else {}  # without a compiler
    pipe = pipe_of(name, tmp_path).to(device).compile(**options)
    for _ in range(3):  # graphs are recorded at the second call
        assert np.abs(fill(name, pipe) - expected).mean() < 1
    assert network_of(pipe.prior)._compiled_call_impl is not None, "it runs uncompiled"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["pixel", "sd1", "pag"])
def test_autocast(tmp_path: Path, name: str, device: str) -> None:
    """If this fails, the library switches autocast on, or that of a caller reaches the noise arithmetic."""
    pipe = pipe_of(name, tmp_path).to(device)
    inside: list[bool] = []
    states: list[Any] = []

    def watch(_network: nn.Module, _inputs: Any) -> None:
        inside.append(torch.is_autocast_enabled(device))

    network_of(pipe.prior).register_forward_pre_hook(watch)
    plain = fill(name, pipe).astype(int)
    assert set(inside) == {False}
    with torch.autocast(device, torch.bfloat16):
        found = fill(name, pipe, callback_on_step_end=lambda *step: states.append(step[3]["state"]))
        assert torch.is_autocast_enabled(device)
    assert {state.x.dtype for state in states} == {torch.float32}
    assert np.abs(found - plain)[0][hole() > 0].mean() < LIMITS[torch.bfloat16]
