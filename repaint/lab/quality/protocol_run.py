"""Measure the fills of a protocol of the literature, and compare with the paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from repaint.lab.quality.cases import Hole
from repaint.lab.quality.feature_distances import INCEPTION, SETS, check_inception, feature_distances
from repaint.lab.quality.protocol_fills import ProtocolFills
from repaint.lab.quality.protocols import Published, TestProtocol
from repaint.lab.quality.scores import MANY
from repaint.measure.backbones import check_backbone
from repaint.measure.intervals import mean_interval
from repaint.measure.metrics import diversity, lpips, lpips_backbone, psnr, ssim

__all__ = ["METRICS", "Backbones", "Measured", "measured_fills"]

Image = NDArray[np.uint8]
METRICS = ("psnr", "ssim", "psnr_hole", "lpips_alex", "lpips_vgg", *SETS, *MANY)


@dataclass(frozen=True)
class Backbones:
    """Weights of the networks of metrics.

    Attributes:
        lpips: file of the LPIPS backbone; None: that of the cache of torch hub.
        inception: file for FID, KID, precision and recall; None: they are not measured.
    """

    lpips: Path | None = None
    inception: Path | None = None

    def metrics(self, protocol: TestProtocol, samples: int = 1) -> tuple[str, ...]:
        """List the metrics of a protocol, then the numbers of sets, if possible, and of several fills of a picture."""
        more = (*(SETS if self.inception is not None else ()), *(MANY if samples > 1 else ()))
        return tuple(dict.fromkeys((*protocol.metrics, *more)))

    def missing(self, protocol: TestProtocol, samples: int = 1) -> dict[str, str]:
        """Check the files, and return the metrics that lack theirs, with the reason.

        Raises:
            InputError: a file is missing or another one, or torch-fidelity is not installed.
        """
        found = {}
        for metric in self.metrics(protocol, samples):
            net = _lpips_net(metric, protocol)
            if net is not None:
                file, command = lpips_backbone(net)
                if self.lpips is not None:
                    check_backbone(self.lpips, file.name)
                elif file.is_file():
                    check_backbone(file, file.name)
                else:
                    found[metric] = f"it needs {file.name}: pass --lpips-backbone. {command}"
            elif metric in SETS and self.inception is not None:
                check_inception(self.inception)
            elif metric in SETS:
                found[metric] = f"it needs {INCEPTION} of torch-fidelity: pass --inception"
        return found


@dataclass(frozen=True)
class Measured:
    """One line of a protocol's table.

    Attributes:
        mask, method, metric: names.
        value: mean over pictures, or the number of the set; None if it was not measured.
        low, high: 95 % interval of the mean over pictures; None for numbers of sets and a single picture.
        pictures: number of them.
        published: figures of the paper for this line.
    """

    mask: str
    method: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    pictures: int
    published: tuple[Published, ...]


def measured_fills(fills: ProtocolFills, backbones: Backbones | None = None) -> Iterator[Measured]:
    """Measure all fills; each mask and method is yielded when it is done.

    Metrics of one fill, those of the papers, take the first sample of each picture.

    Args:
        fills: complete.
        backbones: weights for metrics. A metric without its weights has the value None; random weights are never used.
    Raises:
        InputError: see `Backbones.missing` and `ProtocolFills.images`.
    """
    backbones = backbones or Backbones()
    protocol = fills.protocol
    missing = backbones.missing(protocol, fills.samples)
    for mask in fills.masks:
        for method in fills.methods:
            filled = fills.images(mask, method)
            together: dict[str, float] = {}
            if backbones.inception is not None and len(filled) > 1:
                images, references = [many[0] for _, many in filled], [hole.image for hole, _ in filled]
                together = feature_distances(images, references, backbones.inception)
            for metric in backbones.metrics(protocol, fills.samples):
                figures: tuple[float | None, float | None, float | None] = (together.get(metric), None, None)
                if metric not in SETS and metric not in missing:
                    net = _lpips_net(metric, protocol)
                    figures = _mean([_measure(metric, many, hole, net, backbones.lpips) for hole, many in filled])
                published = tuple(
                    each
                    for each in protocol.published
                    if (each.mask, each.method, each.metric) == (mask, method, metric)
                )
                yield Measured(mask, method, metric, *figures, len(filled), published)


def _lpips_net(metric: str, protocol: TestProtocol) -> str | None:
    """Name the LPIPS network of a metric, or None. Diversity uses the protocol's network, so that one file suffices."""
    if metric == "diversity_lpips":
        return next((each.removeprefix("lpips_") for each in protocol.metrics if each.startswith("lpips_")), "alex")
    return metric.removeprefix("lpips_") if metric.startswith("lpips_") else None


def _measure(metric: str, many: Sequence[Image], hole: Hole, net: str | None, backbone: Path | None) -> float:
    """Compute a metric of one picture: of all samples in the hole, or of the first sample (in the hole for `_hole`)."""
    first = many[0]
    if net is not None:
        distance = partial(lpips, net=net, backbone=backbone)
        return diversity(many, hole.mask, distance=distance) if metric in MANY else distance(first, hole.image)
    if metric in MANY:
        return MANY[metric](many, hole)
    compute = {"psnr": psnr, "ssim": ssim}[metric.removesuffix("_hole")]
    return compute(first, hole.image, hole.mask if metric.endswith("_hole") else None)


def _mean(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Compute the mean over pictures and its 95 % interval."""
    found = mean_interval(np.array(values))
    interval = len(values) > 1 and np.isfinite(values).all()  # PSNR is infinite for equal pictures
    return (found.mean, found.low, found.high) if interval else (found.mean, None, None)
