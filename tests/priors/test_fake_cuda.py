"""Devices, types and host reads on CUDA, proven with fake tensors; no GPU is needed.

`pytest -m slow -s tests/priors/test_fake_cuda.py` prints floating-point operations and memory at real sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from helpers.fake_cuda import Trace, built, fake_cuda
from helpers.guided_reference import published, shapes
from helpers.tiny_latents import SD_BETAS

from repaint.errors import PriorError
from repaint.pictures.crop import Crop
from repaint.plan import Plan
from repaint.priors.driven import DrivenPrior
from repaint.priors.flow import FluxPrior, StableDiffusion3Prior
from repaint.priors.guided_diffusion import GuidedCheckpoint, Layout, Settings
from repaint.priors.pixel import PixelPrior
from repaint.priors.text import StableDiffusionPrior
from repaint.sampling.finite import PATIENCE
from repaint.sampling.method import as_method
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState

CUDA = torch.device("cuda", 0)
WALK = JumpSchedule.from_levels([2, 1, 2, 1, 0])
CALLS = 3
DRAWS = 4  # one for the start and one for each move but the last


def pixel(dtype: torch.dtype, **config: Any) -> PixelPrior:
    network = built(lambda: UNet2DModel(**config), dtype)
    return PixelPrior(network, DDPMScheduler())


TINY_PIXEL: dict[str, Any] = {"sample_size": 16, "block_out_channels": (8, 16), "norm_num_groups": 4} | {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
DDPM_256: dict[str, Any] = {"sample_size": 256, "block_out_channels": (128, 128, 256, 256, 512, 512)} | {
    "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "force_upcast": False,  # fake parameters cannot change their type
}
TINY_VAE = VAE | {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
SD15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
TINY_SD: dict[str, Any] = {"sample_size": 8, "cross_attention_dim": 8, "block_out_channels": (8, 16)} | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": 4,
    "layers_per_block": 1,
}
SDXL: dict[str, Any] = {"sample_size": 128, "cross_attention_dim": 2048, "block_out_channels": (320, 640, 1280)} | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def stable_diffusion(dtype: torch.dtype, unet: dict[str, Any], vae: dict[str, Any]) -> Any:
    network, autoencoder = (
        built(lambda: UNet2DConditionModel(**unet), dtype),
        built(lambda: AutoencoderKL(**vae), dtype),
    )
    scheduler = DDIMScheduler(**SD_BETAS, clip_sample=False)
    return diffusers.StableDiffusionPipeline(
        autoencoder, None, None, network, scheduler, None, None, requires_safety_checker=False
    )


def stable_diffusion_xl(dtype: torch.dtype) -> Any:
    network, autoencoder = (
        built(lambda: UNet2DConditionModel(**SDXL), dtype),
        built(lambda: AutoencoderKL(**VAE), dtype),
    )
    return diffusers.StableDiffusionXLPipeline(
        autoencoder, None, None, None, None, network, EulerDiscreteScheduler(**SD_BETAS), add_watermarker=False
    )


def stable_diffusion_35(dtype: torch.dtype) -> Any:
    """The large one."""
    config: dict[str, Any] = {"sample_size": 128, "num_layers": 38, "num_attention_heads": 38, "in_channels": 16}
    config |= {"joint_attention_dim": 4096, "caption_projection_dim": 2432, "pos_embed_max_size": 192}
    config |= {"pooled_projection_dim": 2048, "qk_norm": "rms_norm"}
    network = built(lambda: diffusers.SD3Transformer2DModel(**config), dtype)
    vae = built(lambda: AutoencoderKL(**VAE | {"latent_channels": 16, "scaling_factor": 1.5305}), dtype)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return diffusers.StableDiffusion3Pipeline(network, scheduler, vae, *(None,) * 6)


def flux(dtype: torch.dtype) -> Any:
    network = built(lambda: diffusers.FluxTransformer2DModel(guidance_embeds=True), dtype)
    vae = built(lambda: AutoencoderKL(**VAE | {"latent_channels": 16, "scaling_factor": 0.3611}), dtype)
    return diffusers.FluxPipeline(FlowMatchEulerDiscreteScheduler(shift=3.0), vae, None, None, None, None, network)


def guided_256(dtype: torch.dtype) -> PixelPrior:
    """The unconditional one, as `repaint priors convert` lays it out."""
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes(published(256, 0)).items()}
    layout = Layout.read(state)
    checkpoint = GuidedCheckpoint(state, layout, Settings().completed(layout))
    return PixelPrior(built(lambda: UNet2DModel(**checkpoint._unet_config()), dtype), checkpoint.scheduler())


def embeds(dtype: torch.dtype, width: int, pooled: int | None = None, tokens: int = 77) -> dict[str, Any]:
    given: dict[str, Any] = {"prompt_embeds": torch.zeros(1, tokens, width, device=CUDA, dtype=dtype)}
    if pooled:
        given["pooled_prompt_embeds"] = torch.zeros(1, pooled, device=CUDA, dtype=dtype)
    return given


def both(given: dict[str, Any]) -> dict[str, Any]:
    return given | {f"negative_{name}": value for name, value in given.items()}


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
    assert trace.uploads - trace.waits == DRAWS, "the host waits for copies of noise"
    check_types(trace, dtype)


def check_types(trace: Trace, dtype: torch.dtype) -> None:
    """Check that all heavy work is in one type. Without a GPU, attention is computed in float32."""
    heavy = {kind for name, kind in trace.ops if name != "aten::bmm"}
    assert heavy == {dtype}, "part of the network computes in another type"


HALVES = [torch.float16, torch.bfloat16]


def run(name: str, dtype: torch.dtype, spoil: Callable[[Any], None] = lambda _network: None) -> Trace:
    made = MODELS[name][0](dtype)
    prior = made if isinstance(made, PixelPrior) else MODELS[name][1](made)
    spoil(prior.network)
    return filled(prior, MODELS[name][2], lambda: MODELS[name][3](dtype))


def no_conditions(_dtype: torch.dtype) -> dict[str, Any]:
    return {}


# Name -> the model or pipeline, its prior, the side of the image, and the conditions.
MODELS: dict[str, tuple[Callable[[torch.dtype], Any], Any, int, Callable[[torch.dtype], dict[str, Any]]]] = {
    "pixel": (lambda dtype: pixel(dtype, **TINY_PIXEL), None, 16, no_conditions),
    "text": (
        lambda dtype: stable_diffusion(dtype, TINY_SD, TINY_VAE),
        StableDiffusionPrior,
        64,
        lambda dtype: both(embeds(dtype, 8)),
    ),
    "driven": (
        lambda dtype: stable_diffusion(dtype, TINY_SD, TINY_VAE),
        DrivenPrior,
        64,
        lambda dtype: both(embeds(dtype, 8)) | {"guidance_scale": 5.0},
    ),
    "guided-diffusion 256": (guided_256, None, 256, no_conditions),
    "DDPM 256": (lambda dtype: pixel(dtype, **DDPM_256), None, 256, no_conditions),
    "SD 1.5 512": (
        lambda dtype: stable_diffusion(dtype, SD15, VAE),
        StableDiffusionPrior,
        512,
        lambda dtype: both(embeds(dtype, 768)),
    ),
    "SD 1.5 512, driven": (
        lambda dtype: stable_diffusion(dtype, SD15, VAE),
        DrivenPrior,
        512,
        lambda dtype: both(embeds(dtype, 768)) | {"guidance_scale": 7.5},
    ),
    "SDXL 1024": (
        stable_diffusion_xl,
        StableDiffusionPrior,
        1024,
        lambda dtype: both(embeds(dtype, 2048, 1280)),
    ),
    "SD 3.5 large 1024": (
        stable_diffusion_35,
        StableDiffusion3Prior,
        1024,
        lambda dtype: both(embeds(dtype, 4096, 2048, 333)),
    ),
    "Flux 1024": (flux, FluxPrior, 1024, lambda dtype: embeds(dtype, 4096, 768, 512)),
}
SMALL = ["pixel", "text", "driven"]


@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_half_precision_on_cuda(name: str, dtype: torch.dtype) -> None:
    """If this fails, a GPU waits for the host, tensors meet on two devices, or part of a model runs in float32."""
    check(run(name, dtype), dtype, LOOKS if "driven" in name else 0)


def test_what_it_saves_to_check_predictions_together() -> None:
    """If this fails, a GPU waits at each prediction, or the check could as well be made at each."""
    prior = pixel(torch.float16, **TINY_PIXEL)
    assert [filled(prior, 16, dict, patience).reads for patience in (1, PATIENCE)] == [CALLS, 1]


def to_the_host(network: Any) -> None:
    forward = network.forward
    network.forward = lambda x, *args, **kwargs: forward(x.cpu().to(CUDA), *args, **kwargs)


def with_a_constant(network: Any) -> None:
    forward = network.forward
    network.forward = lambda x, *args, **kwargs: forward(x + torch.zeros_like(x, dtype=torch.float32), *args, **kwargs)


def with_a_look(network: Any) -> None:
    forward = network.forward

    def look(x: Any, *args: Any, **kwargs: Any) -> Any:
        assert float(x.sum()) < 1e9
        return forward(x, *args, **kwargs)

    network.forward = look


@pytest.mark.parametrize("spoil", [to_the_host, with_a_constant, with_a_look])
@pytest.mark.parametrize("name", ["pixel", "driven"])
def test_planted_faults_are_found(name: str, spoil: Callable[[Any], None]) -> None:
    """If this fails, the tests above would pass with a `.cpu()`, a float32 constant or a read value in a model."""
    with pytest.raises((AssertionError, RuntimeError, PriorError)):
        check(run(name, torch.float16, spoil), torch.float16, LOOKS if "driven" in name else 0)


# --- The product around the walk


# Name -> options of the pipeline, the side of the image over that of the model, and copies to the host: the result and,
# for windows in a hole, where the hole is.
SCENES: dict[str, tuple[dict[str, Any], int, int]] = {
    "crop": ({"crop": Crop(), "generator": torch.Generator().manual_seed(0)}, 2, 1),
    "windows": ({"crop": Crop(windows=True)}, 2, 2),
    "batch": ({"num_images_per_prompt": 3, "generator": [3, 1, 2]}, 1, 1),
    "strength": ({"strength": 0.5, "num_images_per_prompt": 2}, 1, 1),
}


def painted(prior: Any, side: int, conditions: dict[str, Any], scene: str, resumed: bool = False) -> Trace:
    """Fill an image with the whole product, and return the trace. All but reading the image and mask is on the device.

    Args:
        resumed: save the state after two moves, load it and go on.
    """
    options, times, copies = SCENES[scene]
    side *= times
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
    if not resumed:
        assert trace.copies == copies, "a tensor is copied to the host"
    else:
        with fake_cuda(), Trace() as trace:
            plan.paint(batch, states[1].to(CUDA))
        assert trace.copies == copies, "a tensor is copied to the host"
    assert all((np.asarray(found)[mask == 0] == 99).all() for found in plan.images())
    return trace


def fill_fake(name: str, dtype: torch.dtype, scene: str, resumed: bool = False) -> Trace:
    made, way, side, given = MODELS[name]
    model = made(dtype)
    with fake_cuda():
        conditions = given(dtype)
    return painted(model if isinstance(model, PixelPrior) else way(model), side, conditions, scene, resumed)


def check_reads(trace: Trace, name: str, scene: str) -> None:
    """Check the host reads of a whole run: their number does not grow with the walk, the batch or the windows."""
    pixels = MODELS[name][1] is None
    reads = 1  # the last check for NaN
    reads += 0 if pixels else 4  # encoding and decoding: finite in half precision, and cells that are known
    reads += 3 if scene == "strength" and not pixels else 0  # the image itself is encoded too
    reads += (2 if scene != "windows" else 4) if "driven" in name else 0  # guidance, in each size of batches
    assert trace.reads == reads


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scene", SCENES)
def test_the_product_on_cuda(name: str, scene: str) -> None:
    """If this fails, a crop, windows, a batch or a strength leaves the device, or waits for it at each step."""
    trace = fill_fake(name, torch.float16, scene)
    check_types(trace, torch.float16)
    check_reads(trace, name, scene)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scene", ["batch", "windows"])
def test_a_saved_state_on_cuda(name: str, scene: str) -> None:
    """If this fails, a state that was saved on the host meets tensors on the device when it is resumed."""
    check_types(fill_fake(name, torch.bfloat16, scene, resumed=True), torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["guided-diffusion 256", "SD 1.5 512", "SD 1.5 512, driven", "SDXL 1024"])
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
def test_the_product_at_real_sizes(name: str, scene: str, dtype: torch.dtype) -> None:
    """If this fails, a model of real size leaves the device or its type in a crop, windows or a batch."""
    trace = fill_fake(name, dtype, scene)
    check_types(trace, dtype)
    check_reads(trace, name, scene)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES, ids=["float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in SMALL])
def test_real_sizes(name: str, dtype: torch.dtype) -> None:
    """If this fails, a model of real size meets tensors of two devices or types that a small copy does not."""
    trace = run(name, dtype)
    flops = sum(trace.flops.values()) / CALLS
    print(f"\n{name}: {flops / 1e12:.2f} TFLOP a prediction, {trace.peak / 2**20:.0f} MiB besides the weights")  # noqa: T201
    check(trace, dtype, LOOKS if "driven" in name else 0)
