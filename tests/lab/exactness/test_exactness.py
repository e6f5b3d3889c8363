"""The exactness bench: problems with a known posterior, distances to it, and the ranking of methods."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repaint.errors import InputError
from repaint.lab.exactness import learned_denoiser
from repaint.lab.exactness.error_plot import exactness_plot
from repaint.lab.exactness.measurement import (
    FLOOR,
    PEERS,
    ErrorRow,
    exact,
    measure,
    pareto,
    save_standings,
    standings,
    with_method,
)
from repaint.lab.exactness.problems import USUAL, Problem, field_problem, mixture_problem, natural_problem, problems
from repaint.measure.distances import energy_distance, mean_distance, sliced_wasserstein
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.levels import Level
from repaint.sampling.method import Method, as_method
from repaint.sampling.prediction import Prediction
from repaint.sampling.schedule import JumpSchedule

REFRESH = Path(__file__).parents[3] / "examples" / "schedules" / "refresh-100.yaml"


def normal(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_energy_distance_of_two_normals_is_the_closed_form() -> None:
    """If this fails, the error that ranks all methods is not the energy distance.

    For N(0, 1) and N(m, 1), X - Y is N(-m, 2) and E|N(m, s^2)| = s sqrt(2/pi) e^(-m^2/2s^2) + m erf(m / s sqrt(2)).
    """
    m = 1.5
    between = 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)
    expected = 2 * between - 2 * 2 / math.sqrt(math.pi)
    found = energy_distance(normal(4000, 1, 0), normal(4000, 1, 1) + m)
    assert found == pytest.approx(expected, abs=0.05)  # three standard errors of 4000 samples are 0.04
    assert mean_distance(normal(4000, 1, 2)) == pytest.approx(2 / math.sqrt(math.pi), abs=0.05)


def test_energy_distance_has_no_bias() -> None:
    """If this fails, exact samples have an error, and small errors cannot be distinguished from none."""
    found = [energy_distance(normal(8, 3, 2 * i), normal(8, 3, 2 * i + 1)) for i in range(2000)]
    mean, error = float(torch.tensor(found).mean()), float(torch.tensor(found).std()) / math.sqrt(2000)
    assert abs(mean) < 4 * error
    assert error < 0.01  # with the diagonal left in, the mean would be 0.5


def test_sliced_wasserstein_of_a_shift_is_its_length() -> None:
    """If this fails, the sliced distance sorts wrongly or forgets directions."""
    x = normal(500, 1, 0)
    assert sliced_wasserstein(x, x[torch.randperm(500)] + 2) == pytest.approx(2, abs=1e-12)
    wide = normal(500, 4, 1)
    shifted = wide + torch.tensor([3.0, 0, 0, 0])
    # Root mean square, a direction in D dimensions measures 1 / sqrt(D) of the length; 128 of them, to a tenth.
    assert sliced_wasserstein(wide, shifted) == pytest.approx(3 / 2, rel=0.2)


def test_problems_are_what_their_names_say() -> None:
    """If this fails, the bench reports problems that it does not run, or two seeds give the same problems."""
    some, other = problems(0), problems(1)
    assert [len(problem.x0) for problem in some] == [2, 8, 16, 32, 64, 8, 16, 32, 64, 64, 64, 256]
    assert list(dict.fromkeys(problem.family for problem in some)) == list(USUAL)
    shares = [float(problem.known.double().mean()) for problem in some]
    assert 0.05 < min(shares) < 0.15
    assert 0.7 < max(shares) < 0.95
    for problem, again, another in zip(some, problems(0), other, strict=True):
        assert torch.equal(problem.x0, again.x0)
        assert not torch.equal(problem.x0, another.x0)
        assert problem.posterior.shape == (int((~problem.known).sum()),)
    # The known coordinates must leave several components possible, else the posterior is one Gaussian.
    open_ones = [float(problem.posterior.weights.max()) < 0.9 for problem in some if problem.family == "separated"]
    assert sum(open_ones) >= 3
    assert [problem.family for problem in problems(0, ["fields"])] == ["fields"] * 4


def test_problems_do_not_change() -> None:
    """If this fails, errors that presets and reports state were measured on other problems, and cannot be compared."""
    norms = [float(problem.x0.norm()) for problem in problems(0, [*USUAL, "natural"])]
    expected = [0.845677, 2.442463, 3.866614, 3.370771, 3.345077, 3.084225, 3.934184, 3.948691]  # of mixtures
    expected += [4.765289, 9.378174, 6.977194, 14.592064, 2.055684, 10.079803, 1.834968]  # of images
    assert norms == pytest.approx(expected, abs=2e-6)


def test_separated_modes_are_as_far_apart_as_documented() -> None:
    """If this fails, the known coordinates decide the mode, or the modes overlap, and their shares are not tested.

    Distances are the root of a mean square over 8 problems, each with 6 pairs in 32 dimensions: to about 10 %.
    """
    far, near = [], []
    for seed in range(8):
        problem = mixture_problem("separated", 64, 0.5, seed)
        means, whole = problem.prior.means, problem.prior.covariances[0][problem.known][:, problem.known]
        scaled = torch.linalg.solve_triangular(torch.linalg.cholesky(whole), means[:, problem.known].mT, upper=False).mT
        far.append(torch.pdist(means[:, ~problem.known]).square().mean())
        near.append(torch.pdist(scaled).square().mean())
    assert float(torch.stack(far).mean().sqrt()) == pytest.approx(4, rel=0.15)
    assert float(torch.stack(near).mean().sqrt()) == pytest.approx(1.7, rel=0.15)


def test_errors_by_hand() -> None:
    """If this fails, an error is not in units of the prior's spread in the hole, or shares of modes count twice.

    The unit is the mean distance 2 / sqrt(pi) of two values with a standard deviation of 1; known values have one of 2.
    """
    prior = GaussianMixturePrior([1.0], [[0.0, 0.0]], [[[4.0, 1.8], [1.8, 1.0]]])
    modes = GaussianMixturePrior([0.3, 0.7], [[0.0, -3.0], [0.0, 3.0]], [[[1.0, 0.0], [0.0, 0.01]]] * 2)
    known, rng = torch.tensor([True, False]), torch.Generator().manual_seed(0)

    def beside(problem: Problem, count: int, seed: int) -> tuple[torch.Tensor, int]:
        """Put all samples 20 above the posterior mean of a Gaussian, or into the first mode of two."""
        x = problem.x0.repeat(count, 1)
        x[:, 1] = problem.posterior.means[0] + (20 if len(problem.posterior.weights) == 1 else 0)
        return x, 3

    drawn = [Problem.draw("by hand", "separated", each, known, rng) for each in (prior, modes)]
    far, one = measure(drawn, {"beside": beside}, count=64)
    std, unit = math.sqrt(1 - 1.8**2 / 4), 2 / math.sqrt(math.pi)
    assert far.error == pytest.approx((2 * 20 - unit * std) / unit, rel=0.03)  # 4096 samples: to about 1 %
    assert far.sliced == pytest.approx(math.hypot(20, std) / unit, rel=0.03)
    assert (far.modes, far.model_calls) == (0, 3)
    assert one.modes == pytest.approx(0.7, abs=1e-6)


def test_masks_of_the_fields_are_those_of_inpainting() -> None:
    """If this fails, the mask of a field is upside down or inverted."""
    half = field_problem("half", 8, 0).known.reshape(8, 8)
    assert half[:4].all()
    assert not half[4:].any()
    box = field_problem("box", 8, 0).known.reshape(8, 8)
    assert not box[2:6, 2:6].any()
    assert int(box.sum()) == 48


def test_wrong_problems_are_refused() -> None:
    """If this fails, a misspelt family gives an empty table."""
    with pytest.raises(InputError, match=r"family='field' must be one of .* Did you mean 'fields'"):
        problems(0, ["field"])
    with pytest.raises(InputError, match="seed=-1 must be an integer of at least 0"):
        problems(-1)


def test_the_bench_ranks_what_is_known_to_differ() -> None:
    """If this fails, the bench does not rank known errors, or counts model calls wrongly."""
    some = [mixture_problem("separated", 8, 0.25, 1), field_problem("box", 8, 9)]
    schedules = ("none", "predicted", REFRESH)
    ways = {FLOOR: exact} | {method.name: with_method(method) for method in map(as_method, schedules)}
    found = {its.way: its for its in standings(measure(some, ways, count=256))}
    assert abs(found[FLOOR].error) < 0.004
    assert found["none"].error > 2 * found["predicted"].error > 4 * found["refresh-100"].error
    assert found["none"].sliced > found["predicted"].sliced > found[FLOOR].sliced
    assert found["none"].modes > found[FLOOR].modes
    assert found["refresh-100"].error < 0.01
    assert [its.model_calls for its in found.values()] == [0, 250, 50, 100]
    assert {name for name, its in found.items() if its.front} == {"predicted", "refresh-100"}
    assert list(found["none"].families) == ["separated", "fields"]


@pytest.mark.slow
def test_presets_keep_their_promises_on_problems_of_another_seed() -> None:
    """If this fails, a preset costs more than documented, or is overfitted to the default problems."""
    some = [problem for problem in problems(7) if len(problem.x0) < 100]
    names = {"paper": 2410, "fast": 25, "balanced": 100, "best": 250}
    found = {its.way: its for its in standings(measure(some, {n: with_method(Method.from_preset(n)) for n in names}))}
    assert {name: its.model_calls for name, its in found.items()} == names
    errors = [found[name].error for name in ("paper", "fast", "balanced", "best")]
    assert errors == sorted(errors, reverse=True)
    assert found["best"].error < 0.7 * found["paper"].error


def test_every_peer_runs_at_the_calls_that_it_states() -> None:
    """If this fails, a peer appears at the wrong cost in the plot."""
    problem = mixture_problem("overlapping", 2, 0.5, 0)
    for name, peer in PEERS.items():
        x, calls = peer(problem, 64, 0)[:2]
        assert calls == peer.model_calls, name
        assert torch.equal(x[:, problem.known], problem.x0[problem.known].expand(64, -1)), name


def test_pareto_front() -> None:
    """If this fails, a method has a star although another is cheaper and better."""
    points = {"a": (10, 0.5), "b": (20, 0.6), "c": (20, 0.4), "d": (30, 0.4), "e": (40, 0.1)}
    assert pareto(points) == ["a", "c", "e"]
    assert pareto({}) == []


def test_standings_are_saved_and_drawn(tmp_path: Path) -> None:
    """If this fails, the report lacks rows or arguments, or the plot shows the floor as a method."""
    rows = [
        ErrorRow("p", "fields", FLOOR, -0.001, 0.1, 0.01, 0, 0.1),
        ErrorRow("p", "fields", "cheap", 0.5, 0.6, 0.2, 10, 0.2),
        ErrorRow("q", "separated", "cheap", 0.3, 0.6, 0.4, 10, 0.2),
        ErrorRow("p", "fields", "dear", 0.7, 0.6, 0.2, 100, 2.0),
    ]
    save_standings(tmp_path / "rows.json", rows, {"seed": 3})
    data = json.loads((tmp_path / "rows.json").read_text())
    assert data["seed"] == 3
    assert data["rows"] == [vars(row) for row in rows]
    assert data["standings"][1] == {
        "way": "cheap",
        "error": pytest.approx(0.4),
        "low": pytest.approx(0.4 - 0.917, abs=0.001),  # two problems: 0.1 sqrt(2) 12.71 / 1.96
        "high": pytest.approx(0.4 + 0.917, abs=0.001),
        "sliced": 0.6,
        "modes": pytest.approx(0.3),
        "families": {"fields": 0.5, "separated": 0.3},
        "model_calls": 10,
        "gradient_calls": 0,
        "cost": 10,
        "seconds": 0.4,
        "front": True,
    }
    axes = exactness_plot(standings(rows)).axes[0]
    assert [text.get_text() for text in axes.texts] == ["cheap", "dear"]
    assert list(axes.lines[0].get_xdata()) == [10]  # the front: the dearer one is worse


def test_gradients_count_as_two_more_calls_on_the_front() -> None:
    """If this fails, a gradient method of the same number of calls looks as cheap as one without."""
    rows = [
        ErrorRow("p", "fields", "plain", 0.5, 0.6, 0.2, 100, 0.2),
        ErrorRow("p", "fields", "guided", 0.4, 0.6, 0.2, 50, 0.2, 50),
    ]
    assert [(each.cost, each.front) for each in standings(rows)] == [(100, True), (150, True)]
    problem, method = (
        mixture_problem("overlapping", 2, 0.5, 0),
        as_method(JumpSchedule.paper(5, 1, 1), guidance="dps(1)"),
    )
    (row,) = measure([problem], {"guided": with_method(method)}, count=64)
    assert (row.model_calls, row.gradient_calls) == (5, 5)


def test_populations_are_measured_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a particle filter on the bench takes all memory, or its samples repeat from piece to piece."""
    monkeypatch.setattr("repaint.lab.exactness.measurement.AT_ONCE", 64 * 20)
    method = replace(as_method("mcgdiff"), schedule=JumpSchedule.paper(4, 1, 1))
    problem = mixture_problem("overlapping", 2, 0.5, 0)
    sizes: list[int] = []
    denoise = GaussianMixturePrior.denoise

    def watched(self: GaussianMixturePrior, x: torch.Tensor, level: Level) -> Prediction:
        sizes.append(len(x))
        return denoise(self, x, level)

    monkeypatch.setattr(GaussianMixturePrior, "denoise", watched)
    x, calls, gradients = with_method(method)(problem, 50, 0)  # type: ignore[misc]
    assert max(sizes) == 64 * 20
    assert (x.shape, calls, gradients) == ((50, 2), 4 * 64, 0)
    assert len(x[:, ~problem.known].unique()) == 50


def test_natural_problems_have_the_gradients_of_photographs() -> None:
    """If this fails, the family is Gaussian noise by another name: its gradients have no heavy tails, or no 1 / f^2."""
    prior = natural_problem("box", 8, seed=3).prior
    x = prior.sample(4000, torch.Generator().manual_seed(0)).reshape(-1, 8, 8)
    difference = (x[:, :, 1:] - x[:, :, :-1]).flatten()
    kurtosis = float(difference.pow(4).mean() / difference.pow(2).mean() ** 2)
    assert kurtosis > 5  # 3 for a Gaussian
    near, far = (float((x[:, :, step:] - x[:, :, :-step]).square().mean()) for step in (1, 4))
    assert 1.5 < far / near < 8  # 1 for white noise


def test_a_learned_denoiser_differs_from_the_exact_one_by_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, `learned` and `taught` are not the same problems, or the network is not what samplers call."""
    monkeypatch.setattr(learned_denoiser, "STEPS", 150)
    (network, _), (taught, _) = problems(3, ["learned"]), problems(3, ["taught"])
    assert torch.equal(network.x0, taught.x0)
    assert torch.equal(network.posterior.means, taught.posterior.means)
    level = network.prior.schedule(10)[4]
    x0 = network.prior.sample(2000, torch.Generator().manual_seed(0))
    x = level.alpha * x0 + level.sigma * normal(2000, 8, 1)
    best, found = (
        float((problem.denoiser.denoise(x.to(problem.denoiser.dtype), level).x0_hat - x0).square().mean())
        for problem in (taught, network)
    )
    assert 1.01 * best < found < 0.5 * float(x0.var())
    rows = measure([network, taught], {"fast": with_method(as_method("fast"))}, count=128)
    assert [row.family for row in rows] == ["learned", "taught"]
    assert rows[0].error != rows[1].error


@pytest.mark.parametrize("count", [1, 4097])
def test_a_number_of_samples_that_has_no_error_is_refused(count: int) -> None:
    """If this fails, one sample has the error NaN, and more than the reference has end in an error of torch."""
    problem = mixture_problem("overlapping", 2, 0.5, 0)
    with pytest.raises(InputError, match=f"count={count} must be"):
        measure([problem], {FLOOR: exact}, count=count)
