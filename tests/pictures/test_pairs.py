"""Images of a folder and their masks."""

from __future__ import annotations

from pathlib import Path

import pytest

from repaint.errors import InputError
from repaint.pictures.pairs import check_paired, picture_files, unique_stems


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
    with pytest.raises(InputError, match=r": the folder has no image \(\.bmp, .*\)\. Give another folder\."):
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
