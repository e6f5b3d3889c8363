"""Damaged photographs and classical baselines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from repaint import RePaintPipeline
from repaint.cli import app
from repaint.errors import InputError
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.classical_fills import CLASSICAL
from repaint.lab.quality.restoration import (
    Restored,
    classical,
    compare_energies,
    compare_restorations,
    damaged_crops,
    restore,
)
from repaint.measure.intervals import mean_interval, paired_difference
from repaint.measure.metrics import psnr
from repaint.pictures.damage import DAMAGE
from repaint.pictures.samples import UNSEEN
from repaint.testing import PixelByPixelPrior


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One smooth photograph of 300 x 280 pixels."""
    rows, columns = np.mgrid[:280, :300]
    smooth = 120 + 60 * np.sin(rows / 20)[..., None] + 50 * np.cos(columns / 25)[..., None] * np.array([1, 0.5, -0.5])
    Image.fromarray(smooth.round().astype(np.uint8)).save(tmp_path / "smooth.png")
    return tmp_path


def test_each_crop_has_one_kind_of_damage(folder: Path) -> None:
    """If this fails, kinds are mixed, or the same seed cuts other crops."""
    holes = damaged_crops(folder, 12, side=64)
    assert [hole.group for hole in holes] == list(DAMAGE) * 2
    for hole in holes:
        assert hole.image.shape == (64, 64, 3)
        assert hole.mask.any()
    assert [hole.group for hole in damaged_crops(folder, 4, side=64, kinds=["wire", "dust"])] == ["wire", "dust"] * 2
    with pytest.raises(InputError, match=r"damage='wires' must be one of .* Did you mean 'wire'"):
        damaged_crops(folder, 4, side=64, kinds=["wires"])
    again = damaged_crops(folder, 12, side=64)
    assert all((a.image == b.image).all() and (a.mask == b.mask).all() for a, b in zip(holes, again, strict=True))


def test_small_photographs_are_refused(tmp_path: Path) -> None:
    """If this fails, a thumbnail is enlarged and counts as a photograph."""
    Image.new("RGB", (300, 255)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"small: 300 x 255 must be at least 256 x 256 pixels\. Remove it\.$"):
        damaged_crops(tmp_path, 6)


def test_classical_methods_fill_a_smooth_picture(folder: Path) -> None:
    """If this fails, a baseline is called wrongly, and ours looks better than it is."""
    holes = damaged_crops(folder, 6, side=64)
    means, gaps = compare_restorations(holes, classical(holes))
    assert {each.method for each in means} == set(CLASSICAL)
    assert gaps == {}
    scratches = {each.method: each for each in means if each.damage == "scratches"}
    assert scratches["biharmonic"].psnr > 40
    assert min(each.psnr for each in scratches.values()) > 25
    assert scratches["biharmonic"].gradient == pytest.approx(1, abs=0.05)
    assert all(each.energy > 0 for each in scratches.values())
    assert all(each.patches is None for each in scratches.values()), "thinner than a patch"


def test_flat_photographs_have_no_ratio_of_gradients(tmp_path: Path) -> None:
    """If this fails, a clear sky divides by 0, or its ratio stands as NaN in the JSON."""
    Image.new("RGB", (300, 300), (90, 120, 200)).save(tmp_path / "sky.png")
    holes = damaged_crops(tmp_path, 2, side=64, kinds=["wire"])
    means, _ = compare_restorations(holes, classical(holes))
    assert [each.gradient for each in means] == [None] * len(CLASSICAL)


def test_patches_of_the_truth_are_the_floor(tmp_path: Path) -> None:
    """If this fails, a fill that looks like its surroundings counts as no better than a smooth one."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    holes = damaged_crops(tmp_path, 4, side=96, kinds=["piece"])
    grey = [np.where(hole.mask[..., None], np.uint8(128), hole.image) for hole in holes]
    true = Restored([hole.image for hole in holes], None, 0.0)
    means, _ = compare_restorations(holes, {"true": true, "grey": Restored(grey, None, 0.0)})
    assert means[0].patches == means[0].floor == means[1].floor
    assert 0 < (means[0].patches or 0) < 0.1 < 0.5 < (means[1].patches or 0)


def test_our_samples_and_their_mean_are_measured(folder: Path) -> None:
    """If this fails, the fills that are scored are not those whose mean is shown."""
    holes = damaged_crops(folder, 6, side=48)
    pipe = RePaintPipeline(PixelByPixelPrior())
    ours = restore(pipe, holes, "fast", samples=4, batch=4)
    assert list(ours) == ["one sample", "mean of 4", "mean of 4 in pairs"]
    for hole, image, fills in zip(holes, ours["mean of 4"].images, ours["mean of 4"].fills or [], strict=True):
        assert (image[~hole.mask] == hole.image[~hole.mask]).all()
        np.testing.assert_allclose(image[hole.mask], fills.mean(0), atol=0.51)
    means, gaps = compare_restorations(holes, {**classical(holes), **ours})
    for hole, image, other in zip(holes, ours["mean of 4 in pairs"].images, ours["mean of 4"].images, strict=True):
        assert (image[~hole.mask] == hole.image[~hole.mask]).all()
        np.testing.assert_allclose(image[hole.mask], 127.5, atol=0.51)  # each pair has the mean of the prior
        assert np.abs(other[hole.mask] - 127.5).mean() > 5
    assert len(means) == 6 * 6
    assert len(gaps) == 6 * 3 * 3
    with pytest.raises(InputError, match="samples=3 must be even"):
        restore(pipe, holes, "fast", samples=3)
    mine = next(each for each in means if each.method == "mean of 4")
    assert list(mine.inside) == [0.6, 0.2]


@pytest.mark.parametrize(("schedule", "samples"), [("fast", 1), ("mean", 8)])
def test_a_single_result_has_an_error_and_no_spread(folder: Path, schedule: str, samples: int) -> None:
    """If this fails, a method without noise cannot be measured, or a single result passes for a classical one."""
    holes = damaged_crops(folder, 4, side=48, kinds=["scratches", "dust"])
    ours = restore(RePaintPipeline(PixelByPixelPrior()), holes, schedule, samples=samples)
    assert list(ours) == ["one sample"]
    means, gaps = compare_restorations(holes, {**classical(holes), **ours})
    assert {(ours, other) for _, ours, other in gaps} == {("one sample", other) for other in CLASSICAL}
    for each in (each for each in means if each.method == "one sample"):
        errors = [
            np.square(image[hole.mask].astype(float) - hole.image[hole.mask]).mean() ** 0.5
            for image, hole in zip(ours["one sample"].images, holes, strict=True)
            if hole.group == each.damage
        ]
        assert each.energy == pytest.approx(np.mean(errors))
        assert each.inside == {}


def test_intervals_count_the_true_values_inside() -> None:
    """If this fails, the stated coverage is not that of the intervals."""
    rng = np.random.default_rng(0)
    image = rng.normal(128, 20, (60, 60, 3)).round().clip(0, 255).astype(np.uint8)
    mask = np.ones((60, 60), bool)
    mask[0] = False
    fills = rng.normal(128, 20, (4, int(mask.sum()), 3))
    hole = Hole("a", "dust", image, mask, ~mask)
    means, _ = compare_restorations([hole], {"exact": Restored([image], [fills], 0.0)})
    assert means[0].inside[0.6] == pytest.approx(0.6, abs=0.02)  # 10,620 values: standard error 0.005


def test_clipped_fills_that_equal_the_truth_get_a_random_rank() -> None:
    """If this fails, fills and truths that are all white or black lie outside of their own intervals."""
    rng = np.random.default_rng(1)
    image = (255 * (rng.random((60, 60, 3)) < 0.5)).astype(np.uint8)
    mask = np.ones((60, 60), bool)
    mask[0] = False
    fills = np.stack([image[mask].astype(np.float64)] * 4)
    hole = Hole("a", "dust", image, mask, ~mask)
    found = [compare_restorations([hole], {"exact": Restored([image], [fills], 0.0)})[0][0].inside for _ in range(2)]
    assert found[0][0.6] == pytest.approx(0.6, abs=0.02)  # 10,620 values: standard error 0.005
    assert found[0] == found[1], "repeatable"


def test_the_command_prints_every_kind(tmp_path: Path) -> None:
    """If this fails, the figures of the documentation cannot be reproduced."""
    from skimage import data

    for name in UNSEEN[:1]:
        Image.fromarray(getattr(data, name)()).save(tmp_path / f"{name}.png")
    walk = tmp_path / "two.yaml"
    walk.write_text("steps: 2\nspacing: karras\n")
    arguments = ["bench", "photographs", "--images", str(tmp_path), "--count", "12", "--samples", "2", "--size", "48"]
    arguments += ["--schedule", str(walk), "--threads", "1"]
    run = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(run.stdout)
    assert len(found["means"]) == 6 * 6
    assert {each["classical"] for each in found["differences"]} == set(CLASSICAL)
    assert found["energies"] == []
    arguments[arguments.index("--count") + 1] = "2"
    arguments += ["--damage", "dust", "--schedule", "turbo"]
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert {each["method"] for each in found["means"] if each["inside"]} == {
        f"{name}, {result}" for name in ("two", "turbo") for result in ("one sample", "mean of 2", "mean of 2 in pairs")
    }
    assert [(each["damage"], each["schedule"]) for each in found["energies"]] == [("dust", "turbo")]
    arguments[arguments.index("--samples") + 1] = "1"
    table = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "dust: two, one sample - " in table
    with pytest.raises(InputError, match="--count 2 must be at least 4"):
        CliRunner().invoke(app, [*arguments, "--damage", "wire"], catch_exceptions=False)


def test_crops_of_one_photograph_are_resampled_together(folder: Path) -> None:
    """If this fails, several crops of one photograph count as independent, and intervals are too narrow."""
    Image.open(folder / "smooth.png").rotate(90, expand=True).save(folder / "turned.png")
    holes = damaged_crops(folder, 6, side=64, kinds=["dust"])
    names = [hole.picture for hole in holes]
    assert names == ["smooth", "turned"] * 3
    errors = np.arange(6.0)

    def off_by(error: np.ndarray) -> Restored:
        fills = [
            np.stack([hole.image[hole.mask].astype(np.float64) + each] * 2)
            for hole, each in zip(holes, error, strict=True)
        ]
        return Restored([hole.image for hole in holes], fills, 0.0)

    found = compare_energies(holes, {"exact": off_by(0 * errors), "worse": off_by(errors)})["dust", "worse"]
    interval = mean_interval(errors, clusters=names)
    assert (found.mean, found.low, found.high) == pytest.approx((interval.mean, interval.low, interval.high))
    worse = replace(off_by(errors), images=[hole.image ^ np.uint8(1 + i) for i, hole in enumerate(holes)])
    plain = Restored([hole.image ^ np.uint8(1) for hole in holes], None, 0.0)
    ((_, gap),) = compare_restorations(holes, {"ours": worse, "plain": plain})[1].items()
    psnrs = [[psnr(each.images[i], hole.image, hole.mask) for i, hole in enumerate(holes)] for each in (worse, plain)]
    assert gap == paired_difference(*map(np.array, psnrs), clusters=names)


def test_energy_scores_are_compared_with_the_first_method(folder: Path) -> None:
    """If this fails, the sign is wrong, or crops of another kind count."""
    holes = damaged_crops(folder, 4, side=64, kinds=["wire", "dust"])

    def off_by(error: float) -> Restored:
        fills = [np.stack([hole.image[hole.mask].astype(np.float64) + error] * 2) for hole in holes]
        return Restored([hole.image for hole in holes], fills, 0.0)

    gaps = compare_energies(holes, {"first": off_by(3), "second": off_by(-5), "third": off_by(1)})
    assert {key: (gap.mean, gap.low, gap.high) for key, gap in gaps.items()} == {
        (kind, name): pytest.approx((value, value, value))
        for kind in ("wire", "dust")
        for name, value in (("second", 2), ("third", -2))
    }
