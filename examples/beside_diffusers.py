"""Compare diffusers' RePaintPipeline with this library on the same small network: sizes, kept pixels, seeds.

python examples/beside_diffusers.py

The weights are random: the comparison is about what each pipeline guarantees, not about the quality of the results.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, RePaintScheduler, UNet2DModel
from diffusers import RePaintPipeline as DiffusersRePaint
from PIL import Image

from repaint import JumpSchedule, RePaintPipeline

SIZES = ((64, 64), (70, 50))
BLOCKS = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
UNET = UNet2DModel(block_out_channels=(8, 16), norm_num_groups=4, add_attention=False, **BLOCKS)
OURS = RePaintPipeline.from_pipe(DDPMPipeline(UNET, DDPMScheduler()))
THEIRS = DiffusersRePaint(UNET, RePaintScheduler())


def ours(image: Image.Image, hole: np.ndarray, seeds: Sequence[int]) -> list[Image.Image]:
    walk = JumpSchedule.paper(6, 2, 2)
    return list(OURS([image] * len(seeds), hole, schedule=walk, generator=list(seeds), crop="off").images)


def theirs(image: Image.Image, hole: np.ndarray, seeds: Sequence[int]) -> list[Image.Image]:
    walk = {"num_inference_steps": 6, "jump_length": 2, "jump_n_sample": 2, "eta": 1.0}
    keep = torch.from_numpy(~hole)[None, None].float().expand(len(seeds), 1, -1, -1)  # a list of masks is an error
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return list(THEIRS([image] * len(seeds), keep, generator=generators, **walk).images)


def report(name: str, fill: Callable[..., list[Image.Image]]) -> None:
    for width, height in SIZES:
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
        hole = np.zeros((height, width), bool)
        hole[height // 4 : height // 2, width // 4 : width // 2] = True
        try:
            alone, batch = fill(image, hole, [1])[0], fill(image, hole, [0, 1])
        except RuntimeError as error:
            print(f"{name}, {width} x {height}: {error}")
            continue
        changed = np.asarray(alone)[~hole] != np.asarray(image)[~hole]
        apart = np.abs(np.asarray(alone, int) - np.asarray(batch[1], int)).max()
        print(
            f"{name}, {width} x {height}: {alone.width} x {alone.height}, {changed.mean():.1%} of kept pixels changed; "
            f"a seed alone and in a batch differ by {apart} of 255"
        )


if __name__ == "__main__":
    OURS.set_progress_bar_config(disable=True)
    THEIRS.set_progress_bar_config(disable=True)
    report("repaint", ours)
    report("diffusers", theirs)
