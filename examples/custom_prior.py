"""Write your own prior: a subclass of `PriorDefaults` with the methods of `Prior`. Writes custom_prior.png.

Images are Gaussian with a spectrum of 1 / frequency^2, close to that of photographs: the exact denoiser is a filter.
"""

import argparse

import numpy as np
import torch

from repaint import NoiseSchedule, RePaintPipeline
from repaint.measure.plots import strip
from repaint.pictures import mask_shapes
from repaint.pictures.samples import held_out_crops
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import PriorDefaults


class Spectrum(PriorDefaults):
    channels, multiple_of, device, dtype = 3, 1, torch.device("cpu"), torch.float32

    def schedule(self, steps, spacing=None):
        return NoiseSchedule.from_scheduler({"_class_name": "DDPMScheduler", "beta_schedule": "linear"}, steps, spacing)

    def conditioned(self, count, conditions):
        conditions.refuse_beyond(self.serves, "a spectrum")  # no prompts, no classes
        return self

    def denoise(self, x, level):
        """E[x0 | x], the Wiener filter, and the matching noise: x = alpha x0 + sigma eps."""
        rows, columns = (torch.fft.fftfreq(side) for side in x.shape[-2:])
        grey, power = x.mean(1, keepdim=True), 0.002 / (rows[:, None] ** 2 + columns**2 + 1e-3)
        x0_hat = 0
        for part, variance in ((grey, power), (x - grey, power / 300)):  # colours vary less than brightness
            gain = level.alpha * variance / (level.alpha**2 * variance + level.sigma**2)
            x0_hat = x0_hat + torch.fft.ifft2(gain * torch.fft.fft2(part)).real
        return Prediction(x0_hat, (x - level.alpha * x0_hat) / level.sigma)

    def encode(self, image, known):
        return image, known

    def decode(self, x):
        return x

    def to(self, device=None, dtype=None):
        return self


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="custom_prior.png")
    parser.add_argument("--short", action="store_true", help="one result instead of two")
    args = parser.parse_args()
    image, keep, count = held_out_crops("tissue", 64, 3)[1], mask_shapes.freeform(64, 64, seed=5), 2 - args.short
    out = RePaintPipeline(Spectrum())(image, keep_mask=keep, generator=0, num_images_per_prompt=count, output_type="np")
    masked = np.where(keep[0].numpy()[..., None] == 1, image, np.uint8(160))
    strip([[image, masked, *out.images]], ["original", "masked", "seed 0", "seed 1"][: 2 + count]).save(args.out)


if __name__ == "__main__":
    main()
