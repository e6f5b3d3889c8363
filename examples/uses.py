"""Show three uses at the first seed. Writes examples/uses.png.

python examples/uses.py

A scratch on a photograph, a photograph in which every second line is lost, and a face with another expression.
"""

import argparse

import numpy as np

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.lab.quality.prompts import MASKS
from repaint.measure.plots import strip
from repaint.pictures import mask_shapes
from repaint.pictures.samples import glyphs, held_out_crops


def scratch(size: int) -> np.ndarray:
    """Return (size, size), True on a curve from corner to corner, three pixels wide."""
    y, x = np.mgrid[:size, :size]
    return np.abs(y - x - 6 * np.sin(x / 6)) <= 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="examples/uses.png")
    parser.add_argument("--short", action="store_true", help="3 model calls instead of 100 and 50")
    args = parser.parse_args()
    short = Method(JumpSchedule.paper(3, jump_n_sample=1))
    textures, emoji = (RePaintPipeline.from_pretrained(name) for name in ("textures", "emoji"))
    rows = []
    for name, hole in (("gravel", scratch(64)), ("brick", mask_shapes.alternating_lines(64, 64)[0].numpy() == 0)):
        image = held_out_crops(name, 64, 3)[1]
        asked = {"class_labels": name, "schedule": short if args.short else "balanced"}
        rows.append([image, hole, textures(image, hole, generator=0, output_type="np", **asked).images[0]])
    face, hole = glyphs()["relieved face"], MASKS["mouth"]
    asked = {"prompt": "worried face", "guidance_scale": 3.0, "blend_rim": 2}
    schedule = short if args.short else "predicted"
    rows.append([face, hole, emoji(face, hole, generator=0, output_type="np", schedule=schedule, **asked).images[0]])
    tiles = [
        tile
        for image, hole, result in rows
        for tile in (np.where(hole[..., None], np.uint8(200), image), result, image)
    ]
    strip([tiles], ["before", "after", "truth", "before", "after", "truth", "before", "worried face", "original"]).save(
        args.out
    )


if __name__ == "__main__":
    main()
