"""A file of results, one JSON object a line, that many processes may append to and that survives a kill at any moment.

Every change is made under an exclusive lock of the file itself, which the system releases when a process dies, and is
one of two: to cut off what follows the last newline (a line that a killed process did not finish), and to append whole
lines of keys that the file does not hold. So no row is lost, doubled or mixed with another, whoever writes, and when.
A network file system must honour such locks, as NFS 4 does; else give each shard its own file and join them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from repaint.checks import shown
from repaint.errors import InputError
from repaint.version import __version__

__all__ = ["Rows"]

BEGIN = b'{"key": "'  # of every line

CellRow = dict[str, Any]


class Rows:
    """The rows of one sweep.

    Args:
        path: the file, ending in .jsonl. It is made when the first row is written.
        configs: key to config of every cell of the grid. A row of another key belongs to another sweep.
    Attributes:
        FORMAT: of the rows that are written; raised when their fields change. Rows before 2 do not name theirs.
        found: key to row, of all rows read or written so far.
    Raises:
        InputError: a path that cannot be written, a file that holds something else, or rows of another sweep, of which
            the message says what differs.
    """

    FORMAT = 2

    def __init__(self, path: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
        if path.suffix != ".jsonl":
            raise InputError(f"Cannot write {path}: rows are JSON lines. Give a name that ends in .jsonl.")
        if not path.parent.is_dir():
            raise InputError(f"Cannot write {path}: no folder {path.parent}. Create it first.")
        if path.is_dir():
            raise InputError(f"Cannot write {path}: it is a folder. Give a file name inside it.")
        self.path = path
        self.found: dict[str, CellRow] = {}
        self._configs = configs
        self._end = self._lines = 0  # where the last whole line that was read ends, and how many there are
        self.refresh()

    def refresh(self) -> None:
        """Read the whole lines that were added since; a file that grew shorter is read anew.

        Raises:
            InputError: see the class.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file:
                self._read(file.fileno())
        except OSError as error:
            raise InputError(f"Cannot read {self.path}: {error}. Check its permissions.") from error

    def append(self, rows: Sequence[CellRow]) -> None:
        """Add rows, on the disk when this returns; those whose key the file holds already are left out.

        Args:
            rows: each with "key" as its first entry.
        Raises:
            InputError: a full disk, or a file that cannot be written; it is then left as it was.
        """
        with self._locked() as file:
            self._read(file)
            os.ftruncate(file, self._end)
            new = [row for row in rows if row["key"] not in self.found]
            lines = b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in new)
            try:
                _write(file, lines)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(file, self._end)
                raise
            self._read(file)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open and locked until the block ends."""
        try:
            import fcntl
        except ImportError as error:
            raise InputError(
                "Rows are written under a POSIX file lock, which this system lacks. Run the sweep on Linux or macOS; "
                "on Windows, under WSL."
            ) from error
        file = -1
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        except OSError as error:
            raise InputError(
                f"Cannot write {self.path}: {error}. Check permissions and free space, then give the same command "
                "again: the rows so far are safe."
            ) from error
        finally:
            if file >= 0:
                os.close(file)

    def _read(self, file: int) -> None:
        """Whole lines from where the last reading ended."""
        size = os.fstat(file).st_size
        if size < self._end:
            self.found, self._end, self._lines = {}, 0, 0
        data = b""
        while len(data) < size - self._end:
            part = os.pread(file, size - self._end - len(data), self._end + len(data))
            if not part:
                break
            data += part
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._lines += 1
            row = self._parsed(line)
            self.found.setdefault(row["key"], row)
        torn = data[len(whole) :]
        if not torn.startswith(BEGIN[: len(torn)]):
            raise InputError(f"{self.path} line {self._lines + 1} is no row of a sweep. Give another --out.")
        self._end += len(whole)

    def _parsed(self, line: bytes) -> CellRow:
        where = f"{self.path} line {self._lines}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{where} is damaged ({error}). Remove that line; its cell is then computed again."
            ) from error
        if not isinstance(row, dict) or not line.startswith(BEGIN):
            raise InputError(f"{where} is no row of a sweep. Give another --out.")
        if row.get("format", 1) != self.FORMAT:
            raise InputError(
                f"{where} was written by repaint {_version(row)} in row format {shown(row.get('format', 1))}; repaint "
                f"{__version__} reads format {self.FORMAT}. Give another --out, or use the version that wrote it."
            )
        if not isinstance(row["key"], str) or row["key"] not in self._configs:
            raise InputError(
                f"{where} belongs to another sweep: {self._difference(row)}. Give another --out, or the config that "
                "the file was begun with; a grid may grow, but lose nothing."
            )
        return row

    def _difference(self, row: CellRow) -> str:
        """What sets a row apart from the cell of the grid that is most like it."""
        best: list[tuple[str, Any, Any]] | None = None
        for config in self._configs.values():
            ours, its = _flat(config), _flat({name: row.get(name) for name in config})
            names = [name for name in ours | its if ours.get(name) != its.get(name)]
            if best is None or len(names) < len(best):
                best = [(name, its.get(name), ours.get(name)) for name in names]
        if not best:
            return "its key is not that of its config"
        told = [
            f"{name} is {shown(its)} there and {shown(ours)} in the nearest cell here" for name, its, ours in best[:3]
        ]
        more = len(best) - len(told)
        return "; ".join(told) + (f"; and {more} more" if more else "")


def _version(row: CellRow) -> str:
    versions = row.get("versions")
    return str(versions.get("repaint", "?")) if isinstance(versions, dict) else "?"


def _write(file: int, data: bytes) -> None:
    """All of it, on the disk: a nearly full one takes a part without an error."""
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
