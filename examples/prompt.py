"""Fill a hole under a prompt with Stable Diffusion. Writes prompt.png.

python examples/prompt.py --model stable-diffusion-v1-5/stable-diffusion-v1-5 --image photo.png --mask mask.png \
    --prompt "a cat on a sofa"
python examples/prompt.py     # offline, with the bundled small Stable Diffusion
"""

import argparse

import numpy as np
import torch
from PIL import Image

from repaint import JumpSchedule, RePaintPipeline
from repaint.lab.quality.prompts import MASKS
from repaint.pictures.samples import glyphs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emoji", help="Hub id, folder or bundled name")
    parser.add_argument("--image", help="a file; default: an emoji that the prior was trained on")
    parser.add_argument("--mask", help="white is repainted; default: the mouth")
    parser.add_argument("--prompt", default="face with stuck-out tongue")
    parser.add_argument("--out", default="prompt.png")
    parser.add_argument("--short", action="store_true", help="5 model calls instead of 50")
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    pipe = RePaintPipeline.from_pretrained(args.model, torch_dtype=dtype).to(device)
    out = pipe(
        args.image or Image.fromarray(glyphs()["relieved face"]),
        args.mask or Image.fromarray(MASKS["mouth"].astype(np.uint8) * 255),
        prompt=args.prompt,
        guidance_scale=3.0 if args.model == "emoji" else 7.5,
        schedule=JumpSchedule.paper(5, jump_n_sample=1) if args.short else "predicted",
        blend_rim=2,  # removes the autoencoder's offset from the first two pixels inside the hole
        generator=0,
    )
    out.images[0].save(args.out)
    print(f"{out.model_calls} model calls, seed {out.seeds[0]}: {args.out}")


if __name__ == "__main__":
    main()
