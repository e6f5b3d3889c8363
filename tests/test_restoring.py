"""restore() and `repaint restore`: the mask, the kept pixels, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.shell import Run, run
from PIL import Image

from repaint import RePaintPipeline, restore
from repaint.errors import InputError
from repaint.lab.quality.detector_scores import printed_damage, score_detector
from repaint.pictures.damage import damage
from repaint.pictures.samples import unseen
from repaint.testing import PixelByPixelPrior

__all__ = ["run"]  # a fixture


@pytest.fixture(scope="module")
def scratched() -> np.ndarray:
    """A cat with white scratches, (96, 128, 3)."""
    cat = unseen("chelsea")[20:116, 60:188]
    return np.where(damage("scratches", 96, 128, 3)[..., None], np.uint8(250), cat)


def test_only_what_was_found_changes(scratched: np.ndarray) -> None:
    """If this fails, restore() changes pixels outside its mask, or does not fill the mask."""
    pipe = RePaintPipeline(PixelByPixelPrior())
    pipe.set_progress_bar_config(disable=True)
    restored = restore(scratched, prior=pipe, generator=0, output_type="np")
    mask = restored.mask
    assert mask[damage("scratches", 96, 128, 3)].mean() > 0.9
    assert np.array_equal(restored.image[~mask], scratched[~mask])
    assert (restored.image[mask] != scratched[mask]).any(axis=1).mean() > 0.9


@pytest.mark.usefixtures("unchecked")
def test_the_number_of_samples_is_named(scratched: np.ndarray) -> None:
    """If this fails, a wrong number of samples is refused under the name of another argument."""
    with pytest.raises(InputError, match=r"^samples=0 must be an integer of at least 1"):
        restore(scratched, prior=RePaintPipeline(PixelByPixelPrior()), samples=0)


def test_a_clean_picture_is_returned() -> None:
    """If this fails, a picture without damage is an error, or is changed."""
    pipe, grey = RePaintPipeline(PixelByPixelPrior()), np.full((40, 50, 3), 128, np.uint8)
    restored = restore(grey, prior=pipe, output_type="np")
    assert not restored.mask.any()
    assert np.array_equal(restored.image, grey)


def test_the_detector_is_scored() -> None:
    """If this fails, the reported precision and recall are of another mask, or the detector has become worse."""
    rng = np.random.default_rng(0)
    plain = np.broadcast_to(rng.normal(120, 3, (128, 128, 1)).round(), (128, 128, 3)).astype(np.uint8)
    scores = {score.damage: score for score in score_detector({"plain": plain}, repeats=1, grow=0)}
    assert scores["scratches"].recall > 0.95  # on a plain ground everything thin is found
    assert scores["scratches"].precision == 1
    assert scores["piece"].recall == 0
    assert scores["none"].found == 0
    assert np.isnan(scores["none"].recall)


def test_painted_damage_stays_near_its_hole() -> None:
    """If this fails, the truth that the detector is compared with is not where the damage was painted."""
    image, hole = unseen("coffee")[:96, :96], damage("dust", 96, 96, 0)
    changed = (printed_damage(image, hole, 0) != image).any(axis=2)
    assert changed[hole].mean() > 0.95
    near = np.asarray(Image.fromarray(hole).convert("L").resize((96, 96))) > 0
    from scipy.ndimage import binary_dilation

    assert not changed[~binary_dilation(near, iterations=4)].any()


def test_the_command(run: Run, scratched: np.ndarray, tmp_path: Path) -> None:
    """If this fails, the command writes another mask than it fills."""
    photo, mask_file, result = tmp_path / "photo.png", tmp_path / "mask.png", tmp_path / "r.png"
    scratched = scratched[20:68, 40:104]
    Image.fromarray(scratched).save(photo)
    (tmp_path / "two.yaml").write_text("steps: 2\nspacing: linspace\n")
    done = run("restore", photo, "--mask-out", mask_file)
    assert done.status == 0, done.err
    assert "Damage found: " in done.out
    assert not result.exists()
    first = np.asarray(Image.open(mask_file))
    options = ("--mask-out", mask_file, "--schedule", tmp_path / "two.yaml", "--samples", "2", "--json")
    done = run("restore", photo, "--out", result, *options)
    assert done.status == 0, done.err
    report = json.loads(done.out)
    hole = np.asarray(Image.open(mask_file)) == 255
    assert np.array_equal(hole, first == 255)
    assert report["found"] == pytest.approx(hole.mean())
    filled = np.asarray(Image.open(result))
    assert np.array_equal(filled[~hole], scratched[~hole])
    assert (filled[hole] != scratched[hole]).any(axis=1).mean() > 0.9


def test_wrong_command_lines(run: Run, scratched: np.ndarray, tmp_path: Path) -> None:
    """If this fails, a wrong command does its work before it fails."""
    photo = tmp_path / "photo.png"
    Image.fromarray(scratched).save(photo)
    done = run("restore", photo)
    assert (done.status, "--mask-out" in done.err) == (2, True)
    done = run("restore", photo, "--out", tmp_path / "r.png", "--mask-out", tmp_path / "r.png")
    assert (done.status, "must be another file" in done.err) == (2, True)
    assert not (tmp_path / "r.png").exists()


def test_latents_are_refused_before_the_damage_is_sought(scratched: np.ndarray) -> None:
    """If this fails, the error comes after the model is loaded and the damage is found, and names a crop."""
    with pytest.raises(InputError, match="output_type='latent' must be pil, np or pt"):
        restore(scratched, output_type="latent")
