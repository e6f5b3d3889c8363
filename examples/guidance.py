"""Guide with a classifier, on a problem whose answer is known.

python examples/guidance.py

Three pixels have correlation 0.9, and the first is known to be 1.5. A classifier says that the mean of the other two
is about 0.5, with a standard deviation of 0.2. Everything is Gaussian, so the gradient at a noisy x is exact. With a
neural classifier, compute it by automatic differentiation of the log-probability at x.
"""

import argparse

import torch

from repaint import GaussianMixturePrior, Method
from repaint.sampling.sampler import Sampler

SEEN, SAID, SURE = 1.5, 0.5, 0.2
COVARIANCE = 0.1 * torch.eye(3, dtype=torch.float64) + 0.9
MEAN_OF = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)


def gradient(x, level):
    """Return d log p(said | x) / dx with p(said | x) = N(said; mean of E[x0 | x], its variance + SURE^2)."""
    flat = x.reshape(len(x), 3)
    gain = level.alpha * COVARIANCE @ torch.linalg.inv(level.alpha**2 * COVARIANCE + level.sigma**2 * torch.eye(3))
    variance = MEAN_OF @ (COVARIANCE - level.alpha * gain @ COVARIANCE) @ MEAN_OF + SURE**2
    return (((SAID - flat @ gain.T @ MEAN_OF) / variance)[:, None] * (gain.T @ MEAN_OF)).reshape(x.shape)


def exact():
    """Return the exact mean and standard deviation of the second pixel, given the first and the classifier."""
    sees = torch.stack([torch.tensor([1.0, 0, 0], dtype=torch.float64), MEAN_OF])
    noise = torch.diag(torch.tensor([0, SURE**2], dtype=torch.float64))
    gain = COVARIANCE @ sees.T @ torch.linalg.inv(sees @ COVARIANCE @ sees.T + noise)
    mean = gain @ torch.tensor([SEEN, SAID], dtype=torch.float64)
    return float(mean[1]), float((COVARIANCE - gain @ sees @ COVARIANCE)[1, 1].sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--short", action="store_true", help="300 samples")
    args = parser.parse_args()
    count = 300 if args.short else args.count
    prior = GaussianMixturePrior([1.0], torch.zeros(1, 3), COVARIANCE[None])
    known = torch.tensor([True, False, False])
    for name, guides in (("without", None), ("with", gradient)):
        sampler = Sampler(prior, Method.from_preset("balanced"), guides)
        state = sampler.start(torch.tensor([[SEEN, 0, 0]], dtype=torch.float64).expand(count, 3), known, [0])
        for last in sampler.run(state):
            state = last
        second = state.x[:, 1]
        print(f"{name} the classifier: mean {second.mean():.3f}, standard deviation {second.std():.3f}")
    print("exactly, with it: mean {:.3f}, standard deviation {:.3f}".format(*exact()))


if __name__ == "__main__":
    main()
