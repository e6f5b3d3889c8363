"""The instrument that measures an autoencoder's seam, on autoencoders whose seam is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_latents import AUTOENCODERS, tiny_vae
from numpy.typing import NDArray

from repaint.lab.quality.seam import encoding_error, seams
from repaint.pictures.push_pull import smooth_fill
from repaint.priors.latent import LatentCodec


def photos(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(64, 192, (count, 32, 40, 3), dtype=np.uint8)


def box() -> NDArray[np.bool_]:
    hole = np.zeros((32, 40), dtype=bool)
    hole[8:20, 12:28] = True
    return hole


def blocks(error: float = 0.0, reach: int = 0) -> LatentCodec:
    """An autoencoder whose cells are 2 x 2 pixels, exactly; it decodes all too bright, and may see farther."""
    codec = LatentCodec(tiny_vae("AutoencoderKL"))

    def encode(image: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = smooth_fill(image, known)
        seen = F.avg_pool2d(F.pad(seen, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)
        return F.pixel_unshuffle(seen, 2), F.max_pool2d((~known).float(), 2) == 0

    codec.encode, codec.decode = encode, lambda x: F.pixel_shuffle(x, 2) + error  # type: ignore[method-assign]
    return codec


def test_a_perfect_autoencoder_leaves_no_seam() -> None:
    """If this fails, the instrument makes a seam of its own."""
    truth, found = seams(blocks(), photos(), box())
    assert [(seam.margin, seam.feather) for seam in found] == [(m, f) for m in (0, 1, 2) for f in (0, 2, 4, 8)]
    assert {(seam.contrast, seam.psnr) for seam in found} == {(truth, np.inf)}
    # 96 x 3 independent differences a picture, each with a relative spread of 0.7, three pictures: 2 %.
    assert truth == pytest.approx(1, abs=0.1)
    assert encoding_error(blocks(), photos(), box())[1:] == [0] * 6


def test_an_offset_is_a_seam_that_a_feather_takes_away() -> None:
    """If this fails, the instrument does not see what it is for."""
    truth, found = seams(blocks(error=0.5), photos(), box(), margins=[1], feathers=[0, 4])
    plain, met = found
    assert plain.contrast > 1.3 * truth
    assert met.contrast == pytest.approx(truth, abs=0.1)
    # 0.5 is a quarter of the range, but for rounding: 12.04 dB. The harmonic offset leaves d/5 of it at distance d.
    assert plain.psnr == pytest.approx(10 * np.log10(16), abs=0.05)
    assert met.psnr > plain.psnr + 3


def test_an_encoder_that_sees_farther_is_wrong_as_far_as_it_sees() -> None:
    """If this fails, the error is laid to other cells than those that the fill reaches, and the margin is misjudged."""
    errors = encoding_error(blocks(reach=2), photos(), box())
    assert errors[0] > errors[1] > 0.1
    assert errors[2:] == pytest.approx([0] * 5, abs=1e-6)  # float32 averages


def test_a_margin_as_wide_as_a_decoder_sees_gives_it_true_latents() -> None:
    """If this fails, margins are measured on other latents than those that they replace."""
    codec, blind = blocks(reach=2), blocks()
    for one in (codec, blind):
        one.decode = lambda x: F.avg_pool2d(F.pad(F.pixel_shuffle(x, 2), (1,) * 4), 3, stride=1)  # type: ignore[method-assign]
    _, (none, one, two) = seams(codec, photos(), box(), [0, 1, 2], [0])
    _, (best,) = seams(blind, photos(), box(), [0], [0])
    assert none.psnr < one.psnr
    assert (one.psnr, one.contrast) == (two.psnr, two.contrast)
    assert best.psnr > one.psnr  # its encoder blurs nothing


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_it_runs_on_every_family(kind: str) -> None:
    """If this fails, one family of autoencoders cannot be measured."""
    codec = LatentCodec(tiny_vae(kind))
    truth, found = seams(codec, photos(18), box(), margins=[0, 1], feathers=[0, 4])
    assert len(found) == 4
    assert np.isfinite([value for seam in found for value in (seam.contrast, seam.psnr)]).all()
    assert found[0].contrast > found[1].contrast > 0, "a random decoder is off everywhere, and a feather repairs that"
    assert truth == pytest.approx(1, abs=0.05)
    assert len(encoding_error(codec, photos(), box())) == 7
