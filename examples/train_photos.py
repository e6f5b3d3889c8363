"""Train the bundled `photos` prior: an unconditional, fully convolutional DDPM on free photographs.

python examples/photographs.py --out photographs
python examples/train_photos.py --photographs photographs --steps 30000 --out runs/photos

The same command resumes from its last checkpoint. To continue elsewhere from an exported model alone:
--start-from FOLDER, which restarts the optimizer with a warm-up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from photographs import entries, read
from training import Draw, Facts, options, to_tensor, train, velocity_loss

CROPS = {48: 16, 64: 9, 96: 4}  # crop side in pixels: batch size; about the same number of pixels each
SHARES = [0.5, 0.35, 0.15]
SHRINK = 0.6  # from one level of a photograph's pyramid to the next
AREA_POWER = 0.35  # a level is drawn with probability ~ area ** AREA_POWER
HELD_OUT_CROPS = 96
LARGEST_HOLE = 48  # pixels of thickness; half the largest crop, so that the model sees both sides
SMALLEST = 32  # side of a window; as good as windows of 48 pixels, see docs/measured.md
WEIGHTS = Path("unet") / "diffusion_pytorch_model.safetensors"
Pixels = NDArray[np.uint8]


def unet(**changes: Any) -> UNet2DModel:
    """Attention-free, so that it runs at any size that 8 divides; 9.4 M parameters, 18 MiB in float16."""
    shape: dict[str, Any] = {
        "sample_size": 96,
        "layers_per_block": 1,
        "block_out_channels": (32, 96, 160, 224),
        "down_block_types": ("DownBlock2D",) * 4,
        "up_block_types": ("UpBlock2D",) * 4,
        "add_attention": False,
        "norm_num_groups": 8,
    }
    return UNet2DModel(**{**shape, **changes})


def noise_scheduler() -> DDPMScheduler:
    return DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=True)


def pyramid(photo: Pixels) -> list[Pixels]:
    """A photograph at falling sizes, down to the largest crop."""
    levels = [photo]
    while min(levels[-1].shape[:2]) * SHRINK >= max(CROPS):
        height, width = (round(side * SHRINK) for side in levels[-1].shape[:2])
        levels.append(np.asarray(Image.fromarray(levels[-1]).resize((width, height), Image.Resampling.LANCZOS)))
    return levels


class Photographs:
    """Random crops of photographs at all scales.

    Args:
        photos: (H, W, 3) uint8 each.
    """

    def __init__(self, photos: list[Pixels]) -> None:
        self.levels = [level for photo in photos for level in pyramid(photo)]
        areas = np.array([level.shape[0] * level.shape[1] for level in self.levels], dtype=np.float64)
        self.odds = areas**AREA_POWER / (areas**AREA_POWER).sum()

    def crops(self, side: int, count: int, rng: np.random.Generator) -> list[Pixels]:
        """Plain crops, without augmentation."""
        found = []
        for which in rng.choice(len(self.levels), count, p=self.odds):
            level = self.levels[which]
            top, left = (int(rng.integers(size - side + 1)) for size in level.shape[:2])
            found.append(level[top : top + side, left : left + side])
        return found

    def batch(self, rng: np.random.Generator, sizes: dict[int, int] = CROPS) -> torch.Tensor:
        """(B, 3, S, S) in [-1, 1]: flipped, with random gamma, some grey, some with permuted channels."""
        side = int(rng.choice(list(sizes), p=SHARES))
        crops = []
        for crop in self.crops(side, sizes[side], rng):
            crop = crop[:, ::-1] if rng.random() < 0.5 else crop
            values = (crop / 255.0) ** np.exp(rng.normal(0, 0.25))
            kind = rng.random()
            if kind < 0.1:
                values = np.repeat(values @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
            elif kind < 0.2:
                values = values[..., rng.permutation(3)]
            crops.append(np.round(values * 255).astype(np.uint8))
        return to_tensor(np.stack(crops))


def predict(model: torch.nn.Module, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    prediction: torch.Tensor = model(x_t, t).sample
    return prediction


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, scheduler: DDPMScheduler, x0: torch.Tensor) -> float:
    """The same loss on photographs that are never trained on, always with the same timesteps and noise."""
    generator, losses = torch.Generator().manual_seed(0), []
    for part in x0.to(next(model.parameters()).device).split(16):
        losses.append(velocity_loss(lambda x_t, t: predict(model, x_t, t), scheduler, part, generator).item())
    return float(np.mean(losses))


def export(model: UNet2DModel, scheduler: DDPMScheduler, folder: Path, facts: Facts) -> None:
    """Write a diffusers folder (DDPMPipeline layout) with float16 weights, and a card with facts and credits."""
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous().cpu() for key, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    model.save_config(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    named = ("title", "author", "licence", "package", "split")
    card = {
        "about": "Photographs at any size; unconditional. For small damage: scratches, dust, lettering, wires, spots.",
        "licence": "Apache-2.0",
        "schedule": "cool",
        "smallest_size": SMALLEST,
        "largest_hole": LARGEST_HOLE,
        "data": "free photographs at all scales; examples/photographs.json",
        "credits": [{name: entry[name] for name in named} for entry in entries()],
        "training": facts,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = options(__doc__ or "", out="runs/photos", steps=150_000, learning_rate=4e-4)
    parser.add_argument("--photographs", type=Path, default=Path("photographs"))
    parser.add_argument("--start-from", type=Path, help="an exported model, where there is no checkpoint")
    args = parser.parse_args()
    scheduler, model = noise_scheduler(), unet()
    photos = Photographs([read(args.photographs, entry) for entry in entries("train")])
    unseen = Photographs([read(args.photographs, entry) for entry in entries("held_out")])
    x0 = to_tensor(np.stack(unseen.crops(64, HELD_OUT_CROPS, np.random.default_rng(0))))
    before: Facts | None = None
    if args.start_from is not None:
        model.load_state_dict({key: value.float() for key, value in load_file(args.start_from / WEIGHTS).items()})
        before = json.loads((args.start_from / "card.json").read_text(encoding="utf-8"))["training"]

    def loss(model: torch.nn.Module, draw: Draw) -> tuple[torch.Tensor, int]:
        batch = photos.batch(draw.rng).to(draw.device, memory_format=torch.channels_last)
        return velocity_loss(lambda x_t, t: predict(model, x_t, t), scheduler, batch, draw.generator), len(batch)

    train(
        model,
        loss,
        report=lambda model: {"held_out_loss": round(held_out_loss(model, scheduler, x0), 5)},
        export=lambda model, facts: export(model, scheduler, args.out / "model", facts),
        args=args,
        before=before,
    )


if __name__ == "__main__":
    main()
