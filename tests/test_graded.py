"""Graded masks: `strength=` as a map of how much each pixel may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from helpers.shell import Run, run
from helpers.tiny_latents import tiny_vae
from helpers.tiny_priors import tiny_pipe, tiny_unet
from PIL import Image

from repaint import Crop, RePaintPipeline
from repaint.errors import InputError, MaskWarning, StateError
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState
from repaint.testing import PixelByPixelPrior

__all__ = ["run"]  # a fixture

TEN, JUMPS = JumpSchedule.from_rules(10, []), JumpSchedule.paper(10, 3, 2)


@pytest.fixture(scope="module")
def pipe() -> RePaintPipeline:
    made = tiny_pipe()
    made.set_progress_bar_config(disable=True)
    return made


def picture(height: int = 16, width: int = 20) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ramp(height: int = 16, width: int = 20) -> np.ndarray:
    """From 0 on the left to 1 on the right."""
    return np.tile(np.linspace(0, 1, width), (height, 1))


def filled(pipe: RePaintPipeline, *arguments: Any, **options: Any) -> np.ndarray:
    options = {"schedule": TEN, "generator": 0, "output_type": "np"} | options
    return pipe(*arguments, **options).images[0]


@pytest.mark.parametrize("schedule", [TEN, JUMPS])
@pytest.mark.parametrize("strength", [1.0, 0.55, 0.3])
def test_a_constant_map_is_the_number(pipe: RePaintPipeline, strength: float, schedule: JumpSchedule) -> None:
    """If this fails, a map starts elsewhere, or from other noise, than a strength for all pixels."""
    image, white = picture(), np.zeros((16, 20), dtype=bool)
    white[3:12, 5:15] = True
    scalar = filled(pipe, image, white, strength=strength, schedule=schedule)
    assert np.array_equal(filled(pipe, image, white, strength=np.full((16, 20), strength), schedule=schedule), scalar)
    assert np.array_equal(filled(pipe, image, strength=white * strength, schedule=schedule), scalar)
    assert not np.array_equal(scalar[white], image[white])


def test_black_is_bit_equal_and_grey_changes_by_degrees() -> None:
    """If this fails, pixels of strength 0 change, or a darker grey changes more than a lighter one."""
    pipe, image = RePaintPipeline(PixelByPixelPrior()), picture()
    pipe.set_progress_bar_config(disable=True)
    changes = np.zeros(20)
    for seed in range(8):
        result = filled(pipe, image, strength=ramp(), generator=seed)
        assert np.array_equal(result[:, 0], image[:, 0])
        changes += np.abs(result.astype(float) - image).mean(axis=(0, 2))
    first, middle, last = changes[1:7].mean(), changes[7:13].mean(), changes[13:].mean()
    assert first < 0.75 * middle
    assert middle < last  # near 1 the input is all but forgotten


def test_only_white_is_never_read(pipe: RePaintPipeline) -> None:
    """If this fails, the map does not decide what the model knows of the input."""
    image, strength = picture(), np.full((16, 20), 0.5)
    strength[:, 10:] = 1
    white, grey = image.copy(), image.copy()
    white[:, 10:] = 255 - white[:, 10:]
    grey[:, :10] = 255 - grey[:, :10]
    assert np.array_equal(filled(pipe, image, strength=strength), filled(pipe, white, strength=strength))
    assert not np.array_equal(
        filled(pipe, image, strength=strength)[:, 10:], filled(pipe, grey, strength=strength)[:, 10:]
    )


def test_all_kinds_of_maps(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a map depends on how it is stored."""
    levels = np.round(ramp() * 255).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "map.png")
    expected = filled(pipe, picture(), strength=levels)
    for kind in (tmp_path / "map.png", Image.fromarray(levels), levels / 255, torch.from_numpy(levels / 255)):
        assert np.array_equal(filled(pipe, picture(), strength=kind), expected)


@pytest.mark.filterwarnings("ignore:A map of strength")
def test_a_mask_limits_the_map(pipe: RePaintPipeline) -> None:
    """If this fails, pixels that the mask keeps change because the map is above 0 there."""
    white = np.zeros((16, 20), dtype=bool)
    white[4:9, 8:14] = True
    result = filled(pipe, picture(), white, strength=ramp())
    assert np.array_equal(result[~white], picture()[~white])
    assert np.array_equal(filled(pipe, picture(), keep_mask=~white, strength=ramp()), result)
    nothing = filled(pipe, picture(), strength=np.zeros((16, 20)))
    assert np.array_equal(nothing, picture())


def test_windows_and_batches_do_not_matter(pipe: RePaintPipeline) -> None:
    """If this fails, a map is cut at another place than its picture, or a result depends on its batch."""
    image, strength = picture(40, 60), np.zeros((40, 60))
    strength[20:28, 40:50] = ramp(8, 10)
    cropped = filled(pipe, image, strength=strength, crop=Crop(size=16))
    assert np.array_equal(cropped[strength == 0], image[strength == 0])
    assert (cropped[20:28, 47:50] != image[20:28, 47:50]).any()
    both = pipe(
        [image] * 2, strength=[strength, strength], crop=Crop(size=16), schedule=TEN, generator=0, output_type="np"
    )
    assert np.array_equal(both.images[0], cropped)


@pytest.mark.parametrize("margin", [0, 1])
def test_latent_cells_take_the_most_of_their_pixels(margin: int) -> None:
    """If this fails, a latent cell that holds a white pixel, or lies in the margin of one, is not free."""
    from repaint.priors.latent import LatentPrior

    unet = tiny_unet(in_channels=4, out_channels=4, sample_size=64)
    pipe = RePaintPipeline(LatentPrior(unet, DDPMScheduler(), tiny_vae("AutoencoderKL")))
    pipe.set_progress_bar_config(disable=True)
    strength = np.zeros((16, 24))
    strength[4:9, 5:11] = 0.5
    image = picture(16, 24)
    scalar = filled(pipe, image, strength > 0, strength=0.5, latent_margin=margin)
    assert np.array_equal(filled(pipe, image, strength=strength, latent_margin=margin), scalar)
    assert np.array_equal(scalar[strength == 0], image[strength == 0])


def test_a_state_resumes_with_its_map(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, an interrupted run with a map ends differently, or takes another map."""
    states: list[SamplerState] = []
    options = {"schedule": JUMPS, "output_type": "np"}
    whole = pipe(
        picture(), strength=ramp(), generator=0, **options, callback_on_step_end=lambda *a: states.append(a[3]["state"])
    )
    states[3].save(tmp_path / "state")
    resumed = pipe.resume(tmp_path / "state", picture(), strength=ramp(), **options)
    assert np.array_equal(resumed.images, whole.images)
    with pytest.raises(StateError, match="another image or mask"):
        pipe.resume(tmp_path / "state", picture(), strength=ramp() ** 2, **options)


def test_a_black_map_warns(pipe: RePaintPipeline) -> None:
    """If this fails, a map that was saved with the other polarity gives the input back without a word."""
    with pytest.warns(MaskWarning, match=r"black \(0\) everywhere: nothing is repainted"):
        out = pipe(picture(), strength=0 * ramp(), schedule=TEN, output_type="np")
    assert (out.images[0] == picture()).all()


def test_wrong_maps(pipe: RePaintPipeline) -> None:
    """If this fails, a wrong map ends in a traceback, or batches need different schedules."""
    with pytest.raises(InputError, match=r"strength is 8 x 20 and its image 16 x 20"):
        filled(pipe, picture(), strength=ramp(8))
    with pytest.raises(InputError, match=r"largest values 0\.5, 1: all maps of a call must have the same one"):
        pipe([picture()] * 2, strength=[ramp(), ramp() / 2], schedule=TEN)


def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, --strength takes no number or no map."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("photo.png")
    Image.fromarray(np.round(ramp() * 255).astype(np.uint8)).save("map.png")
    Image.fromarray(np.full((16, 20), 255, np.uint8)).save("white.png")
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    for strength in ("0.5", "map.png"):
        done = run(
            "inpaint", "photo.png", "white.png", "--out", "r.png", "--strength", strength, "--schedule", "two.yaml"
        )
        assert done.status == 0, done.err
        changed = (np.asarray(Image.open("r.png")) != picture()).any(axis=2)
        assert changed[:, 0].any() == (strength == "0.5")
        assert changed[:, -1].any()
    done = run("inpaint", "photo.png", "white.png", "--out", "r.png", "--strength", "none.png")
    assert (done.status, done.err.count("\n")) == (2, 1)
