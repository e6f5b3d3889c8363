"""Writing files and folders atomically: completely, or not at all."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from repaint.errors import InputError

__all__ = ["as_json", "atomic_folder", "atomic_path", "check_no_folder", "check_place", "check_unread"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it fails.

    A killed process leaves at most the temporary file, whose name begins with a dot.

    Args:
        path: the file to write; an existing file stays unchanged until the new one is complete. Of a link, the file
            that it points to.
    Yields:
        A path in the same folder with the same suffix, to be written inside the block.
    Raises:
        InputError: the folder is missing or cannot be written, or `path` is a folder.
    """
    target = _behind_link(Path(path))
    check_place(target)
    # `tempfile` would make a file that only the owner can read; this one has the usual permissions.
    draft = target.with_name(f".{secrets.token_hex(8)}{Path(path).suffix}")
    try:
        yield draft
        draft.replace(target)
    except OSError as error:
        raise InputError(f"Cannot write {target}: {error}. Check permissions and free space.") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, replaces: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` when the block succeeds, and is removed when it fails.

    Args:
        path: the folder to write.
        replaces: the name of a file: an existing folder is replaced only if it contains this file, so a mistyped path
            cannot delete another folder. None never replaces a folder.
    Yields:
        An empty folder beside `path`, to be filled inside the block.
    Raises:
        InputError: `path` exists and may not be replaced, or cannot be written.
    """
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {path}: no folder {target.parent}. Create it first.")
    if target.exists() and replaces is None:
        raise InputError(f"Cannot write {path}: it exists. Remove it, choose another name, or allow overwriting.")
    if target.exists() and not (target / str(replaces)).is_file():
        raise InputError(f"Cannot overwrite {path}: it has no {replaces}, so it is not the same kind of folder.")
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
    """Refuse to write a file whose folder is missing or cannot be written, or whose path is a folder.

    Raises:
        InputError: one of these.
    """
    target = _behind_link(target)
    if not target.parent.is_dir():
        raise InputError(f"Cannot write {target}: no folder {target.parent}. Create it first.")
    check_no_folder(target)
    trial = target.with_name(f".{secrets.token_hex(8)}")
    try:  # only a trial finds read-only disks, full disks and network folders of other users
        with suppress(FileNotFoundError):
            target.lstat()  # a name that is too long
        trial.touch(exist_ok=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot write {target}: {reason}. Check permissions and free space.") from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)


def _behind_link(path: Path) -> Path:
    try:
        return path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, or a null character
        raise InputError(f"Cannot write {path}: {error}. Choose another name.") from error


def check_no_folder(target: Path) -> None:
    """Refuse to write a file whose path is a folder.

    Raises:
        InputError: it is one.
    """
    if target.is_dir():
        raise InputError(f"Cannot write {target}: it is a folder. Use a file name inside it.")


def check_unread(written: Iterable[Path | None], read: Iterable[Path]) -> None:
    """Refuse to write over a file that is read, under whatever name.

    Args:
        written: files to be written; None is skipped.
        read: inputs.
    Raises:
        InputError: a file is among both.
    """
    inputs = [given for given in read if given.exists()]
    for target in written:
        if target is not None and target.exists() and any(target.samefile(given) for given in inputs):
            raise InputError(f"Cannot write {target}: it is an input, and would be lost. Choose another name.")


def as_json(data: Any, indent: int | None = 2) -> str:
    """Format plain data as JSON; NaN and infinity, which JSON lacks, become null.

    >>> print(as_json({"psnr": math.inf, 0.5: (1.0, math.nan)}, indent=None))
    {"psnr": null, "0.5": [1.0, null]}
    """
    return json.dumps(_finite(data), indent=indent, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {name: _finite(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
