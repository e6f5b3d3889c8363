"""Images of a folder and their masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from repaint.errors import InputError
from repaint.pictures.pairs import (
    check_paired,
    masks_of,
    picture_files,
    picture_suffixes,
    split_masks,
    unique_stems,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_images_are_listed_by_stem(tmp_path: Path) -> None:
    """A text file or a hidden file is taken for an image, or an image with a capital suffix is left out."""
    (tmp_path / "sub").mkdir()
    touch(tmp_path, "b.PNG", "a.jpeg", "notes.txt", ".hidden.png", "._a.jpeg", "sub/c.png")
    assert picture_files(tmp_path) == {"a": tmp_path / "a.jpeg", "b": tmp_path / "b.PNG"}
    assert list(picture_files(tmp_path)) == ["a", "b"]


def test_folders_without_images(tmp_path: Path) -> None:
    """A wrong folder ends in a traceback, or in a run that fills nothing."""
    with pytest.raises(InputError, match=r"nothing: no such folder\. Give the folder with the images\."):
        picture_files(tmp_path / "nothing")
    with pytest.raises(InputError, match=r": the folder has no image \(\.png, .*\)\. Give another folder\."):
        picture_files(touch(tmp_path, ".hidden.png", "notes.txt"))


def test_two_images_of_one_stem() -> None:
    """One of two images of the same name is silently left out."""
    with pytest.raises(InputError, match=r"^a\.jpg and a\.png have the same name without suffix\. Rename or remove"):
        unique_stems([Path("a.jpg"), Path("b.png"), Path("a.png")])


def test_an_image_or_mask_without_a_partner() -> None:
    """An image without a mask is skipped, so that results are missing without an error."""
    message = r"^b\.png has no mask of the same name in holes \(2 without one\)\. Add the mask, or remove the file\.$"
    with pytest.raises(InputError, match=message):
        check_paired({"a": "a.png", "b": "b.png", "c": "c.png"}, {"a": "a.png"}, "photos", "holes")
    with pytest.raises(InputError, match=r"^b\.png has no image of the same name in photos \(1 without one\)\."):
        check_paired({"a": "a.png"}, {"a": "a.png", "b": "b.png"}, "photos", "holes")
    check_paired({"a": "a.png"}, {"a": "a.webp"}, "photos", "holes")


def test_every_format_of_pil_is_an_image() -> None:
    """If this fails, images that are read one by one are left out of a folder without a word."""
    wanted = {
        ".png",
        ".jpg",
        ".jfif",
        ".avif",
        ".gif",
        ".jp2",
        ".tga",
        ".ppm",
        ".psd",
        ".ico",
        ".webp",
        ".tiff",
        ".dds",
    }
    assert wanted <= picture_suffixes()
    assert not {".pdf", ".eps", ".mpg", ".txt", ".json"} & picture_suffixes()


def test_files_that_are_left_out_are_named(tmp_path: Path) -> None:
    """If this fails, a drawing or a film in a folder is skipped without a word, or each text file gives a warning."""
    touch(tmp_path, "a.png", "b.svg", "c.mp4", "notes.txt", "a.json", "._a.png", "Thumbs.db")
    with pytest.warns(UserWarning, match=r"2 files left out, not an image that can be read: b\.svg, c\.mp4$"):
        assert list(picture_files(tmp_path, name_others=True)) == ["a"]


def test_subfolders(tmp_path: Path) -> None:
    """If this fails, --recursive mixes images of one name, or takes the hidden files of macOS for images."""
    for name in ("x", "y/z", ".hidden", "__MACOSX"):
        (tmp_path / name).mkdir(parents=True)
    touch(tmp_path, "a.png", "x/a.jpg", "y/z/b.png", "x/._a.jpg", ".hidden/c.png", "__MACOSX/d.png")
    assert list(picture_files(tmp_path, recursive=True)) == ["a", "x/a", "y/z/b"]
    with pytest.raises(InputError, match=r"the folder has no image .*To search its subfolders, add --recursive\."):
        picture_files(tmp_path / "y")


def test_results_in_a_subfolder_are_no_images(tmp_path: Path) -> None:
    """If this fails, a second run with --recursive fills the results of the first."""
    (tmp_path / "out" / "deep").mkdir(parents=True)
    touch(tmp_path, "a.png", "out/repaint.json", "out/a.png", "out/deep/b.png")
    assert list(picture_files(tmp_path, recursive=True)) == ["a"]
    assert list(picture_files(tmp_path / "out")) == ["a"]


def test_subfolders_that_are_not_searched_are_named(tmp_path: Path) -> None:
    """If this fails, the images of subfolders are skipped without a word."""
    for name in ("x", "y", ".hidden"):
        (tmp_path / name).mkdir()
    touch(tmp_path, "a.png", "x/a.jpg")
    with pytest.warns(UserWarning, match=r"its subfolders are not searched \(x, y\)\. To search them, add --recursive"):
        assert list(picture_files(tmp_path, name_others=True)) == ["a"]


def test_masks_by_the_names_of_other_programs() -> None:
    """If this fails, masks that IOPaint (NAME_mask) or LaMa (NAME_mask001) wrote find no image."""
    names = ["a", "a_mask", "b", "b_mask001", "b_mask002", "c", "c_mask", "lone_mask"]
    files = {name: Path(f"{name}.png") for name in names}
    images, masks = split_masks(files)
    assert list(images) == ["a", "b", "c", "lone_mask"]
    assert {name: list(found) for name, found in masks.items()} == {
        "a": ["a_mask"],
        "b": ["b_mask001", "b_mask002"],
        "c": ["c_mask"],
    }
    assert list(masks_of({"a": Path("a.png")}, {"a": Path("m/a.png")})["a"]) == ["a"]
    assert list(masks_of({"a_mask": Path("a_mask.png")}, {"a_mask": Path("m/a_mask.png")})["a_mask"]) == ["a_mask"]
