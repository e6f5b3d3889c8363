"""Extend a photograph to another aspect ratio; its own pixels are untouched.

python examples/outpaint.py --out outpainted.png

The bundled prior continues surfaces for a few pixels. For new content pass a large model, and a prompt:

python examples/outpaint.py photo.jpg --prior stable-diffusion-v1-5/stable-diffusion-v1-5 --prompt "a beach" --out o.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from repaint import RePaintPipeline
from repaint.pictures.samples import unseen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("outpainted.png"))
    parser.add_argument("--aspect", default="16:9")
    parser.add_argument("--prior", default="photos")
    parser.add_argument("--prompt")
    parser.add_argument("--short", action="store_true", help="a small picture, to try it")
    arguments = parser.parse_args()
    if arguments.photograph is None:
        rows, columns = (slice(60, 124), slice(20, 84)) if arguments.short else (slice(None), slice(30, 200))
        photo = Image.fromarray(unseen("coffee")[rows, columns])
    else:
        photo = Image.open(arguments.photograph)
    pipe = RePaintPipeline.from_pretrained(arguments.prior)
    conditions = {} if arguments.prompt is None else {"prompt": arguments.prompt}
    aspect = "4:3" if arguments.short else arguments.aspect
    wide = pipe.outpaint(photo, aspect=aspect, generator=0, **conditions).images[0]
    wide.save(arguments.out)
    left = (wide.width - photo.width) // 2
    own = wide.crop((left, 0, left + photo.width, wide.height))
    same = np.array_equal(np.asarray(own), np.asarray(photo))
    print(f"{photo.size} to {wide.size}, own pixels bit-equal: {same}. {arguments.out}")


if __name__ == "__main__":
    main()
