"""Arguments and kinds of files that `from_pretrained` takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from helpers.original_layout import four_level_sd, save_original
from helpers.small_inputs import hole
from helpers.tiny_latents import SD_BETAS, tiny_sd, tiny_sdxl
from helpers.tiny_pipelines import sd_like
from PIL import Image

from repaint.errors import InputError, PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.distilled import usual_schedule
from repaint.priors.driven import DrivenPrior
from repaint.priors.load import default_schedule, load
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(4, 2, 2)


def photo(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (18, 22, 3), dtype=np.uint8)


def quiet(pipe: RePaintPipeline) -> RePaintPipeline:
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"dtype": torch.float16}, r"dtype=torch\.float16 is not an argument of from_pretrained\. Pass torch_dtype=\."),
        ({"device_map": "auto"}, r"device_map='auto' is not an argument of from_pretrained\. Call \.to\(device\)"),
        ({"revison": "main"}, r"revison='main' is not an argument of from_pretrained\. Did you mean 'revision'\?"),
        ({"quantization_config": 1}, r"Load the pipeline with diffusers and pass it to RePaintPipeline\.from_pipe"),
        ({"torch_dtype": "float16"}, r"torch_dtype='float16' must be a floating type .* Did you mean torch\.float16\?"),
        ({"torch_dtype": torch.int8}, r"torch_dtype=torch\.int8 must be a floating type of PyTorch"),
        ({"config": "x"}, r"config='x' must be left out: only single files need it"),
    ],
)
def test_unknown_arguments_are_named(argument: dict[str, Any], said: str) -> None:
    """If this fails, an argument is dropped, or gives a traceback of diffusers."""
    with pytest.raises(InputError, match=said):
        RePaintPipeline.from_pretrained("textures", **argument)


def test_a_folder_with_a_controlnet_is_driven(tmp_path: Path) -> None:
    """If this fails, a folder loses its ControlNet, or loads other weights than diffusers."""
    live = sd_like(tmp_path / "tokens", "StableDiffusionControlNetPipeline")
    live.save_pretrained(tmp_path / "saved")
    loaded = quiet(RePaintPipeline.from_pretrained(tmp_path / "saved"))
    assert type(loaded.prior) is DrivenPrior
    control = Image.fromarray(photo(1))
    asked: dict[str, Any] = {"prompt": "a", "control_image": control, "schedule": WALK, "generator": 0}
    expected = quiet(RePaintPipeline.from_pipe(live))(photo(), hole(), output_type="np", **asked).images
    assert np.array_equal(loaded(photo(), hole(), output_type="np", **asked).images, expected)


def test_a_folder_of_one_variant(tmp_path: Path) -> None:
    """If this fails, a folder with only fp16 weights cannot be loaded without naming them."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved", variant="fp16")
    found, named = load(tmp_path / "saved"), load(tmp_path / "saved", variant="fp16")
    for one, other in zip(found.network.parameters(), named.network.parameters(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(one, other)


def test_a_single_file(tmp_path: Path) -> None:
    """If this fails, a checkpoint in the original layout is refused, or gets other weights."""
    live = four_level_sd(tmp_path / "tokens")
    live.save_pretrained(tmp_path / "config")
    save_original(live, tmp_path / "model.safetensors")
    for weights in (tmp_path / "config").rglob("*.safetensors"):
        weights.unlink()
    prior = load(tmp_path / "model.safetensors", config=tmp_path / "config")
    for part in ("unet", "vae", "text_encoder"):
        expected = getattr(live, part).state_dict()
        found = getattr(prior.pipeline, part).state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(PriorError, match=r"must be a folder whose model_index\.json names a diffusers pipeline"):
        load(tmp_path / "model.safetensors", config=tmp_path)


def test_wrong_single_files(tmp_path: Path) -> None:
    """If this fails, a file of another kind gives a traceback, or is taken for a Stable Diffusion 1."""
    tiny_sd(tmp_path / "tokens").save_pretrained(tmp_path / "saved")
    part = tmp_path / "saved" / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(PriorError, match=r"not a checkpoint of Stable Diffusion 1, 2, XL, 3 or Flux"):
        load(part)
    shutil.copy(tmp_path / "saved" / "model_index.json", tmp_path / "broken.safetensors")
    with pytest.raises(PriorError, match=r"broken\.safetensors: cannot be read"):
        load(tmp_path / "broken.safetensors")


def test_lora_weights_that_fit_and_others(tmp_path: Path) -> None:
    """If this fails, LoRA weights have no effect, or those of another model are dropped without a word."""
    pytest.importorskip("peft")
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    def weights(pipe: Any, path: Path) -> Path:
        pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
        type(pipe).save_lora_weights(path, unet_lora_layers=get_peft_model_state_dict(pipe.unet))
        return path / "pytorch_lora_weights.safetensors"

    right = weights(tiny_sd(tmp_path / "tokens"), tmp_path / "right")
    other = weights(tiny_sdxl(tmp_path / "tokens"), tmp_path / "other")
    pipe = quiet(RePaintPipeline.from_pipe(tiny_sd(tmp_path / "tokens")))
    asked: dict[str, Any] = {"prompt": "a", "schedule": WALK, "generator": 0, "output_type": "np"}
    before = pipe(photo(), hole(), **asked).images
    with pytest.raises(PriorError, match=r"cannot be loaded into a StableDiffusionPipeline|holds no weights for a"):
        pipe.load_lora_weights(other)
    pipe = quiet(RePaintPipeline.from_pipe(tiny_sd(tmp_path / "tokens")))
    pipe.load_lora_weights(right)
    assert not np.array_equal(pipe(photo(), hole(), **asked).images, before)
    with pytest.raises(PriorError, match=r"A PixelPrior takes no LoRA weights"):
        RePaintPipeline.from_pretrained("textures").load_lora_weights(right)


# --- Distilled models


@pytest.mark.parametrize("name", ["LCMScheduler", "TCDScheduler"])
def test_distilled_models_are_recognised(tmp_path: Path, name: str) -> None:
    """If this fails, an LCM runs with a schedule for models that predict means."""
    live = tiny_sd(tmp_path / "tokens")
    live.scheduler = getattr(diffusers, name)(**SD_BETAS)
    live.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "card.json").write_text('{"largest_hole": 24}')
    assert default_schedule(tmp_path / "saved") == "turbo"
    assert load(tmp_path / "saved").default_schedule == "turbo"
    assert RePaintPipeline.from_pipe(live).prior.default_schedule == "turbo"
    assert DrivenPrior(live).default_schedule == "turbo"


def test_distilled_flow_models_are_recognised() -> None:
    """If this fails, HiDream Fast, whose scheduler is that of LCM for flows, is guided and run for its mean."""
    assert usual_schedule(diffusers.FlowMatchLCMScheduler(shift=3.0)) == "turbo"


@pytest.mark.parametrize("wrap", [RePaintPipeline.from_pipe, lambda pipe: RePaintPipeline(DrivenPrior(pipe))])
def test_distilled_models_are_not_guided(tmp_path: Path, wrap: Any) -> None:
    """If this fails, the turbo preset guides with the scale of ordinary models, at twice the cost."""
    live = tiny_sd(tmp_path)
    pipe, sizes = quiet(wrap(live)), []
    hook = live.unet.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    asked: dict[str, Any] = {"prompt": "a", "generator": 0, "crop": "off"}
    size = np.zeros((16, 24), np.uint8)
    size[4:9, 4:9] = 255
    picture = photo()[:16].repeat(2, axis=1)[:, :24]
    assert pipe(picture, size, schedule="turbo", **asked).model_calls == 6
    assert sizes == [1] * 6
    with pytest.warns(UserWarning, match=r"guidance_scale=5 harms models that are distilled to few steps"):
        pipe(picture, size, schedule="turbo", guidance_scale=5.0, **asked)
    assert sizes[6:] == [2] * 6
    pipe(picture, size, schedule=WALK, **asked)
    assert sizes[-1] == 2
    hook.remove()
