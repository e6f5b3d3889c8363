"""FID, KID, precision and recall by torch-fidelity, with Inception weights from a local file.

Needs torch-fidelity, the extra `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.errors import InputError
from repaint.measure.backbones import check_backbone, read_backbone

__all__ = ["INCEPTION", "SETS", "check_inception", "feature_distances"]

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"  # the file that torch-fidelity publishes
SETS = ("fid", "kid", "precision", "recall")  # numbers of a set of pictures
KID_SUBSET = 1000
NEIGHBOURS = 3  # of precision and recall, as published


def check_inception(file: Path) -> None:
    """Check that FID can be computed with a file, before any work is done.

    Raises:
        InputError: torch-fidelity is not installed, or the file is not that of `INCEPTION`.
    """
    if find_spec("torch_fidelity") is None:
        raise InputError(
            "FID, KID, precision and recall need torch-fidelity, which is not installed: pip install torch-fidelity."
        )
    check_backbone(file, INCEPTION)


def feature_distances(
    images: Sequence[NDArray[np.uint8]],
    references: Sequence[NDArray[np.uint8]],
    inception: Path,
    *,
    layer: str = "2048",
) -> dict[str, float]:
    """Compute FID and KID between two sets of pictures, lower is closer, and precision and recall, higher is better.

    FID is biased upwards for few pictures: published figures compare only at the same number. KID is unbiased, and so
    can be negative; its subsets have 1000 pictures, or as many as there are. Precision is the share of images within
    the reach of a reference, recall that of references within the reach of an image; the reach of a picture ends at the
    third nearest neighbour in its own set. The features are those of Inception; the paper uses those of VGG.

    Args:
        images, references: (H, W, 3) uint8, at least 2 of each, of one size.
        inception: file of `INCEPTION`.
        layer: of the features: 2048 as published, or 64, 192 or 768.
    Returns:
        The numbers of `SETS`; "precision" and "recall" only for at least 4 pictures of each.
    Raises:
        InputError: see `check_inception`; or fewer than 2 pictures.
    Source:
        Heusel et al. 2017 (arXiv 1706.08500), Sec. 4; Binkowski et al. 2018 (arXiv 1801.01401), Sec. 4; Kynkaanniemi et
        al. 2019 (arXiv 1904.06991), Sec. 2.
    """
    check_inception(inception)
    fewest = min(len(images), len(references))
    if fewest < 2:
        raise InputError(f"FID and KID need at least 2 pictures, not {fewest}.")
    import torch
    from torch_fidelity import calculate_metrics

    class Pictures(torch.utils.data.Dataset[Any]):
        def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
            self.pictures = pictures

        def __len__(self) -> int:
            return len(self.pictures)

        def __getitem__(self, i: int) -> Any:
            return torch.from_numpy(np.ascontiguousarray(self.pictures[i].transpose(2, 0, 1)))

    read_backbone(inception, INCEPTION)  # torch-fidelity unpickles it; this refuses a file with code
    found = calculate_metrics(
        input1=Pictures(images),
        input2=Pictures(references),
        fid=True,
        kid=True,
        prc=fewest > NEIGHBOURS,
        prc_neighborhood=NEIGHBOURS,
        kid_subset_size=min(KID_SUBSET, fewest),
        feature_layer_fid=layer,
        feature_layer_kid=layer,
        feature_layer_prc=layer,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception),
        cuda=torch.cuda.is_available(),
        batch_size=min(16, fewest),
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    names = {"fid": "frechet_inception_distance", "kid": "kernel_inception_distance_mean"}
    return {name: found[names.get(name, name)] for name in SETS if names.get(name, name) in found}
