"""Pipelines driven through their scheduler: the same predictions as their own runs, and nothing left behind."""

from __future__ import annotations

import copy
import ctypes
import functools
import importlib.util
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FirstBlockCacheConfig
from helpers.pipeline_calls import calls_of, largest_difference
from helpers.pipeline_cases import CASES, SEVERAL_FLOW
from helpers.pipeline_run import conditions_of
from helpers.tiny_ip_adapters import with_ip_adapter
from helpers.tiny_latents import TEXT, tiny_flux, tiny_sd, tiny_sdxl, tiny_vae
from helpers.tiny_pipelines import SEVERAL, sd_like
from numpy.typing import NDArray
from PIL import Image

from repaint.cutouts import Cutout, cut_aligned, read_aligned
from repaint.errors import InputError, PriorError
from repaint.pictures.crop import Crop, Window
from repaint.pictures.images import read_images
from repaint.pipeline import RePaintPipeline
from repaint.priors.driven import DrivenPrior
from repaint.priors.handover import Finished, Handover, hand_over
from repaint.priors.load import prior_from_pipe
from repaint.priors.private_randomness import PrivateRandomness
from repaint.priors.windowed import Windowed
from repaint.sampling.prior import Conditions
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(4, 2, 2)
SIZE = 16, 24
CELLS = 2, 4, 8, 12
GIVEN: dict[str, Any] = {"prompt": ["a red cat", "two dogs"], "guidance_scale": 5.0}
LIMIT = 60  # seconds; a test that hangs fails


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Raise TimeoutError in a test that runs longer than `LIMIT`."""

    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def image() -> NDArray[np.uint8]:
    return np.random.default_rng(9).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def mask() -> NDArray[np.uint8]:
    white = np.zeros(SIZE, np.uint8)
    white[4:12, 6:16] = 255
    return white


def wrap(pipe: Any) -> RePaintPipeline:
    wrapped = RePaintPipeline(DrivenPrior(pipe))
    wrapped.set_progress_bar_config(disable=True)
    return wrapped


def bound_to(pipe: Any, arguments: dict[str, Any] | None = None, **given: Any) -> DrivenPrior:
    conditions = Conditions(**{**GIVEN, **given}, size=SIZE, arguments=arguments or {})
    return DrivenPrior(pipe).conditioned(2, conditions)


# --- The same prediction


@pytest.mark.parametrize("name", TEXT)
def test_predictions_are_those_of_the_other_priors(tmp_path: Path, name: str) -> None:
    """If this fails, the driver passes another x, time or prompt than the priors that call the network themselves."""
    pipe = TEXT[name](tmp_path)
    given = GIVEN | ({} if name == "flux" else {"negative_prompt": ["blue", "a bird"]})
    own = prior_from_pipe(pipe).conditioned(2, Conditions(**given, size=SIZE))
    driven = bound_to(pipe, **given)
    assert type(own) is not DrivenPrior
    grid = own.schedule(6, "trailing")
    assert driven.schedule(6, "trailing") == grid
    x = torch.randn(CELLS, generator=torch.Generator().manual_seed(1))
    for number in (6, 5, 3, 5, 1):  # up again, too
        level = replace(grid[number], t=float(round(grid[number].t)))
        with torch.no_grad():
            expected, found = own.denoise(x, level), driven.denoise(x, level)
        assert torch.equal(found.eps_hat, expected.eps_hat)
        assert torch.equal(found.x0_hat, expected.x0_hat)
        if expected.unguided is not None:
            assert found.unguided is not None
            assert torch.equal(found.unguided, expected.unguided)
    assert driven._live is not None
    assert driven._live._clone.scheduler._number == 4, "a prediction was wasted on the pipeline's own noise"


DEFAULT_SCALES = {
    "StableDiffusionPipeline": {"guidance_scale": 7.5},
    "StableDiffusionXLPipeline": {"guidance_scale": 5.0},
    "StableDiffusion3Pipeline": {"guidance_scale": 7.0},
    "PixArtAlphaPipeline": {"guidance_scale": 4.5},
    "StableDiffusionControlNetPipeline": {"guidance_scale": 7.5},
    "QwenImagePipeline": {"true_cfg_scale": 4.0},
}


@pytest.mark.parametrize("name", DEFAULT_SCALES)
def test_a_scale_that_is_left_out_is_the_pipeline_s(name: str) -> None:
    """If this fails, kept pixels get the guided noise unless the pipeline's default scale is given explicitly."""
    scale, case = DEFAULT_SCALES[name], CASES[name]
    pipe, given = case.made()
    prior, found = DrivenPrior(pipe), []
    rest = {own: value for own, value in given.items() if own not in ("guidance_scale", "true_cfg_scale")}
    for arguments in (rest, rest | scale):
        count, conditions = conditions_of(prior, arguments, case.size)
        bound = prior.conditioned(count, conditions)
        sides = [side // prior.codec.factor for side in case.size]
        x = torch.randn(count, prior.codec.latent_channels, *sides, generator=torch.Generator().manual_seed(0))
        found.append(bound.denoise(x, bound.schedule(5)[3]))
        bound.release()
    left_out, explicit = found
    assert torch.equal(left_out.eps_hat, explicit.eps_hat)
    assert explicit.unguided is not None
    assert left_out.unguided is not None
    assert torch.equal(left_out.unguided, explicit.unguided)
    assert not torch.equal(left_out.unguided, left_out.eps_hat)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_network_may_use_the_memory_of_its_output_again(tmp_path: Path, kind: str) -> None:
    """If this fails, a prediction changes with the next call of a network that is compiled to CUDA graphs."""
    pipe = tiny_sd(tmp_path)
    pipe.scheduler.register_to_config(prediction_type=kind)
    forward, memory = pipe.unet.forward, torch.zeros(CELLS)
    pipe.unet.forward = lambda *args, **options: (memory.copy_(forward(*args, **options)[0]),)
    prior = bound_to(pipe, guidance_scale=1.0)
    x, level = torch.ones(CELLS), prior.schedule(5)[3]
    with torch.no_grad():
        first = prior.denoise(x, level)
        before = first.x0_hat.clone(), first.eps_hat.clone()
        prior.denoise(-x, level)
    assert torch.equal(first.x0_hat, before[0])
    assert torch.equal(first.eps_hat, before[1])


CHANGED: dict[str, dict[str, Any]] = {
    "StableDiffusionControlNetPipeline": {"image": [picture(1), picture(2)]},
    "StableDiffusionXLControlNetPipeline": {"image": [picture(1), picture(2)]},
    "StableDiffusionAdapterPipeline": {"image": [picture(1), picture(2)]},
    "StableDiffusionXLAdapterPipeline": {"image": [picture(1), picture(2)]},
    "StableDiffusionPAGPipeline": {"pag_scale": 4.0},
    "StableDiffusionXLPAGPipeline": {"pag_scale": 4.0},
    "StableDiffusionControlNetPAGPipeline": {"image": [picture(1), picture(2)], "pag_scale": 4.0},
}
OTHER = {"image": [picture(3), picture(4)], "pag_scale": 1.0}


@pytest.mark.parametrize("name", CHANGED)
def test_controls_act_as_in_their_own_pipeline(tmp_path: Path, name: str) -> None:
    """If this fails, a ControlNet, an adapter or PAG is dropped, or acts otherwise than in diffusers."""
    pipe = sd_like(tmp_path, name)
    calls = calls_of(pipe, SIZE, **GIVEN, **CHANGED[name])
    renamed = {("control_image" if key == "image" else key): key for key in CHANGED[name]}
    arguments = {key: CHANGED[name][own] for key, own in renamed.items()}
    prior = bound_to(pipe, arguments)
    assert largest_difference(prior, prior.schedule(5), calls, "epsilon", CELLS) == 0
    prior.release()
    other = bound_to(pipe, {key: OTHER[own] for key, own in renamed.items()})
    assert largest_difference(other, other.schedule(5), calls, "epsilon", CELLS) > 1e-3, "the control changes nothing"
    assert type(prior_from_pipe(pipe)) is DrivenPrior


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_ip_adapters_act_as_in_their_own_pipeline(tmp_path: Path, name: str) -> None:
    """If this fails, the image of an IP-Adapter is dropped, or acts otherwise than in diffusers."""
    pipe = with_ip_adapter(sd_like(tmp_path, name))
    calls = calls_of(pipe, SIZE, **GIVEN, ip_adapter_image=[picture(1)])
    prior = bound_to(pipe, {"ip_adapter_image": [picture(1)]})
    assert largest_difference(prior, prior.schedule(5), calls, "epsilon", CELLS) == 0
    other = bound_to(pipe, {"ip_adapter_image": [picture(2)]})
    assert largest_difference(other, other.schedule(5), calls, "epsilon", CELLS) > 1e-4, "the image changes nothing"
    assert type(prior_from_pipe(pipe)) is DrivenPrior


def test_lora_acts_as_in_its_own_pipeline(tmp_path: Path) -> None:
    """If this fails, weights that were loaded into the pipeline have no effect."""
    pytest.importorskip("peft")
    from peft import LoraConfig

    pipe = sd_like(tmp_path, "StableDiffusionPAGPipeline")
    before = calls_of(pipe, SIZE, **GIVEN)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    prior = bound_to(pipe)
    assert largest_difference(prior, prior.schedule(5), calls_of(pipe, SIZE, **GIVEN), "epsilon", CELLS) == 0
    assert largest_difference(prior, prior.schedule(5), before, "epsilon", CELLS) > 1e-4, "the weights change nothing"


# --- Through the pipeline


def test_the_filling_follows_its_control_image(tmp_path: Path) -> None:
    """If this fails, a control image is ignored, kept pixels change, or a result depends on its batch."""
    pipe = RePaintPipeline.from_pipe(sd_like(tmp_path, "StableDiffusionControlNetPipeline"))
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"prompt": "a cat", "schedule": WALK, "output_type": "np"}
    both = pipe([image()] * 2, mask(), control_image=[picture(1), picture(2)], generator=[5, 5], **asked)
    assert np.abs(both.images[0].astype(int) - both.images[1]).max() > 2
    for number, control in enumerate((picture(1), picture(2))):
        alone = pipe(image(), mask(), control_image=control, generator=5, **asked).images[0]
        assert np.abs(alone.astype(int) - both.images[number]).max() <= 1  # rounding of another batch
        assert (alone[mask() == 0] == image()[mask() == 0]).all()
    under = image()
    under[mask() > 0] = 0
    assert np.array_equal(pipe(under, mask(), control_image=picture(2), generator=5, **asked).images[0], alone)


def test_control_images_may_be_one_array(tmp_path: Path) -> None:
    """If this fails, all images of a batch are controlled by the first control image of an array."""
    pipe = wrap(sd_like(tmp_path, "StableDiffusionControlNetPipeline"))
    asked: dict[str, Any] = {"prompt": "a cat", "schedule": WALK, "output_type": "np", "generator": [5, 5]}
    controls = [picture(1), picture(2)]
    array = np.stack(list(map(np.asarray, controls)))
    expected = pipe([image()] * 2, mask(), control_image=controls, **asked).images
    for given in (array, torch.from_numpy(array).movedim(-1, 1).float() / 255):
        assert np.array_equal(pipe([image()] * 2, mask(), control_image=given, **asked).images, expected)
    first = pipe([image()] * 2, mask(), control_image=controls[0], **asked).images
    assert np.array_equal(pipe([image()] * 2, mask(), control_image=array[:1], **asked).images, first)
    with pytest.raises(InputError, match=r"control_image has 2 images for 1\. Pass one for all, or one for each"):
        pipe(image(), mask(), control_image=array, **asked | {"generator": 5})


def referring(name: str) -> tuple[RePaintPipeline, dict[str, Any]]:
    """Return a pipeline that takes reference images, and the arguments of a fill of 64 x 64 pixels."""
    pipe, given = CASES[name].made()
    white = np.zeros((64, 64), np.uint8)
    white[:32] = 255
    given = {key: value[:1] if isinstance(value, torch.Tensor) else value for key, value in given.items()}
    given = {key: value for key, value in given.items() if key != "image"}
    return wrap(pipe), given | {"mask_image": white, "schedule": WALK, "output_type": "np"}


def large(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["FluxKontextPipeline", "StableUnCLIPImg2ImgPipeline"])
def test_reference_images_follow_their_images(name: str) -> None:
    """If this fails, repetitions or smaller batches get the reference image of another image."""
    pipe, asked = referring(name)
    if name == "StableUnCLIPImg2ImgPipeline":
        asked["prompt"] = "a cat"
    images, references = [np.asarray(large(9))] * 2, [large(1), large(2)]
    alone = [pipe(images[0], reference_image=one, generator=5, **asked).images[0].astype(int) for one in references]
    assert np.abs(alone[0] - alone[1]).max() > 0
    tensor = torch.from_numpy(np.stack(list(map(np.asarray, references)))).movedim(-1, 1).float() / 255
    for given in (references, *([tensor] if name == "FluxKontextPipeline" else [])):  # the other's processor is its own
        out = pipe(images, reference_image=given, num_images_per_prompt=2, generator=[5] * 4, **asked).images
        # The references differ by more than one level in many pixels, and rounding in few.
        for number, found in enumerate(out):
            own, other = (np.abs(found - alone[i]).sum() for i in (number // 2, 1 - number // 2))
            assert own < other / 10
    small = pipe(images, reference_image=references, batch_size=1, generator=[5, 5], **asked).images
    assert all(np.array_equal(found, expected) for found, expected in zip(small, alone, strict=True))
    with pytest.raises(PriorError, match=rf"must be one image for each image for a {name}, not several"):
        pipe(images[0], reference_image=references, **asked)
    with pytest.raises(InputError, match=r"reference_image has 3 values for 2 images"):
        pipe(images, reference_image=[large(1)] * 3, **asked)


def test_several_reference_images_of_one_image() -> None:
    """If this fails, images of a batch share their reference images, or several of one image are torn apart."""
    pipe, asked = referring("Flux2Pipeline")
    images, both = [np.asarray(large(9))] * 2, [large(1), large(2)]
    alone = pipe(images[0], reference_image=both, generator=5, **asked).images[0].astype(int)
    for given in (tuple(both), [both, list(both)]):
        out = pipe(images, reference_image=given, generator=[5, 5], **asked).images
        assert np.abs(out - alone).max() <= 1  # rounding of another batch
    with pytest.raises(PriorError, match=r"must be the same for all images of a batch for a Flux2Pipeline\. Pass"):
        pipe(images, reference_image=both, **asked)
    first = pipe(images[0], reference_image=both[0], generator=5, **asked).images[0]
    small = pipe(images, reference_image=both, batch_size=1, generator=[5, 5], **asked).images
    assert np.array_equal(small[0], first)


@pytest.mark.parametrize("mode", ["P", "CMYK", "L", "1", "RGBA"])
def test_control_images_of_every_kind_are_padded(mode: str) -> None:
    """If this fails, indices of a palette or inks are read as colours where a control image is padded."""
    given = picture().convert(mode)
    kept = np.zeros((1, *SIZE), np.float32)
    window = Window(0, 0, np.ones((13, 19), dtype=bool))
    (read,) = read_aligned("control_image", given, read_images(image()))
    part = cut_aligned(read, Cutout(window, read_images(image())[0].window(window.place), torch.from_numpy(kept)), 8)
    assert part.size == (24, 16)
    expected = np.asarray(given.convert("RGB"))[:13, :19]
    assert np.array_equal(np.asarray(part.convert("RGB"))[:13, :19], expected)


def in_a_batch(pipe: RePaintPipeline, rows: list[list[Image.Image]], asked: dict[str, Any]) -> NDArray[np.uint8]:
    """Check that rows of control images give the same alone and in a batch; return the result of the last one alone."""
    both = pipe([image()] * 2, mask(), control_image=rows, generator=[5, 5], **asked).images
    for number, row in enumerate(rows):
        alone: NDArray[np.uint8] = pipe(image(), mask(), control_image=row, generator=5, **asked).images[0]
        assert np.abs(alone.astype(int) - both[number]).max() <= 1  # rounding of another batch
    assert np.abs(both[0].astype(int) - both[1]).max() > 2
    return alone


def test_several_kinds_of_control(tmp_path: Path) -> None:
    """If this fails, a ControlNet Union mixes the kinds of control with the images of a batch."""
    pipe = RePaintPipeline.from_pipe(CASES["StableDiffusionXLControlNetUnionPipeline"].build())
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"prompt": "a", "schedule": WALK, "output_type": "np", "control_mode": [1, 3]}
    rows = [[picture(1), picture(2)], [picture(3), picture(4)]]
    alone = in_a_batch(pipe, rows, asked)
    copies = pipe(image(), mask(), control_image=rows[1], generator=5, num_images_per_prompt=2, **asked).images
    assert np.abs(alone.astype(int) - copies[0]).max() <= 1
    one = [pipe([image()] * 2, mask(), control_image=rows[0], generator=[5, 5], **asked | {"control_mode": [1]}).images]
    assert np.abs(one[0][0].astype(int) - one[0][1]).max() > 2
    with pytest.raises(PriorError, match="raised ValueError"):
        pipe(image(), mask(), control_image=picture(1), **asked)


SCALES = {  # 1.0 fails in diffusers
    "StableDiffusionAdapterPipeline": {"adapter_conditioning_scale": [1.0, 1.0]},
    **{name: {"controlnet_conditioning_scale": [1.0, 1.0]} for name in SEVERAL_FLOW},
}


@pytest.mark.parametrize("name", SEVERAL | SEVERAL_FLOW)
def test_several_controls(name: str) -> None:
    """If this fails, a pipeline with several ControlNets or adapters mixes their images with those of the batch."""
    pipe = wrap((SEVERAL | SEVERAL_FLOW)[name]())
    asked: dict[str, Any] = {"prompt": "a", "schedule": WALK, "output_type": "np", **SCALES.get(name, {})}
    rows = [[picture(1), picture(2)], [picture(3), picture(4)]]
    alone = in_a_batch(pipe, rows, asked)
    swapped = pipe(image(), mask(), control_image=rows[1][::-1], generator=5, **asked).images[0]
    assert np.abs(alone.astype(int) - swapped).max() > 0
    copies = pipe(image(), mask(), control_image=rows[1], generator=5, num_images_per_prompt=2, **asked).images
    assert np.abs(alone.astype(int) - copies[0]).max() <= 1
    said = r"control_image must be a list of 2 images for each image .* \[\[a for 1, a for 2\], \[b for 1, b for 2\]\]"
    for wrong, pictures in ((picture(1), [image()]), ([picture(1), picture(2)], [image()] * 2)):
        for batch_size in (None, 1):
            with pytest.raises(PriorError, match=said):
                pipe(pictures, mask(), control_image=wrong, batch_size=batch_size, **asked)


def test_a_control_image_is_cut_as_the_image_is(tmp_path: Path) -> None:
    """If this fails, a cropped image gets a control image of another place or size."""
    pipe = RePaintPipeline.from_pipe(sd_like(tmp_path, "StableDiffusionControlNetPipeline"))
    pipe.set_progress_bar_config(disable=True)
    rng = np.random.default_rng(3)
    wide, control = (rng.integers(0, 256, (19, 61, 3), dtype=np.uint8) for _ in range(2))
    white = np.zeros((19, 61), np.uint8)
    white[6:10, 40:44] = 255
    asked: dict[str, Any] = {
        "prompt": "a",
        "schedule": WALK,
        "output_type": "np",
        "crop": Crop(size=12),
        "generator": 1,
    }
    found = pipe(wide, white, control_image=control, **asked).images[0]
    far, near = control.copy(), control.copy()
    far[:, :20], near[:, 36:48] = 0, 0
    assert np.array_equal(pipe(wide, white, control_image=far, **asked).images[0], found)
    assert not np.array_equal(pipe(wide, white, control_image=near, **asked).images[0], found)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    """If this fails, a wrong argument gives a traceback of diffusers, or is dropped."""
    pipe = RePaintPipeline.from_pipe(sd_like(tmp_path, "StableDiffusionControlNetPipeline"))
    cases: list[tuple[type[Exception], dict[str, Any], str]] = [
        (PriorError, {"prompt": "a"}, "control_image must be given for a StableDiffusionControlNetPipeline"),
        (PriorError, {"control_image": picture()}, "needs either prompt or prompt_embeds"),
        (InputError, {"prompt": "a", "control_image": Image.new("RGB", (5, 4))}, "control_image is 5 x 4 pixels, but"),
        (InputError, {"prompt": "a", "control_img": picture()}, "not an argument of the pipeline. Did you mean 'contr"),
        (InputError, {"prompt": "a", "control_image": [picture()] * 3, "image": [image()] * 2}, "has 3 images for 2"),
        (PriorError, {"prompt": "a", "control_image": picture(), "clip_skip": "x"}, "raised TypeError"),
    ]
    for kind, asked, said in cases:
        with pytest.raises(kind, match=said):
            pipe(asked.pop("image", image()), mask(), schedule=WALK, **asked)


def test_results_resume_to_the_bit(tmp_path: Path) -> None:
    """If this fails, a driven run that is continued from a state differs from one that was not interrupted."""
    pipe = wrap(tiny_sd(tmp_path))
    states: list[Any] = []
    asked: dict[str, Any] = {"prompt": "a cat", "schedule": WALK, "output_type": "np"}
    out = pipe(
        image(), mask(), generator=3, callback_on_step_end=lambda *step: states.append(step[3]["state"]), **asked
    )
    again = pipe.resume(states[2], image(), mask(), **asked)
    assert np.array_equal(out.images, again.images)


def test_shares_of_a_run_count_the_walk(tmp_path: Path) -> None:
    """If this fails, a ControlNet stops at another step than asked, or is on again in windows or after resuming."""
    pipe = RePaintPipeline.from_pipe(sd_like(tmp_path, "StableDiffusionControlNetPipeline"))
    pipe.set_progress_bar_config(disable=True)
    asked: dict[str, Any] = {"prompt": "a", "schedule": WALK, "output_type": "np", "control_image": picture(1)}
    states: list[Any] = []

    def filled(**options: Any) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = pipe(image(), mask(), generator=3, **asked, **options).images
        return found

    out = filled(control_guidance_end=0.5, callback_on_step_end=lambda *step: states.append(step[3]["state"]))
    assert not np.array_equal(out, filled())
    assert not np.array_equal(out, filled(control_guidance_end=0.25))
    said = "control_guidance_end=0.5 depends on the progress of a run, which is unknown in windows and in a run"
    with pytest.raises(PriorError, match=said):
        pipe.resume(states[2], image(), mask(), control_guidance_end=0.5, **asked)
    arguments = {"control_image": picture(1), "control_guidance_end": 0.5}
    with pytest.raises(PriorError, match=said):
        Windowed(pipe.prior, 16).conditioned(1, Conditions(prompt="a", arguments=arguments, size=(16, 48)))


def test_the_last_prediction_of_a_run_is_as_the_others() -> None:
    """If this fails, an adapter that acts in all steps of a run is off in the prediction after them."""
    case = CASES["StableDiffusionXLAdapterPipeline"]
    pipe, given = case.made()
    prior = DrivenPrior(pipe)
    count, conditions = conditions_of(prior, given, case.size)
    bound = prior.conditioned(count, conditions)
    level = bound.schedule(5)[3]
    found = [bound.denoise(torch.zeros(CELLS), level).eps_hat for _ in range(6)]
    assert all(torch.equal(each, found[0]) for each in found)


def test_global_random_numbers_are_not_touched(tmp_path: Path) -> None:
    """If this fails, the pipeline draws its useless first latents from the global generator."""
    pipe = wrap(tiny_sdxl(tmp_path))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pipe(image(), mask(), prompt="a", schedule=WALK, generator=0)
    assert torch.equal(torch.get_rng_state(), before)


# --- Nothing is left behind


def test_the_live_pipeline_is_not_changed(tmp_path: Path) -> None:
    """If this fails, a pipeline has another scheduler, other attention or other settings after a run, or during it."""
    pipe = sd_like(tmp_path, "StableDiffusionPAGPipeline")
    scheduler, config = pipe.scheduler, dict(pipe.config)
    processors = {name: id(one) for name, one in pipe.unet.attn_processors.items()}
    own = calls_of(pipe, SIZE, **GIVEN)
    prior = bound_to(pipe)
    prior.denoise(torch.zeros(CELLS), prior.schedule(5)[3])
    for _ in ("suspended", "ended"):
        assert pipe.scheduler is scheduler
        assert dict(pipe.config) == config
        assert {name: id(one) for name, one in pipe.unet.attn_processors.items()} == processors
        assert all(torch.equal(a.output, b.output) for a, b in zip(own, calls_of(pipe, SIZE, **GIVEN), strict=True))
        prior.release()


def test_a_scheduler_that_is_replaced(tmp_path: Path) -> None:
    """If this fails, a scheduler that is set after wrapping changes the noise levels but not the kind of prediction."""
    pipe = tiny_sd(tmp_path)
    prior = DrivenPrior(pipe)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, prediction_type="v_prediction")
    calls = calls_of(pipe, SIZE, **GIVEN)
    bound = prior.conditioned(2, Conditions(**GIVEN, size=SIZE))
    assert largest_difference(bound, bound.schedule(5), calls, "v_prediction", CELLS) == 0


@pytest.mark.parametrize("wrapped", [prior_from_pipe, DrivenPrior])
def test_an_autoencoder_that_is_replaced(tmp_path: Path, wrapped: Any) -> None:
    """If this fails, images go through an autoencoder that the pipeline no longer has."""
    pipe = tiny_sd(tmp_path)
    prior = wrapped(pipe)
    pipe.vae = tiny_vae("AutoencoderTiny")
    with pytest.raises(PriorError, match=r"^The autoencoder was replaced after wrapping\. Wrap the pipeline again"):
        prior.conditioned(2, Conditions(**GIVEN, size=SIZE))
    wrapped(pipe).conditioned(2, Conditions(**GIVEN, size=SIZE))


@pytest.mark.parametrize("wrapped", [prior_from_pipe, DrivenPrior])
def test_a_network_that_keeps_a_cache_is_refused(tmp_path: Path, wrapped: Any) -> None:
    """If this fails, a prediction depends on those before it, and a resumed run ends in another image."""
    pipe = tiny_flux(tmp_path)
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    prior = wrapped(pipe)
    said = r"^The FluxTransformer2DModel has a cache, with which .* Call disable_cache\(\) on it\.$"
    with pytest.raises(PriorError, match=said):
        prior.conditioned(2, Conditions(**GIVEN, size=SIZE))
    pipe.transformer.disable_cache()
    prior.conditioned(2, Conditions(**GIVEN, size=SIZE))


def test_copies_predict_the_same(tmp_path: Path) -> None:
    """If this fails, a driven pipeline cannot be sent to another process, or copied."""
    wrapped = DrivenPrior(tiny_sd(tmp_path))
    x = torch.randn(CELLS, generator=torch.Generator().manual_seed(1))
    found = []
    for prior in (wrapped, copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        bound = prior.conditioned(2, Conditions(**GIVEN, size=SIZE))
        found.append(bound.denoise(x, bound.schedule(5)[4]).eps_hat)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_two_runs_at_once(tmp_path: Path) -> None:
    """If this fails, two runs on one pipeline mix their times, prompts or attention."""
    pipe = sd_like(tmp_path, "StableDiffusionPAGPipeline")
    first, second = bound_to(pipe, {"pag_scale": 0.0}), bound_to(pipe, {"pag_scale": 4.0}, prompt=["x", "y"])
    grid, x = first.schedule(5), torch.randn(CELLS, generator=torch.Generator().manual_seed(1))
    alone = [[prior.denoise(x, grid[n]).eps_hat for n in (5, 4, 3)] for prior in (first, second)]
    for prior in (first, second):
        prior.release()
    for number, level in enumerate((5, 4, 3)):
        for prior, expected in zip((first, second), alone, strict=True):
            assert torch.equal(prior.denoise(x, grid[level]).eps_hat, expected[number])


def test_a_run_goes_on_in_another_thread(tmp_path: Path) -> None:
    """If this fails, a prior that was made in one thread cannot be used in another."""
    prior = bound_to(tiny_sd(tmp_path))
    grid, x = prior.schedule(5), torch.randn(CELLS, generator=torch.Generator().manual_seed(1))
    expected, found = prior.denoise(x, grid[4]).eps_hat, []
    thread = threading.Thread(target=lambda: found.append(prior.denoise(x, grid[4]).eps_hat))
    thread.start()
    thread.join(LIMIT)
    assert torch.equal(found[0], expected)


def test_more_predictions_than_announced(tmp_path: Path) -> None:
    """If this fails, a run that needs more predictions than its walk has ends, or repeats an old one."""
    pipe = tiny_sd(tmp_path)
    short = DrivenPrior(pipe).conditioned(2, Conditions(**GIVEN, size=SIZE, calls=2))
    grid, long = short.schedule(5), bound_to(pipe)
    for number in range(7):
        x = torch.randn(CELLS, generator=torch.Generator().manual_seed(number))
        assert torch.equal(short.denoise(x, grid[3]).eps_hat, long.denoise(x, grid[3]).eps_hat)


def test_an_exception_in_the_pipeline(tmp_path: Path) -> None:
    """If this fails, an error inside the pipeline is lost or hangs, or the next run fails, too."""
    pipe = tiny_sd(tmp_path)
    prior = bound_to(pipe)
    grid, x = prior.schedule(5), torch.zeros(CELLS)
    right, forward = prior.denoise(x, grid[5]).eps_hat, pipe.unet.forward

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ValueError("no such thing")

    pipe.unet.forward = broken
    with pytest.raises(PriorError, match=r"The StableDiffusionPipeline raised ValueError: no such thing\."):
        prior.denoise(x, grid[4])
    pipe.unet.forward = forward
    assert torch.equal(prior.denoise(x, grid[5]).eps_hat, right)


class Cancel(Exception):
    pass


def test_a_cancelled_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a run that its callback ends leaves a suspended pipeline and its memory behind."""
    ended: list[str] = []
    pipe = tiny_sd(tmp_path)
    original = type(pipe).__call__

    @functools.wraps(original)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        finally:
            ended.append("ended")

    monkeypatch.setattr(type(pipe), "__call__", watched)
    wrapped = wrap(pipe)

    def cancel(*_step: Any) -> None:
        raise Cancel

    with pytest.raises(Cancel):
        wrapped(image(), mask(), prompt="a", schedule=WALK, callback_on_step_end=cancel)
    assert ended == ["ended"]


def test_a_function_ends_with_its_handover() -> None:
    """If this fails, a suspended pipeline keeps its memory after its prior is gone."""
    # Under another name, without the type checks of the tests, which keep references to arguments.
    spec = importlib.util.spec_from_file_location("plain_handover", sys.modules[Handover.__module__].__file__ or "")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    ended: list[bool] = []

    def run() -> None:
        try:
            plain.hand_over(1)
        finally:
            ended.append(True)

    handover = plain.Handover(run)
    handover.resume()
    assert ended == []
    del handover
    assert ended == [True]


def test_an_interrupted_pipeline_is_reported(tmp_path: Path) -> None:
    """If this fails, a pipeline that ends without a prediction is started for ever."""
    pipe = tiny_sd(tmp_path)
    prior = bound_to(pipe)
    type(pipe).interrupt, before = property(lambda _self: True), type(pipe).interrupt
    try:
        with pytest.raises(PriorError, match="ended before its first prediction: it was interrupted"):
            prior.denoise(torch.zeros(CELLS), prior.schedule(5)[5])
    finally:
        type(pipe).interrupt = before


# --- The handover


def test_gradient_mode_belongs_to_each_side() -> None:
    """If this fails, a suspended no_grad block switches gradients off for its caller."""

    @torch.no_grad()
    def run() -> None:
        hand_over(torch.is_grad_enabled())
        hand_over(torch.is_grad_enabled())

    handover = Handover(run)
    assert [handover.resume(), torch.is_grad_enabled(), handover.resume(), torch.is_grad_enabled()] == [
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(Finished):
        handover.resume()
    assert torch.is_grad_enabled()
    assert not handover.usable
    handover.close()


def test_errors_pass_a_handover() -> None:
    """If this fails, an exception does not reach the caller, or the function goes on after it."""

    def run() -> None:
        hand_over(1)
        raise KeyError("here")

    handover = Handover(run)
    assert handover.resume() == 1
    with pytest.raises(KeyError, match="here"):
        handover.resume()
    assert not handover.usable


def test_errors_of_torch_see_only_the_stack_of_the_function() -> None:
    """If this fails, an error of PyTorch inside a driven pipeline, such as memory that runs out, ends Python.

    PyTorch takes a backtrace of 65 frames for each error. Beyond the first frame of a suspended function, the stack
    holds something else by the time it continues.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "backtrace"):
        pytest.skip("the C library takes no backtraces")  # musl and Windows have none

    def run() -> None:
        frames = (ctypes.c_void_p * 65)()
        hand_over(list(frames[: libc.backtrace(frames, len(frames))]))

    def nested(levels: int) -> list[int]:
        stack: list[int] = next(map(nested, [levels - 1])) if levels else Handover(run).resume()
        return stack

    here = nested(0)
    assert len(here) == 65
    assert here == nested(5)


def test_draws_of_a_pipeline_do_not_depend_on_the_batch() -> None:
    """If this fails, a pipeline that draws in `encode` depends on the batch, or one that draws a vector fails."""
    with PrivateRandomness(per_row=True):
        three = torch.randn((3, 4))
    with PrivateRandomness(per_row=True):
        assert torch.equal(torch.randn((1, 4)), three[:1])
        assert torch.randn(5).shape == (5,)
        assert len(torch.randn((5,)).unique()) == 5, "a vector is no batch"
        assert torch.randn(2, 3).shape == (2, 3)
    assert torch.equal(three[0], three[1])
