"""Variance-exploding models against diffusers' arithmetic and against a network that is exact by construction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import (
    CMStochasticIterativeScheduler,
    ConsistencyModelPipeline,
    DDPMPipeline,
    DDPMScheduler,
    EDMDPMSolverMultistepScheduler,
    EDMEulerScheduler,
    KarrasVeScheduler,
    ScoreSdeVePipeline,
    ScoreSdeVeScheduler,
    UNet2DModel,
)
from helpers.draws import Given
from helpers.tiny_priors import TINY_NCSNPP, tiny_unet
from helpers.two_pixel_law import MEAN, law
from packaging.version import Version
from torch import Tensor

from repaint.errors import PriorError
from repaint.pipeline import RePaintPipeline
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.priors.load import default_schedule
from repaint.priors.pixel import PixelPrior
from repaint.priors.preconditioning import EDM, Consistency, Preconditioning, Scales, ScoreVE
from repaint.sampling.levels import Level, posterior
from repaint.sampling.method import Method, as_method
from repaint.sampling.prediction import Clip, Prediction
from repaint.sampling.prior import Conditions
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import DDPM

# --- Against diffusers

# What diffusers computes as the clean sample from x at sigma, from its own methods.
Reference = Callable[[Any, UNet2DModel, Tensor, float], Tensor]


def edm_x0(scheduler: Any, unet: UNet2DModel, x: Tensor, sigma: float) -> Tensor:
    at = torch.tensor(sigma)
    output = unet(scheduler.precondition_inputs(x, at), scheduler.precondition_noise(at)).sample
    return scheduler.precondition_outputs(x, output, at)


def score_x0(scheduler: Any, unet: UNet2DModel, x: Tensor, sigma: float) -> Tensor:
    return x + sigma**2 * unet(x, torch.tensor([sigma])).sample


def consistency_x0(scheduler: Any, unet: UNet2DModel, x: Tensor, sigma: float) -> Tensor:
    """A scheduler whose step adds s_noise times noise to the denoised x; with s_noise=0, nothing."""
    scheduler.set_timesteps(40)
    t = scheduler.timesteps[int((scheduler.sigmas[:-1] - sigma).abs().argmin())]
    output = unet(scheduler.scale_model_input(x, t), t).sample
    return scheduler.step(output, t, x).prev_sample


MODELS: dict[str, tuple[Any, Reference, dict[str, Any]]] = {
    "edm epsilon": (EDMEulerScheduler(), edm_x0, {}),
    "edm v": (EDMEulerScheduler(prediction_type="v_prediction", sigma_data=1.3), edm_x0, {}),
    "edm dpm": (EDMDPMSolverMultistepScheduler(sigma_schedule="exponential"), edm_x0, {}),
    "score": (ScoreSdeVeScheduler(), score_x0, TINY_NCSNPP),
    "consistency": (CMStochasticIterativeScheduler(s_noise=0.0, clip_denoised=False), consistency_x0, {}),
    "consistency clipped": (CMStochasticIterativeScheduler(s_noise=0.0), consistency_x0, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_those_of_diffusers(name: str) -> None:
    """If this fails, wrong scales or timesteps change what a model predicts."""
    scheduler, reference, config = MODELS[name]
    unet = tiny_unet(**config).eval()
    prior = PixelPrior(unet, scheduler)
    grid = prior.schedule(40)
    generator = torch.Generator().manual_seed(0)
    for number in (1, 10, 20, 30, 40):
        level = grid[number]
        x = torch.rand(2, 3, 8, 8, generator=generator) + level.sigma * torch.randn(2, 3, 8, 8, generator=generator)
        with torch.no_grad():
            prediction, expected = prior.denoise(x, level), reference(scheduler, unet, x, level.sigma)
        # float32: one forward pass, and a clock that diffusers computes in single precision.
        error = float((prediction.x0_hat - expected).abs().max() / expected.abs().max())
        assert error < 1e-5, f"level {number}"
        assert ((x - prediction.x0_hat).abs().max() > 1e-3) == (name[:11] != "consistency" or number > 1)
        explained = prediction.x0_hat + level.sigma * prediction.eps_hat
        assert torch.allclose(explained, x, rtol=0, atol=1e-6 * max(1.0, float(x.abs().max())))


def test_ancestral_steps_are_those_of_diffusers_score_sde() -> None:
    """If this fails, the score is read with another sign or scale than ScoreSdeVePipeline's predictor has."""
    unet, scheduler = tiny_unet(**TINY_NCSNPP).eval(), ScoreSdeVeScheduler()
    prior, steps = PixelPrior(unet, scheduler), 20
    grid = prior.schedule(steps)
    scheduler.set_timesteps(steps)
    scheduler.set_sigmas(steps)
    for number in (2, 8, 15, 20):
        src, dst = grid[number], grid[number - 1]
        x, z = src.sigma * torch.randn(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(number))
        z = z / src.sigma
        with torch.no_grad():
            output = unet(x, torch.tensor([src.sigma])).sample
            ours = DDPM("large").step(x, prior.denoise(x, src), src, dst, Given(z), {})[0]
        clock = torch.tensor((number - 0.5) / (steps - 1))  # its index, rounded down: number - 1
        mean = scheduler.step_pred(output, clock, x).prev_sample_mean
        expected = mean + posterior(src, dst).large_std * z
        assert float((ours - expected).abs().max()) < 1e-5 * src.sigma  # float32


def test_guidance_mixes_denoisers() -> None:
    """If this fails, classifier-free guidance also scales the skipped x."""
    unet = tiny_unet(num_class_embeds=3).eval()
    prior = PixelPrior(unet, EDMEulerScheduler(), {0: "cat", 1: "dog"})
    x, level = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), prior.schedule(18)[9]

    def x0_hat(**asked: Any) -> Tensor:
        with torch.no_grad():
            return prior.conditioned(1, Conditions(**asked)).denoise(x, level).x0_hat

    null, dog = x0_hat(), x0_hat(class_labels="dog")
    assert float((null - dog).abs().max()) > 1e-3
    guided = x0_hat(class_labels="dog", guidance_scale=3.0)
    torch.testing.assert_close(guided, null + 3 * (dog - null), atol=1e-5, rtol=0)  # float32, in batches of 2


@pytest.mark.parametrize("name", ["edm epsilon", "score", "consistency"])
def test_half_precision(name: str) -> None:
    """If this fails, a model in half precision fails because of the timestep's type, or rounds x."""
    if name == "score" and Version(diffusers.__version__) < Version("0.39"):
        pytest.skip("diffusers before 0.39 filters NCSN++ in float32 alone")
    scheduler, _, config = MODELS[name]
    single = PixelPrior(tiny_unet(**config), scheduler)
    half = PixelPrior(tiny_unet(**config), scheduler).to(dtype=torch.bfloat16)
    level = single.schedule(20)[12]
    x = level.sigma * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = single.denoise(x, level), half.denoise(x, level)
    assert b.x0_hat.dtype == torch.float32
    # bfloat16 has 8 bits; some layers add up. What the network adds to x is of order sigma at most.
    assert 0 < float((a.x0_hat - b.x0_hat).abs().max()) < 0.1 * level.sigma


# --- Against a network that is exact by construction

PAIR = [[1.0, 0.9], [0.9, 1.0]]
D, S = 0.5, 0.002  # sigma_data and sigma_min, the defaults of diffusers and of the papers


class Oracle(UNet2DModel):
    """A UNet2DModel whose output is computed from a denoiser: the papers' formulas, solved for the network."""

    solve: Callable[[Tensor, float], Tensor]

    def forward(self, sample: Tensor, timestep: Tensor, class_labels: Any = None, return_dict: bool = True) -> Any:
        assert timestep.shape == sample.shape[:1]
        return (self.solve(sample, float(timestep[0])),)


def solve_edm(denoise: Callable[[Tensor, float], Tensor], sign: int) -> Callable[[Tensor, float], Tensor]:
    def network(seen: Tensor, clock: float) -> Tensor:
        sigma = math.exp(4 * clock)
        x = seen * math.sqrt(sigma**2 + D**2)
        skip, out = D**2 / (sigma**2 + D**2), sigma * D / math.sqrt(sigma**2 + D**2)
        return sign * (denoise(x, sigma) - skip * x) / out

    return network


def solve_score(denoise: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float], Tensor]:
    return lambda x, sigma: (denoise(x, sigma) - x) / sigma**2


ORACLES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "edm": (EDMEulerScheduler(), lambda denoise: solve_edm(denoise, 1)),
    "edm v": (EDMDPMSolverMultistepScheduler(prediction_type="v_prediction"), lambda denoise: solve_edm(denoise, -1)),
    "score": (ScoreSdeVeScheduler(), solve_score),
}


class Pairs(GaussianMixturePrior):
    """An image whose horizontal pairs of pixels are independent draws of one mixture over two pixels."""

    def denoise(self, x: Tensor, level: Level) -> Prediction:
        pairs = super().denoise(x.reshape(-1, 2), level)
        return Prediction(pairs.x0_hat.reshape(x.shape), pairs.eps_hat.reshape(x.shape))


def oracle(name: str, mixture: Pairs, dtype: torch.dtype = torch.float64) -> PixelPrior:
    """Return a pixel prior around a network that is exact for this mixture."""
    scheduler, solve = ORACLES[name]
    one = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = Oracle(in_channels=1, out_channels=1, norm_num_groups=4, add_attention=False, **one).to(dtype)
    unet.solve = solve(lambda x, sigma: mixture.denoise(x, Level(1.0, sigma, sigma)).x0_hat)
    return PixelPrior(unet, scheduler)


@pytest.mark.parametrize(
    "method", [{}, {"merge": "predicted(inf)", "solver": "ddim(0.3)", "corrector": "langevin(1, h=0.6)"}]
)
@pytest.mark.parametrize("name", ORACLES)
def test_a_preconditioned_network_is_the_denoiser_that_it_was_made_from(name: str, method: dict[str, str]) -> None:
    """If this fails, a walk from sigma 1348 down to 0.01 differs from that of the exact prior with the same draws."""
    mixture = Pairs([1.0, 2.0], [[-0.5, -0.3], [0.4, 0.5]], 0.04 * torch.tensor([PAIR, PAIR]))
    mixture.scheduler = ORACLES[name][0]
    way = as_method(JumpSchedule.paper(20, 5, 3), **method)
    x0 = torch.rand(1, 1, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    known = torch.arange(8).expand(1, 1, 4, 8) % 2 == 0
    samplers = [Sampler(prior, way) for prior in (mixture, oracle(name, mixture))]
    exact, ours = (list(sampler.run(sampler.start(x0, known, seeds=[0]))) for sampler in samplers)
    for a, b in zip(exact, ours, strict=True):
        # Rounding of x, up to 5 sigma, in double precision; a hundred steps, each of which forgets most of it.
        torch.testing.assert_close(b.x, a.x, atol=1e-12 * max(1.0, samplers[0].grid[a.level].sigma), rtol=0)
    assert torch.equal(ours[-1].x[known], x0[known])


def filled(name: str, walk: JumpSchedule, low: float, mean: float, std: float) -> Tensor:
    """2048 times the unknown pixel in units of its std, when its neighbour is at 1.5 of them; in float32.

    The mixture's own images lie in [low, 1].
    """
    mixture = Pairs([1.0], [[mean, mean]], [(std**2 * torch.tensor(PAIR)).tolist()])
    pipe = RePaintPipeline(oracle(name, mixture, torch.float32))
    pipe.set_progress_bar_config(disable=True)
    image = torch.full((1, 1, 64, 64), (mean + 1.5 * std - low) / (1 - low))
    mask = torch.arange(64).expand(1, 64, 64) % 2 == 1
    (result,) = pipe(image, mask, schedule=walk, generator=0, output_type="pt").images
    assert torch.equal(result[0][~mask[0]], image[0, 0][~mask[0]])
    return (low + (1 - low) * result[0][mask[0]] - mean) / std


@pytest.mark.parametrize(
    ("name", "low", "mean", "std"), [("edm", -1.0, 0.1, 0.1), ("score", 0.0, 0.55, 0.05)], ids=["edm", "score"]
)
def test_repaint_fills_images_on_a_variance_exploding_path(name: str, low: float, mean: float, std: float) -> None:
    """If this fails, images enter or leave in the wrong range, or inpainting goes wrong from large sigma in float32.

    Exact: N(1.350, 0.436^2). RePaint's law for the very levels says N(1.225, 0.423^2) for EDM and N(1.211, 0.424^2) for
    the score model; without resampling N(0.879, 0.521^2) and N(0.885, 0.513^2).
    """
    config = dict(ORACLES[name][0].config)
    ends = {key: config[key] / std for key in ("sigma_min", "sigma_max")}  # the same path in units of the data
    unit = GaussianMixturePrior([1.0], [[0.0, 0.0]], [PAIR], scheduler=config | ends)
    errors = []
    for resamplings in (1, 5):
        walk = JumpSchedule.paper(60, 5, resamplings)
        hole = filled(name, walk, low, mean, std)
        expected_mean, expected_std = law(Sampler(unit, as_method(walk)))
        error = expected_std / math.sqrt(2048)
        assert abs(float(hole.mean()) - expected_mean) < 4 * error
        assert abs(float(hole.std()) - expected_std) < 4 * error / math.sqrt(2)
        errors.append(abs(float(hole.mean()) - MEAN))
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize("name", ["edm", "score"])
def test_single_precision_from_the_noisiest_level(name: str) -> None:
    """If this fails, x of magnitude 80 or 1348 loses the prediction to rounding at the start of every run."""
    mixture = Pairs([1.0], [[0.3, 0.3]], [(0.04 * torch.tensor(PAIR)).tolist()])
    exact, single = oracle(name, mixture), oracle(name, mixture, torch.float32)
    level = exact.schedule(20)[20]
    x = level.sigma * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    ours, truth = single.denoise(x, level), exact.denoise(x.double(), level)
    # x = 4 sigma is rounded to 2^-24 of itself, and so are c_skip x and c_out F, which add up to x0_hat.
    assert float((ours.x0_hat - truth.x0_hat).abs().max()) < 4 * 4 * level.sigma * 2**-24
    assert float((ours.eps_hat - truth.eps_hat).abs().max()) < 1e-6


# --- Consistency models


def test_consistency_models_walk_down_to_clean_and_up_again() -> None:
    """If this fails, multistep sampling is not Alg. 1 of arXiv 2303.01469, or inpainting not its Alg. 4."""
    unet, scheduler = tiny_unet().eval(), CMStochasticIterativeScheduler(s_noise=0.0)
    prior = PixelPrior(unet, scheduler)
    sampler = Sampler(prior, as_method(JumpSchedule.from_levels([40, 0, 20, 0, 1, 0])))
    x0 = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    known = torch.arange(8).expand(x0.shape) % 2 == 0
    states = [sampler.start(x0, known, seeds=[0])]
    states += sampler.run(states[0])
    for before, after in pairwise(states):
        if after.level == 0:
            with torch.no_grad():
                denoised = consistency_x0(scheduler, unet, before.x, sampler.grid[before.level].sigma)
            expected = torch.where(known, x0, denoised)
            torch.testing.assert_close(after.x, expected, atol=1e-5, rtol=0)  # float32
        else:
            noise = (after.x - before.x) / sampler.grid[after.level].sigma
            assert abs(float(noise.std()) - 1) < 4 / math.sqrt(2 * noise.numel())


# --- Folders


FOLDERS: dict[str, tuple[Any, Any, dict[str, Any], Preconditioning]] = {
    "edm": (DDPMPipeline, EDMEulerScheduler(sigma_data=0.6), {}, EDM(0.6)),
    "edm dpm": (
        DDPMPipeline,
        EDMDPMSolverMultistepScheduler(prediction_type="v_prediction"),
        {},
        EDM(0.5, "v_prediction"),
    ),
    "score": (ScoreSdeVePipeline, ScoreSdeVeScheduler(sigma_max=348.0), TINY_NCSNPP, ScoreVE()),
    "consistency": (ConsistencyModelPipeline, CMStochasticIterativeScheduler(), {}, Consistency(0.5, 0.002)),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_load_and_fill(name: str, tmp_path: Path) -> None:
    """If this fails, a saved pipeline cannot be used, changes kept pixels, or depends on pixels under the hole."""
    pipeline, scheduler, config, expected = FOLDERS[name]
    pipeline(tiny_unet(**config), scheduler).save_pretrained(tmp_path)
    pipe = RePaintPipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.prior, PixelPrior)
    assert pipe.prior.preconditioning == expected
    preset = "turbo" if name == "consistency" else "fast"  # a consistency model predicts a sample, not the mean
    assert pipe.prior.default_schedule == default_schedule(tmp_path) == preset
    image = np.random.default_rng(0).integers(0, 256, (13, 18, 3), dtype=np.uint8)
    hole = np.zeros((13, 18), bool)
    hole[3:9, 5:14] = True
    other = np.where(hole[..., None], 255 - image, image)
    a, b = (
        pipe(picture, hole, schedule=JumpSchedule.paper(6, 2, 2), generator=0, output_type="np").images[0]
        for picture in (image, other)
    )
    assert np.array_equal(a[~hole], image[~hole])
    assert np.array_equal(a, b)
    assert not np.array_equal(a[hole], image[hole])
    assert pipe(image, hole, generator=0).model_calls == Method.from_preset(preset).model_calls


@pytest.mark.parametrize(("cls", "low"), [(EDMEulerScheduler, -1.0), (ScoreSdeVeScheduler, 0.0)])
def test_images_enter_in_the_range_of_training(cls: Any, low: float) -> None:
    """If this fails, NCSN++ gets images in the wrong range, or other models get rounded images."""
    prior = PixelPrior(tiny_unet(**(TINY_NCSNPP if low == 0 else {})), cls())
    image = 2 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 1
    x, _ = prior.encode(image, image[:, :1] > 0)
    assert torch.equal(x, image if low == -1 else (image + 1) / 2)
    torch.testing.assert_close(prior.decode(x), image, atol=0 if low == -1 else 1e-7, rtol=0)


def test_consistency_models_ask_for_clipping() -> None:
    """If this fails, x0_hat of a consistency model is not clipped as its scheduler requires."""
    assert Clip.from_config(CMStochasticIterativeScheduler().config) == Clip(1.0)
    assert Clip.from_config(CMStochasticIterativeScheduler(clip_denoised=False).config) is None


# --- What a scheduler does not say


class AtanEuler(EDMEulerScheduler):
    """A user's own scheduler, with the timesteps of Stable Audio (arXiv 2407.14358)."""

    def precondition_noise(self, sigma: Any) -> Tensor:
        return 2 / math.pi * torch.atan(sigma if isinstance(sigma, Tensor) else torch.tensor([sigma]))


class Atan(EDM):
    """The preconditioning that belongs to it."""

    def at(self, level: Level) -> Scales:
        return replace(super().at(level), c_noise=2 / math.pi * math.atan(level.sigma))


def test_a_callers_own_preconditioning() -> None:
    """If this fails, users cannot pass the preconditioning of a model whose scheduler is not known."""
    unet, scheduler = tiny_unet().eval(), AtanEuler()
    prior = PixelPrior(unet, scheduler, preconditioning=Atan())
    level = prior.schedule(20)[12]
    x = level.sigma * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = edm_x0(scheduler, unet, x, level.sigma)
        torch.testing.assert_close(prior.denoise(x, level).x0_hat, expected, atol=1e-5, rtol=1e-5)  # float32
        assert not torch.allclose(PixelPrior(unet, EDMEulerScheduler()).denoise(x, level).x0_hat, expected, atol=1e-3)


@pytest.mark.parametrize("cls", [KarrasVeScheduler, AtanEuler])
def test_unknown_variance_exploding_schedulers_are_refused(cls: Any) -> None:
    """If this fails, an unknown scheduler is read by config keys that several kinds share."""
    message = (
        rf"The variance-exploding scheduler {cls.__name__} is not supported\. Use one of "
        r"EDMEulerScheduler, EDMDPMSolverMultistepScheduler, ScoreSdeVeScheduler, CMStochasticIterativeScheduler "
        r"that the model was trained with or, for a UNet2DModel, pass preconditioning= to PixelPrior\."
    )
    with pytest.raises(PriorError, match=message):
        PixelPrior(tiny_unet(), cls())


@pytest.mark.parametrize(
    ("config", "scheduler", "preconditioning", "message"),
    [
        (
            {},
            EDMDPMSolverMultistepScheduler(prediction_type="sample"),
            None,
            r"prediction_type='sample' must be one of epsilon, v_prediction for an EDM model \(correct the",
        ),
        (
            {"out_channels": 6},
            EDMEulerScheduler(),
            None,
            r"3 channels in and 6 out does not fit a EDMEulerScheduler: .* have no learned variance",
        ),
        (
            TINY_NCSNPP,
            EDMEulerScheduler(),
            None,
            r"Fourier time embedding does not fit a EDMEulerScheduler: both take the logarithm .* ScoreSde",
        ),
        (
            {},
            DDPMScheduler(),
            EDM(),
            r"preconditioning=EDM must be left out with a DDPMScheduler \(VP\): it applies only to variance-expl",
        ),
    ],
    ids=["prediction type", "learned variance", "fourier", "VP"],
)
def test_networks_that_contradict_their_scheduler_are_refused(
    config: dict[str, Any], scheduler: Any, preconditioning: Preconditioning | None, message: str
) -> None:
    """If this fails, a network and a preconditioning that do not fit give NaN instead of an error."""
    with pytest.raises(PriorError, match=message):
        PixelPrior(tiny_unet(**config), scheduler, preconditioning=preconditioning)
