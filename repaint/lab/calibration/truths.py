"""True samples for calibration: draws from the prior itself, cached, or crops of held-out pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repaint.errors import InputError
from repaint.files import atomic_path
from repaint.pictures.decoding import read_upright
from repaint.pictures.pairs import picture_files
from repaint.sampling.method import Method
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import Multistep
from repaint.version import __version__

__all__ = [
    "DRAWING",
    "DrawFacts",
    "fingerprint",
    "folder_fingerprint",
    "picture_names",
    "picture_truths",
    "prior_truths",
    "sample_shape",
    "unconditional",
]

# SDE-DPM-Solver++(2M) over all of the model's noise: at 200 calls, the solver here that comes closest to exact draws.
DRAWING = Method(JumpSchedule.from_rules(200, []), solver=Multistep(eta=1.0), spacing="karras(7, inf)", name="drawing")
BATCH = 32
Samples = Float[Tensor, "n *shape"]


@dataclass(frozen=True)
class DrawFacts:
    """The origin of cached draws. A cache of another origin is refused.

    Attributes:
        prior: see `fingerprint`.
        shape: of one sample.
        seed: of the first sample; sample i has seed + i.
        drawing: the method and its number of calls.
        version: of this library.
    """

    prior: str
    shape: tuple[int, ...]
    seed: int
    drawing: str = f"{DRAWING.solver} {DRAWING.spacing} {DRAWING.model_calls}"
    version: str = __version__


def fingerprint(prior: Prior, shape: tuple[int, ...]) -> str:
    """Identify a prior by its noise levels and the weights of its network and autoencoder.

    A prior that is not a network is identified by one prediction in place of weights.

    Args:
        prior: the model.
        shape: of one sample.
    """
    levels = unconditional(prior, 1, _pixels(prior, shape)).schedule(2, "logsnr").levels
    digest = hashlib.sha256(repr([(level.alpha, level.sigma) for level in levels]).encode())
    if prior.network is None:
        level = levels[1]
        x = torch.randn((1, *shape), generator=torch.Generator().manual_seed(0), dtype=prior.dtype)
        values = prior.denoise(x.to(prior.device), level).x0_hat.cpu().double()
        digest.update(np.round(values.numpy(), 6).tobytes())
    for module in (prior.network, prior.autoencoder):
        for name, value in sorted(module.state_dict().items()) if module is not None else ():
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return f"{type(prior).__name__} {digest.hexdigest()[:16]}"


def _pixels(prior: Prior, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width of the image that a sample of this shape stands for."""
    return (shape[-2] * prior.latent_factor, shape[-1] * prior.latent_factor) if len(shape) == 3 else (1, 1)


def sample_shape(prior: Prior, side: int) -> tuple[int, ...]:
    """Return the shape of one sample of a prior for square images of `side` pixels."""
    image = torch.zeros(1, prior.channels, side, side, dtype=prior.dtype, device=prior.device)
    with torch.no_grad():
        x0, _ = prior.encode(image, torch.ones_like(image[:, :1], dtype=torch.bool))
    return tuple(x0.shape[1:])


def unconditional(prior: Prior, count: int, size: tuple[int, int], prompt: str | None = None) -> Prior:
    """Return the prior for `count` samples, without conditions, or under an empty or given prompt if it takes one.

    Guidance is off: it changes the distribution that the prior describes.

    Raises:
        InputError: a prompt for a prior that takes none.
    """
    if "prompt" in prior.serves:
        conditions = Conditions(prompt=[prompt or ""] * count, guidance_scale=1.0, size=size)
    elif prompt is not None:
        raise InputError(f"prompt={prompt!r} must be left out ({type(prior).__name__} takes no prompt).")
    else:
        conditions = Conditions(size=size)
    return prior.conditioned(count, conditions)


def prior_truths(
    prior: Prior,
    shape: tuple[int, ...],
    count: int,
    *,
    seed: int = 0,
    prompt: str | None = None,
    cache: Path | None = None,
    on_call: Callable[[int], None] = lambda _calls: None,
) -> Samples:
    """Draw samples from a prior.

    Args:
        prior: under no conditions yet.
        shape: of one sample, (C, H, W) in the prior's space.
        count: number of samples.
        seed: of the first; sample i is the same whatever `count` is.
        prompt: see `unconditional`.
        cache: a .npz file. What it holds is not drawn again; it is written after every batch.
        on_call: called with the number of model calls made since, times the samples of the batch.
    Returns:
        (count, *shape) on the CPU.
    Raises:
        InputError: a cache of another prior, shape, seed or version.
    """
    origin = DrawFacts(fingerprint(prior, shape) + ("" if prompt is None else f" {prompt!r}"), shape, seed)
    done = [] if cache is None else _cached(cache, origin)
    size = _pixels(prior, shape)
    while len(done) < count:
        seeds = range(seed + len(done), seed + min(count, len(done) + BATCH))
        sampler = Sampler(unconditional(prior, len(seeds), size, prompt), DRAWING)
        nothing = torch.zeros(len(seeds), *shape, dtype=prior.dtype, device=prior.device)
        last = sampler.start(nothing, torch.zeros(1, dtype=torch.bool, device=prior.device), seeds)
        for state in sampler.run(last):
            on_call(len(seeds))
            last = state
        done.extend(last.x.float().cpu())
        if cache is not None:
            with atomic_path(cache) as draft, draft.open("wb") as file:
                np.savez(file, origin=json.dumps(asdict(origin)), x=torch.stack(done).numpy())
    return torch.stack(done[:count]).to(prior.dtype)


def _cached(cache: Path, origin: DrawFacts) -> list[Tensor]:
    if cache.suffix != ".npz":
        raise InputError(f"cache={cache} must end in .npz.")
    if not cache.exists():
        return []
    try:
        with np.load(cache, allow_pickle=False) as file:
            found, x = json.loads(str(file["origin"])), file["x"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{cache}: cannot be read ({error}). Delete it, or pass another cache.") from error
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(origin)))
    if found != wanted:
        differing = [
            f"{name} {found.get(name)}, not {wanted[name]}" for name in wanted if found.get(name) != wanted[name]
        ]
        raise InputError(f"{cache}: was drawn with {'; '.join(differing)}. Delete it, or pass another cache.")
    return list(torch.from_numpy(x))


def folder_fingerprint(folder: Path) -> str:
    """Identify the pictures of a folder by their names and bytes, wherever the folder is."""
    digest = hashlib.sha256()
    for name, path in picture_files(folder).items():
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"pictures {digest.hexdigest()[:16]}"


def picture_names(folder: Path, count: int) -> list[str]:
    """Name the picture of each crop of `picture_truths`."""
    names = list(picture_files(folder))
    return [names[i % len(names)] for i in range(count)]


def picture_truths(prior: Prior, folder: Path, side: int, count: int, *, seed: int = 0) -> Samples:
    """Cut random crops from the pictures of a folder, in turn, and encode them.

    Args:
        prior: whose `encode` maps them to its space.
        folder: of pictures, each at least `side` pixels high and wide.
        side: of the crops in pixels.
        count: number of crops.
        seed: of their places.
    Returns:
        (count, *shape) on the CPU.
    Raises:
        InputError: no pictures, or a smaller one.
    """
    pictures = {}
    for name, path in picture_files(folder).items():
        picture = read_upright(path, "RGB" if prior.channels == 3 else "L")
        if min(picture.shape[:2]) < side:
            height, width = picture.shape[:2]
            raise InputError(f"{path}: {width} x {height} must be at least {side} x {side} pixels. Lower --size.")
        pictures[name] = picture.reshape(*picture.shape[:2], -1)
    truths = []
    for i, name in enumerate(picture_names(folder, count)):
        picture, rng = pictures[name], np.random.default_rng([seed, i])
        top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
        crop = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1)
        image = (crop.to(prior.dtype) / 127.5 - 1)[None].to(prior.device)
        with torch.no_grad():
            x0, _ = prior.encode(image, torch.ones_like(image[:, :1], dtype=torch.bool))
        truths.append(x0[0].cpu())
    return torch.stack(truths)
