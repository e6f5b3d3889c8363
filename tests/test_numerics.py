"""Numerics: half precision against an exact answer, NaN and infinity, and reproducibility to the last bit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.small_inputs import quiet
from helpers.tiny_priors import tiny_pipe
from torch import Tensor

from repaint import JumpSchedule, Method, RePaintOutput
from repaint.errors import NonFiniteError
from repaint.lab.exactness.measurement import Rounded, measure, with_method
from repaint.lab.exactness.problems import FAMILIES, problems
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction
from repaint.sampling.rng import Draws
from repaint.sampling.state import Carry

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
MASK = np.zeros((16, 16), np.uint8)
MASK[4:9, 5:12] = 255
SHORT = Method(JumpSchedule.paper(6, 2, 2), spacing="linspace")


# --- Precision


def test_half_precision_is_as_exact() -> None:
    """If this fails, the sampler loses accuracy when the network runs in half precision.

    All runs use the same noise, so they differ only by rounding: for values near 1, bfloat16 rounds to 2^-9 and float16
    to 2^-12. Measured on all families with 512 samples: at most 0.0001 in energy distance between any two dtypes.
    """
    chosen = problems(0, [next(iter(FAMILIES))])[:2]
    method = Method.from_preset("fast")
    ways = {str(kind): with_method(method, kind) for kind in (torch.float32, torch.bfloat16, torch.float16)}
    rows = measure(chosen, ways, count=128)
    for problem in chosen:
        errors = {row.way: row.error for row in rows if row.problem == problem.name}
        assert max(errors.values()) - min(errors.values()) < 0.005, errors


def test_rounded_rounds_to_the_given_dtype(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the test above compares float32 with itself."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    level = Level(alpha=0.6, sigma=0.8, t=500.0)
    exact = two_pixels.denoise(x.double(), level).eps_hat
    worst = {}
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        prior = Rounded(two_pixels, kind)
        assert prior.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
        prediction = prior.denoise(x.to(prior.dtype), level)
        assert prediction.x0_hat.dtype == prior.dtype
        assert torch.allclose(level.alpha * prediction.x0_hat + level.sigma * prediction.eps_hat, x.to(prior.dtype))
        worst[kind] = float((prediction.eps_hat.double() - exact).abs().max())
    # Values up to 4, rounded twice: an error of at most 2 * 4 * 2^-(bits + 1), and not far below it.
    for kind, bits in ((torch.float32, 23), (torch.float16, 10), (torch.bfloat16, 7)):
        assert 0.01 < worst[kind] / (4 * 2.0**-bits) < 1
    assert worst[torch.float64] == 0


# --- NaN and infinity


class Poisoned(PriorWrapper):
    """A prior that replaces one value in the hole, from one call on.

    Args:
        prior: the wrapped prior.
        what: "x0_hat", "eps_hat" or "decode".
        at: the first call of `denoise` to change.
        value: the replacement, such as NaN.
    """

    def __init__(self, prior: Any, what: str, at: int, value: float) -> None:
        super().__init__(prior)
        self.what, self.at, self.value, self.calls = what, at, value, 0

    def conditioned(self, count: int, conditions: Any) -> Poisoned:
        self.prior = self.prior.conditioned(count, conditions)
        return self

    def bad(self, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[0, :, 6, 7] = self.value  # inside the hole
        return tensor

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        given = self.prior.denoise(x, level)
        self.calls += 1
        if self.what == "decode" or self.calls < self.at:
            return given
        parts = {name: getattr(given, name) for name in ("x0_hat", "eps_hat")}
        return Prediction(**(parts | {self.what: self.bad(parts[self.what])}))

    def decode(self, x: Tensor) -> Tensor:
        decoded = self.prior.decode(x)
        return self.bad(decoded) if self.what == "decode" else decoded


EVERY, IMAGES, NEVER = ("pil", "np", "pt", "latent"), ("pil", "np", "pt"), ()
# The output types for which a non-finite value raises; for the others the sampler never uses the value. SHORT makes
# 10 calls; at the last, eps_hat has weight 0. Before that, only DDIM uses eps_hat in the hole.
RAISES: dict[tuple[str, str, str, int], tuple[str, ...]] = {
    ("fresh", "ddpm", "x0_hat", 1): EVERY,
    ("fresh", "ddpm", "x0_hat", 10): EVERY,
    ("fresh", "ddpm", "eps_hat", 1): NEVER,
    ("fresh", "ddpm", "eps_hat", 10): NEVER,
    ("fresh", "ddpm", "decode", 0): IMAGES,
    ("predicted", "ddim", "x0_hat", 1): EVERY,
    ("predicted", "ddim", "x0_hat", 10): EVERY,
    ("predicted", "ddim", "eps_hat", 1): EVERY,
    ("predicted", "ddim", "eps_hat", 10): NEVER,
    ("predicted", "ddim", "decode", 0): IMAGES,
    ("predicted(inf)", "refresh", "x0_hat", 1): EVERY,
    ("predicted(inf)", "refresh", "x0_hat", 10): EVERY,
    ("predicted(inf)", "refresh", "eps_hat", 1): NEVER,
    ("predicted(inf)", "refresh", "eps_hat", 10): NEVER,
    ("predicted(inf)", "refresh", "decode", 0): IMAGES,
}


@pytest.mark.parametrize("output_type", EVERY)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("merge", "solver", "what", "at"), RAISES)
def test_non_finite_values_raise_where_they_are_used(
    merge: str, solver: str, what: str, at: int, value: float, output_type: str
) -> None:
    """If this fails, NaN or infinity reaches a result, or an unused value stops a run."""

    def run() -> RePaintOutput:
        pipe = quiet(Poisoned(tiny_pipe().prior, what, at, value))
        return pipe(IMAGE, MASK, schedule=SHORT, merge=merge, solver=solver, generator=0, output_type=output_type)

    if output_type in RAISES[merge, solver, what, at]:
        with pytest.raises(NonFiniteError, match=r"NaN or infinit"):
            run()
    else:
        for image in run().images:
            assert np.isfinite(np.asarray(image, dtype=np.float64)).all()


class DividesByZero:
    """A custom solver whose last step divides by zero."""

    def step(
        self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Tensor, Carry]:
        return prediction.x0_hat / (dst.sigma if dst.sigma == 0 else 1), {}


@pytest.mark.parametrize("output_type", EVERY)
def test_results_of_custom_solvers_are_checked(output_type: str) -> None:
    """If this fails, a result that the solver's last step made non-finite is returned."""
    walk = JumpSchedule.paper(6, 1, 1)
    with pytest.raises(NonFiniteError, match=r"NaN or infinit"):
        tiny_pipe()(IMAGE, MASK, schedule=walk, solver=DividesByZero(), generator=0, output_type=output_type)


# --- Reproducibility to the last bit

PROGRAM = """
import sys
import numpy as np, torch
from repaint import JumpSchedule, Method, RePaintPipeline
name, threads, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
pipe = RePaintPipeline.from_pretrained(name)
pipe.set_progress_bar_config(disable=True)
image = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
mask = np.zeros((64, 64), bool); mask[16:40, 16:40] = True
more = {"prompt": "", "guidance_scale": 1.0} if name == "emoji" else {}
out = pipe([image] * batch, mask, schedule=Method(JumpSchedule.paper(6, 2, 2)), generator=list(range(batch)),
           output_type="np", **more)
np.save(sys.argv[4], np.stack(list(out.images)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["textures", "emoji"])
def test_runs_are_equal_to_the_last_bit(name: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """If this fails, the README's table of which runs are bit-equal is wrong.

    A result depends only on prior, input and seed, except that the number of threads and the batch size change the
    order of floating-point sums. The tolerance for float results in [0, 1] after 8 model calls is 2^-12: a few hundred
    float32 roundings amplified by the network, and a sixteenth of an 8-bit step.
    """
    results = {}
    for key in [(1, 1, "a"), (1, 1, "b"), (2, 1, "a"), (2, 1, "b"), (1, 3, "a")]:
        threads, batch, _ = key
        path = tmp_path / f"{threads}-{batch}-{key[2]}.npy"
        words = [sys.executable, "-c", PROGRAM, name, str(threads), str(batch), str(path)]
        root = Path(__file__).parents[1]
        subprocess.run(words, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, check=True, timeout=300)
        results[key] = np.load(path)[0]
    alone = results[1, 1, "a"]
    assert np.array_equal(alone, results[1, 1, "b"]), "from run to run"
    assert np.array_equal(results[2, 1, "a"], results[2, 1, "b"]), "from run to run, two threads"
    apart = {key: float(np.abs(alone - result).max()) for key, result in results.items()}
    say(json.dumps({str(key): value for key, value in apart.items()}))
    assert max(apart.values()) <= 2**-12
