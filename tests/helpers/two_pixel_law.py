"""The exact law of the unknown pixel of two, under a method, in closed form."""

from __future__ import annotations

import math

import numpy as np

from repaint.sampling.levels import Level
from repaint.sampling.merge import Fresh, Predicted
from repaint.sampling.sampler import Sampler
from repaint.sampling.solvers import DDIM, DDPM, Multistep, Refresh

__all__ = ["CORRELATION", "MEAN", "STD", "VALUE", "law"]

VALUE, MEAN, STD = 1.5, 1.350, 0.436  # the known pixel, and the exact posterior of the other
CORRELATION = np.array([[1.0, 0.9], [0.9, 1.0]])


def log_snr_step(src: Level, dst: Level) -> float:
    return math.log(dst.alpha / dst.sigma) - math.log(src.alpha / src.sigma)


def law(sampler: Sampler) -> tuple[float, float]:
    """Mean and std of the unknown pixel that a method gives, by propagating everything it carries as one Gaussian.

    That is both pixels of x, of the x0_hat before, and of the draw before: six numbers. Written from the formulas, not
    from the code: DDPM as DDIM with eta 1. Pixel 0 is known.
    """
    method, one, none = sampler.method, np.eye(2), np.zeros((2, 2))
    assert isinstance(method.merge, (Fresh, Predicted))
    assert isinstance(method.solver, (DDPM, DDIM, Multistep, Refresh))
    predicted = isinstance(method.merge, Predicted)
    first = sampler.grid[sampler.moves[0].src]
    mean = np.array([first.alpha * VALUE, 0.0, 0.0, 0.0, 0.0, 0.0])
    covariance = np.kron(np.diag([first.sigma**2, 0, 1]), one)
    before: Level | None = None
    for move in sampler.moves:
        src, dst = sampler.grid[move.src], sampler.grid[move.dst]
        x0_hat = src.alpha * CORRELATION @ np.linalg.inv(src.alpha**2 * CORRELATION + src.sigma**2 * one)
        # x' = of_x x + of_before x0_hat_before + of_draw z_before + kick z
        of_x, of_before, of_draw = none, none, none
        offset = np.zeros(2)
        if move.kind == "renoise":
            gain = dst.alpha / src.alpha
            of_x, kick = gain * one, math.sqrt(dst.sigma**2 - gain**2 * src.sigma**2) * one
            before = None
        else:
            eps_hat = (one - src.alpha * x0_hat) / src.sigma
            if move.kind == "correct":
                assert method.corrector is not None
                h = method.corrector.h
                of_x = one - (1 - math.exp(-h)) * src.sigma * eps_hat
                variance = (1 - math.exp(-2 * h)) * src.sigma**2
            elif isinstance(method.solver, Refresh):
                averaged = method.solver.noise == "averaged"
                share = 0.0
                if before is not None and before.alpha > 0 and dst.sigma > 0:
                    share = method.solver.extrapolate * log_snr_step(src, dst) / log_snr_step(before, src)
                of_x, of_before = dst.alpha * (1 + share) * x0_hat, -dst.alpha * share * one
                of_draw = dst.sigma / math.sqrt(2) * one if averaged else none
                variance = dst.sigma**2 / (2 if averaged else 1)
            elif isinstance(method.solver, Multistep) and dst.sigma > 0:
                eta, h = method.solver.eta, log_snr_step(src, dst)
                share = 0.5 * h / log_snr_step(before, src) if before is not None else 0.0
                weight = dst.alpha * (1 - math.exp(-(1 + eta) * h))
                of_x = dst.sigma / src.sigma * math.exp(-eta * h) * one + weight * (1 + share) * x0_hat
                of_before = -weight * share * one
                variance = dst.sigma**2 * (1 - math.exp(-2 * eta * h))
            else:
                eta = method.solver.eta if isinstance(method.solver, DDIM) else 1.0
                posterior = dst.sigma**2 / src.sigma**2 * (src.sigma**2 - (src.alpha / dst.alpha) ** 2 * dst.sigma**2)
                variance = eta**2 * posterior
                of_x = dst.alpha * x0_hat + math.sqrt(max(dst.sigma**2 - variance, 0)) * eps_hat
            pull = 0.0
            if predicted:  # the strength falls with noise
                ratio = src.sigma / max(src.alpha, 1e-99)
                lam = method.merge.lam / (1 + (ratio / method.merge.fade) ** 2)
                pull = 1 - 1 / (1 + lam)
            kick = np.diag([dst.sigma * math.sqrt(1 - pull), math.sqrt(variance)])
            of_x[0], of_before[0], of_draw[0] = 0.0, 0.0, 0.0
            offset[0] = dst.alpha * VALUE
            if predicted:  # n <- pull (n + factor (eps_hat - n)) + new noise, with n = (x - alpha x0) / sigma
                factor = min(method.merge.relax, 1 + (src.sigma / max(src.alpha, 1e-99)) ** 2)
                of_x[0] = dst.sigma * pull * (factor * eps_hat[0] + (1 - factor) / src.sigma * one[0])
                offset[0] -= dst.sigma * pull * (1 - factor) / src.sigma * src.alpha * VALUE
        # A step replaces the x0_hat and the draw of the step before, a correction keeps both, a renoise ends both.
        step, correct = move.kind == "denoise", move.kind == "correct"
        before = src if step else before
        linear = np.block(
            [
                [of_x, of_before, of_draw],
                [x0_hat if step else none, none if step else one, none],
                [none, none, one if correct else none],
            ]
        )
        draw = np.block([[kick, none], [none, none], [one if step else none, none if step or correct else one]])
        mean = linear @ mean + np.concatenate([offset, np.zeros(4)])
        covariance = linear @ covariance @ linear.T + draw @ draw.T
    return float(mean[1]), method.temperature * math.sqrt(covariance[1, 1])  # all noise has this factor
