"""Text-conditioned priors against diffusers' own pipelines: the same weights and prompt give the same prediction."""

from __future__ import annotations

import inspect
import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    FlowMatchEulerDiscreteScheduler,
    ScoreSdeVeScheduler,
)
from helpers.pipeline_calls import Call, calls_of, largest_difference
from helpers.small_inputs import hole
from helpers.tiny_latents import TEXT, tiny_flux, tiny_sd, tiny_sd3, tiny_sdxl, tiny_vae
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from repaint.errors import InputError, PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.driven import DrivenPrior
from repaint.priors.flow import FluxPrior, StableDiffusion3Prior
from repaint.priors.load import load, prior_from_pipe
from repaint.priors.sample_layout import pack, unpack
from repaint.priors.text import StableDiffusionPrior, guide
from repaint.sampling.merge import Predicted
from repaint.sampling.method import Method
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(4, 2, 2)
SIZE = 18, 22  # the factors are 2, 2 and 4
LONG = "a cat " * 20  # one token a character


def photo(seed: int = 0, count: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def wrap(pipe: Any) -> RePaintPipeline:
    pipe.set_progress_bar_config(disable=True)
    wrapped = RePaintPipeline.from_pipe(pipe)
    wrapped.set_progress_bar_config(disable=True)
    return wrapped


# --- The same prediction


PROMPTS = ["a red cat", "two dogs"]
NEGATIVES = ["blue", "a bird"]
TOLERANCE = 1e-5  # float32 rounding of one forward pass


@pytest.mark.parametrize("build", [tiny_sd, tiny_sd3])
def test_guidance_of_0_ignores_the_prompt(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    """If this fails, kept pixels follow a prompt that a scale of 0 leaves out."""
    prior = wrap(build(tmp_path)).prior
    x = torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(0))

    def found(prompt: str, scale: float) -> Prediction:
        bound = prior.conditioned(1, Conditions(prompt=prompt, guidance_scale=scale, size=(16, 24)))
        with torch.no_grad():
            return bound.denoise(x, bound.schedule(5)[3])

    assert torch.equal(found("a cat", 0.0).known_eps, found("two dogs", 0.0).known_eps)
    assert found("a cat", 0.5).unguided is None
    assert found("a cat", 1.5).unguided is not None


@pytest.mark.parametrize(
    ("build", "kind", "asked"),
    [
        (tiny_sd, "epsilon", {"guidance_scale": 7.5}),
        (tiny_sd, "epsilon", {"guidance_scale": 7.5, "guidance_rescale": 0.7}),
        (tiny_sd, "epsilon", {"guidance_scale": 1.0}),
        (lambda folder: tiny_sd(folder, "v_prediction"), "v_prediction", {"guidance_scale": 5.0}),
        (tiny_sdxl, "epsilon", {"guidance_scale": 6.0}),
        (tiny_sdxl, "epsilon", {"guidance_scale": 6.0, "negative_prompt": None}),
        (tiny_sd3, "flow_prediction", {"guidance_scale": 7.0}),
        (lambda folder: tiny_sd3(folder, third=True), "flow_prediction", {"guidance_scale": 7.0}),
        (lambda folder: tiny_sd3(folder, use_dynamic_shifting=True), "flow_prediction", {"guidance_scale": 4.0}),
        (tiny_flux, "flow_prediction", {"guidance_scale": 3.5}),
        (lambda folder: tiny_flux(folder, guidance_embeds=False, dynamic=False), "flow_prediction", {}),
    ],
    ids=[
        "sd1",
        "sd1-rescale",
        "sd1-plain",
        "sd2-v",
        "sdxl",
        "sdxl-zeros",
        "sd3",
        "sd3-t5",
        "sd3-dyn",
        "flux",
        "schnell",
    ],
)
def test_predictions_are_those_of_diffusers(
    tmp_path: Path, build: Callable[[Path], Any], kind: str, asked: dict[str, Any], record_property: Any
) -> None:
    """If this fails, a wrong timestep, scale, embedding, guidance or packing changes the prediction."""
    pipe, size = build(tmp_path), (16, 24)
    prior = wrap(pipe).prior
    given = {"prompt": PROMPTS} | ({} if isinstance(prior, FluxPrior) else {"negative_prompt": NEGATIVES}) | asked
    calls = calls_of(pipe, size, **given)
    bound = prior.conditioned(2, Conditions(**given, size=size))
    cells = (2, 4, size[0] // 2, size[1] // 2)
    worst = largest_difference(bound, bound.schedule(5), calls, kind, cells)
    record_property("worst", worst)
    print(f"largest difference: {worst:.1e}")  # noqa: T201
    assert worst < TOLERANCE
    wrong: list[dict[str, Any]] = [{"prompt": PROMPTS[::-1]}]
    wrong += [{"guidance_scale": asked["guidance_scale"] + 1}] if "guidance_scale" in asked else []
    wrong += [{"negative_prompt": NEGATIVES[::-1]}] if asked.get("guidance_scale") == 7.5 else []
    for change in wrong:
        other = prior.conditioned(2, Conditions(**given | change, size=size))
        worst = largest_difference(other, other.schedule(5), calls, kind, cells)
        assert worst > 10 * TOLERANCE, f"the test is blind to {change}"


def test_lora_weights_of_a_live_pipeline_are_used(tmp_path: Path) -> None:
    """If this fails, wrapping rebuilds the model, and a user's LoRA weights have no effect."""
    pytest.importorskip("peft")
    from peft import LoraConfig

    pipe, size = tiny_sd(tmp_path), (16, 24)
    given = {"prompt": PROMPTS, "guidance_scale": 7.5}
    before = calls_of(pipe, size, **given)
    prior = wrap(pipe).prior
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    bound = prior.conditioned(2, Conditions(**given, size=size))
    cells, grid = (2, 4, 8, 12), bound.schedule(5)
    assert largest_difference(bound, grid, calls_of(pipe, size, **given), "epsilon", cells) < TOLERANCE
    assert largest_difference(bound, grid, before, "epsilon", cells) > 10 * TOLERANCE, "the adapter changes nothing"


@pytest.mark.parametrize(
    "scheduler", [EDMDPMSolverMultistepScheduler(), EDMEulerScheduler(prediction_type="v_prediction", sigma_data=1.0)]
)
def test_preconditioned_predictions_are_those_of_diffusers(tmp_path: Path, scheduler: Any) -> None:
    """If this fails, Playground 2.5 (EDM) and CosXL (EDM, v) get x at another scale, or are read as other models."""
    pipe = tiny_sdxl(tmp_path)
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)
    calls: list[Call] = []
    step = scheduler.step

    def record(output: Tensor, t: Tensor, sample: Tensor, **kwargs: Any) -> Any:
        sigma = scheduler.sigmas[scheduler.step_index]
        expected = scheduler.precondition_outputs(sample, output, sigma)
        stepped = step(output, t, sample, **kwargs)
        calls.append(Call(sample, float(t), expected, stepped[0]))
        return stepped

    scheduler.step = record
    given: dict[str, Any] = {"prompt": "a red cat", "negative_prompt": "blue", "guidance_scale": 4.0}
    generator = torch.Generator().manual_seed(0)
    pipe(height=16, width=24, output_type="latent", num_inference_steps=5, generator=generator, **given)
    del scheduler.step
    prior = wrap(pipe).prior.conditioned(1, Conditions(**given, size=(16, 24)))
    levels = prior.schedule(5).levels[:0:-1]
    for call, level in zip(calls, levels, strict=True):
        assert call.t == pytest.approx(math.log(level.sigma) / 4, abs=1e-6)
        with torch.no_grad():
            x0_hat = prior.denoise(call.x, level).x0_hat
        error = float((x0_hat - call.output).abs().max() / call.output.abs().max())
        assert error < TOLERANCE, f"sigma {level.sigma}"


@pytest.mark.parametrize(
    "build",
    [tiny_sd, lambda folder: tiny_sd(folder, "v_prediction"), tiny_sdxl, tiny_sd3],
    ids=["sd1", "sd2-v", "sdxl", "sd3"],
)
def test_guidance_stays_out_of_the_known_part(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    """If this fails, the known part is renoised with the guided noise, an extrapolation that it never had."""
    prior, size = wrap(build(tmp_path)).prior, (16, 24)
    guided, plain = (
        prior.conditioned(1, Conditions(prompt="a red cat", guidance_scale=scale, size=size)) for scale in (5.0, 1.0)
    )
    image = torch.from_numpy(photo()).permute(0, 3, 1, 2)[..., :16, :16].float() / 127.5 - 1
    x0, known = prior.encode(image, torch.ones(1, 1, 16, 16, dtype=torch.bool))
    known[..., 2:4, 2:4] = False
    sampler = Sampler(guided, Method(JumpSchedule.paper(3, 1, 1), merge=Predicted()))
    before = sampler.advance(sampler.start(x0, known, [0]))  # at alpha = 0 all of x is noise, whatever is predicted
    with torch.no_grad():
        ours, alone = (bound.denoise(before.x, sampler.grid[2]) for bound in (guided, plain))
    torch.testing.assert_close(ours.known_eps, alone.eps_hat, rtol=0, atol=TOLERANCE)
    assert (ours.known_eps - ours.eps_hat).abs().max() > 100 * TOLERANCE
    after, level = sampler.advance(before), sampler.grid[1]
    expected = level.alpha * x0 + level.sigma * ours.known_eps
    there = known.expand_as(x0)
    torch.testing.assert_close(after.x[there], expected[there], rtol=0, atol=1e-6)  # a rounding of numbers up to 4


@pytest.mark.parametrize("build", [tiny_sd, tiny_sdxl, tiny_sd3], ids=["sd1", "sdxl", "sd3"])
def test_outside_its_interval_guidance_costs_nothing(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    """If this fails, levels outside of the interval are guided, cost two forward passes, or lose the prompt."""
    prior = wrap(build(tmp_path)).prior
    interval = (0.5, 5.0)
    partly, always, never = (
        prior.conditioned(1, Conditions(prompt="a red cat", negative_prompt="dogs", size=(16, 16), **options))
        for options in (
            {"guidance_scale": 5.0, "guidance_interval": interval},
            {"guidance_scale": 5.0},
            {"guidance_scale": 1.0},
        )
    )
    shown: list[int] = []
    prior.network.register_forward_hook(lambda *call: shown.append(len(call[2][0])))
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = set()
    for level in prior.schedule(6).levels[1:]:
        inside = level.alpha > 0 and interval[0] <= level.sigma / level.alpha <= interval[1]
        shown.clear()
        with torch.no_grad():
            ours, expected = (bound.denoise(x, level) for bound in (partly, always if inside else never))
        assert shown == ([2, 2] if inside else [1, 1])
        torch.testing.assert_close(ours.x0_hat, expected.x0_hat, rtol=0, atol=1e-5)
        assert (ours.unguided is not None) == inside
        seen.add(inside)
    assert seen == {True, False}


@pytest.mark.parametrize("interval", [(-1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (1.0, math.nan), 0.5, ("a", "b"), (1, 2, 3)])
@pytest.mark.usefixtures("unchecked")
def test_invalid_guidance_intervals(interval: Any) -> None:
    """If this fails, a swapped interval silently disables guidance, or another value ends in a TypeError."""
    with pytest.raises(
        InputError, match=r"guidance_interval=.* must be two values of sigma / alpha with 0 <= low < high"
    ):
        Conditions(prompt="", guidance_interval=interval)


@pytest.mark.parametrize("value", ["7", [1, 2], -1.0, math.nan, math.inf])
@pytest.mark.usefixtures("unchecked")
def test_invalid_guidance_scales(value: Any) -> None:
    """If this fails, a scale that is not a number ends in a TypeError, or a driven pipeline takes a negative one."""
    with pytest.raises(InputError, match=r"guidance_scale=.* must be finite and at least 0 \(1 disables guidance\)\."):
        Conditions(prompt="", guidance_scale=value)


@pytest.mark.parametrize("value", ["0.5", -0.1, 1.5, math.nan])
@pytest.mark.usefixtures("unchecked")
def test_invalid_guidance_rescales(value: Any) -> None:
    """If this fails, a share that is not a number ends in a TypeError, or one out of range inverts the prediction."""
    with pytest.raises(InputError, match=r"guidance_rescale=.* must be from 0 to 1 \(0 disables rescaling\)\."):
        Conditions(prompt="", guidance_rescale=value)


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "flux"])
def test_ready_made_embeddings(tmp_path: Path, name: str) -> None:
    """If this fails, weighted or stored prompts give another image than the texts that they come from."""
    pipe = TEXT[name](tmp_path)
    wrapped = wrap(pipe)
    names = ["prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds"]
    if name == "flux":
        texts: dict[str, Any] = {"prompt": "a cat"}
        with torch.no_grad():
            made = pipe.encode_prompt("a cat", None)
        embeds = {"prompt_embeds": made[0], "pooled_prompt_embeds": made[1]}
    else:
        texts = {"prompt": "a cat", "negative_prompt": "blue"}
        more = {"prompt_2": None, "prompt_3": None} if name == "sd3" else {}
        with torch.no_grad():
            made = pipe.encode_prompt(
                **texts, **more, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True
            )
        embeds = dict(zip(names, made, strict=False))
    results = [
        wrapped(photo(count=2), hole(), schedule=WALK, generator=0, output_type="np", **asked).images
        for asked in (texts, embeds)
    ]
    assert np.array_equal(*results)
    two = {name: torch.cat([value, value]) for name, value in embeds.items()}
    again = wrapped(photo(count=2), hole(), schedule=WALK, generator=0, output_type="np", **two).images
    assert np.array_equal(results[0], again)
    with pytest.raises(
        InputError, match=r"prompt_embeds has 3 values for 2 images\. Pass one for all, or one for each"
    ):
        wrapped(photo(count=2), hole(), schedule=WALK, prompt_embeds=torch.cat([made[0]] * 3))
    if name != "sd1":
        with pytest.raises(PriorError, match=r"prompt_embeds and pooled_prompt_embeds must be given together"):
            wrapped(photo(), hole(), schedule=WALK, prompt_embeds=made[0])


# --- Whole runs


@pytest.mark.parametrize("name", TEXT)
def test_nothing_leaks_and_kept_pixels_are_kept(tmp_path: Path, name: str) -> None:
    """If this fails, hidden pixels reach the result through the autoencoder, or decoding changes kept pixels."""
    image, mask, pipe = photo(), hole(), wrap(TEXT[name](tmp_path))
    other = image.copy()
    other[:, mask > 0] = photo(5)[:, mask > 0]
    asked: dict[str, Any] = {"prompt": "a cat", "schedule": WALK, "generator": 0}
    results = [np.asarray(pipe(x, mask, **asked).images[0]) for x in (image, other)]
    assert np.array_equal(*results)
    assert np.array_equal(results[0][mask == 0], image[0][mask == 0])
    latents = [pipe(x, mask, **asked, crop="off", output_type="latent").images[0] for x in (image, other)]
    assert torch.equal(*latents)
    assert not np.array_equal(results[0], np.asarray(pipe(image, mask, **asked | {"prompt": "dog"}).images[0]))


@pytest.mark.parametrize("driven", [False, True])
def test_threads_encode_one_after_the_other(tmp_path: Path, driven: bool) -> None:
    """If this fails, prompts in several threads fail or are cut: a tokenizer is set to pad and cut for each call."""
    pipe, inside, most = tiny_sd(tmp_path), [0], [0]
    prior: Any = DrivenPrior(pipe) if driven else StableDiffusionPrior(pipe)
    tokenize = type(pipe.tokenizer).__call__

    def counted(*args: Any, **kwargs: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.01)
        inside[0] -= 1
        return tokenize(*args, **kwargs)

    conditions = Conditions(prompt="a cat", size=(16, 16))
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setattr(type(pipe.tokenizer), "__call__", counted)
        list(threads.map(lambda _: prior.conditioned(1, conditions).release(), range(3)))
    assert most == [1]


@pytest.mark.parametrize("name", TEXT)
def test_folders_load(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """If this fails, what diffusers saves cannot be loaded, or loads with other weights, or prints to stderr."""
    pipe = TEXT[name](tmp_path / "tokens")
    pipe.save_pretrained(tmp_path / "saved")
    capfd.readouterr()
    loaded = RePaintPipeline(load(tmp_path / "saved"))
    assert capfd.readouterr().err == ""
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.prior) in (StableDiffusionPrior, StableDiffusion3Prior, FluxPrior)
    asked: dict[str, Any] = {"prompt": "a cat", "schedule": WALK, "generator": 0}
    a, b = (np.asarray(p(photo(), hole(), **asked).images[0]).astype(int) for p in (wrap(pipe), loaded))
    assert np.abs(a - b).max() <= 1  # the last bits of float32 may differ with the alignment of weights


@pytest.mark.parametrize("name", ["sd1", "sd3"])
def test_torch_dtype_reaches_every_part(tmp_path: Path, name: str) -> None:
    """If this fails, half of a large model stays in float32, and does not fit."""
    TEXT[name](tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    pipe = load(tmp_path / "saved", torch_dtype=torch.bfloat16).pipeline  # type: ignore[attr-defined]
    models = {part for part, model in pipe.components.items() if isinstance(model, torch.nn.Module)}
    assert models >= {"vae", "text_encoder"}
    assert {getattr(pipe, part).dtype for part in models} == {torch.bfloat16}


def test_variants(tmp_path: Path) -> None:
    """If this fails, folders that hold fp16 files only cannot be used."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved", variant="fp16")
    assert load(tmp_path / "saved", variant="fp16").pipeline.text_encoder.dtype == torch.float32  # type: ignore[attr-defined]
    assert load(tmp_path / "saved").pipeline.text_encoder.dtype == torch.float32  # type: ignore[attr-defined]


def test_a_variant_of_some_parts_alone(tmp_path: Path) -> None:
    """If this fails, folders with a UNet in half precision and a text encoder in one precision cannot be used."""
    pipe = tiny_sd(tmp_path / "tokens")
    pipe.save_pretrained(tmp_path / "saved", variant="fp16")
    (tmp_path / "saved/text_encoder/model.fp16.safetensors").rename(tmp_path / "saved/text_encoder/model.safetensors")
    encoder = load(tmp_path / "saved", variant="fp16").pipeline.text_encoder  # type: ignore[attr-defined]
    for (name, ours), theirs in zip(encoder.named_parameters(), pipe.text_encoder.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_incomplete_weights_are_refused(tmp_path: Path, part: str) -> None:
    """If this fails, layers that are missing from the file get random weights."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    (path,) = (tmp_path / "saved" / part).glob("*.safetensors")
    weights = load_file(path)
    save_file(dict(list(weights.items())[1:]), path, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=rf"lack 1 tensors of their|{part} cannot be loaded"):
        load(tmp_path / "saved")


def test_weights_under_names_of_another_release_are_refused(tmp_path: Path) -> None:
    """If this fails, a text encoder with other tensor names gets random weights, and prompts have no effect."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    (path,) = (tmp_path / "saved" / "text_encoder").glob("*.safetensors")
    save_file({f"other.{name}": weight for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"lack \d+ tensors of their CLIPTextModel, such as "):
        load(tmp_path / "saved")


def test_small_autoencoders_can_be_swapped_in(tmp_path: Path) -> None:
    """If this fails, an AutoencoderTiny in such a pipeline is refused or changes kept pixels."""
    pipe = tiny_sd(tmp_path)
    pipe.vae = tiny_vae("AutoencoderTiny")
    wrapped, image, mask = wrap(pipe), photo(), hole()
    result = np.asarray(wrapped(image, mask, prompt="a", schedule=WALK, generator=0).images[0])
    assert np.array_equal(result[mask == 0], image[0][mask == 0])


def test_safety_checkers_are_not_loaded(tmp_path: Path) -> None:
    """If this fails, a safety checker that never runs is loaded, or a folder without it is refused."""
    import json

    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    index = tmp_path / "saved" / "model_index.json"
    parts = json.loads(index.read_text())
    parts["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index.write_text(json.dumps(parts))
    prior = load(tmp_path / "saved")
    assert prior.pipeline.safety_checker is None  # type: ignore[attr-defined]


def test_code_in_a_folder_is_not_run(tmp_path: Path) -> None:
    """If this fails, loading a prior runs code in its folder."""
    import json

    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    mark = tmp_path / "executed"
    (tmp_path / "saved" / "pipeline.py").write_text(f"import os\nos.mkdir({str(mark)!r})\nclass Own: pass\n")
    index = tmp_path / "saved" / "model_index.json"
    for name in (["pipeline", "Own"], "Own"):
        index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": name}))
        with pytest.raises(PriorError, match=r"_class_name=.*Own.* must be .* diffusers"):
            load(tmp_path / "saved")
    assert not mark.exists()


def test_prompts_follow_their_images(tmp_path: Path) -> None:
    """If this fails, prompts are shuffled over images, repetitions or groups of one size."""
    pipe = wrap(tiny_sd(tmp_path))
    wide = np.random.default_rng(3).integers(0, 256, (18, 30, 3), dtype=np.uint8)
    mask = np.zeros((18, 30), np.uint8)
    mask[4:9, 4:9] = 255
    images: list[Any] = [photo()[0], wide, photo(1)[0]]
    masks: list[Any] = [hole(), mask, hole()]
    prompts, negatives = ["a", "b", "c"], ["d", "e", "f"]
    asked: dict[str, Any] = {"schedule": WALK, "output_type": "latent", "crop": "off"}
    out = pipe(images, masks, prompt=prompts, negative_prompt=negatives, num_images_per_prompt=2, generator=0, **asked)
    for i, latent in enumerate(out.images):
        n = i // 2
        alone = pipe(
            images[n], masks[n], prompt=prompts[n], negative_prompt=negatives[n], generator=out.seeds[i], **asked
        )
        assert torch.allclose(latent, alone.images[0], atol=1e-4), i  # rounding of another batch size, over 6 calls


def test_resume_takes_prompts(tmp_path: Path) -> None:
    """If this fails, an interrupted run with a prompt cannot be finished, or ends in another image."""
    pipe, kept = wrap(tiny_sd(tmp_path)), {}
    asked: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "blue", "schedule": WALK, "guidance_rescale": 0.5}
    whole = pipe(
        photo(), hole(), generator=0, callback_on_step_end=lambda _p, n, _l, k: kept.update({n: k["state"]}), **asked
    )
    rest = pipe.resume(kept[3], photo(), hole(), **asked)
    assert np.array_equal(np.asarray(whole.images[0]), np.asarray(rest.images[0]))


def test_guidance_rescale_keeps_the_conditional_std() -> None:
    """If this fails, guidance_rescale does not keep the conditional standard deviation."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 4, 8, 8, generator=g)
    full = guide(a, b, 9.0, 1.0)
    assert torch.allclose(full.std((1, 2, 3)), b.std((1, 2, 3)), atol=1e-5)
    assert torch.allclose(guide(a, b, 9.0, 0.25), 0.25 * full + 0.75 * guide(a, b, 9.0), atol=1e-5)
    assert torch.equal(guide(a, b, 0.0), a)


# --- What is refused or warned of


@pytest.mark.parametrize("off", [{"guidance_scale": 1.0}, {"guided": False}], ids=["scale 1", "distilled"])
def test_a_negative_prompt_without_guidance_warns(tmp_path: Path, off: dict[str, Any]) -> None:
    """If this fails, a negative prompt is ignored silently where nothing guides."""
    prior, said = (
        wrap(tiny_sd(tmp_path)).prior,
        r"^negative_prompt has no effect without guidance \(the",
    )
    with pytest.warns(UserWarning, match=said):
        prior.conditioned(1, Conditions(prompt="a", negative_prompt="blue", size=(16, 16), **off))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prior.conditioned(1, Conditions(prompt="a", negative_prompt="", size=(16, 16), **off))
        prior.conditioned(1, Conditions(prompt="a", negative_prompt="blue", size=(16, 16)))


@pytest.mark.parametrize(("name", "scale"), [("sd1", 7.5), ("sdxl", 5.0), ("sd3", 7.0), ("flux", 3.5)])
def test_the_usual_scale_is_that_of_diffusers(tmp_path: Path, name: str, scale: float) -> None:
    """If this fails, a prompt without guidance_scale is guided otherwise than in diffusers."""
    pipe = TEXT[name](tmp_path)
    assert inspect.signature(pipe.__call__).parameters["guidance_scale"].default == scale
    prior, x = wrap(pipe).prior, torch.ones(1, 4, 8, 12)
    bound = [prior.conditioned(1, Conditions(prompt="a", guidance_scale=s, size=(16, 24))) for s in (None, scale)]
    with torch.no_grad():
        left_out, explicit = (each.denoise(x, each.schedule(5)[3]).eps_hat for each in bound)
    assert torch.equal(left_out, explicit)


def test_a_truncated_prompt_warns(tmp_path: Path) -> None:
    """If this fails, the end of a long prompt is cut without a warning that shows it."""
    prior = wrap(tiny_sd(tmp_path)).prior
    with pytest.warns(UserWarning, match=r"The prompt is longer than 77 tokens: 't a cat' is cut off\. Shorten it"):
        prior.conditioned(1, Conditions(prompt=LONG.strip(), size=(16, 16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prior.conditioned(1, Conditions(prompt="a cat", size=(16, 16)))


def test_a_prompt_that_only_a_missing_encoder_would_read_warns(tmp_path: Path) -> None:
    """If this fails, Stable Diffusion 3 without its T5, which is often left out, cuts a prompt without a warning."""
    pipe = tiny_sd3(tmp_path, third=True)
    pipe.text_encoder_3 = None
    with pytest.warns(UserWarning, match=r"The prompt is longer than 77 tokens: .* is cut off\. Shorten it"):
        prior_from_pipe(pipe).conditioned(1, Conditions(prompt=LONG.strip(), size=(16, 16)))


def test_an_xl_model_may_have_one_text_encoder(tmp_path: Path) -> None:
    """If this fails, a Stable Diffusion XL whose first text encoder is None fails in the check for long prompts."""
    pipe = tiny_sdxl(tmp_path)
    pipe.tokenizer = pipe.text_encoder = None
    with pytest.raises(PriorError, match=r"prompt_embeds of width 8 must have width 16"):  # the tiny UNet takes both
        prior_from_pipe(pipe).conditioned(1, Conditions(prompt="a cat", size=(16, 16)))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, r"needs either prompt or prompt_embeds\. Pass prompt='' to fill without a description"),
        (
            {"prompt": "a", "prompt_embeds": torch.zeros(1, 77, 8)},
            r"^prompt and prompt_embeds cannot be given together\. Leave one out\.",
        ),
        (
            {"prompt": "a", "negative_prompt": "b", "negative_prompt_embeds": torch.zeros(1, 77, 8)},
            r"^negative_prompt and negative_prompt_embeds cannot be given together\. Leave one out\.",
        ),
        (
            {"prompt_embeds": np.zeros((1, 77, 8))},
            r"^prompt_embeds must be a tensor \(B, tokens, width\), not a list\.",
        ),
        ({"prompt": [7]}, r"prompt=7 must be a text, or a list with one text for each image"),
        ({"prompt": ["a", "b"]}, r"prompt has 2 values for 1 images\. Pass one for all, or one for each"),
        (
            {"prompt": "a", "negative_prompt": ["a", "b"]},
            r"negative_prompt has 2 values for 1 images\. Pass one for all",
        ),
        (
            {"prompt": "a", "guidance_scale": -1.0},
            r"guidance_scale=-1\.0 must be finite and at least 0 \(1 disables guidance\)\.",
        ),
        ({"prompt": "a", "guidance_scale": float("nan")}, r"guidance_scale=nan must be finite and at least 0"),
        (
            {"prompt": "a", "guidance_rescale": 1.5},
            r"guidance_rescale=1\.5 must be from 0 to 1 \(0 disables rescaling\)",
        ),
        (
            {"prompt": "a", "class_labels": 1},
            r"class_labels must be left out: a text-conditioned prior takes only prompt",
        ),
        ({"prompt": "a", "pooled_prompt_embeds": torch.zeros(1, 8)}, r"pooled_prompt_embeds must be left out"),
    ],
)
def test_wrong_conditions(unchecked: None, tmp_path: Path, asked: dict[str, Any], message: str) -> None:
    """If this fails, an invalid condition is silently ignored, repeated or mixed up."""
    with pytest.raises((PriorError, InputError), match=message):
        wrap(tiny_sd(tmp_path))(photo(), hole(), schedule=WALK, **asked)


def test_flux_takes_no_negative_prompt(tmp_path: Path) -> None:
    """If this fails, a negative prompt, or a scale that the model does not take, is silently ignored."""
    with pytest.raises(
        PriorError, match=r"negative_prompt must be left out: a text-conditioned prior takes only prompt"
    ):
        wrap(tiny_flux(tmp_path))(photo(), hole(), prompt="a", negative_prompt="b", schedule=WALK)
    with pytest.raises(PriorError, match=r"guidance_scale must be left out: a text-conditioned prior"):
        wrap(tiny_flux(tmp_path, guidance_embeds=False))(photo(), hole(), prompt="a", guidance_scale=2.0, schedule=WALK)


def test_models_that_need_more_than_a_prompt(tmp_path: Path) -> None:
    """If this fails, a model that expects an image, a scale or a score as input is run without it."""
    with pytest.raises(
        PriorError, match=r"with 8 channels in is not supported: the latents of its AutoencoderKL have 4"
    ):
        wrap(tiny_sd(tmp_path, in_channels=8))
    with pytest.raises(
        PriorError, match=r"UNets with 9 input channels are not supported: they are trained for inpainting"
    ):
        wrap(tiny_sd(tmp_path, in_channels=9))
    assert type(wrap(tiny_sd(tmp_path, time_cond_proj_dim=4)).prior) is DrivenPrior  # its pipeline passes the scale
    for scheduler in (ScoreSdeVeScheduler(), CMStochasticIterativeScheduler(), FlowMatchEulerDiscreteScheduler()):
        other = tiny_sdxl(tmp_path)
        other.scheduler = scheduler
        name = type(scheduler).__name__
        with pytest.raises(
            PriorError, match=rf"UNet2DConditionModel with a {name} is not supported\. Use the scheduler .* EDM levels"
        ):
            wrap(other)
    silent = SimpleNamespace(components=tiny_sd(tmp_path).components, config={})
    with pytest.raises(PriorError, match=r"A UNet2DConditionModel over AutoencoderKL is not supported"):
        RePaintPipeline.from_pipe(silent)


def test_the_image_size_is_required(tmp_path: Path) -> None:
    """If this fails, SDXL gets a wrong size, or a shifted schedule falls back to another one."""
    with pytest.raises(PriorError, match=r"size must be given for Stable Diffusion XL: Conditions\(size="):
        wrap(tiny_sdxl(tmp_path)).prior.conditioned(1, Conditions(prompt="a"))
    with pytest.raises(
        PriorError, match=r"size must be given, because this prior's noise levels depend on it: Conditions\(size="
    ):
        wrap(tiny_flux(tmp_path)).prior.schedule(4)


# --- Flow


@pytest.mark.parametrize("build", [tiny_sd3, lambda folder: tiny_sd3(folder, use_dynamic_shifting=True), tiny_flux])
def test_flow_levels_are_the_pipeline_s(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    """If this fails, the noise levels of a flow model differ from its timesteps, most at small and large sizes."""
    pipe = build(tmp_path)
    for size in ((8, 8), (32, 16)):
        flux = hasattr(pipe, "_pack_latents")
        calls = calls_of(pipe, size, steps=7, prompt="a")
        grid = wrap(pipe).prior.conditioned(1, Conditions(prompt="a", size=size)).schedule(7)
        sigmas = [level.sigma for level in reversed(grid.levels[1:])]
        assert sigmas == pytest.approx(pipe.scheduler.sigmas[:-1].tolist(), abs=1e-6)
        assert [1 - level.alpha for level in grid.levels] == pytest.approx([level.sigma for level in grid.levels])
        assert len(calls) == 7
        assert (calls[0].x.ndim == 3) == flux


def test_packing_is_that_of_diffusers(tmp_path: Path) -> None:
    """If this fails, Flux gets its 2 x 2 blocks in another order."""
    x = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    pipe = tiny_flux(tmp_path)
    assert torch.equal(pack(x), pipe._pack_latents(x, 2, 4, 6, 8))
    assert torch.equal(unpack(pack(x), 6, 8), x)


# --- Memory and precision


def test_offloading_passes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, models larger than the GPU cannot be run, or parts stay on it after a run."""
    pipe, done = tiny_sd(tmp_path), []
    monkeypatch.setattr(pipe, "enable_model_cpu_offload", lambda *args, **kwargs: done.append((args, kwargs)))
    monkeypatch.setattr(pipe, "maybe_free_model_hooks", lambda: done.append("freed"))
    wrapped = wrap(pipe)
    wrapped.enable_model_cpu_offload(1, device="cuda")
    wrapped(photo(), hole(), prompt="a", schedule=WALK)
    assert done == [((1,), {"device": "cuda"}), "freed"]
    wrapped.enable_vae_slicing()
    assert pipe.vae.use_slicing
    from helpers.tiny_priors import tiny_pipe

    with pytest.raises(
        InputError, match=r"A PixelPrior cannot be offloaded, because it does not wrap a diffusers pipeline"
    ):
        tiny_pipe().enable_model_cpu_offload()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="a computer with an accelerator offloads")
def test_offloading_without_an_accelerator(tmp_path: Path) -> None:
    """If this fails, offloading on a computer without a GPU ends in a traceback."""
    with pytest.raises(
        InputError, match=r"^This pipeline cannot be offloaded \(.* requires accelerator, .* Use \.to\(dev"
    ):
        wrap(tiny_sd(tmp_path)).enable_model_cpu_offload()


def test_missing_half_precision_operators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, float16 on a CPU ends in a traceback instead of an error with a remedy."""
    wrapped = wrap(tiny_sd(tmp_path))

    def lacking(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")

    monkeypatch.setattr(wrapped.prior.pipeline.unet, "forward", lacking)  # type: ignore[attr-defined]
    with pytest.raises(
        PriorError, match=r"cannot compute in float16 .*slow_conv2d_cpu.*torch_dtype=torch\.bfloat16 or"
    ):
        wrapped(photo(), hole(), prompt="a", schedule=WALK)


@pytest.mark.parametrize("name", TEXT)
def test_bfloat16(tmp_path: Path, name: str) -> None:
    """If this fails, a pipeline in half precision mixes types, or changes kept pixels."""
    pipe, image, mask = wrap(TEXT[name](tmp_path)).to(torch.bfloat16), photo(), hole()
    result = np.asarray(pipe(image, mask, prompt="a cat", schedule=WALK, generator=0).images[0])
    assert np.array_equal(result[mask == 0], image[0][mask == 0])


def test_the_command_takes_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails, text-conditioned priors cannot be used from the shell, or the prompt does not reach the model."""
    from repaint import cli

    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo()[0]).save("photo.png")
    Image.fromarray(hole()).save("mask.png")

    def run(*options: str) -> int:
        files = ["photo.png", "mask.png", "--out", "out.png", "--prior", "model", "--schedule", "predicted"]
        monkeypatch.setattr("sys.argv", ["repaint", "inpaint", *files, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    results = []
    for options in (["--prompt", "a cat"], ["--prompt", "a cat", "--negative-prompt", "blue dogs"]):
        assert run(*options) == 0
        results.append(np.asarray(Image.open("out.png")))
    assert not np.array_equal(*results)
    capsys.readouterr()
    assert run() == 2
    assert "needs either prompt or prompt_embeds" in capsys.readouterr().err
