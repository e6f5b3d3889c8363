"""How a network F becomes a denoiser: D(x; level) = c_skip x + c_out F(c_in x; c_noise).

| class       | c_in | c_skip                      | c_out             | c_noise       | D           | images in |
|-------------|------|-----------------------------|-------------------|---------------|-------------|-----------|
| Plain       | 1    | 0                           | 1                 | t             | from config | [-1, 1]   |
| EDM         | 1/r  | d^2 / r^2                   | +- sigma d / r    | ln(sigma) / 4 | E[x0|x]     | [-1, 1]   |
| ScoreVE     | 1    | 1                           | sigma^2           | sigma         | E[x0|x]     | [0, 1]    |
| Consistency | 1/r  | d^2 / ((sigma - s)^2 + d^2) | (sigma - s) d / r | 250 ln(sigma) | a clean x   | [-1, 1]   |

with d = sigma_data, s = sigma_min, r = sqrt(sigma^2 + d^2). Plain covers all VP and flow models, whose network predicts
what the scheduler's config states. The other three are variance-exploding: alpha = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from repaint.checks import nearest
from repaint.errors import PriorError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule, config_number
from repaint.sampling.prediction import weighted

__all__ = ["EDM", "Consistency", "Plain", "Preconditioning", "ScaledFlow", "Scales", "ScoreVE", "preconditioning_of"]


@dataclass(frozen=True)
class Scales:
    """The four coefficients of one level, named as in Karras et al. 2022 (arXiv 2206.00364), eq. 7."""

    c_in: float
    c_skip: float
    c_out: float
    c_noise: float

    def scaled(self, x: Tensor) -> Tensor:
        """Return the network's input for x."""
        return x if self.c_in == 1 else self.c_in * x

    def denoised(self, x: Tensor, output: Tensor) -> Tensor:
        """Return D from the network's output, in new memory: a compiled network overwrites that of its output."""
        return weighted((self.c_skip, x), (self.c_out, output))


@runtime_checkable
class Preconditioning(Protocol):
    """The rule for the scales of a level. Any object with these three members is accepted."""

    @property
    def predicts(self) -> str:
        """What D predicts: a key of `prediction.PARAMETRISATIONS`."""
        ...

    @property
    def low(self) -> float:
        """The value of black in the network's training images; white is 1."""
        ...

    def at(self, level: Level) -> Scales:
        """Return the scales of a level with sigma > 0."""
        ...


@dataclass(frozen=True)
class Plain:
    """No preconditioning: the network takes x and the timestep t, and predicts what the scheduler's config states.

    Attributes:
        predicts: the scheduler's `prediction_type`.
        sign: -1 for a network whose velocity points from noise to data (OmniGen).
    """

    predicts: str
    sign: float = 1.0
    low = -1.0

    def at(self, level: Level) -> Scales:
        return Scales(c_in=1.0, c_skip=0.0, c_out=self.sign, c_noise=level.t)


@dataclass(frozen=True)
class ScaledFlow:
    """The velocity of a flow whose noise is `scale` times as strong: x_t = (1 - t) x0 + t scale eps (PRX in pixels).

    The pipeline's output is (x_t - x0) / t.

    Attributes:
        scale: of the noise, > 0.
        clock: the model's time at t = 1.
    """

    scale: float
    clock: float = 1000.0
    predicts = "sample"
    low = -1.0

    def at(self, level: Level) -> Scales:
        return Scales(c_in=1.0, c_skip=1.0, c_out=-level.t / self.clock, c_noise=level.t)


@dataclass(frozen=True)
class EDM:
    """Scale input, output and target to unit variance at every noise level.

    Attributes:
        sigma_data: standard deviation of the data, > 0.
        prediction_type: "epsilon" is the paper's F. "v_prediction" is its negative, which is v in the sense of Salimans
            & Ho 2022 (arXiv 2202.00512, App. D) of the data divided by sigma_data.
    Raises:
        PriorError: another prediction type.
    Source:
        Karras et al. 2022 (arXiv 2206.00364), Table 1, last column.
    """

    sigma_data: float = 0.5
    prediction_type: str = "epsilon"
    predicts = "sample"
    low = -1.0

    def __post_init__(self) -> None:
        if self.prediction_type not in _EDM_SIGNS:
            raise PriorError(
                f"prediction_type={self.prediction_type!r} must be one of {', '.join(_EDM_SIGNS)} for an EDM model "
                f"(correct the scheduler's config).{nearest(self.prediction_type, _EDM_SIGNS)}"
            )

    def at(self, level: Level) -> Scales:
        r = math.hypot(level.sigma, self.sigma_data)
        return Scales(
            c_in=1 / r,
            c_skip=(self.sigma_data / r) ** 2,
            c_out=_EDM_SIGNS[self.prediction_type] * level.sigma * self.sigma_data / r,
            c_noise=math.log(level.sigma) / 4,
        )


_EDM_SIGNS = {"epsilon": 1, "v_prediction": -1}


@dataclass(frozen=True)
class ScoreVE:
    """The network predicts the score, the gradient of log p(x) with respect to x: D = x + sigma^2 score.

    NCSN++ (a `UNet2DModel` with Fourier time embedding) divides its output by sigma itself. Its images lie in [0, 1],
    as does the output of diffusers' ScoreSdeVePipeline. (KarrasVePipeline runs the same networks at levels for images
    in [-1, 1], with its own scheduler, which is not supported here.)

    Source:
        Song et al. 2021 (arXiv 2011.13456), eq. 7 and 9; Tweedie's formula (Efron 2011, J. Am. Stat. Assoc. 106).
    """

    predicts = "sample"
    low = 0.0

    def at(self, level: Level) -> Scales:
        return Scales(c_in=1.0, c_skip=1.0, c_out=level.sigma**2, c_noise=level.sigma)


@dataclass(frozen=True)
class Consistency:
    """D maps x to the clean end of the deterministic path through x; at the cleanest level, sigma_min, D(x) = x.

    That end is a sample and not the mean that steps between noise levels assume, so such steps leave too much variance.
    The paper's sampling (Alg. 1, and Alg. 4 for inpainting) goes down to level 0 and renoises, as
    `JumpSchedule.from_levels([40, 0, 20, 0, 10, 0])` does.

    Attributes:
        sigma_data: standard deviation of the data, > 0.
        sigma_min: the cleanest level, > 0.
    Source:
        Song et al. 2023 (arXiv 2303.01469), Sec. 3 and App. C.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    predicts = "sample"
    low = -1.0

    def at(self, level: Level) -> Scales:
        r, above = math.hypot(level.sigma, self.sigma_data), level.sigma - self.sigma_min
        return Scales(
            c_in=1 / r,
            c_skip=self.sigma_data**2 / (above**2 + self.sigma_data**2),
            c_out=above * self.sigma_data / r,
            c_noise=250 * math.log(level.sigma),
        )


def _edm(config: Mapping[str, Any]) -> EDM:
    return EDM(config_number(config, "sigma_data", None, 1e-6), str(config["prediction_type"]))


# Scheduler class -> preconditioning. Config keys do not suffice: other classes use the same ones with other scales.
_VARIANCE_EXPLODING: dict[str, Callable[[Mapping[str, Any]], Preconditioning]] = {
    "EDMEulerScheduler": _edm,
    "EDMDPMSolverMultistepScheduler": _edm,
    "ScoreSdeVeScheduler": lambda _: ScoreVE(),
    "CMStochasticIterativeScheduler": lambda config: Consistency(
        config_number(config, "sigma_data", None, 1e-6), config_number(config, "sigma_min", None, 1e-9)
    ),
}


def preconditioning_of(scheduler: Any) -> Preconditioning:
    """Return the preconditioning of the networks that a scheduler is used with.

    Args:
        scheduler: a diffusers scheduler.
    Raises:
        PriorError: a variance-exploding scheduler whose class is not known here.
    """
    family = NoiseSchedule.from_scheduler(scheduler, 1, shift=1.0).family  # any shift will do here
    if family != "VE":
        # Flow schedulers have no such key in their config, because all flow models predict the velocity.
        default = "flow_prediction" if family == "flow" else "epsilon"
        sign = -1.0 if scheduler.config.get("invert_sigmas") else 1.0
        return Plain(str(scheduler.config.get("prediction_type", default)), sign)
    name = type(scheduler).__name__
    if name not in _VARIANCE_EXPLODING:
        raise PriorError(
            f"The variance-exploding scheduler {name} is not supported. Use one of {', '.join(_VARIANCE_EXPLODING)} "
            "that the model was trained with or, for a UNet2DModel, pass preconditioning= to PixelPrior."
        )
    return _VARIANCE_EXPLODING[name](scheduler.config)
