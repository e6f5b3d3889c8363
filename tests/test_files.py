"""Writing files and folders atomically."""

from __future__ import annotations

from pathlib import Path

import pytest

from repaint import files
from repaint.errors import InputError


def test_atomic_path_replaces_only_on_success(tmp_path: Path) -> None:
    """A crash while writing destroys the older file or leaves a temporary one behind."""
    target = tmp_path / "result.txt"
    target.write_text("old")

    def fail() -> None:
        with files.atomic_path(target) as draft:
            assert draft.parent == target.parent
            assert draft.suffix == ".txt"
            draft.write_text("half of the n")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]
    assert target.read_text() == "old"
    with files.atomic_path(target) as draft:
        draft.write_text("new")
        assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.txt"]
    assert target.read_text() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """If this fails, a link to a file on another disk becomes a file, and the file that it pointed to stays old."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "result.txt").symlink_to(tmp_path / "disk" / "real")
    for text in ("new", "newer"):  # first dangling
        files.check_place(tmp_path / "result.txt")
        with files.atomic_path(tmp_path / "result.txt") as draft:
            assert draft.suffix == ".txt"
            draft.write_text(text)
        assert (tmp_path / "result.txt").is_symlink()
        assert (tmp_path / "disk" / "real").read_text() == text
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"Cannot write .*loop: .* Choose another name"):
        files.check_place(tmp_path / "loop")


def test_atomic_folder_replaces_only_on_success(tmp_path: Path) -> None:
    """A crash while a folder is written destroys the older one, or leaves a half or temporary one behind."""
    target = tmp_path / "prior"

    def write(text: str, replaces: str | None = None, fail: bool = False) -> None:
        with files.atomic_folder(target, replaces=replaces) as draft:
            assert draft.parent == target.parent
            (draft / "mark.txt").write_text(text)
            if fail:
                raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write("half", fail=True)
    assert not list(tmp_path.iterdir())
    write("old")
    with pytest.raises(RuntimeError, match="interrupted"):
        write("half", "mark.txt", fail=True)
    assert (target / "mark.txt").read_text() == "old"
    write("new", "mark.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["prior"]
    assert (target / "mark.txt").read_text() == "new"


def test_atomic_folder_gives_the_older_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails while the folders are exchanged destroys both."""
    target = tmp_path / "prior"
    target.mkdir()
    (target / "mark.txt").write_text("old")
    rename = Path.rename

    def fail(path: Path, to: Path) -> Path:
        if to == target and not (path / "mark.txt").exists():
            raise OSError("Input/output error")
        return rename(path, to)

    def write() -> None:
        with files.atomic_folder(target, replaces="mark.txt"):
            monkeypatch.setattr(Path, "rename", fail)

    with pytest.raises(
        InputError, match=r"Cannot write .*prior: Input/output error\. Check permissions and free space"
    ):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["prior"]
    assert (target / "mark.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "replaces", "message"),
    [
        (
            "there",
            None,
            r"Cannot write .*there: it exists\. Remove it, choose another name, or allow overwriting\.",
        ),
        (
            "there",
            "mark.txt",
            r"Cannot overwrite .*there: it has no mark\.txt, so it is not the same kind",
        ),
        ("file", "mark.txt", r"Cannot overwrite .*file: it has no mark\.txt, so it is not the same kind"),
        ("none/new", None, r"Cannot write .*new: no folder .*none\. Create it first\."),
    ],
)
def test_folders_that_cannot_be_written(tmp_path: Path, name: str, replaces: str | None, message: str) -> None:
    """A mistyped folder name deletes another folder."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("years")

    def write() -> None:
        with files.atomic_folder(tmp_path / name, replaces=replaces):
            raise AssertionError("the block must not begin")

    with pytest.raises(InputError, match=message):
        write()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there", "thesis.tex"]


def test_written_files_have_usual_permissions(tmp_path: Path) -> None:
    """Only the owner can read results, as with temporary files."""
    (tmp_path / "plain").write_text("x")
    with files.atomic_path(tmp_path / "ours") as draft:
        draft.write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failed_writes_say_why(tmp_path: Path) -> None:
    """A full disk ends in a traceback."""

    def fill() -> None:
        with files.atomic_path(tmp_path / "out.bin"):
            raise OSError("No space left on device")

    with pytest.raises(InputError, match=r"Cannot write .*out\.bin: No space left on device\. Check permissions"):
        fill()


def test_a_file_that_is_read_is_never_written(tmp_path: Path) -> None:
    """A photograph is lost because the result has its name, or another name of the same file."""
    photo, folder = tmp_path / "photo.png", tmp_path / "sub"
    photo.write_text("years")
    folder.mkdir()
    (tmp_path / "soft.png").symlink_to(photo)
    (tmp_path / "hard.png").hardlink_to(photo)
    for target in (photo, tmp_path / "soft.png", tmp_path / "hard.png", folder / ".." / "photo.png"):
        with pytest.raises(
            InputError, match=r"Cannot write .*: it is an input, and would be lost\. Choose another name"
        ):
            files.check_unread([None, tmp_path / "new.png", target], [tmp_path / "gone.png", photo])
    (tmp_path / "other.png").write_text("years")
    files.check_unread([None, tmp_path / "new.png", tmp_path / "other.png"], [tmp_path / "gone.png", photo])
