"""Removing an object: the grown mask, the ranking, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.shell import Run, run
from helpers.tiny_latents import tiny_flux
from helpers.tiny_priors import tiny_pipe
from PIL import Image

from repaint import Crop, RePaintPipeline, remove
from repaint.errors import InputError
from repaint.removal import denoising_loss, rim_contrast
from repaint.sampling.budget import with_budget
from repaint.sampling.schedule import JumpSchedule
from repaint.testing import PixelByPixelPrior

__all__ = ["run"]  # a fixture

TWO = JumpSchedule.from_rules(2, [])
OBJECT = np.zeros((24, 32), dtype=bool)
OBJECT[10:14, 12:18] = True


def picture(value: int | None = None) -> np.ndarray:
    image = np.random.default_rng(0).integers(90, 170, (24, 32, 3), dtype=np.uint8)
    if value is not None:
        image[OBJECT] = value
    return image


def test_results_are_ranked_and_the_mask_has_grown() -> None:
    """If this fails, the first result is not the best, or the wrong pixels change."""
    pipe = tiny_pipe()
    found = remove(picture(), OBJECT, prior=pipe, margin=2, candidates=3, generator=5, schedule=TWO, output_type="np")
    assert sorted(one.seed for one in found) == [5, 6, 7]
    scores = np.array([(one.loss, one.rim_contrast) for one in found])
    assert len(np.unique(scores[:, 0])) == 3
    ranks = np.argsort(np.argsort(scores, axis=0), axis=0).sum(axis=1)
    assert (np.diff(ranks) >= 0).all()
    grown = np.zeros_like(OBJECT)
    grown[8:16, 12:18] = grown[10:14, 10:20] = True
    changed = (found[0].image != picture()).any(axis=2)
    assert not changed[8, 10]  # the corner of the rectangle is sqrt(8) away
    assert changed[grown].mean() > 0.95
    alone = pipe(picture(), changed | OBJECT, schedule=TWO, generator=found[0].seed, output_type="np").images[0]
    assert np.abs(found[0].image[OBJECT].astype(int) - alone[OBJECT]).max() <= 1  # the batch rounds differently


def test_an_unlikely_fill_has_a_higher_loss() -> None:
    """If this fails, the ranking prefers objects that the prior does not expect."""
    prior = PixelByPixelPrior()
    losses = [denoising_loss(prior, picture(value), mask_image=OBJECT) for value in (128, 190, 255)]
    assert losses[0] < losses[1] < losses[2]
    assert denoising_loss(prior, picture(128), mask_image=OBJECT) == losses[0]
    far = picture(128)
    far[0, 0] = 255  # not near the hole
    assert denoising_loss(prior, far, mask_image=OBJECT) == losses[0]


def test_no_fill_is_judged_in_its_own_noise() -> None:
    """If this fails, the fill of the usual seed 0 wins more often than others, because its noise is known to it."""
    noisy: list[torch.Tensor] = []

    class Recording(PixelByPixelPrior):
        def denoise(self, x, level):
            noisy.append(x)
            return super().denoise(x, level)

    prior = Recording()
    RePaintPipeline(prior)(picture(), OBJECT, schedule=TWO, generator=0)
    begun = noisy[0][:, :, 10:14, 12:18]  # pure noise in the hole
    noisy.clear()
    denoising_loss(prior, picture(128), mask_image=OBJECT)
    for x in noisy:
        judged = x[:, :, 10:14, 12:18]
        assert begun.shape == judged.shape
        assert abs(float(torch.corrcoef(torch.stack([begun.flatten(), judged.flatten()]))[0, 1])) < 0.5  # 72 values


def test_the_ranking_keeps_to_the_batch_size() -> None:
    """If this fails, memory runs out after all candidates were painted, and they are lost."""
    sizes: list[int] = []

    class Counting(PixelByPixelPrior):
        def denoise(self, x, level):
            sizes.append(len(x))
            return super().denoise(x, level)

    apart, wide = np.zeros((24, 96), dtype=bool), np.tile(picture(), (1, 3, 1))
    apart[10:12, 2:4] = apart[10:12, 90:92] = True
    together = denoising_loss(Counting(), wide, mask_image=apart, crop=Crop(size=8))
    assert max(sizes) == 2
    sizes.clear()
    assert denoising_loss(Counting(), wide, mask_image=apart, crop=Crop(size=8), batch_size=1) == pytest.approx(
        together, rel=1e-6
    )
    assert set(sizes) == {1}
    sizes.clear()
    remove(wide, apart, prior=RePaintPipeline(Counting()), candidates=2, schedule=TWO, batch_size=1, crop=Crop(size=8))
    assert set(sizes) == {1}


def test_a_population_fills_and_is_ranked() -> None:
    """If this fails, a method with particles paints everything, and the ranking then mistakes their number."""
    pipe = tiny_pipe(("cat", "dog"))
    schedule = with_budget("fps-smc", steps=20)
    given = {"candidates": 2, "schedule": schedule, "class_labels": "cat", "generator": 0, "output_type": "np"}
    assert len(remove(picture(), OBJECT, prior=pipe, **given)) == 2


def test_levels_that_depend_on_the_size(tmp_path: Path) -> None:
    """If this fails, models of the kind of Flux, whose levels depend on the size, paint everything and then fail."""
    pipe = RePaintPipeline.from_pipe(tiny_flux(tmp_path))
    given = {"candidates": 2, "generator": 0, "schedule": TWO, "prompt": "", "output_type": "np"}
    assert len(remove(picture(), OBJECT, prior=pipe, **given)) == 2


def test_the_rim_is_measured_across_it() -> None:
    """If this fails, the contrast inside or outside counts as a seam."""
    unit = np.zeros((6, 6, 1))
    hole = np.zeros((6, 6), dtype=bool)
    hole[2:4, 2:4] = True
    unit[0] = unit[:, 0] = 1
    assert rim_contrast(unit, hole) == 0
    unit[hole] = 0.5
    assert rim_contrast(unit, hole) == 0.5
    assert rim_contrast(unit, np.ones((6, 6), dtype=bool)) == 0


def test_what_is_refused() -> None:
    """If this fails, an empty mask or several images give a result."""
    pipe = RePaintPipeline(PixelByPixelPrior())
    with pytest.raises(InputError, match="nothing to remove"):
        remove(picture(), np.zeros_like(OBJECT), prior=pipe)
    with pytest.raises(InputError, match="got 2 images"):
        remove([picture(), picture()], OBJECT, prior=pipe)
    with pytest.raises(InputError, match="cannot be ranked"):
        remove(picture(), OBJECT, prior=pipe, output_type="latent")
    with pytest.raises(InputError, match=r"^candidates=4 at temperature=0 would give equal results"):
        remove(picture(), OBJECT, prior=pipe, temperature=0.0)
    with pytest.raises(InputError, match="Did you mean 'strength'"):
        remove(picture(), OBJECT, prior=pipe, stregth=1)


def test_candidates_in_pairs() -> None:
    """If this fails, candidates with opposite noise are drawn, and then lost to an error of the ranking."""
    found = remove(picture(), OBJECT, prior=tiny_pipe(), candidates=2, generator=5, schedule=TWO, antithetic=True)
    assert sorted(one.seed for one in found) == [5, 2**32 + 5]
    with pytest.raises(InputError, match=r"^margin=-1 must be at least 0"):
        remove(picture(), OBJECT, prior=tiny_pipe(), margin=-1)


def test_the_command(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the file of --out is not the best result."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture()).save("photo.png")
    Image.fromarray(OBJECT).save("mask.png")
    Path("two.yaml").write_text("steps: 2\nspacing: linspace\n")
    given = ("remove", "photo.png", "mask.png", "--out", "o.png", "--schedule", "two.yaml", "--candidates", 3)
    done = run(*given, "--all", "--json")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["files"] == ["o.png", "o-2.png", "o-3.png"]
    assert all(Path(name).exists() for name in report["files"])
    assert not np.array_equal(np.asarray(Image.open("o.png")), np.asarray(Image.open("o-2.png")))
    done = run(*given)
    assert f"Best of 3: seed {report['ranked'][0]['seed']}" in done.out
