"""Fill many images with all processes and GPUs, from Python.

accelerate launch examples/many_images.py photos/ mask.png filled/

`repaint inpaint photos/ mask.png --out filled/` does the same in batches, and resumes after an interruption.
"""

import argparse
from pathlib import Path

from accelerate import PartialState

from repaint import JumpSchedule, RePaintPipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("filled", type=Path)
    parser.add_argument("--prior", default="textures")
    parser.add_argument("--short", action="store_true", help="5 model calls instead of 100")
    args = parser.parse_args()

    state = PartialState()
    pipe = RePaintPipeline.from_pretrained(args.prior).to(state.device)
    pipe.set_progress_bar_config(disable=not state.is_main_process)
    args.filled.mkdir(exist_ok=True)
    schedule = JumpSchedule.paper(5, jump_n_sample=1) if args.short else "balanced"
    numbered = list(enumerate(sorted(args.photos.glob("*.png"))))
    with state.split_between_processes(numbered) as mine:
        for seed, photo in mine:  # one seed per image: results do not depend on the number of processes
            result = pipe(photo, args.mask, schedule=schedule, generator=seed).images[0]
            result.save(args.filled / photo.name)
    state.wait_for_everyone()
    state.print(f"{len(numbered)} images in {args.filled}, by {state.num_processes} processes")
    state.destroy_process_group()


if __name__ == "__main__":
    main()
