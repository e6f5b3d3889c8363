"""Train the bundled `textures` prior: a class-conditional, fully convolutional DDPM on five public-domain photographs.

    python examples/train_textures.py --steps 12000 --out runs/textures
    accelerate launch examples/train_textures.py ...        # several GPUs

Stop it at any time; the same command goes on from the last checkpoint. The learning rate is constant and falls
linearly over the last fifth of --steps, so a run can also be ended early by asking for fewer steps.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file

from repaint.samples import PHOTOGRAPHS, held_out_crops, photograph

NULL_CLASS = len(PHOTOGRAPHS)
NULL_SHARE = 0.15  # of the labels are replaced by the null class, for classifier-free guidance
CROPS = {48: 16, 64: 9, 96: 4}  # crop side: batch size; about the same number of pixels each
TURNABLE = {"gravel", "tissue", "sky"}  # no natural "up": rotated and flipped freely; the others only left to right


def unet() -> UNet2DModel:
    """Attention-free, so that it runs at any size that 8 divides."""
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


def to_tensor(crops: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) in [0, 255] to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(crops)).float().permute(0, 3, 1, 2) / 127.5 - 1


def draw_batch(photos: list[np.ndarray], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Crops of the training parts at half size, every 2 x 2 phase, flipped and turned where that is natural."""
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


def denoising_loss(
    model: torch.nn.Module, scheduler: DDPMScheduler, x0: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mean squared error of the predicted velocity, with timesteps stratified over the batch."""
    count, device = len(x0), x0.device
    u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    t = (u * scheduler.config.num_train_timesteps).long().to(device)
    eps = torch.randn(x0.shape, generator=generator).to(device)
    x_t = scheduler.add_noise(x0, eps, t)
    prediction = model(x_t, t, class_labels=labels).sample
    return (prediction.float() - scheduler.get_velocity(x0, eps, t)).square().mean()


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, scheduler: DDPMScheduler, device: torch.device) -> float:
    """The same loss on crops the prior never sees, always with the same timesteps and noise."""
    model.eval()
    losses = []
    for label, name in enumerate(PHOTOGRAPHS):
        x0 = to_tensor(np.stack(held_out_crops(name, 64, 12))).to(device)
        labels = torch.full((len(x0),), label, device=device)
        losses.append(denoising_loss(model, scheduler, x0, labels, torch.Generator().manual_seed(label)).item())
    model.train()
    return float(np.mean(losses))


def export(model: UNet2DModel, scheduler: DDPMScheduler, folder: Path, facts: dict[str, object]) -> None:
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/textures"))
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    args = parser.parse_args()

    accelerator = Accelerator(mixed_precision="bf16", project_dir=args.out)
    set_seed(args.seed)
    model = unet().to(memory_format=torch.channels_last)
    scheduler = DDPMScheduler(prediction_type="v_prediction", clip_sample=True)
    optimizer = torch.optim.AdamW(model.parameters(), args.learning_rate, weight_decay=1e-2, fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    ema = EMAModel(accelerator.unwrap_model(model).parameters(), decay=0.9995)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)

    args.out.mkdir(parents=True, exist_ok=True)
    log, checkpoint = args.out / "log.jsonl", args.out / "checkpoint"
    step, crops, seconds = 0, 0, 0.0
    if (checkpoint / "progress.json").exists():
        accelerator.load_state(checkpoint)
        progress = json.loads((checkpoint / "progress.json").read_text())
        step, crops, seconds = progress["step"], progress["crops"], progress["seconds"]
    started = time.monotonic() - seconds

    photos = [photograph(name, "train") for name in PHOTOGRAPHS]
    running: list[float] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not accelerator.is_local_main_process) as bar:
        task = bar.add_task("training", total=args.steps, completed=step)
        while step < args.steps:
            # One generator a step and process: a resumed run sees the batches that an unbroken one would.
            key = [args.seed, step, accelerator.process_index]
            x0, labels = draw_batch(photos, np.random.default_rng(key))
            x0 = x0.to(accelerator.device, memory_format=torch.channels_last)
            noise = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
            decay = min(1.0, (args.steps - step) / (0.2 * args.steps), (step + 1) / 200)
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * decay
            with accelerator.autocast():
                loss = denoising_loss(model, scheduler, x0, labels.to(accelerator.device), noise)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.step(accelerator.unwrap_model(model).parameters())
            running.append(loss.item())
            step, crops = step + 1, crops + len(x0) * accelerator.num_processes
            bar.update(task, completed=step, description=f"loss {np.mean(running[-200:]):.4f}")
            if step % args.save_every == 0 or step == args.steps:
                plain = accelerator.unwrap_model(model)
                ema.store(plain.parameters())
                ema.copy_to(plain.parameters())
                facts = {
                    "steps": step,
                    "crops": crops,
                    "seconds": round(time.monotonic() - started),
                    "loss": round(float(np.mean(running)), 5),
                    "held_out_loss": round(held_out_loss(plain, scheduler, accelerator.device), 5),
                    "learning_rate": args.learning_rate,
                    "seed": args.seed,
                    "device": str(accelerator.device),
                    "parameters": sum(p.numel() for p in plain.parameters()),
                }
                if accelerator.is_main_process:
                    export(plain, scheduler, args.out / "model", facts)
                    with log.open("a") as file:
                        file.write(json.dumps(facts) + "\n")
                ema.restore(plain.parameters())
                running.clear()
                accelerator.save_state(checkpoint)
                if accelerator.is_main_process:
                    progress = {"step": step, "crops": crops, "seconds": time.monotonic() - started}
                    (checkpoint / "progress.json").write_text(json.dumps(progress))


if __name__ == "__main__":
    main()
