"""Mistakes in priors and parts that a caller wrote are named where they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from repaint import JumpSchedule, Method, RePaintPipeline
from repaint.errors import InputError, NonFiniteError, PriorError
from repaint.sampling.merge import Fresh
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import PriorDefaults
from repaint.sampling.solvers import DDIM, DDPM
from repaint.testing import PixelByPixelPrior

pytestmark = pytest.mark.usefixtures("unchecked")

IMAGE, HOLE = np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=bool)


def fill(prior: Any, method: Method | None = None, **given: Any) -> Any:
    schedule = method or Method(JumpSchedule.paper(3, jump_n_sample=1))
    return RePaintPipeline(prior)(IMAGE, HOLE, schedule=schedule, generator=0, **given)


def with_method(name: str, result: Any) -> PixelByPixelPrior:
    """A prior whose method of this name returns a value, or what a function makes of the right result."""
    prior = PixelByPixelPrior()
    right = getattr(prior, name)
    setattr(prior, name, lambda *args: result(right(*args)) if callable(result) else result)
    return prior


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("denoise", None, r"denoise\(\) returned None, but must return a .*Prediction"),
        ("denoise", lambda p: p.x0_hat, r"denoise\(\) returned a tensor of shape \(1, 3, 8, 8\), .*Prediction"),
        (
            "denoise",
            lambda p: Prediction(p.x0_hat[:, :1], p.eps_hat),
            r"denoise\(\), in x0_hat, returned a tensor of shape \(1, 1, 8, 8\), .* like x: shape \(1, 3, 8, 8\)",
        ),
        (
            "denoise",
            lambda p: Prediction(p.x0_hat, p.eps_hat.double()),
            r"in eps_hat, .* torch.float64 on cpu, but .* torch.float32 on cpu",
        ),
        ("denoise", lambda p: Prediction(p.x0_hat.numpy(), p.eps_hat), r"in x0_hat, returned a ndarray"),
        ("denoise", lambda p: Prediction(p.x0_hat, p.eps_hat, 0.5), r"in variance, returned a float"),
        ("schedule", None, r"schedule\(3\) returned None, but must return a NoiseSchedule"),
        ("schedule", PixelByPixelPrior().schedule(4), r"schedule\(3\) returned 4 levels, but must return 3"),
        ("conditioned", None, r"conditioned\(\) returned None, but must return a prior"),
        ("encode", lambda pair: pair[0], r"encode\(\) returned a tensor .*, but must return a pair"),
        (
            "encode",
            lambda pair: (pair[0].half(), pair[1]),
            r"x0 of .*float16 on cpu, but .* 1 samples of torch.float32",
        ),
        (
            "encode",
            lambda pair: (pair[0], pair[1].float()),
            r"known of .*float32 on cpu, but must return a boolean mask",
        ),
        ("encode", lambda pair: (pair[0], pair[1][..., :4]), r"known of shape \(1, 1, 8, 4\).* \(1, 3, 8, 8\)"),
        ("decode", lambda image: image[:, :, :4], r"decode\(\) returned .*\(1, 3, 4, 8\).* of shape \(1, 3, 8, 8\)"),
        ("decode", lambda image: image.byte(), r"decode\(\) returned a tensor .*uint8 on cpu"),
    ],
)
def test_what_a_prior_returns(name: str, result: Any, message: str) -> None:
    """Otherwise: an AttributeError deep in the sampler, or a result of broadcast values."""
    with pytest.raises(PriorError, match=rf"^PixelByPixelPrior\..*{message}"):
        fill(with_method(name, result))


def test_a_prior_that_changes_x() -> None:
    """Otherwise: the solver steps from a changed sample, and the picture is wrong without a word."""

    class InPlace(PixelByPixelPrior):
        def denoise(self, x: Any, level: Any) -> Prediction:
            found = super().denoise(x, level)
            x.mul_(0.5)
            return found

    with pytest.raises(PriorError, match=r"^InPlace\.denoise\(\) changed x in place"):
        fill(InPlace())


def test_a_prediction_in_windows() -> None:
    """Otherwise: a mistake of a prior is named only where it is not run in windows."""
    prior = with_method("denoise", lambda p: Prediction(p.x0_hat[..., :2], p.eps_hat))
    prior.preferred_size = 8
    image, hole = np.full((40, 40, 3), 90, np.uint8), np.eye(40, dtype=bool)
    with pytest.raises(PriorError, match=r"^PixelByPixelPrior\.denoise\(\), in x0_hat, returned a tensor of shape"):
        RePaintPipeline(prior)(image, hole, schedule=Method(JumpSchedule.paper(3, jump_n_sample=1)), generator=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("multiple_of", 0, "multiple_of=0 must be an integer of at least 1"),
        ("channels", "3", "channels='3' must be an integer"),
        ("latent_factor", 1.5, "latent_factor=1.5 must be an integer"),
        ("preferred_size", 0, "preferred_size=0 must be an integer"),
        ("device", "cpu", "device='cpu' must be a torch.device"),
        ("dtype", torch.float16, "dtype=torch.float16 must be torch.float32 or torch.float64"),
    ],
)
def test_attributes_of_a_prior(name: str, value: Any, message: str) -> None:
    """Otherwise: a division by zero or an AttributeError in the first call."""
    wrong = type("Wrong", (PixelByPixelPrior,), {name: value} if name in ("device", "latent_factor") else {})()
    if name not in ("device", "latent_factor"):
        setattr(wrong, name, value)
    with pytest.raises(PriorError, match=rf"^Wrong\.{message}"):
        RePaintPipeline(wrong)


def test_missing_members_of_a_prior() -> None:
    """Otherwise: advice to wrap a diffusers pipeline, for a prior that lacks a method."""
    partial = type("Partial", (PriorDefaults,), {"channels": 3})()
    with pytest.raises(PriorError, match=r"^Partial lacks .*conditioned, decode, denoise, device, dtype, encode, "):
        RePaintPipeline(partial)
    with pytest.raises(PriorError, match=r"^Partial lacks .*smallest_size.* PriorDefaults supplies the optional ones"):
        RePaintPipeline(type("Partial", (), {"denoise": None})())


class Returning:
    """A solver, merge or corrector whose method returns a value, or what a function makes of the right result."""

    after_renoise, iterations = True, 1

    def __init__(self, part: Any, result: Any) -> None:
        self.part, self.result = part, result

    def _returned(self, name: str, *args: Any) -> Any:
        right = getattr(self.part, name)(*args) if self.part else None
        return self.result(right) if callable(self.result) else self.result

    def step(self, *args: Any) -> Any:
        return self._returned("step", *args)

    def noise(self, *args: Any) -> Any:
        return self._returned("noise", *args)


@pytest.mark.parametrize(
    ("part", "own", "message"),
    [
        ("solver", Returning(None, None), r"step\(\) returned None, but must return a pair"),
        ("solver", Returning(DDPM(), lambda r: r[0]), r"step\(\) returned a tensor .*, but must return a pair"),
        ("solver", Returning(DDPM(), lambda r: (r[0].mean(1), {})), r"step\(\) returned .*\(1, 8, 8\).* like x: shape"),
        (
            "solver",
            Returning(DDPM(), lambda r: (r[0].double(), {})),
            r"step\(\) returned .*float64.* like x: .*float32",
        ),
        ("solver", Returning(DDPM(), lambda r: (r[0], None)), r"step\(\) returned None as what it remembers"),
        ("solver", Returning(DDPM(), lambda r: (r[0], {"last": 1.0})), r"step\(\) returned a dict as what it remem"),
        ("merge", Returning(Fresh(), lambda r: (r[0][0], r[1])), r"noise\(\) returned .*\(3, 8, 8\).* like x: shape"),
        ("merge", Returning(Fresh(), lambda r: r[0]), r"noise\(\) returned a tensor .*, but must return a pair"),
        ("corrector", Returning(None, 0), r"step\(\) returned a int, but must return a pair"),
    ],
)
def test_what_a_part_returns(part: str, own: Any, message: str) -> None:
    """Otherwise: an error deep in the sampler, or a sample of another shape or type."""
    method = Method(JumpSchedule.paper(3, jump_n_sample=1), **{part: own})
    with pytest.raises(InputError, match=rf"^Returning\.{message}"):
        fill(PixelByPixelPrior(), method)


class Guiding:
    gradients = 0

    def __init__(self, result: Any) -> None:
        self.result = result

    def guide(self, step: Any) -> Any:
        return self.result(step)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda step: step.prediction, r"returned a Prediction, but must return a pair"),
        (lambda step: (step.prediction, 0.0), r"returned a float, but must return a tensor like x"),
    ],
)
def test_what_a_rule_of_guidance_returns(result: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^Guiding\.guide\(\) {message}"):
        fill(PixelByPixelPrior(), guidance=Guiding(result))


def test_a_solver_that_makes_nan_is_named() -> None:
    """Otherwise: the message advises other weights, while the solver divides by zero."""

    class Zero(DDIM):
        def step(self, *args: Any) -> Any:
            x, carry = super().step(*args)
            return x / 0 * 0, carry

    with pytest.raises(NonFiniteError, match=r"sample at level 2 of 3 .* holds NaN .*: Zero.* or fresh made them"):
        fill(PixelByPixelPrior(), Method(JumpSchedule.paper(3, jump_n_sample=1), solver=Zero()))


def test_nan_of_guidance_does_not_blame_the_model_alone() -> None:
    with pytest.raises(NonFiniteError, match=r"^PixelByPixelPrior with guidance predicted NaN"):
        fill(PixelByPixelPrior(), guidance=lambda x, _: x * torch.nan)
