"""Loading priors from names, folders, Hub ids and pipelines, and the errors of unusable ones."""

from __future__ import annotations

import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.utils import logging
from helpers.small_inputs import edit_json
from helpers.tiny_latents import tiny_sd
from helpers.tiny_priors import tiny_folder_pipeline, tiny_unet
from safetensors.torch import load_file, save_file

from repaint.errors import InputError, NoiseLevelError, PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.load import bundled, default_schedule, load, prior_from_components, prior_from_pipe
from repaint.priors.networks import network_of
from repaint.priors.pixel import PixelPrior
from repaint.priors.quiet_loading import quiet
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Clip

LEVEL = Level(alpha=0.6, sigma=0.8, t=500.0)
WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a DDPMPipeline, which tests must not change."""
    folder = tmp_path_factory.mktemp("saved")
    tiny_folder_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder, which tests may damage."""
    return Path(shutil.copytree(saved, tmp_path / "prior"))


class Named(DDPMPipeline):
    """A pipeline with class names in its config."""

    def __init__(self, unet: UNet2DModel, scheduler: DDPMScheduler, id2label: dict[int, str] | None = None) -> None:
        super().__init__(unet, scheduler)
        self.register_to_config(id2label=id2label)


def loaded(where: Path) -> PixelPrior:
    prior = load(where)
    assert isinstance(prior, PixelPrior)
    return prior


def output(prior: PixelPrior) -> torch.Tensor:
    """Return a prior's prediction for one fixed x."""
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return prior.denoise(x, LEVEL).eps_hat


def same(a: PixelPrior, b: PixelPrior) -> bool:
    """Return whether weights are equal and predictions close: memory alignment may change the last bits."""
    pairs = zip(a.unet.state_dict().items(), b.unet.state_dict().items(), strict=True)
    equal = all(name == other and torch.equal(x, y) for (name, x), (other, y) in pairs)
    return equal and torch.allclose(output(a), output(b), atol=1e-5)


# --- What loads


@pytest.mark.parametrize(("cls", "scheduler"), [(DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)])
def test_pipeline_folders(tmp_path: Path, cls: type, scheduler: type) -> None:
    """If this fails, what diffusers' unconditional pipelines save cannot be used, or loads with other weights."""
    unet = tiny_unet(seed=3)
    cls(unet, scheduler()).save_pretrained(tmp_path)
    prior = loaded(tmp_path)
    assert same(prior, PixelPrior(unet, DDPMScheduler()))
    assert (prior.channels, prior.multiple_of, prior.num_classes, prior.null_class) == (3, 2, 0, None)
    assert (prior.device, prior.dtype) == (torch.device("cpu"), torch.float32)
    assert not prior.unet.training, "dropout would make it noisy"
    assert prior.schedule(10, "linspace").family == "VP"


def test_components_in_the_root(folder: Path, saved: Path) -> None:
    """If this fails, older Hub repositories such as google/ddpm-cifar10-32, without subfolders, cannot be used."""
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    assert same(loaded(folder), loaded(saved))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_torch_dtype(saved: Path, dtype: torch.dtype) -> None:
    """If this fails, torch_dtype is ignored, or x follows the model into half precision."""
    pipe = RePaintPipeline.from_pretrained(saved, torch_dtype=dtype)
    assert pipe.prior.unet.dtype == dtype  # type: ignore[attr-defined]
    assert pipe.prior.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_variant(tmp_path: Path) -> None:
    """If this fails, fp16 variants on the Hub cannot be loaded."""
    tiny_folder_pipeline().save_pretrained(tmp_path, variant="fp16")
    assert load(tmp_path, variant="fp16").channels == load(tmp_path).channels == 3  # the only variant is found
    with pytest.raises(PriorError, match=r"bf16"):
        load(tmp_path, variant="bf16")


def test_from_pipe_shares_the_model() -> None:
    """If this fails, wrapping a live pipeline doubles its memory, or copies the user's weights."""
    live = tiny_folder_pipeline()
    pipe = RePaintPipeline.from_pipe(live)
    assert isinstance(pipe.prior, PixelPrior)
    assert pipe.prior.unet is live.unet
    assert pipe.prior.scheduler is live.scheduler


def test_from_pipe_takes_class_names() -> None:
    """If this fails, a class-conditional model that diffusers loaded has no null class and no guidance."""
    live = tiny_folder_pipeline(num_class_embeds=3)
    assert RePaintPipeline.from_pipe(live).prior.null_class is None
    named = RePaintPipeline.from_pipe(live, class_names={0: "cat", 1: "dog"}).prior
    assert (named.class_names, named.null_class) == ({0: "cat", 1: "dog"}, 2)


def test_class_names_and_null_class(tmp_path: Path) -> None:
    """If this fails, classes have no names, or the null class is not recognised."""
    tiny_folder_pipeline(num_class_embeds=3).save_pretrained(tmp_path)
    assert loaded(tmp_path).class_names == {}
    assert loaded(tmp_path).null_class is None, "three classes and no names: none of them is known to be null"
    edit_json(tmp_path / "model_index.json", id2label={"0": "cat", "1": "dog"})
    prior = loaded(tmp_path)
    assert (prior.class_names, prior.num_classes, prior.null_class) == ({0: "cat", 1: "dog"}, 3, 2)
    edit_json(tmp_path / "model_index.json", id2label={"0": "cat", "1": "dog", "2": "owl"})
    assert loaded(tmp_path).null_class is None
    live = Named(tiny_unet(num_class_embeds=3), DDPMScheduler(), {0: "cat", 1: "dog"})
    assert RePaintPipeline.from_pipe(live).prior.null_class == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "x0"),
    [
        ("epsilon", lambda out, x: (x - 0.8 * out) / 0.6),
        ("v_prediction", lambda out, x: 0.6 * x - 0.8 * out),
        ("sample", lambda out, _x: out),
    ],
)
def test_prediction_type_is_read(tmp_path: Path, kind: str, x0: Any) -> None:
    """If this fails, a v- or x0-predicting model is read as predicting noise."""
    unet = tiny_unet()
    DDPMPipeline(unet, DDPMScheduler(prediction_type=kind, clip_sample=False)).save_pretrained(tmp_path)
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = x0(unet.eval()(x, LEVEL.t).sample, x)
        # One rounding of float32 numbers of order 1 on each side.
        torch.testing.assert_close(loaded(tmp_path).denoise(x, LEVEL).x0_hat, expected, atol=2e-6, rtol=0)


def test_flow_models_predict_velocity() -> None:
    """If this fails, a flow-matching UNet, whose scheduler names no prediction type, is read as predicting noise."""
    unet, flow = tiny_unet(), Level(alpha=0.5, sigma=0.5, t=500.0)
    prior = PixelPrior(unet, FlowMatchEulerDiscreteScheduler())
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = x - 0.5 * unet(x, 500.0).sample
        torch.testing.assert_close(prior.denoise(x, flow).x0_hat, expected, atol=2e-6, rtol=0)  # as above


@pytest.mark.parametrize(
    ("config", "clip"),
    [
        ({"clip_sample": True}, Clip(1.0)),
        ({"clip_sample": True, "clip_sample_range": 2.0}, Clip(2.0)),
        ({"clip_sample": False}, None),
        (
            {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5},
            Clip(quantile=0.9, max_value=1.5),
        ),
    ],
)
def test_clipping_is_read(tmp_path: Path, config: dict[str, Any], clip: Clip | None) -> None:
    """If this fails, clipping of x0_hat does not follow the scheduler's config."""
    DDPMPipeline(tiny_unet(), DDPMScheduler(**config)).save_pretrained(tmp_path)
    x = 9 * torch.ones(1, 3, 8, 8)
    with torch.no_grad():
        x0_hat = loaded(tmp_path).denoise(x, LEVEL).x0_hat
        free = PixelPrior(tiny_unet(), DDPMScheduler(clip_sample=False)).denoise(x, LEVEL).x0_hat
    assert free.max() > 2
    torch.testing.assert_close(x0_hat, free if clip is None else clip(free))


def test_clipping_that_a_scheduler_ignores() -> None:
    """If this fails, latents of CogView 3+ are clipped to [-1, 1], which its scheduler declares but never does."""
    config = diffusers.CogVideoXDDIMScheduler().config
    assert config["clip_sample"]
    assert Clip.from_config(config) is None


def test_the_bundled_prior() -> None:
    """If this fails, the bundled prior is not in the package, or has no classes."""
    assert "textures" in bundled()
    prior = load("textures")
    assert isinstance(prior, PixelPrior)
    assert (prior.channels, list(prior.class_names.values())[:3]) == (3, ["brick", "grass", "gravel"])
    assert prior.null_class == len(prior.class_names)


# --- What loading leaves alone


def test_threads_load_at_the_same_time(saved: Path, tmp_path: Path) -> None:
    """If this fails, priors loaded by the threads of a server lack weights, or logs stay silent afterwards."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "sd")
    before = [library.logging.get_verbosity() for library in (diffusers.utils, transformers.utils)]
    with ThreadPoolExecutor(4) as threads:
        priors = list(threads.map(load, [saved, tmp_path / "sd"] * 4))
    for prior in priors:
        assert {weight.device.type for weight in network_of(prior).parameters()} == {"cpu"}
    for prior, first in zip(priors[2:], priors * 3, strict=False):
        pairs = zip(network_of(prior).parameters(), network_of(first).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert [library.logging.get_verbosity() for library in (diffusers.utils, transformers.utils)] == before


def test_loading_draws_no_global_random_numbers(saved: Path, tmp_path: Path) -> None:
    """If this fails, a program's own random numbers depend on whether it loads a prior, even in another thread."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "sd")
    drawn: list[str] = []
    for folder in (saved, tmp_path / "sd"):
        torch.manual_seed(5)
        before = torch.get_rng_state()
        with pytest.MonkeyPatch.context() as patch:
            # A restored state would pass the last line: nothing may set it either.
            patch.setattr(torch, "set_rng_state", lambda *_: drawn.append("set_rng_state"))
            patch.setattr(torch.random, "set_rng_state", lambda *_: drawn.append("random.set_rng_state"))
            load(folder)
        assert torch.equal(torch.get_rng_state(), before)
    assert drawn == []


def test_log_levels_survive_overlapping_loads() -> None:
    """If this fails, a load that begins during another one restores the silence of the first."""
    verbosity = logging.get_verbosity()
    first, second = quiet("diffusers"), quiet("diffusers")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.get_verbosity() == logging.CRITICAL
    second.__exit__(None, None, None)
    assert logging.get_verbosity() == verbosity


# --- The card


def test_a_card_sets_schedule_and_limits(folder: Path, saved: Path) -> None:
    """If this fails, a prior that declares its own schedule, sizes or largest hole is run with the library's."""
    (folder / "card.json").write_text('{"about": "x", "schedule": "quick", "largest_hole": 24, "smallest_size": 8}')
    prior = load(folder)
    assert (prior.default_schedule, prior.largest_hole, prior.smallest_size) == ("quick", 24, 8)
    assert default_schedule(folder) == "quick"
    (folder / "card.json").write_text('{"schedule": null, "largest_hole": null, "smallest_size": null}')
    for where in (folder, saved, "textures"):
        prior = load(where)
        assert (prior.default_schedule, prior.largest_hole, prior.smallest_size) == ("fast", None, None)
        assert default_schedule(where) == "fast"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schedule": "qick"}', r": schedule='qick' must be one of balanced, .*\. Did you mean 'quick'\?"),
        ('{"schedule": "../own.yaml"}', r": schedule='\.\./own\.yaml' must be one of balanced, "),
        ('{"schedule": ["quick"]}', r": schedule=\['quick'\] must be one of balanced, "),
        ('{"schedule": ""}', r": schedule='' must be one of balanced, "),
        (
            '{"largest_hole": 0}',
            r": largest_hole=0 must be an integer of at least 1 \(thickness of a hole in pixels\)\.",
        ),
        (
            '{"smallest_size": 0}',
            r": smallest_size=0 must be an integer of at least 1 \(side of an image in pixels\)\.",
        ),
        ('{"largest_hole": 24.5}', r": largest_hole=24\.5 must be an integer of at least 1"),
        ('{"largest_hole": true}', r": largest_hole=True must be an integer of at least 1"),
        ('{"largest_hole": "24"}', r": largest_hole='24' must be an integer of at least 1"),
        ("[]", r" must hold a JSON object \(it contains a list\)\. Correct or remove it\."),
        ("{", r": cannot be read \(.*\)\. Correct or remove it\."),
        ("[" * 100_000, r": cannot be read \(.*\)\. Correct or remove it\."),
    ],
)
def test_a_wrong_card(folder: Path, text: str, message: str) -> None:
    """If this fails, a wrong card gives a traceback, is ignored, names no file, or reads a schedule from anywhere."""
    (folder / "own.yaml").write_text("steps: 2\n")
    (folder / "card.json").write_text(text)
    for read in (load, default_schedule):
        with pytest.raises(PriorError, match=rf"^{re.escape(str(folder / 'card.json'))}{message}"):
            read(folder)


# --- What does not


def test_unknown_names() -> None:
    """If this fails, a typo in a bundled name goes to the network, or the error does not list the bundled names."""
    with pytest.raises(PriorError, match=r"prior='texture' must be .* one of .*textures.*Did you mean 'textures'\?"):
        load("texture")
    with pytest.raises(PriorError, match=r"prior='/no/such/folder' must be a folder, a Hub id \(owner/name\)"):
        load("/no/such/folder")


def test_a_folder_that_is_no_pipeline(tmp_path: Path, folder: Path) -> None:
    """If this fails, the UNet's own folder, which people try first, gives a traceback."""
    for where in (tmp_path, folder / "unet"):
        with pytest.raises(
            PriorError,
            match=r"has no model_index\.json\. Save the whole diffusers pipeline there .*, not only its UNet",
        ):
            load(where)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"model_index\.json: cannot be read \(.*\)\. Download or save it again\."),
        ("\ufffe\0", r"model_index\.json: cannot be read \("),
        ("[]", r"model_index\.json must map parts to classes \(it contains a list\)\."),
        ("{}", r"This pipeline has no scheduler, so its noise levels are unknown\. Add a scheduler to it\."),
    ],
)
def test_a_broken_index(folder: Path, text: str, message: str) -> None:
    """If this fails, an incomplete download gives a traceback from the JSON parser."""
    (folder / "model_index.json").write_text(text, encoding="utf-16" if "\0" in text else "utf-8")
    with pytest.raises(PriorError, match=message):
        load(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"scheduler": [None, None]}, r"This pipeline has no scheduler, so its noise levels are unknown"),
        ({"unet": [None, None]}, r"This pipeline has no denoiser, only scheduler\. Supported are UNet2DModel"),
        ({"unet": []}, r"This pipeline has no denoiser, only scheduler\. Supported are UNet2DModel"),
        ({"unet": None, "transformer": ["diffusers", "DiT"]}, r"A DiT in pixel space is not supported\. Supported are"),
        (
            {"unet": ["diffusers", "UNet1DModel"]},
            r"A UNet1DModel in pixel space is not supported\. Supported are UNet2D",
        ),
        (
            {"scheduler": ["diffusers", "NoSuchScheduler"]},
            r"scheduler=diffusers\.NoSuchScheduler must be a class of this diffusers",
        ),
        ({"scheduler": ["diffusers", "utils"]}, r"scheduler=diffusers\.utils must be a SchedulerMixin\. Save the"),
        ({"id2label": ["cat"]}, r"id2label=\['cat'\] must map class numbers to names \(correct it"),
        ({"id2label": {"cat": 0}}, r"id2label=\{'cat': 0\} must map class numbers to names \(correct it"),
    ],
)
def test_an_index_that_names_something_else(folder: Path, entries: dict[str, Any], message: str) -> None:
    """If this fails, a pipeline of another kind gives a traceback, or a message that does not name the part."""
    edit_json(folder / "model_index.json", **entries)
    with pytest.raises(PriorError, match=message):
        load(folder)


def test_a_missing_scheduler_file(folder: Path) -> None:
    """If this fails, an incomplete download gives a traceback from diffusers."""
    (folder / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(
        PriorError, match=r"scheduler: scheduler cannot be loaded \(.*scheduler_config\.json.*Save or download it ag"
    ):
        load(folder)


def test_an_unreadable_scheduler(folder: Path) -> None:
    """If this fails, a scheduler without noise levels is read as linear betas."""
    edit_json(folder / "model_index.json", scheduler=["diffusers", "IPNDMScheduler"])
    (folder / "scheduler" / "scheduler_config.json").write_text("{}")
    with pytest.raises(NoiseLevelError, match=r"must have betas, a flow shift or a sigma range"):
        load(folder)


@pytest.mark.parametrize("damage", ["cut", "noise", "missing", "empty"])
def test_damaged_weights(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """If this fails, a damaged download loads as random weights, or libraries log more than the one clear error."""
    whole = (folder / WEIGHTS).read_bytes()
    if damage == "missing":
        (folder / WEIGHTS).unlink()
    else:
        (folder / WEIGHTS).write_bytes({"cut": whole[: len(whole) // 2], "noise": b"\x07" * 999, "empty": b""}[damage])
    verbosity = logging.get_verbosity()
    with pytest.raises(PriorError, match=r"^[^\n]*: unet cannot be loaded [^\n]*\. Save or download it again\.$"):
        load(folder)
    assert capfd.readouterr().err == ""
    assert caplog.text == ""
    assert logging.get_verbosity() == verbosity


def test_weights_that_do_not_belong_to_the_config(folder: Path) -> None:
    """If this fails, layers that are missing from the file get random weights."""
    weights = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in weights.items() if k != "conv_in.weight"}, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(PriorError, match=r"lack 1 tensors of their UNet2DModel, such as conv_in\.weight\. Save or"):
        load(folder)
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :2].contiguous()
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(
        PriorError, match=r"unet cannot be loaded .*size mismatch for conv_in\.weight.*Save or download"
    ):
        load(folder)


def test_a_network_that_its_config_does_not_fit(folder: Path) -> None:
    """If this fails, an edited config ends in a traceback from torch at the first call."""
    edit_json(folder / "unet" / "config.json", layers_per_block=-1)
    prior = load(folder)
    message = (
        r"The UNet2DModel fails because its config does not fit .* \(RuntimeError\(.*\)\. Save or download the model ag"
    )
    with pytest.raises(PriorError, match=message):
        prior.denoise(torch.zeros(1, 3, 8, 8), prior.schedule(2)[2])


@pytest.mark.parametrize("size", ["", "x", [], [8, "x"], 0, -8, 63.5, float("nan"), 10**400, {}])
def test_a_size_that_is_none(size: Any) -> None:
    """If this fails, an edited config ends in a traceback or in empty crops."""
    assert prior_from_pipe(tiny_folder_pipeline(sample_size=[8, 16])).preferred_size == 16
    live = tiny_folder_pipeline(sample_size=size)
    with pytest.raises(PriorError, match=r"sample_size=.* must be one or two integers of at least 1 \(correct the"):
        prior_from_pipe(live)


@pytest.mark.parametrize("count", [10**9, 1e300, [2, 10**30]])
def test_too_many_layers_are_refused(folder: Path, count: Any) -> None:
    """If this fails, one number in a downloaded config takes all memory, and loading never ends."""
    edit_json(folder / "unet" / "config.json", layers_per_block=count)
    with pytest.raises(
        PriorError, match=r"config\.json: layers_per_block=.* must be at most 1000\. Save or download the prior again"
    ):
        load(folder)


def test_channels_that_do_not_fit(tmp_path: Path) -> None:
    """If this fails, a model that does not denoise its input is loaded, and fails or is wrong later."""
    tiny_folder_pipeline(in_channels=3, out_channels=4).save_pretrained(tmp_path)
    with pytest.raises(
        PriorError, match=r"A UNet2DModel with 3 channels in and 4 out is not supported: it must return as many"
    ):
        load(tmp_path)


def test_inpainting_unets_are_refused(folder: Path) -> None:
    """If this fails, users of an inpainting checkpoint do not learn which pipeline to use."""
    edit_json(folder / "unet" / "config.json", in_channels=9)
    edit_json(
        folder / "model_index.json", unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"]
    )
    (folder / WEIGHTS).unlink()  # the error must come before weights are read
    with pytest.raises(
        PriorError, match=r"9 input channels are not supported: .* for inpainting.*StableDiffusionInpaintPipeline"
    ):
        load(folder)


def test_unsupported_latent_pipelines_are_refused(folder: Path) -> None:
    """If this fails, the weights of an unsupported latent model are read before it is refused."""
    edit_json(folder / "model_index.json", unet=["diffusers", "UNet2DConditionModel"], movq=["diffusers", "VQModel2"])
    (folder / WEIGHTS).unlink()
    with pytest.raises(
        PriorError, match=r"UNet2DConditionModel over VQModel2 is not supported\. Supported are UNet2DM"
    ):
        load(folder)
    edit_json(
        folder / "model_index.json",
        unet=["diffusers", "UNet2DModel"],
        vae=[None, None],
        movq=["diffusers", "AutoencoderDC"],
    )
    with pytest.raises(PriorError, match=r"UNet2DModel over AutoencoderDC is not supported\. .*VQModel, AutoencoderT"):
        load(folder)


def test_live_pipelines_that_are_refused() -> None:
    """If this fails, a live pipeline of an unsupported kind gives a traceback or a meaningless image."""
    conditional = UNet2DConditionModel(
        block_out_channels=(4, 4),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        mid_block_type=None,
        layers_per_block=1,
        norm_num_groups=2,
        cross_attention_dim=4,
    )
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    parts = {"unet": conditional, "scheduler": DDPMScheduler(), "vae": vae}
    with pytest.raises(PriorError, match=r"pipe must be given for a UNet2DConditionModel \(it encodes the prompts\)"):
        prior_from_components(parts)
    with pytest.raises(PriorError, match=r"UNet2DConditionModel in pixel space is not supported"):
        prior_from_components(parts | {"vae": None})
    with pytest.raises(PriorError, match=r"This pipeline has no scheduler"):
        prior_from_components({"unet": tiny_unet(), "scheduler": None})
    with pytest.raises(InputError, match=r"a UNet2DModel, which is not a diffusers pipeline"):
        RePaintPipeline.from_pipe(tiny_unet())


# --- Pickles, and the Hub


@pytest.mark.usefixtures("pickles")
def test_plain_bin_weights_load(folder: Path, saved: Path) -> None:
    """If this fails, older models that have no safetensors file cannot be used."""
    torch.save(load_file(folder / WEIGHTS), (folder / WEIGHTS).with_suffix(".bin"))
    (folder / WEIGHTS).unlink()
    assert same(loaded(folder), loaded(saved))


HUB_HINT = (
    r"'nobody/no-such-model' cannot be downloaded from the Hugging Face Hub \(.*\)\. Check the name and the "
    r"network, or pass a folder\. Without a network, use .*textures"
)


@pytest.mark.parametrize("how", ["offline", "dead"])
def test_an_unreachable_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str) -> None:
    """If this fails, loading without a network hangs in retries, or ends in a traceback."""
    from huggingface_hub import constants

    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:  # a port that nothing listens on
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(PriorError, match=HUB_HINT):
        load("nobody/no-such-model", cache_dir=str(tmp_path))
    assert time.monotonic() - started < 20


def test_errors_are_one_line(folder: Path) -> None:
    """If this fails, errors of libraries reach the command line with line breaks."""
    weights = load_file(folder / WEIGHTS)
    save_file({key: value[:1].contiguous() for key, value in weights.items()}, folder / WEIGHTS)
    with pytest.raises(PriorError) as caught:
        load(folder)
    assert not re.search(r"\n|\s{2}", str(caught.value))
    assert len(str(caught.value)) < 600
