"""Inpainting problems with a known posterior: Gaussian mixtures of which some coordinates are known.

| family      | description                                                                                  |
|-------------|----------------------------------------------------------------------------------------------|
| separated   | distinct modes, each thin in most directions: the shares of the modes must be right            |
| overlapping | broad modes that overlap                                                                     |
| fields      | smooth random fields as small images of different smoothness, with typical inpainting masks  |
| natural     | images with a spectrum of 1 / f^2 and local contrasts of 64 kinds, as photographs have       |
| learned     | two problems of the above, with a small network as their denoiser                            |
| taught      | the same two with their exact denoiser: what the network's errors cost is the difference     |

The last three are measured only if they are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import nearest, whole_number
from repaint.errors import InputError
from repaint.lab.exactness.learned_denoiser import learned
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.prior import Prior

__all__ = ["FAMILIES", "USUAL", "Problem", "field_problem", "mixture_problem", "natural_problem", "problems"]


@dataclass(frozen=True)
class Problem:
    """A sample with some known coordinates, and the exact posterior of the others.

    Attributes:
        name: states family, dimension and known share.
        family: a key of `FAMILIES`.
        prior: the distribution of the whole sample.
        x0: (D,) float64, the sample that provides the known values.
        known: (D,) True where the value is known.
        posterior: the distribution of the unknown coordinates, in their original order.
        learned: whether the denoiser is a small network, trained on first use, and not the exact one.
    """

    name: str
    family: str
    prior: GaussianMixturePrior
    x0: Float[Tensor, " d"]
    known: Bool[Tensor, " d"]
    posterior: GaussianMixturePrior
    learned: bool = False

    @property
    def denoiser(self) -> Prior:
        """The model that samplers call: the prior, or its learned denoiser."""
        return learned(self.prior) if self.learned else self.prior

    @classmethod
    def draw(
        cls, name: str, family: str, prior: GaussianMixturePrior, known: Bool[Tensor, " d"], rng: torch.Generator
    ) -> Problem:
        """Draw a sample from the prior, and condition on its known coordinates.

        Args:
            name, family, prior, known: see the class.
            rng: used for the sample.
        """
        x0 = prior.sample(1, rng)[0]
        return cls(name, family, prior, x0, known, prior.posterior(known.nonzero()[:, 0], x0[known]))


def mixture_problem(family: str, dimension: int, share: float, seed: int) -> Problem:
    """Make a mixture of four components with random known coordinates that leave several components possible.

    Args:
        family: "separated" has one covariance with standard deviations of 0.14 to 0.55; the modes lie about 4 apart in
            the unknown coordinates, and 1.7 standard deviations apart in the known ones. "overlapping" has one
            covariance for each component.
        dimension: D, at least 2.
        share: of known coordinates, in (0, 1); at least one is known and at least one unknown.
        seed: of all random draws.
    """
    rng = torch.Generator().manual_seed(seed)
    count = min(max(round(share * dimension), 1), dimension - 1)
    known = torch.zeros(dimension, dtype=torch.bool)
    known[torch.randperm(dimension, generator=rng)[:count]] = True
    means = torch.randn(COMPONENTS, dimension, dtype=torch.float64, generator=rng)
    if family == "separated":
        covariances = _covariances(1, dimension, 0.02, 0.3, rng).expand(COMPONENTS, -1, -1)
        whole = torch.linalg.cholesky(covariances[0][known][:, known])
        means[:, ~known] *= math.sqrt(8 / (dimension - count))
        means[:, known] = 1.2 / math.sqrt(count) * means[:, known] @ whole.mT
    else:
        covariances, means = _covariances(COMPONENTS, dimension, 0.1, 2.0, rng), 0.4 * means
    weights = 0.5 + torch.rand(COMPONENTS, dtype=torch.float64, generator=rng)
    prior = GaussianMixturePrior(weights, means, covariances)
    return Problem.draw(f"{family} {dimension}d, {count / dimension:.0%} known", family, prior, known, rng)


def _covariances(count: int, size: int, low: float, high: float, rng: torch.Generator) -> Float[Tensor, "k d d"]:
    """Draw random covariances with eigenvalues between low and high, uniform in their logarithm."""
    basis = torch.linalg.qr(torch.randn(count, size, size, dtype=torch.float64, generator=rng))[0]
    spread = low * (high / low) ** torch.rand(count, size, dtype=torch.float64, generator=rng)
    covariances = torch.einsum("kde,ke,kfe->kdf", basis, spread, basis)
    return (covariances + covariances.mT) / 2


def field_problem(mask: str, side: int, seed: int) -> Problem:
    """Make a small image: a mixture of three smooth random fields with different means and correlation lengths.

    Args:
        mask: what is unknown: "half" is the lower half, "box" a central square of half the side, "sparse" 90 % of the
            pixels.
        side: of the image in pixels.
        seed: of all random draws.
    """
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    at = torch.stack([rows.flatten(), columns.flatten()], dim=1).double()
    squared = torch.cdist(at, at).square()
    nugget = 0.02 * torch.eye(side**2, dtype=torch.float64)
    covariances = torch.stack([0.6 * torch.exp(-squared / (2 * length**2)) + nugget for length in LENGTHS])
    shape = torch.linalg.cholesky(torch.exp(-squared / (2 * (side / 4) ** 2)) + nugget)
    means = 0.5 * torch.randn(len(LENGTHS), side**2, dtype=torch.float64, generator=rng) @ shape.mT
    keep = _keep(mask, rows, columns, rng)
    prior = GaussianMixturePrior(torch.ones(len(LENGTHS)), means, covariances)
    return Problem.draw(f"field {side} x {side}, {mask}", "fields", prior, keep, rng)


def natural_problem(mask: str, side: int, seed: int, components: int = 64) -> Problem:
    """Make a small image: Gaussians with a spectrum of 1 / f^2, each with its own map of local contrast.

    The contrast is the exponential of a smooth random field. Such Gaussian scale mixtures have the heavy tails of the
    gradients of photographs (Wainwright & Simoncelli 2000, NeurIPS 12).

    Args:
        mask: see `field_problem`.
        side: of the image in pixels.
        seed: of all random draws.
        components: number of Gaussians.
    """
    rng = torch.Generator().manual_seed(seed)
    frequency = torch.fft.fftfreq(2 * side, dtype=torch.float64)
    power = 1 / (frequency[:, None].square() + frequency.square() + 1 / (2 * side) ** 2)
    correlation = torch.fft.ifft2(power).real
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    at = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    apart = (at[:, None] - at).abs()
    covariance = (correlation / correlation[0, 0])[apart[..., 0], apart[..., 1]]
    smooth = torch.exp(-apart.square().sum(2) / (2 * (side / 3) ** 2)).double() + 1e-6 * torch.eye(side**2)
    maps = torch.randn(components, side**2, dtype=torch.float64, generator=rng) @ torch.linalg.cholesky(smooth).mT
    contrast = maps.exp()
    covariances = 0.25 * contrast[:, :, None] * covariance * contrast[:, None] + 1e-3 * torch.eye(side**2)
    prior = GaussianMixturePrior(torch.ones(components), torch.zeros(components, side**2), covariances)
    keep = _keep(mask, rows, columns, rng)
    return Problem.draw(f"natural {side} x {side}, {mask}", "natural", prior, keep, rng)


def _keep(mask: str, rows: Tensor, columns: Tensor, rng: torch.Generator) -> Bool[Tensor, " d"]:
    """Choose the known pixels of a square image."""
    side = len(rows)
    return {
        "half": rows < side // 2,
        "box": ((rows - (side - 1) / 2).abs() > side / 4) | ((columns - (side - 1) / 2).abs() > side / 4),
        "sparse": torch.rand(side, side, generator=rng) < 0.1,
    }[mask].flatten()


def _of_family(problem: Problem, family: str) -> Problem:
    return replace(problem, name=f"{family} {problem.name}", family=family, learned=family == "learned")


COMPONENTS = 4
LENGTHS = (1.5, 2.0, 2.7)  # correlation lengths of the fields, in pixels

FAMILIES: dict[str, list[Callable[[int], Problem]]] = {
    "separated": [
        lambda seed: mixture_problem("separated", 2, 0.5, seed),
        lambda seed: mixture_problem("separated", 8, 0.25, seed),
        lambda seed: mixture_problem("separated", 16, 0.5, seed),
        lambda seed: mixture_problem("separated", 32, 0.25, seed),
        lambda seed: mixture_problem("separated", 64, 0.5, seed),
    ],
    "overlapping": [
        lambda seed: mixture_problem("overlapping", 8, 0.5, seed),
        lambda seed: mixture_problem("overlapping", 16, 0.75, seed),
        lambda seed: mixture_problem("overlapping", 32, 0.1, seed),
    ],
    "fields": [
        lambda seed: field_problem("half", 8, seed),
        lambda seed: field_problem("box", 8, seed),
        lambda seed: field_problem("sparse", 8, seed),
        lambda seed: field_problem("box", 16, seed),
    ],
    "natural": [
        lambda seed: natural_problem("half", 8, seed),
        lambda seed: natural_problem("box", 8, seed),
        lambda seed: natural_problem("sparse", 8, seed),
    ],
    "learned": [
        lambda seed: _of_family(mixture_problem("separated", 8, 0.25, seed), "learned"),
        lambda seed: _of_family(field_problem("box", 8, seed + 1), "learned"),
    ],
    "taught": [
        lambda seed: _of_family(mixture_problem("separated", 8, 0.25, seed - 2), "taught"),
        lambda seed: _of_family(field_problem("box", 8, seed - 1), "taught"),
    ],
}
USUAL = ("separated", "overlapping", "fields")  # measured if no family is named


def problems(seed: int = 0, families: Sequence[str] = USUAL) -> list[Problem]:
    """Make problems, by default the 12 of 2 to 256 dimensions with 10 to 90 % known coordinates of the usual families.

    Args:
        seed: of the set, at least 0.
        families: keys of `FAMILIES`.
    Raises:
        InputError: an unknown family, or a negative seed.

    >>> [problem.name for problem in problems(0, ["overlapping"])]
    ['overlapping 8d, 50% known', 'overlapping 16d, 75% known', 'overlapping 32d, 9% known']
    """
    for name in families:
        if name not in FAMILIES:
            raise InputError(f"family={name!r} must be one of {', '.join(FAMILIES)}.{nearest(name, FAMILIES)}")
    whole_number("seed", seed, 0)
    numbered = enumerate((name, make) for name, makers in FAMILIES.items() for make in makers)
    return [make(1000 * seed + number) for number, (name, make) in numbered if name in families]
