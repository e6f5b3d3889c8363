"""Class-conditional diffusion transformers against diffusers' own pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiTPipeline
from helpers.small_inputs import edit_json, hole, photo, quiet
from helpers.tiny_latents import tiny_dit

from repaint.errors import PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.dit import DiTPrior
from repaint.priors.load import load, prior_from_pipe
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions
from repaint.sampling.schedule import JumpSchedule

WALK = JumpSchedule.paper(4, 2, 2)
SIZE = 16, 16
NAMES = {0: "tench, Tinca tinca", 1: "crane", 2: "crane, hoist", 3: "cat"}


def dit(names: dict[int, str] | None = None, **config: Any) -> DiTPrior:
    prior = prior_from_pipe(tiny_dit(**config), names)
    assert isinstance(prior, DiTPrior)
    return prior


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved pipeline whose index names the classes, as that of facebook/DiT-XL-2-256 does."""
    tiny_dit().save_pretrained(tmp_path / "dit")
    edit_json(tmp_path / "dit" / "model_index.json", id2label={str(number): name for number, name in NAMES.items()})
    return tmp_path / "dit"


# --- The numbers of diffusers


@pytest.mark.parametrize("scale", [1.0, 4.0, 7.5])
@pytest.mark.parametrize("learned", [True, False])
def test_predictions_are_those_of_diffusers(scale: float, learned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, class, guidance or the split of the learned variance differs from the published DiT."""
    pipe = tiny_dit(out_channels=8 if learned else 4)
    pipe.set_progress_bar_config(disable=True)
    seen: list[tuple[torch.Tensor, float, torch.Tensor]] = []
    step = pipe.scheduler.step

    def note(output: torch.Tensor, t: torch.Tensor, x: torch.Tensor) -> Any:
        seen.append((output[:2], float(t), x[:2]))
        return step(output, t, x)

    monkeypatch.setattr(pipe.scheduler, "step", note)
    pipe([3, 207], guidance_scale=scale, num_inference_steps=3, generator=torch.Generator().manual_seed(0))
    prior = prior_from_pipe(pipe).conditioned(2, Conditions(class_labels=[3, 207], guidance_scale=scale))
    assert len(seen) == 3
    for expected, t, x in seen:
        abar = float(pipe.scheduler.alphas_cumprod[int(t)])
        with torch.no_grad():
            found = prior.denoise(x, Level(abar**0.5, (1 - abar) ** 0.5, t))
        assert expected.std() > 0.1
        assert torch.allclose(found.eps_hat, expected, atol=1e-5)  # float32, of order 1
        assert (found.variance is not None) == learned


def test_the_usual_guidance_is_that_of_diffusers() -> None:
    """If this fails, a class without guidance_scale is not guided as in diffusers, or an image without a class is."""
    prior, x, level = dit(), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), Level(0.6, 0.8, 500.0)

    def eps(**asked: Any) -> torch.Tensor:
        with torch.no_grad():
            return prior.conditioned(1, Conditions(**asked)).denoise(x, level).eps_hat

    assert torch.equal(eps(class_labels=3), eps(class_labels=3, guidance_scale=4.0))
    assert not torch.allclose(eps(class_labels=3), eps(class_labels=3, guidance_scale=1.0))
    assert torch.equal(eps(), eps(class_labels=1000, guidance_scale=1.0))
    assert not torch.allclose(eps(), eps(class_labels=3, guidance_scale=1.0))
    assert torch.allclose(eps(), eps(class_labels=3, guidance_scale=0.0), atol=1e-6)


def test_guidance_of_0_ignores_the_class() -> None:
    """If this fails, kept pixels or the learned variance follow a class that a scale of 0 leaves out."""
    prior = prior_from_pipe(tiny_dit())
    x, level = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), prior.schedule(5)[3]

    def found(**given: Any) -> Prediction:
        return prior.conditioned(1, Conditions(**given)).denoise(x, level)

    one, other = (found(class_labels=label, guidance_scale=0.0) for label in (3, 207))
    assert torch.equal(one.known_eps, other.known_eps)
    assert one.variance is not None
    assert other.variance is not None
    assert torch.equal(one.variance, other.variance)
    assert found(class_labels=3, guidance_scale=0.5).unguided is None
    assert found(class_labels=3, guidance_scale=1.5).unguided is not None


# --- Whole runs


@pytest.mark.parametrize("older_name", [False, True])
def test_folders_load_and_keep_what_is_kept(folder: Path, older_name: bool) -> None:
    """If this fails, saved DiT pipelines cannot be used, including the published ones with the older class name."""
    if older_name:
        edit_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
        edit_json(folder / "transformer" / "config.json", _class_name="Transformer2DModel")
    prior = load(folder)
    assert isinstance(prior, DiTPrior)
    assert (prior.channels, prior.multiple_of, prior.num_classes, prior.null_class) == (3, 16, 1001, 1000)
    assert prior.class_names == NAMES
    image, mask = photo(size=SIZE), hole(SIZE)
    out = quiet(prior)(image, mask, class_labels="cat", schedule=WALK, generator=0)
    result = np.asarray(out.images[0])
    assert np.array_equal(result[mask == 0], image[mask == 0])
    assert (result[mask > 0] != image[mask > 0]).mean() > 0.9
    again = np.asarray(quiet(dit())(image, mask, class_labels=3, schedule=WALK, generator=0).images[0])
    assert np.abs(result.astype(int) - again).max() <= 1, "other weights than those that were saved"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_dtypes(folder: Path, dtype: torch.dtype) -> None:
    """If this fails, a DiT in another precision mixes its types, or changes kept pixels."""
    prior, image, mask = load(folder, torch_dtype=dtype), photo(size=SIZE), hole(SIZE)
    result = np.asarray(quiet(prior)(image, mask, class_labels=3, schedule=WALK, generator=0).images[0])
    assert np.array_equal(result[mask == 0], image[mask == 0])


def test_nothing_leaks_from_under_the_hole() -> None:
    """If this fails, pixels under the hole affect the result, and all scores are wrong."""
    image, mask, pipe = photo(size=SIZE), hole(SIZE), quiet(dit())
    other = np.where(mask[..., None] > 0, photo(7, SIZE), image)
    for output in ("np", "latent"):
        a, b = (
            pipe(each, mask, class_labels=3, schedule=WALK, generator=0, output_type=output).images
            for each in (image, other)
        )
        assert np.array_equal(np.asarray(a[0]), np.asarray(b[0]))


def test_a_batch_of_classes() -> None:
    """If this fails, images of a batch get each other's class."""
    pipe, mask, images = quiet(dit(NAMES)), hole(SIZE), [photo(1, SIZE), photo(2, SIZE)]
    both = pipe(images, mask, class_labels=["cat", 207], schedule=WALK, generator=[5, 6], output_type="latent").images
    for i, label in enumerate((3, 207)):
        alone = pipe(images[i], mask, class_labels=label, schedule=WALK, generator=5 + i, output_type="latent").images
        # latents of these random weights reach 700: a few float32 roundings of the largest
        assert torch.allclose(both[i], alone[0], atol=float(1e-6 * alone[0].abs().max()))


# --- One size


def test_smaller_images_are_padded() -> None:
    """If this fails, an image smaller than the model's is refused, resized, or shows its padding."""
    image, mask = photo(size=(13, 16)), hole((13, 16))
    result = np.asarray(quiet(dit())(image, mask, class_labels=3, schedule=WALK, generator=0).images[0])
    assert result.shape == image.shape
    assert np.array_equal(result[mask == 0], image[mask == 0])


@pytest.mark.parametrize(("size", "padded"), [((17, 16), "32 x 16"), ((32, 32), "32 x 32")])
def test_larger_images_are_refused(size: tuple[int, int], padded: str) -> None:
    """If this fails, DiT runs at positions that it was not trained for."""
    with pytest.raises(
        PriorError, match=rf"padded image has {padded} pixels, .* supports only 16 x 16\. Leave crop at 'auto'"
    ):
        quiet(dit())(photo(size=size), hole(size), class_labels=3, schedule=WALK, crop="off")


# --- Classes by name


def test_names_of_a_live_pipeline(folder: Path) -> None:
    """If this fails, a pipeline that diffusers loaded loses its class names."""
    pipe = RePaintPipeline.from_pipe(DiTPipeline.from_pretrained(folder))
    assert isinstance(pipe.prior, DiTPrior)
    assert pipe.prior._label_number("Tinca tinca") == pipe.prior._label_number("tench") == 0
    assert RePaintPipeline.from_pipe(tiny_dit()).prior.class_names == {}  # type: ignore[attr-defined]


def test_names_of_classes() -> None:
    """If this fails, a name of ImageNet is unknown, or an ambiguous name silently selects one class."""
    prior = dit(NAMES)
    for name, number in (("tench", 0), ("tench, Tinca tinca", 0), ("hoist", 2), ("crane, hoist", 2), ("cat", 3)):
        assert prior._label_number(name) == number
    with pytest.raises(PriorError, match=r"'crane' names several classes \(1, 2\)\. Pass a number\."):
        prior._label_number("crane")
    with pytest.raises(PriorError, match=r"'tensh' must be one of tench, Tinca tinca, crane, .*Did you mean 'tench'"):
        prior._label_number("tensh")
    with pytest.raises(PriorError, match=r"'x' must be one of 0, 1, .*19, and 980 more\."):
        dit({number: str(number) for number in range(1000)})._label_number("x")
    with pytest.raises(PriorError, match=r"1001 must be a class from 0 to 1000\."):
        prior._label_number(1001)


# --- What is refused


def test_a_pixart_under_the_older_name(folder: Path) -> None:
    """If this fails, another transformer that was saved under the same older name is run as a DiT."""
    edit_json(folder / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    edit_json(folder / "transformer" / "config.json", norm_type="ada_norm_single")
    for weights in folder.rglob("*.safetensors"):
        weights.unlink()  # gigabytes, in real ones: not to be read to say no
    with pytest.raises(
        PriorError, match=r"Transformer2DModel over AutoencoderKL is not supported\. .*DiTTransformer2DMo"
    ):
        load(folder)


def test_latents_that_do_not_fit() -> None:
    """If this fails, a transformer over other latents fails with a traceback, or runs on part of the channels."""
    with pytest.raises(
        PriorError, match=r"A DiTTransformer2DModel with 3 channels in does not fit a AutoencoderKL with 4"
    ):
        dit(in_channels=3, out_channels=6)
    with pytest.raises(PriorError, match=r"A DiTTransformer2DModel with 4 channels in and 5 out is not supported"):
        dit(out_channels=5)
