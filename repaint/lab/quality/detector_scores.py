"""Precision and recall of the damage detector, on photographs that are damaged on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repaint.checks import whole_number
from repaint.pictures.damage import DAMAGE, damage
from repaint.pictures.detection import detect_damage

__all__ = ["DetectorScore", "printed_damage", "score_detector"]

Image = NDArray[np.uint8]
Region = NDArray[np.bool_]
MARGIN = 2  # pixels around damage that may be in the mask, because damage has soft edges


@dataclass(frozen=True)
class DetectorScore:
    """The detector on one kind of damage, averaged over photographs.

    Attributes:
        damage: a kind of `repaint.pictures.damage.DAMAGE`, or "none" for undamaged photographs.
        recall: share of the damaged pixels that were found; NaN for "none".
        precision: share of the found pixels that lie within 2 pixels of damage; NaN for "none". A photograph in which
            nothing was found has precision 1.
        found: share of all pixels that were found.
        cases: number of photographs.
    """

    damage: str
    recall: float
    precision: float
    found: float
    cases: int


def printed_damage(image: Image, hole: Region, seed: int) -> Image:
    """Paint damage onto a photograph: of one bright or dark tone, with soft edges, opacity of 75 to 100 % and grain.

    Args:
        image: (H, W, 3).
        hole: (H, W), True at the damage.
        seed: of tone, opacity and grain.
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([seed, 7])
    tone = rng.uniform(225, 255) if rng.random() < 0.5 else rng.uniform(0, 30)
    colour = tone + rng.uniform(-6, 6, 3) + rng.normal(0, 3, (*hole.shape, 1))
    opacity = (gaussian_filter(hole.astype(np.float64), 0.6) * rng.uniform(0.75, 1))[..., None]
    painted: Image = np.rint((1 - opacity) * image + opacity * colour).clip(0, 255).astype(np.uint8)
    return painted


def score_detector(photographs: Mapping[str, Image], *, repeats: int = 2, **options: Any) -> list[DetectorScore]:
    """Damage photographs in every way, and compare what the detector finds with what was painted.

    Args:
        photographs: name to (H, W, 3).
        repeats: damaged copies of each photograph and kind, at least 1.
        **options: of `detect_damage`.
    Returns:
        One score for each kind of damage, and one for the undamaged photographs.
    """
    from scipy.ndimage import distance_transform_edt

    whole_number("repeats", repeats, 1)
    scores = []
    for kind in DAMAGE:
        rows = []
        for number, image in enumerate(photographs.values()):
            for repeat in range(repeats):
                seed = number * repeats + repeat
                hole = damage(kind, image.shape[0], image.shape[1], seed)
                found = detect_damage(printed_damage(image, hole, seed), **options)
                near = distance_transform_edt(~hole) <= MARGIN
                precision = float(near[found].mean()) if found.any() else 1.0
                rows.append((float(found[hole].mean()), precision, float(found.mean())))
        recall, precision, share = np.mean(rows, axis=0).tolist()
        scores.append(DetectorScore(kind, recall, precision, share, len(rows)))
    alarms = [float(detect_damage(image, **options).mean()) for image in photographs.values()]
    return [*scores, DetectorScore("none", float("nan"), float("nan"), float(np.mean(alarms)), len(alarms))]
