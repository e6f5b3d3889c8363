"""Train the bundled `textures` prior: a class-conditional, fully convolutional DDPM on five public-domain photographs.

python examples/train_textures.py --steps 12000 --out runs/textures
accelerate launch examples/train_textures.py ...        # several GPUs
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors.torch import save_file

from repaint.pictures.samples import PHOTOGRAPHS, held_out_crops, photograph
from training import Draw, Facts, options, to_tensor, train, velocity_loss

NULL_CLASS = len(PHOTOGRAPHS)
NULL_SHARE = 0.15  # share of labels replaced by the null class, for classifier-free guidance
CROPS = {48: 16, 64: 9, 96: 4}  # crop side: batch size; about the same number of pixels each
TURNABLE = {"gravel", "tissue", "sky"}  # rotated and flipped freely; the others are flipped left to right only


def unet() -> UNet2DModel:
    """Return a UNet without attention, which runs at any size that is a multiple of 8."""
    return UNet2DModel(
        sample_size=64,
        layers_per_block=2,
        block_out_channels=(32, 64, 128, 160),
        down_block_types=("DownBlock2D",) * 4,
        up_block_types=("UpBlock2D",) * 4,
        add_attention=False,
        norm_num_groups=8,
        num_class_embeds=len(PHOTOGRAPHS) + 1,
        dropout=0.05,
    )


def draw_batch(photos: list[np.ndarray], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw crops of the training parts at half size, in each 2 x 2 phase, flipped and rotated where allowed."""
    side = int(rng.choice(list(CROPS), p=[0.5, 0.35, 0.15]))
    labels = rng.integers(len(photos), size=CROPS[side])
    crops = []
    for label in labels:
        photo, span = photos[label], 2 * side
        top, left = rng.integers(photo.shape[0] - span + 1), rng.integers(photo.shape[1] - span + 1)
        crop = photo[top : top + span, left : left + span].reshape(side, 2, side, 2, 3).mean(axis=(1, 3))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if list(PHOTOGRAPHS)[label] in TURNABLE:
            crop = np.rot90(crop, rng.integers(4))
        crops.append(crop)
    labels = np.where(rng.random(labels.size) < NULL_SHARE, NULL_CLASS, labels)
    return to_tensor(np.stack(crops)), torch.from_numpy(labels)


def predict(model: torch.nn.Module, labels: torch.Tensor, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    prediction: torch.Tensor = model(x_t, t, class_labels=labels).sample
    return prediction


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, scheduler: DDPMScheduler) -> float:
    """Return the loss on held-out crops, always with the same timesteps and noise."""
    device, losses = next(model.parameters()).device, []
    for label, name in enumerate(PHOTOGRAPHS):
        x0 = to_tensor(np.stack(held_out_crops(name, 64, 12))).to(device)
        labels = torch.full((len(x0),), label, device=device)
        denoise = partial(predict, model, labels)
        losses.append(velocity_loss(denoise, scheduler, x0, torch.Generator().manual_seed(label)).item())
    return float(np.mean(losses))


def export(model: UNet2DModel, scheduler: DDPMScheduler, folder: Path, facts: Facts) -> None:
    """Write a diffusers folder (DDPMPipeline layout) with fp16 weights, and a card with the facts of the training."""
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().contiguous().cpu() for key, value in model.state_dict().items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors", metadata={"format": "pt"})
    model.save_config(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline",
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
        "id2label": {str(label): name for label, name in enumerate(PHOTOGRAPHS)},
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    card = {
        "about": "Brick, grass, gravel, tissue and sky at any size; class-conditional with a null class.",
        "licence": "Apache-2.0",
        "data": "left three quarters of five public-domain photographs in scikit-image, at half size",
        "training": facts,
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> None:
    args = options(__doc__ or "", out="runs/textures", steps=12_000, learning_rate=4e-4).parse_args()
    scheduler = DDPMScheduler(prediction_type="v_prediction", clip_sample=True)
    photos = [photograph(name, "train") for name in PHOTOGRAPHS]

    def loss(model: torch.nn.Module, draw: Draw) -> tuple[torch.Tensor, int]:
        x0, labels = draw_batch(photos, draw.rng)
        x0 = x0.to(draw.device, memory_format=torch.channels_last)
        labels = labels.to(draw.device)
        return velocity_loss(partial(predict, model, labels), scheduler, x0, draw.generator), len(x0)

    train(
        unet(),
        loss,
        report=lambda model: {"held_out_loss": round(held_out_loss(model, scheduler), 5)},
        export=lambda model, facts: export(model, scheduler, args.out / "model", facts),
        args=args,
    )


if __name__ == "__main__":
    main()
