"""Every pipeline class of diffusers is taken or refused, and docs/pipelines.md says which."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from helpers.pipeline_cases import CASES, Case, folder
from helpers.pipeline_run import conditions_of, run
from helpers.pipeline_table import pipelines, rows
from helpers.tiny_latents import TEXT
from helpers.tiny_multimodal import square
from helpers.tiny_pipelines import sd_like
from PIL.Image import fromarray

from repaint import RePaintPipeline
from repaint.errors import PriorError
from repaint.priors.driven import DrivenPrior
from repaint.priors.families import PLAIN, family_of
from repaint.priors.load import prior_from_pipe
from repaint.sampling.prior import Conditions

PAGE = Path(__file__).parents[2] / "docs" / "pipelines.md"


EVERY_TIME = {  # one of each kind; the others are slow together
    "ZImagePipeline",
    "QwenImagePipeline",
    "Flux2Pipeline",
    "SanaPipeline",
    "HiDreamImagePipeline",
    "CogView4Pipeline",
    "PixArtAlphaPipeline",
    "Kandinsky3Pipeline",
    "IFPipeline",
    "LatentConsistencyModelPipeline",
    "StableDiffusion3ControlNetPipeline",
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in EVERY_TIME else pytest.mark.slow) for name in CASES if name in pipelines()],
)
def test_driven_predictions_are_the_pipeline_s_own(name: str) -> None:
    """If this fails, a driven pipeline predicts something else than in diffusers, drops a prompt or an image, or
    docs/pipelines.md is wrong."""
    found = run(name)
    assert found.faults() == []
    assert ("guided merge" in written()[name]) == found.guided


def test_an_encoded_control_image_does_not_depend_on_the_batch() -> None:
    """If this fails, a pipeline that draws from its autoencoder gives an image other results alone than in a batch."""
    pipe, rng = RePaintPipeline.from_pipe(CASES["StableDiffusion3ControlNetPipeline"].build()), np.random.default_rng(0)
    pipe.set_progress_bar_config(disable=True)
    images = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    controls = [fromarray(each) for each in rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)]
    hole = np.pad(np.ones((8, 8), bool), 4)
    options: dict[str, Any] = {"prompt": "a", "schedule": "fast", "output_type": "np"}
    both = pipe(list(images), hole, control_image=controls, generator=[0, 1], **options).images
    for i in range(2):
        alone = pipe(images[i], hole, control_image=controls[i], generator=i, **options).images[0]
        assert np.abs(alone.astype(int) - both[i]).max() <= 1  # batched products round differently


OWN_TYPES = {  # small copies that do not run in bfloat16 by themselves either: with embeddings or adapters in float32
    "KandinskyPipeline",
    "Kandinsky5T2IPipeline",
    "Kandinsky5I2IPipeline",
    "LongCatImagePipeline",
    "BriaFiboPipeline",
    "StableDiffusion3Pipeline",
    "StableDiffusion3ControlNetPipeline",
    "LDMTextToImagePipeline",
}
HALF_EVERY_TIME = ("ZImagePipeline", "SanaPipeline", "QwenImagePipeline")


def in_half(value: Any) -> Any:
    """Return floating tensors in bfloat16, also in lists, and all else as it is."""
    if isinstance(value, list):
        return [in_half(each) for each in value]
    return value.bfloat16() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in HALF_EVERY_TIME else pytest.mark.slow)
        for name in CASES
        if name in pipelines() and name not in OWN_TYPES
    ],
)
def test_driven_predictions_in_half_precision(name: str) -> None:
    """If this fails, a pipeline whose weights are bfloat16 fails when it is driven, or predicts something else."""
    case = CASES[name]
    pipe, given = case.made()
    pipe.to(torch.bfloat16)
    found = run(name, Case(lambda: pipe, {key: in_half(value) for key, value in given.items()}, case.size))
    assert (found.difference, found.ignored) == (0, [])
    assert ("guided merge" in written()[name]) == found.guided


DROPPED = {
    "StableDiffusionControlNetPipeline": "control_image",
    "StableDiffusionXLAdapterPipeline": "control_image",
    "StableDiffusionPipeline": "ip_adapter_image",
    "KandinskyV22Pipeline": "image_embeds",
    "FluxKontextPipeline": "reference_image",
    "ZImagePipeline": "prompt_embeds",
}


@pytest.mark.parametrize("name", DROPPED)
def test_dropped_inputs_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the test above passes for a driver that drops an image or a prompt."""
    original, kept = DrivenPrior._arguments, []

    def dropping(self: DrivenPrior) -> dict[str, Any]:
        arguments = original(self)
        kept.append(arguments[self._names[DROPPED[name]]])
        return arguments | {self._names[DROPPED[name]]: kept[0]}

    monkeypatch.setattr(DrivenPrior, "_arguments", dropping)
    found = run(name)
    assert found.ignored == [DROPPED[name]]
    assert found.difference == 0


def test_a_control_without_effect_is_found() -> None:
    """If this fails, the test above compares a ControlNet whose layers are zero, so that it could be dropped."""

    def build() -> Any:
        pipe = sd_like(folder(), "StableDiffusionControlNetPipeline")
        pipe.controlnet = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(8, 8))
        return pipe

    name = "StableDiffusionControlNetPipeline"
    assert run(name, Case(build, CASES[name].made()[1])).ignored == ["control_image"]


@pytest.mark.parametrize("drawn", [True, False], ids=["drawn by the pipeline", "given"])
def test_images_of_a_caption_s_texts(drawn: bool) -> None:
    """If this fails, Bria Fibo 2 gets no images of its caption's texts, or predicts something else."""
    case = CASES["BriaFibo2Pipeline"]
    pipe, _ = case.made()
    caption = {"short_description": "a sign", "text_render": [{"text": "snow"}]}
    prompt = json.dumps({"edit_instruction": "add it", "structured_caption": caption})
    given: dict[str, Any] = {"prompt": prompt, "image": square(), "guidance_scale": 4.0}
    if not drawn:
        given["text_images"] = [square().rotate(90)]
    found = run("BriaFibo2Pipeline", Case(lambda: pipe, given, case.size))
    assert found.faults() == []


def test_images_are_encoded_without_the_global_generator() -> None:
    """If this fails, a seed does not fix the result of a pipeline that samples the latents of its control image."""
    case = CASES["CogView4ControlPipeline"]
    pipe, given = case.made()
    prior = DrivenPrior(pipe)
    count, conditions = conditions_of(prior, given, case.size)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        bound = prior.conditioned(count, conditions)
        level = bound.schedule(5)[3]
        cells = (count, prior.codec.latent_channels, *(side // prior.codec.factor for side in case.size))
        found.append(bound.denoise(torch.zeros(cells), level).eps_hat)
        bound.release()
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*found)


def written() -> dict[str, str]:
    """Return the rows of the page, by class."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return {line.split("|")[1].strip(): line for line in lines}


def test_the_page_has_a_row_for_each_class() -> None:
    """If this fails, diffusers has a new pipeline, or a class is taken or refused otherwise than documented.

    Write the page again: PYTHONPATH=tests python -m helpers.pipeline_table > docs/pipelines.md
    """
    page = written()
    for name, line in rows().items():
        assert page[name].replace(", guided merge", "") == line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("UnCLIPPipeline", "several stages, each with its own diffusion model"),
        ("StableCascadeCombinedPipeline", "several stages, each with its own diffusion model"),
        ("WuerstchenCombinedPipeline", "several stages, each with its own diffusion model"),
        ("VersatileDiffusionTextToImagePipeline", "Use StableDiffusionPipeline"),
        ("KandinskyV22CombinedPipeline", "Wrap the decoder, KandinskyV22Pipeline, and pass image_embeds"),
        ("KandinskyV22PriorPipeline", "makes embeddings and no image"),
        ("FluxFillPipeline", "a model for inpainting itself"),
        ("ChromaImg2ImgPipeline", "AutoPipelineForText2Image.from_pipe"),
        ("AmusedPipeline", "discrete tokens"),
        ("WanPipeline", "makes videos"),
        ("Cosmos2TextToImagePipeline", "noise levels of its own"),
        ("HunyuanImagePipeline", "guides each prediction by the number of its step"),
        ("Ideogram4Pipeline", "guides each prediction by the number of its step"),
        ("GlmImagePipeline", "a language model draws without seeing yours"),
        ("BlipDiffusionPipeline", "Use a StableDiffusionPipeline with an IP-Adapter"),
        ("BlipDiffusionControlNetPipeline", "Use a StableDiffusionPipeline with an IP-Adapter"),
        ("DreamLitePipeline", "one prompt at a time"),
        ("LongCatImageEditPipeline", "in the shape of its reference image"),
        ("StableDiffusionPanoramaPipeline", "Wrap the ordinary pipeline of the model"),
    ],
)
def test_refusals_say_what_to_use_instead(name: str, said: str) -> None:
    """If this fails, a pipeline is refused with advice that does not help, or is taken."""
    if name not in pipelines():
        pytest.skip(f"diffusers has no {name}")
    with pytest.raises(PriorError, match=said) as raised:
        family_of({}, None, pipelines()[name])
    assert str(raised.value).startswith(f"A {name} is not supported: it ")


VARIANTS = {
    "sd1": ("StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"),
    "sdxl": ("StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline"),
    "sd3": ("StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"),
    "flux": ("FluxImg2ImgPipeline", "FluxInpaintPipeline"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_the_same_weights_are_the_same_prior(tmp_path: Path, name: str) -> None:
    """If this fails, an image-to-image or inpainting pipeline is refused, or predicts something else."""
    pipe = TEXT[name](tmp_path)
    found = []
    for cls in (type(pipe), *(getattr(diffusers, variant) for variant in VARIANTS[name])):
        takes = inspect.signature(cls.__init__).parameters
        options = {"requires_safety_checker": False} if "requires_safety_checker" in takes else {}
        prior = prior_from_pipe(cls(**{key: part for key, part in pipe.components.items() if key in takes}, **options))
        assert type(prior) is PLAIN[cls.__name__]
        bound = prior.conditioned(1, Conditions(prompt="a", size=(16, 24)))
        found.append(bound.denoise(torch.ones(1, 4, 8, 12), bound.schedule(5)[3]).eps_hat)
    assert all(torch.equal(each, found[0]) for each in found)


@pytest.mark.parametrize(
    "name",
    [
        "QwenImagePipeline",
        "QwenImage21Pipeline",
        "Flux2Pipeline",
        "BriaFibo2Pipeline",
        "SanaPipeline",
        "KandinskyV22Pipeline",
    ],
)
def test_nothing_under_the_hole_reaches_its_surroundings(name: str) -> None:
    """If this fails, an autoencoder of a driven pipeline mixes unknown pixels into known cells, or cannot decode."""
    pipe, given = CASES[name].made()
    prior = DrivenPrior(pipe)
    conditions_of(prior, given, CASES[name].size)
    height, width = CASES[name].size
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.uniform(-1, 1, (1, 3, height, width)).astype(np.float32))
    known = torch.ones(1, 1, height, width, dtype=torch.bool)
    known[..., 8:20, 16:40] = False
    other = torch.where(known, image, -image)
    (x0, cells), (x0_other, _) = prior.encode(image, known), prior.encode(other, known)
    assert torch.equal(x0, x0_other)
    assert cells.shape == (1, 1, *x0.shape[-2:])
    assert not cells.all()
    assert prior.decode(x0).shape == image.shape
