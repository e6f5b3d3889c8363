"""Sample by a black-box ODE solver: the probability flow of the `emoji` prior through scipy's RK45.

python examples/probability_flow.py

Each image is solved alone at several tolerances, from the noise that DDIM starts from. DDIM follows the same flow with
fixed steps, and Euler-Maruyama the reverse SDE. Error: root mean square distance in 8-bit values from the same flow
solved at a tolerance of 1e-5. Energy: score in 8-bit values against all held-out emoji, mean over eight groups of
seeds; lower is better, and real emoji show what is possible.
"""

import argparse
import math

import numpy as np
import torch
from scipy.integrate import solve_ivp

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.lab.calibration.proper_scores import energy_score
from repaint.measure.intervals import paired_difference
from repaint.pictures.samples import glyphs
from repaint.sampling.levels import Level
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler
from repaint.sampling.solvers import DDIM


class EulerMaruyama:
    """A step of the reverse SDE (Song et al. 2021, arXiv 2011.13456, eq. 6), for a variance-preserving prior."""

    def step(self, x, prediction, src, dst, draws, carry):
        if dst.sigma == 0:
            return prediction.x0_hat, {}
        beta = 2 * math.log(dst.alpha / src.alpha)  # integrated over the step
        return (1 + beta / 2) * x - beta / src.sigma * prediction.eps_hat + math.sqrt(beta) * draws.z, {}


def drawn(prior, steps, solver, seeds, shape):
    """Samples of a solver with fixed steps, and the noise that they started from."""
    sampler = Sampler(prior, Method(JumpSchedule.from_rules(steps, []), solver=solver, spacing="linspace"))
    first = sampler.start(torch.zeros(len(seeds), *shape), torch.zeros(1, dtype=torch.bool), seeds)
    *_, last = sampler.run(first)
    return last.x, first.x


@torch.no_grad()
def solved(prior, noise, tolerance):
    """Solve dx / dphi = alpha eps_hat - sigma x0_hat with (alpha, sigma) = (cos, sin)(phi), (1, *shape).

    The probability flow of a variance-preserving prior, in the angle of Salimans & Ho 2022 (arXiv 2202.00512), App. D.

    Returns:
        The sample, and the number of model calls.
    """
    levels = prior.schedule(1000, "linspace").levels[1:]
    angles, times = [math.atan2(level.sigma, level.alpha) for level in levels], [level.t for level in levels]

    def predicted(phi, x):
        level = Level(math.cos(phi), math.sin(phi), float(np.interp(phi, angles, times)))
        return prior.denoise(torch.from_numpy(x).to(noise).reshape(noise.shape), level), level

    def slope(phi, x):
        found, level = predicted(phi, x)
        return (level.alpha * found.eps_hat - level.sigma * found.x0_hat).double().numpy().ravel()

    start = noise.double().numpy().ravel()
    end = solve_ivp(slope, (angles[-1], angles[0]), start, method="RK45", rtol=tolerance, atol=tolerance)
    return predicted(angles[0], end.y[:, -1])[0].x0_hat, end.nfev + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=64, help="images per method, a multiple of 8")
    parser.add_argument("--short", action="store_true", help="two groups of two images, and fewer calls")
    args = parser.parse_args()
    count, groups, exact = (4, 2, 1e-3) if args.short else (args.count, 8, 1e-5)
    pipe, pixels = RePaintPipeline.from_pretrained("emoji"), Conditions(prompt="", guidance_scale=1.0, size=(64, 64))
    one = pipe.prior.conditioned(1, pixels)
    shape = one.encode(torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64, dtype=torch.bool))[0].shape[1:]
    truths = np.stack(list(glyphs("held_out").values())).reshape(140, -1).astype(float)

    def by_steps(steps, solver):
        parts = [range(i, min(i + 16, count)) for i in range(0, count, 16)]
        found = [drawn(pipe.prior.conditioned(len(part), pixels), steps, solver, part, shape) for part in parts]
        return torch.cat([x for x, _ in found]), steps, torch.cat([noise for _, noise in found])

    def by_tolerance(tolerance):
        found = [solved(one, noise, tolerance) for noise in first.split(1)]
        return torch.cat([x for x, _ in found]), np.mean([calls for _, calls in found])

    def images(x):
        return ((pipe.prior.decode(x) + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).reshape(count, -1).numpy()

    def scored(pictures):
        return np.array([[energy_score(part, truth) for truth in truths] for part in np.split(pictures, groups)])

    counts, tolerances = ((4, 8), (1e-1, 1e-2)) if args.short else ((25, 50, 100), (1e-1, 1e-2, 1e-3, 1e-4))
    with torch.no_grad():
        *_, first = by_steps(counts[0], DDIM())
        rows = {}
        for tolerance in (exact, *tolerances):
            x, calls = by_tolerance(tolerance)
            rows[f"RK45, {tolerance:g}"] = (calls, images(x))
        for name, solver in (("DDIM", DDIM()), ("Euler-Maruyama", EulerMaruyama())):
            rows |= {f"{name}, {n} steps": (n, images(by_steps(n, solver)[0])) for n in counts}
    rows["real emoji"] = (0, np.stack(list(glyphs("train").values())[:count]).reshape(count, -1))
    flow = rows[f"RK45, {exact:g}"][1].astype(float)
    against = scored(flow)
    for name, (calls, pictures) in rows.items():
        energy = scored(pictures.astype(float))
        gap = paired_difference(energy, against)
        error = np.sqrt(np.square(pictures - flow).mean(1)).mean()
        missed = f", error {error:.2f}" if name.startswith(("RK45", "DDIM")) else ""
        print(f"{name}: {calls:.0f} calls{missed}, energy {energy.mean():.2f}", end=" ")
        print(f"({gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}] from the exact flow)")


if __name__ == "__main__":
    main()
