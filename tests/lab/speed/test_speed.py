"""The cost of a run outside the model: memory, random numbers, synchronization; and its bench."""

from __future__ import annotations

import importlib
import json
import math
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.shell import Run, folder, run
from helpers.tiny_priors import tiny_pipe
from torch import Tensor, nn

from repaint.errors import NonFiniteError
from repaint.lab.speed.timing import contestants, measure_speed, random_prior
from repaint.lab.speed.tracing import Counter, count
from repaint.pipeline import RePaintPipeline
from repaint.priors.networks import compile_network
from repaint.sampling.levels import Level
from repaint.sampling.method import as_method
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction, from_output
from repaint.sampling.prior import PriorDefaults
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState

__all__ = ["folder", "run"]  # fixtures

WALK = JumpSchedule.paper(8, 3, 2)
BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}


class Trivial(PriorDefaults):
    """A prior whose network is one multiplication; from level `broken` on, it returns NaN."""

    channels, multiple_of, device, dtype = 3, 1, torch.device("cpu"), torch.float32
    broken = math.nan

    def schedule(self, steps: int, spacing: Any = None) -> NoiseSchedule:
        return NoiseSchedule.from_scheduler(BETAS, steps, spacing)

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        output = (math.nan if level.t == self.broken else 0.1) * x
        return from_output("epsilon", output, x, level, clip=Clip())

    def conditioned(self, count: int, conditions: Any) -> Any: ...

    def encode(self, image: Tensor, known: Tensor) -> Any: ...

    def decode(self, x: Tensor) -> Any: ...

    def to(self, device: Any = None, dtype: Any = None) -> Any: ...


def start(sampler: Sampler, batch: int = 1) -> SamplerState:
    known = torch.ones(batch, 1, 64, 64, dtype=torch.bool)
    known[..., 16:48, 16:48] = False
    return sampler.start(torch.zeros(batch, 3, 64, 64), known, range(batch))


# --- The loop


@pytest.mark.parametrize(
    ("parts", "most"),
    [
        ({}, 6),  # two states of x and x0_hat, the known sample, and a draw
        ({"solver": "refresh"}, 7),  # and the prediction gone on along
        ({"merge": "predicted(inf)"}, 7),  # and the noise that the model sees
        ({"merge": "trajectory"}, 8),  # and the path, beside the draw of the start
        ({"corrector": "langevin(1)"}, 7),  # and the correction
        ({"merge": "predicted(inf)", "corrector": "langevin(1)"}, 8),
        ({"merge": "predicted(inf, relax=1.5)", "solver": "refresh"}, 9),
    ],
)
def test_a_run_holds_few_tensors(parts: dict[str, Any], most: int) -> None:
    """If this fails, the loop makes unused tensors, and large pictures run out of memory."""
    sampler = Sampler(Trivial(), as_method(WALK, **parts))
    x0, streams = 3 * 64 * 64 * 4, 2 * torch.Generator().get_state().nbytes
    with Counter() as counter:
        for _ in sampler.run(start(sampler)):
            pass
    assert 5 * x0 < counter.peak <= most * x0 + streams + 64 * 64 + 200  # the mask has a byte a pixel


def test_random_numbers_are_drawn_once_a_move() -> None:
    """If this fails, a jump draws noise for each of its levels, or unused noise is drawn."""
    jumps, ends = (sum(move) for move in zip(*((src < dst, dst == 0) for src, dst in WALK.moves), strict=True))
    for solver, merge, draws in (
        ("ddpm", "fresh", 1 + jumps + WALK.model_calls - ends),
        ("ddim(0)", "trajectory", 1 + jumps + 1),  # and the path
    ):
        sampler = Sampler(Trivial(), as_method(WALK, solver=solver, merge=merge))
        counted = count(lambda sampler=sampler: [None for _ in sampler.run(start(sampler))])
        assert counted.noise == draws * 3 * 64 * 64


@pytest.mark.parametrize(("patience", "last"), [(1, 4), (3, 3), (64, 1)])
def test_nan_is_reported_with_its_first_level_however_late_the_check(patience: int, last: int) -> None:
    """If this fails, a GPU stalls at every step, or an overflow gives a black image or names the wrong level."""
    sampler = Sampler(Trivial(), as_method(JumpSchedule.paper(8, 3, 1)))
    sampler.prior.broken, sampler.patience = sampler.grid[4].t, patience
    seen = [8]
    with pytest.raises(NonFiniteError, match=r"Trivial predicted NaN or infinity at level 4 of 8 .*torch_dtype"):
        seen.extend(state.level for state in sampler.run(start(sampler)))
    assert seen[-1] == last  # the move whose check fails is not yielded


def test_rare_checks_stall_the_gpu_rarely() -> None:
    """If this fails, the loop reads a value from the GPU at every step."""
    sampler = Sampler(Trivial(), as_method(WALK))
    reads = {}
    assert sampler.patience == 1, "on a CPU, where a check costs nothing"
    for sampler.patience in (1, 64):
        reads[sampler.patience] = count(lambda: [None for _ in sampler.run(start(sampler))]).syncs
    assert reads[1] - reads[64] == WALK.model_calls - 1


def test_a_state_between_two_checks_is_saved_and_resumed(tmp_path: Path) -> None:
    """If this fails, a run on a GPU cannot be saved early, or resumes with a different result."""
    sampler = Sampler(Trivial(), as_method(WALK, corrector="langevin(1)"))
    sampler.patience = 64
    states = list(sampler.run(start(sampler)))
    states[3].save(tmp_path / "state")
    *_, resumed = sampler.run(SamplerState.load(tmp_path / "state"))
    assert torch.equal(resumed.x, states[-1].x)


# --- The bench


def test_the_counter_counts() -> None:
    """If this fails, the counts of the bench are wrong."""
    network = nn.Linear(100, 100)
    given = torch.zeros(100)

    def work() -> None:
        x = torch.randn(100)
        y = x + given
        x.normal_(generator=torch.Generator())
        del x
        z = y * 2
        assert bool((z > 1e9).any()) is False
        float(z[0])
        with torch.no_grad():
            network(z)

    alone, whole = count(work), count(work, [network])
    assert (alone.syncs, alone.noise) == (whole.syncs, whole.noise) == (2, 200)
    # y, z and what the network gives; without that, z > 1e9 in bytes and its any() beside y and z.
    assert (alone.peak, alone.outside, whole.peak, whole.outside) == (1200, 1200, 1200, 901)
    assert count(lambda: given.sum()).peak == 4


def test_rows_are_of_the_same_calls(recwarn: Any) -> None:
    """If this fails, the compared methods differ in network calls, or their counts include other work."""
    pipe = tiny_pipe()
    ways, missing = contestants(pipe, (4, 2, 2), as_method(JumpSchedule.paper(4, 2, 2)), size=8)
    rows = {row.name: row for row in measure_speed(pipe, ways, rounds=2)}
    assert list(rows) == ["network alone", "repaint", "diffusers RePaintPipeline"]
    assert not missing
    assert {row.calls for row in rows.values()} == {JumpSchedule.paper(4, 2, 2).model_calls}
    assert rows["network alone"].noise == rows["network alone"].syncs == 0
    assert rows["repaint"].noise < rows["diffusers RePaintPipeline"].noise
    for row in rows.values():
        assert all(a <= b for shares in (row.ms, row.outside, row.over_bare) for a, b in pairwise(shares))
        assert 0 <= row.outside[0] <= row.outside[2] < 1
        assert row.memory > 0
    assert rows["repaint"].outside[0] > 0


def test_ways_that_cannot_be_are_said(run: Run, folder: Any) -> None:
    """If this fails, a class-conditional model is run by an unsuitable pipeline, or a missing row has no reason."""
    done = run("bench", "speed", "--prior", "textures", "--size", "16", "--steps", "3", "--jump-length", "1",
               "--jump-n-sample", "1", "--rounds", "1", "--json")  # fmt: skip
    assert done.status == 0
    data = json.loads(done.out)
    assert [row["name"] for row in data["rows"]] == ["network alone", "repaint"]
    assert data["missing"] == {"diffusers RePaintPipeline": "supports only unconditional pixel-space models with betas"}


def test_a_size_that_only_this_library_takes() -> None:
    """If this fails, the bench ends in a traceback from inside the other library's network."""
    pipe = RePaintPipeline(random_prior(32))
    ways, missing = contestants(pipe, (3, 1, 1), as_method("fast"), size=36)
    assert list(ways) == ["repaint"]
    assert missing == {"diffusers RePaintPipeline": "supports only sizes that are multiples of 8 pixels"}


def test_a_prior_without_a_network_is_refused(two_pixels: Any) -> None:
    """If this fails, timing a Gaussian mixture ends in a traceback."""
    from repaint.errors import PriorError
    from repaint.priors.networks import network_of

    with pytest.raises(PriorError, match="A GaussianMixturePrior has no network"):
        network_of(two_pixels)


# --- Compiling


@pytest.mark.slow
def test_a_compiled_network_paints_the_same() -> None:
    """If this fails, compiling changes the picture, or silently does not happen."""
    eager, compiled = tiny_pipe(), tiny_pipe()
    image, hole = torch.rand(3, 8, 8), torch.zeros(1, 8, 8)
    hole[:, 2:6, 2:6] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert compiled.compile() is compiled
        results = [
            pipe(image, hole, schedule=WALK, generator=0, output_type="latent").images[0] for pipe in (eager, compiled)
        ]
    assert compiled.prior.unet._compiled_call_impl is not None
    # float32 kernels sum in another order, 1e-6 a call, and ten calls carry that on.
    torch.testing.assert_close(*results, rtol=0, atol=1e-4)


@pytest.mark.parametrize("early", [True, False], ids=["no compiler", "a failing kernel"])
def test_where_compiling_fails_the_network_runs_and_one_line_says_so(
    early: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, a platform without a compiler gets no result, or a warning at each of 2410 calls."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nwas found")

    monkeypatch.setattr(torch, "compile", refuse if early else lambda *_, **__: refuse)
    image, hole = torch.rand(3, 8, 8), torch.zeros(1, 8, 8)
    hole[:, 2:6, 2:6] = 1
    asked = {"schedule": WALK, "generator": 0, "output_type": "latent"}
    with pytest.warns(UserWarning, match="UNet2DModel runs uncompiled.*no C[+][+] compiler$") as warned:
        filled = tiny_pipe().compile()(image, hole, **asked).images[0]
    assert len(warned) == 1
    assert torch.equal(filled, tiny_pipe()(image, hole, **asked).images[0])


def test_a_networks_own_errors_are_not_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a wrong input to the network is reported as a failure to compile."""
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    network = nn.Linear(2, 2)
    compile_network(network)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        network(torch.zeros(3))


# --- The script for a GPU


def test_the_gpu_script_runs_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the GPU benchmark ends in a traceback."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "examples")
    bench = importlib.import_module("bench_cuda")
    rows = bench.main(["--tiny", "--eager", "--rounds", "1", "--out", str(tmp_path / "rows.json")])
    assert json.loads((tmp_path / "rows.json").read_text()) == rows
    assert {(row["model"], row["batch"]) for row in rows} == {(m, b) for m in ("DDPM-256", "SD 1.5") for b in (1, 2)}
    assert {row["type"] for row in rows} == {"float32", "float16", "bfloat16"}
    for row in rows:
        assert (row["difference"] == 0) == (row["type"] == "float32")
        assert row["ms"] > 0 < row["of_matmul"]
        assert 0 < row["outside"] < 1
