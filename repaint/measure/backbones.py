"""Weights of metric networks from local files whose SHA-256 is checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from repaint.errors import InputError

__all__ = ["check_backbone", "read_backbone"]


def check_backbone(file: Path, published: str) -> None:
    """Check that a file is a published one, by its SHA-256.

    Args:
        file: on this computer.
        published: name of the published file, which ends in the first digits of its SHA-256, as in torch hub:
            alexnet-owt-7be5be79.pth.
    Raises:
        InputError: no such file, or one with another hash.
    """
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", published)
    assert found is not None, f"{published} carries no hash"
    if not file.is_file():
        raise InputError(f"{file}: no such file. Download {published} and pass its path.")
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(2**20):
            digest.update(block)
    if not digest.hexdigest().startswith(found[1]):
        raise InputError(
            f"{file}: SHA-256 begins with {digest.hexdigest()[: len(found[1])]}, but that of {published} begins with "
            f"{found[1]}. Download {published} again, or pass the right file."
        )


def read_backbone(file: Path, published: str) -> dict[str, Any]:
    """Read the tensors of a published file; see `check_backbone`. Code in the file is never run.

    Raises:
        InputError: no such file, or one with another hash.
    """
    import torch

    check_backbone(file, published)
    tensors: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors
