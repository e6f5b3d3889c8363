"""Pictures with holes from folders: the layouts of the field's benchmarks, and everything that can be wrong in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repaint.errors import InputError
from repaint.lab.quality.cases import bundled_holes, folder_holes, glyph_holes
from repaint.pictures.decoding import read_upright

WHITE = np.zeros((12, 14), dtype=bool)
WHITE[3:8, 4:11] = True


def picture(path: Path, size: tuple[int, int] = (12, 14), seed: int = 0) -> np.ndarray:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def mask(path: Path, white: np.ndarray = WHITE) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(white).save(path)


def test_two_folders(tmp_path: Path) -> None:
    """Images are paired with other images' masks, or the polarity is turned."""
    first, second = picture(tmp_path / "images" / "a.png"), picture(tmp_path / "images" / "b.webp", (9, 9), 1)
    mask(tmp_path / "masks" / "a.png")
    mask(tmp_path / "masks" / "b.png", np.eye(9, dtype=bool))
    holes = folder_holes(tmp_path / "images", tmp_path / "masks")
    assert [(hole.name, hole.group) for hole in holes] == [("a", "images"), ("b", "images")]
    assert np.array_equal(holes[0].image, first)
    assert holes[1].image.shape == second.shape
    assert np.array_equal(holes[0].mask, WHITE)
    assert np.array_equal(holes[0].real, ~WHITE)
    kept = folder_holes(tmp_path / "images", tmp_path / "masks", keep_mask=True)
    assert np.array_equal(kept[0].mask, ~WHITE)


def test_masks_beside_their_images(tmp_path: Path) -> None:
    """LaMa's own evaluation sets cannot be read: one image may have several masks."""
    picture(tmp_path / "set" / "a.png")
    mask(tmp_path / "set" / "a_mask000.png")
    mask(tmp_path / "set" / "a_mask001.png", ~WHITE)
    holes = folder_holes(tmp_path / "set")
    assert [hole.name for hole in holes] == ["a_mask000", "a_mask001"]
    assert [hole.picture for hole in holes] == ["a", "a"]
    assert np.array_equal(holes[1].mask, ~WHITE)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    """A benchmark that silently skips pictures reports the mean of some others."""
    images, masks, empty = tmp_path / "images", tmp_path / "masks", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no such folder"):
        folder_holes(tmp_path / "nothing", masks)
    with pytest.raises(InputError, match="the folder has no image"):
        folder_holes(empty, masks)
    picture(images / "a.png")
    picture(images / "b.png")
    mask(masks / "a.png")
    with pytest.raises(InputError, match=r"b\.png has no mask of the same name in .*masks \(1 without one\)"):
        folder_holes(images, masks)
    (images / "b.png").unlink()
    mask(masks / "c.png")
    with pytest.raises(InputError, match=r"c\.png has no image of the same name in .*images \(1 without one\)"):
        folder_holes(images, masks)
    (masks / "c.png").unlink()
    mask(masks / "a.png", WHITE[:6])
    with pytest.raises(InputError, match="6 x 14"):
        folder_holes(images, masks)
    mask(masks / "a.png", np.zeros_like(WHITE))
    with pytest.raises(InputError, match="no mask has a hole"):
        folder_holes(images, masks)
    with pytest.raises(InputError, match="Pass a folder of masks"):
        folder_holes(images)
    mask(images / "z_mask.png")
    with pytest.raises(InputError, match=r"z_mask\.png: the image z\.\* is missing"):
        folder_holes(images)


def test_pictures_that_would_be_measured_wrongly_are_refused(tmp_path: Path) -> None:
    """A 16-bit picture is clipped to white without a word, or a hole without surroundings fails after other work."""
    deep = tmp_path / "images" / "a.png"
    picture(deep)
    mask(tmp_path / "masks" / "a.png", np.ones_like(WHITE))
    with pytest.raises(InputError, match=r"masks/a\.png: the hole is the whole picture"):
        folder_holes(deep.parent, tmp_path / "masks")
    mask(tmp_path / "masks" / "a.png")
    Image.fromarray(np.full((12, 14), 30_000, dtype=np.uint16)).save(deep)
    for read in (lambda: folder_holes(deep.parent, tmp_path / "masks"), lambda: read_upright(deep)):
        with pytest.raises(InputError, match=r"a\.png: PIL mode I;16 has more than 8 bits a channel"):
            read()


def test_glyphs_carry_their_names_as_prompts() -> None:
    """The right prompt would be another glyph's."""
    hole = np.zeros((64, 64), dtype=bool)
    hole[20:40, 20:40] = True
    holes = glyph_holes(hole, "held_out", 7)
    assert len({each.name for each in holes}) == 7
    assert all(each.conditions == {"prompt": each.name} for each in holes)
    with pytest.raises(InputError, match="count=141 must be an integer from 1 to 140"):
        glyph_holes(hole, "train", 141)


def test_many_holes_of_the_samples_do_not_overlap() -> None:
    """If this fails, intervals over the many holes are too narrow: the same pixels are counted twice."""
    holes = bundled_holes("textures", many=True)
    assert len(holes) == 200
    assert {(hole.image.shape, int(hole.mask.sum())) for hole in holes} == {((48, 48, 3), 256)}
    inside = [hole.image[hole.mask].tobytes() for hole in holes]
    assert len(set(inside)) == 200
    # Holes stand in three columns, so that two which overlap share whole rows (sky has equal rows anyhow).
    rows = [row.tobytes() for hole in holes if hole.group != "sky" for row in hole.image[hole.mask].reshape(16, 16, 3)]
    assert len(set(rows)) == len(rows) == 160 * 16
    glyphs = bundled_holes("emoji", many=True)
    assert len(glyphs) == 210
    assert all(hole.conditions == {"prompt": ""} for hole in glyphs)
    assert {int(hole.mask.sum()) for hole in glyphs} == {32 * 32, 32 * 64}
