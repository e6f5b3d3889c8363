"""A file of results in JSON lines, to which several processes can append, and which survives a kill at any moment.

Each change is made under an exclusive lock on the file, which the system releases when a process dies. There are two
changes: to cut off an unfinished last line of a killed process, and to append whole lines with new keys. Therefore no
row is lost, duplicated or mixed with another. A network file system must support such locks, as NFS 4 does; otherwise
give each shard a file of its own, and concatenate them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from repaint.checks import shown
from repaint.errors import InputError
from repaint.version import __version__

__all__ = ["Keyed", "Rows", "config_key"]

BEGIN = b'{"key": "'  # of every line

CellRow = dict[str, Any]


@runtime_checkable
class Keyed(Protocol):
    """An object with a row, such as a cell of a grid."""

    @property
    def key(self) -> str: ...


def config_key(config: Mapping[str, Any]) -> str:
    """Return the key of a cell: 16 hexadecimal digits of the SHA-256 of its config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


class Rows:
    """The rows of one sweep.

    Args:
        path: a .jsonl file, created with the first row.
        configs: key to config of every cell of the grid. A row with another key belongs to another sweep.
    Attributes:
        FORMAT: version of the fields of a row. Rows of format 1 do not name it.
        found: key to row, of all rows read or written so far.
    Raises:
        InputError: a path that cannot be written, a file of another kind, or rows of another sweep. The message says
            what differs.
    """

    FORMAT = 2

    def __init__(self, path: Path, configs: Mapping[str, Mapping[str, Any]]) -> None:
        if path.suffix != ".jsonl":
            raise InputError(f"{path}: the suffix must be .jsonl.")
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist. Create it first.")
        if path.is_dir():
            raise InputError(f"{path}: this is a folder. Pass a file name.")
        self.path = path
        self.found: dict[str, CellRow] = {}
        self._configs = configs
        self._end = self._lines = 0  # end of the last whole line read, and the number of lines
        self.refresh()

    def refresh(self) -> None:
        """Read the whole lines added since the last call; a file that became shorter is read from its start.

        Raises:
            InputError: see the class.
        """
        if not self.path.exists():
            return
        try:
            with self.path.open("rb") as file:
                self._read(file.fileno())
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error}). Check its permissions.") from error

    def lacks(self, batch: Iterable[Keyed]) -> bool:
        """Return whether a row of a batch is missing, so that the batch has to be computed."""
        return any(cell.key not in self.found for cell in batch)

    def append(self, rows: Sequence[CellRow]) -> None:
        """Add rows and flush them to disk; rows with a key that the file holds are left out.

        Args:
            rows: each with "key" as its first entry.
        Raises:
            InputError: a full disk, or a file that cannot be written. The file is then unchanged.
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
        """Open the file and lock it until the block ends."""
        try:
            import fcntl
        except ImportError as error:
            raise InputError(
                "Sweeps need POSIX file locks, which this system lacks. Use Linux, macOS or WSL."
            ) from error
        file = -1
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written ({error}). Check permissions and free space, and run the same command "
                "again: all rows so far are safe."
            ) from error
        finally:
            if file >= 0:
                os.close(file)

    def _read(self, file: int) -> None:
        """Read the whole lines after those that were read before."""
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
            raise InputError(f"{self.path} line {self._lines + 1}: not a row of a sweep. Pass another --out.")
        self._end += len(whole)

    def _parsed(self, line: bytes) -> CellRow:
        where = f"{self.path} line {self._lines}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: damaged ({error}). Remove the line, and its cell is computed again.") from error
        if not isinstance(row, dict) or not line.startswith(BEGIN):
            raise InputError(f"{where}: not a row of a sweep. Pass another --out.")
        if row.get("format", 1) != self.FORMAT:
            raise InputError(
                f"{where}: repaint {_version(row)} wrote it in row format {shown(row.get('format', 1))}, but repaint "
                f"{__version__} reads format {self.FORMAT}. Pass another --out, or use the version that wrote it."
            )
        if not isinstance(row["key"], str) or row["key"] not in self._configs:
            raise InputError(
                f"{where}: from another run ({self._difference(row)}). Pass another --out, or the original config; "
                "a grid may gain cells, but not lose any."
            )
        return row

    def _difference(self, row: CellRow) -> str:
        """Describe how a row differs from the most similar cell of the grid."""
        best: list[tuple[str, Any, Any]] | None = None
        for config in self._configs.values():
            ours, theirs = _flat(config), _flat({name: row.get(name) for name in config})
            names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
            if best is None or len(names) < len(best):
                best = [(name, theirs.get(name), ours.get(name)) for name in names]
        if not best:
            return "its key does not match its config"
        listed = [f"{name} is {shown(theirs)} instead of {shown(ours)}" for name, theirs, ours in best[:3]]
        more = len(best) - len(listed)
        return "; ".join(listed) + (f"; and {more} more" if more else "")


def _version(row: CellRow) -> str:
    versions = row.get("versions")
    return str(versions.get("repaint", "?")) if isinstance(versions, dict) else "?"


def _write(file: int, data: bytes) -> None:
    """Write all data and flush it. A single write to a nearly full disk can stop early without an error."""
    while data:
        data = data[os.write(file, data) :]
    os.fsync(file)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
