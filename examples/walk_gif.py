"""Animate the prediction at each step with a callback. Writes walk.gif.

python examples/walk_gif.py --prior textures
"""

import argparse

import numpy as np
from PIL import Image

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.pictures import mask_shapes
from repaint.pictures.samples import held_out_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="textures", help="a pixel-space prior")
    parser.add_argument("--schedule", default="balanced")
    parser.add_argument("--out", default="walk.gif")
    parser.add_argument("--short", action="store_true", help="5 model calls")
    args = parser.parse_args()

    image, keep = held_out_crops("gravel", 64, 3)[1], mask_shapes.half(64, 64, side="right")
    hole = keep[0].numpy()[..., None] == 0
    frames = []

    def watch(pipe, step, level, kwargs):
        """Keep the prediction of each step. The state also holds x and everything needed to resume from there."""
        expected = kwargs["state"].x0_hat
        if expected is not None:  # None before the first model call
            pixels = expected[0].clamp(-1, 1).add(1).mul(127.5).permute(1, 2, 0).numpy().round().astype(np.uint8)
            frame = Image.fromarray(np.where(hole, pixels, image))
            frames.append(frame.resize((256, 256), Image.Resampling.NEAREST))

    pipe = RePaintPipeline.from_pretrained(args.prior)
    method = Method(JumpSchedule.paper(5, jump_n_sample=1)) if args.short else args.schedule
    pipe(image, keep_mask=keep, schedule=method, generator=0, callback_on_step_end=watch)
    frames[0].save(args.out, save_all=True, append_images=frames[1:] + frames[-1:] * 15, duration=60, loop=0)
    print(f"{len(frames)} frames: {args.out}")


if __name__ == "__main__":
    main()
