"""Measure what a hole costs in a large image: time compared with a small image, and peak memory of this process.

    python examples/any_size.py             # 4096 x 4096 pixels
    python examples/any_size.py --side 1024

Two comparisons: one hole of 64 pixels; eight holes of 24 pixels far apart and one batch of eight small images. Each
time is the best of --repeat.
"""

from __future__ import annotations

import argparse
import resource
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repaint.pipeline import RePaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    pipe = RePaintPipeline.from_pretrained("textures", torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)

    def seconds(image: NDArray[np.uint8], hole: NDArray[np.bool_]) -> float:
        asked: dict[str, Any] = {"schedule": "fast", "generator": 0, "output_type": "np"}
        times = []
        for _ in range(args.repeat):
            started = time.perf_counter()
            filled = pipe(image, hole, **asked).images
            times.append(time.perf_counter() - started)
        assert np.array_equal(filled[..., ~hole, :].reshape(-1), image[..., ~hole, :].reshape(-1))
        return min(times)

    rng = np.random.default_rng(0)
    tile, inside = rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), np.zeros((128, 128), bool)
    inside[32:96, 32:96] = True
    large, hole = np.tile(tile, (args.side // 128, args.side // 128, 1)), np.zeros((args.side, args.side), bool)
    hole[-96:-32, -96:-32] = True
    few, many = seconds(tile, inside), seconds(large, hole)
    print(f"a hole of 64 pixels: {few:.2f} s in 128 x 128, {many:.2f} s in the large image, x {many / few:.2f}")
    small = rng.integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    inside = np.zeros((64, 64), bool)
    inside[20:44, 20:44] = True
    hole[:] = False
    for i in range(8):
        row, column = np.array([i // 4 + 1, i % 4 + 1]) * args.side // 6
        hole[row : row + 24, column : column + 24] = True
    few, many = seconds(small, inside), seconds(large, hole)
    print(f"eight of 24 pixels: {few:.2f} s as a batch of 64 x 64, {many:.2f} s in the one image, x {many / few:.2f}")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
