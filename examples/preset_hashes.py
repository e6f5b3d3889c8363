"""Hash the results of every preset on two bundled priors and an exact one, to compare two versions of the code.

python examples/preset_hashes.py > before.txt

Equal lines mean bit-equal results. Compare runs on one machine only: the bits depend on the processor, the PyTorch
build and the number of threads.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from repaint import GaussianMixturePrior, Method, RePaintPipeline
from repaint.sampling import presets

SIDE = 32  # pixels


def pixels(count: int) -> np.ndarray:
    """Return (count, SIDE, SIDE, 3) uint8 noise over a gradient."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, SIDE)[None, :, None, None]
    return np.clip(ramp + rng.normal(0, 30, (count, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def digest(images: np.ndarray) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16]


def mixture() -> GaussianMixturePrior:
    """Return a mixture of three Gaussians over 3 x 4 x 4 pixels."""
    rng = torch.Generator().manual_seed(3)
    means = torch.randn(3, 48, dtype=torch.float64, generator=rng) * 0.4
    roots = torch.randn(3, 48, 48, dtype=torch.float64, generator=rng) * 0.05
    eye = 0.02 * torch.eye(48, dtype=torch.float64)
    return GaussianMixturePrior([0.5, 0.3, 0.2], means, roots @ roots.mT + eye, shape=(3, 4, 4))


def main() -> None:
    torch.set_num_threads(1)
    hole = np.zeros((SIDE, SIDE), bool)
    hole[8:22, 10:26] = True
    small = np.zeros((4, 4), bool)
    small[1:3, 1:4] = True
    priors = {
        "textures": (RePaintPipeline.from_pretrained("textures"), pixels(2), hole, {"class_labels": "grass"}),
        "emoji": (RePaintPipeline.from_pretrained("emoji"), pixels(2), hole, {"prompt": "dog face"}),
        "mixture": (RePaintPipeline(mixture()), pixels(2)[:, :4, :4], small, {}),
    }
    names = presets.available()
    for prior, (pipe, images, mask, options) in priors.items():
        pipe.set_progress_bar_config(disable=True)
        for name in names:
            out = pipe(
                images, mask, schedule=Method.from_preset(name), generator=7, output_type="pt", crop="off", **options
            )
            print(f"{prior:9s} {name:12s} {out.model_calls:5d} {digest(out.images.numpy())}", flush=True)


if __name__ == "__main__":
    main()
