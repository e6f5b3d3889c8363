"""Measure half precision, compiling and batches on a GPU, with two real architectures and random weights.

    python examples/bench_cuda.py --out cuda.json      # on a CUDA machine
    python examples/bench_cuda.py --tiny               # check that the script runs, on any machine

DDPM-256 is google/ddpm-celebahq-256. SD 1.5 is the UNet of Stable Diffusion 1.5 at 512 pixels (latents of 64, one
prompt of 77 tokens, no guidance). Times do not depend on the weights; differences between types show rounding only.
No GPU was available when this was written, so no CUDA figures are published.

Columns: ms per call of the network alone and of this library, speed-up over eager float32, share of time outside the
network, peak memory, share of the card's own speed at multiplying large matrices of that type, and the mean absolute
difference of the result from that of eager float32 with the same seeds, in its range of 2.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel, UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from repaint.lab.speed.timing import measure_speed
from repaint.pipeline import RePaintPipeline
from repaint.priors.pixel import PixelPrior
from repaint.sampling.levels import Level
from repaint.sampling.method import as_method
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule

DDPM_256: dict[str, Any] = {
    "sample_size": 256,
    "block_out_channels": (128, 128, 256, 256, 512, 512),
    "down_block_types": (*("DownBlock2D",) * 4, "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", *("UpBlock2D",) * 4),
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
SD_15: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SMALL: dict[str, Any] = {"block_out_channels": (32, 32), "layers_per_block": 1}


class Prompted(PixelPrior):
    """A text-conditioned UNet on latents, with one fixed prompt and without an autoencoder."""

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        width = self.unet.config.cross_attention_dim
        tokens = torch.zeros(len(x), 77, width, device=x.device, dtype=self.unet.dtype)
        t = torch.full((len(x),), level.t, device=x.device)
        output = self.unet(x.to(self.unet.dtype), t, encoder_hidden_states=tokens, return_dict=False)[0]
        return from_output("epsilon", output.to(x.dtype), x, level)


def prior_of(name: str, tiny: bool) -> PixelPrior:
    """Return one of the two architectures with random weights of seed 0."""
    torch.manual_seed(0)
    if name == "DDPM-256":
        blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        unet = UNet2DModel(**(DDPM_256 | (SMALL | blocks if tiny else {})))
        return PixelPrior(unet, DDPMScheduler())
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    unet = UNet2DConditionModel(**(SD_15 | (SMALL | blocks if tiny else {})))
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    return Prompted(unet, DDIMScheduler(**betas))


def matmul_speed(dtype: torch.dtype, device: str, size: int) -> float:
    """Return operations per second in products of large square matrices: the best of five."""
    a = torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(6):
        wait(device)
        start = time.perf_counter()
        for _ in range(10):
            a @ a
        wait(device)
        best = max(best, 10 * 2 * size**3 / (time.perf_counter() - start))
    return best


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def flops_of(pipe: RePaintPipeline, fill: Any, calls: int) -> float:
    """Return the number of operations per call, from the shapes."""
    with FlopCounterMode(display=False) as counter:
        fill(pipe)
    return counter.get_total_flops() / calls


def measure(
    name: str, size: int, batch: int, *, tiny: bool, device: str, rounds: int, eager: bool
) -> list[dict[str, Any]]:
    """Yield the rows of one architecture and batch size: float32, then each half type, eager and compiled."""
    channels = 3 if name == "DDPM-256" else 4
    image, hole = torch.rand(batch, channels, size, size), torch.zeros(batch, 1, size, size)
    hole[..., size // 4 : -(size // 4), size // 4 : -(size // 4)] = 1
    x0, known = 2 * image - 1, hole == 0
    walk = JumpSchedule.paper(4, 2, 2) if tiny else JumpSchedule.paper(10, 5, 3)

    def fill(pipe: RePaintPipeline) -> Tensor:
        sampler = Sampler(pipe.prior, as_method(walk))
        *_, state = sampler.run(sampler.start(x0.to(device), known.to(device), range(batch)))
        return state.x.cpu()

    rows: list[dict[str, Any]] = []
    flops, reference = 0.0, torch.zeros(0)
    for dtype in [torch.float32, torch.float16, torch.bfloat16]:
        for compiled in (False,) if eager else (False, True):
            pipe = RePaintPipeline(prior_of(name, tiny)).to(device)
            nn.Module.to(pipe.prior.unet, dtype)  # avoids diffusers' warning about layers to keep in float32
            ways = {"repaint": lambda pipe=pipe: fill(pipe)}
            bare, ours = measure_speed(pipe, ways, batch=batch, rounds=rounds, compiled=compiled)
            if not rows:
                flops, reference = flops_of(pipe, fill, ours.calls), fill(pipe)
            speed = flops / (bare.ms[1] / 1000) / matmul_speed(dtype, device, 256 if tiny else 8192)
            row = {
                "model": name,
                "batch": batch,
                "type": str(dtype)[6:] + (" compiled" if compiled else ""),
                "network_ms": bare.ms[1],
                "ms": ours.ms[1],
                "faster": (rows[0]["ms"] if rows else ours.ms[1]) / ours.ms[1],
                "outside": ours.outside[1],
                "memory": ours.memory,
                "of_matmul": speed,
                "difference": float((fill(pipe) - reference).abs().mean()),
            }
            rows.append(row)
            print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Run the command line and return its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="two blocks, 16 pixels, batch 1 and 2")
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    asked = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not asked.tiny:
        parser.error("no CUDA device here: run it on a machine with one, or with --tiny")
    rows = []
    for name, size in (("DDPM-256", 256), ("SD 1.5", 64)):
        for batch in (1, 2) if asked.tiny else (1, 16):
            options = {"tiny": asked.tiny, "device": device, "rounds": asked.rounds, "eager": asked.eager}
            rows += measure(name, 16 if asked.tiny else size, batch, **options)
    if asked.out is not None:
        asked.out.write_text(json.dumps(rows, indent=2))
    return rows


if __name__ == "__main__":
    main()
