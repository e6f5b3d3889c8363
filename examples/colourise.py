"""Colourise grey photographs with a prior that was not trained for it. Writes colourised.png.

python examples/photographs.py --out photographs
python examples/colourise.py photographs/held_out

Song et al. 2021 (arXiv 2011.13456), App. I.3: in an orthogonal basis of colour whose first axis is grey, the first
channel is known everywhere and the other two nowhere. White noise is the same in every orthogonal basis, so the prior
denoises after a rotation back. Grey is the mean of red, green and blue here.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from repaint import RePaintPipeline
from repaint.measure.intervals import paired_difference
from repaint.measure.metrics import psnr
from repaint.measure.plots import strip
from repaint.pictures.pairs import picture_files
from repaint.pictures.samples import crops
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.method import as_method
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler

AXES = torch.tensor([[2, 2, 2], [6**0.5, -(6**0.5), 0], [2**0.5, 2**0.5, -2 * 2**0.5]]) / 12**0.5
KNOWN = torch.tensor([True, False, False])[:, None, None]


def turned(x, axes):
    """Multiply the colour of each pixel of x, (B, 3, H, W), by a 3 x 3 matrix."""
    return torch.einsum("dc,bchw->bdhw", axes.to(x), x)


class ColourAxes(PriorWrapper):
    """A prior over the same images, with the channels grey and two colours at right angles to it."""

    def denoise(self, x, level):
        found = self.prior.denoise(turned(x, AXES.T), level)
        return Prediction(turned(found.x0_hat, AXES), turned(found.eps_hat, AXES))


def colourfulness(image):
    """Hasler & Süsstrunk 2003, "Measuring colourfulness in natural images", eq. 1: 0 is grey, 15 slight, 59 high."""
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    across, down = red - green, (red + green) / 2 - blue
    return np.hypot(across.std(), down.std()) + 0.3 * np.hypot(across.mean(), down.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path, help="folder of colour photographs")
    parser.add_argument("--out", default="colourised.png")
    parser.add_argument("--schedule", default="fast")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--short", action="store_true", help="crops of 32 pixels, 6 model calls")
    args = parser.parse_args()
    size = 32 if args.short else 128
    pipe = RePaintPipeline.from_pretrained("photos", torch_dtype=torch.bfloat16)
    sampler = Sampler(
        ColourAxes(pipe.prior.conditioned(args.samples, Conditions(size=(size, size)))),
        as_method("turbo" if args.short else args.schedule),
    )
    rows, scores, errors, pictures = [], [], [], []
    for path in picture_files(args.photographs).values():
        photograph = Image.open(path).convert("RGB")
        photograph.thumbnail([max(photograph.size) * 1.5 * size / min(photograph.size)] * 2)
        for truth in crops(np.asarray(photograph), size, 2):
            x0 = turned(torch.from_numpy(truth).permute(2, 0, 1)[None] / 127.5 - 1, AXES)
            x0 = x0.expand(args.samples, -1, -1, -1)
            *_, last = sampler.run(sampler.start(x0, KNOWN, range(args.samples)))
            colour = turned(last.x, AXES.T)
            errors.append(float((colour.mean(1) - turned(x0, AXES.T).mean(1)).abs().max()))
            colour = torch.cat([colour, colour.mean(0, keepdim=True)])
            images = ((colour + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
            grey = np.repeat(truth.mean(2, keepdims=True).round().astype(np.uint8), 3, axis=2)
            pictures.append(path.name)
            rows.append([grey, images[0], images[1], images[-1], truth])
            scores.append(
                [(psnr(image, truth), colourfulness(image)) for image in (grey, images[0], images[-1], truth)]
            )
    strip(rows, ["grey", "seed 0", "seed 1", f"mean of {args.samples}", "truth"]).save(args.out)
    found = np.array(scores)
    for i, name in enumerate(["grey", "one sample", f"mean of {args.samples}", "truth"]):
        print(f"{name}: PSNR {found[:, i, 0].mean():.1f} dB, colourfulness {found[:, i, 1].mean():.1f}")
    for i, name in ((1, "one sample"), (2, "mean")):
        gain = paired_difference(found[:, i, 0], found[:, 0, 0], clusters=pictures)
        print(f"PSNR of the {name} minus grey: {gain.mean:+.2f} dB [{gain.low:+.2f}, {gain.high:+.2f}]")
    print(f"largest error of the grey channel: {max(errors):.1e} of a range of 2")


if __name__ == "__main__":
    main()
