"""Models and arguments that cannot be run: each is refused in one line, before or in place of an error of diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler, ScoreSdeVeScheduler
from helpers.pipeline_cases import CASES
from helpers.tiny_ip_adapters import with_ip_adapter
from helpers.tiny_latents import SD_BETAS, tiny_flux, tiny_sd, tiny_sd3, tiny_sdxl, tiny_unet
from helpers.tiny_pipelines import sd_like
from helpers.tiny_priors import tiny_folder_pipeline, tiny_pipe
from safetensors.torch import load_file, save_file
from torch import Tensor

from repaint.errors import InputError, OutOfMemory, PriorError, RepaintError
from repaint.pictures.crop import Crop
from repaint.pipeline import RePaintPipeline
from repaint.priors.driven import DrivenPrior
from repaint.priors.foreign_errors import explained
from repaint.priors.load import load, prior_from_pipe
from repaint.priors.text import StableDiffusionPrior
from repaint.sampling.prior import Conditions
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(2, jump_n_sample=1)
SIZE = 16, 24


def wrap(pipe: Any) -> RePaintPipeline:
    wrapped = RePaintPipeline.from_pipe(pipe)
    wrapped.set_progress_bar_config(disable=True)
    return wrapped


def fill(pipe: RePaintPipeline, width: int = 24, **options: Any) -> Any:
    image, mask = np.full((16, width, 3), 99, np.uint8), np.zeros((16, width), np.uint8)
    mask[4:10, 6 : width - 6] = 255
    asked: dict[str, Any] = {"prompt": "a", "schedule": WALK, "generator": 0, "output_type": "np"}
    found = pipe(image, mask, **asked | options).images[0]
    assert (found[mask == 0] == 99).all()
    return found


def with_unet(folder: Path, **config: Any) -> Any:
    pipe = tiny_sd(folder)
    pipe.register_modules(unet=tiny_unet(8, **config))
    return pipe


# --- Networks that want more than a prompt, or another one


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8},
            "class_embed_type='projection'",
        ),
        ({"num_class_embeds": 4}, "num_class_embeds=4"),
        ({"encoder_hid_dim_type": "text_image_proj", "encoder_hid_dim": 8}, "encoder_hid_dim_type='text_image_proj'"),
    ],
)
def test_inputs_that_the_pipeline_does_not_give(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    """If this fails, a UNet with further inputs fails inside diffusers, after the work has begun."""
    with pytest.raises(PriorError, match=f"with {said} in its UNet is not supported"):
        wrap(with_unet(tmp_path, **config))


def test_text_encoders_of_another_model(tmp_path: Path) -> None:
    """If this fails, embeddings of another width fail in a matrix product inside the network."""
    with pytest.raises(PriorError, match=r"prompt_embeds of width 8 must have width 16 for this denoiser"):
        fill(wrap(with_unet(tmp_path, cross_attention_dim=16)))


def test_sizes_beyond_a_table_of_positions(tmp_path: Path) -> None:
    """If this fails, a large hole fails inside Stable Diffusion 3, or the cure that the error names does not work."""
    pipe = wrap(tiny_sd3(tmp_path))
    with pytest.raises(
        PriorError, match=r"A window of 200 x 16 pixels must be at most 64 pixels .*crop=Crop\(windows=True"
    ):
        fill(pipe, 200)
    fill(pipe, 200, crop=Crop(windows=True))


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionXLPipeline"])
def test_an_ip_adapter_without_an_image(tmp_path: Path, name: str) -> None:
    """If this fails, a missing image fails inside diffusers, or the image is not needed."""
    with pytest.raises(
        PriorError, match=r"ip_adapter_image or ip_adapter_image_embeds must be given, because the model"
    ):
        fill(wrap(with_ip_adapter(sd_like(tmp_path, name))))


def test_an_ip_adapter_without_an_image_encoder(tmp_path: Path) -> None:
    """If this fails, an IP-Adapter that gets embeddings only is dropped."""
    pipe = with_ip_adapter(sd_like(tmp_path, "StableDiffusionPipeline"))
    pipe.register_modules(image_encoder=None, feature_extractor=None)
    wrapped = wrap(pipe)
    assert type(wrapped.prior) is DrivenPrior
    fill(wrapped, ip_adapter_image_embeds=[torch.ones(2, 1, 8)], guidance_scale=3.0)


@pytest.mark.parametrize("build", [tiny_sd, tiny_sd3, tiny_flux], ids=["sd", "sd3", "flux"])
def test_an_ip_adapter_that_is_loaded_after_wrapping(tmp_path: Path, build: Callable[[Path], Any]) -> None:
    """If this fails, an IP-Adapter fails inside diffusers, without a cure, or has no effect."""
    pipe = build(tmp_path)
    wrapped = wrap(pipe)
    with_ip_adapter(pipe)
    with pytest.raises(PriorError, match=r"An IP-Adapter was loaded after wrapping. Wrap the pipeline again"):
        fill(wrapped)
    pipe.register_modules(image_encoder=None, feature_extractor=None)
    with pytest.raises(PriorError, match="ip_adapter_image or ip_adapter_image_embeds must be given"):
        fill(wrap(pipe))


@pytest.mark.parametrize("name", ["StableDiffusionControlNetPipeline", "StableDiffusion3ControlNetPipeline"])
def test_an_image_for_an_ip_adapter_that_is_not_there(name: str) -> None:
    """If this fails, diffusers drops the image (Stable Diffusion 3), or fails inside its encoder."""
    pipe, given = CASES[name].build(), CASES[name].made()[1]
    control = given.get("image", given.get("control_image"))
    with pytest.raises(PriorError, match="ip_adapter_image needs an IP-Adapter in the model"):
        fill(wrap(pipe), control_image=control[0], ip_adapter_image=control[0])


def test_embeddings_that_their_pipeline_cannot_take() -> None:
    """If this fails, embeddings without a prompt raise a TypeError inside diffusers."""
    prior = DrivenPrior(CASES["LongCatImagePipeline"].made()[0])
    with pytest.raises(PriorError, match=r"A LongCatImagePipeline takes no prompt_embeds alone"):
        prior.conditioned(1, Conditions(prompt_embeds=torch.zeros(1, 6, 16), size=(32, 64)))


def test_image_embeds_that_are_missing() -> None:
    """If this fails, a required argument is missing inside diffusers, which raises a TypeError."""
    pipe, given = CASES["KandinskyV22Pipeline"].made()
    conditions = Conditions(arguments={"image_embeds": given["image_embeds"]}, size=(32, 64))
    with pytest.raises(PriorError, match=r"negative_image_embeds must be given for a KandinskyV22Pipeline\."):
        DrivenPrior(pipe).conditioned(1, conditions)


@pytest.mark.parametrize("wrapped", [wrap, lambda pipe: RePaintPipeline(DrivenPrior(pipe))])
def test_errors_inside_a_network_are_one_line(tmp_path: Path, wrapped: Callable[[Any], RePaintPipeline]) -> None:
    """If this fails, an error of a network reaches the user as it is."""
    pipe = tiny_sd(tmp_path)

    def broken(*_args: Any, **_kwargs: Any) -> None:
        raise ValueError("no\nsuch  thing.")

    pipe.unet.forward = broken
    with pytest.raises(PriorError, match=r"^The \w+ raised ValueError: no such thing\.$"):
        fill(wrapped(pipe))


def test_errors_with_a_cure_pass() -> None:
    """If this fails, a run without enough memory is not halved, or a warning as an error loses its class."""
    for error in (MemoryError(), OutOfMemory("x"), UserWarning("x"), RuntimeError("CUDA out of memory.")):
        with pytest.raises(type(error)) as raised, explained("UNet"):
            raise error
        assert raised.value is error


# --- A scheduler that is replaced after wrapping: everything follows it, or it is refused


def levels_and_prediction(prior: Any, kind: str) -> Tensor:
    bound = prior.conditioned(1, Conditions(prompt="a", size=SIZE))
    assert bound.preconditioning.predicts == kind
    x = torch.randn((1, 4, 8, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: Tensor = bound.denoise(x, bound.schedule(4)[3]).x0_hat
    return found


def test_all_follows_a_replaced_scheduler(tmp_path: Path) -> None:
    """If this fails, the noise levels follow a new scheduler, but not the kind of prediction."""
    pipe = tiny_sd(tmp_path)
    prior = StableDiffusionPrior(pipe)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, prediction_type="v_prediction")
    expected = levels_and_prediction(StableDiffusionPrior(pipe), "v_prediction")
    assert torch.equal(levels_and_prediction(prior, "v_prediction"), expected)
    assert prior.default_schedule == "fast"
    pipe.scheduler = diffusers.LCMScheduler(**SD_BETAS)
    assert prior.default_schedule == "turbo"


@pytest.mark.parametrize(
    ("build", "scheduler"),
    [
        (tiny_sd, FlowMatchEulerDiscreteScheduler()),
        (tiny_sd, ScoreSdeVeScheduler()),
        (tiny_sd3, EulerDiscreteScheduler(**SD_BETAS)),
        (lambda folder: sd_like(folder, "StableDiffusionPAGPipeline"), FlowMatchEulerDiscreteScheduler()),
        (lambda _folder: CASES["FluxKontextPipeline"].build()[0], EulerDiscreteScheduler(**SD_BETAS)),
        (lambda _folder: CASES["CogView3PlusPipeline"].build()[0], diffusers.CogVideoXDPMScheduler()),
    ],
    ids=["sd-flow", "sd-ve", "sd3-vp", "driven-flow", "driven-vp", "driven-two-steps"],
)
def test_schedulers_of_another_kind(tmp_path: Path, build: Callable[[Path], Any], scheduler: Any) -> None:
    """If this fails, a model runs on noise levels that it does not know."""
    pipe = build(tmp_path)
    prior = prior_from_pipe(pipe)
    pipe.scheduler = scheduler
    with pytest.raises(PriorError, match=f"with a {type(scheduler).__name__} is not supported"):
        prior.conditioned(1, Conditions(prompt="a", size=SIZE)).schedule(4)


def test_a_scheduler_that_does_not_scale_x() -> None:
    """If this fails, a transformer that predicts noise runs on a flow, where its own pipeline fails in diffusers."""
    pipe, _ = CASES["PixArtAlphaPipeline"].made()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    with pytest.raises(PriorError, match="with a FlowMatchEulerDiscreteScheduler is not supported"):
        DrivenPrior(pipe)


# --- Arguments


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda pipe: RePaintPipeline.from_pipe(pipe, torch_dtype=torch.float16),
            "torch_dtype=torch.float16 is not an arg",
        ),
        (lambda pipe: RePaintPipeline(pipe), r"must be a Prior\. Use RePaintPipeline\.from_pipe"),
        (lambda _pipe: RePaintPipeline("textures"), r"must be a Prior\. Use RePaintPipeline\.from_pretrained"),
        (lambda pipe: wrap(pipe).to(torch.int8), r"dtype=torch\.int8 must be a floating type"),
        (lambda pipe: wrap(pipe).to(dtype="float16"), r"dtype='float16' must be a floating type"),
        (lambda pipe: fill(wrap(pipe), dtype=torch.float16), r"Call \.to\(device, dtype\) on the pipeline"),
        (
            lambda pipe: fill(wrap(pipe), clip_skip=1),
            r"RePaintPipeline\(repaint\.priors\.driven\.DrivenPrior\(pipe\)\)",
        ),
        (lambda pipe: wrap(pipe).load_lora_weights("x", scale=2), r"scale=2 is not an argument of load_lora_weights"),
        (lambda _pipe: RePaintPipeline.from_pretrained("textures", revision="x"), "revision='x' must be left out"),
        (lambda _pipe: RePaintPipeline.from_pretrained("textures", variant="fp16"), "variant='fp16' must be left out"),
        (lambda _pipe: RePaintPipeline.from_pretrained("textures", variant=3), "variant=3 must be left out"),
        (lambda _pipe: RePaintPipeline.from_pretrained("textures", foo=1), "It takes torch_dtype, variant, config"),
    ],
)
def test_arguments_that_do_not_exist(unchecked: None, tmp_path: Path, call: Callable[[Any], Any], said: str) -> None:
    """If this fails, an argument is dropped, or gives an error without a cure."""
    with pytest.raises(RepaintError, match=said):
        call(tiny_sd(tmp_path))


def test_the_arguments_that_the_driver_takes(tmp_path: Path) -> None:
    """If this fails, the cure for an argument of diffusers does not work."""
    pipe = RePaintPipeline(DrivenPrior(tiny_sdxl(tmp_path)))
    pipe.set_progress_bar_config(disable=True)
    assert not np.array_equal(fill(pipe, crops_coords_top_left=(0, 999)), fill(pipe))


# --- Files


def test_variants_that_a_folder_lacks(tmp_path: Path) -> None:
    """If this fails, a wrong variant gives an error about a missing file."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved", variant="fp16")
    with pytest.raises(PriorError, match=r"variant='fp32' must be one of fp16"):
        load(tmp_path / "saved", variant="fp32")


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"double_blocks.x": 1, "model.diffusion_model.a": 1}, "not a checkpoint of Stable Diffusion"),
        ({"model.diffusion_model.input_blocks.2.0.in_layers.0.weight": 320}, "not a checkpoint of Stable Diffusion"),
    ],
)
def test_checkpoints_of_an_unknown_architecture(tmp_path: Path, tensors: dict[str, int], said: str) -> None:
    """If this fails, a file of another model is taken for Stable Diffusion 1."""
    save_file({name: torch.zeros(size) for name, size in tensors.items()}, tmp_path / "a.safetensors")
    with pytest.raises(PriorError, match=said):
        load(tmp_path / "a.safetensors")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    """If this fails, a .ckpt or .gguf file is called missing, or an option is dropped."""
    for name in ("a.ckpt", "a.gguf"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(PriorError, match=r"a checkpoint in one file must be \.safetensors"):
            load(tmp_path / name)
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"variant='fp16' must be left out: a single file"):
        load(tmp_path / "a.safetensors", variant="fp16")


@pytest.mark.parametrize("file", ["modular_model_index.json", "model_index.json"])
def test_modular_repositories(tmp_path: Path, file: str) -> None:
    """If this fails, a modular repository is called incomplete, or of a newer diffusers."""
    (tmp_path / file).write_text(json.dumps({"_class_name": "FluxModularPipeline"}))
    with pytest.raises(PriorError, match=r"is a modular repository, which is not supported\. Build the ordinary"):
        load(tmp_path)


def test_live_modular_pipelines(tmp_path: Path) -> None:
    """If this fails, a modular pipeline gets advice that does not help."""
    pipe = diffusers.modular_pipelines.StableDiffusionXLAutoBlocks().init_pipeline()
    with pytest.raises(PriorError, match=r"it is assembled from blocks\. Build the ordinary pipeline"):
        wrap(pipe)


def lora(pipe: Any, path: Path) -> Path:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    type(pipe).save_lora_weights(path, unet_lora_layers=get_peft_model_state_dict(pipe.unet))
    return path


def test_lora_weights_that_fit_in_part(tmp_path: Path) -> None:
    """If this fails, LoRA weights without a place in the model are dropped without a word."""
    pytest.importorskip("peft")
    state = load_file(next(lora(tiny_sd(tmp_path / "1"), tmp_path / "lora").glob("*.safetensors")))
    layer = "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q.lora_"
    save_file(
        state | {f"{layer}A.weight": torch.zeros(2, 16), f"{layer}B.weight": torch.zeros(16, 2)},
        tmp_path / "more.safetensors",
    )
    with pytest.warns(
        UserWarning, match=f"2 of {len(state) + 2} tensors have no place in this StableDiffusionPipeline"
    ):
        wrap(tiny_sd(tmp_path / "2")).load_lora_weights(tmp_path / "more.safetensors")


def test_lora_weights_that_fail_leave_nothing(tmp_path: Path) -> None:
    """If this fails, LoRA weights of another size stay in the model in part."""
    pytest.importorskip("peft")
    pipe = wrap(tiny_sd(tmp_path / "1"))
    before = fill(pipe)
    with pytest.raises(PriorError, match=r"cannot be loaded into a StableDiffusionPipeline .*size mismatch"):
        pipe.load_lora_weights(lora(tiny_sdxl(tmp_path / "2"), tmp_path / "lora"))
    assert np.array_equal(fill(pipe), before)


def test_lora_errors_end_with_their_cure(tmp_path: Path) -> None:
    """If this fails, a wrong path or name is answered with the advice to take weights of another model."""
    pytest.importorskip("peft")
    pipe, folder = wrap(tiny_sd(tmp_path / "1")), lora(tiny_sd(tmp_path / "2"), tmp_path / "lora")
    nowhere = r"must be a file, a folder or a Hub id \(owner/name\) that exists\.$"
    for missing in (tmp_path / "nowhere", tmp_path / "x.safetensors", "nowhere", "folder/x.safetensors"):
        with pytest.raises(PriorError, match=nowhere):
            pipe.load_lora_weights(missing)
    for options in ({"weight_name": "y.safetensors"}, {"subfolder": "empty", "weight_name": "y.safetensors"}):
        with pytest.raises(PriorError, match=r"no file named y\.safetensors .* Check the path and weight_name\.$"):
            pipe.load_lora_weights(folder, **options)
    pipe.load_lora_weights(folder, adapter_name="a")
    with pytest.raises(PriorError, match=r"Adapter name a already in use .* Pass another adapter_name\.$"):
        pipe.load_lora_weights(folder, adapter_name="a")


# --- Quantised networks


@pytest.mark.parametrize("driven", [False, True])
def test_quantised_weights_are_left_as_they_are(tmp_path: Path, driven: bool) -> None:
    """If this fails, weights in eight bits are cast, or x is cast to their type."""
    pipe = tiny_sd3(tmp_path)
    exact = fill(wrap(pipe)).astype(int)
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    before = {name: weight.dtype for name, weight in pipe.transformer.named_parameters()}
    assert torch.float8_e4m3fn in before.values()
    wrapped = RePaintPipeline(DrivenPrior(pipe)) if driven else wrap(pipe)
    wrapped.set_progress_bar_config(disable=True)
    found = fill(wrapped, guidance_scale=7.0)
    assert np.abs(found - exact).mean() < 5  # weights of 4 bits are off by up to 1/16; other noise differs by 60
    assert {name: weight.dtype for name, weight in pipe.transformer.named_parameters()} == before


def test_quantised_weights_that_cannot_move(tmp_path: Path) -> None:
    """If this fails, .to() on a model of bitsandbytes gives a traceback."""
    pipe = tiny_sd(tmp_path)

    def to(*_args: Any, **_kwargs: Any) -> None:
        raise ValueError("`.to` is not supported for `8-bit` models.\nUse it as it is.")

    pipe.unet.to = to
    wrapped = wrap(pipe)
    fill(wrapped)
    with pytest.raises(RepaintError, match=r"raised ValueError: `\.to` is not supported for `8-bit` models\. Use it"):
        wrapped.to(torch.float16)


@pytest.mark.parametrize("kind", ["timestep", "identity"])
def test_embeddings_in_place_of_classes_are_refused(kind: str) -> None:
    """If this fails, a UNet that needs an embedding with each image fails at its first prediction."""
    pipe = tiny_folder_pipeline(class_embed_type=kind)
    with pytest.raises(PriorError, match=rf"^A UNet2DModel with class_embed_type='{kind}' is not supported, because"):
        prior_from_pipe(pipe)


@pytest.mark.parametrize("name", ["StableDiffusionPipeline", "StableDiffusionControlNetPipeline", "LDMPipeline"])
def test_latents_without_an_autoencoder_are_not_pixels(tmp_path: Path, name: str) -> None:
    """If this fails, a pipeline whose autoencoder was left out paints the channels of an RGBA image as latents."""
    if name == "LDMPipeline":
        pipe = diffusers.LDMPipeline(None, tiny_folder_pipeline().unet, DDIMScheduler())
    else:
        pipe = sd_like(tmp_path, name)
        pipe.vae = None
    with pytest.raises(PriorError, match=rf"^This {name} has no autoencoder \(its (vae|vqvae) is None\)\. Set that of"):
        prior_from_pipe(pipe)


def test_a_guidance_embedding_that_comes_later(tmp_path: Path) -> None:
    """If this fails, the UNet of an LCM that replaces another one runs without the guidance scale that it takes."""
    pipe = tiny_sd(tmp_path)
    prior = prior_from_pipe(pipe)
    pipe.unet = tiny_unet(8, time_cond_proj_dim=8).eval()
    with pytest.raises(PriorError, match=r"time_cond_proj_dim=8 was set after wrapping\. Wrap the pipeline ag"):
        prior.conditioned(1, Conditions(prompt="a", size=SIZE))
    assert type(prior_from_pipe(pipe)) is DrivenPrior


def test_a_class_in_place_of_a_pipeline(unchecked: None) -> None:
    """If this fails, the class of a pipeline, and labels that are not numbers, give a TypeError."""
    with pytest.raises(InputError, match=r"^from_pipe\(\) got a type, which is not a diffusers pipeline"):
        RePaintPipeline.from_pipe(diffusers.DDPMPipeline)
    with pytest.raises(PriorError, match=r"^id2label=\{None: 'cat'\} must map class numbers to names"):
        RePaintPipeline.from_pipe(tiny_folder_pipeline(num_class_embeds=2), {None: "cat"})


def test_a_learned_time_embedding_is_refused() -> None:
    """If this fails, a UNet that takes only whole timesteps fails at its first prediction with an error of PyTorch."""
    pipe = tiny_folder_pipeline(time_embedding_type="learned", num_train_timesteps=1000)
    with pytest.raises(PriorError, match=r"^A UNet2DModel with time_embedding_type='learned' is not supported"):
        prior_from_pipe(pipe)


@pytest.mark.parametrize("labels", [torch.tensor([1]), torch.tensor(1), torch.tensor([1, 1])], ids=str)
def test_labels_may_be_tensors(labels: Any) -> None:
    """If this fails, integers in a tensor are refused as class labels."""
    prior = tiny_pipe(("cat", "dog")).prior
    for conditions in (
        Conditions(class_labels=labels),
        Conditions.join(Conditions(class_labels=labels).split(2), None),
    ):
        assert prior.conditioned(2, conditions)._labels.tolist() == [1, 1]  # type: ignore[attr-defined]
    with pytest.raises(PriorError, match=r"class_labels: .* must be a class from 0 to 2"):
        prior.conditioned(1, Conditions(class_labels=torch.tensor([1.5])))


def test_parts_that_are_compiled_as_modules(tmp_path: Path) -> None:
    """If this fails, a network or autoencoder after torch.compile is refused as an unknown class."""
    pipe = tiny_folder_pipeline()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    prior = prior_from_pipe(pipe)
    x = torch.randn(1, 3, 8, 8)
    expected = prior_from_pipe(tiny_folder_pipeline()).conditioned(1, Conditions())
    level = prior.schedule(5)[3]
    found = prior.conditioned(1, Conditions()).denoise(x, level).x0_hat
    assert torch.allclose(found, expected.denoise(x, level).x0_hat, atol=1e-5)
    text = tiny_sd(tmp_path)
    text.vae = torch.compile(text.vae, backend="eager")
    for wrapped in (prior_from_pipe, DrivenPrior):
        both = wrapped(text), wrapped(tiny_sd(tmp_path))
        image, known = torch.zeros(1, 3, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool)
        assert torch.allclose(*(each.encode(image, known)[0] for each in both), atol=1e-5)
        both[0].conditioned(1, Conditions(prompt="a", size=(16, 16))).release()
