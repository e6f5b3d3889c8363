"""Where the time goes: the network alone, this library and diffusers' own pipelines, measured in turns in one run.

All rows call the same network with the same weights, at one size, batch and type. A round runs each of them once, so
that what else the machine does meets them alike.

ms a call: time of a whole filling over its calls of the denoiser.
outside: share of that time spent in no network (denoiser, autoencoder, text encoder), by a clock around each network's
    calls; on CUDA between events in the stream, so that an idle GPU counts as outside.
syncs: values read on the host and blocking copies between devices: `aten::_local_scalar_dense` (what .item(), float(),
    bool() become), `equal`, `nonzero`, and `_to_copy`, `copy_` across devices unless they are non-blocking. Not seen:
    `.tolist()` and `.numpy()`. On a CPU none of them waits for anything.
noise: elements that `randn`, `randn_like`, `normal_`, ... filled, over the elements of the batch.
tensors: the most bytes of tensors alive at once that were made outside the networks, over those of the batch.
memory: on CUDA `max_memory_allocated` above what is allocated before. On a CPU the bytes of tensors that Python sees,
    those made within the networks too: workspaces inside an operator are not seen.
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
    """A UNet of 3.5 million random weights for RGB images: its time is a real one's, its pictures are noise."""
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
    return PixelPrior(nn.Module.to(unet, dtype), DDPMScheduler())  # past diffusers' warning of layers to keep


@dataclass(frozen=True)
class TimingRow:
    """One way of filling, measured.

    Attributes:
        name: of the way.
        calls: of the denoiser in a filling.
        ms: quartiles over rounds of the milliseconds per call.
        outside: quartiles of the share of time in no network; 0 for the network alone.
        over_bare: quartiles of the share of time above that of the network alone in the same round.
        syncs, noise, tensors: see the module; noise and tensors in batches' sizes.
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
        """For JSON."""
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
    """The ways to fill one hole in random pictures, by name; and why some way is missing.

    Args:
        pipe: this library's, around any prior with a network.
        walk: T, j, r, as diffusers' RePaint takes them.
        method: what this library runs; the walk it states should be the same.
        size: of the square pictures, whose middle quarter is the hole.
        batch: pictures at once.
        prompt, guidance_scale: for text-conditioned priors.
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
        missing[name] = "it is driven with one picture at a time here"
    elif text:
        inpaint = diffusers_fill(pipe, prompt=prompt, steps=method.model_calls, guidance_scale=guidance_scale)
        ways[name] = lambda: inpaint(pictures[0], hole, 1.0, 0)
    elif (theirs := _diffusers_repaint(pipe.prior, pictures, hole, walk)) is not None:
        ways[name] = theirs
    else:
        missing[name] = "it takes unconditional pixel-space models with betas alone"
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
    """Denoiser, autoencoder's halves and text encoders."""
    pipe, vae = prior.pipeline, prior.autoencoder
    texts = [getattr(pipe, name, None) for name in ("text_encoder", "text_encoder_2", "text_encoder_3")]
    found = [network_of(prior), getattr(vae, "encoder", None), getattr(vae, "decoder", None), *texts]
    return [network for network in found if isinstance(network, nn.Module)]


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """The arguments of each call of a network, and nothing else."""
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
    """Each way in turn, and the network alone on what the first way gave it, as many calls.

    Args:
        pipe: whose network all of them call.
        ways: from `contestants`.
        rounds: each runs every way once, after one that is not counted.
        batch: pictures in it; guidance shows the network twice as many.
        compiled: compile the network first. Counts are taken before: inside what is compiled nothing can be counted.
        on_round: told 1 after every round.
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
            run()  # compiles
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
    """Bytes that a run allocates at most, above what is allocated already."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run()
    return int(torch.cuda.max_memory_allocated(device) - before)
