"""Fill a hole in a photograph with a pixel-space prior. Writes pixel.png.

python examples/pixel.py --prior textures
"""

import argparse

import numpy as np

from repaint import JumpSchedule, RePaintPipeline
from repaint.measure.plots import strip
from repaint.pictures import mask_shapes
from repaint.pictures.samples import held_out_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prior", default="textures", help='bundled name, folder or Hub id ("google/ddpm-church-256")')
    parser.add_argument("--out", default="pixel.png")
    parser.add_argument("--short", action="store_true", help="5 model calls instead of 100")
    args = parser.parse_args()

    pipe = RePaintPipeline.from_pretrained(args.prior)
    image = held_out_crops("gravel", 64, 3)[1]  # a part of a photograph that the prior never saw
    keep = mask_shapes.circle(64, 64, radius=0.25)  # 1 keeps a pixel, 0 repaints it
    schedule = JumpSchedule.paper(5, jump_n_sample=1) if args.short else "balanced"
    out = pipe(image, keep_mask=keep, schedule=schedule, generator=0, num_images_per_prompt=3, output_type="np")

    kept = keep[0].numpy() == 1
    assert all(np.array_equal(result[kept], image[kept]) for result in out.images)  # bit for bit
    masked = np.where(kept[..., None], image, np.uint8(160))
    strip([[image, masked, *out.images]], ["original", "masked", *(f"seed {seed}" for seed in out.seeds)]).save(
        args.out
    )


if __name__ == "__main__":
    main()
