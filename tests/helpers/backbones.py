"""Generated weights of metric networks that pass for the published files: features without meaning, for plumbing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

__all__ = ["generated_alexnet", "generated_inception", "named_by_hash"]


def named_by_hash(file: Path, stem: str) -> str:
    """Return the name that a file would be published under."""
    return f"{stem}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"


def generated_alexnet(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save the feature layers of an AlexNet, and let them pass for the published file."""
    from torchvision.models import alexnet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors = alexnet(weights=None).state_dict()
    file = folder / "generated.pth"
    torch.save({name: value for name, value in tensors.items() if name.startswith("features.")}, file)
    published = folder / "hub" / named_by_hash(file, "alexnet-owt")
    for module in ("repaint.measure.metrics", "repaint.lab.quality.protocol_run"):
        monkeypatch.setattr(f"{module}.lpips_backbone", lambda _net: (published, "Fetch it once: ..."))
    return file


def generated_inception(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save weights for the Inception network of torch-fidelity, and let them pass for the published file."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    found: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[]), monkeypatch.context() as patched:
        torch.manual_seed(0)
        patched.setattr(torch, "load", lambda *_, **__: {})
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, _: found.update(self.state_dict()))
        FeatureExtractorInceptionV3("generated", ["64"], feature_extractor_weights_path="none")
    file = folder / "inception.pth"
    torch.save(found, file)
    monkeypatch.setattr("repaint.lab.quality.feature_distances.INCEPTION", named_by_hash(file, "weights-inception"))
    return file
