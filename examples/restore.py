"""Restore a scratched photograph: find the damage, show the mask, fill it.

python examples/restore.py --out restored.png

Without a photograph, the cat of scikit-image is scratched first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from repaint import RePaintPipeline, restore
from repaint.lab.quality.detector_scores import printed_damage
from repaint.pictures.damage import damage
from repaint.pictures.images import side_by_side
from repaint.pictures.samples import unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("restored.png"))
    parser.add_argument("--short", action="store_true", help="one sample, to try it")
    arguments = parser.parse_args()
    if arguments.photograph is None:
        cat = unseen("chelsea")[: 64 if arguments.short else None, : 64 if arguments.short else None]
        photo = Image.fromarray(printed_damage(cat, damage("scratches", *cat.shape[:2], 3), seed=0))
    else:
        photo = Image.open(arguments.photograph).convert("RGB")
    pipe = RePaintPipeline.from_pretrained("photos")
    restored = restore(photo, prior=pipe, samples=1 if arguments.short else 2, generator=0)
    found = np.asarray(photo).copy()
    found[restored.mask] = (255, 0, 255)
    side_by_side([photo, Image.fromarray(found), restored.image]).save(arguments.out)
    print(f"{restored.mask.mean():.1%} of the picture was filled. Damaged, found, restored: {arguments.out}")


if __name__ == "__main__":
    main()
