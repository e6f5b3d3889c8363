"""The noise path that every model family shares: x_t = alpha_t * x0 + sigma_t * eps, eps ~ N(0, I).

| family | alpha      | sigma      | models                                        |
|--------|------------|------------|-----------------------------------------------|
| VP     | sqrt(abar) | sqrt(1-abar) | DDPM, guided-diffusion, Stable Diffusion, LDM |
| VE     | 1          | sigma      | score-SDE VE, EDM, consistency models         |
| flow   | 1 - s      | s          | rectified flow: SD 3, Flux                    |

Everything past this file uses (alpha, sigma) alone. All of it is float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from repaint.checks import is_number, nearest, shown
from repaint.errors import NoiseLevelError
from repaint.sampling.levels import CLEAN, Level

__all__ = ["NoiseSchedule", "Spacing", "config_number"]

Spacing = Literal["leading", "trailing", "linspace", "quadratic", "logsnr"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseSchedule:
    """A grid of noise levels, from 0 (clean) to `steps` (noisiest).

    Attributes:
        levels: steps + 1 levels; levels[0] is clean, sigma / alpha rises strictly.
        family: "VP", "VE" or "flow".
        spacing: how the levels were chosen.
    """

    levels: tuple[Level, ...]
    family: str
    spacing: str

    @property
    def steps(self) -> int:
        """The number of the noisiest level."""
        return len(self.levels) - 1

    def __getitem__(self, level: int) -> Level:
        return self.levels[level]

    @classmethod
    def from_scheduler(
        cls, scheduler: Any, steps: int, spacing: Spacing | None = None, *, shift: float | None = None
    ) -> NoiseSchedule:
        """Read the noise levels of any Hugging Face scheduler.

        The family is decided by the config's keys: betas are VP, a flow shift is flow, a sigma range is VE. The config
        alone is read; a scheduler whose `alphas_cumprod` were changed beside it is refused.

        Args:
            scheduler: a diffusers scheduler, its config, or a plain dict with the same keys.
            steps: number of levels above clean, from 1 to the training count. Any count reaches the noisiest level,
                save with "leading", whose definition stops a stride below.
            spacing: where the levels stand on the training clock; None is the scheduler's own choice.
                "leading", "trailing" and "linspace" are those of arXiv 2305.08891, Table 2; "quadratic" is denser
                near the clean end (t proportional to i^2, arXiv 2010.02502, App. D); "logsnr" is even in log-SNR.
            shift: for flow schedulers with dynamic shifting, the shift at this image size (exp(mu)).
        Raises:
            NoiseLevelError: an unknown scheduler, spacing, beta schedule, a step count out of range, or a config whose
                noise does not rise from level to level.
        """
        config: Any = getattr(scheduler, "config", scheduler)
        if not isinstance(config, Mapping):
            raise NoiseLevelError(f"Scheduler {shown(config)}: it is a scheduler of diffusers, or a dict. Pass one.")
        # A config without the key means the one spacing that its class has: those with betas step "leading", those of
        # consistency models (the only ones with clip_denoised) "trailing".
        by_key = {"beta_schedule": "leading", "clip_denoised": "trailing"}
        own = config.get("timestep_spacing") or next((by_key[key] for key in by_key if key in config), "linspace")
        stand = str(spacing or own)
        if stand not in get_args(Spacing):
            known = ", ".join(get_args(Spacing))
            raise NoiseLevelError(f"Spacing {stand!r}: levels can stand {known}.{nearest(stand, get_args(Spacing))}")
        count = _train_count(config)
        if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= count:
            raise NoiseLevelError(f"{steps!r} steps: this model was trained on {count} levels. Choose 1 to {count}.")
        if "shift" in config or config.get("use_flow_sigmas"):
            levels, family = _flow_levels(config, count, steps, stand, shift), "flow"
        elif config.get("trained_betas") is not None or "beta_schedule" in config:
            abar = train_alphas_cumprod(config)
            _check_unchanged(scheduler, abar)
            levels, family = _vp_levels(abar, config, steps, stand), "VP"
        elif "sigma_max" in config and "sigma_min" in config:
            read = _consistency_levels if "clip_denoised" in config else _ve_levels
            levels, family = read(config, steps, stand), "VE"
        else:
            name = config.get("_class_name", type(scheduler).__name__)
            raise NoiseLevelError(
                f"Scheduler {name} has neither betas, nor a flow shift, nor a sigma range: its noise levels cannot be "
                "read. Use the config of a DDPM, DDIM, DPM-Solver, Euler, flow-matching or VE scheduler."
            )
        _check_rising(levels)
        return cls(levels=(CLEAN, *levels), family=family, spacing=stand)


def config_number(config: Mapping[str, Any], key: str, default: Any, low: float, high: float = math.inf) -> float:
    """A number of a scheduler's config, finite and in [low, high].

    Args:
        default: where the config lacks the key.
    Raises:
        NoiseLevelError: another value.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not is_number(value) or not (low <= value <= high and math.isfinite(value)):
        bounds = f"from {low:g}" + (f" to {high:g}" if high < math.inf else "")
        raise NoiseLevelError(f"The scheduler's {key} is {shown(value)}: it is a number {bounds}. Correct its config.")
    return float(value)


def _whole(config: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    """A whole number of a config, in [low, high]; see `config_number`."""
    value = config_number(config, key, default, low, high)
    if value != int(value):
        raise NoiseLevelError(f"The scheduler's {key} is {value}: it is a whole number. Correct its config.")
    return int(value)


def _train_count(config: Mapping[str, Any]) -> int:
    return _whole(config, "num_train_timesteps", 1000, 1, 10**6)


def _check_rising(levels: list[Level]) -> None:
    """Refuse levels between which a step would divide by zero, as those of an extreme shift or rho.

    Raises:
        NoiseLevelError: sigma / alpha does not rise, or is no number.
    """
    for i, (a, b) in enumerate(pairwise((CLEAN, *levels))):
        if not (a.alpha * b.sigma > b.alpha * a.sigma and math.isfinite(b.sigma)):  # NaN is neither
            raise NoiseLevelError(
                f"Levels {i} and {i + 1} of {len(levels)} have alpha {a.alpha:.6g} and {b.alpha:.6g}, sigma "
                f"{a.sigma:.6g} and {b.sigma:.6g}: noise rises from level to level. Correct the scheduler's config, or "
                "take fewer steps."
            )


def _check_unchanged(scheduler: Any, read: Array) -> None:
    """Refuse a scheduler that carries other noise than was `read` from its config: by a hand, or a rule not known here.

    Raises:
        NoiseLevelError: its `alphas_cumprod` are others.
    """
    own = getattr(scheduler, "alphas_cumprod", None)
    if own is None:
        return
    # By lists, for numpy takes no tensor of a GPU, where diffusers' add_noise leaves it.
    found = np.asarray(own.tolist() if hasattr(own, "tolist") else own, dtype=np.float64)
    # Products of 1000 floats round to 1e-4 at most, and some schedulers lift a last 0 to 2^-24.
    if found.shape != read.shape or not np.allclose(found, read, rtol=0, atol=1e-4):
        raise NoiseLevelError(
            f"The alphas_cumprod of this {type(scheduler).__name__} are not those of its config, which alone is read. "
            "Give it the betas that you mean as trained_betas."
        )


def train_alphas_cumprod(config: Mapping[str, Any]) -> Array:
    """abar_t for t = 0 ... T - 1 of a VP config, (T,) float64 in [0, 1)."""
    trained = config.get("trained_betas")
    if trained is not None:
        try:
            betas = np.asarray(trained, dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise NoiseLevelError(f"trained_betas {shown(trained)} are no numbers ({error}). Correct them.") from error
        if betas.ndim != 1 or not len(betas):
            raise NoiseLevelError(f"trained_betas have shape {betas.shape}: they are one list. Pass one, not empty.")
    else:
        kind = str(config["beta_schedule"])
        if kind not in _BETAS:
            raise NoiseLevelError(f"Beta schedule {kind!r}: known are {', '.join(_BETAS)}.{nearest(kind, _BETAS)}")
        ends = config_number(config, "beta_start", 1e-4, 0, 1), config_number(config, "beta_end", 0.02, 0, 1)
        betas = _BETAS[kind](*ends, _train_count(config))
    alphas_cumprod = np.cumprod(1 - betas)
    falls = np.diff(alphas_cumprod, prepend=1.0) < 0  # which NaN does not
    if not (falls.all() and alphas_cumprod[-1] >= 0):
        right = (betas > 0) & (betas < np.append(np.ones(len(betas) - 1), math.inf)) & (betas <= 1)
        i = int(falls.argmin() if right.all() else right.argmin())
        raise NoiseLevelError(
            f"Beta {i} of the scheduler's {len(betas)} is {betas[i]:.4g}, which takes what is left of the signal to "
            f"{alphas_cumprod[i]:.4g}: betas lie in (0, 1), the last may be 1, and something is left before it. "
            "Correct trained_betas, or beta_start and beta_end."
        )
    if config.get("rescale_betas_zero_snr"):
        # arXiv 2305.08891, Alg. 1: shift sqrt(abar) so that it ends at 0, scale it so that it starts where it did.
        if len(betas) == 1:
            raise NoiseLevelError("rescale_betas_zero_snr with one level: nothing is left to scale. Leave it out.")
        root = np.sqrt(alphas_cumprod)
        alphas_cumprod = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return np.asarray(alphas_cumprod, dtype=np.float64)


def _cosine_betas(_start: float, _end: float, count: int) -> Array:
    """Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17; the ends of a linear schedule play no part."""
    abar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.minimum(1 - abar[1:] / abar[:-1], 0.999))


_BETAS: dict[str, Callable[[float, float, int], Array]] = {
    "linear": np.linspace,
    "scaled_linear": lambda start, end, count: np.linspace(start**0.5, end**0.5, count) ** 2,
    "squaredcos_cap_v2": _cosine_betas,
    "sigmoid": lambda start, end, count: (end - start) / (1 + np.exp(-np.linspace(-6, 6, count))) + start,
}


def _vp_levels(abar: Array, config: Mapping[str, Any], steps: int, spacing: str) -> list[Level]:
    timesteps = _timesteps(abar, steps, spacing, _whole(config, "steps_offset", 0, 0, len(abar) - 1))
    return [Level(math.sqrt(abar[t]), math.sqrt(1 - abar[t]), float(t)) for t in timesteps]


def _timesteps(alphas_cumprod: Array, steps: int, spacing: str, offset: int) -> NDArray[np.int64]:
    """Indices into `alphas_cumprod` that rise strictly, (steps,)."""
    count = len(alphas_cumprod)
    if steps > count:
        raise NoiseLevelError(f"{steps} steps: this model was trained on {count} levels. Choose 1 to {count}.")
    i = np.arange(1, steps + 1)
    if spacing == "leading":
        wanted = (i - 1) * count / steps + offset
    elif spacing == "trailing":
        wanted = np.round(i * count / steps) - 1
    elif spacing == "linspace":
        wanted = _linspace(0, count - 1, steps)
    elif spacing == "quadratic":
        wanted = count * (i / steps) ** 2 - 1
    else:
        finite = alphas_cumprod[alphas_cumprod > 0]
        log_nsr = np.log1p(-finite) - np.log(finite)
        if len(finite) == count:
            wanted = np.interp(_linspace(log_nsr[0], log_nsr[-1], steps), log_nsr, np.arange(count))
        elif count == 1:
            wanted = np.zeros(1)
        else:  # zero terminal SNR: even up to the last finite level, then the end itself
            even = np.linspace(log_nsr[0], log_nsr[-1], steps - 1)
            wanted = np.append(np.interp(even, log_nsr, np.arange(count - 1)), count - 1)
    return _strictly_rising(wanted, count)


def _flow_levels(config: Mapping[str, Any], count: int, steps: int, spacing: str, shift: float | None) -> list[Level]:
    if shift is None:
        if config.get("use_dynamic_shifting"):
            raise NoiseLevelError("This flow scheduler shifts with the image size: pass shift=exp(mu) for that size.")
        key = next((key for key in ("shift", "flow_shift") if config.get(key) is not None), None)
        shift = 1.0 if key is None else config_number(config, key, None, 1e-6, 1e6)
    else:
        shift = config_number({"shift": shift}, "shift", None, 1e-6, 1e6)

    def shifted(u: Array) -> Array:
        return np.asarray(shift * u / (shift * u + (1 - u)))  # in this form 1 stays 1 to the last bit: alpha is 0 there

    i = np.arange(1, steps + 1)
    if spacing == "leading":
        s = shifted((i - 1) / steps + 1 / count)
    elif spacing == "linspace":
        # From the training grid's own ends, which are shifted once already; as FlowMatchEulerDiscreteScheduler does.
        first = 1.0 / count if config.get("use_dynamic_shifting") else float(shifted(np.array(1 / count)))
        s = shifted(_linspace(first, 1.0, steps))
    elif spacing == "quadratic":
        s = shifted((i / steps) ** 2)
    elif spacing == "logsnr" and count > 1:
        ends = [math.log(1 / s - 1) for s in (float(shifted(np.array(1 / count))), 1 - 1 / count)]
        s = np.append(1 / (1 + np.exp(np.linspace(ends[0], ends[1], steps)[:-1])), 1.0)
    else:
        s = shifted(i / steps)
    return [Level(1.0 - float(sigma), float(sigma), count * float(sigma)) for sigma in s]


def _ve_levels(config: Mapping[str, Any], steps: int, spacing: str) -> list[Level]:
    low = config_number(config, "sigma_min", None, 1e-9, 1e9)
    high = config_number(config, "sigma_max", None, low, 1e9)
    i = np.arange(1, steps + 1)
    if spacing == "leading":
        u = (i - 1) / steps
    elif spacing == "quadratic":
        u = (i / steps) ** 2
    elif spacing == "trailing":
        u = i / steps
    else:
        u = _linspace(0.0, 1.0, steps)
    if "rho" in config and config.get("sigma_schedule") != "exponential" and spacing != "logsnr":
        rho = config_number(config, "rho", None, 0.1, 1000)  # Karras et al. 2022 (arXiv 2206.00364), eq. 5
        sigmas = (low ** (1 / rho) + u * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    else:
        sigmas = low * (high / low) ** u  # Song et al. 2021 (arXiv 2011.13456), App. C: geometric
    return [Level(1.0, float(sigma), float(sigma)) for sigma in sigmas]


def _consistency_levels(config: Mapping[str, Any], steps: int, spacing: str) -> list[Level]:
    """Some of the levels of training: between them the network has seen nothing (arXiv 2303.01469, Sec. 4)."""
    trained = _ve_levels(config, _train_count(config), "linspace")
    _check_rising(trained)  # before it is searched
    abar = 1 / (1 + np.array([level.sigma for level in trained]) ** 2)  # of the VP level with the same log-SNR
    return [trained[t] for t in _timesteps(abar, steps, spacing, 0)]


def _linspace(first: float, last: float, count: int) -> Array:
    """Even from first to last, and the last alone where one point is wanted: a grid must reach its noisiest level."""
    return np.linspace(first, last, count) if count > 1 else np.array([float(last)])


def _strictly_rising(wanted: Array, count: int) -> NDArray[np.int64]:
    """The nearest integers in [0, count) that rise strictly; dense ends are pushed apart, never repeated."""
    steps = len(wanted)
    i = np.arange(steps)
    rising = np.maximum.accumulate(np.maximum(np.round(wanted), 0).astype(np.int64) - i) + i
    return np.minimum(rising, count - steps + i)
