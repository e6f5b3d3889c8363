"""Draw with the bundled `emoji` prior in diffusers' own StableDiffusionPipeline. Writes examples/drawn.png.

    python examples/draw_emoji.py

The prior was not trained on the glyphs of the last three names.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from repaint.measure.plots import strip
from repaint.priors.load import BUNDLED

NAMES = ["red apple", "dog face", "crying face", "clock face four oclock", "sunflower", "large red square"]
NAMES += ["grinning face", "volcano", "tiger face"]


def main() -> None:
    pipe = StableDiffusionPipeline.from_pretrained(BUNDLED / "emoji")
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        NAMES,
        num_inference_steps=25,
        guidance_scale=3.0,
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    strip([np.round(drawn * 255).astype(np.uint8)], NAMES).save("examples/drawn.png")


if __name__ == "__main__":
    main()
