"""Measure what float16 and bfloat16 change in the results of the bundled priors, compared with float32 on the CPU.

python examples/half_precision.py

Three pictures for each prior and type, with the same seeds. Differences are in 8-bit values, inside the hole; kept
pixels are compared with the picture itself.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from repaint import JumpSchedule, RePaintPipeline
from repaint.pictures.samples import glyphs, held_out_crops, unseen

Pictures = NDArray[np.uint8]
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def pictures(prior: str, count: int, side: int) -> tuple[list[Pictures], dict[str, Any]]:
    """Return pictures that suit a bundled prior, and the conditions of each."""
    if prior == "emoji":
        found = dict(list(glyphs().items())[:count])
        return list(found.values()), {"prompt": list(found)}
    if prior == "textures":
        names = ["brick", "grass", "gravel"][:count]
        return [held_out_crops(name, side, 1)[0] for name in names], {"class_labels": names}
    return [unseen(name)[60 : 60 + side, 90 : 90 + side] for name in ("chelsea", "astronaut", "coffee")[:count]], {}


def filled(prior: str, dtype: torch.dtype, images: list[Pictures], mask: Pictures, given: dict[str, Any]) -> Pictures:
    """Return the pictures, filled with the same seeds in each type."""
    pipe = RePaintPipeline.from_pretrained(prior, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    found: Pictures = pipe(images, mask, generator=0, output_type="np", **given).images
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="one small picture for each prior, 4 model calls")
    arguments = parser.parse_args()
    count, side = (1, 32) if arguments.short else (3, 64)
    print("| prior | type | largest difference | mean difference | kept pixels that differ |\n|---|---|---|---|---|")
    for prior in ("photos", "textures", "emoji"):
        images, given = pictures(prior, count, side)
        given["schedule"] = JumpSchedule.paper(4, jump_n_sample=1) if arguments.short else "fast"
        mask = np.zeros(images[0].shape[:2], np.uint8)
        middle = len(mask) // 2
        mask[middle - 6 : middle + 6, 8:-8] = 255  # thin enough for `photos`
        exact = filled(prior, torch.float32, images, mask, given).astype(int)
        for name, dtype in HALVES.items():
            found = filled(prior, dtype, images, mask, given)
            kept = int((found != np.stack(images))[:, mask == 0].any(axis=-1).sum())
            off = np.abs(found - exact)[:, mask > 0]
            print(f"| `{prior}` | {name} | {off.max()} | {off.mean():.3f} | {kept} |", flush=True)


if __name__ == "__main__":
    main()
