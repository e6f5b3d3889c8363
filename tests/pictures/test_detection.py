"""The damage detector: what it finds, in every kind of image, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from repaint.errors import InputError, MaskWarning
from repaint.pictures.detection import detect_damage


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A smooth slope with grain, (96, 128, 3) uint8 between 60 and 160."""
    rng = np.random.default_rng(0)
    slope = np.linspace(70, 150, 128)[None, :, None] + rng.normal(0, 3, (96, 128, 1))
    return np.repeat(slope, 3, axis=2).round().astype(np.uint8)


def scratched(scene: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.zeros(scene.shape[:2], dtype=bool)
    for row in range(10, 86):
        line[row, row + 5 : row + 8] = True
    return np.where(line[..., None], np.uint8(value), scene), line


@pytest.mark.parametrize(("value", "tone", "other"), [(250, "bright", "dark"), (5, "dark", "bright")])
def test_a_scratch_is_found_and_nothing_else(scene: np.ndarray, value: int, tone: str, other: str) -> None:
    """If this fails, the detector misses a plain scratch, marks grain, or confuses bright with dark."""
    image, line = scratched(scene, value)
    found = detect_damage(image, grow=0)
    assert np.array_equal(found, line)
    assert np.array_equal(detect_damage(image, grow=0, tone=tone), line)
    assert not detect_damage(image, tone=other).any()
    assert not detect_damage(scene).any()


def test_wide_shapes_are_not_damage(scene: np.ndarray) -> None:
    """If this fails, windows and white walls are painted over."""
    image = scene.copy()
    image[20:60, 30:70] = 250
    assert not detect_damage(image).any()


def test_max_width_and_growth_are_in_pixels(scene: np.ndarray) -> None:
    """If this fails, a wide scratch of a large scan cannot be found, or the mask grows by another distance."""
    image = scene.copy()
    image[:, 40:52] = 250
    assert not detect_damage(image, max_width=8).any()
    found = detect_damage(image, max_width=14, grow=0)
    assert found[:, 40:52].all()
    assert found.sum() == 96 * 12
    assert detect_damage(image, max_width=14, grow=2).sum() == 96 * 16


def test_all_kinds_of_images_give_one_mask(scene: np.ndarray) -> None:
    """If this fails, the mask depends on how the same image is stored."""
    image, line = scratched(scene, 250)
    unit = image.astype(np.float32) / 255
    kinds = [
        Image.fromarray(image),
        Image.fromarray(image).convert("RGBA"),
        Image.fromarray(image[..., 0]),
        Image.fromarray(image[..., 0].astype(np.uint16) * 257),
        unit,
        torch.from_numpy(unit).permute(2, 0, 1),
    ]
    for kind in kinds:
        assert np.array_equal(detect_damage(kind, grow=0), line)


def test_a_mask_is_as_displayed(scene: np.ndarray, tmp_path) -> None:
    """If this fails, the mask of a portrait photo lies on its side."""
    image, line = scratched(scene, 250)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(detect_damage(tmp_path / "photo.png", grow=0), np.rot90(line, -1))


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"sensitivity": 1.0}, "sensitivity=1.0 must be above 0 and below 1"),
        ({"sensitivity": "high"}, "sensitivity='high'"),
        ({"max_width": 1}, "max_width=1 must be"),
        ({"tone": "brigth"}, "Did you mean 'bright'?"),
        ({"grow": -1}, "grow=-1 must be a distance"),
    ],
)
def test_wrong_options(unchecked: None, scene: np.ndarray, option: dict, said: str) -> None:
    """If this fails, a wrong option is used silently."""
    with pytest.raises(InputError) as caught:
        detect_damage(scene, **option)
    assert said in str(caught.value)


def test_one_image_at_a_time(scene: np.ndarray) -> None:
    """If this fails, all but one image of a list is ignored."""
    with pytest.raises(InputError, match="got 2 images"):
        detect_damage([scene, scene])


def test_black_and_white_is_refused(scene: np.ndarray) -> None:
    """If this fails, half of a 1-bit scan is taken for damage."""
    with pytest.raises(InputError, match="has only black and white"):
        detect_damage(scene > 128)


def test_a_mask_of_much_of_the_picture_gives_a_warning() -> None:
    """If this fails, a third of a small picture is filled as if it were damaged, without a word."""
    stripes = np.full((64, 64), 90, np.uint8)
    stripes[:, 2::12] = 250
    with pytest.warns(MaskWarning, match=r"\d+% of the picture looks damaged"):
        assert detect_damage(stripes).mean() > 0.2
