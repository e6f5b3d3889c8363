"""The patch statistics that fillings are judged by, on cases whose answer is known."""

import numpy as np
import pytest

from repaint import RePaintPipeline
from repaint.lab.quality import (
    biharmonic,
    gradient_distance,
    gradients,
    held_out_holes,
    patch_distance,
    patches,
    score,
    score_textures,
)
from repaint.samples import PHOTOGRAPHS, halve, photograph


def test_holes_of_one_photograph_never_overlap():
    """If holes overlap, 65 holes are fewer than they seem."""
    holes = held_out_holes()
    assert len(holes) == 65
    for name in PHOTOGRAPHS:
        part = halve(photograph(name, "held_out"))
        mine = [hole for hole in holes if hole.name == name]
        tops = np.linspace(0, part.shape[0] - 64, len(mine)).round().astype(int)
        painted = np.zeros(part.shape[:2], dtype=int)
        for hole, top in zip(mine, tops, strict=True):
            assert np.array_equal(part[top : top + 64, :64], hole.image)
            painted[top : top + 64, :64] += hole.mask
        assert painted.max() == 1


def test_equal_sets_are_at_distance_zero_and_a_shift_is_measured_in_standard_deviations():
    """If the scale is wrong, distances of different photographs cannot be averaged."""
    rng = np.random.default_rng(0)
    real = [rng.standard_normal((4000, 147))]
    assert patch_distance(real, real) == 0
    # A shift by c along every axis moves each unit projection by c * sum(direction): mean |N(0, 1)| * c.
    shifted = [real[0] + 0.5]
    assert patch_distance(shifted, real) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.15)  # 256 projections: 6 %


def test_smoothing_is_seen_by_both_distances():
    """If a blurred filling scores like a real one, the bench cannot tell biharmonic inpainting from texture."""
    hole = next(hole for hole in held_out_holes() if hole.name == "gravel")
    blurred = biharmonic(hole)
    real = patches(hole.image, hole.box)
    assert patch_distance(patches(blurred, hole.box), real) > 0.3
    assert gradient_distance(gradients(blurred, hole.box), gradients(hole.image, hole.box)) > 0.3
    assert gradient_distance(gradients(hole.image, hole.box), gradients(hole.image, hole.box)) == 0


def test_biharmonic_changes_only_the_hole():
    """If the baseline touches kept pixels, it is compared unfairly."""
    hole = held_out_holes()[0]
    assert np.array_equal(biharmonic(hole)[~hole.mask], hole.image[~hole.mask])


def test_the_truth_scores_the_floor_and_biharmonic_scores_far_above_it():
    """If the floor is not far below the baseline, "three times closer" means nothing."""
    holes = held_out_holes()
    floor = score(holes, [hole.image for hole in holes])
    baseline = score(holes, [biharmonic(hole) for hole in holes])
    assert floor.psnr == np.inf
    assert floor.patches < baseline.patches / 5
    assert floor.gradients < baseline.gradients / 5


@pytest.mark.slow
def test_textures_paints_patches_at_least_three_times_closer_to_real_ones_than_biharmonic():
    """If this fails, the bundled prior or the sampler no longer paints texture."""
    pipe = RePaintPipeline.from_pretrained("textures")
    results = {name: result[0] for name, result in score_textures(pipe, {"predicted": "predicted"}).items()}
    floor, baseline, ours = (results[name] for name in ("real (floor)", "biharmonic", "predicted"))
    assert ours.patches - floor.patches <= (baseline.patches - floor.patches) / 3
    assert ours.gradients - floor.gradients <= (baseline.gradients - floor.gradients) / 3
