"""The loop that every training script here shares: accelerate, an averaged copy, a schedule, a log and checkpoints.

Stop a run at any time; the same command continues from the last checkpoint, with the batches of an uninterrupted run.
The learning rate is constant, and falls linearly over the last fifth of the steps, so a run can also be ended early
with a smaller number of steps.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WARM_UP = 200  # steps
COOL_DOWN = 0.2  # of all steps
EMA_DECAY = 0.9995


@dataclass(frozen=True)
class Draw:
    """What the loss of one step may draw from: a key of its own for every seed, step and process."""

    rng: np.random.Generator
    generator: torch.Generator
    device: torch.device
    step: int


Facts = dict[str, Any]
Loss = Callable[[torch.nn.Module, Draw], tuple[torch.Tensor, int]]  # the loss and how many images it saw
Report = Callable[[torch.nn.Module], Facts]  # facts of the averaged model, such as its held-out loss
Export = Callable[[torch.nn.Module, Facts], None]


def options(description: str, *, out: str, steps: int, learning_rate: float) -> argparse.ArgumentParser:
    """The command-line options that every training script takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--precision", choices=["auto", "no", "bf16"], default="auto", help="auto: the faster one here")
    return parser


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """(B, H, W, 3) in [0, 255] to (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).float().permute(0, 3, 1, 2) / 127.5 - 1


def velocity_loss(
    predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    scheduler: DDPMScheduler,
    x0: torch.Tensor,
    generator: torch.Generator,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared error of the velocity that `predict(x_t, t)` gives, with timesteps stratified over the batch.

    Args:
        weights: (T,), the weight of each timestep; None: 1 for all.
    """
    u = (torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)) / len(x0)
    t = (u * scheduler.config.num_train_timesteps).long().to(x0.device)
    eps = torch.randn(x0.shape, generator=generator).to(x0.device)
    prediction = predict(scheduler.add_noise(x0, eps, t), t)
    errors = (prediction.float() - scheduler.get_velocity(x0, eps, t)).square()
    if weights is not None:
        errors = errors * weights[t].view(-1, 1, 1, 1)
    return errors.mean()


@contextmanager
def averaged(ema: EMAModel, model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The model with its averaged weights, for as long as the block lasts."""
    ema.store(model.parameters())
    ema.copy_to(model.parameters())
    model.eval()
    try:
        with torch.no_grad():
            yield model
    finally:
        ema.restore(model.parameters())
        model.train()


def step_times(
    model: torch.nn.Module, loss: Loss, precision: str, steps: int, optimizer: torch.optim.Optimizer | None = None
) -> list[float]:
    """Seconds of training steps in "bf16" or "no", on the model's device; without an optimizer, gradients add up."""
    device, times = next(model.parameters()).device, []
    for step in range(steps):
        draw = Draw(np.random.default_rng(step), torch.Generator().manual_seed(step), device, step)
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            value, _ = loss(model, draw)
        value.backward()
        if optimizer is not None:
            optimizer.step()
            optimizer.zero_grad()
        value.item()
        times.append(time.perf_counter() - started)
    return times


def faster_precision(model: torch.nn.Module, loss: Loss) -> str:
    """ "bf16" or "no", whichever makes a training step faster: on GPUs, and on CPUs that have instructions for it."""
    model, seconds = model.to("cuda" if torch.cuda.is_available() else "cpu"), {}
    for precision in ("no", "bf16"):
        seconds[precision] = min(step_times(model, loss, precision, 3))
    model.zero_grad(set_to_none=True)
    return min(seconds, key=lambda precision: seconds[precision])


def train(
    model: torch.nn.Module,
    loss: Loss,
    report: Report,
    export: Export,
    args: argparse.Namespace,
    before: Facts | None = None,
) -> None:
    """Train to `args.steps`, and every `args.save_every` steps log, export and write a checkpoint.

    Args:
        before: facts of the training that the model's weights come from, where there is no checkpoint to resume.
    """
    checkpoint = args.out / "checkpoint"
    resumes = (checkpoint / "progress.json").exists()
    if before is not None and not resumes and before["step"] >= args.steps:
        raise SystemExit(
            f"--steps {args.steps} must be above {before['step']}: it counts the steps before --start-from, too."
        )
    model = model.to(memory_format=torch.channels_last)
    precision = faster_precision(model, loss) if args.precision == "auto" else args.precision
    accelerator = Accelerator(mixed_precision=precision, project_dir=args.out)
    set_seed(args.seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, args.learning_rate, weight_decay=1e-2, fused=True)
    model, optimizer = accelerator.prepare(model, optimizer)
    plain = accelerator.unwrap_model(model)
    ema = EMAModel(plain.parameters(), decay=EMA_DECAY)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)

    args.out.mkdir(parents=True, exist_ok=True)
    first = 0
    progress = Facts(step=0, images=0, seconds=0.0)
    if resumes:
        accelerator.load_state(checkpoint)
        progress = json.loads((checkpoint / "progress.json").read_text())
    elif before is not None:
        progress = Facts({name: before[name] for name in ("step", "images", "seconds")})
        first = before["step"]  # a new optimizer warms up again
    started = time.monotonic() - progress["seconds"]

    losses: list[float] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not accelerator.is_local_main_process) as bar:
        task = bar.add_task("training", total=args.steps, completed=progress["step"])
        while (step := progress["step"]) < args.steps:
            rate = min(1.0, (step - first + 1) / WARM_UP, (args.steps - step) / (COOL_DOWN * args.steps))
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * rate
            key = [args.seed, step, accelerator.process_index]
            generator = torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
            draw = Draw(np.random.default_rng(key), generator, accelerator.device, step)
            with accelerator.autocast():
                value, images = loss(model, draw)
            accelerator.backward(value)
            accelerator.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.step(plain.parameters())
            losses.append(value.item())
            progress["step"] += 1
            progress["images"] += images * accelerator.num_processes
            bar.update(task, completed=progress["step"], description=f"loss {np.mean(losses[-200:]):.4f}")
            if progress["step"] % args.save_every == 0 or progress["step"] == args.steps:
                progress["seconds"] = round(time.monotonic() - started)
                facts = Facts(
                    **progress,
                    loss=round(float(np.mean(losses)), 5),
                    learning_rate=args.learning_rate,
                    seed=args.seed,
                    device=str(accelerator.device),
                    precision=precision,
                    parameters=sum(p.numel() for p in parameters),
                )
                losses.clear()
                with averaged(ema, plain):
                    facts.update(report(plain))
                    if accelerator.is_main_process:
                        export(plain, facts)
                        with (args.out / "log.jsonl").open("a") as log:
                            log.write(json.dumps(facts) + "\n")
                accelerator.save_state(checkpoint)
                if accelerator.is_main_process:
                    (checkpoint / "progress.json").write_text(json.dumps(progress))
