"""Patch statistics of results, on cases with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.tiny_priors import tiny_pipe
from PIL import ExifTags, Image

from repaint import RePaintPipeline
from repaint.errors import InputError
from repaint.lab.quality.cases import folder_holes, texture_holes
from repaint.lab.quality.protocol_inputs import protocol_pictures
from repaint.lab.quality.protocols import PROTOCOLS
from repaint.lab.quality.restoration import damaged_crops
from repaint.lab.quality.scores import LOSS, LOSS_LEVELS, LOSS_STEPS, Filled, biharmonic, fill, hole_loss, score, truth
from repaint.measure.patches import gradient_distance, gradients, patch_distance, patches
from repaint.pictures.samples import PHOTOGRAPHS, halve, photograph
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.rng import derived_seed


def test_holes_of_one_photograph_never_overlap():
    """If this fails, the 65 holes overlap and are not independent."""
    holes = texture_holes()
    assert len(holes) == 65
    for name in PHOTOGRAPHS:
        part = halve(photograph(name, "held_out"))
        mine = [hole for hole in holes if hole.group == name]
        tops = np.linspace(0, part.shape[0] - 64, len(mine)).round().astype(int)
        painted = np.zeros(part.shape[:2], dtype=int)
        for hole, top in zip(mine, tops, strict=True):
            assert np.array_equal(part[top : top + 64, :64], hole.image)
            painted[top : top + 64, :64] += hole.mask
        assert painted.max() == 1


def test_smoothing_is_seen_by_both_distances():
    """If this fails, blurred results score like real texture."""
    hole = next(hole for hole in texture_holes() if hole.group == "gravel")
    blurred = biharmonic([hole]).images[0][0]
    real = patches(hole.image, hole.mask)
    assert patch_distance(patches(blurred, hole.mask), real) > 0.3
    assert gradient_distance(gradients(blurred, hole.mask), gradients(hole.image, hole.mask)) > 0.3
    assert gradient_distance(gradients(hole.image, hole.mask), gradients(hole.image, hole.mask)) == 0


def test_biharmonic_changes_only_the_hole():
    """If this fails, the baseline changes kept pixels."""
    hole = texture_holes()[0]
    assert np.array_equal(biharmonic([hole]).images[0][0][~hole.mask], hole.image[~hole.mask])


def test_the_truth_scores_the_floor_and_biharmonic_scores_far_above_it():
    """If this fails, the measures hardly distinguish real texture from the baseline."""
    holes = texture_holes()
    floor, baseline = (score(holes, filled(holes)) for filled in (truth, biharmonic))
    assert floor.psnr == np.inf
    assert floor.ssim == 1
    assert floor.patches < baseline.patches / 5
    assert floor.gradients < baseline.gradients / 5
    assert (floor.patches, floor.gradients) == pytest.approx((0.067, 0.039), abs=5e-4)  # the values in docs/measured.md
    assert (baseline.patches, baseline.gradients, baseline.psnr) == pytest.approx((0.581, 0.450, 18.7), abs=0.05)


def test_the_hole_loss_is_the_prior_s_error_in_the_hole_under_shared_noise():
    """If this fails, the noise differs between methods, or kept pixels count."""

    class Blind(GaussianMixturePrior):
        """Predicts that x is pure noise, with the error alpha x0 + (sigma - 1) eps."""

        def denoise(self, x, level):
            return replace(super().denoise(x, level), eps_hat=x)

        def conditioned(self, count, conditions):
            return self

    diagonal = np.eye(8, dtype=bool)
    hole = replace(texture_holes()[0], conditions={}, mask=diagonal, real=~diagonal)
    hole = replace(hole, image=hole.image[:8, :8])
    prior = Blind(torch.ones(1), torch.zeros(1, 192), torch.eye(192)[None], shape=(3, 8, 8))
    grey, black = (np.where(hole.mask[..., None], np.uint8(value), hole.image) for value in (128, 0))
    changed = grey.copy()
    changed[~hole.mask] ^= 255
    losses = hole_loss(prior, [hole], Filled([[grey, changed, black]]))[0]
    assert losses[0] == losses[1]
    generator, grid, expected = torch.Generator().manual_seed(derived_seed(0, LOSS)), prior.schedule(LOSS_STEPS), []
    for number in LOSS_LEVELS:
        level, eps = grid[number], torch.randn(3, 8, 8, generator=generator)
        inside = eps[:, torch.from_numpy(hole.mask)]
        expected.append(float((-level.alpha + (level.sigma - 1) * inside).square().mean()))
    assert losses[2] == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_hole_loss_of_any_size():
    """If this fails, a benchmark ends in an error after it has filled everything, for sizes that the prior pads."""
    mask = np.zeros((13, 11), dtype=bool)
    mask[4:9, 3:8] = True
    picture = np.random.default_rng(0).integers(0, 256, (13, 11, 3), dtype=np.uint8)
    hole = replace(texture_holes()[0], conditions={}, image=picture, mask=mask, real=~mask)
    prior = tiny_pipe().prior
    assert prior.multiple_of > 1
    assert np.isfinite(hole_loss(prior, [hole], Filled([[picture, picture]]))).all()


def test_turned_pictures_are_read_as_displayed(tmp_path):
    """If this fails, the hole of a turned photograph lies in another place in a benchmark."""
    stored = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    hole = np.zeros((300, 280), dtype=np.uint8)
    hole[:20, :30] = 255
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    (tmp_path / "masks").mkdir()
    (tmp_path / "pictures").mkdir()
    Image.fromarray(stored).save(tmp_path / "pictures" / "a.png", exif=turned)
    Image.fromarray(hole).save(tmp_path / "masks" / "a.png", exif=turned)
    shown = np.rot90(stored, -1)
    (found,) = folder_holes(tmp_path / "pictures", tmp_path / "masks")
    assert np.array_equal(found.image, shown)
    assert np.array_equal(found.mask, np.rot90(hole > 0, -1))
    (crop,) = damaged_crops(tmp_path / "pictures", 1, side=256)
    assert crop.image.shape == (256, 256, 3)
    protocol = replace(PROTOCOLS["daps-box"], side=280, pictures=1)
    with pytest.raises(InputError, match="300 x 280 pixels"):
        protocol_pictures(protocol, tmp_path / "pictures")


@pytest.mark.slow
def test_textures_paints_patches_at_least_three_times_closer_to_real_ones_than_biharmonic():
    """If this fails, the bundled prior or the sampler no longer paints texture."""
    holes = texture_holes()
    pipe = RePaintPipeline.from_pretrained("textures")
    every = {"floor": truth(holes), "baseline": biharmonic(holes), "ours": fill(pipe, holes, "predicted")}
    floor, baseline, ours = (score(holes, filled) for filled in every.values())
    assert ours.patches - floor.patches <= (baseline.patches - floor.patches) / 3
    assert ours.gradients - floor.gradients <= (baseline.gradients - floor.gradients) / 3
