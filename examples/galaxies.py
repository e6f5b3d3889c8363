"""Fill masked pixels of a galaxy with a prior that astronomers trained: mean and uncertainty of eight fillings.

pip install --no-deps galaxygrad==0.1.9
python examples/galaxies.py --network hsc_ScoreNet64 --out galaxy.png

The networks are those of the package galaxygrad (Sampson et al. 2024, arXiv 2401.07313). Its files hold weights alone:
no code of the package is run, and its wheel has no licence field, so nothing of it is redistributed here. Data are
log(1 + flux) / 0.1.
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
from torch import Tensor, nn

from repaint import NoiseSchedule
from repaint.sampling.levels import Level
from repaint.sampling.method import as_method
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.prior import Conditions, PriorDefaults
from repaint.sampling.sampler import Sampler

PATCH, WIDTH, HIDDEN, BLOCKS = 4, 64, 512, 4
LEVELS, LAST = 1000, 10.0  # the path runs over times (0, 10], abar = exp(-t)


class Mixing(nn.Module):
    """One block: an MLP over the patches, then one over the channels, each added to its input."""

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.patch_mlp = nn.Sequential(nn.Linear(patches, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, patches))
        self.channel_mlp = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))
        self.norm1, self.norm2 = nn.LayerNorm((WIDTH, patches)), nn.LayerNorm((patches, WIDTH))

    def forward(self, y: Tensor) -> Tensor:
        y = y + self.patch_mlp(self.norm1(y))
        y = y.mT
        y = y + self.channel_mlp(self.norm2(y))
        return y.mT


class Mixer(nn.Module):
    """An MLP-Mixer on (image, t / 10) that gives the score, for square images of one size.

    Args:
        arrays: the weights, in the order of the file.
    """

    def __init__(self, arrays: list[NDArray[np.float32]]) -> None:
        super().__init__()
        weights = [torch.from_numpy(np.array(array, dtype=np.float32)) for array in arrays if array.ndim]
        patches = weights[4].shape[1]
        self.side = PATCH * math.isqrt(patches)
        self.inward, self.outward = nn.Conv2d(2, WIDTH, PATCH, PATCH), nn.ConvTranspose2d(WIDTH, 1, PATCH, PATCH)
        self.blocks = nn.ModuleList(Mixing(patches) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm((WIDTH, patches))
        # The file's transposed convolution flips both spatial axes and has its channels in the other order.
        weights[2] = weights[2].flip(-1, -2).transpose(0, 1)
        targets = [self.inward.weight, self.inward.bias, self.outward.weight, self.outward.bias]
        for block in self.blocks:
            layers = (block.patch_mlp[0], block.patch_mlp[2], block.channel_mlp[0], block.channel_mlp[2])
            targets += [part for layer in (*layers, block.norm1, block.norm2) for part in (layer.weight, layer.bias)]
        targets += [self.norm.weight, self.norm.bias]
        with torch.no_grad():
            for target, weight in zip(targets, weights, strict=True):
                target.copy_(weight.reshape(target.shape))

    def forward(self, x: Tensor, t: float) -> Tensor:
        """The score of x at time t, (B, 1, H, W)."""
        y = self.inward(torch.cat([x, torch.full_like(x, t / LAST)], dim=1))
        rows, columns = y.shape[-2:]
        y = y.flatten(2)
        for block in self.blocks:
            y = block(y)
        return self.outward(self.norm(y).unflatten(2, (rows, columns)))


def read_arrays(path: Path) -> list[NDArray[np.float32]]:
    """All arrays of a file that holds them in .npy form, one after another."""
    arrays = []
    with path.open("rb") as file:
        while file.peek(1):
            arrays.append(np.load(file, allow_pickle=False))
    return arrays


class GalaxyPrior(PriorDefaults):
    """A score network over square images of galaxies, (B, 1, side, side) in log(1 + flux) / 0.1.

    Args:
        network: the mixer.
    """

    channels, dtype = 1, torch.float32

    def __init__(self, network: Mixer) -> None:
        self._network = network.eval()
        # 1000 levels of the continuous path, so that every spacing of the library applies.
        self._betas = [-math.expm1(-LAST / LEVELS)] * LEVELS

    @property
    def network(self) -> nn.Module:
        return self._network

    @property
    def preferred_size(self) -> int:
        return self._network.side

    @property
    def multiple_of(self) -> int:
        return self._network.side

    @property
    def device(self) -> torch.device:
        return next(self._network.parameters()).device

    def schedule(self, steps: int, spacing: Any = None) -> NoiseSchedule:
        return NoiseSchedule.from_scheduler({"trained_betas": self._betas}, steps, spacing or "linspace")

    def conditioned(self, count: int, conditions: Conditions) -> GalaxyPrior:
        conditions.refuse_beyond((), "a galaxy prior")
        return self

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        with torch.no_grad():
            score = self._network(x, -2 * math.log(level.alpha))
        return from_output("epsilon", -level.sigma * score, x, level)

    def encode(self, image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        return image, known

    def decode(self, x: Tensor) -> Tensor:
        return x

    def to(self, device: Any = None, dtype: Any = None) -> GalaxyPrior:
        self._network.to(device)
        return self


def load(name: str) -> GalaxyPrior:
    """A prior of the installed package: ZTF_ScoreNet32 or 64, hsc_ScoreNet32 or 64, lsst_ScoreNet60, quasar_lens72."""
    spec = find_spec("galaxygrad")
    if spec is None or spec.origin is None:
        sys.exit("galaxygrad is not installed. Run: pip install --no-deps galaxygrad==0.1.9")
    return GalaxyPrior(Mixer(read_arrays(Path(spec.origin).parent / f"eqx_{name}.eqx")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="hsc_ScoreNet64")
    parser.add_argument("--schedule", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("galaxy.png"))
    args = parser.parse_args()
    prior = load(args.network)
    side, nothing = prior.preferred_size, torch.zeros(1, dtype=torch.bool)
    drawn = Sampler(prior, as_method("none"))
    *_, last = drawn.run(drawn.start(torch.zeros(1, 1, side, side), nothing, [args.seed]))
    truth, known = last.x, torch.ones(1, 1, side, side, dtype=torch.bool)
    known[..., side // 2 - 3 : side // 2 + 5, : side * 2 // 3] = False
    filler = Sampler(prior, as_method(args.schedule))
    seeds = range(args.seed + 1, args.seed + 1 + args.samples)
    repeated = truth.expand(args.samples, -1, -1, -1)
    *_, last = filler.run(filler.start(repeated, known.expand(args.samples, -1, -1, -1), seeds))
    filled = last.x
    error = (filled.mean(0) - truth[0])[~known[0]].square().mean().sqrt()
    spread = filled.std(0)[~known[0]].mean()
    print(f"{filler.method.model_calls} calls: the mean misses the truth by {error:.3f} (rms), spread {spread:.3f}")

    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.2), layout="constrained")
    shown = {
        "galaxy": truth[0, 0],
        "masked": truth[0, 0].where(known[0, 0], torch.nan),
        "one filling": filled[0, 0],
        "mean": filled.mean(0)[0],
        "standard deviation": filled.std(0)[0],
    }
    for axes, (title, values) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        figure.colorbar(axes.imshow(values, cmap="viridis"), ax=axes)
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(args.out, dpi=90)


if __name__ == "__main__":
    main()
