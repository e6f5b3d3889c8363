"""Compare networks and losses for the `photos` prior at equal time: each is trained from nothing for as many minutes.

python examples/photographs.py --out photographs
OMP_NUM_THREADS=1 python examples/bake_off.py --photographs photographs --minutes 10 --out runs/bake-off

Prints the loss on held-out crops of 64 and 96 pixels. A contender that has been trained is not trained again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from diffusers.training_utils import compute_snr

from photographs import entries, read
from train_photos import CROPS, HELD_OUT_CROPS, Photographs, held_out_loss, noise_scheduler, predict, unet
from training import Draw, options, step_times, to_tensor, train, velocity_loss

WIDE_CROPS = {64: 9, 80: 6, 96: 4}  # crop side in pixels: batch size
MIN_SNR = 5.0  # Hang et al. 2023, arXiv 2303.09556, their gamma
ROUNDS = 3  # in which the time of a step is measured, all contenders in turn
TRIAL_STEPS = 12  # in a round; the first ones are slower, and the median ignores them


@dataclass(frozen=True)
class Contender:
    """What differs from the shipped prior."""

    network: dict[str, Any] = field(default_factory=dict)  # arguments of `unet`
    unshuffled: bool = False  # the network sees blocks of 2 x 2 pixels as channels
    crops: dict[int, int] = field(default_factory=lambda: CROPS)
    min_snr: bool = False


CONTENDERS = {
    "shipped": Contender(),
    "two layers a block, narrower": Contender({"layers_per_block": 2, "block_out_channels": (32, 72, 128, 176)}),
    "wide at full size": Contender({"block_out_channels": (64, 96, 160, 216)}),
    "attention at an eighth": Contender(
        {
            "down_block_types": ("DownBlock2D",) * 3 + ("AttnDownBlock2D",),
            "up_block_types": ("AttnUpBlock2D",) + ("UpBlock2D",) * 3,
            "attention_head_dim": 32,
            "block_out_channels": (32, 96, 160, 208),
        }
    ),
    "blocks of 2 x 2 pixels": Contender(
        {
            "in_channels": 12,
            "out_channels": 12,
            "block_out_channels": (96, 160, 232),
            "down_block_types": ("DownBlock2D",) * 3,
            "up_block_types": ("UpBlock2D",) * 3,
        },
        unshuffled=True,
    ),
    "min-SNR weights": Contender(min_snr=True),
    "wider crops": Contender(crops=WIDE_CROPS),
}


class Unshuffled(torch.nn.Module):
    """A UNet at half the size, with blocks of 2 x 2 pixels as channels."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> SimpleNamespace:
        small = self.unet(torch.nn.functional.pixel_unshuffle(x, 2), t).sample
        return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(small, 2))


class Candidate:
    """A contender's network and loss."""

    def __init__(self, contender: Contender, photos: Photographs) -> None:
        torch.manual_seed(0)
        network = unet(**contender.network)
        self.model = Unshuffled(network) if contender.unshuffled else network
        self.model.to(memory_format=torch.channels_last)
        self.scheduler = noise_scheduler()
        snr = compute_snr(self.scheduler, torch.arange(self.scheduler.config.num_train_timesteps))
        self._weights = snr.clamp(max=MIN_SNR) / (snr + 1) if contender.min_snr else None
        self._photos, self._crops = photos, contender.crops

    def loss(self, model: torch.nn.Module, draw: Draw) -> tuple[torch.Tensor, int]:
        batch = self._photos.batch(draw.rng, self._crops).to(memory_format=torch.channels_last)

        return velocity_loss(partial(predict, model), self.scheduler, batch, draw.generator, self._weights), len(batch)

    def trial(self, precision: str) -> list[float]:
        """Seconds of training steps, which leave the weights as they are."""
        still = torch.optim.AdamW(self.model.parameters(), 0.0, weight_decay=0.0, fused=True)
        return step_times(self.model, self.loss, precision, TRIAL_STEPS, still)

    def train(self, unseen: dict[int, torch.Tensor], args: argparse.Namespace) -> dict[str, Any]:
        """Train for `args.steps` steps, and return the facts at the end."""
        last: dict[str, Any] = {}
        train(
            self.model,
            self.loss,
            report=lambda model: {
                f"held_out_{side}": round(held_out_loss(model, self.scheduler, x0), 4) for side, x0 in unseen.items()
            },
            export=lambda _model, facts: last.update(facts),
            args=args,
        )
        return last


def median_times(photos: Photographs, precision: str, file: Path) -> dict[str, float]:
    """Median seconds of a step of each contender, measured once and kept in a file."""
    if not file.exists():
        candidates = {name: Candidate(contender, photos) for name, contender in CONTENDERS.items()}
        times: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(ROUNDS):
            for name, candidate in candidates.items():
                times[name] += candidate.trial(precision)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({name: float(np.median(each)) for name, each in times.items()}, indent=2) + "\n")
    found: dict[str, float] = json.loads(file.read_text())
    return found


def main() -> None:
    parser = options(__doc__ or "", out="runs/bake-off", steps=0, learning_rate=4e-4)
    parser.add_argument("--photographs", type=Path, default=Path("photographs"))
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    args.precision = "bf16"
    photos = Photographs([read(args.photographs, entry) for entry in entries("train")])
    held_out = Photographs([read(args.photographs, entry) for entry in entries("held_out")])
    unseen = {
        side: to_tensor(np.stack(held_out.crops(side, HELD_OUT_CROPS, np.random.default_rng(0)))) for side in (64, 96)
    }
    out = args.out
    seconds = median_times(photos, args.precision, out / "seconds.json")
    for name, contender in CONTENDERS.items():
        args.out = out / name.replace(" ", "-")
        args.steps = args.save_every = max(1, round(60 * args.minutes / seconds[name]))
        facts = args.out / "facts.json"
        if not facts.exists():
            trained = Candidate(contender, photos).train(unseen, args)
            facts.write_text(json.dumps(trained, indent=2) + "\n")
        found = json.loads(facts.read_text())
        print(
            f"{name:30} {found['parameters'] / 1e6:5.1f} M  {found['step']:6} steps  {found['images']:7} crops  "
            f"{seconds[name]:.3f} s each  held out {found['held_out_64']:.4f} {found['held_out_96']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
