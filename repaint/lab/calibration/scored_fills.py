"""Fill the holes of true samples several times with each method, and score the fills."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.checks import whole_number
from repaint.lab.calibration.hole_kinds import draw_hole, smooth_projections
from repaint.lab.calibration.proper_scores import score_hole
from repaint.lab.calibration.truths import unconditional
from repaint.lab.sweep.rows import CellRow, Rows, config_key
from repaint.pictures.push_pull import smooth_fill
from repaint.sampling.method import Method
from repaint.sampling.prior import Prior
from repaint.sampling.sampler import Sampler
from repaint.version import __version__

__all__ = ["UNIT", "FillCell", "check_samples", "fill_batches", "fill_cells", "hole_seed", "score_batch"]

UNIT = 127.5  # of decoded samples in [-1, 1]: scores are in 8-bit values


@dataclass(frozen=True)
class FillCell:
    """One hole of one true sample, filled by one method.

    Attributes:
        method: how it is filled.
        index: of the true sample.
        kind: of the hole; see `hole_kinds`.
        config: everything that the result depends on, as JSON-able data.
    """

    method: Method
    index: int
    kind: str
    config: dict[str, Any]

    @property
    def key(self) -> str:
        """See `config_key`."""
        return config_key(self.config)


def fill_cells(
    methods: Sequence[Method],
    kinds: Sequence[str],
    count: int,
    samples: int,
    *,
    seed: int,
    facts: dict[str, Any],
) -> list[FillCell]:
    """List all cells: each true sample has one hole, of the kinds in turn, the same for every method.

    Args:
        methods: with different names.
        kinds: keys of `HOLE_KINDS`.
        count: number of true samples.
        samples: fills of each hole, at least 2.
        seed: of holes and fills.
        facts: what identifies prior and truths; part of every config.
    Raises:
        InputError: fewer than 2 samples.
    """
    check_samples(samples)
    return [
        FillCell(
            method,
            index,
            kinds[index % len(kinds)],
            {
                **facts,
                "method": method.describe(),
                "schedule": method.name,
                "kind": kinds[index % len(kinds)],
                "index": index,
                "samples": samples,
                "seed": seed,
            },
        )
        for method in methods
        for index in range(count)
    ]


def check_samples(samples: int) -> int:
    """Check a number of fills for each hole.

    Raises:
        InputError: fewer than 2.
    """
    return whole_number("samples", samples, 2, hint="one fill has no spread to score")


def fill_batches(cells: Sequence[FillCell], size: int) -> list[list[FillCell]]:
    """Group consecutive cells of one method, at most `size` each."""
    batches: list[list[FillCell]] = []
    for cell in cells:
        if not batches or len(batches[-1]) == size or batches[-1][0].method is not cell.method:
            batches.append([])
        batches[-1].append(cell)
    return batches


def score_batch(
    prior: Prior,
    truths: Float[Tensor, "n *shape"],
    batch: Sequence[FillCell],
    *,
    prompt: str | None = None,
    unit: float = UNIT,
    pictures: Sequence[str] | None = None,
    on_call: Callable[[int], None] = lambda _calls: None,
) -> list[CellRow]:
    """Fill the holes of a batch in one run, and score them.

    Args:
        prior: under no conditions yet.
        truths: all true samples, (N, C, H, W) in the prior's space.
        batch: cells of one method.
        prompt: see `unconditional`.
        unit: multiplies decoded values.
        pictures: name of the picture that each true sample was cut from; None: they are independent.
        on_call: called after every model call with the number of samples.
    """
    started = time.perf_counter()
    config, method = batch[0].config, batch[0].method
    samples, (height, width) = config["samples"], truths.shape[2:]
    holes = [draw_hole(cell.kind, height, width, seed=hole_seed(config["seed"], cell.index)) for cell in batch]
    size = (height * prior.latent_factor, width * prior.latent_factor)
    sampler = Sampler(unconditional(prior, len(batch) * samples, size, prompt), method)
    x0 = torch.stack([truths[cell.index] for cell in batch]).to(prior.device)
    known = ~torch.from_numpy(np.stack(holes))[:, None].to(prior.device)
    seeds = [_seed(config["seed"], cell.index, 1 + i) for cell in batch for i in range(samples)]
    begun = smooth_fill(x0, known).repeat_interleave(samples, 0) if method.init == "smooth" else None
    last = sampler.start(x0.repeat_interleave(samples, 0), known.repeat_interleave(samples, 0), seeds, begun)
    for state in sampler.run(last):
        on_call((state.model_calls - last.model_calls) * len(seeds))
        last = state
    seconds = (time.perf_counter() - started) / len(batch)
    rows = []
    for number, (cell, hole) in enumerate(zip(batch, holes, strict=True)):
        pixels = np.kron(hole, np.ones((prior.latent_factor,) * 2, dtype=bool))
        fills = _values(prior, last.x[number * samples : (number + 1) * samples], pixels, unit)
        truth = _values(prior, x0[number : number + 1], pixels, unit)[0]
        smooth = smooth_projections(pixels, prior.channels)
        score = score_hole(fills, truth, smooth, np.random.default_rng(hole_seed(config["seed"], cell.index)))
        facts: dict[str, Any] = {
            "model_calls": method.model_calls,
            "cost": method.cost,
            "seconds": round(seconds, 4),
            "versions": {"repaint": __version__},
        }
        if pictures is not None:
            facts["picture"] = pictures[cell.index]
        rows.append({"key": cell.key, "format": Rows.FORMAT, **cell.config, **asdict(score), **facts})
    return rows


def hole_seed(seed: int, index: int) -> int:
    """Return the seed of the hole of a true sample."""
    return _seed(seed, index, 0)


def _seed(seed: int, index: int, number: int) -> int:
    """Derive the seed of a hole (number 0) or fill (1, 2, ...), unrelated to the seeds of the true samples."""
    return int(np.random.SeedSequence((seed, 7, index, number)).generate_state(1)[0])


def _values(
    prior: Prior, x: Float[Tensor, "n c h w"], pixels: NDArray[np.bool_], unit: float
) -> Float[np.ndarray, "n d"]:
    """Decode x, and return the values in the hole, channel by channel, times the unit."""
    with torch.no_grad():
        decoded = prior.decode(x).cpu().double().numpy()
    return np.asarray(decoded[:, :, pixels].reshape(len(x), -1) * unit)
