"""Fill the masked mouth of a face under different prompts. Writes examples/expressions.png.

python examples/expressions.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from repaint import RePaintPipeline
from repaint.lab.quality.prompts import MASKS
from repaint.measure.plots import strip
from repaint.pictures.samples import glyphs

FACES = ["grinning face", "relieved face", "winking face", "face with cowboy hat"]  # not trained on the 1st and 3rd
PROMPTS = ["", "kissing face", "crying face", "angry face", "face with open mouth", "face with stuck-out tongue"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples/expressions.png"))
    parser.add_argument("--prior", default="emoji")
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pipe = RePaintPipeline.from_pretrained(args.prior)
    pipe.set_progress_bar_config(disable=True)
    everything, hole = glyphs(), MASKS["mouth"]
    faces = np.stack([everything[name] for name in FACES])
    columns = [faces, np.where(hole[..., None], np.uint8(160), faces)]
    for prompt in PROMPTS:
        result = pipe(
            faces,
            hole,
            prompt=prompt,
            guidance_scale=args.guidance_scale,
            schedule="predicted",
            blend_rim=2,
            generator=args.seed,
            output_type="np",
        )
        columns.append(result.images)
    titles = ["original", "masked", *(prompt.removeprefix("face with ") or "no prompt" for prompt in PROMPTS)]
    strip(list(zip(*columns, strict=True)), titles).save(args.out)


if __name__ == "__main__":
    main()
