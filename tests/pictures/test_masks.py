"""Keep masks: polarity, invalid masks, and edges."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image, ImageOps

from repaint.errors import InputError, MaskWarning
from repaint.pictures.images import read_images
from repaint.pictures.masks import (
    feather,
    grow,
    hard_mask,
    invert,
    known,
    read_keep,
    read_map,
    read_masks,
    thickness,
)

HARD = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
KEEP = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]])


def keep_of(mask: object) -> torch.Tensor:
    (keep,) = read_keep(keep_mask=mask, sizes=[(2, 3)])
    return keep


# Reading -------------------------------------------------------------------------------------------------------------


def test_the_two_polarities() -> None:
    """White is kept where it should be repainted, or the other way round."""
    (repaint_white,) = read_keep(HARD, sizes=[(2, 3)])
    (keep_white,) = read_keep(keep_mask=HARD, sizes=[(2, 3)])
    assert torch.equal(keep_white, KEEP)
    assert torch.equal(repaint_white, 1 - KEEP)
    assert keep_white.dtype == torch.float32


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {},
            r"Give exactly one of mask_image and keep_mask \(neither is given\)\. White is repainted in mask_image and",
        ),
        ({"mask_image": HARD, "keep_mask": HARD}, r"Give exactly one of mask_image and keep_mask \(both are given\)"),
    ],
)
def test_exactly_one_mask(given: dict[str, Any], message: str) -> None:
    """A call without a mask, or with two masks, uses a guess instead of an error."""
    with pytest.raises(InputError, match=message):
        read_keep(**given, sizes=[(2, 3)])


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(HARD),
        Image.fromarray(HARD > 0),
        Image.fromarray(HARD).convert("RGB"),
        Image.fromarray(HARD).convert("RGBA"),
        Image.fromarray(HARD).convert("LA"),
        Image.fromarray(HARD).convert("RGB").convert("P"),
        Image.fromarray(HARD).convert("CMYK"),
        Image.fromarray(HARD.astype(np.uint16) * 257),
        Image.fromarray(HARD.astype(np.int32) * 257),
        Image.fromarray(HARD.astype(np.float32)),
        HARD,
        HARD[..., None],
        np.repeat(HARD[..., None], 3, 2),
        np.concatenate([np.repeat(HARD[..., None], 3, 2), HARD[..., None]], 2),
        HARD[None],
        HARD[None, ..., None],
        HARD > 0,
        HARD.astype(np.uint16) * 257,
        HARD / 255,
        (HARD / 255).astype(np.float16),
        torch.from_numpy(HARD),
        torch.from_numpy(HARD)[None],
        torch.from_numpy(HARD)[None, None],
        torch.from_numpy(HARD) > 0,
        KEEP,
        KEEP.double(),
        KEEP.bfloat16(),
        [HARD],
        (KEEP,),
    ],
    ids=lambda mask: f"{type(mask).__name__} {getattr(mask, 'dtype', '')}".strip(),
)
def test_every_form_of_a_mask_is_read_alike(mask: Any) -> None:
    """One of the accepted forms is read on another scale, with alpha, or with its axes mixed up."""
    assert torch.equal(keep_of(mask), KEEP)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_mask_files_are_turned_like_pictures(tmp_path: Path, orientation: int) -> None:
    """A mask with an EXIF orientation is not turned as the picture is."""
    shown = Image.fromarray(HARD)
    undo = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = shown.transpose(undo[orientation]) if orientation in undo else shown
    stored.save(tmp_path / "mask.png", exif=exif)
    assert torch.equal(keep_of(tmp_path / "mask.png"), KEEP)
    assert torch.equal(keep_of(str(tmp_path / "mask.png")), KEEP)


def test_soft_values_stay_soft() -> None:
    """Grey edges are thresholded, or the polarity rounds them."""
    soft = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 1.0]])
    assert torch.equal(keep_of(soft), torch.from_numpy(soft).float()[None])
    (keep,) = read_keep(soft, sizes=[(2, 3)])
    assert torch.equal(keep, 1 - torch.from_numpy(soft).float()[None])
    assert keep_of(np.full((2, 3), 128, np.uint8)).unique().tolist() == pytest.approx([128 / 255])


def test_batches_and_one_for_all() -> None:
    """Masks are paired with the wrong pictures."""
    sizes = [(2, 3), (2, 3), (4, 5)]
    three = [HARD, 255 - HARD, np.ones((4, 5), bool)]
    assert [tuple(keep.shape) for keep in read_keep(three, sizes=sizes)] == [(1, 2, 3), (1, 2, 3), (1, 4, 5)]
    stack = np.stack(three[:2])
    for batch in (stack, stack[..., None], torch.from_numpy(stack)[:, None], [stack[:1], three[1]]):
        first, second = read_keep(keep_mask=batch, sizes=sizes[:2])
        assert torch.equal(first, KEEP)
        assert torch.equal(second, 1 - KEEP)
    first, second = read_keep(keep_mask=HARD, sizes=sizes[:2])
    assert torch.equal(first, KEEP)
    assert torch.equal(second, KEEP)


def test_few_columns_do_not_look_like_channels() -> None:
    """A batch of masks three pixels wide is read as one colour mask."""
    stack = np.stack([HARD, 255 - HARD, HARD])
    assert len(read_keep(stack, sizes=[(2, 3)] * 3)) == 3
    assert len(read_keep(np.repeat(HARD[..., None], 3, 2), sizes=[(2, 3)] * 3)) == 3


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.zeros((3, 3), bool),
            r"mask_image is 3 x 3 and its image 2 x 3 \(height x width\): a mask is never resized\. Give",
        ),
        ([HARD, HARD], r"mask_image has 2 masks for 1 images\. Give one for all or one for each"),
        ([], r"mask_image has 0 masks for 1 images"),
        (5, r"mask_image is a int: allowed are paths"),
        (
            Image.fromarray(np.stack([HARD, HARD, 0 * HARD], 2)),
            r"mask_image has colours \(2: \(0, 0, 0\), .*\), but a mask is black and white\. .*--threshold 0\.5",
        ),
        (np.full((2, 3), np.nan), r"mask_image has 6 NaN or infinite values\. Replace"),
        (np.full((2, 3), -1.0), r"mask_image has values from -1\.0 to -1\.0: they must lie in \[0, 1\]"),
        (np.full((2, 3), 255.0), r"mask_image has values from 255\.0 to 255\.0: .*x / 255"),
        (np.ones((2, 3), np.int64), r"mask_image has dtype int64: .*x\.astype\(bool\)"),
        (np.full((2, 3), 99, np.int64), r"mask_image has dtype int64: .*x\.astype\(numpy\.uint8\)"),
        (
            np.ones((2, 3), np.uint8),
            r"mask_image has 1 as its largest value where white is 255: it looks like 0/1 labels",
        ),
        (Image.fromarray(np.ones((2, 3), np.uint8)), r"looks like 0/1 labels\. Pass it as bool, or multiply it by 255"),
        (np.zeros(3), r"mask_image has shape \(3,\): it must be \(H, W\)"),
        (np.zeros((1, 2, 3, 7)), r"mask_image has shape \(2, 3, 7\): at most 4 channels are read"),
        (torch.zeros(3, 2, 3), r"mask_image has shape \(3, 2, 3\): it must be \(H, W\), \(1, H, W\) or \(B, 1, H, W\)"),
        (torch.zeros(2, 3, dtype=torch.int64), r"mask_image has dtype torch\.int64: allowed are bool, .*x\.bool\(\)"),
        (torch.full((2, 3), 255, dtype=torch.int64), r"mask_image has dtype torch\.int64: .*x\.to\(torch\.uint8\)"),
        (Path("no-such-mask.png"), r"No file no-such-mask\.png"),
        (Image.new("HSV", (3, 2)), r"mask_image has PIL mode HSV"),
    ],
)
def test_what_is_refused(mask: Any, message: str) -> None:
    """A mask that cannot be read exactly is resized, clipped or guessed at."""
    with pytest.raises(InputError, match=message):
        read_keep(mask, sizes=[(2, 3)])


@pytest.mark.parametrize(
    "image", [np.zeros((3, 8, 9)), np.zeros((1, 1, 8, 9)), torch.zeros(8, 9, 3), torch.zeros(1, 8, 9, 4)]
)
def test_transposed_images_are_named(image: Any) -> None:
    """An image whose channels are on the wrong axis ends in an error about the mask alone."""
    sizes = [picture.size for picture in read_images(image)]
    with pytest.raises(InputError, match=r"or transpose the image: arrays are \(H, W, C\), and tensors \(C, H, W\)"):
        read_keep(np.zeros((8, 9), bool), sizes=sizes)


def test_jpeg_masks_warn_once(tmp_path: Path) -> None:
    """JPEG artefacts become thousands of soft pixels without a warning, or clean masks cause the warning."""
    hole = np.zeros((64, 64), np.uint8)
    hole[20:37, 13:50] = 255
    Image.fromarray(hole).save(tmp_path / "mask.jpg")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    with pytest.warns(
        MaskWarning,
        match=r"mask_image .*mask\.jpg has \d+ pixels that are almost but not exactly .*--threshold 0\.5.*hard_mask",
    ) as caught:
        (keep,) = read_keep([tmp_path / "mask.jpg"] * 3, sizes=[(64, 64)] * 3)[:1]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (exact,) = read_keep(tmp_path / "mask.png", sizes=[(64, 64)])
        read_keep(np.full((64, 64), 0.5), sizes=[(64, 64)])
    assert torch.equal((keep >= 0.5).float(), exact)


# What values mean ----------------------------------------------------------------------------------------------------

BLOB = np.zeros((32, 32), np.uint8)
BLOB[10:20, 10:20] = 255


def layer(mode: str, paint: int | tuple[int, int, int], ground: int, alpha: np.ndarray = BLOB) -> Image.Image:
    """A layer of an editor: one colour where alpha is above 0, another under the transparent part."""
    rgb = np.where(alpha[..., None] > 0, np.array(paint), ground).astype(np.uint8) * np.ones(3, np.uint8)
    picture = Image.fromarray(np.dstack([rgb, alpha]))
    return picture if mode == "RGBA" else Image.fromarray(np.dstack([rgb[..., 0], alpha]))


def alone(mask: object, **options: Any) -> torch.Tensor:
    """One mask for a picture of 32 x 32, without any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_keep(mask, sizes=[(32, 32)], **options)[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("paint", "ground"), [(0, 0), (255, 255), (255, 0), (90, 0)])
def test_paint_on_a_transparent_layer_is_the_mask(tmp_path: Path, mode: str, paint: int, ground: int) -> None:
    """The layer of an editor is read as one flat colour: nothing is filled, or everything."""
    expected = torch.from_numpy(BLOB == 0).float()[None]
    mask = layer(mode, paint, ground)
    mask.save(tmp_path / "layer.png")
    assert torch.equal(alone(mask), expected)
    assert torch.equal(alone(np.asarray(mask)), expected)
    assert torch.equal(alone(tmp_path / "layer.png"), expected)
    (kept,) = read_keep(keep_mask=mask, sizes=[(32, 32)])
    assert torch.equal(kept, 1 - expected)


def test_coloured_paint_and_soft_brushes_on_a_layer() -> None:
    """Red paint on a transparent layer is refused for its colour, or the soft rim of a brush becomes hard."""
    assert torch.equal(alone(layer("RGBA", (255, 0, 0), 0)), torch.from_numpy(BLOB == 0).float()[None])
    soft = BLOB.copy()
    soft[9, 10:20] = 100
    premultiplied = np.dstack([soft, soft, soft, soft])
    for mask in (layer("RGBA", 255, 0, soft), premultiplied):
        assert alone(mask)[0, 9, 12] == pytest.approx(1 - 100 / 255)


def test_transparent_palette_entries_and_colour_keys(tmp_path: Path) -> None:
    """Transparency that a palette or a PNG's colour key holds is ignored."""
    grey = Image.fromarray(np.where(BLOB > 0, 7, 0).astype(np.uint8))
    palette = grey.convert("P")
    palette.putpalette([40, 40, 40] * 256)
    palette.save(tmp_path / "palette.png", transparency=0)
    grey.save(tmp_path / "key.png", transparency=0)
    Image.fromarray(np.full((32, 32, 3), 9, np.uint8) * (BLOB[..., None] > 0)).save(
        tmp_path / "rgb.png", transparency=(0, 0, 0)
    )
    for name in ("palette.png", "key.png", "rgb.png"):
        assert torch.equal(alone(tmp_path / name), torch.from_numpy(BLOB == 0).float()[None]), name


def test_alpha_that_says_nothing_is_ignored() -> None:
    """An opaque, or evenly translucent, mask is read from its alpha: everything is repainted."""
    for alpha in (255, 128, 1):
        rgba = np.dstack([BLOB, BLOB, BLOB, np.full_like(BLOB, alpha)])
        assert torch.equal(alone(rgba), torch.from_numpy(BLOB == 0).float()[None])
    nearly = np.full_like(BLOB, 255)
    nearly[0] = 250
    assert torch.equal(alone(np.dstack([BLOB, nearly])), torch.from_numpy(BLOB == 0).float()[None])


def test_alpha_that_contradicts_the_colours_is_refused() -> None:
    """Of two possible masks in one file, one is taken without a word."""
    stripes = np.zeros_like(BLOB)
    stripes[:, ::2] = 255
    with pytest.raises(InputError, match=r"several colours, so that its alpha and its colours say different.*'A'"):
        alone(np.dstack([stripes, BLOB]))
    with pytest.raises(InputError, match=r"black paint on transparent white"):
        alone(layer("LA", 0, 255))


def test_an_erased_layer_is_named() -> None:
    """Black with an erased hole, the mask of some editing services, repaints all but the hole without a word."""
    with pytest.warns(MaskWarning, match=r"read from its alpha: the painted part, 90% of the picture, .*--keep-mask"):
        read_keep(layer("RGBA", 0, 0, 255 - BLOB), sizes=[(32, 32)])


def test_an_unpainted_layer_repaints_nothing() -> None:
    """A layer without paint, whose hidden colour is white, repaints the whole picture."""
    with pytest.warns(MaskWarning, match="is black everywhere: nothing is repainted"):
        (keep,) = read_keep(Image.new("RGBA", (32, 32), (255, 255, 255, 0)), sizes=[(32, 32)])
    assert (keep == 1).all()


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        ((0, 5), np.uint8, r"has 5 as its largest value where white is 255: it looks like labels\. Pass it as bool"),
        ((0, 255), np.uint16, r"has 255 as its largest .* 65535: it looks like 8-bit values in 16 bits.*by 257"),
        ((0, 255), np.int32, r"looks like 8-bit values in 16 bits"),
        ((0, 1), np.uint16, r"0/1 labels"),
        ((0, 4095), np.uint16, r"4095 as its largest .* looks like 12-bit values in 16 bits.*divide it by 4095"),
        ((0, 1023), np.int32, r"looks like 10-bit values in 16 bits\. Pass it as bool, or divide it by 1023"),
        ((0, 16383), np.uint16, r"looks like 14-bit values in 16 bits"),
        ((0, 3000), np.uint16, r"looks like labels, or values of fewer than 16 bits\. .* or image / 3000;"),
    ],
)
def test_values_near_black_are_refused(values: tuple[int, int], dtype: type, message: str) -> None:
    """Labels, or 8-bit values in a wider type, are nearly black: the hole is blended in by a few per cent, silently."""
    mask = Image.fromarray(np.where(BLOB > 0, values[1], values[0]).astype(dtype))
    with pytest.raises(InputError, match=message):
        alone(mask)
    assert torch.equal(alone(mask, threshold=1 / 65535), torch.from_numpy(BLOB == 0).float()[None])


def test_maps_of_strength_may_be_dark() -> None:
    """A dark map of strengths is refused as labels."""
    (share,) = read_map("strength", np.where(BLOB > 0, 12, 0).astype(np.uint8), sizes=[(32, 32)])
    assert share.max() == pytest.approx(12 / 255)


@pytest.mark.parametrize(("dtype", "grey", "ground"), [(np.uint8, 128, 0), (np.uint16, 30000, 0), (np.uint8, 255, 60)])
@pytest.mark.parametrize("argument", ["mask_image", "keep_mask"])
def test_holes_that_are_mostly_grey_are_named(argument: str, dtype: type, grey: int, ground: int) -> None:
    """A hole of value 128, or a picture of value 60, is blended instead of filled, without a word."""
    white = np.iinfo(dtype).max
    values = np.where(BLOB > 0, grey, ground).astype(dtype)
    mask = Image.fromarray(values if argument == "mask_image" else (white - values).astype(dtype))
    with pytest.warns(MaskWarning, match=r"is grey .* of the hole.*--threshold 0\.\d+ .*hard_mask.*strength"):
        read_keep(**{argument: mask}, sizes=[(32, 32)])
    if not ground:
        assert np.array_equal(
            hard_mask(mask, 0.4 if argument == "mask_image" else 0.9), (BLOB > 0) ^ (argument != "mask_image")
        )


@pytest.mark.parametrize("argument", ["mask_image", "keep_mask"])
@pytest.mark.parametrize("grey", [20, 64, 127, 128, 200])
def test_the_threshold_that_is_advised_leaves_a_hole(argument: str, grey: int) -> None:
    """A hole of value 127 is warned of, and the advised threshold of 0.5 makes it vanish."""
    values = np.where(BLOB > 0, grey, 0).astype(np.uint8)
    given = {argument: values if argument == "mask_image" else 255 - values}
    with pytest.warns(MaskWarning, match="is grey") as caught:
        read_keep(**given, sizes=[(32, 32)])
    (found,) = re.findall(r"--threshold (\S+) in", str(caught[0].message))
    (keep,) = read_keep(**given, sizes=[(32, 32)], threshold=float(found))
    assert np.array_equal(keep[0].numpy() == 0, BLOB > 0)


def test_empty_masks_are_named() -> None:
    """A mask of the wrong polarity, or the wrong file, fills nothing, with exit status 0 and no word."""
    with pytest.warns(MaskWarning, match=r"mask_image is black everywhere: nothing is repainted\..*--keep-mask"):
        read_keep(np.zeros((32, 32), np.uint8), sizes=[(32, 32)])
    with pytest.warns(MaskWarning, match=r"keep_mask is white everywhere.*mask_image"):
        read_keep(keep_mask=np.ones((32, 32), bool), sizes=[(32, 32)])


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_red_masks_and_palettes(mode: str) -> None:
    """The advice for a red mask makes it dark grey, so that the hole is blended by a third."""
    red = Image.fromarray(np.dstack([BLOB, 0 * BLOB, 0 * BLOB])).convert(mode)
    with pytest.raises(InputError, match=r"has colours \(2: \(0, 0, 0\), \(255, 0, 0\)\).*--threshold") as refused:
        alone(red)
    assert "convert('L')" not in str(refused.value)
    assert torch.equal(alone(red, threshold=0.5), torch.from_numpy(BLOB == 0).float()[None])
    assert np.array_equal(hard_mask(red), BLOB > 0)
    on_white = Image.fromarray(np.dstack([np.full_like(BLOB, 255), 255 - BLOB, 255 - BLOB]))
    with pytest.raises(InputError, match=r"no black background"):
        alone(on_white, threshold=0.5)


def test_dark_colours_and_painted_photographs() -> None:
    """The threshold that the error names fills nothing of a dark palette mask, or bright parts of a photograph."""
    dark = Image.fromarray(np.dstack([np.where(BLOB > 0, 64, 0).astype(np.uint8), 0 * BLOB, 0 * BLOB]))
    with pytest.raises(InputError, match=r"use --threshold 0\.12 in the shell"):
        alone(dark)
    assert torch.equal(alone(dark, threshold=0.12), torch.from_numpy(BLOB == 0).float()[None])
    photograph = np.random.default_rng(0).integers(30, 256, (32, 32, 3), dtype=np.uint8)
    photograph[BLOB > 0] = (255, 0, 0)
    photograph[0, 0] = 0
    for options in ({}, {"threshold": 0.5}):
        with pytest.raises(InputError, match=r"no black background, .*Save the mask alone, in white on black"):
            alone(photograph, **options)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_thin_jpeg_masks_in_large_pictures(tmp_path: Path, quality: int) -> None:
    """The artefacts around a wire are 0.1 % of a large picture, and as many pixels as the wire: nobody is told."""
    wire = np.zeros((600, 800), np.uint8)
    rows = np.arange(800) * 599 // 799
    for shift in range(3):
        wire[np.minimum(rows + shift, 599), np.arange(800)] = 255
    Image.fromarray(wire).save(tmp_path / "wire.jpg", quality=quality)
    with pytest.warns(MaskWarning, match=r"wire\.jpg has \d+ pixels that are almost"):
        read_keep(tmp_path / "wire.jpg", sizes=[wire.shape])
    assert np.array_equal(hard_mask(tmp_path / "wire.jpg"), wire > 0)


def test_masks_of_lossy_webp_files_are_named_in_counts(tmp_path: Path) -> None:
    """A thin mask in a lossy WebP file is refused for its colours, or the warning says "1033 % of the hole"."""
    wire = np.zeros((600, 800), np.uint8)
    wire[np.arange(600), np.arange(600) + 100] = 255
    Image.fromarray(wire).convert("RGB").save(tmp_path / "wire.webp", quality=60)
    assert np.ptp(np.asarray(Image.open(tmp_path / "wire.webp")), axis=2).max() > 0
    with pytest.warns(MaskWarning, match=r"has \d+ pixels that are almost .* lossy files .*, and 600 in the hole\."):
        read_keep(tmp_path / "wire.webp", sizes=[wire.shape])
    assert np.array_equal(hard_mask(tmp_path / "wire.webp"), wire > 0)
    every = np.repeat(BLOB[..., None] > 0, 3, axis=2)
    assert np.array_equal(hard_mask(every), BLOB > 0)


def test_soft_edges_are_not_taken_for_jpeg() -> None:
    """Feathered and blurred masks cause a warning each time."""
    from PIL import ImageFilter

    large = np.zeros((128, 128), np.uint8)
    large[32:96, 32:96] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for radius in (1, 4, 8):
            read_keep(Image.fromarray(large).filter(ImageFilter.GaussianBlur(radius)), sizes=[large.shape])
            feathered = 255 * (1 - feather(torch.from_numpy(large == 0).float(), radius))
            read_keep(feathered.round().to(torch.uint8), sizes=[large.shape])


def test_masks_that_were_read_are_not_checked_again() -> None:
    """A mask that was read for a folder warns a second time in the pipeline, under another name."""
    with pytest.warns(MaskWarning):
        masks = read_masks(np.zeros((32, 32), np.uint8), sizes=[(32, 32)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(read_keep(keep_mask=masks, sizes=[(32, 32)])[0], masks[0].keep)


@pytest.mark.parametrize("threshold", [0, 1.5, -1, float("nan")])
def test_thresholds_out_of_range(threshold: Any) -> None:
    """A threshold of 128 makes every mask black."""
    with pytest.raises(InputError, match=r"threshold=.* must be in \(0, 1\]"):
        read_keep(BLOB, sizes=[(32, 32)], threshold=threshold)
    with pytest.raises(InputError, match=r"threshold=.* must be in \(0, 1\]"):
        hard_mask(BLOB, threshold)


# Edges ---------------------------------------------------------------------------------------------------------------


def test_known_and_invert() -> None:
    """Soft pixels count as known."""
    keep = torch.tensor([[[0.0, 0.49, 0.5, 0.999, 1.0]]])
    assert known(keep).tolist() == [[[False, False, False, False, True]]]
    assert torch.equal(invert(invert(KEEP)), KEEP)


def test_feather_by_hand() -> None:
    """The soft edge has a wrong width or slope."""
    keep = torch.tensor([[[1.0, 0, 0, 0, 0, 0]]])
    assert feather(keep, 3)[0, 0].tolist() == pytest.approx([1, 0.75, 0.5, 0.25, 0, 0])
    assert torch.equal(feather(keep, 0), keep)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 2**31), st.floats(0, 9))
def test_feather_stays_inside_the_hole(height: int, width: int, seed: int, radius: float) -> None:
    """Feathering changes a kept pixel, reaches too deep, or leaves [0, 1]."""
    keep = (np.random.default_rng(seed).random((2, 1, height, width)) > 0.6).astype(np.float32)
    keep = torch.from_numpy(keep)
    soft = feather(keep, radius)
    assert soft.dtype == keep.dtype
    assert 0 <= soft.min() <= soft.max() <= 1
    assert torch.equal(known(soft), known(keep))
    for before, after in zip(keep[:, 0], soft[:, 0], strict=True):
        kept = torch.nonzero(before == 1).double()
        for spot in torch.nonzero(before == 0).double():
            far = not len(kept) or (kept - spot).norm(dim=1).min() >= radius + 1
            assert (after[tuple(spot.int())] == 0) == far


def test_grow_by_hand() -> None:
    """The hole grows by a wrong distance, or soft values remain."""
    keep = torch.ones(1, 7, 7)
    keep[0, 3, 3] = 0.4
    rows, columns = np.ogrid[:7, :7]
    for pixels in (0, 1, 1.5, 2, 3):
        expected = np.hypot(rows - 3, columns - 3) > pixels
        assert torch.equal(grow(keep, pixels)[0], torch.from_numpy(expected).float())
    assert torch.equal(grow(torch.ones(1, 3, 3), 5), torch.ones(1, 3, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda keep: feather(keep, -1), r"radius=-1 must be at least 0 \(use grow to move an edge\)"),
        (lambda keep: feather(keep, float("nan")), r"radius=nan must be at least 0"),
        (lambda keep: grow(keep, -2), r"pixels=-2 must be at least 0 \(to shrink a hole, invert"),
    ],
)
def test_negative_edges(change: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
    """A negative radius gives a mask outside [0, 1]."""
    with pytest.raises(InputError, match=message):
        change(KEEP)


def test_thickness_is_the_largest_circle_of_the_hole() -> None:
    """If this fails, a scratch counts as a large hole, or a hole at the border of the image as a small one."""
    keep = torch.ones(1, 40, 60)
    assert thickness(keep) == 0
    keep[:, 5, 2:50] = 0
    assert thickness(keep) == 1
    keep[:, 10:19, 10:50] = 0.5
    assert thickness(keep) == 9
    keep[:, 22:30, 10:50] = 0
    assert thickness(keep) == 9  # 8 pixels wide: between two pixels, so it counts as 7
    keep = torch.ones(1, 40, 60)
    keep[:, :, 45:] = 0
    assert thickness(keep) == 2 * 15 - 1  # the farthest pixel is 15 columns away from the known part
    assert thickness(torch.zeros(1, 4, 4)) == math.inf


@given(arrays(bool, (9, 11)))
def test_thickness_against_every_pair_of_pixels(hole: Any) -> None:
    """If this fails, the search in the box around the hole misses a nearer known pixel."""
    inside, outside = np.argwhere(hole), np.argwhere(~hole)
    found = thickness(torch.from_numpy(~hole)[None].float())
    if not len(inside) or not len(outside):
        assert found == (math.inf if len(inside) else 0)
        return
    far = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(-1)).min(axis=1).max()
    assert found == pytest.approx(2 * far - 1)


# Orientation


@pytest.mark.parametrize("turn", range(2, 9))
def test_masks_on_stored_and_on_upright_pixels(turn: int) -> None:
    """If this fails, a hole that was drawn on the stored pixels of a photograph lands elsewhere, without a word."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    image.info["exif"] = exif.tobytes()
    stored = np.zeros((6, 9), bool)
    stored[1:3, 1:7] = True
    (picture,) = read_images(image)
    given = {"sizes": [picture.size], "turns": [picture.orientation]}
    right = np.asarray(ImageOps.exif_transpose(image))[np.asarray(upright_like(stored, exif))]
    if turn > 4:
        (keep,) = read_keep(stored, **given)
        assert np.array_equal(picture.raw[(keep[0] == 0).numpy()], right)
    else:
        with pytest.warns(MaskWarning, match=rf"EXIF orientation {turn}, and mask_image has none: it is read as drawn"):
            read_keep(stored, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tagged = Image.fromarray(stored)
        tagged.info["exif"] = exif.tobytes()
        (keep,) = read_keep(tagged, **given)
    assert np.array_equal(picture.raw[(keep[0] == 0).numpy()], right)


@pytest.mark.parametrize("turn", [1, 2, 3, 4])
def test_only_photographs_on_their_side_have_masks_on_their_side(turn: int) -> None:
    """If this fails, a mask of height x width that fits width x height is read for a photograph that is not turned."""
    lying = np.zeros((9, 6), bool)
    lying[2:5, 1:4] = True
    with pytest.raises(InputError, match=r"mask_image is 9 x 6 and its image 6 x 9 .*a mask is never resized"):
        read_keep(lying, sizes=[(6, 9)], turns=[turn])


def upright_like(mask: np.ndarray, exif: Image.Exif) -> Image.Image:
    tagged = Image.fromarray(mask)
    tagged.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(tagged)
