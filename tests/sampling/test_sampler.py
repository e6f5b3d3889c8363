"""The loop: exact laws on a Gaussian, determinism, interruption, branches, guidance, and mutants that must fail.

On two correlated Gaussian pixels every move of the sampler is linear, so what a method gives can be computed instead of
sampled (`law`). Three numbers are then kept apart: the truth (the exact posterior), the law (what the method gives with
infinitely many samples), and what was sampled. The second is held to the third within sampling error, the first to the
second within what the method is known to get wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.two_pixel_law import CORRELATION, MEAN, STD, VALUE, law
from torch import Tensor

from repaint.cutouts import window_seed
from repaint.errors import InputError, NoiseLevelError, NonFiniteError, StateError
from repaint.outpainting import step_seed
from repaint.plan import AGAIN
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling import presets
from repaint.sampling import sampler as sampler_module
from repaint.sampling.corrector import Langevin
from repaint.sampling.levels import CLEAN, Level, renoise_scales
from repaint.sampling.merge import Predicted, merge_known
from repaint.sampling.method import Method, Move, as_method
from repaint.sampling.model import Model
from repaint.sampling.prediction import Prediction
from repaint.sampling.rng import Draws, NoiseStreams, derived_seed
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDPM, Multistep
from repaint.sampling.state import Carry, SamplerState

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
EDM = {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}


def problem(count: int) -> tuple[Tensor, Tensor]:
    """(x0, known) of the two-pixel problem, `count` times over."""
    x0 = torch.tensor([VALUE, math.nan], dtype=torch.float64).expand(count, 2)
    return x0, torch.tensor([True, False]).expand(count, 2)


def last(states: object) -> SamplerState:
    *_, state = states  # type: ignore[misc]
    return state


def sampled(sampler: Sampler, count: int, seed: int = 0) -> tuple[float, float]:
    """Mean and std of the unknown pixel over a population from one seed."""
    x = last(sampler.run(sampler.start(*problem(count), seeds=[seed]))).x
    assert (x[:, 0] == VALUE).all()
    return float(x[:, 1].mean()), float(x[:, 1].std())


def follows_its_law(sampler: Sampler, count: int) -> bool:
    """Check that the sampled mean and std are within four standard errors of the theory."""
    (mean, std), (expected_mean, expected_std) = sampled(sampler, count), law(sampler)
    error = expected_std / math.sqrt(count)
    return abs(mean - expected_mean) < 4 * error and abs(std - expected_std) < 4 * error / math.sqrt(2)


# --- What methods give


@pytest.mark.parametrize(
    "name", ["paper", "none", "quick", "early", "large-jump", "predicted", "corrected", "fast", "balanced", "best"]
)
def test_presets_follow_their_law(name: str, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a move, merge, order or noise level of the loop differs from the method."""
    assert follows_its_law(Sampler(two_pixels, Method.from_preset(name)), 4_000 if name == "paper" else 20_000)


@pytest.mark.parametrize("name", ["none", "predicted", "corrected", "fast", "cool", "trajectory", "heun"])
def test_a_temperature_pulls_results_to_their_mean(name: str, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, some noise escapes the temperature: results are biased, or 0 does not give the mean."""
    parts: dict[str, Any] = {"trajectory": {"merge": "trajectory"}, "heun": {"solver": "heun"}}.get(name, {})

    def results(temperature: float) -> tuple[Tensor, Sampler]:
        method = as_method("none" if parts else name, **parts, temperature=temperature)
        sampler = Sampler(two_pixels, method)
        return last(sampler.run(sampler.start(*problem(20), seeds=[0]))).x[:, 1], sampler

    (mean, _), (half, _), (full, sampler) = (results(temperature) for temperature in (0, 0.5, 1))
    if not parts:
        assert torch.allclose(mean, torch.tensor(law(sampler)[0], dtype=mean.dtype), rtol=0, atol=1e-9)
    assert mean.std() < 1e-9
    assert torch.allclose(half, mean + 0.5 * (full - mean), rtol=0, atol=1e-9)
    assert full.std() > 0.2


@pytest.mark.parametrize("merge", ["fresh", "predicted(inf)", "predicted(inf, relax=1.8)"])
@pytest.mark.parametrize("solver", ["ddpm", "ddim(0.3)", "refresh(0.3)", "refresh(0, noise=averaged)"])
@pytest.mark.parametrize("corrector", ["none", "langevin(2, h=0.6)"])
@pytest.mark.parametrize("scheduler", [FLOW, EDM], ids=["flow", "VE"])
def test_every_combination_follows_its_law_on_other_paths(
    scheduler: dict[str, object], corrector: str, solver: str, merge: str
) -> None:
    """If this fails, a part of the loop is right for VP models only."""
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [CORRELATION.tolist()], scheduler=scheduler)
    schedule = JumpSchedule.paper(20, 5, 3)
    assert follows_its_law(Sampler(prior, as_method(schedule, merge=merge, solver=solver, corrector=corrector)), 20_000)


@pytest.mark.parametrize("scheduler", [None, FLOW, EDM], ids=["VP", "flow", "VE"])
def test_repaint_finds_the_posterior(scheduler: dict[str, object] | None, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, RePaint as published does not inpaint: the unknown pixel does not depend on the known one.

    The bands hold RePaint's own bias (by its law: at most 0.037 in mean, 0.018 in std) and four standard errors of 4000
    samples (0.026 and 0.019).
    """
    prior = (
        two_pixels
        if scheduler is None
        else GaussianMixturePrior([1.0], [[0.0] * 2], [CORRELATION.tolist()], scheduler=scheduler)
    )
    mean, std = sampled(Sampler(prior, as_method(JumpSchedule.paper(250, 10, 10))), 4_000)
    assert abs(mean - MEAN) < 0.10
    assert abs(std - STD) < 0.04


def test_without_resampling_the_posterior_is_missed(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the test above would pass without RePaint."""
    mean, std = sampled(Sampler(two_pixels, as_method(JumpSchedule.paper(250, 10, 1))), 4_000)
    assert abs(mean - MEAN) > 0.3
    assert abs(std - STD) > 0.08


@pytest.mark.parametrize("name", [name for name in presets.available() if presets.read(name)[1].init == "noise"])
def test_presets_state_what_they_give_and_miss(name: str, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the accuracy of a preset has changed: measure the quality stated in its file again.

    Resampling with a noised known part learns a little too little from it (paper, quick); the predicted noise of the
    known pixel knows the hole, and a little too much is learnt (predicted); a frozen x0_hat loses variance (corrected).
    """
    stated = presets.read(name)[1].measured["two_pixels"]
    found = law(Sampler(two_pixels, Method.from_preset(name)))
    assert found == pytest.approx((stated["mean"], stated["std"]), abs=5e-4)  # computed, not sampled: only rounding


@pytest.mark.parametrize("name", ["fast", "balanced", "best"])
def test_presets_give_the_same_on_other_betas(name: str) -> None:
    """If this fails, a preset means other noise levels for other beta schedules.

    What remains comes from the ends: the least sigma / alpha is 0.006 to 0.03, and scaled-linear betas end at 14.6,
    below the top of 20 or 40. Levels on the clock would differ by a factor of 9 at the second noisiest.
    """
    configs: list[dict[str, Any]] = [
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ]
    found = []
    for config in configs:
        prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [CORRELATION.tolist()], scheduler=config)
        found.append(law(Sampler(prior, Method.from_preset(name))))
    assert found[1] == pytest.approx(found[0], abs=0.005)
    assert found[2] == pytest.approx(found[0], abs=0.02)


def test_more_steps_bring_predicted_to_the_posterior(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the merge that is exact in the limit is not exact for a Gaussian."""
    errors = []
    for steps in (50, 200, 800):
        method = as_method(JumpSchedule.paper(steps, 1, 1), merge="predicted(inf)", corrector="langevin(4, h=0.1)")
        mean, std = law(Sampler(two_pixels, method))
        errors.append(math.hypot(mean - MEAN, std - STD))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


# --- What parts carry to their next step


def test_solvers_get_their_carry_until_a_renoise(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a second-order solver extrapolates without a previous step, or across a renoise."""
    seen: list[tuple[Tensor, Level, Carry]] = []

    @dataclass(frozen=True)
    class Recorder(Multistep):
        def step(
            self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
        ) -> tuple[Tensor, Carry]:
            seen.append((prediction.x0_hat, src, carry))
            return super().step(x, prediction, src, dst, draws, carry)

    sampler = Sampler(two_pixels, as_method(JumpSchedule.from_levels([4, 3, 2, 4, 3, 0]), solver=Recorder()))
    last(sampler.run(sampler.start(*problem(1), seeds=[1])))
    assert [carry == {} for *_, carry in seen] == [True, False, True, False]  # 4->3, 3->2, jump, 4->3, 3->0
    for before, after in ((0, 1), (2, 3)):
        x0_hat, level, _ = seen[before]
        assert torch.equal(seen[after][2]["x0_hat"], x0_hat)
        assert float(seen[after][2]["log_snr"]) == level.log_snr


def test_correctors_keep_their_carry_at_one_level(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, Leimkuhler-Matthews steps lose the draw of the iteration before, or keep one of another level."""
    seen: list[Carry] = []

    @dataclass(frozen=True)
    class Recorder(Langevin):
        def step(
            self, x: Tensor, prediction: Prediction, level: Level, draws: Draws, carry: Carry
        ) -> tuple[Tensor, Carry]:
            seen.append(carry)
            return super().step(x, prediction, level, draws, carry)

    method = as_method(JumpSchedule.from_levels([2, 1, 0]), corrector=Recorder(3, noise="averaged"))
    sampler = Sampler(two_pixels, method)
    last(sampler.run(sampler.start(*problem(1), seeds=[1])))
    assert [list(carry) for carry in seen] == [[], ["z"], ["z"]] * 2
    assert not torch.equal(seen[1]["z"], seen[2]["z"])


def test_a_renoise_drops_the_carry_of_solver_and_corrector(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the draw or the x0_hat from before a jump is used after it, where x no longer depends on them."""
    parts = {
        "solver": "refresh(0.3, noise=averaged)",
        "corrector": "langevin(2, noise=averaged)",
        "merge": "trajectory",
    }
    sampler = Sampler(two_pixels, as_method(JumpSchedule.paper(8, 3, 2), **parts))
    for state, move in zip(sampler.run(sampler.start(*problem(1), seeds=[1])), sampler.moves, strict=True):
        assert list(state.carried("merge")) == ["path"]
        assert sorted(state.carried("corrector")) == (["z"] if move.kind == "correct" else [])
        if move.kind != "correct":
            wanted = [] if move.kind == "renoise" or move.dst == 0 else ["log_snr", "x0_hat", "z"]
            assert sorted(state.carried("solver")) == wanted


def test_a_correctors_draw_does_not_enter_the_step(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the noise of a solver holds half of a draw that an averaged corrector has used twice already."""
    seen = []

    class Step(DDPM):
        def step(
            self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
        ) -> tuple[Tensor, Carry]:
            seen.append(draws.z.clone())
            return super().step(x, prediction, src, dst, draws, carry)

    class Correct(Langevin):
        def step(
            self, x: Tensor, prediction: Prediction, level: Level, draws: Draws, carry: Carry
        ) -> tuple[Tensor, Carry]:
            stepped = super().step(x, prediction, level, draws, carry)
            seen.append(draws.z.clone())
            return stepped

    method = as_method(JumpSchedule.from_levels([3, 2, 0], 8), solver=Step(), corrector=Correct(1, noise="averaged"))
    sampler = Sampler(two_pixels, method)
    state = sampler.start(*problem(20_000), seeds=[0])
    sampler.advance(sampler.advance(state))
    assert abs(float((seen[0] * seen[1]).mean())) < 4 / math.sqrt(40_000)  # four standard errors


class OwnMerge:
    """`predicted(inf)` with the members that the protocol requires."""

    after_renoise = False

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Tensor, Carry]:
        return draws.z if known.eps_hat is None else known.eps_hat, {}


class OwnSolver:
    """`ddpm` with the member that the protocol requires."""

    def step(
        self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Tensor, Carry]:
        return DDPM().step(x, prediction, src, dst, draws, carry)


def test_own_parts_need_the_protocols_members_only(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a custom merge or solver does not run, or is replaced by another."""
    walk = JumpSchedule.paper(8, 3, 2)
    plain = Sampler(two_pixels, as_method(walk, merge=Predicted(), solver=DDPM()))
    own = Sampler(two_pixels, as_method(walk, merge=OwnMerge(), solver=OwnSolver()))
    first, second = (last(sampler.run(sampler.start(*problem(3), seeds=[1, 2, 3]))).x for sampler in (plain, own))
    assert torch.equal(first, second)


class OwnTrajectory(OwnMerge):
    """`trajectory`, which also reads the noise in the known part and checks it."""

    after_renoise = True

    def noise(self, known: KnownPart, dst: Level, draws: Draws, carry: Carry) -> tuple[Tensor, Carry]:
        path = carry["path"] if carry else draws.another()
        if known.prediction is not None:
            torch.testing.assert_close(known.n[:, 0], path[:, 0], rtol=0, atol=1e-12)
        return path, {"path": path}


def test_an_own_merge_may_carry_and_read_the_noise(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a rule between `predicted` and `trajectory` cannot be written."""
    walk = JumpSchedule.paper(8, 3, 2)
    plain = Sampler(two_pixels, as_method(walk, merge="trajectory"))
    own = Sampler(two_pixels, as_method(walk, merge=OwnTrajectory()))
    first, second = (last(sampler.run(sampler.start(*problem(3), seeds=[1, 2, 3]))).x for sampler in (plain, own))
    assert torch.equal(first, second)


class GivesNoise(DDPM):
    """Returns the draw itself, whose memory the loop could reuse."""

    def step(
        self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Tensor, Carry]:
        return draws.z, {}


class CorrectsToNoise(Langevin):
    """Returns the draw itself, whose memory the loop could reuse."""

    def step(self, x: Tensor, prediction: Prediction, level: Level, draws: Draws, carry: Carry) -> tuple[Tensor, Carry]:
        return draws.z, {}


@dataclass(frozen=True)
class CarriesNoise(DDPM):
    """Returns the draw in its carry, or a view of it, whose memory the loop could reuse."""

    view: bool = False

    def step(
        self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Tensor, Carry]:
        z = draws.z.detach() if self.view else draws.z
        return super().step(x, prediction, src, dst, draws, {})[0], {"z": z}


@pytest.mark.parametrize("view", [False, True])
def test_a_draw_in_a_carry_is_not_written_over(view: bool, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the carry of a part is changed between steps."""
    sampler = Sampler(two_pixels, as_method(JumpSchedule.from_levels([3, 2, 0], 8), solver=CarriesNoise(view=view)))
    after = next(iter(sampler.run(sampler.start(*problem(40_000), seeds=[0]))))
    z = after.carried("solver")["z"]
    assert abs(float(z[:, 0].mean())) < 4 / math.sqrt(40_000)  # four standard errors


@pytest.mark.parametrize("parts", [{"solver": GivesNoise()}, {"corrector": CorrectsToNoise()}], ids=["step", "correct"])
def test_a_draw_that_a_part_returns_is_not_written_over(parts: Any, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the hole gets the known part's scaling where a solver or corrector returns its noise."""
    sampler = Sampler(two_pixels, as_method(JumpSchedule.from_levels([3, 2, 0], 8), **parts))
    after = next(iter(sampler.run(sampler.start(*problem(40_000), seeds=[0]))))
    assert float(after.x[:, 1].std()) == pytest.approx(1, abs=4 / math.sqrt(80_000))
    assert abs(float(after.x[:, 1].mean())) < 4 / math.sqrt(40_000)


# --- Mutants: each must leave the bands above, or the tests are blind


def known_part_stands_right(sampler: Sampler, count: int) -> bool:
    """At every level the known pixel has mean alpha x0 and std sigma, within five and a half standard errors."""
    for state in sampler.run(sampler.start(*problem(count), seeds=[0])):
        level, known = sampler.grid[state.level], state.x[:, 0]
        error = level.sigma * 5.5 / math.sqrt(count)
        if abs(float(known.mean()) - level.alpha * VALUE) > error:
            return False
        if abs(float(known.std()) - level.sigma) > error / math.sqrt(2):
            return False
    return True


def halved_renoise(src: Level, dst: Level) -> tuple[float, float]:
    gain, std = renoise_scales(src, dst)
    return gain, std / math.sqrt(2)


def variance_for_std(
    x: Tensor, x0: Tensor, noise: Tensor | None, known: Tensor, level: Level, out: Tensor | None = None
) -> Tensor:
    """Algorithm 1 line 5 of the paper as printed."""
    return merge_known(x, x0, noise, known, Level(level.alpha, level.sigma**2, level.t))


class Stale(Sampler):
    """Predicts with the level that it is about to reach."""

    def _predict(self, model: Model, state: SamplerState, move: Move) -> tuple[Prediction, Tensor | None]:
        return super()._predict(model, state, move._replace(src=max(move.src - 1, 1)))


@pytest.mark.parametrize("mutant", ["none", "halved renoise variance", "variance for std", "stale level"])
def test_mutants_are_caught(mutant: str, two_pixels: GaussianMixturePrior, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the classic faults of RePaint implementations would pass unseen.

    It takes both checks: the result hardly shows a wrong std of the known part at low levels, and the known part does
    not show a stale level.
    """
    if mutant == "halved renoise variance":
        monkeypatch.setattr(sampler_module, "renoise_scales", halved_renoise)
    if mutant == "variance for std":
        monkeypatch.setattr(sampler_module, "merge_known", variance_for_std)
    sampler = (Stale if mutant == "stale level" else Sampler)(two_pixels, Method.from_preset("quick"))
    holds = follows_its_law(sampler, 20_000) and known_part_stands_right(sampler, 20_000)
    assert holds == (mutant == "none")


# --- Determinism


class RowByRow(GaussianMixturePrior):
    """Predicts each sample by itself: matrix products may round differently in batches, here only the loop can."""

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        rows = [super(RowByRow, self).denoise(row[None], level) for row in x]
        return Prediction(torch.cat([row.x0_hat for row in rows]), torch.cat([row.eps_hat for row in rows]))


METHODS = {
    "fresh, ddpm": ("fresh", "ddpm", "none"),
    "trajectory": ("trajectory", "ddim(0.5)", "none"),
    "predicted, averaged": ("predicted(8)", "ddim(0.0)", "langevin(2, h=0.6, noise=averaged)"),
    "multistep": ("predicted(inf)", "multistep", "none"),
}


@pytest.fixture(params=METHODS)
def short(request: pytest.FixtureRequest) -> Sampler:
    """A short walk with jumps, for every kind of thing that a state must remember."""
    merge, solver, corrector = METHODS[request.param]
    method = as_method(JumpSchedule.paper(8, 3, 2), merge=merge, solver=solver, corrector=corrector)
    return Sampler(RowByRow([1.0], [[0.0, 0.0]], [CORRELATION.tolist()]), method)


def test_a_result_does_not_depend_on_its_batch(short: Sampler) -> None:
    """If this fails, image 3 of a batch differs from the image of seed 3 alone."""

    def run(seeds: Sequence[int]) -> Tensor:
        return last(short.run(short.start(*problem(len(seeds)), seeds=seeds))).x

    together = run([5, 6, 7, 8])
    assert torch.equal(run([7])[0], together[2])
    assert torch.equal(run([8, 5]), together[[3, 0]])
    assert len(together.unique()) == 5  # the known value, and four different others


def test_global_randomness_plays_no_part(short: Sampler) -> None:
    """If this fails, results depend on earlier runs, or a run changes the global random state."""

    def run() -> Tensor:
        return last(short.run(short.start(*problem(2), seeds=[1, 2]))).x

    torch.manual_seed(0)
    first, after = run(), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(run(), first)


def test_interruption_anywhere_changes_nothing(short: Sampler, tmp_path: Path) -> None:
    """If this fails, a resumed run differs from an uninterrupted one."""
    start = short.start(*problem(2), seeds=[1, 2])
    states = [start, *short.run(start)]
    assert [state.position for state in states] == list(range(len(short.moves) + 1))
    assert states[-1].model_calls == short.method.model_calls
    for state in states:
        state.save(tmp_path / "state")
        resumed = SamplerState.load(tmp_path / "state")
        final = last([resumed, *short.run(resumed)])
        assert torch.equal(final.x, states[-1].x)
        assert (final.model_calls, final.level) == (states[-1].model_calls, 0)
        assert torch.equal(final.streams.states, states[-1].streams.states)


def test_a_state_tells_what_was_predicted_last(short: Sampler) -> None:
    """If this fails, the yielded state is not the latest one, or calls are counted late."""
    start = short.start(*problem(2), seeds=[1, 2])
    for (before, after), move in zip(pairwise([start, *short.run(start)]), short.moves, strict=True):
        called = move.kind != "renoise"
        expected = short.prior.denoise(before.x, short.grid[move.src]).x0_hat if called else before.x0_hat
        assert after.x0_hat is not None
        assert torch.equal(after.x0_hat, expected)
        assert (after.model_calls, after.level) == (before.model_calls + called, move.dst)


def test_states_are_never_changed_in_place(short: Sampler) -> None:
    """If this fails, a kept state changes while the run continues."""
    start = short.start(*problem(1), seeds=[1])
    states = [start, *short.run(start)]
    again = [start, *short.run(start)]
    assert all(torch.equal(a.x, b.x) for a, b in zip(states, again, strict=True))


@pytest.mark.parametrize("cut", [None, 10])
def test_damaged_states_are_refused(cut: int | None, two_pixels: GaussianMixturePrior, tmp_path: Path) -> None:
    """If this fails, a flipped bit on disk silently changes the image."""
    sampler = Sampler(two_pixels, as_method(JumpSchedule.paper(8, 3, 2)))
    next(iter(sampler.run(sampler.start(*problem(1), seeds=[1])))).save(tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    places = range(0, len(whole), 61)  # header, facts, checksum, tensors and streams; all bytes were tried once
    damaged = (
        [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places] if cut is None else [whole[:-cut], b""]
    )
    for content in damaged:
        (tmp_path / "state").write_bytes(content)
        with pytest.raises(StateError):
            SamplerState.load(tmp_path / "state")


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    """If this fails, the wrong file ends in a traceback."""
    from safetensors.torch import save_file

    save_file({"x": torch.ones(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(
        StateError, match=r"weights.safetensors: not a saved state\. Pass a file that SamplerState.save wrote\."
    ):
        SamplerState.load(tmp_path / "weights.safetensors")
    save_file({"x": torch.ones(1)}, tmp_path / "old", {"format": "repaint-state-1"})
    message = (
        r"old: saved by repaint 0\.1\.0\.dev0 in format repaint-state-1, but version .* reads repaint-state-2\. Run it"
    )
    with pytest.raises(StateError, match=message):
        SamplerState.load(tmp_path / "old")
    with pytest.raises(StateError, match=r"missing: cannot be read as a saved state"):
        SamplerState.load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_calls": -1}, "must be counts"),
        ({"gradient_calls": 0.5}, "must be counts"),
        ({"position": "0"}, "must be counts"),
        ({"seeds": (-1,)}, "must be counts"),
        ({"walk": 5}, "walk and scales must be digests"),
        ({"x0": torch.zeros(1, 3, dtype=torch.float64)}, r"x0 is torch\.float64 \(1, 3\)"),
        ({"known": torch.zeros(1, 2)}, r"known is torch\.float32"),
        ({"x0_hat": torch.zeros(1, 2)}, r"x0_hat is torch\.float32"),
        ({"carry": {"solver/x0_hat": torch.zeros(5)}}, r"solver/x0_hat is torch\.float32 \(5,\)"),
        ({"carry": {"kernel/particles": torch.zeros(2, 7)}}, r"kernel/particles is torch\.float32 \(2, 7\)"),
        ({"streams": NoiseStreams.from_seeds([1, 2])}, r"streams are torch\.uint8 \(2, "),
        ({"streams": NoiseStreams(torch.zeros(1, 9, dtype=torch.uint8), (False,))}, "streams are"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_state_whose_parts_do_not_fit_is_refused(
    changes: dict[str, Any], message: str, two_pixels: GaussianMixturePrior, tmp_path: Path
) -> None:
    """If this fails, a state that another program wrote ends in a traceback in the middle of a run."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(4, 1, 1))), 2)
    replace(state, **changes).save(tmp_path / "state")
    with pytest.raises(StateError, match=rf"state: its parts do not fit together \(.*{message}"):
        SamplerState.load(tmp_path / "state")


# --- Continuing elsewhere


def stopped_at(sampler: Sampler, level: int, count: int = 1) -> SamplerState:
    states = sampler.run(sampler.start(*problem(count), seeds=range(count)))
    return next(state for state in states if state.level == level)


def test_a_branch_takes_several_seeds_and_another_walk(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a state in the middle of a run cannot be branched."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), 10)
    onwards = Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 3).capped(10)))
    states = list(onwards.run(state.branch([4, 5, 6])))
    assert [after.level for after in states] == [move.dst for move in onwards.moves]
    x = states[-1].x
    assert (x[:, 0] == VALUE).all()
    assert len(x[:, 1].unique()) == 3
    assert torch.equal(last(onwards.run(state.branch([5]))).x[0], x[1])  # a branch is its seed's, not its neighbours'
    assert torch.equal(state.x, stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), 10).x)


def test_a_branch_draws_new_noise_for_the_seed_of_its_run(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a branch adds the noise that its sample was made of, and its results vary too much."""
    sampler, seeds = Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), range(400)
    state = sampler.start(*problem(400), seeds)
    drawn = [state.x[:, 1]]
    for _ in range(2):  # a branch of a branch, too
        branch = state.branch(seeds)
        drawn.append(Draws(branch.streams, branch.x).z[:, 1])
        state = next(sampler.run(branch)).branch(seeds)
        sampler = Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1).capped(state.level)))
    opposite = state.branch([seed + 2**32 for seed in seeds])
    assert torch.equal(Draws(opposite.streams, state.x).z, -Draws(state.branch(seeds).streams, state.x).z)
    related = torch.corrcoef(torch.stack(drawn)).fill_diagonal_(0)
    assert float(related.abs().max()) < 0.2  # four standard errors of independent draws


def test_uses_of_one_seed_never_share_noise(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a branch, a window, a step of outpainting or a second fill repeats the noise of another one."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), 10)
    streams = NoiseStreams.from_seeds(
        [*(window_seed(5, n) for n in range(40)), *(step_seed(5, n) for n in range(1, 40)), derived_seed(5, *AGAIN)]
    )
    branches = [
        replace(state, level=level, model_calls=calls).branch([5]).streams.states[0]
        for level in range(1, 8)
        for calls in range(8)
    ]
    assert len({each.numpy().tobytes() for each in [*streams.states, *branches]}) == 40 + 39 + 1 + 7 * 8


def test_a_branch_with_a_fresh_merge_forgets_the_path(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a branch of a trajectory run replays the old path at each renoise, for any merge."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1), merge="trajectory")), 10)
    fresh = Sampler(two_pixels, as_method(JumpSchedule.from_levels([10, 15, 0], 20), merge="fresh"))
    up = fresh.advance(fresh.adopt(state.branch([3])))
    assert up.level == 15
    replayed = fresh.grid[15].alpha * state.x0 + fresh.grid[15].sigma * state.carried("merge")["path"]
    assert not torch.isclose(up.x[:, 0], replayed[:, 0]).any()


def test_a_branch_may_change_to_trajectory(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a branch that changes to `trajectory` leaves the path through its known part."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), 10)
    onwards = Sampler(two_pixels, as_method(JumpSchedule.from_levels([10, 6, 9, 3, 0], 20), merge="trajectory"))
    level = onwards.grid[10]
    n = (state.x[:, 0] - level.alpha * VALUE) / level.sigma
    for after in onwards.run(state.branch([3])):
        level = onwards.grid[after.level]
        torch.testing.assert_close(after.x[:, 0], level.alpha * VALUE + level.sigma * n, rtol=0, atol=1e-12)


def test_branches_that_do_not_fit_are_refused(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a sample continues from a wrong noise level."""
    descent = JumpSchedule.paper(20, 5, 1)
    state = stopped_at(Sampler(two_pixels, as_method(descent)), 10, count=2)
    branch = state.branch([1, 2])
    with pytest.raises(StateError, match=r"This branch is at level 10, but the walk begins at level 20"):
        Sampler(two_pixels, as_method(descent)).adopt(branch)
    with pytest.raises(StateError, match=r"uses other noise levels than this method"):
        Sampler(two_pixels, as_method(JumpSchedule.paper(40, 5, 1).capped(10))).adopt(branch)
    for seeds in ([], [1], [1, 2, 3]):
        with pytest.raises(InputError, match=rf"branch\(\) got {len(seeds)} seeds for a state of 2 images"):
            state.branch(seeds)


def test_a_state_of_another_walk_is_refused(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a run resumes with other settings, and gives a result of neither."""
    state = stopped_at(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))), 10)
    for other in (JumpSchedule.paper(20, 5, 2), JumpSchedule.paper(40, 5, 1)):
        with pytest.raises(
            StateError, match=r"move 10, level 10\) belongs to another method than custom.*state.branch\(seeds\)"
        ):
            next(iter(Sampler(two_pixels, as_method(other)).run(state)))
    begun = Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1))).start(*problem(1), seeds=[0])
    with pytest.raises(StateError, match=r"move 0, level 20\) belongs to another method than custom"):
        Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 2))).adopt(begun)
    branch = next(iter(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1).capped(10))).run(state.branch([0]))))
    with pytest.raises(StateError, match=r"move 1, level 9\) belongs to another method than custom"):
        next(iter(Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1).capped(9))).run(branch)))


def test_starting_from_an_image(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, strength < 1 does not start from the given image at the noise of its level."""
    sampler = Sampler(two_pixels, as_method(JumpSchedule.paper(20, 5, 1).capped(5)))
    level = sampler.grid[5]
    init = torch.full((40_000, 2), 3.0, dtype=torch.float64)
    state = sampler.start(*problem(40_000), seeds=[0], init=init)
    assert state.level == 5
    error = level.sigma / 200  # of a mean over 40 000
    assert float(state.x[:, 1].mean()) == pytest.approx(3 * level.alpha, abs=4 * error)
    assert float(state.x[:, 0].mean()) == pytest.approx(VALUE * level.alpha, abs=4 * error)
    assert float(state.x[:, 1].std()) == pytest.approx(level.sigma, rel=4 / math.sqrt(80_000))


# --- How much of each entry may change


GRADED = torch.tensor([[0.0, 0.24, 0.25, 0.3, 0.99, 1.0]], dtype=torch.float64)


def graded(merge: str = "trajectory") -> tuple[Sampler, SamplerState, Tensor]:
    """Six pixels alone, known to different levels of 20."""
    prior = GaussianMixturePrior([1.0], [[0.0] * 6], [torch.eye(6).tolist()])
    sampler = Sampler(prior, as_method(JumpSchedule.paper(20, 5, 1), merge=merge))
    x0 = torch.linspace(-1, 1, 6, dtype=torch.float64)[None]
    return sampler, sampler.start(x0, GRADED == 0, seeds=[0], strength=GRADED), x0


def test_a_strength_frees_each_pixel_at_its_level() -> None:
    """If this fails, differential diffusion changes a pixel too early or too late.

    A pixel of strength s is known at the levels above 20 s: with 0.24 and 0.25 it is free from 4 and from 5 down.
    """
    sampler, state, x0 = graded()
    path = state.carried("merge")["path"]
    held = [state.known_at(state.level)] + [moved.known_at(moved.level) for moved in sampler.run(state)]
    assert [sum(bool(mask[0, i]) for mask in held) for i in range(6)] == [21, 16, 15, 14, 1, 0]
    for moved, mask in zip([state, *sampler.run(state)], held, strict=True):
        level = sampler.grid[moved.level]
        placed = level.alpha * x0 + level.sigma * path
        torch.testing.assert_close(moved.x[mask], placed[mask], rtol=0, atol=1e-15)
        assert not bool(torch.isclose(moved.x, placed)[~mask].any())
    assert moved.x[0, 0] == x0[0, 0]


@pytest.mark.parametrize("merge", ["fresh", "trajectory", "predicted(inf, relax=1.5)", "carry(0.5)"])
def test_a_jump_up_makes_entries_known_again(merge: str) -> None:
    """If this fails, an entry that is known above its level carries its fill up, and the model reads it as kept."""
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [torch.eye(2).tolist()])
    sampler = Sampler(
        prior, as_method(JumpSchedule.from_levels([*range(20, 3, -1), 12, *range(11, -1, -1)], 20), merge=merge)
    )
    x0, known = torch.full((4000, 2), 2.0, dtype=torch.float64), torch.tensor([[True, False]])
    state = sampler.start(x0, known, seeds=[0], strength=torch.tensor([[0.0, 0.5]], dtype=torch.float64))
    moves = zip(sampler.moves, sampler.run(state), strict=True)
    state = next(moved for move, moved in moves if move.kind == "renoise")
    level = sampler.grid[12]
    assert bool(state.known_at(12).all())
    again = state.x[:, 1]  # known above level 10, free below
    assert float(again.mean()) == pytest.approx(2 * level.alpha, abs=4 * level.sigma / math.sqrt(4000))
    assert float(again.std()) == pytest.approx(level.sigma, rel=4 / math.sqrt(8000))


def test_the_sample_is_read_only_where_it_is_known_at_a_level() -> None:
    """If this fails, what lies under a hole that may change freely reaches the result."""
    sampler, state, x0 = graded()
    assert torch.equal(state.x0[0, :5], x0[0, :5])
    assert float(state.x0[0, 5]) == 0
    unread = sampler.start(torch.where(GRADED == 1, math.nan, x0), GRADED == 0, [0], strength=GRADED)
    assert torch.equal(last(sampler.run(unread)).x, last(sampler.run(state)).x)


def test_strengths_of_0_and_1_are_a_mask() -> None:
    """If this fails, a map of zeros and ones differs from the mask that it is."""
    sampler = Sampler(GaussianMixturePrior([1.0], [[0.0] * 2], [CORRELATION.tolist()]), as_method("quick"))
    x0, known = problem(3)
    plain, mapped = (sampler.start(x0, known, [1, 2, 3], strength=each) for each in (None, (~known).double()))
    for state, other in zip(sampler.run(plain), sampler.run(mapped), strict=True):
        assert torch.equal(state.x, other.x)


def test_states_keep_their_strength(tmp_path: Path) -> None:
    """If this fails, a run with a map of strengths resumes as one without."""
    sampler, state, _ = graded("fresh")
    states = list(sampler.run(state))
    states[2].save(tmp_path / "state")
    resumed = SamplerState.load(tmp_path / "state")
    assert torch.equal(last(sampler.run(resumed)).x, states[-1].x)
    assert last(sampler.run(resumed)).branch([3, 4]).known_at(20).shape == (2, 6)


@pytest.mark.parametrize("strength", [-0.1, 1.5, math.nan])
def test_strengths_out_of_range_are_refused(strength: float, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a map in [0, 255] frees everything silently."""
    with pytest.raises(InputError, match=r"strength must be in \[0, 1\] everywhere"):
        Sampler(two_pixels, as_method("quick")).start(*problem(1), seeds=[0], strength=torch.tensor(strength))


@pytest.mark.parametrize("seeds", [[], [1, 2], [1, 2, 3, 4]])
def test_seeds_that_do_not_fit_are_refused(seeds: list[int], two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a wrong number of seeds is accepted."""
    with pytest.raises(InputError, match=f"{len(seeds)} seeds for 3 images"):
        Sampler(two_pixels, as_method(JumpSchedule.paper(8, 3, 2))).start(*problem(3), seeds=seeds)


# --- Models that fail, and guidance


class Broken(GaussianMixturePrior):
    """Overflows at one level."""

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        prediction = super().denoise(x, level)
        bad = level == self.schedule(8, "linspace")[3]
        return Prediction(prediction.x0_hat * (math.nan if bad else 1), prediction.eps_hat)


def test_nan_stops_the_run_and_names_the_level() -> None:
    """If this fails, an overflow in half precision becomes a black image after the whole run."""
    sampler = Sampler(Broken([1.0], [[0.0, 0.0]], [CORRELATION.tolist()]), as_method(JumpSchedule.paper(8, 3, 1)))
    seen = []
    with pytest.raises(NonFiniteError, match=r"Broken predicted NaN or infinity at level 3 of 8 .*torch_dtype"):
        seen.extend(state.level for state in sampler.run(sampler.start(*problem(1), seeds=[1])))
    assert seen == [7, 6, 5, 4, 3]


def likelihood_gradient(value: float, std: float) -> Callable[[Tensor, Level], Tensor]:
    """Gradient of log p(y | x); y = x0 + std * noise, x0 ~ N(0, 1). Given x, x0 is N(alpha x, sigma^2) on a VP path."""

    def gradient(x: Tensor, level: Level) -> Tensor:
        return (value - level.alpha * x) * level.alpha / (std**2 + level.sigma**2)

    return gradient


def test_exact_guidance_samples_the_exact_posterior() -> None:
    """If this fails, guidance enters with the wrong sign, scale or level.

    N(0, 1) guided by y = 2 with variance 0.5 must give, draw for draw, what the prior N(4/3, 1/3) gives unguided.
    """
    method = as_method(JumpSchedule.paper(50, 5, 2))
    x0, known = torch.zeros(2_000, 1, dtype=torch.float64), torch.zeros(2_000, 1, dtype=torch.bool)

    def run(mean: float, variance: float, gradient: Callable[[Tensor, Level], Tensor] | None) -> Tensor:
        sampler = Sampler(GaussianMixturePrior([1.0], [[mean]], [[[variance]]]), method, gradient)
        return last(sampler.run(sampler.start(x0, known, seeds=[0]))).x

    guided = run(0.0, 1.0, likelihood_gradient(2.0, 0.5**0.5))
    torch.testing.assert_close(guided, run(4 / 3, 1 / 3, None), rtol=0, atol=1e-9)
    assert float(guided.mean()) == pytest.approx(4 / 3, abs=0.05)  # four standard errors of 2000 samples


@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode])
def test_guidance_by_autograd(outside: Callable[[], Any]) -> None:
    """If this fails, a classifier's gradient ends in an error of autograd, or its graph stays in memory."""

    def gradient(x: Tensor, level: Level) -> Tensor:
        x = x.requires_grad_()
        log_p = -((2 - level.alpha * x) ** 2).sum() / (2 * (0.5 + level.sigma**2))
        return torch.autograd.grad(log_p, x, create_graph=True)[0]

    x0, known = torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.bool)
    found = []
    for given in (gradient, likelihood_gradient(2.0, 0.5**0.5)):
        prior = GaussianMixturePrior([1.0], [[0.0]], [[[1.0]]])
        sampler = Sampler(prior, as_method(JumpSchedule.paper(8, 1, 1)), given)
        with outside():
            found.append(last(sampler.run(sampler.start(x0, known, seeds=[0]))).x)
    assert not found[0].requires_grad
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)


def test_walks_may_go_up_to_pure_noise() -> None:
    """If this fails, resampling on a flow or zero-terminal-SNR grid divides by alpha = 0."""
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [CORRELATION.tolist()], scheduler=FLOW)
    sampler = Sampler(prior, as_method(JumpSchedule.from_levels([4, 3, 2, 4, 0])))
    assert sampler.grid[4].alpha == 0
    assert last(sampler.run(sampler.start(*problem(1), seeds=[1]))).level == 0  # up to pure noise and down again
    with pytest.raises(NoiseLevelError, match="pure noise contains no signal"):
        renoise_scales(sampler.grid[4], CLEAN)


def test_a_method_that_begins_at_a_smooth_fill_needs_one(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a walk that begins at little noise begins at nothing, and the hole stays grey."""
    sampler = Sampler(two_pixels, Method.from_preset("thin"))
    x0, known = torch.tensor([[1.5, 0.0]]).double(), torch.tensor([True, False])
    with pytest.raises(InputError, match="init must be given for the method thin"):
        sampler.start(x0, known, [0])
    state = sampler.start(x0, known, [0], init=torch.full_like(x0, 40.0))
    assert float(state.x[0, 1]) > 10  # 40 alpha, and noise of at most a few
