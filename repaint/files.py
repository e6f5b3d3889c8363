"""Files and folders written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from repaint.errors import InputError

__all__ = ["atomic_folder", "atomic_path", "check_place"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.

    A process that is killed leaves at most the temporary file, whose name begins with a dot.

    Args:
        path: the file to write; an older one stays whole until the new one is.
    Yields:
        A path in the same folder with the same suffix, to be written inside the block.
    Raises:
        InputError: a folder that is missing or cannot be written, or a `path` that is itself a folder.
    """
    target = Path(path)
    check_place(target)
    # Not `tempfile`, whose files only their owner may read: the result keeps the usual permissions.
    draft = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        yield draft
        draft.replace(target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error}. Check permissions and free space.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replaces: str | None = None) -> Iterator[Path]:
    """A new folder beside `path` that takes its place when the block ends well, and is removed when it does not.

    Args:
        path: the folder to write.
        replaces: None never replaces anything; the name of a file allows to replace a folder that has it, so that a
            slip of the hand cannot cost another one.
    Yields:
        An empty folder beside it, to be filled inside the block.
    Raises:
        InputError: something is there that may not be replaced, or a place that is missing or cannot be written.
    """
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {path}: no folder {target.parent}. Create it first.")
    if target.exists() and replaces is None:
        raise InputError(f"Cannot write {path}: it exists. Remove it, choose another name, or allow to overwrite it.")
    if target.exists() and not (target / str(replaces)).is_file():
        raise InputError(f"Cannot overwrite {path}: it has no {replaces}, so it is another thing. Choose another name.")
    draft, older = (target.with_name(f".{secrets.token_hex(8)}") for _ in range(2))
    try:
        draft.mkdir()
        yield draft
        if target.exists():
            target.rename(older)
        draft.rename(target)
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error}. Check permissions and free space.") from error
    finally:
        if older.exists() and not target.exists():
            older.rename(target)
        for folder in (draft, older):
            shutil.rmtree(folder, ignore_errors=True)


def check_place(target: Path) -> None:
    """Refuse a file whose folder is missing, or that is itself a folder.

    Raises:
        InputError: either.
    """
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {target}: no folder {target.parent}. Create it first.")
    if target.is_dir():
        raise InputError(f"Cannot write {target}: it is a folder. Give a file name inside it.")
