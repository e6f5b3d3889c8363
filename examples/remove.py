"""Remove an object from a photograph: four fills, the most plausible one first.

python examples/remove.py --out removed.png

Without a photograph and a mask, a red ball is put on the cat of scikit-image first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from repaint import RePaintPipeline, remove
from repaint.pictures.images import side_by_side
from repaint.pictures.samples import unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", nargs="?", type=Path)
    parser.add_argument("mask", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("removed.png"))
    parser.add_argument("--short", action="store_true", help="a small picture, to try it")
    arguments = parser.parse_args()
    if arguments.mask is None:
        side = 64 if arguments.short else 128
        photo = Image.fromarray(unseen("chelsea")[:side, 60 : 60 + side])
        place = [side * 0.7, side * 0.55, side * 0.7 + 14, side * 0.55 + 14]
        ImageDraw.Draw(photo).ellipse(place, fill=(200, 20, 30))
        mask = Image.new("L", photo.size)
        ImageDraw.Draw(mask).ellipse(place, fill=255)
    else:
        photo, mask = Image.open(arguments.photograph), Image.open(arguments.mask)
    pipe = RePaintPipeline.from_pretrained("photos")
    found = remove(photo, mask, prior=pipe, candidates=2 if arguments.short else 4, generator=0)
    for one in found:
        print(f"seed {one.seed}: loss {one.loss:.3f}, rim contrast {one.rim_contrast:.4f}")
    side_by_side([photo, *(one.image for one in found)]).save(arguments.out)
    kept = np.asarray(found[0].image) == np.asarray(photo)
    print(f"{kept.all(axis=2).mean():.1%} of the pixels are bit-equal. Before, then best to worst: {arguments.out}")


if __name__ == "__main__":
    main()
