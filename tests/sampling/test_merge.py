"""The known region: alpha x0 + sigma n at every level of the paper's walk, here and in diffusers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from diffusers import RePaintScheduler
from helpers.draws import Given
from torch import Tensor

from repaint.errors import InputError
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.merge import (
    Carried,
    Fresh,
    KnownPart,
    Linear,
    Merge,
    Mixed,
    Predicted,
    Relaxed,
    Trajectory,
    Unmerged,
    merge_known,
)
from repaint.sampling.method import as_method
from repaint.sampling.prediction import Prediction
from repaint.sampling.rng import Draws, NoiseStreams
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import Carry

COUNT = 16_384  # pixels measured at each level
X0 = 1.5
# Five and a half standard errors; about 5300 numbers are compared in the longest walk, so chance passes this once in
# five thousand seeds. In units of sigma for the mean, relative for the std.
MEAN_TOLERANCE = 5.5 / math.sqrt(COUNT)  # 0.043
STD_TOLERANCE = 5.5 / math.sqrt(2 * COUNT)  # 0.030

Measured = Iterator[tuple[Tensor, float, float]]  # known pixels, and the alpha and sigma that they should have


def worst_drift(measured: Measured) -> tuple[float, float]:
    """The largest |mean - alpha x0| / sigma and |std / sigma - 1| over a run."""
    mean = std = 0.0
    for known, alpha, sigma in measured:
        mean = max(mean, abs(float(known.mean()) - alpha * X0) / sigma)
        std = max(std, abs(float(known.std()) / sigma - 1))
    return mean, std


def ours(schedule: JumpSchedule, merge: str | Merge = "fresh") -> Measured:
    """Known pixels of our runs after every move, down or up."""
    prior = GaussianMixturePrior([1.0], [[0.0]], [[[1.0]]])
    sampler = Sampler(prior, as_method(schedule, merge=merge))
    x0 = torch.full((COUNT, 1), X0, dtype=torch.float64)
    for state in sampler.run(sampler.start(x0, torch.ones(COUNT, 1, dtype=torch.bool), seeds=[0])):
        level = sampler.grid[state.level]
        if level == CLEAN:
            assert torch.equal(state.x, x0)
        else:
            yield state.x, level.alpha, level.sigma


def theirs(steps: int, jump_length: int, jump_n_sample: int) -> Measured:
    """Known pixels at each model call of diffusers' RePaintScheduler, in the loop of its pipeline."""
    scheduler = RePaintScheduler()
    scheduler.set_timesteps(steps, jump_length, jump_n_sample)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.full((COUNT, 1), X0)
    x = torch.randn(COUNT, 1, generator=generator)
    before = int(scheduler.timesteps[0]) + 1
    for i, t in enumerate(scheduler.timesteps.tolist()):
        if t < before:
            if i > 0:  # before the first step nothing is merged yet
                abar = float(scheduler.alphas_cumprod[t])
                yield x, abar**0.5, (1 - abar) ** 0.5
            x = scheduler.step(torch.zeros_like(x), t, x, x0, torch.ones_like(x), generator).prev_sample
        else:
            x = scheduler.undo_step(x, before, generator)
        before = t


def test_known_pixels_have_their_level_throughout_the_papers_walk() -> None:
    """If this fails, the noise of the known part does not match its level."""
    mean, std = worst_drift(ours(JumpSchedule.paper(250, 10, 10)))
    assert mean < MEAN_TOLERANCE
    assert std < STD_TOLERANCE


def test_trajectory_has_its_level_too() -> None:
    """If this fails, `trajectory` scales the known part wrongly. One path has the same sampling error at all levels."""
    mean, std = worst_drift(ours(JumpSchedule.paper(50, 10, 2), "trajectory"))
    assert mean < MEAN_TOLERANCE
    assert std < STD_TOLERANCE


@pytest.mark.parametrize("steps", [250, 50])
def test_diffusers_repaint_scheduler_drifts(steps: int) -> None:
    """If this fails, diffusers has fixed undo_step, and our statement that its model gets too much noise is outdated.

    undo_step goes from t - n to t with betas[t ... t + n - 1], where n = 1000 / steps: n - 1 timesteps too late, and
    betas grow. It is worst after the jump from clean, which arrives at 10 n - 1 where the model is told 9 n: a std
    7.2 % too large at 250 steps, 8.4 % at 50.
    """
    stride, abar = 1000 // steps, RePaintScheduler().alphas_cumprod
    drift = float(((1 - abar[10 * stride - 1]) / (1 - abar[9 * stride])) ** 0.5 - 1)
    _, std = worst_drift(theirs(steps, 10, 10))
    assert std == pytest.approx(drift, abs=STD_TOLERANCE)
    assert std > 2 * STD_TOLERANCE, "it would pass the test that ours passes above"


LEVEL = Level(0.6, 0.8, 0)


def noises() -> tuple[Tensor, Tensor, Tensor]:
    """(eps_hat, z, another draw), each (2, 5)."""
    eps_hat, z, more = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return eps_hat, z, more


def noise_of(merge: Merge, eps_hat: Tensor | None, z: Tensor, n: Tensor | None = None) -> Tensor:
    """The noise that a rule gives for predicted noise eps_hat and current noise n of the known part."""
    x0 = torch.zeros_like(z)
    prediction = None if eps_hat is None else Prediction(x0, eps_hat)
    x = None if n is None else LEVEL.sigma * n
    return merge.noise(KnownPart(x, x0, LEVEL, prediction), LEVEL, Given(z), {})[0]


@pytest.mark.parametrize(
    ("merge", "draws", "seen"),
    [
        (Fresh(), 1, False),
        (Trajectory(), 0, False),
        (Predicted(8.0), 1, True),
        (Predicted(), 0, True),
        (Carried(0.3), 1, False),
        (Carried(0.0), 0, False),
        (Mixed(0.3), 1, True),
        (Unmerged(), 0, False),
    ],
)
def test_a_rule_computes_only_what_it_reads(merge: Merge, draws: int, seen: bool) -> None:
    """If this fails, noise is drawn or eps_hat is computed at every step for a rule that ignores it."""
    eps_hat, z, path = noises()

    class Watched(KnownPart):
        read = False

        @property
        def eps_hat(self) -> Tensor | None:
            self.read = True
            return super().eps_hat

    known, given = Watched(z, z, LEVEL, Prediction(z, eps_hat)), Given(z)
    merge.noise(known, LEVEL, given, {"path": path})
    assert (given.read, known.read) == (draws, seen)


def test_predicted_0_is_fresh() -> None:
    """If this fails, the family of merges does not begin at RePaint."""
    eps_hat, z, _ = noises()
    assert torch.equal(noise_of(Predicted(0.0), eps_hat, z), noise_of(Fresh(), eps_hat, z))
    assert torch.equal(noise_of(Fresh(), eps_hat, z), z)


def test_predicted_inf_is_what_the_model_predicted() -> None:
    """If this fails, the known part of the cheap methods does not carry the model's own noise."""
    eps_hat, z, _ = noises()
    assert torch.equal(noise_of(Predicted(math.inf), eps_hat, z), eps_hat)


@pytest.mark.parametrize("lam", [0.0, 0.5, 8.0, 1e6])
def test_predicted_is_the_gibbs_draw_of_its_target(lam: float) -> None:
    """If this fails, predicted(lam) does not draw from p(x|y) p(y|y0)^(1 + lam) / p(y)^lam.

    In n, with eps_hat frozen, the log density of the target is -(1 + lam) n^2 / 2 + lam eps_hat n: precision 1 + lam,
    mean lam / (1 + lam) eps_hat. So the weight of eps_hat and the variance of z add up to 1.
    """
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    mean, std = float(noise_of(Predicted(lam), one, zero)), float(noise_of(Predicted(lam), zero, one))
    assert std**-2 == pytest.approx(1 + lam, rel=1e-12)
    assert mean == pytest.approx(lam / (1 + lam), rel=1e-12)
    assert mean + std**2 == pytest.approx(1, rel=1e-12)


def test_predicted_before_the_first_prediction_is_fresh() -> None:
    """If this fails, a run cannot start, or starts from no noise."""
    _, z, _ = noises()
    assert torch.equal(noise_of(Predicted(), None, z), z)


def test_a_wrapped_rule_keeps_its_over_relaxation() -> None:
    """If this fails, a wrapper around a rule silently runs it without `relax`."""

    @dataclass(frozen=True)
    class Wrapped:
        inner: Merge
        after_renoise = False

        def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Tensor, Carry]:
            return self.inner.noise(known, dst, draws, carry)

    prior, walk = GaussianMixturePrior([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]]), JumpSchedule.paper(8, 3, 2)
    x0, known = torch.tensor([[1.5, 0.0]], dtype=torch.float64), torch.tensor([[True, False]])
    results = []
    for merge in (Predicted(relax=1.5), Wrapped(Predicted(relax=1.5)), Predicted()):
        sampler = Sampler(prior, as_method(walk, merge=merge))
        *_, state = sampler.run(sampler.start(x0, known, [0]))
        results.append(state.x)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("lam", [-1.0, math.nan])
def test_predicted_refuses_strengths_out_of_range(lam: float) -> None:
    """If this fails, a negative strength makes noise of imaginary std."""
    with pytest.raises(InputError, match=rf"predicted\(lam={lam}\) must be at least 0 \(inf is allowed\)\."):
        Predicted(lam)


@pytest.mark.parametrize("relax", [0.9, 2.0, math.nan])
def test_an_over_relaxation_that_diverges_is_refused(relax: float) -> None:
    """If this fails, the known part's noise grows without bound, and a run ends in NaN after minutes."""
    with pytest.raises(InputError, match=rf"predicted\(relax={relax}\) must be in \[1, 2\)"):
        Predicted(relax=relax)


@pytest.mark.parametrize("variance", [0.1, 1.0, 100.0])
def test_over_relaxation_is_quicker_to_the_same_fixed_point(variance: float) -> None:
    """If this fails, the known part converges to a wrong value, or presets with relaxation are slower than plain ones.

    For a pixel N(0, variance), alone and known to be 1.5, the fixed point is where x0_hat is 1.5, so that x is
    1.5 (alpha^2 variance + sigma^2) / (alpha variance).
    """
    level = Level(0.6, 0.8, 0)
    there = (1.5 * (0.36 * variance + 0.64) / (0.6 * variance) - 0.6 * 1.5) / 0.8

    def error(relax: float, calls: int) -> float:
        n = torch.zeros(1, 1, dtype=torch.float64)
        for _ in range(calls):
            eps_hat = 0.8 * (0.6 * 1.5 + 0.8 * n) / (0.36 * variance + 0.64)
            n = noise_of(Predicted(relax=relax), eps_hat, torch.zeros_like(n), n)
        return abs(float(n) - there) / there

    assert error(1.9, 400) < 1e-6
    if variance <= 1:
        assert error(1.5, 5) < 0.9 * error(1.0, 5)
    assert Predicted(relax=1.9).weights(Level(0.99, 0.1, 0), level).eps == pytest.approx(1 + (0.1 / 0.99) ** 2)
    assert Predicted(relax=1.9).weights(Level(0.0, 1.0, 0), level).eps == pytest.approx(1.9)  # pure noise


def test_rules_are_points_of_the_linear_one() -> None:
    """If this fails, a rule is not the sum that the table of its module states.

    Each number is worked out by hand at alpha .6, sigma .8.
    """
    eps_hat, z, n = noises()
    decay = math.exp(-1.35)
    expected: list[tuple[Merge, Tensor]] = [
        (Carried(0.36), 0.8 * n + 0.6 * z),
        (Mixed(0.36), 0.8 * eps_hat + 0.6 * z),
        (Relaxed(8.0, 1.35), (1 - decay) * 8 / 9 * eps_hat + decay * n + math.sqrt((1 - decay**2) / 9) * z),
        (Linear(0.2, -0.3, 0.5), 0.2 * eps_hat - 0.3 * n + 0.5 * z),
        (Carried("1-alpha"), math.sqrt(0.6) * n + math.sqrt(0.4) * z),
        (Carried("(1 - alpha)^2"), math.sqrt(0.84) * n + 0.4 * z),
        (Carried("1-sigma"), math.sqrt(0.8) * n + math.sqrt(0.2) * z),
    ]
    for merge, sum_ in expected:
        torch.testing.assert_close(noise_of(merge, eps_hat, z, n), sum_, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(noise_of(Relaxed(8.0, 1e3), eps_hat, z, n), noise_of(Predicted(8.0), eps_hat, z))


def test_carry_of_the_posterior_is_one_markov_path() -> None:
    """If this fails, DDNM's known part is not drawn from q(x_b | x_a, x0).

    For a pixel of variance 1, with x_a = alpha_a x0 + sigma_a n: the covariance of the noise at two levels of a Markov
    path is alpha_a sigma_b / (alpha_b sigma_a), and its variance is 1.
    """
    src, dst = Level(0.6, 0.8, 1), Level(0.8, 0.6, 0)
    weights = Carried().weights(src, dst)
    assert weights.n == pytest.approx(0.6 * 0.6 / (0.8 * 0.8), rel=1e-12)
    assert weights.n**2 + weights.z**2 == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("zeta", ["posterior", "(1-alpha)^2"])
def test_carry_has_its_level(zeta: str) -> None:
    """If this fails, the known part does not have the mean and std of its level."""
    mean, std = worst_drift(ours(JumpSchedule.paper(20, 5, 2), Carried(zeta)))
    assert mean < MEAN_TOLERANCE
    assert std < STD_TOLERANCE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Carried(1.5), r"carry\(zeta=1.5\) must be in \[0, 1\], or one of posterior, 1-alpha"),
        (lambda: Mixed("alpha"), r"mixed\(zeta='alpha'\) must be in"),
        (lambda: Relaxed(-1.0), r"relaxed\(lam=-1.0\) must be at least 0"),
        (lambda: Relaxed(8.0, 0.0), r"relaxed\(h=0.0\) must be above 0"),
        (lambda: Linear(0.0, 0.0, 0.0), r"linear\(eps=0, n=0, z=0\) must have a weight"),
        (lambda: Linear(math.nan), r"linear\(eps=nan\) must be finite"),
    ],
)
def test_shares_and_strengths_out_of_range_are_refused(make: Callable[[], Merge], message: str) -> None:
    """If this fails, a wrong share makes noise of another level, or NaN."""
    with pytest.raises(InputError, match=message):
        make()


def test_without_a_merge_the_known_part_is_free_until_the_clean_level() -> None:
    """If this fails, methods of guidance alone start from a merged sample, or return other known pixels."""
    prior = GaussianMixturePrior([1.0], [[0.0]], [[[1.0]]])
    sampler = Sampler(prior, as_method(JumpSchedule.paper(12, 3, 2), merge="none"))
    start = sampler.start(torch.full((4, 1), X0, dtype=torch.float64), torch.ones(4, 1, dtype=torch.bool), range(4))
    noise = Draws(NoiseStreams.from_seeds(range(4)), start.x).z
    torch.testing.assert_close(start.x, sampler.grid[12].sigma * noise)
    *before, state = sampler.run(start)
    assert not bool((before[-2].x == X0).any())
    assert bool((state.x == X0).all())


def test_trajectory_replays_one_path() -> None:
    """If this fails, the known part does not follow one path, for example because a renoise added noise to it."""
    prior = GaussianMixturePrior([1.0], [[0.0]], [[[1.0]]])
    sampler = Sampler(prior, as_method(JumpSchedule.paper(12, 3, 2), merge="trajectory"))
    start = sampler.start(torch.full((4, 1), X0, dtype=torch.float64), torch.ones(4, 1, dtype=torch.bool), range(4))
    path = start.carried("merge")["path"]
    kinds = set()
    for state, move in zip(sampler.run(start), sampler.moves, strict=True):
        kinds.add(move.kind)
        level = sampler.grid[state.level]
        torch.testing.assert_close(state.x, level.alpha * X0 + level.sigma * path, rtol=0, atol=1e-15)
    assert kinds == {"denoise", "renoise"}


@pytest.mark.parametrize("merge", [Fresh(), Trajectory(), Predicted(8.0), Predicted()])
def test_merging_touches_known_pixels_only_and_is_exact_when_clean(merge: Merge) -> None:
    """If this fails, kept pixels change, or repainted ones are overwritten."""
    x, x0 = torch.full((2, 5), 7.0, dtype=torch.float64), torch.full((2, 5), 0.1, dtype=torch.float64)
    known = torch.tensor([[True, False, True, False, False], [False, True, True, True, False]])
    level = Level(0.6, 0.8, 0)
    n = noise_of(merge, *noises())
    noisy = merge_known(x, x0, n, known, level)
    torch.testing.assert_close(noisy[known], (0.6 * x0 + 0.8 * n)[known], rtol=0, atol=1e-15)  # a fused rounding
    for noise, memory in ((n, torch.empty_like(x)), (overwritten := n.clone(), overwritten)):
        merged = merge_known(x, x0, noise, known, level, out=memory)
        assert torch.equal(merged, noisy)
        assert merged.data_ptr() == memory.data_ptr()
    assert torch.equal(noisy[~known], x[~known])
    clean = merge_known(x, x0, n, known, CLEAN)
    assert torch.equal(clean[known], x0[known])
    assert torch.equal(clean[~known], x[~known])
    assert torch.equal(merge_known(x, x0, None, known, CLEAN), clean)


def test_the_hole_of_x0_is_never_read() -> None:
    """If this fails, NaN in the hole of the input (or a secret in it) reaches the result."""
    x0 = torch.tensor([[0.5, math.nan]], dtype=torch.float64)
    known = torch.tensor([[True, False]])
    merged = merge_known(torch.zeros(1, 2, dtype=torch.float64), x0, torch.zeros_like(x0), known, Level(0.6, 0.8, 0))
    assert torch.isfinite(merged).all()


# --- The guard against noise that the model cannot have seen


def guarded(eps_hat: Tensor, mask: Tensor | None, *, seed: int = 0, **more: Any) -> Tensor:
    level = Level(alpha=0.8, sigma=0.6, t=1)
    x0 = torch.zeros_like(eps_hat)
    known = KnownPart(0.6 * eps_hat, x0, level, Prediction(x0, eps_hat), mask)
    draws = Draws(NoiseStreams.from_seeds(range(seed, seed + len(eps_hat))), eps_hat)
    return Predicted(**more).noise(known, Level(alpha=0.9, sigma=0.4, t=0), draws, {})[0]


def test_plausible_noise_is_not_touched_by_the_guard() -> None:
    """If this fails, the guard changes what an exact denoiser predicts, or reads outside the known part."""
    eps_hat = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    mask[..., :20] = True
    eps_hat[..., 20:] *= 50
    for lam in (8.0, math.inf):
        assert torch.allclose(guarded(eps_hat, mask, lam=lam, guard=8), guarded(eps_hat, mask, lam=lam), atol=1e-6)


def test_the_guard_keeps_the_size_of_noise() -> None:
    """If this fails, a network's too large noise goes on to the next level, there to grow."""
    eps_hat = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    eps_hat = eps_hat * torch.tensor([1.0, 1.3, 3.0]).view(3, 1, 1, 1)
    mask = torch.ones_like(eps_hat, dtype=torch.bool)
    n = guarded(eps_hat, mask, guard=8)
    assert n.square().mean(dim=(1, 2, 3)).sqrt().tolist() == pytest.approx([1, 1, 1], abs=0.05)
    share = [float((a * b).mean() / b.square().mean()) for a, b in zip(n, eps_hat, strict=True)]
    bound = 1 + 4 / math.sqrt(2 * 4096)
    assert share == pytest.approx([1, (bound / 1.3) ** 8, (bound / 3) ** 8], abs=0.05)
    alone = guarded(eps_hat[1:2], mask[1:2], seed=1, guard=8)
    assert torch.equal(n[1:2], alone), "a sample is what it is alone"


def test_the_strength_fades_with_the_noise() -> None:
    """If this fails, errors of a network grow at high noise, or the merge is another one at low noise."""
    dst = Level(alpha=1.0, sigma=0.0, t=0)
    for rho, lam in ((0.5, 8 / 1.0625), (2.0, 4.0), (6.0, 0.8)):
        src = Level(alpha=0.5, sigma=0.5 * rho, t=1)
        assert Predicted(8, fade=2).weights(src, dst) == pytest.approx(Predicted(lam).weights(src, dst))
        assert Predicted(8, relax=1.5, fade=2).weights(src, dst) == pytest.approx(Predicted(lam, 1.5).weights(src, dst))
    assert Predicted(8, fade=2).weights(Level(alpha=0.0, sigma=1.0, t=9), dst) == pytest.approx((0, 0, 1))


@pytest.mark.parametrize("fade", [0.0, -1.0, math.nan])
def test_a_fade_that_is_none(fade: float) -> None:
    """If this fails, the strength is negative or NaN."""
    with pytest.raises(InputError, match=r"predicted\(fade=.*\) must be above 0"):
        Predicted(8, fade=fade)
    with pytest.raises(InputError, match=r"predicted\(inf, fade=2\) must have a finite strength"):
        Predicted(fade=2)


@pytest.mark.parametrize("guard", [-1.0, math.inf, math.nan])
def test_a_guard_that_is_none(guard: float) -> None:
    """If this fails, a guard that cannot be computed ends in NaN noise."""
    with pytest.raises(InputError, match=r"predicted\(guard=.*\) must be finite and at least 0"):
        Predicted(guard=guard)
