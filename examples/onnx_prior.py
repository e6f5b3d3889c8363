"""Fill the voids of a height map with a prior from an ONNX file.

pip install onnxruntime && pip install --no-deps adaptive-terrain-diffusion==0.4.2
python examples/onnx_prior.py --out elevation.png

The model is that of the package adaptive-terrain-diffusion (MIT): (noisy, sigma, difficulty) to a clean height map of
128 x 128 cells, for sigma from 0.002 to 80. It is a consistency model (Song et al. 2023, arXiv 2303.01469): it
predicts a sample and not the mean of all samples, so the default walk is that of its paper, down to clean and up again.
It was distilled for a single call from pure noise: below sigma 2, where the surroundings show, its predictions are
grainy, and so are the fills. Their mean over many samples is better than one. None of the package's code runs.
"""

from __future__ import annotations

import argparse
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from repaint import JumpSchedule, NoiseSchedule
from repaint.sampling.levels import Level
from repaint.sampling.method import Method, as_method
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.prior import Conditions, PriorDefaults
from repaint.sampling.sampler import Sampler

SIDE = 128
SIGMAS = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "rho": 7.0}
HIGHEST, BEND = 22.16864, 0.1  # metres; heights are compressed by asinh(height / BEND)
CONSISTENCY = JumpSchedule.from_levels([level for top in (40, 30, 25, 22, 20) for level in (top, 0)], steps=40)


class OnnxPrior(PriorDefaults):
    """A denoiser in an ONNX file, over (B, 1, 128, 128) heights in [-1, 1].

    Args:
        path: the file.
        difficulty: roughness of the terrain in [0, 1], a condition of this model.
    """

    channels, multiple_of, preferred_size = 1, SIDE, SIDE
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, path: Path, difficulty: float = 0.5) -> None:
        from onnxruntime import InferenceSession, SessionOptions

        options = SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session, self._difficulty = InferenceSession(path, options), difficulty

    def schedule(self, steps: int, spacing: Any = None) -> NoiseSchedule:
        return NoiseSchedule.from_scheduler(SIGMAS, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> OnnxPrior:
        conditions.refuse_beyond((), "this ONNX model")
        return self

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        each = np.ones(len(x), np.float32)
        fed = {"noisy": x.numpy(), "sigma": each * level.sigma, "difficulty": each * self._difficulty}
        (x0_hat,) = self._session.run(["denoised"], {name: np.float32(value) for name, value in fed.items()})
        return from_output("sample", torch.from_numpy(x0_hat), x, level)

    def encode(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        return image, known

    def decode(self, x: Tensor) -> Tensor:
        return x

    def to(self, device: Any = None, dtype: Any = None) -> OnnxPrior:
        return self


def to_samples(heights: NDArray[np.floating[Any]]) -> Tensor:
    """Heights above the lowest cell in metres, (H, W), to the model's values, (1, 1, H, W) in [-1, 1]."""
    unit = np.arcsinh(heights / BEND) / math.asinh(HIGHEST / BEND)
    return torch.from_numpy(unit * 2 - 1).float()[None, None]


def to_heights(x: Tensor) -> NDArray[np.float64]:
    """The inverse of `to_samples`, for one sample or many."""
    return BEND * np.sinh((x.double().numpy() + 1) / 2 * math.asinh(HIGHEST / BEND))


def load(difficulty: float = 0.5) -> OnnxPrior:
    """The elevation model of the installed package."""
    spec = find_spec("terrain_diffusion")
    if spec is None or spec.origin is None:
        sys.exit("The model is not installed. Run: pip install --no-deps adaptive-terrain-diffusion==0.4.2")
    return OnnxPrior(next((Path(spec.origin).parent / "weights").glob("*.onnx")), difficulty)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heights", type=Path, help=".npy, 128 x 128 in metres, NaN in the voids; default: generated")
    parser.add_argument("--schedule", help="preset or YAML file; default: consistency sampling, 5 calls")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("elevation.png"))
    args = parser.parse_args()
    prior = load()
    method = Method(CONSISTENCY) if args.schedule is None else as_method(args.schedule)
    truth: NDArray[np.float64] | None = None
    if args.heights is None:
        noise = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(args.seed))
        top = prior.schedule(1)[1]
        truth = to_heights(prior.denoise(top.sigma * noise, top).x0_hat)[0, 0]
        heights = truth.copy()
        rows, columns = np.ogrid[:SIDE, :SIDE]
        heights[np.abs(rows - columns * 0.6 - 20) < 5] = np.nan
        heights[(rows - 90) ** 2 + (columns - 84) ** 2 < 16**2] = np.nan
    else:
        heights = np.load(args.heights, allow_pickle=False)
        if heights.shape != (SIDE, SIDE):
            sys.exit(f"{args.heights}: {heights.shape} must be ({SIDE}, {SIDE}).")
    lowest, known = np.nanmin(heights), torch.from_numpy(~np.isnan(heights))[None, None]
    x0 = torch.where(known, to_samples(np.nan_to_num(heights - lowest)), 0)
    sampler, seeds = Sampler(prior, method), range(args.seed + 1, args.seed + 1 + args.samples)
    *_, last = sampler.run(
        sampler.start(x0.repeat(args.samples, 1, 1, 1), known.expand(args.samples, -1, -1, -1), seeds)
    )
    filled = np.where(known[0], heights, to_heights(last.x)[:, 0] + lowest)
    void = ~known[0, 0].numpy()
    summary = (
        f"{method.model_calls} calls, {void.sum()} cells filled; standard deviation {filled.std(0)[void].mean():.2f} m"
    )
    if truth is not None:
        summary += f", error of the mean {np.sqrt(np.mean((filled.mean(0) - truth)[void] ** 2)):.2f} m (rms)"
    print(summary)

    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.2), layout="constrained")
    shown = {"with voids": heights, "one filling": filled[0], "another": filled[-1], "mean": filled.mean(0)}
    shown["standard deviation"] = filled.std(0)
    for axes, (title, values) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        colours = "magma" if title == "standard deviation" else "terrain"
        figure.colorbar(axes.imshow(values, cmap=colours), ax=axes, label="metres")
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(args.out, dpi=90)


if __name__ == "__main__":
    main()
