"""Time `repaint inpaint` and `repaint sweep` with one and two processes of one CPU thread each.

    python examples/cluster/scaling.py          # some minutes on two idle cores

16 images of 48 pixels with the schedule `fast`. Each command runs twice: the second time everything is done, so only
the start is measured. The difference is the work. The best of three.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from repaint.pictures import mask_shapes
from repaint.pictures.samples import PHOTOGRAPHS, held_out_crops

GRID = "images: [photos]\nmasks: [mask.png]\nschedules: [fast]\nbatch: 1\n"
WORK = {
    "inpaint": (["photos", "mask.png", "--schedule", "fast", "--batch-size", "1", "--device", "cpu", "--out"], "out"),
    "sweep": (["grid.yaml", "--device", "cpu", "--out"], "rows.jsonl"),
}


def seconds(command: str, processes: int, out: str, folder: Path) -> float:
    """Of one run, from its start to its end."""
    # With --cpu accelerate starts one process, however many are asked for; with --multi_gpu that many, without any GPU.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    arguments = [*(launch if processes > 1 else []), "-m", "repaint", command, *WORK[command][0], out]
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=16)
    args = parser.parse_args()
    print("command  processes  work, s  start, s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        (folder / "grid.yaml").write_text(GRID)
        crops = [crop for name in PHOTOGRAPHS for crop in held_out_crops(name, 48, 4)]
        for i, crop in enumerate(crops[: args.images]):
            Image.fromarray(crop).save(folder / f"photos/{i:02}.png")
        hole = mask_shapes.box(48, 48)[0].numpy() == 0
        Image.fromarray(np.where(hole, np.uint8(255), np.uint8(0))).save(folder / "mask.png")
        for command, (_, out) in WORK.items():
            for processes in (1, 2):
                runs = []
                for repeat in range(args.repeats):
                    target = f"{processes}-{repeat}-{out}"
                    runs.append([seconds(command, processes, target, folder) for _ in range(2)])
                start = min(again for _, again in runs)
                work = min(first for first, _ in runs) - start
                print(f"{command:8} {processes:9} {work:8.1f} {start:9.1f}")


if __name__ == "__main__":
    main()
