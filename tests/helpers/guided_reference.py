"""guided-diffusion's UNet as plain functions of a state dict with its published tensor names.

An independent reference for `repaint.priors.guided_diffusion`, written from the papers: every hyper-parameter is an
argument and none is read from the tensors. Ho et al. 2020 (arXiv 2006.11239), App. B; Nichol & Dhariwal 2021
(arXiv 2102.09672), App. A; Dhariwal & Nichol 2021 (arXiv 2105.05233), Sec. 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Flags", "predict", "published", "random_state", "shapes"]

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Flags:
    """Hyper-parameters, named like the published command-line flags but shorter.

    `attention` holds downsampling factors: 4 puts attention where the image is a fourth of its full size.
    """

    channels: int = 32
    mults: tuple[int, ...] = (1, 2, 2)
    res_blocks: int = 1
    attention: tuple[int, ...] = (2, 4)
    heads: int | None = None
    head_channels: int | None = 16
    new_attention_order: bool = False
    classes: int = 0
    learn_sigma: bool = True
    scale_shift: bool = True
    resblock_updown: bool = True
    image_channels: int = 3

    @property
    def out_channels(self) -> int:
        return self.image_channels * (2 if self.learn_sigma else 1)


def published(size: int, classes: int) -> Flags:
    """Return the flags listed with the published checkpoints of 64, 128 and 256 pixels."""
    if size == 64:
        flags = Flags(192, (1, 2, 3, 4), 3, (2, 4, 8), head_channels=64, new_attention_order=True)
    elif size == 128:
        flags = Flags(256, (1, 1, 2, 3, 4), 2, (4, 8, 16), heads=4, head_channels=None)
    else:
        flags = Flags(256, (1, 1, 2, 2, 4, 4), 2, (8, 16, 32), head_channels=64)
    return Flags(**(vars(flags) | {"classes": classes}))


# --- The names and shapes of its tensors


def shapes(flags: Flags) -> Shapes:
    """Return the name and shape of every tensor of a checkpoint."""
    width = flags.channels
    found: Shapes = {}
    found |= linear("time_embed.0", width, 4 * width) | linear("time_embed.2", 4 * width, 4 * width)
    if flags.classes:
        found["label_emb.weight"] = (flags.classes, 4 * width)
    found |= conv("input_blocks.0.0", flags.image_channels, width, 3)
    for name, kind, inside, outside in blocks(flags):
        if kind == "attention":
            found |= norm(f"{name}.norm", outside)
            found |= {f"{name}.qkv.weight": (3 * outside, outside, 1), f"{name}.qkv.bias": (3 * outside,)}
            found |= {f"{name}.proj_out.weight": (outside, outside, 1), f"{name}.proj_out.bias": (outside,)}
        elif kind in ("down", "up") and not flags.resblock_updown:
            found |= conv(f"{name}.op" if kind == "down" else f"{name}.conv", inside, outside, 3)
        else:
            found |= norm(f"{name}.in_layers.0", inside) | conv(f"{name}.in_layers.2", inside, outside, 3)
            found |= linear(f"{name}.emb_layers.1", 4 * width, (2 if flags.scale_shift else 1) * outside)
            found |= norm(f"{name}.out_layers.0", outside) | conv(f"{name}.out_layers.3", outside, outside, 3)
            if inside != outside:
                found |= conv(f"{name}.skip_connection", inside, outside, 1)
    return found | norm("out.0", width) | conv("out.2", width, flags.out_channels, 3)


def conv(name: str, inside: int, outside: int, size: int) -> Shapes:
    return {f"{name}.weight": (outside, inside, size, size), f"{name}.bias": (outside,)}


def linear(name: str, inside: int, outside: int) -> Shapes:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def blocks(flags: Flags) -> Iterator[tuple[str, str, int, int]]:
    """(name, kind, channels in, channels out) in the order of computation; skips are counted in."""
    here, number, kept = flags.channels, 1, [flags.channels]
    for level, mult in enumerate(flags.mults):
        for _ in range(flags.res_blocks):
            yield f"input_blocks.{number}.0", "residual", here, (here := flags.channels * mult)
            if 2**level in flags.attention:
                yield f"input_blocks.{number}.1", "attention", here, here
            kept.append(here)
            number += 1
        if level + 1 < len(flags.mults):
            yield f"input_blocks.{number}.0", "down", here, here
            kept.append(here)
            number += 1
    yield "middle_block.0", "residual", here, here
    yield "middle_block.1", "attention", here, here
    yield "middle_block.2", "residual", here, here
    number = 0
    for level, mult in reversed(list(enumerate(flags.mults))):
        for last in [False] * flags.res_blocks + [True]:
            yield f"output_blocks.{number}.0", "residual", here + kept.pop(), (here := flags.channels * mult)
            module = 1
            if 2**level in flags.attention:
                yield f"output_blocks.{number}.{module}", "attention", here, here
                module += 1
            if last and level:
                yield f"output_blocks.{number}.{module}", "up", here, here
            number += 1


def random_state(flags: Flags, seed: int = 0) -> State:
    """Return weights for which every tensor matters: unit gain, biases, and norms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes(flags).items():
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        fan_in = math.prod(shape[1:])
        plain = len(shape) > 1
        state[name] = draw / math.sqrt(fan_in) if plain else 0.2 * draw + (1.0 if name.endswith("weight") else 0.0)
    return state


# --- What it computes


def predict(flags: Flags, state: State, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
    """Return (B, out_channels, H, W) from x (B, C, H, W) at timesteps t (B,), for class numbers (B,)."""
    emb = affine(state, "time_embed.2", F.silu(affine(state, "time_embed.0", clock(t, flags.channels).to(x.dtype))))
    if labels is not None:
        emb = emb + state["label_emb.weight"][labels]
    h = convolve(state, "input_blocks.0.0", x)
    kept, before = [h], "input_blocks.0"
    for name, kind, _, _ in blocks(flags):
        block = name.rpartition(".")[0]
        if before.startswith("input") and block != before and before != "input_blocks.0":
            kept.append(h)
        if block.startswith("output") and block != before:
            h = torch.cat([h, kept.pop()], dim=1)
        h = compute(flags, state, name, kind, h, emb)
        before = block
    return convolve(state, "out.2", F.silu(normalise(state, "out.0", h)))


def compute(flags: Flags, state: State, name: str, kind: str, h: Tensor, emb: Tensor) -> Tensor:
    if kind == "attention":
        return attend(flags, state, name, h)
    if kind in ("down", "up") and not flags.resblock_updown:
        if kind == "down":
            return convolve(state, f"{name}.op", h, stride=2)
        return convolve(state, f"{name}.conv", resample(h, kind))
    return residual(flags, state, name, kind, h, emb)


def clock(t: Tensor, width: int) -> Tensor:
    """Return (B, width): cosines, then sines, of t times frequencies from 1 down to almost 1 / 10000.

    Computed in float32, as in training: at t = 1000, rounding a frequency changes the phase by 1e-4.
    """
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    phase = t[:, None].float() * frequencies
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def residual(flags: Flags, state: State, name: str, kind: str, x: Tensor, emb: Tensor) -> Tensor:
    """Normalise, SiLU, (resample both branches,) convolve; time; SiLU, convolve; add the input."""
    h = F.silu(normalise(state, f"{name}.in_layers.0", x))
    x, h = resample(x, kind), resample(h, kind)
    h = convolve(state, f"{name}.in_layers.2", h)
    shift_scale = affine(state, f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None]
    if flags.scale_shift:
        scale, shift = shift_scale.split(h.shape[1], dim=1)
        h = normalise(state, f"{name}.out_layers.0", h) * (1 + scale) + shift
    else:
        h = normalise(state, f"{name}.out_layers.0", h + shift_scale)
    h = convolve(state, f"{name}.out_layers.3", F.silu(h))
    return h + (convolve(state, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in state else x)


def attend(flags: Flags, state: State, name: str, x: Tensor) -> Tensor:
    """softmax(q k / sqrt(d)) v for each head of d channels, over all positions; then add the input."""
    count, width = x.shape[:2]
    heads = flags.heads or width // int(flags.head_channels or width)
    d = width // heads
    flat = normalise(state, f"{name}.norm", x).reshape(count, width, -1)
    mixed = torch.einsum("oc,bcn->bon", state[f"{name}.qkv.weight"][:, :, 0], flat)
    mixed = mixed + state[f"{name}.qkv.bias"][:, None]
    out = []
    for head in range(heads):
        # The row of the head's first query channel, and the distance from its queries to its keys and values.
        first, stride = (head * d, width) if flags.new_attention_order else (head * 3 * d, d)
        q, k, v = (mixed[:, first + i * stride : first + i * stride + d] for i in range(3))
        weights = torch.softmax(torch.einsum("bdn,bdm->bnm", q, k) / math.sqrt(d), dim=-1)
        out.append(torch.einsum("bnm,bdm->bdn", weights, v))
    projected = torch.einsum("oc,bcn->bon", state[f"{name}.proj_out.weight"][:, :, 0], torch.cat(out, dim=1))
    projected = projected + state[f"{name}.proj_out.bias"][:, None]
    return x + projected.reshape(x.shape)


def resample(x: Tensor, kind: str) -> Tensor:
    """Half the size by means of 2 x 2 pixels, twice the size by repetition, or neither."""
    if kind == "down":
        count, width, height, breadth = x.shape
        return x.reshape(count, width, height // 2, 2, breadth // 2, 2).mean((3, 5))
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3) if kind == "up" else x


def normalise(state: State, name: str, x: Tensor) -> Tensor:
    """Group normalisation in 32 groups with an epsilon of 1e-5."""
    grouped = x.reshape(len(x), 32, -1)
    centred = grouped - grouped.mean(2, keepdim=True)
    unit = (centred / (centred.square().mean(2, keepdim=True) + 1e-5).sqrt()).reshape(x.shape)
    return unit * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]


def convolve(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def affine(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]
