"""Published methods: the values that an independent program gives on two pixels, and what holds for every one of them.

The values and their standard errors, .005 of the mean and .004 of the std from 8000 samples, are those of a script that
was written from the papers before this library's code, and shares none with it. Where a value misses the truth, 1.350
and .436, that is the method.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_levels import TwoPixels, evenly, flow, karras, leading, moments, result
from torch import Tensor

from repaint import RePaintPipeline
from repaint.errors import InputError, OutOfMemory, ScheduleError, StateError
from repaint.lab.methods.copaint import CoPaint
from repaint.lab.methods.daps import DAPS
from repaint.lab.methods.ding import DInG
from repaint.lab.methods.fps_smc import FPSSMC
from repaint.lab.methods.lanpaint import LanPaint, Oscillator
from repaint.lab.methods.mcgdiff import MCGdiff
from repaint.lab.methods.pnp_flow import PnPFlow
from repaint.lab.methods.tds import TDS
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling import presets
from repaint.sampling.kernel import KernelStep
from repaint.sampling.levels import Level
from repaint.sampling.merge import Unmerged
from repaint.sampling.method import Method, as_method, kernels
from repaint.sampling.population import ancestors
from repaint.sampling.prediction import Clip, Prediction
from repaint.sampling.rng import Draws, NoiseStreams
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.state import SamplerState
from repaint.testing import PixelByPixelPrior

OVERDAMPED = {"friction": math.inf, "stop": 1, "path": "fixed"}
DINGS = {"merge": "predicted(inf)", "solver": "renew((1-alpha)^2)"}
DDNM = {"merge": "mixed(0.7225)", "solver": "renew(0.7225)"}
DIFFPIR = {"merge": "carry(1)", "solver": "renew(1)"}
BY_GUIDANCE = {"merge": "none", "solver": "ddpm"}
slow = pytest.mark.slow

# Each row: its name, its parts or kernel, its levels, and the mean and std of the independent program.
ROWS: list[Any] = [
    ("LanPaint 1a, 5 inner", LanPaint(5), leading(20), 1.245, 0.433),
    ("LanPaint 1a, 10 inner", LanPaint(10), leading(20), 1.308, 0.408),
    pytest.param("LanPaint 1a, 10 inner, 50", LanPaint(10), leading(50), 1.337, 0.429, marks=slow),
    ("LanPaint 2 at f 0, 5", LanPaint(5, 8.0, 0.15, floor=0.0, **OVERDAMPED), leading(20), 1.240, 0.429),
    ("LanPaint 2 at f 0, 10", LanPaint(10, 8.0, 0.15, floor=0.0, **OVERDAMPED), leading(20), 1.307, 0.410),
    ("LanPaint 2.1.0, 5", LanPaint(5, 5.0, 0.2, floor=1.0, **OVERDAMPED), leading(20), 1.134, 0.472),
    ("LanPaint 2.1.0, 10", LanPaint(10, 5.0, 0.2, floor=1.0, **OVERDAMPED), leading(20), 1.200, 0.448),
    ("DInG full, 27", DInG(sigma_y=0.0), evenly(27), 1.085, 0.468),
    ("DInG full, 50", DInG(sigma_y=0.0), evenly(50), 1.180, 0.457),
    ("DInG full, 100", DInG(sigma_y=0.0), evenly(100), 1.261, 0.450),
    ("DInG delayed, 27", DINGS, evenly(27), 1.293, 0.450),
    ("DInG delayed, 50", DINGS, evenly(50), 1.408, 0.436),
    ("DInG delayed, 100", DINGS, evenly(100), 1.438, 0.433),
    ("predicted, 50", {"merge": "predicted", "solver": "ddpm"}, evenly(50), 1.413, 0.390),
    ("predicted, 100", {"merge": "predicted", "solver": "ddpm"}, evenly(100), 1.383, 0.413),
    ("DiffPIR, 27", DIFFPIR, evenly(27), 1.083, 0.363),
    ("DiffPIR, 100", DIFFPIR, evenly(100), 1.262, 0.329),
    ("DDNM code, 50", DDNM, evenly(50), 1.224, 0.411),
    ("DDNM code, 100", DDNM, evenly(100), 1.282, 0.396),
    ("DDNM paper", {"merge": "carry", "solver": "ddpm"}, evenly(100), 0.917, 0.586),
    pytest.param("DAPS-1K, box", DAPS(), karras(200, 100.0, 0.1), 1.297, 0.417, marks=slow),
    pytest.param("CoPaint, no clip", CoPaint(), evenly(250), 1.563, 0.367, marks=slow),
    ("exact-Gaussian, 200", {**BY_GUIDANCE, "guidance": "covariance(1)"}, evenly(200), 1.349, 0.420),
    pytest.param(
        "exact-Gaussian, 999", {**BY_GUIDANCE, "guidance": "covariance(1)"}, evenly(999), 1.341, 0.429, marks=slow
    ),
    ("PiGDM, true weight", {**BY_GUIDANCE, "guidance": "pigdm(true)"}, evenly(200), 1.278, 0.448),
    ("PiGDM, adaptive weight", {**BY_GUIDANCE, "guidance": "pigdm(adaptive)"}, evenly(100), 1.490, 0.363),
    (
        "FlowDPS, its limit",
        {"merge": "none", "solver": "renew(1-sigma)", "guidance": "flowdps(inf)"},
        flow(28, 4.0),
        1.008,
        0.538,
    ),
    ("PnP-Flow", PnPFlow(0.5), flow(100), 1.208, 0.154),
    ("FlowChef", {"merge": "none", "solver": "ddim(0)", "guidance": "flowchef(0.081)"}, flow(100), 1.330, 0.492),
]


# Samples where not 8000: more where our own error of .005 adds too much to the program's, fewer for narrow results.
COUNTS = {
    "FlowChef": 40_000,
    "LanPaint 1a, 10 inner, 50": 30_000,
    "PnP-Flow": 2000,
    "exact-Gaussian, 200": 4000,
    "exact-Gaussian, 999": 20_000,
}


def method_of(parts: Any, steps: int) -> Method:
    walk = JumpSchedule.paper(steps, 1, 1)
    return as_method(walk, **parts) if isinstance(parts, dict) else Method(walk, merge=Unmerged(), kernel=parts)


@pytest.mark.parametrize(
    ("name", "parts", "levels", "mean", "std"), ROWS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_methods_give_what_an_independent_program_gives(
    name: str, parts: Any, levels: tuple[Level, ...], mean: float, std: float
) -> None:
    """If this fails, a method is not the published one. The bands are three of the program's standard errors."""
    found = moments(result(method_of(parts, len(levels) - 1), levels, count=COUNTS.get(name, 8000)).x)
    assert found == (pytest.approx(mean, abs=0.015), pytest.approx(std, abs=0.012)), name


@pytest.mark.parametrize(
    ("kernel", "steps", "images", "mean", "std", "error"),
    [
        # One population is correlated by its common ancestors: over seeds its mean varies by .02, not by .003. So the
        # value is compared with the mean over several populations, in three of its standard errors.
        (MCGdiff(2000), 100, 20, 1.376, 0.395, 0.02),
        (TDS(2000, 1.0), 100, 8, 1.371, 0.399, 0.02),
        pytest.param(MCGdiff(5000), 400, 8, 1.354, 0.426, 0.03, marks=slow),
        pytest.param(TDS(5000, 1.0), 999, 4, 1.355, 0.433, 0.03, marks=slow),
    ],
)
def test_populations_give_what_an_independent_program_gives(
    kernel: Any, steps: int, images: int, mean: float, std: float, error: float
) -> None:
    """If this fails, weights or resampling are wrong: with many particles these filters near the posterior."""
    state = result(method_of(kernel, steps), evenly(steps), count=images)
    every = state.carried("kernel")["particles"].flatten(0, 1)
    found = moments(every)
    assert found == (pytest.approx(mean, abs=error), pytest.approx(std, abs=error))


@slow
@pytest.mark.parametrize(
    ("kernel", "steps", "mean", "std"),
    [
        (FPSSMC(1000, "posterior", 0.0), 100, 1.376, 0.612),
        (FPSSMC(500, "posterior", 0.0), 999, 1.343, 0.438),
        (FPSSMC(1000, 0.95, 0.0), 300, 1.417, 0.308),
        (FPSSMC(500, 0.95, 0.0), 999, 1.414, 0.321),
    ],
)
def test_filters_along_a_path_give_what_an_independent_program_gives(
    kernel: Any, steps: int, mean: float, std: float
) -> None:
    """If this fails, FPS-SMC or SMCDiff is wrong. The program's error is .02 of both; ours is that of 150 runs."""
    found = moments(result(method_of(kernel, steps), evenly(steps), count=150).x)
    error = 3 * math.hypot(0.02, std / math.sqrt(150))
    assert found == (pytest.approx(mean, abs=error), pytest.approx(std, abs=error))


# --- What holds for every published method


NAMES = presets.published()


def short(name: str) -> Method:
    """The method on 7 levels."""
    method = Method.from_preset(name)
    return replace(
        method,
        schedule=JumpSchedule.paper(7, 2, 2 if name in ("copaint-tt", "ddnm-travel", "restart") else 1),
        spacing=None,
    )


def problem(count: int) -> tuple[GaussianMixturePrior, Tensor, Tensor]:
    """A prior of six correlated pixels, x0 with NaN where unknown, and the mask."""
    rng = torch.Generator().manual_seed(3)
    means, root = torch.randn(2, 6, generator=rng), 0.4 * torch.randn(2, 6, 6, generator=rng)
    prior = GaussianMixturePrior([0.4, 0.6], means, root @ root.mT + 0.1 * torch.eye(6))
    x0 = torch.tensor([0.5, math.nan, -0.3, math.nan, math.nan, 0.8], dtype=torch.float64).expand(count, 6)
    return prior, x0, ~x0.isnan()


def filled(sampler: Sampler, x0: Tensor, known: Tensor, seeds: list[int]) -> list[SamplerState]:
    return list(sampler.run(sampler.start(x0, known, seeds)))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_one_image(name: str, tmp_path: Path) -> None:
    """If this fails, a method's image depends on its batch or on an interruption, reads the hole, or changes x0."""
    prior, x0, known = problem(3)
    method = short(name)
    sampler = Sampler(prior, method)
    batch = filled(sampler, x0, known, [4, 5, 6])
    alone = filled(sampler, x0[:1], known[:1], [5])
    # Matrix products of another size round differently; a population is many samples in each image's batch.
    torch.testing.assert_close(batch[-1].x[1], alone[-1].x[0], rtol=1e-9, atol=1e-9)
    assert len({float(x) for x in batch[-1].x[:, 1]}) == 3
    assert torch.equal(batch[-1].x[known], x0[known])
    first = batch[0].x0_hat
    assert first is not None
    assert first.shape == x0.shape
    assert not torch.equal(first, batch[0].x)
    batch[2].save(tmp_path / "state")
    *_, resumed = sampler.run(SamplerState.load(tmp_path / "state"))
    assert torch.equal(resumed.x, batch[-1].x)
    if name not in ("copaint", "copaint-tt"):  # whose shortened steps cost further calls
        assert (resumed.model_calls, resumed.gradient_calls) <= (method.model_calls, method.gradient_calls)
        assert resumed.model_calls == sum(
            method.kernel.calls(sampler.grid[m.src], sampler.grid[m.dst]) if method.kernel else 1
            for m in sampler.moves
            if m.kind != "renoise"
        )


@pytest.mark.parametrize("name", NAMES)
def test_presets_of_published_methods_are_complete(name: str) -> None:
    """If this fails, a preset states no source, not what is unverified, or a wrong cost."""
    content, method = presets.read(name)[1], Method.from_preset(name)
    assert "arXiv" in content.source or "ICLR" in content.source
    assert "gradient" in content.source
    assert len(content.unverified.split()) >= 3
    assert content.counts is not None
    assert content.counts.model_dump(exclude_defaults=True) == method.counts
    assert method.calls_after(0) == method.model_calls
    assert as_method(name) == method


def test_kernels_are_declared_by_their_entry_points() -> None:
    """If this fails, a kernel cannot be named in a preset, or its text in a report does not make it again."""
    declared = {name: entry.load() for name, entry in kernels().items()}
    ours = {CoPaint, DAPS, DInG, FPSSMC, LanPaint, MCGdiff, PnPFlow, TDS}
    assert ours <= set(declared.values())
    described = Method.from_preset("lanpaint").describe()["kernel"]
    assert described == "lanpaint(inner=5, lam=5, h=0.2, friction=inf, floor=1, stop=1, path=fixed)"


def test_kernels_without_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a preset with a kernel ends in an empty list of names where repaint is not installed."""
    monkeypatch.setattr("repaint.sampling.method.kernels", dict)
    with pytest.raises(ScheduleError, match=r"^kernel='ding\(.*cannot be found: .*Install it: pip install"):
        Method.from_preset("ding")


def test_costs_count_a_gradient_as_two_calls() -> None:
    """If this fails, gradient methods are compared at a third of their cost."""
    dps, fast = Method.from_preset("dps"), Method.from_preset("fast")
    assert (dps.model_calls, dps.gradient_calls, dps.cost) == (1000, 1000, 3000)
    assert (fast.gradient_calls, fast.cost) == (0, 25)


def test_a_kernel_takes_no_other_parts(unchecked: None) -> None:
    """If this fails, merge= on a method that ignores it silently changes nothing."""
    with pytest.raises(ScheduleError, match=r"merge cannot be changed: ding has a kernel, ding\(zeta"):
        as_method("ding", merge="fresh")
    with pytest.raises(ScheduleError, match=r"takes the place of corrector and guidance"):
        replace(Method.from_preset("ding"), corrector=as_method("corrected").corrector)
    for wrong in ("ding", DInG):
        with pytest.raises(ScheduleError, match="members of the Kernel protocol"):
            replace(Method.from_preset("ding"), kernel=wrong)


@pytest.mark.parametrize("name", sorted(kernels()))
def test_a_kernel_starts_where_it_is_told_or_refuses(name: str) -> None:
    """If this fails, a population ignores strength, init or a branch, and silently gives another result."""
    kernel = kernels()[name].load()()
    walk = JumpSchedule.paper(20, 1, 1)
    x0, known = torch.tensor([[1.5, 0.0]], dtype=torch.float64), torch.tensor([[True, False]])
    sampler = Sampler(TwoPixels(evenly(20)), Method(walk.capped(10), merge=Unmerged(), kernel=kernel))
    plain = Sampler(TwoPixels(evenly(20)), Method(walk))
    half_done = next(state for state in plain.run(plain.start(x0, known, [0])) if state.level == 10)
    if not kernel.carries:
        low, high = (sampler.start(x0, known, [0], torch.full_like(x0, value)) for value in (-3.0, 3.0))
        (*_, low), (*_, high) = sampler.run(low), sampler.run(high)
        assert not torch.equal(low.x, high.x)
        *_, branch = sampler.run(half_done.branch([1]))
        assert branch.level == 0
        return
    with pytest.raises(InputError, match="begins at pure noise"):
        sampler.start(x0, known, [0], x0)
    with pytest.raises(StateError, match="cannot continue this branch"):
        next(sampler.run(half_done.branch([1])))
    whole = Sampler(sampler.prior, Method(walk, merge=Unmerged(), kernel=kernel))
    own = next(state for state in whole.run(whole.start(x0, known, [0])) if state.level == 10)
    *_, continued = sampler.run(own.branch([1]))
    assert continued.level == 0
    if kernel.particles > 1:
        fewer = Method(walk.capped(10), merge=Unmerged(), kernel=replace(kernel, particles=2))
        with pytest.raises(StateError, match="cannot continue this branch"):
            next(Sampler(sampler.prior, fewer).run(own.branch([1])))


def test_tds_clips_the_shifted_reconstruction() -> None:
    """If this fails, TDS diverges on pixels, or does not clip as the model does: at a wide range, nothing changes."""

    def particles(clip: Clip | None) -> Tensor:
        prior = TwoPixels(evenly(30))
        prior.clip = clip
        return result(method_of(TDS(64, 0.12), 30), prior, count=4).carried("kernel")["particles"]

    free, wide, tight = (particles(clip) for clip in (None, Clip(1e6), Clip(0.5)))
    assert torch.equal(free, wide)
    # At most the pull of 0.5 instead of 1.350: the filter then ends between.
    assert float(tight[..., 1].mean()) < float(free[..., 1].mean())


# --- Parts of kernels


@pytest.mark.parametrize("friction", [15.0, math.inf])
@pytest.mark.parametrize("k", [0.5, 9.0])
def test_the_oscillator_is_exact(k: float, friction: float) -> None:
    """If this fails, LanPaint's inner dynamics has an error of its own. Two steps that make one make it a solution."""

    def moments_of(h: float) -> tuple[Tensor, Tensor]:
        move = Oscillator(k, friction, h)
        if move.overdamped:
            return tuple(torch.tensor([[v]], dtype=torch.float64) for v in (move.decay, move.kick**2))
        return move.mean, move.noise @ move.noise.T

    (m1, c1), (m2, c2), (m3, c3) = moments_of(0.1), moments_of(0.25), moments_of(0.35)
    torch.testing.assert_close(m2 @ m1, m3, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(m2 @ c1 @ m2.T + c2, c3, rtol=1e-10, atol=1e-10)
    tiny, (m, c) = 1e-6, moments_of(1e-6)
    if math.isinf(friction):
        assert float(1 - m) / tiny == pytest.approx(k, rel=1e-4)
        assert float(c) / tiny == pytest.approx(2, rel=1e-4)
        return
    drift = torch.tensor([[0.0, 1.0], [-friction * k, -friction]]).double()
    torch.testing.assert_close((m - torch.eye(2).double()) / tiny, drift, rtol=1e-3, atol=1e-3)
    assert float(c[1, 1]) / tiny == pytest.approx(2 * friction**2, rel=1e-3)


@pytest.mark.parametrize("scheme", ["multinomial", "systematic"])
def test_resampling_follows_the_weights_of_each_image(scheme: Any) -> None:
    """If this fails, particles survive with the wrong probability, or an image's ancestors depend on its batch."""
    log_weights = torch.tensor([[0.1, 0.2, 0.0, 0.7], [0.25, 0.25, 0.25, 0.25]]).log()
    counts = torch.zeros(2, 4)
    for seed in range(0, 2000, 2):
        streams = NoiseStreams.from_seeds([seed, seed + 1])
        draws = Draws(streams, torch.zeros(8, 1), 2)
        drawn = ancestors(log_weights, draws, scheme)
        counts += torch.stack([(drawn == i).sum(1) for i in range(4)], dim=1)
        if seed == 0:
            alone = ancestors(log_weights[1:], Draws(NoiseStreams.from_seeds([1]), torch.zeros(4, 1), 1), scheme)
            assert torch.equal(alone[0], drawn[1])
    # 4000 draws of each image: four standard errors are .032 at most.
    torch.testing.assert_close(counts / 4000, log_weights.exp(), rtol=0, atol=0.032)
    assert counts[0, 2] == 0


@pytest.mark.parametrize("particles", [0, 1.5, 100_001])
@pytest.mark.parametrize("kernel", [MCGdiff, FPSSMC, TDS])
@pytest.mark.usefixtures("unchecked")
def test_impossible_populations_are_refused(kernel: Any, particles: Any) -> None:
    """If this fails, a population of no or a million particles fails late, or takes all memory."""
    with pytest.raises(InputError, match=rf"particles={particles}\) must be an integer from 1 to 100000"):
        kernel(particles=particles)


@dataclass
class Small(PixelByPixelPrior):
    """A device that holds 100 samples."""

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        if len(x) > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return super().denoise(x, level)


def test_a_population_larger_than_a_device_is_refused_by_its_particles() -> None:
    """If this fails, the error advises a smaller batch of one image, and not fewer particles."""
    image, hole = np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=bool)
    pipe = RePaintPipeline(Small())
    pipe.set_progress_bar_config(disable=True)
    method = replace(Method.from_preset("mcgdiff"), schedule=JumpSchedule.paper(3, 1, 1))
    assert pipe([image] * 2, hole, schedule=method, generator=0, batch_size=1).model_calls == 3 * 64
    with pytest.raises(OutOfMemory, match=r"Each image has 64 particles: use fewer, or a smaller batch_size"):
        pipe([image] * 2, hole, schedule=method, generator=0)


def test_differential_diffusion_takes_a_map() -> None:
    """If this fails, the preset needs more than a map of strengths, or changes where the map is 0."""
    image, map_ = np.full((8, 8, 3), 90, np.uint8), np.tile(np.linspace(0, 1, 8), (8, 1))
    pipe = RePaintPipeline(PixelByPixelPrior())
    pipe.set_progress_bar_config(disable=True)
    out = pipe(image, schedule="differential", strength=map_, generator=0, output_type="np").images[0]
    change = np.abs(out.astype(float) - 90).mean(axis=(0, 2))
    assert change[0] == 0
    assert change[2] < change[-1]


@pytest.mark.parametrize("steps", [3, 7])
@pytest.mark.parametrize("kernel", [DAPS, CoPaint])
def test_step_sizes_are_those_of_the_level(monkeypatch: pytest.MonkeyPatch, kernel: type, steps: int) -> None:
    """If this fails, a method with other steps, or on a walk with jumps, has the step sizes of other levels."""
    seen = []

    def read(_self: Any, step: KernelStep) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append((step.index, step.steps))
        return step.model.predict(step.x, step.src).x0_hat, {}

    monkeypatch.setattr(kernel, "step", read)
    prior, x0, known = problem(1)
    walk = JumpSchedule.paper(steps, 1, 2)
    filled(Sampler(prior, Method(walk, merge=Unmerged(), kernel=kernel())), x0, known, [0])
    assert seen == [(steps, steps), *((index, steps) for index in range(steps - 1, 0, -1) for _ in range(2))]


def test_a_step_of_copaint_does_not_depend_on_those_before() -> None:
    """If this fails, jumps make the gradient steps of CoPaint ever larger: a level's second visit has another size."""
    prior, x0, known = problem(1)
    sampler = Sampler(prior, replace(short("copaint"), schedule=JumpSchedule.paper(7, 1, 2)))
    states = filled(sampler, x0, known, [0])[:-1]
    first, second = (state for state in states if sampler.moves[state.position] == ("denoise", 4, 3))
    assert torch.equal(sampler.advance(first).x, sampler.advance(replace(second, x=first.x)).x)


@pytest.mark.parametrize("name", sorted(kernels()))
def test_a_population_takes_no_jumps(name: str) -> None:
    """If this fails, particles stay at the lower level in a jump, are denoised as noisier ones, and miss the truth."""
    kernel, walk = kernels()[name].load()(), JumpSchedule.paper(4, 2, 2)
    if kernel.particles == 1:
        assert Method(walk, kernel=kernel).schedule == walk
        return
    with pytest.raises(ScheduleError, match=r"needs a walk without jumps, but this one renoises 2 levels.*plain"):
        Method(walk, kernel=kernel)


def test_a_population_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, the system ends the process instead of an error that names the particles."""
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1}[name])
    prior, x0, known = problem(2)
    with pytest.raises(OutOfMemory, match=r"64 particles of 2 images need about 0 GiB.* Use fewer particles"):
        filled(Sampler(prior, short("mcgdiff")), x0, known, [0, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LanPaint(inner=-1), r"lanpaint\(inner=-1\) must be an integer of at least 0"),
        (lambda: LanPaint(lam=math.nan), r"lanpaint\(lam=nan\) must be finite and at least 0"),
        (lambda: LanPaint(h=0.0), r"lanpaint\(h=0.0\) must be above 0"),
        (lambda: LanPaint(friction=0.0), r"lanpaint\(friction=0.0\) must be above 0"),
        (lambda: LanPaint(path="free"), r"lanpaint\(path='free'\) must be markov or fixed"),
        (lambda: Oscillator(1.0, 225.0, 1e-12), r"h=1e-12 must be larger at friction 225"),
        (lambda: DInG(sigma_y=-1.0), r"ding\(sigma_y=-1.0\) must be finite"),
        (lambda: DAPS(euler=0), r"daps\(euler=0\) must be an integer of at least 1"),
        (lambda: DAPS(tau=0.0), r"daps\(tau=0.0\) must be finite and above 0"),
        (lambda: CoPaint(steps=0), r"copaint\(steps=0\) must be an integer of at least 1"),
        (lambda: CoPaint(mu0=0.0), r"copaint\(mu0=0.0\) must be finite and above 0"),
        (lambda: PnPFlow(draws=0), r"pnp_flow\(draws=0\) must be an integer"),
        (lambda: TDS(q=0.0), r"tds\(q=0.0\) must be finite and above 0"),
        (lambda: FPSSMC(sigma_y=-1.0), r"fps_smc\(sigma_y=-1.0\) must be finite"),
        (lambda: MCGdiff(kappa=0.0), r"mcgdiff\(kappa=0.0\) must be finite and above 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    """If this fails, a typo in a kernel gives a meaningless result."""
    with pytest.raises(InputError, match=message):
        make()


def test_the_documentation_states_the_true_costs() -> None:
    """If this fails, a preset was added or changed, and its page was not."""
    text = (Path(__file__).parents[3] / "docs" / "published-methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (\d+) \| (\d*) \|$", text.split("## Checked")[0], flags=re.MULTILINE)
    stated = {name: (int(calls), int(gradients or 0)) for name, calls, gradients in rows}
    methods = {name: Method.from_preset(name) for name in NAMES}
    assert stated == {name: (method.model_calls, method.gradient_calls) for name, method in methods.items()}
    for name in NAMES:
        content = presets.read(name)[1]
        assert f"| `{name}` | {' '.join(content.unverified.split())} |" in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "scheduler",
    [
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
        {"_class_name": "EDMEulerScheduler", "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0},
        {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    ],
    ids=["flow", "VE", "VP from pure noise"],
)
def test_methods_run_on_every_path(scheduler: dict[str, Any], name: str) -> None:
    """If this fails, a method divides by alpha = 0 at pure noise, assumes alpha^2 + sigma^2 = 1, or omits its calls."""
    prior, x0, known = problem(2)
    other = GaussianMixturePrior(prior.weights, prior.means, prior.covariances, scheduler=scheduler)
    sampler = Sampler(other, short(name))
    last = filled(sampler, x0, known, [0, 1])[-1]
    assert bool(last.x.isfinite().all())
    assert float(last.x.abs().max()) < 20, "far outside of the prior"
    if (kernel := sampler.method.kernel) is not None and not isinstance(kernel, CoPaint):
        down = (move for move in sampler.moves if move.kind == "denoise")
        assert last.model_calls == sum(kernel.calls(sampler.grid[move.src], sampler.grid[move.dst]) for move in down)
