"""Numbers: half precision against an exact answer, nothing that is not finite, and what is equal to the last bit."""

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
from helpers.tiny_priors import tiny_pipe
from torch import Tensor

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.errors import NonFiniteError
from repaint.lab.exactness.measurement import Rounded, measure, with_method
from repaint.lab.exactness.problems import FAMILIES, problems
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.priors.wrapper import PriorWrapper
from repaint.sampling.levels import Level
from repaint.sampling.prediction import Prediction

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
MASK = np.zeros((16, 16), np.uint8)
MASK[4:9, 5:12] = 255
SHORT = Method(JumpSchedule.paper(6, 2, 2), spacing="linspace")


# --- Precision


def test_half_precision_is_as_exact(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a network in half precision costs accuracy that the loop, not the network, loses.

    The same draws of noise, so that differences are those of rounding: of sizes of order 1, bfloat16 keeps 2^-9 and
    float16 2^-12. Measured on all families with 512 samples: at most 0.0001 in energy distance between any two types.
    """
    some = problems(0, [next(iter(FAMILIES))])[:2]
    method = Method.from_preset("fast")
    ways = {str(kind): with_method(method, kind) for kind in (torch.float32, torch.bfloat16, torch.float16)}
    rows = measure(some, ways, count=128)
    for problem in some:
        errors = {row.way: row.error for row in rows if row.problem == problem.name}
        assert max(errors.values()) - min(errors.values()) < 0.005, errors


def test_rounding_is_of_the_type_asked_for(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, the test above compares a type with itself."""
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
    # Values up to 4, rounded twice: 2 * 4 * 2^-(bits + 1), and at least a hundredth of it is seen.
    for kind, bits in ((torch.float32, 23), (torch.float16, 10), (torch.bfloat16, 7)):
        assert 0.01 < worst[kind] / (4 * 2.0**-bits) < 1
    assert worst[torch.float64] == 0


# --- Finite, or an error


class Poisoned(PriorWrapper):
    """A pipeline's prior with one value of one kind wrong, from one call on."""

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


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "latent"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("what", "at"), [("x0_hat", 1), ("x0_hat", 10), ("eps_hat", 1), ("eps_hat", 10), ("decode", 0)]
)
@pytest.mark.parametrize(("merge", "solver"), [("fresh", "ddpm"), ("predicted", "ddim"), ("predicted(inf)", "refresh")])
def test_nothing_that_is_not_finite_is_returned(
    output_type: str, value: float, what: str, at: int, merge: str, solver: str
) -> None:
    """If this fails, NaN or infinity becomes a colour somewhere, or is handed on as a result."""
    pipe = RePaintPipeline(Poisoned(tiny_pipe().prior, what, at, value))
    pipe.set_progress_bar_config(disable=True)
    finite = True
    try:
        out = pipe(IMAGE, MASK, schedule=SHORT, merge=merge, solver=solver, generator=0, output_type=output_type)
    except NonFiniteError:
        return
    for image in out.images:
        finite &= bool(np.isfinite(np.asarray(image, dtype=np.float64)).all())
    assert finite
    # Where the wrong value is of no consequence, it was not read: the solver or the merge has no use for it.
    assert what == "eps_hat" or (what == "decode" and output_type == "latent")


class Wild:
    """A solver of somebody's own that divides by zero on the last step."""

    def step(
        self, x: Tensor, prediction: Prediction, src: Level, dst: Level, draws: Draws, carry: Carry
    ) -> tuple[Tensor, Carry]:
        return prediction.x0_hat / (dst.sigma if dst.sigma == 0 else 1), {}


@pytest.mark.parametrize("output_type", ["pil", "np", "pt", "latent"])
def test_a_solver_of_ones_own_is_checked_too(output_type: str) -> None:
    """If this fails, what the last step makes of good predictions is returned unseen."""
    with pytest.raises(NonFiniteError, match=r"NaN or infinit"):
        tiny_pipe()(
            IMAGE, MASK, schedule=JumpSchedule.paper(6, 1, 1), solver=Wild(), generator=0, output_type=output_type
        )


# --- The same, to the last bit

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
def test_what_is_equal_to_the_last_bit(name: str, tmp_path: Path, say: Callable[[str], None]) -> None:
    """If this fails, the README's table of what is equal is wrong.

    A result is a function of prior, input and seed; only the order in which a processor adds can differ, with the
    number of threads and the size of the batch. Float results in [0, 1], 8 model calls: one part in 2^12 allows for a
    few hundred roundings of float32 that the network amplifies, and is a sixteenth of an 8-bit step.
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
    apart = {key: float(np.abs(alone - its).max()) for key, its in results.items()}
    say(json.dumps({str(key): value for key, value in apart.items()}))
    assert max(apart.values()) <= 2**-12
