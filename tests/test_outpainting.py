"""Outpainting: the canvas, the kept pixels, the steps, and the command."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.shell import Run, run
from helpers.tiny_priors import tiny_pipe
from PIL import Image

from repaint import RePaintPipeline
from repaint.errors import InputError, LargeHoleWarning
from repaint.outpainting import step_seed, step_width
from repaint.pictures.margins import Margins, as_margins, extended
from repaint.sampling.schedule import JumpSchedule
from repaint.testing import PixelByPixelPrior

__all__ = ["run"]  # a fixture

TWO = JumpSchedule.from_rules(2, [])


def picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape or (12, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pipe() -> RePaintPipeline:
    """Trained on 16 pixels, so that 20 more need three steps of 8."""
    made = tiny_pipe(sample_size=16)
    made.set_progress_bar_config(disable=True)
    return made


def added(pipe: RePaintPipeline, image: Any, **options: Any) -> Any:
    return pipe.outpaint(image, **{"schedule": TWO, "generator": 0, "output_type": "np"} | options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"left": 3, "bottom": 5}, Margins(left=3, bottom=5)),
        ({"aspect": "16:9"}, Margins(left=39, right=39)),
        ({"aspect": 1}, Margins()),
        ({"aspect": "1:2"}, Margins(top=50, bottom=50)),
        ({"aspect": 1.5, "left": 10}, Margins(left=30, right=20)),
    ],
)
def test_margins(given: dict[str, Any], expected: Margins) -> None:
    """If this fails, a side or a ratio adds another number of pixels."""
    if expected == Margins():
        with pytest.raises(InputError, match="Nothing is added to an image of 100 x 100 pixels"):
            as_margins((100, 100), **given)
    else:
        assert as_margins((100, 100), **given) == expected


@pytest.mark.parametrize("aspect", ["16:0", "wide", "16:9:4", -1.0, "100:1", "nan"])
def test_wrong_ratios(aspect: Any) -> None:
    """If this fails, a wrong ratio ends in a traceback or in a canvas that fills the memory."""
    with pytest.raises(InputError, match="must be a ratio from 1:20 to 20:1"):
        as_margins((100, 100), aspect=aspect)


def test_own_pixels_are_bit_equal_in_every_kind(pipe: RePaintPipeline) -> None:
    """If this fails, outpainting moves or changes the picture, or returns another kind of image."""
    base = picture()
    kinds: list[Any] = [
        base,
        base.astype(np.float32) / 255,
        Image.fromarray(base),
        Image.fromarray(base).quantize(16),
        Image.fromarray(base).convert("RGBA"),
        Image.fromarray(base[..., 0]),
    ]
    for image in kinds:
        wider = added(pipe, image, left=4, top=3, right=1).images[0]
        before = np.asarray(image)
        assert wider.shape[:2] == (15, 21)
        assert wider.dtype == before.dtype
        assert np.array_equal(wider[3:, 4:20], before)
    tensor = torch.from_numpy(kinds[1]).permute(2, 0, 1)
    wider = added(pipe, tensor, left=4, output_type="pt").images[0]
    assert torch.equal(wider[:, :, 4:], tensor)


def test_sides_are_those_of_the_displayed_picture(pipe: RePaintPipeline, tmp_path: Path) -> None:
    """If this fails, a portrait photo grows at its top where the left was meant."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "portrait.png", exif=exif)
    wider = added(pipe, tmp_path / "portrait.png", left=5).images[0]
    assert wider.shape == (16, 17, 3)
    assert np.array_equal(wider[:, 5:], np.rot90(picture(), -1))


def test_steps_go_outwards(pipe: RePaintPipeline) -> None:
    """If this fails, a wide margin is painted without what the step before has painted, or a step uses other noise."""
    assert step_width(pipe.prior, None) == 8
    whole = added(pipe, picture(), left=20)
    assert whole.model_calls == 3 * 2
    assert whole.seeds == [0]
    by_hand = picture()
    for number, width in enumerate((8, 8, 4)):
        canvas, mask = extended(by_hand, Margins(left=width))
        by_hand = pipe(canvas, mask, schedule=TWO, generator=step_seed(0, number), output_type="np").images[0]
    assert np.array_equal(whole.images[0], by_hand)


def test_overlap_sets_the_steps() -> None:
    """If this fails, `overlap` is ignored, or a model for small holes gets large ones."""
    prior = PixelByPixelPrior()
    assert step_width(prior, None) is None
    prior.preferred_size = 64
    assert [step_width(prior, overlap) for overlap in (None, 0, 48)] == [32, 64, 16]
    prior.largest_hole = 20
    assert step_width(prior, None) == 10
    with pytest.raises(InputError, match="overlap=64 must be below 64"):
        step_width(prior, 64)


@pytest.mark.parametrize("output_type", ["np", "pil", "pt"])
def test_a_tensor_of_bytes_is_an_array_of_bytes(pipe: RePaintPipeline, output_type: Any) -> None:
    """If this fails, the type and the rounding of a result depend on the number of its steps."""
    image = picture()
    for right in (4, 20):
        tensor, array = (
            added(pipe, kind, right=right, output_type=output_type).images[0]
            for kind in (torch.from_numpy(image).permute(2, 0, 1), image)
        )
        tensor, array = (np.asarray(each) for each in (tensor, array))
        assert tensor.dtype == array.dtype
        assert np.array_equal(tensor, array)


def test_several_results(pipe: RePaintPipeline) -> None:
    """If this fails, a result depends on its batch, or mean and uncertainty are missing."""
    several = added(pipe, picture(), right=12, num_images_per_prompt=3, generator=5)
    assert several.seeds == [5, 6, 7]
    alone = added(pipe, picture(), right=12, generator=6)
    assert np.abs(several.images[1].astype(int) - alone.images[0]).max() <= 1  # a UNet rounds differently in a batch
    assert several.mean()[0].shape == (12, 28, 3)
    assert (several.uncertainty()[0][:, :16] == 0).all()
    assert (several.uncertainty()[0][:, 16:] > 0).mean() > 0.9


def test_a_condition_in_a_list_of_one_holds_for_all_results() -> None:
    """If this fails, it is counted against the results."""
    pipe = tiny_pipe(("cat", "dog"), sample_size=16)
    one, listed = (
        added(pipe, picture(), right=12, num_images_per_prompt=2, class_labels=labels) for labels in ("dog", ["dog"])
    )
    assert np.array_equal(one.images, listed.images)
    with pytest.raises(InputError, match="class_labels has 2 values for 1 images"):
        added(pipe, picture(), right=12, num_images_per_prompt=2, class_labels=["cat", "dog"])


def test_what_is_refused(pipe: RePaintPipeline) -> None:
    """If this fails, a wrong call does something else."""
    for options, message in [
        ({"left": -1}, "left=-1"),
        ({}, "Nothing is added"),
        ({"left": 3, "mask_image": picture()}, "mask_image must be left out"),
        ({"left": 3, "strength": 0.5}, "strength must be left out: the new space holds nothing"),
        ({"left": 3, "stregth": 0.5}, "Did you mean 'strength'"),
        ({"left": 3, "schedul": TWO}, "Did you mean 'schedule'"),
        ({"left": 10**8}, r"The result of 100000016 x 12 pixels must have at most \d+"),
    ]:
        with pytest.raises(InputError, match=message):
            added(pipe, picture(), **options)
    with pytest.raises(InputError, match="one is extended at a time"):
        added(pipe, [picture(), picture()], left=2)


def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the command paints other pixels than its options say."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(40, 48, 3)).save("photo.png")
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    done = run("outpaint", "photo.png", "--left", 30, "--out", "o.png", "--schedule", "two.yaml", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert (report["steps"], report["model_calls"], report["added"]["left"]) == (2, 4, 30)
    assert np.array_equal(np.asarray(Image.open("o.png"))[:, 30:], picture(40, 48, 3))
    done = run("outpaint", "photo.png", "--out", "p.png")
    assert (done.status, "Nothing is added" in done.err, Path("p.png").exists()) == (2, True, False)


def test_more_than_the_model_is_made_for_warns_once() -> None:
    """If this fails, a model of small holes paints blotches far from the picture, and nobody is told."""
    small = RePaintPipeline(PixelByPixelPrior())
    small.prior.largest_hole = 8  # type: ignore[misc]
    small.set_progress_bar_config(disable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.outpaint(picture(), left=8, schedule=TWO, generator=0)
        with pytest.warns(
            LargeHoleWarning, match=r"^The new space is 20 pixels wide, but .* at most 8 pixels"
        ) as caught:
            small.outpaint(picture(), left=20, schedule=TWO, generator=0)
    assert len(caught) == 1
