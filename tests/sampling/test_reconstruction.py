"""Guidance by the reconstruction: against formulas by hand, and against a posterior that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repaint import RePaintPipeline
from repaint.errors import InputError, PriorError, ScheduleError
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.sampling.guidance import GuidanceRule, GuidedStep
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.method import as_method, build, spec
from repaint.sampling.model import Model
from repaint.sampling.prediction import Prediction
from repaint.sampling.reconstruction import DPS, Covariance, FlowChef, FlowDPS, PiGDM
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.testing import PixelByPixelPrior

SRC, DST = Level(0.6, 0.8, 1), Level(0.8, 0.6, 0)
KNOWN = torch.tensor([True, False, True, True, False])


def gaussian() -> GaussianMixturePrior:
    root = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return GaussianMixturePrior([1.0], [[0.1, -0.2, 0.3, 0.0, 0.4]], (root @ root.T + 0.2 * torch.eye(5))[None])


def step_at(prior: GaussianMixturePrior, src: Level = SRC, dst: Level = DST) -> tuple[GuidedStep, Model]:
    """Three images at a level, with the Jacobian of the prior."""
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x0 = torch.where(KNOWN, torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(3, 5), 0.0)
    model = Model(prior, len(x))
    prediction, pullback = model.linearised(x, src)
    return GuidedStep(x, prediction, src, dst, x0, KNOWN.expand(3, 5), pullback), model


def jacobian(prior: GaussianMixturePrior, level: Level) -> Tensor:
    """d x0_hat / d x of one Gaussian, by its formula."""
    (covariance,) = prior.covariances
    whole = level.alpha**2 * covariance + level.sigma**2 * torch.eye(5, dtype=torch.float64)
    return level.alpha * covariance @ torch.linalg.inv(whole)


def test_a_pullback_is_the_transposed_jacobian() -> None:
    """If this fails, gradients through the model are those of another level or sample, or are not counted."""
    step, model = step_at(gaussian())
    v = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(step.backward(v), v @ jacobian(gaussian(), SRC))
    step.backward(v)
    assert (model.calls, model.gradients) == (1, 2)
    assert not step.prediction.x0_hat.requires_grad
    assert not step.prediction.eps_hat.requires_grad


@pytest.mark.parametrize("iterations", [3, 8])
def test_covariance_guidance_is_exact_for_a_gaussian(iterations: int) -> None:
    """If this fails, the guided x0_hat of the unknown part is not its mean given x and the known values.

    That mean is computed from the joint Gaussian of x0 and x; three known values need three iterations.
    """
    prior = gaussian()
    step, model = step_at(prior)
    prediction, shift = Covariance(iterations, tolerance=1e-12).guide(step)
    assert shift is None
    assert model.gradients <= iterations
    (mean,), (covariance,) = prior.means, prior.covariances
    observe = torch.cat([SRC.alpha * torch.eye(5), torch.eye(5)[KNOWN]]).double()
    noise = torch.diag(torch.tensor([SRC.sigma**2] * 5 + [1e-10] * 3, dtype=torch.float64))
    gain = covariance @ observe.T @ torch.linalg.inv(observe @ covariance @ observe.T + noise)
    seen = torch.cat([step.x, step.x0[:, KNOWN]], dim=1)
    exact = mean + (seen - mean @ observe.T) @ gain.T
    torch.testing.assert_close(prediction.x0_hat, exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(SRC.alpha * prediction.x0_hat + SRC.sigma * prediction.eps_hat, step.x)


def test_covariance_guidance_stops_at_its_tolerance() -> None:
    """If this fails, backward passes are wasted on digits that nobody wants, or the solution has fewer than stated.

    The tolerance is of |R - C z| / |R| with C = (sigma^2 / alpha) J + sigma_y^2 on the known part; the score is J^T z.
    """
    sigma_y, tolerance = 0.3, 0.05

    def left(iterations: int) -> tuple[float, int]:
        step, model = step_at(gaussian())
        prediction, _ = Covariance(iterations, sigma_y, tolerance).guide(step)
        score = (step.prediction.eps_hat - prediction.eps_hat) / SRC.sigma
        z = score @ torch.linalg.inv(jacobian(gaussian(), SRC))
        product = SRC.sigma**2 / SRC.alpha * score + sigma_y**2 * z
        rest = step.residual - torch.where(KNOWN, product, 0.0)
        return float((rest.norm(dim=1) / step.residual.norm(dim=1)).max()), model.gradients

    relative, gradients = left(8)
    assert relative < tolerance
    assert gradients <= 3
    assert left(gradients - 1)[0] > tolerance


def test_covariance_guidance_leaves_out_directions_of_no_variance() -> None:
    """If this fails, a network whose Jacobian has a negative eigenvalue is pushed away from the known part."""
    step, _ = step_at(gaussian())
    turned = replace(step, pullback=lambda v: -v)
    prediction, _ = Covariance(3).guide(turned)
    torch.testing.assert_close(prediction.eps_hat, step.prediction.eps_hat, rtol=0, atol=0)


def test_dps_and_pigdm_are_their_formulas() -> None:
    """If this fails, the shift has the wrong length, or images share a norm."""
    step, _ = step_at(gaussian())
    residual = torch.where(KNOWN, step.x0 - step.prediction.x0_hat, 0.0)
    pulled = residual @ jacobian(gaussian(), SRC)
    prediction, shift = DPS(0.7).guide(step)
    assert prediction is step.prediction
    torch.testing.assert_close(shift, 0.7 * pulled / residual.norm(dim=1, keepdim=True))
    prediction, shift = PiGDM("adaptive").guide(step)
    assert prediction is step.prediction
    torch.testing.assert_close(shift, 0.6 * pulled)
    prediction, shift = PiGDM("true", sigma_y=0.3).guide(step)
    assert shift is None
    torch.testing.assert_close(prediction.eps_hat, step.prediction.eps_hat - 0.8 * pulled / (0.64 + 0.09))


def test_pigdm_is_exact_for_white_data() -> None:
    """If this fails, PiGDM's weight is wrong: where pixels are independent of variance 1, it states x0_hat exactly."""
    prior = GaussianMixturePrior([1.0], [[0.0] * 5], [torch.eye(5).tolist()])
    step, _ = step_at(prior)
    prediction, _ = PiGDM("true").guide(step)
    torch.testing.assert_close(prediction.x0_hat[:, KNOWN], step.x0[:, KNOWN])
    torch.testing.assert_close(prediction.x0_hat[:, ~KNOWN], step.prediction.x0_hat[:, ~KNOWN])


def test_flow_rules_are_their_formulas() -> None:
    """If this fails, FlowDPS or FlowChef moves x0_hat by another length."""
    src = Level(0.4, 0.6, 600)
    step, _ = step_at(gaussian(), src, Level(0.6, 0.4, 400))
    residual, x0_hat = step.residual, step.prediction.x0_hat
    prediction, shift = FlowDPS(math.inf).guide(step)
    assert shift is None
    torch.testing.assert_close(prediction.x0_hat, x0_hat + 0.6 * residual)
    assert prediction.eps_hat is step.prediction.eps_hat
    norms = residual.norm(dim=1, keepdim=True)
    assert float(norms.min()) > 0.2
    near = FlowDPS(0.05, 3).guide(step)[0]  # three steps of .05 along the residual, which stay short of it
    torch.testing.assert_close(near.x0_hat, x0_hat + 0.6 * 0.15 * residual / norms)
    torch.testing.assert_close(FlowChef(0.1).guide(step)[1], 0.1 * residual)
    assert FlowChef(0.1).guide(GuidedStep(step.x, step.prediction, src, CLEAN, step.x0, step.known))[1] is None


RULES: list[tuple[GuidanceRule, str]] = [
    (DPS(1.0), "dps(zeta=1.0)"),
    (PiGDM("true"), "pigdm(weight=true, sigma_y=0.0)"),
    (Covariance(3), "covariance(iterations=3, sigma_y=0.0, tolerance=0.0001)"),
    (FlowDPS(math.inf), "flowdps(weight=inf, iterations=3)"),
    (FlowChef(), "flowchef(kappa=0.081)"),
]


@pytest.mark.parametrize(("rule", "text"), RULES)
def test_rules_survive_being_written_down(rule: GuidanceRule, text: str, two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a rule in a report cannot be run again, or as_method does not take its text."""
    assert spec(rule) == text
    method = as_method(JumpSchedule.paper(9, 1, 1), merge="none", guidance=text)
    assert method.guidance == rule
    assert method.describe()["guidance"] == text
    assert as_method(method, guidance="none").guidance is None
    assert method.gradient_calls == rule.gradients * 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dps(0)", r"dps\(zeta=0\) must be above 0"),
        ("pigdm(half)", r"pigdm\(weight='half'\) must be true or adaptive"),
        ("pigdm(true, sigma_y=-1)", r"pigdm\(sigma_y=-1\) must be at least 0"),
        ("covariance(0)", r"covariance\(iterations=0\) must be an integer"),
        ("flowdps(0)", r"flowdps\(weight=0\) must be above 0"),
        ("flowdps(1, iterations=0)", r"flowdps\(iterations=0\) must be an integer"),
        ("flowchef(inf)", r"flowchef\(kappa=inf\) must be above 0 and finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_settings_out_of_range_are_refused(text: str, message: str) -> None:
    """If this fails, a wrong setting runs and gives a meaningless result."""
    from repaint.sampling.method import GUIDANCE

    with pytest.raises(InputError, match=message):
        build("guidance", text, GUIDANCE)


@dataclass
class Deaf(PixelByPixelPrior):
    """Denoises outside of autograd, as a compiled or remote model may."""

    @torch.no_grad()
    def denoise(self, x: Tensor, level: Level) -> Prediction:
        return super().denoise(x, level)


def test_a_prior_without_gradients_is_refused_by_name() -> None:
    """If this fails, a gradient method on such a prior ends in an error of autograd, or silently guides nothing."""
    image, hole = np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=bool)
    for schedule in ("dps", "tds", "copaint"):
        with pytest.raises(
            PriorError, match=r"^Deaf passes no gradients on to x, which this method needs\. Use a method"
        ):
            RePaintPipeline(Deaf())(image, hole, schedule=schedule, generator=0)


def test_pipelines_take_a_rule_and_a_classifier() -> None:
    """If this fails, guidance= of a call does not replace the preset's rule, or no longer takes a function."""
    image, hole = np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=bool)
    pipe = RePaintPipeline(PixelByPixelPrior())
    pipe.set_progress_bar_config(disable=True)

    def fill(**options: Any) -> Any:
        return pipe(image, hole, schedule=JumpSchedule.paper(5, 1, 1), generator=0, output_type="np", **options).images

    plain = fill(merge="none", solver="ddim(0)")
    ruled = fill(merge="none", solver="ddim(0)", guidance="dps(40)")
    assert np.array_equal(plain[0][~hole], ruled[0][~hole])
    assert np.array_equal(ruled, fill(merge="none", solver="ddim(0)", guidance=DPS(40)))
    pulled = fill(guidance=lambda x, _level: torch.ones_like(x))
    assert pulled[0][hole].mean() > fill()[0][hole].mean()
    with pytest.raises(ScheduleError, match=r"guidance='dpz' must be one of dps, pigdm"):
        fill(guidance="dpz")


def test_gradients_are_counted_by_the_state(two_pixels: GaussianMixturePrior) -> None:
    """If this fails, a run's cost omits its backward passes."""
    method = as_method(JumpSchedule.paper(6, 1, 1), merge="none", guidance="dps(1)")
    sampler = Sampler(two_pixels, method)
    start = sampler.start(torch.tensor([[1.5, 0.0]]).double(), torch.tensor([[True, False]]), [0])
    *_, last = sampler.run(start)
    assert (last.model_calls, last.gradient_calls) == (6, 6) == (method.model_calls, method.gradient_calls)
    jumps = as_method(JumpSchedule.paper(4, 2, 2), merge="none", guidance="covariance(2)", corrector="langevin(1)")
    assert (jumps.model_calls, jumps.gradient_calls, jumps.cost) == (12, 24, 60)
    assert jumps.calls_after(len(jumps.moves) - 2) == 2, "a correction and the last step"
