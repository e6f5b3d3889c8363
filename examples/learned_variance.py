"""Give the `textures` prior a learned variance, and measure what it gains at few steps.

python examples/learned_variance.py

The network keeps its weights and its prediction. Three further output channels read its last features and are trained
by the variational bound alone, with the mean detached (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 15, Sec. 3.1).
Then, on held-out photographs: the terms of the bound in bits per value, and the energy score of fills (8-bit values),
for ddpm(small), ddpm(large) and ddpm(learned). Lower is better for both.
"""

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.lab.calibration.calibration_run import CalibrationRun
from repaint.pictures.samples import PHOTOGRAPHS, halve, held_out_crops, photograph
from repaint.priors.pixel import PixelPrior
from repaint.sampling.levels import posterior
from repaint.sampling.prior import Conditions
from repaint.sampling.solvers import DDPM
from train_textures import NULL_CLASS, draw_batch
from training import to_tensor

VARIANCES = ("small", "large", "learned")


def step_variances(scheduler, t):
    """Logs of the small and the large variance of the step from t to t - 1, and the gain of x0 in its mean."""
    now, before = (scheduler.alphas_cumprod[each][:, None, None, None] for each in (t, t - 1))
    beta = 1 - now / before
    return (beta * (1 - before) / (1 - now)).log(), beta.log(), before.sqrt() * beta / (1 - now)


def divergence(log_variance, small, square):
    """KL divergence in bits between Gaussians with logs of variances and the squared distance of their means."""
    return 0.5 * (log_variance - small - 1 + (small - log_variance).exp() + square / log_variance.exp()) / math.log(2)


def train(unet, scheduler, steps, seed=0):
    """A convolution from the features before the output to v, trained by the divergence of the model's step."""
    features = {}
    unet.conv_out.register_forward_pre_hook(lambda _, inputs: features.update(x=inputs[0].detach()))
    head = torch.nn.Conv2d(unet.conv_out.in_channels, 3, 3, padding=1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)  # v = 0: halfway between the two variances
    optimizer = torch.optim.Adam(head.parameters(), 2e-3)
    photos = [photograph(name, "train") for name in PHOTOGRAPHS]
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, 2 * (1 - step / steps))
        rng, generator = np.random.default_rng([seed, step]), torch.Generator().manual_seed(seed + step)
        x0, labels = draw_batch(photos, rng)
        t = torch.randint(1, scheduler.config.num_train_timesteps, (len(x0),), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        x_t, signal = scheduler.add_noise(x0, noise, t), scheduler.alphas_cumprod[t].sqrt()[:, None, None, None]
        with torch.no_grad():
            x0_hat = (signal * x_t - (1 - signal**2).sqrt() * unet(x_t, t, class_labels=labels).sample).clamp(-1, 1)
        v = (head(features["x"]) + 1) / 2
        small, large, gain = step_variances(scheduler, t)
        log_variance = v * large + (1 - v) * small
        square = (gain * (x0 - x0_hat)).square()
        loss = divergence(log_variance, small, square).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: {np.mean(losses[-100:]):.4f} bits per value and step", flush=True)
    return head


def extended(unet, head):
    """The same network with three more output channels."""
    found = UNet2DModel.from_config(unet.config, out_channels=6)
    weights = unet.state_dict()
    for name in ("weight", "bias"):
        weights[f"conv_out.{name}"] = torch.cat([weights[f"conv_out.{name}"], getattr(head, name).detach()])
    found.load_state_dict(weights)
    return found.eval()


@torch.no_grad()
def bound(prior, x0, steps):
    """The terms of the bound between the steps of a grid, in bits per value, for each variance."""
    grid, generator = prior.schedule(steps, "linspace"), torch.Generator().manual_seed(0)
    bits = dict.fromkeys(VARIANCES, 0.0)
    for i in range(2, steps + 1):
        x_t = grid[i].alpha * x0 + grid[i].sigma * torch.randn(x0.shape, generator=generator)
        found, q = prior.denoise(x_t, grid[i]), posterior(grid[i], grid[i - 1])
        small, large = (torch.tensor(2 * math.log(std)) for std in (q.small_std, q.large_std))
        chosen = {"small": small, "large": large, "learned": found.variance * large + (1 - found.variance) * small}
        square = (q.x0_gain * (x0 - found.x0_hat)).square()
        for name, log_variance in chosen.items():
            bits[name] += divergence(log_variance, small, square).mean().item()
    return bits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of the training of the variance")
    parser.add_argument("--count", type=int, default=30, help="holes, each filled four times")
    parser.add_argument("--short", action="store_true", help="few of everything")
    args = parser.parse_args()
    steps, count, grids = (3, 2, (4,)) if args.short else (args.steps, args.count, (5, 10, 25, 100))
    before = RePaintPipeline.from_pretrained("textures").prior
    config = DDPMScheduler(prediction_type="v_prediction", clip_sample=True, variance_type="learned_range")
    unet = before.network.requires_grad_(False)
    prior = PixelPrior(extended(unet, train(unet, config, steps)), config, before.class_names)
    x0 = to_tensor(
        np.stack([crop for name in PHOTOGRAPHS for crop in held_out_crops(name, 48, 1 if args.short else 4)])
    )
    null = prior.conditioned(len(x0), Conditions(class_labels=[NULL_CLASS] * len(x0)))
    for grid in grids:
        print(f"{grid} steps, bits:", ", ".join(f"{name} {bits:.3f}" for name, bits in bound(null, x0, grid).items()))
    with tempfile.TemporaryDirectory() as folder:
        for name in PHOTOGRAPHS:
            Image.fromarray(halve(photograph(name, "held_out"))).save(Path(folder) / f"{name}.png")
        for grid in grids[:3]:
            walk = JumpSchedule.from_rules(grid, [])
            methods = [Method(walk, solver=DDPM(each), spacing="linspace", name=each) for each in VARIANCES]
            out = Path(folder) / f"{grid}.jsonl"
            run = CalibrationRun(prior, methods, out, count=count, side=48, truth=Path(folder))
            run.fill(4)
            for each in run.summary():
                gap = each.against
                less = "" if gap is None else f" ({gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}])"
                print(f"{grid} steps, {each.schedule}: energy {each.energy:.2f}{less}, spread/error {each.ratio:.2f}")


if __name__ == "__main__":
    main()
