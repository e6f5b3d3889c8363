"""Measure the error of samplers by comparing their samples with exact ones, on problems with a known posterior.

The denoiser is exact, so that all of the error comes from the sampler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import whole_number
from repaint.files import as_json, atomic_path
from repaint.lab.exactness.peers import diffusers_repaint
from repaint.lab.exactness.problems import Problem
from repaint.measure.distances import energy_distance, mean_distance, sliced_wasserstein
from repaint.measure.intervals import mean_interval
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.levels import Level
from repaint.sampling.method import Method
from repaint.sampling.prediction import Prediction, from_output
from repaint.sampling.prior import Prior
from repaint.sampling.sampler import Sampler
from repaint.version import __version__

__all__ = [
    "FLOOR",
    "PEERS",
    "ErrorRow",
    "Peer",
    "Rounded",
    "Standing",
    "Way",
    "exact",
    "measure",
    "pareto",
    "save_standings",
    "standings",
    "with_method",
]

# (problem, count, seed) -> (count, D) samples, the model calls of each sample and, if there are any, its gradients
Way = Callable[[Problem, int, int], tuple[Float[Tensor, "n d"], int] | tuple[Float[Tensor, "n d"], int, int]]
FLOOR = "exact samples"
REFERENCE = 4096  # number of exact samples in the reference set
AT_ONCE = 8192  # particles in memory


@dataclass(frozen=True)
class ErrorRow:
    """The error of one way on one problem.

    Attributes:
        problem, family, way: their names.
        error: energy distance to exact samples, divided by the mean distance between two samples of the prior in the
            unknown coordinates. Near 0 for exact samples; it can be slightly negative.
        sliced: sliced 2-Wasserstein distance, divided by the same.
        modes: total variation, in [0, 1], between the shares of the components and their true weights.
        model_calls: per sample.
        seconds: for the whole population.
        gradient_calls: backward passes per sample.
    """

    problem: str
    family: str
    way: str
    error: float
    sliced: float
    modes: float
    model_calls: int
    seconds: float
    gradient_calls: int = 0


def with_method(method: Method, dtype: torch.dtype | None = None) -> Way:
    """Make a way from a method of this library.

    Args:
        method: run by `repaint.sampling.sampler.Sampler`.
        dtype: rounds predictions as a network of this type does, see `Rounded`; None: float64 throughout.
    """
    return partial(_sampled, method, dtype)


def _sampled(
    method: Method, dtype: torch.dtype | None, problem: Problem, count: int, seed: int
) -> tuple[Float[Tensor, "n d"], int, int]:
    prior = problem.denoiser if dtype is None else Rounded(problem.denoiser, dtype)
    sampler = Sampler(prior, method)
    particles = 1 if method.kernel is None else method.kernel.particles
    piece = count if particles == 1 else max(1, min(count, AT_ONCE // particles))
    found: list[Tensor] = []
    for first in range(0, count, piece):
        size = min(piece, count - first)
        own = seed if first == 0 else int(np.random.SeedSequence((seed, first)).generate_state(1)[0])
        last = sampler.start(problem.x0.to(prior.dtype).expand(size, -1), problem.known, [own])
        for state in sampler.run(last):
            last = state
        found.append(last.x.to(problem.x0))
    return torch.cat(found), last.model_calls, last.gradient_calls


class Rounded(PriorWrapper):
    """An exact prior with its input and output rounded to `dtype`, like those of a network.

    As with learned priors, the arithmetic around the network is float32 (float64 for float64). Rounding inside the
    network is not modelled.
    """

    def __init__(self, prior: Prior, dtype: torch.dtype) -> None:
        super().__init__(prior)
        self.rounding = dtype

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.rounding == torch.float64 else torch.float32

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Predict from the rounded x, and round the predicted noise."""
        eps_hat = self.prior.denoise(x.to(self.rounding), level).eps_hat.to(self.rounding).to(x.dtype)
        return from_output("epsilon", eps_hat, x, level)


@dataclass(frozen=True)
class Peer:
    """A method of another library at one setting, as a `Way`.

    Attributes:
        sample: a function of `repaint.lab.exactness.peers` with its parameters bound.
        model_calls: per sample.
    """

    sample: Callable[..., tuple[Float[Tensor, "n d"], int]]
    model_calls: int

    def __call__(self, problem: Problem, count: int, seed: int) -> tuple[Float[Tensor, "n d"], int]:
        return self.sample(problem.prior, problem.x0, problem.known, count=count, seed=seed)


PEERS = {
    "diffusers, T = 50": Peer(partial(diffusers_repaint, steps=50), 410),
}


def exact(problem: Problem, count: int, seed: int) -> tuple[Float[Tensor, "n d"], int]:
    """Draw from the true posterior: the floor of all errors, at 0 model calls."""
    x = problem.x0.repeat(count, 1)
    x[:, ~problem.known] = problem.posterior.sample(count, torch.Generator().manual_seed(seed))
    return x, 0


def measure(
    problems: Sequence[Problem],
    ways: Mapping[str, Way],
    *,
    count: int = 512,
    seed: int = 0,
    on_done: Callable[[int], None] = lambda _calls: None,
) -> list[ErrorRow]:
    """Run each way on each problem, and measure its error.

    The figures depend only on the seeds, not on the CPU or the number of threads.

    Args:
        problems: see `repaint.lab.exactness.problems.problems`.
        ways: name to way.
        count: samples of each, 2 to 4096. The standard error of the figures is proportional to its inverse square root.
        seed: of the ways. The reference samples have a fixed seed.
        on_done: called with the model calls of each way after each problem.
    Raises:
        InputError: a count out of range.
    """
    whole_number("count", count, 2, REFERENCE)
    rows = []
    for problem in problems:
        reference = problem.posterior.sample(REFERENCE, torch.Generator().manual_seed(REFERENCE))
        within = mean_distance(reference)
        marginal = problem.prior.sample(REFERENCE, torch.Generator().manual_seed(REFERENCE))[:, ~problem.known]
        scale = mean_distance(marginal)
        for name, way in ways.items():
            started = time.perf_counter()
            x, calls, *gradients = way(problem, count, seed)
            seconds = time.perf_counter() - started
            hole = x[:, ~problem.known]
            modes = problem.posterior.responsibilities(hole).mean(0) - problem.posterior.weights
            rows.append(
                ErrorRow(
                    problem.name,
                    problem.family,
                    name,
                    energy_distance(hole, reference, within) / scale,
                    sliced_wasserstein(hole, reference[:count]) / scale,
                    float(modes.abs().sum()) / 2,
                    calls,
                    seconds,
                    gradients[0] if gradients else 0,
                )
            )
            on_done(calls)
    return rows


@dataclass(frozen=True)
class Standing:
    """The means of one way over all problems; see the rows.

    Attributes:
        error, sliced, modes: means over problems.
        low, high: 95 % bootstrap interval of the mean error over problems; both are the error with one problem.
        families: family to mean error.
        model_calls, gradient_calls: per sample; the means over problems, rounded, where they differ.
        cost: model calls, of which one with its gradient counts as three.
        seconds: sum over problems.
        front: whether the way is on the Pareto front: no other has a smaller error at the same or a lower cost.
    """

    way: str
    error: float
    low: float
    high: float
    sliced: float
    modes: float
    families: dict[str, float]
    model_calls: int
    gradient_calls: int
    cost: int
    seconds: float
    front: bool


def standings(rows: Iterable[ErrorRow]) -> list[Standing]:
    """Average the rows of each way, in the order of their first rows."""
    by_way: dict[str, list[ErrorRow]] = {}
    for row in rows:
        by_way.setdefault(row.way, []).append(row)
    calls = {name: round(_mean(row.model_calls for row in group)) for name, group in by_way.items()}
    gradients = {name: round(_mean(row.gradient_calls for row in group)) for name, group in by_way.items()}
    cost = {name: calls[name] + 2 * gradients[name] for name in by_way}
    points = {name: (cost[name], _mean(row.error for row in group)) for name, group in by_way.items()}
    intervals = {name: _interval([row.error for row in group]) for name, group in by_way.items()}
    best = pareto({name: point for name, point in points.items() if name != FLOOR})
    return [
        Standing(
            way=name,
            error=points[name][1],
            low=intervals[name][0],
            high=intervals[name][1],
            sliced=_mean(row.sliced for row in group),
            modes=_mean(row.modes for row in group),
            families={
                family: _mean(row.error for row in group if row.family == family)
                for family in dict.fromkeys(row.family for row in group)
            },
            model_calls=calls[name],
            gradient_calls=gradients[name],
            cost=cost[name],
            seconds=sum(row.seconds for row in group),
            front=name in best,
        )
        for name, group in by_way.items()
    ]


def save_standings(path: Path, rows: Sequence[ErrorRow], arguments: Mapping[str, Any]) -> None:
    """Write all rows and their means as JSON.

    Args:
        path: the file.
        rows: result of `measure`.
        arguments: of the measurement, written first.
    """
    content = {"version": __version__, **arguments, "standings": [vars(found) for found in standings(rows)]}
    with atomic_path(path) as draft:
        draft.write_text(as_json(content | {"rows": [vars(row) for row in rows]}, indent=1) + "\n", encoding="utf-8")


def pareto(points: Mapping[str, tuple[int, float]]) -> list[str]:
    """Select the names of the Pareto front, cheapest first.

    Args:
        points: name to (cost, error).

    >>> pareto({"a": (10, 0.5), "b": (20, 0.6), "c": (20, 0.4)})
    ['a', 'c']
    """
    front: list[str] = []
    for name in sorted(points, key=lambda name: points[name]):
        if not front or points[name][1] < points[front[-1]][1]:
            front.append(name)
    return front


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _interval(errors: list[float]) -> tuple[float, float]:
    found = mean_interval(np.array(errors))
    return found.low, found.high
