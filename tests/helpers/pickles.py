"""Pickles that run code when they are loaded, and proof that they do."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

__all__ = ["check_runs", "plant"]


class _Payload:
    """Make a folder when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def plant(path: Path, mark: Path, form: str) -> None:
    """Write a file that makes the folder `mark` when unpickled; `form` is "torch" (torch.save) or "pickle"."""
    if form == "torch":
        torch.save({"conv_in.weight": _Payload(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(_Payload(mark)))


def check_runs(path: Path, mark: Path, form: str) -> None:
    """Check that an unsafe load of the planted file does run the payload, so that the test shows something."""
    content = io.BytesIO(path.read_bytes())
    torch.load(content, weights_only=False) if form == "torch" else pickle.load(content)
    assert mark.exists(), "the payload is harmless"
