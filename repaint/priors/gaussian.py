"""A mixture of Gaussians with its exact denoiser, samples and posteriors.

    p(x0) = sum_k w_k N(mu_k, S_k)

At each level the marginal is sum_k w_k N(alpha mu_k, alpha^2 S_k + sigma^2 I). The denoiser and the distribution of
any coordinates given the others are therefore closed-form, and a sampler's error can be measured exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from repaint.errors import PriorError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Conditions, PriorDefaults
from repaint.sampling.spacing import Spacing

__all__ = ["GaussianMixturePrior"]

ROUNDING = 1e-6  # of the largest entry of a covariance that was computed in float32
SINGULAR = 1e-12  # of the largest eigenvalue: below, rounding decides an eigenvalue in float64
LINEAR_BETAS: dict[str, Any] = {"_class_name": "DDPMScheduler", "beta_schedule": "linear"}


class GaussianMixturePrior(PriorDefaults):
    """Define a Gaussian mixture over vectors of D coordinates, or over images of D = C x H x W pixels.

    >>> two = GaussianMixturePrior([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]])
    >>> two.posterior([0], [1.5]).means  # the second coordinate, given that the first is 1.5
    tensor([[1.3500]], dtype=torch.float64)

    Args:
        weights: (K,) positive; normalised to sum to 1.
        means: (K, D).
        covariances: (K, D, D) symmetric, positive semi-definite.
        shape: shape of one sample, with D entries; default (D,).
        scheduler: scheduler or config that the levels are read from; default DDPM's linear betas.
    Raises:
        PriorError: shapes that do not fit, weights that are not positive, covariances that are not symmetric and
            positive semi-definite, or NaN or infinity.
    """

    multiple_of = 1

    def __init__(
        self,
        weights: Tensor | NDArray[Any] | Sequence[float],
        means: Tensor | NDArray[Any] | Sequence[Any],
        covariances: Tensor | NDArray[Any] | Sequence[Any],
        *,
        shape: tuple[int, ...] | None = None,
        scheduler: Mapping[str, Any] | Any = LINEAR_BETAS,
    ) -> None:
        self.weights, self.means, self.covariances = map(_numbers, (weights, means, covariances))
        self.scheduler = scheduler
        if self.means.ndim != 2 or self.weights.shape != self.means.shape[:1]:
            raise PriorError(
                "weights and means must have shapes (K,) and (K, D) "
                f"(given: {tuple(self.weights.shape)} and {tuple(self.means.shape)})."
            )
        count, size = self.means.shape
        if self.covariances.shape != (count, size, size):
            raise PriorError(
                f"covariances must have shape {(count, size, size)} (given: {tuple(self.covariances.shape)})."
            )
        for name, values in (("weights", self.weights), ("means", self.means), ("covariances", self.covariances)):
            if not bool(torch.isfinite(values).all()):
                raise PriorError(f"{name} must be finite (given: NaN or infinity).")
        skew = (self.covariances - self.covariances.mT).abs().amax()
        if bool(skew > ROUNDING * self.covariances.abs().amax()):
            raise PriorError("covariances must be symmetric (use (S + S.T) / 2).")
        if not bool((self.weights > 0).all()):
            raise PriorError(f"weights={self.weights.tolist()} must be above 0 (leave empty components out).")
        self.shape = (size,) if shape is None else shape
        if torch.Size(self.shape).numel() != size:
            raise PriorError(f"shape={self.shape} must have {size} entries, as the means have.")
        self.weights = self.weights / self.weights.sum()
        # S_k = Q diag(spread) Q^T: every level shares these eigenvectors.
        self._spread, self._basis = torch.linalg.eigh(self.covariances)
        if bool((self._spread < -ROUNDING * self._spread.abs().amax()).any()):
            raise PriorError("covariances must be positive semi-definite (one has a negative eigenvalue).")
        self._spread = self._spread.clamp(min=0)

    def __repr__(self) -> str:
        return f"GaussianMixturePrior(components={len(self.weights)}, shape={tuple(self.shape)})"

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the levels of this prior's scheduler. The denoiser is exact at any level, so any scheduler works."""
        return NoiseSchedule.from_scheduler(self.scheduler, steps, spacing)

    def conditioned(self, count: int, conditions: Conditions) -> GaussianMixturePrior:  # noqa: ARG002
        """Return this prior. Raises `PriorError` for any condition."""
        conditions.refuse_beyond(self.serves, "a Gaussian mixture")
        return self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> GaussianMixturePrior:  # noqa: ARG002
        """Return this prior, which always computes on the CPU in float64."""
        return self

    def denoise(self, x: Float[Tensor, "b *shape"], level: Level) -> Prediction:
        """Return the exact E[x0 | x] and the matching noise."""
        flat = x.reshape(len(x), -1).to(torch.float64)
        variance = level.alpha**2 * self._spread + level.sigma**2  # (K, D), in the eigenbasis
        y = self._to_basis(flat[None] - level.alpha * self.means[:, None])  # (K, B, D)
        responsibility = self._responsibilities(y, variance)  # (K, B)
        pull = level.alpha * self._spread / variance
        x0_hat = self.means[:, None] + torch.einsum("kde,kbe->kbd", self._basis, pull[:, None] * y)
        mean = torch.einsum("kb,kbd->bd", responsibility, x0_hat)
        eps_hat = (flat - level.alpha * mean) / level.sigma
        return Prediction(mean.reshape(x.shape).to(x.dtype), eps_hat.reshape(x.shape).to(x.dtype))

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "b *shape"]:
        """Draw exact samples, (count, *shape) float64."""
        # Drawn through the inverse CDF, because torch.multinomial draws other numbers with MKL than without.
        uniform = torch.rand(count, dtype=torch.float64, device="cpu", generator=generator)
        component = torch.searchsorted(self.weights.cumsum(0), uniform, right=True).clamp(max=len(self.weights) - 1)
        z = torch.randn(count, self.means.shape[1], dtype=torch.float64, device="cpu", generator=generator)
        # The symmetric root of a covariance is unique. Eigenvectors of equal eigenvalues are not, and samples drawn
        # along them would depend on the CPU.
        x = torch.empty_like(z)
        for k, basis in enumerate(self._basis):
            root = (basis * self._spread[k].sqrt()) @ basis.mT
            x[component == k] = self.means[k] + z[component == k] @ root
        return x.reshape(count, *self.shape)

    def responsibilities(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b k"]:
        """Return the probability of each component given clean samples. Over exact samples, its mean is the weights."""
        y = self._to_basis(x.reshape(1, len(x), -1).to(torch.float64) - self.means[:, None])
        least = SINGULAR * float(self._spread.amax()) or SINGULAR  # a degenerate component has no density
        return self._responsibilities(y, self._spread.clamp(min=least)).T

    def posterior(self, known_index: Sequence[int] | Tensor, values: Sequence[float] | Tensor) -> GaussianMixturePrior:
        """Return the exact distribution of the other coordinates, in their order, given the known ones.

        Args:
            known_index: indices of the known coordinates in the flattened sample, in [0, D).
            values: their values.
        Raises:
            PriorError: an index out of range or repeated, no unknown coordinate, or a singular known covariance.
        """
        known = torch.as_tensor(known_index, dtype=torch.int64, device="cpu")
        x = _numbers(values)
        size = self.means.shape[1]
        unknown = known.new_tensor([i for i in range(size) if i not in set(known.tolist())])
        if len(known) + len(unknown) != size or known.shape != x.shape or len(unknown) == 0:
            raise PriorError(
                f"known_index={known.tolist()[:8]} must be distinct indices from 0 to {size - 1} that leave at least "
                f"one out, with one value each (given: {x.numel()} values)."
            )
        s_kk = self.covariances[:, known[:, None], known]
        s_uk = self.covariances[:, unknown[:, None], known]
        s_uu = self.covariances[:, unknown[:, None], unknown]
        spread = torch.linalg.eigvalsh(s_kk)
        if not bool((spread[:, 0] > SINGULAR * spread[:, -1]).all()):
            raise PriorError(
                "The covariance of the known coordinates must not be singular. Leave out those that follow from others."
            )
        # By Cholesky, since batched LU with several threads fails in some builds of PyTorch with MKL.
        root = torch.linalg.cholesky(s_kk)
        gain = torch.cholesky_solve(s_uk.mT, root).mT
        off = x - self.means[:, known]
        means = self.means[:, unknown] + torch.einsum("kuj,kj->ku", gain, off)
        covariances = _semidefinite(s_uu - gain @ s_uk.mT)
        whitened = torch.linalg.solve_triangular(root, off[..., None], upper=False)[..., 0]
        evidence = -0.5 * whitened.square().sum(1) - root.diagonal(dim1=1, dim2=2).log().sum(1)
        weights = torch.softmax(self.weights.log() + evidence, dim=0)
        keep = weights > 0  # drops components whose weight underflowed
        return GaussianMixturePrior(weights[keep], means[keep], covariances[keep], scheduler=self.scheduler)

    def encode(
        self, image: Float[Tensor, "b *shape"], known: Bool[Tensor, "b *shape2"]
    ) -> tuple[Float[Tensor, "b *shape"], Bool[Tensor, "b *shape2"]]:
        """Return the input unchanged."""
        return image, known

    def decode(self, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
        """Return the input unchanged."""
        return x

    def _to_basis(self, x: Float[Tensor, "k b d"]) -> Float[Tensor, "k b d"]:
        return torch.einsum("kde,kbd->kbe", self._basis, x)

    def _responsibilities(self, y: Float[Tensor, "k b d"], variance: Float[Tensor, "k d"]) -> Float[Tensor, "k b"]:
        log_density = -0.5 * (y.square() / variance[:, None]).sum(-1) - 0.5 * variance.log().sum(-1)[:, None]
        return torch.softmax(self.weights.log()[:, None] + log_density, dim=0)


def _semidefinite(covariances: Float[Tensor, "k d d"]) -> Float[Tensor, "k d d"]:
    """Make covariances symmetric, and set eigenvalues to 0 where rounding made one negative."""
    symmetric = (covariances + covariances.mT) / 2
    spread, basis = torch.linalg.eigh(symmetric)
    projected = (basis * spread.clamp(min=0)[:, None]) @ basis.mT
    return torch.where(spread[:, :1, None] < 0, projected, symmetric)


def _numbers(values: Tensor | NDArray[Any] | Sequence[Any]) -> Tensor:
    """Return a float64 tensor on the CPU. MPS has no float64, so a tensor is moved before it is converted."""
    values = values.cpu() if isinstance(values, Tensor) else values
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")
