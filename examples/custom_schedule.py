"""Write your own schedule as a list of levels, and combine it with the parts of a method. Writes custom_schedule.png.

python examples/custom_schedule.py
"""

import argparse

import numpy as np

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.measure.plots import strip
from repaint.pictures import mask_shapes
from repaint.pictures.samples import held_out_crops
from repaint.sampling.merge import Predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="custom_schedule.png")
    parser.add_argument("--short", action="store_true", help="5 levels instead of 40")
    args = parser.parse_args()

    top = 5 if args.short else 40
    half = top // 2
    # Down to the middle, one jump back to the top, down to clean: decides the content twice and the details once.
    walk = JumpSchedule.from_levels([*range(top, half, -1), *range(half, top), *range(top, -1, -1)], top)
    methods = {
        "plain": Method(JumpSchedule.paper(top, jump_n_sample=1)),
        "one jump": Method(walk),
        "one jump, predicted(8)": Method(walk, merge=Predicted(8)),
    }
    pipe = RePaintPipeline.from_pretrained("textures")
    image, keep = held_out_crops("brick", 48, 3)[1], mask_shapes.box(48, 48, share=0.5)
    asked = {"class_labels": "brick", "generator": 0, "output_type": "np"}
    tiles = [np.where(keep[0].numpy()[..., None] == 1, image, np.uint8(160))]
    for name, method in methods.items():
        out = pipe(image, keep_mask=keep, schedule=method, **asked)
        tiles.append(out.images[0])
        print(f"{name}: {out.model_calls} model calls")
    strip([tiles], ["masked", *methods], scale=4).save(args.out)


if __name__ == "__main__":
    main()
