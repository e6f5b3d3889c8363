"""The bundled `emoji` prior: a small Stable Diffusion that diffusers also loads and that follows its prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open

from repaint import RePaintPipeline
from repaint.lab.quality.cases import glyph_holes
from repaint.lab.quality.prompts import MASKS, compare_prompts
from repaint.pictures.samples import glyphs
from repaint.priors.load import BUNDLED, bundled
from repaint.priors.text import StableDiffusionPrior
from repaint.sampling.method import Method
from repaint.sampling.schedule import JumpSchedule

STRAIGHT = Method.from_yaml(Path(__file__).parents[2] / "examples" / "schedules" / "predicted-20.yaml")
SQUARES = {
    "large red square": (0.86, 0.2, 0.2),
    "large green square": (0.4, 0.7, 0.2),
    "large blue square": (0.2, 0.5, 0.9),
}


@pytest.mark.parametrize("name", bundled())
def test_bundled_priors_are_small(name: str) -> None:
    """If this fails, the package is too large for a quick install."""
    assert sum(path.stat().st_size for path in (BUNDLED / name).rglob("*")) <= 20 * 2**20


def test_diffusers_loads_it_and_follows_the_prompt() -> None:
    """If this fails, it is not a Stable Diffusion folder, or its parts do not belong together."""
    pipe = StableDiffusionPipeline.from_pretrained(BUNDLED / "emoji")
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        list(SQUARES),
        num_inference_steps=20,
        guidance_scale=3.0,
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    centres = drawn[:, 24:40, 24:40].mean(axis=(1, 2))
    wanted = np.array(list(SQUARES.values()))
    distances = np.linalg.norm(centres[:, None] - wanted[None], axis=-1)
    assert list(distances.argmin(axis=1)) == [0, 1, 2]


def test_every_transformers_reads_its_text_encoder() -> None:
    """If this fails, transformers 4 and 5.0 do not find the tensors and leave the text encoder random."""
    with safe_open(BUNDLED / "emoji" / "text_encoder" / "model.safetensors", "pt") as weights:
        assert all(name.startswith("text_model.") for name in weights.keys())  # noqa: SIM118 - no mapping


def test_it_fills_glyphs_and_keeps_the_rest() -> None:
    """If this fails, kept pixels pass through the autoencoder, or pixels under the hole affect the result."""
    pipe = RePaintPipeline.from_pretrained("emoji")
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.prior, StableDiffusionPrior)
    face, hole = glyphs("held_out")["grinning face"], MASKS["mouth"]
    hidden = np.where(hole[..., None], np.uint8(0), face)
    asked = {"prompt": "kissing face", "schedule": STRAIGHT, "generator": 0, "output_type": "np", "blend_rim": 2}
    result, other = (pipe(image, hole, **asked).images[0] for image in (face, hidden))
    assert np.array_equal(result[~hole], face[~hole])
    assert np.array_equal(result, other)
    assert result[hole].std() > 10, "something is painted"


def test_a_branch_of_a_latent_run_is_resumed_with_more_results() -> None:
    """If this fails, encoding in a batch of another size changes the last bits, and resume rejects the state."""
    pipe = RePaintPipeline.from_pretrained("emoji")
    pipe.set_progress_bar_config(disable=True)
    face, hole, walk = glyphs("train")["relieved face"], MASKS["mouth"], JumpSchedule.paper(3, 1, 1)
    states = []
    asked = {"prompt": "crying face", "schedule": walk, "output_type": "np"}
    pipe(face, hole, generator=0, callback_on_step_end=lambda *step: states.append(step[3]["state"]), **asked)
    branch = states[0].branch([1, 2, 3])
    results = pipe.resume(branch, face, hole, **(asked | {"schedule": walk.capped(branch.level)})).images
    assert np.array_equal(results[:, ~hole], np.stack([face[~hole]] * 3))
    assert len({image.tobytes() for image in results}) == 3


@pytest.mark.slow
def test_the_right_name_helps_on_training_glyphs() -> None:
    """If this fails, the prompt does not affect the filled hole, or affects another image."""
    pipe = RePaintPipeline.from_pretrained("emoji")
    pipe.set_progress_bar_config(disable=True)
    holes = {"box": glyph_holes(MASKS["box"], "train", 40)}
    study = compare_prompts(pipe, holes, ["right", "empty", "wrong"], {"straight": STRAIGHT}, seeds=1, batch=40)
    for by_psnr, by_ssim in study.differences().values():
        assert by_psnr.low > 0
        assert by_ssim.low > 0
