"""examples/seam.py, on autoencoders with known seams."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_latents import AUTOENCODERS, tiny_vae
from numpy.typing import NDArray

from repaint.pictures.push_pull import smooth_fill
from repaint.priors.latent import LatentCodec


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    __import__("seam")
    return sys.modules["seam"]


def photos(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(64, 192, (count, 32, 40, 3), dtype=np.uint8)


def box() -> NDArray[np.bool_]:
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:20, 12:28] = True
    return hole


def blocks(error: float = 0.0, reach: int = 0) -> LatentCodec:
    """A lossless autoencoder with cells of 2 x 2 pixels.

    Args:
        error: added to all decoded values.
        reach: the encoder blurs over this many pixels on each side.
    """
    codec = LatentCodec(tiny_vae("AutoencoderKL"))

    def encode(image: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        filled = smooth_fill(image, known)
        blurred = F.avg_pool2d(F.pad(filled, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)
        return F.pixel_unshuffle(blurred, 2), F.max_pool2d((~known).float(), 2) == 0

    codec.encode, codec.decode = encode, lambda x: F.pixel_shuffle(x, 2) + error  # type: ignore[method-assign]
    return codec


def test_a_perfect_autoencoder_leaves_no_seam(script: ModuleType) -> None:
    """If this fails, the measurement itself adds a seam."""
    truth, found = script.seams(blocks(), photos(), box())
    assert [(seam.margin, seam.feather) for seam in found] == [(m, f) for m in (0, 1, 2) for f in (0, 2, 4, 8)]
    assert {(seam.contrast, seam.psnr) for seam in found} == {(truth, np.inf)}
    # Standard error 2 %: 96 x 3 independent differences in each of three pictures, with a relative spread of 0.7.
    assert truth == pytest.approx(1, abs=0.1)
    assert script.encoding_error(blocks(), photos(), box())[1:] == [0] * 6


def test_an_offset_is_a_seam_that_a_feather_removes(script: ModuleType) -> None:
    """If this fails, the measurement misses a seam, or its removal."""
    truth, found = script.seams(blocks(error=0.5), photos(), box(), margins=[1], feathers=[0, 4])
    plain, met = found
    assert plain.contrast > 1.3 * truth
    assert met.contrast == pytest.approx(truth, abs=0.1)
    # 0.5 is a quarter of the range: 12.04 dB up to rounding. The harmonic offset leaves d/5 of it at distance d.
    assert plain.psnr == pytest.approx(10 * np.log10(16), abs=0.05)
    assert met.psnr > plain.psnr + 3


def test_a_blurring_encoder_is_wrong_within_its_reach(script: ModuleType) -> None:
    """If this fails, the error is attributed to wrong cells, and suggests a wrong margin."""
    errors = script.encoding_error(blocks(reach=2), photos(), box())
    assert errors[0] > errors[1] > 0.1
    assert errors[2:] == pytest.approx([0] * 5, abs=1e-6)  # float32 averages


def test_a_margin_as_wide_as_the_reach_replaces_all_wrong_latents(script: ModuleType) -> None:
    """If this fails, a margin does not replace the latents next to the hole."""
    codec, exact = blocks(reach=2), blocks()
    for autoencoder in (codec, exact):
        autoencoder.decode = lambda x: F.avg_pool2d(F.pad(F.pixel_shuffle(x, 2), (1,) * 4), 3, stride=1)  # type: ignore[method-assign]
    _, (none, one, two) = script.seams(codec, photos(), box(), [0, 1, 2], [0])
    _, (best,) = script.seams(exact, photos(), box(), [0], [0])
    assert none.psnr < one.psnr
    assert (one.psnr, one.contrast) == (two.psnr, two.contrast)
    assert best.psnr > one.psnr  # without blur in the encoder


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_it_runs_on_every_family(script: ModuleType, kind: str) -> None:
    """If this fails, one family of autoencoders cannot be measured."""
    codec = LatentCodec(tiny_vae(kind))
    truth, found = script.seams(codec, photos(18), box(), margins=[0, 1], feathers=[0, 4])
    assert len(found) == 4
    assert np.isfinite([value for seam in found for value in (seam.contrast, seam.psnr)]).all()
    assert found[0].contrast > found[1].contrast > 0, "a feather reduces the seam of a random decoder"
    assert truth == pytest.approx(1, abs=0.05)
    assert len(script.encoding_error(codec, photos(), box())) == 7
