"""Measure speed: the network alone, this library, and diffusers' pipelines, in alternation.

All rows call the same network with the same weights, image size, batch size and type. Each round runs every way once,
so that other load on the machine affects all of them.

ms: time of a whole run divided by its calls of the denoiser.
outside: share of that time outside all networks (denoiser, autoencoder, text encoder). On CUDA it is measured by events
    in the stream, so that an idle GPU counts as outside.
syncs: values read on the host and blocking copies between devices: `aten::_local_scalar_dense` (what .item(), float(),
    bool() call), `equal`, `nonzero`, and `_to_copy`, `copy_` across devices unless non-blocking. `.tolist()` and
    `.numpy()` are not counted. On a CPU none of them stalls.
noise: random numbers drawn by `randn`, `randn_like`, `normal_`, ..., divided by the elements of the batch.
tensors: peak bytes of tensors made outside the networks, divided by the bytes of the batch.
memory: on CUDA, `max_memory_allocated` above the memory allocated before. On a CPU, peak bytes of all tensors, without
    the workspaces inside operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from repaint.lab.quality.audit_sweep import diffusers_fill
from repaint.lab.speed.tracing import Clock, Counted, count
from repaint.pipeline import RePaintPipeline
from repaint.priors.networks import network_of
from repaint.priors.pixel import PixelPrior
from repaint.sampling.method import Method
from repaint.sampling.prior import Prior

__all__ = ["TimingRow", "contestants", "measure_speed", "random_prior"]


def random_prior(size: int = 64, dtype: torch.dtype = torch.float32) -> PixelPrior:
    """Make a UNet of 3.5 million random weights for RGB images, for timing only.

    Args:
        size: of the images in pixels.
        dtype: of the weights.
    """
    from diffusers import DDPMScheduler, UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DModel(
            sample_size=size,
            layers_per_block=1,
            block_out_channels=(32, 64, 96, 128),
            down_block_types=("DownBlock2D",) * 4,
            up_block_types=("UpBlock2D",) * 4,
        )
    return PixelPrior(nn.Module.to(unet, dtype), DDPMScheduler())  # avoids a warning of diffusers


@dataclass(frozen=True)
class TimingRow:
    """One way of filling, measured.

    Attributes:
        name: of the way.
        calls: of the denoiser in one run.
        ms: quartiles over rounds of milliseconds per call.
        outside: quartiles of the share of time outside networks; 0 for the network alone.
        over_bare: quartiles of the share of time beyond that of the network alone in the same round.
        syncs, noise, tensors: see the module; noise and tensors are relative to the batch.
        memory: bytes.
    """

    name: str
    calls: int
    ms: tuple[float, float, float]
    outside: tuple[float, float, float]
    over_bare: tuple[float, float, float]
    syncs: int
    noise: float
    tensors: float
    memory: int

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as a dict for JSON."""
        return asdict(self)


Contestants = dict[str, Callable[[], object]]


def contestants(
    pipe: RePaintPipeline,
    walk: tuple[int, int, int],
    method: Method,
    *,
    size: int,
    batch: int = 1,
    prompt: str = "",
    guidance_scale: float = 3.0,
) -> tuple[Contestants, dict[str, str]]:
    """Prepare the ways to inpaint random images.

    Args:
        pipe: around any prior with a network.
        walk: T, j, r as in diffusers' RePaint.
        method: run by this library; it should have the same walk.
        size: side of the square images; the hole is the central quarter.
        batch: images at once.
        prompt, guidance_scale: for text-conditioned priors.
    Returns:
        (name to function, name to the reason why a way is left out).
    """
    pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    hole = np.zeros((size, size), dtype=bool)
    hole[size // 4 : -(size // 4), size // 4 : -(size // 4)] = True
    text: dict[str, Any] = {"prompt": prompt, "guidance_scale": guidance_scale} if pipe.prior.pipeline else {}
    ways: Contestants = {
        "repaint": lambda: pipe(pictures, hole, schedule=method, generator=0, output_type="pt", **text)
    }
    missing: dict[str, str] = {}
    name = "diffusers StableDiffusionInpaintPipeline" if text else "diffusers RePaintPipeline"
    if batch > 1 and text:
        missing[name] = "supported here for one image at a time only"
    elif text:
        inpaint = diffusers_fill(pipe, prompt=prompt, steps=method.model_calls, guidance_scale=guidance_scale)
        ways[name] = lambda: inpaint(pictures[0], hole, 1.0, 0)
    elif size % pipe.prior.multiple_of:
        missing[name] = f"supports only sizes that are multiples of {pipe.prior.multiple_of} pixels"
    elif (theirs := _diffusers_repaint(pipe.prior, pictures, hole, walk)) is not None:
        ways[name] = theirs
    else:
        missing[name] = "supports only unconditional pixel-space models with betas"
    return ways, missing


def _diffusers_repaint(
    prior: Prior, pictures: UInt8[np.ndarray, "b h w c"], hole: NDArray[np.bool_], walk: tuple[int, int, int]
) -> Callable[[], object] | None:
    import diffusers

    if type(prior) is not PixelPrior or prior.num_classes or prior.schedule(1).family != "VP":
        return None
    scheduler = diffusers.RePaintScheduler.from_config(dict(prior.scheduler.config))
    theirs = diffusers.RePaintPipeline(unet=prior.unet, scheduler=scheduler)
    theirs.set_progress_bar_config(disable=True)
    images = (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1).to(prior.device)
    keep = torch.from_numpy(~hole).float().expand(len(images), 1, *hole.shape).to(prior.device)
    steps, jump_length, jump_n_sample = walk
    return lambda: theirs(
        image=images,
        mask_image=keep,
        num_inference_steps=steps,
        jump_length=jump_length,
        jump_n_sample=jump_n_sample,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    )


def _networks(prior: Prior) -> list[nn.Module]:
    """List the denoiser, the halves of the autoencoder and the text encoders."""
    pipe, vae = prior.pipeline, prior.autoencoder
    texts = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    found = [network_of(prior), getattr(vae, "encoder", None), getattr(vae, "decoder", None), *texts]
    return [network for network in found if isinstance(network, nn.Module)]


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """Record the arguments of each call of a network."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hook = network.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


def measure_speed(
    pipe: RePaintPipeline,
    ways: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 5,
    batch: int = 1,
    compiled: bool = False,
    on_round: Callable[[int], object] = lambda _: None,
) -> list[TimingRow]:
    """Time each way in turn, and the network alone with as many calls on inputs recorded from the first way.

    Args:
        pipe: its network is called by all ways.
        ways: from `contestants`.
        rounds: each runs every way once, after an untimed run.
        batch: images at once; with guidance the network gets twice as many.
        compiled: compile the network for timing. Operators are counted before, since compiled ones cannot be.
        on_round: called with 1 after each round.
    """
    network = network_of(pipe.prior)
    networks = _networks(pipe.prior)
    calls: dict[str, int] = {}
    counted: dict[str, Counted] = {}
    memory: dict[str, int] = {}
    first: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    for name, run in ways.items():
        with _recorded(network) as seen:
            run()
        first, calls[name] = first or seen[0], len(seen)
        counted[name] = count(run, networks)
    assert first is not None
    args, kwargs = first

    def bare() -> None:
        with torch.no_grad():
            for _ in range(next(iter(calls.values()))):
                network(*args, **kwargs)

    everything = {"network alone": bare, **ways}
    calls["network alone"] = next(iter(calls.values()))
    counted["network alone"] = count(bare, networks)
    if compiled:
        pipe.compile()
    device = pipe.device
    for name, run in everything.items():
        memory[name] = _cuda_peak(run, device) if device.type == "cuda" else counted[name].peak
        if device.type != "cuda" and compiled:
            run()  # compile
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in everything}
    for _ in range(rounds):
        for name, run in everything.items():
            clock = Clock(device)
            with clock.on(networks):
                times[name].append(clock.measure(run))
        on_round(1)
    elements = batch * next(leaf for leaf in tree_leaves(first) if isinstance(leaf, Tensor))[0].numel()
    return [_row(name, calls, times, counted[name], memory[name], elements) for name in everything]


def _row(
    name: str,
    calls: Mapping[str, int],
    times: Mapping[str, Sequence[tuple[float, float]]],
    counted: Counted,
    memory: int,
    elements: int,
) -> TimingRow:
    total, inside = np.array(times[name]).T / calls[name]
    alone = np.array(times["network alone"])[:, 0] / calls["network alone"]
    bare = name == "network alone"
    return TimingRow(
        name,
        calls[name],
        _quartiles(1000 * total),
        _quartiles(0 * total if bare else 1 - inside / total),
        _quartiles(1 - alone / total),
        counted.syncs,
        counted.noise / elements,
        counted.outside / (4 * elements),
        memory,
    )


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(low), float(middle), float(high)


def _cuda_peak(run: Callable[[], object], device: torch.device) -> int:
    """Measure the peak bytes that a run allocates above the memory allocated before."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return int(torch.cuda.max_memory_allocated(device) - before)
