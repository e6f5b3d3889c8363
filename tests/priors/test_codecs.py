"""The maps between images and latents agree with those inside the pipelines."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from helpers.pipeline_cases import CASES
from helpers.tiny_multimodal import square
from PIL import Image

from repaint import RePaintPipeline
from repaint.priors.codecs import codec_of

pytestmark = pytest.mark.skipif(not hasattr(diffusers, "QwenImage21Pipeline"), reason="diffusers before 0.42")
ALL = torch.ones(1, 1, 64, 64, dtype=torch.bool)


def tensor(image: Image.Image) -> torch.Tensor:
    values = np.asarray(image, np.float32) / 127.5 - 1
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def made(name: str) -> Any:
    return CASES[name].made()[0]


def test_latents_of_bria_fibo_2_are_those_of_its_pipeline() -> None:
    """If this fails, known pixels get latents that the model of Bria Fibo 2 does not know."""
    pipe = made("BriaFibo2Pipeline")
    with torch.no_grad():
        (own,) = pipe.prepare_image_latents([tensor(square())], 1, "cpu", torch.float32)
    latents, cells = codec_of(pipe).encode(tensor(square()), ALL)
    assert latents.shape == own.shape
    assert torch.allclose(latents, own, atol=1e-5)  # sums in another order
    assert cells.shape[-2:] == latents.shape[-2:]


def test_images_of_qwen_image_2_1_are_opaque() -> None:
    """If this fails, known pixels of Qwen-Image 2.1 get latents that its pipeline would not give an opaque image."""
    pipe = made("QwenImage21Pipeline")
    codec = codec_of(pipe)
    assert codec.channels == 3
    with torch.no_grad():
        own = pipe._encode_vae_image(tensor(square().convert("RGBA")).unsqueeze(2), torch.Generator())
    assert torch.allclose(codec.encode(tensor(square()), ALL)[0], own.squeeze(2), atol=1e-5)  # sums in another order


def test_transparent_pixels_of_qwen_image_2_1_lie_on_white() -> None:
    """If this fails, an image of Qwen-Image 2.1 shows colours under transparent pixels, which are arbitrary."""
    pipe = made("QwenImage21Pipeline")
    codec = codec_of(pipe)
    latents = 3 * torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (own,) = pipe.vae.decode((latents / codec._gain + codec._mean).unsqueeze(2)).sample[:, :, 0]
        decoded = codec.decode(latents)[0]
    values = (own.permute(1, 2, 0) * 127.5 + 127.5).clamp(0, 255).round().byte().numpy()
    white = Image.new("RGBA", (64, 64), "white")
    white.alpha_composite(Image.fromarray(values, "RGBA"))
    assert 0 < values[..., 3].mean() < 255
    expected = tensor(white.convert("RGB"))[0]
    assert float((decoded.clamp(-1, 1) - expected).abs().max()) < 3 / 127.5  # 8 bits, rounded three times


@pytest.mark.parametrize("name", ["QwenImage21Pipeline", "BriaFibo2Pipeline", "ZImageOmniPipeline"])
def test_images_of_any_size_are_filled(name: str) -> None:
    """If this fails, an image whose sides the model does not take fails, or its known pixels change."""
    pipe, given = CASES[name].made()
    names = {"image": "reference_image", "mask": "reference_mask"}
    texts = {"prompt": "a", "negative_prompt": "b"}
    given = {names.get(key, key): texts.get(key, value) for key, value in given.items()}
    if "prompt" not in given:
        given |= {key: value[:1] for key, value in given.items() if "prompt" in key}
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (50, 83, 3), dtype=np.uint8)
    mask = np.zeros((50, 83), bool)
    mask[20:30, 40:60] = True
    result = RePaintPipeline.from_pipe(pipe)(
        image, mask, schedule="turbo", crop=None, generator=0, output_type="np", **given
    )
    assert np.array_equal(result.images[0][~mask], image[~mask])
    assert not np.array_equal(result.images[0][mask], image[mask])
