"""Train the autoencoder of the bundled `emoji` prior: 64 x 64 RGB glyphs to 4 x 16 x 16 latents and back.

    python examples/train_emoji_vae.py --out runs/emoji-vae
    accelerate launch examples/train_emoji_vae.py ...       # several GPUs

Writes the folder --out/vae, from which examples/train_emoji.py starts.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from emoji_glyphs import code_points, is_held_out, variants
from training import Draw, Facts, options, to_tensor, train

BATCH = 24
VARIANTS = 12  # renderings of each glyph, moved and scaled a little
KL_WEIGHT = 5e-4


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 48, 96),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=1.0,
        force_upcast=False,
    )


def reconstruction_loss(seen: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of pixels, their differences (edges) and a quarter-size copy (colour areas)."""
    loss = F.l1_loss(seen, wanted)
    for axis in (-1, -2):
        loss = loss + 0.5 * F.l1_loss(seen.diff(dim=axis), wanted.diff(dim=axis))
    return loss + F.l1_loss(F.avg_pool2d(seen, 4), F.avg_pool2d(wanted, 4))


def draw_batch(glyphs: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Flip glyphs and permute or invert their channels, so that no hue is rare."""
    images = glyphs[rng.integers(len(glyphs), size=BATCH), rng.integers(glyphs.shape[1], size=BATCH)].copy()
    for image in images:
        if rng.random() < 0.5:
            image[:] = image[:, ::-1]
        if rng.random() < 0.5:
            image[:] = image[..., rng.permutation(3)]
        if rng.random() < 0.1:
            image[:] = 255 - image
    return to_tensor(images)


def loss(model: torch.nn.Module, glyphs: np.ndarray, draw: Draw) -> tuple[torch.Tensor, int]:
    images = draw_batch(glyphs, draw.rng).to(draw.device, memory_format=torch.channels_last)
    vae: AutoencoderKL = getattr(model, "module", model)
    posterior = vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=draw.generator).to(draw.device)
    decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    kl = posterior.kl().float().mean() / posterior.mean[0].numel()
    return reconstruction_loss(decoded.float(), images) + KL_WEIGHT * kl, len(images)


@torch.no_grad()
def held_out_psnr(vae: AutoencoderKL, images: torch.Tensor) -> float:
    """Return the mean PSNR in dB of held-out glyphs, decoded from the posterior mean."""
    device = next(vae.parameters()).device
    errors = []
    for some in images.split(32):
        some = some.to(device)
        decoded = vae.decode(vae.encode(some).latent_dist.mean).sample.clamp(-1, 1)
        errors.append((decoded - some).square().mean(dim=(1, 2, 3)) / 4)
    return float((-10 * torch.cat(errors).log10()).mean())


@torch.no_grad()
def standardised(vae: AutoencoderKL, images: torch.Tensor) -> AutoencoderKL:
    """Return a copy whose latents have mean 0 and variance 1 in each channel, by changed 1 x 1 convolutions."""
    vae = copy.deepcopy(vae).float().cpu()
    means = torch.cat([vae.encode(some).latent_dist.mean for some in images.split(64)])
    mean, std = means.mean(dim=(0, 2, 3)), means.std(dim=(0, 2, 3))
    into, back, count = vae.quant_conv, vae.post_quant_conv, len(mean)
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight *= std.reshape(1, -1, 1, 1)
    into.weight[:count] /= std.reshape(-1, 1, 1, 1)
    into.bias[:count] = (into.bias[:count] - mean) / std
    into.bias[count:] -= 2 * std.log()  # the posterior's log-variance
    return vae


def main() -> None:
    parser = options(__doc__ or "", out="runs/emoji-vae", steps=6000, learning_rate=1.5e-3)
    args = parser.parse_args()
    codes = code_points()
    seen = np.stack([variants(code, VARIANTS) for name, code in codes.items() if not is_held_out(name)])
    unseen = to_tensor(np.stack([variants(code, 1)[0] for name, code in codes.items() if is_held_out(name)]))

    def report(model: AutoencoderKL) -> Facts:
        return {"held_out_psnr": round(held_out_psnr(model, unseen), 2)}

    def export(model: AutoencoderKL, _facts: Facts) -> None:
        standardised(model, to_tensor(seen[:, 0])).save_pretrained(args.out / "vae")

    train(autoencoder(), lambda model, draw: loss(model, seen, draw), report, export, args)


if __name__ == "__main__":
    main()
