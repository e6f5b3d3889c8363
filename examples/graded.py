"""Change a picture more and more from left to right: a map of strengths, beside the same grey image as a soft mask.

python examples/graded.py --out graded.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from repaint import RePaintPipeline
from repaint.pictures.images import side_by_side
from repaint.pictures.samples import unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("graded.png"))
    parser.add_argument("--short", action="store_true", help="a small picture, to try it")
    arguments = parser.parse_args()
    side = 64 if arguments.short else 128
    photo = Image.fromarray(unseen("coffee")[20 : 20 + side, 90 : 90 + side])
    change = Image.fromarray(np.tile(np.linspace(0, 255, side).round().astype(np.uint8), (side, 1)))
    pipe = RePaintPipeline.from_pretrained("photos")
    graded = pipe(photo, strength=change, schedule="fast", generator=0).images[0]
    blended = pipe(photo, change, schedule="fast", generator=0).images[0]
    side_by_side([photo, change, graded, blended]).save(arguments.out)
    print(f"Photograph, map, as strength, as soft mask: {arguments.out}")


if __name__ == "__main__":
    main()
