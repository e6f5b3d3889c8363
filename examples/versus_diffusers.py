"""Compare this library with diffusers' RePaintPipeline in one run: the same machine, weights and holes.

    python examples/versus_diffusers.py                       # 64 holes, the paper's schedule; an hour on a CPU
    python examples/versus_diffusers.py --holes 8 --steps 20  # a quick check

Holes of 24 pixels in 64-pixel crops of photographs that `textures` was not trained on. diffusers' pipeline takes no
class labels and needs a noise-predicting model, so it gets the UNet under its null class, with v converted to noise;
this library uses the null class, too. diffusers' pipeline changes all pixels; the kept ones are restored, so that
only the holes are compared. Calls are counted at the model. One more hole is filled first, so that start-up costs are
not measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import RePaintPipeline as DiffusersRePaint
from diffusers import RePaintScheduler
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from repaint.lab.quality.cases import Hole, texture_holes
from repaint.lab.quality.scores import Filled, fill, measure
from repaint.measure.intervals import paired_difference
from repaint.pipeline import RePaintPipeline
from repaint.priors.load import load
from repaint.priors.pixel import PixelPrior

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class NoiseOfNullClass(torch.nn.Module):
    """A noise-predicting UNet for diffusers' pipeline, made of a class-conditional UNet that predicts v."""

    def __init__(self, prior: PixelPrior) -> None:
        super().__init__()
        self.unet, self.null, self.config = prior.unet, prior.null_class, prior.unet.config
        self.signal, self.device = prior.scheduler.alphas_cumprod, prior.device
        self.dtype, self.calls = torch.float32, 0  # of x; only the model runs in bfloat16

    def forward(self, x: Tensor, t: Tensor) -> Any:
        self.calls += 1
        labels = torch.full((len(x),), self.null, device=x.device)
        v = self.unet(x.to(self.unet.dtype), t, class_labels=labels).sample.to(x)
        signal = self.signal[t].to(x)
        return SimpleNamespace(sample=signal.sqrt() * v + (1 - signal).sqrt() * x)


def theirs(prior: PixelPrior, holes: Sequence[Hole], steps: int, batch: int) -> Filled:
    """Fill with diffusers' pipeline: the paper's jumps (10, 10) and the noise of DDPM (eta = 1)."""
    config = prior.scheduler.config
    kept = {name: config[name] for name in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule")}
    unet = NoiseOfNullClass(prior)
    pipe = DiffusersRePaint(unet, RePaintScheduler(**kept, eta=1.0, clip_sample=config.clip_sample))
    pipe.set_progress_bar_config(disable=True)
    images, started = [], time.perf_counter()
    for first in track(range(0, len(holes), batch), description="diffusers", transient=True):
        some = holes[first : first + batch]
        result = pipe(
            torch.from_numpy(np.stack([hole.image for hole in some])).permute(0, 3, 1, 2) / 127.5 - 1,
            torch.from_numpy(np.stack([~hole.mask for hole in some]))[:, None].float(),
            num_inference_steps=steps,
            eta=1.0,
            jump_length=10,
            jump_n_sample=10,
            generator=torch.Generator().manual_seed(first),
            output_type="np",
        ).images
        pixels = np.round(result * 255).astype(np.uint8)
        images += [[np.where(hole.mask[..., None], one, hole.image)] for hole, one in zip(some, pixels, strict=True)]
    seconds = time.perf_counter() - started
    return Filled(images, unet.calls // -(-len(holes) // batch), seconds)


def report(holes: Sequence[Hole], first: Filled, second: Filled, title: str) -> Table:
    """Return a table of seconds and of each measure with its paired difference."""
    table = Table("", "diffusers", "this library", "this library - diffusers, 95 %", title=title)
    table.add_row("model calls", str(first.model_calls), str(second.model_calls))
    faster = f"{first.seconds / second.seconds:.1f} times faster"
    table.add_row("seconds", f"{first.seconds:.1f}", f"{second.seconds:.1f}", faster)
    for name in ("psnr", "ssim", "patches", "gradients"):
        before, after = measure(name, holes, first), measure(name, holes, second)
        gap = paired_difference(after, before, clusters=[hole.picture for hole in holes])
        interval = f"{gap.mean:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        table.add_row(name, f"{before.mean():.3f}", f"{after.mean():.3f}", interval)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--holes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=250, help="T of diffusers' schedule")
    parser.add_argument(
        "--schedule",
        default=str(Path(__file__).parent / "schedules" / "refresh-100.yaml"),
        help="schedule of this library",
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16")
    args = parser.parse_args()
    every = texture_holes()
    holes = [replace(every[i * len(every) // args.holes], conditions={}) for i in range(args.holes)]
    prior: Any = load("textures", torch_dtype=DTYPES[args.dtype])
    pipe = RePaintPipeline(prior)
    pipe.set_progress_bar_config(disable=True)
    fill(pipe, holes[:1], "fast")
    first = theirs(prior, holes, args.steps, args.batch)
    second = fill(pipe, holes, args.schedule, batch=args.batch)
    title = f"{len(holes)} holes, {args.dtype}, batches of {args.batch}: T = {args.steps} and {args.schedule}"
    Console().print(report(holes, first, second, title))


if __name__ == "__main__":
    main()
