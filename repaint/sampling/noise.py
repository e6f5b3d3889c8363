"""Reading the noise levels of a model from its scheduler's config.

`NoiseSchedule.from_scheduler` recognises the family (VP, VE or flow, see `levels`) and picks the levels to sample at.
All numbers are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from repaint.checks import is_integer, is_number, nearest, shown, whole_number
from repaint.errors import NoiseLevelError
from repaint.sampling.levels import CLEAN, Level
from repaint.sampling.spacing import NoiseSpacing, Spacing, evenly, read_spacing

__all__ = ["NoiseSchedule", "config_number"]

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

    def __repr__(self) -> str:
        most = self.levels[-1]
        ratio = most.sigma / most.alpha if most.alpha else math.inf
        return f"NoiseSchedule({self.steps} {self.family} levels, {self.spacing}, sigma / alpha up to {ratio:.4g})"

    @property
    def steps(self) -> int:
        """The index of the noisiest level."""
        return len(self.levels) - 1

    def __getitem__(self, level: int) -> Level:
        return self.levels[level]

    @classmethod
    def from_scheduler(
        cls, scheduler: Any, steps: SupportsIndex, spacing: Spacing | None = None, *, shift: float | None = None
    ) -> NoiseSchedule:
        """Read the noise levels of a Hugging Face scheduler.

        The config's keys decide the family: betas mean VP, a flow shift means flow, a sigma range means VE. Only the
        config is read; a scheduler whose `alphas_cumprod` differ from the config raises.

        Args:
            scheduler: a diffusers scheduler, its config, or a dict with the same keys.
            steps: number of levels above clean, from 1 to the training count. Every count reaches the noisiest level,
                except with "leading", which by definition stops one stride below it, and with a `top`.
            spacing: where the levels lie; None uses the config's `timestep_spacing`, or else that of its kind of
                scheduler. Other entries that move diffusers' steps are ignored: `use_karras_sigmas`,
                `use_exponential_sigmas`, `use_beta_sigmas` and, for flow, `shift_terminal`. On the training clock:
                "leading", whose stride is T / steps (diffusers rounds it down: at 75 of 1000 steps, the noisiest
                timestep is 987 here and 962 there), "trailing" and "linspace" (arXiv 2305.08891, Table 2), "quadratic",
                denser near the clean end (t proportional to i^2, arXiv 2010.02502, App. D), and "root", DiffPIR's: one
                long step down from the noisiest level, then steps that shrink slowly (999 - 1000 sqrt(i / (n - 1)),
                arXiv 2305.08995). By noise alone, with clock times interpolated: "karras(rho, top)" and "logsnr(top)",
                see `repaint.sampling.spacing`.
            shift: for flow schedulers with dynamic shifting, the shift at this image size (exp(mu)).
        Raises:
            NoiseLevelError: an unknown scheduler, spacing or beta schedule, a step count out of range, or a config
                whose noise does not increase from level to level.

        >>> noise = NoiseSchedule.from_scheduler({"beta_schedule": "linear"}, steps=4, spacing="trailing")
        >>> noise.family, [level.t for level in noise.levels]
        ('VP', [0.0, 249.0, 499.0, 749.0, 999.0])
        """
        config: Any = getattr(scheduler, "config", scheduler)
        if not isinstance(config, Mapping):
            raise NoiseLevelError(
                f"scheduler={shown(config)} must be a diffusers scheduler, a scheduler config or a dict."
            )
        # Classes without timestep_spacing have one fixed spacing: "leading" for those with betas, "trailing" for
        # consistency models (the only ones with clip_denoised).
        by_key = {"beta_schedule": "leading", "clip_denoised": "trailing"}
        default = config.get("timestep_spacing") or next((by_key[key] for key in by_key if key in config), "linspace")
        name = str(spacing or default)
        placed = read_spacing(name)
        train_count, flows = _train_count(config), "shift" in config or config.get("use_flow_sigmas")
        if flows and train_count == 1 and config.get("invert_sigmas"):  # OmniGen's clock, from 0 to 1
            train_count = 1000
        count = _check_steps(steps, train_count)
        if config.get("timestep_type") == "continuous" and config.get("prediction_type") == "v_prediction":
            raise NoiseLevelError(
                "timestep_type='continuous' with v_prediction is not supported, because the model's clock is ln(sigma) "
                "/ 4. For the same model, use an EDMEulerScheduler with sigma_data=1, prediction_type='v_prediction' "
                "and the same sigma_min and sigma_max."
            )
        if flows:
            levels, family = _flow_levels(config, train_count, count, placed, shift), "flow"
        elif config.get("trained_betas") is not None or "beta_schedule" in config:
            abar = train_alphas_cumprod(config)
            _check_unchanged(scheduler, abar)
            levels, family = _vp_levels(abar, config, count, placed), "VP"
        elif "sigma_max" in config and "sigma_min" in config:
            read = _consistency_levels if "clip_denoised" in config else _ve_levels
            levels, family = read(config, count, placed), "VE"
        else:
            raise NoiseLevelError(
                f"scheduler={config.get('_class_name', type(scheduler).__name__)} must have betas, a flow shift or a "
                "sigma range (such as DDPM, DDIM, DPM-Solver, Euler, flow-matching or VE schedulers)."
            )
        _check_rising(levels)
        return cls(levels=(CLEAN, *levels), family=family, spacing=name)


def config_number(config: Mapping[str, Any], key: str, default: Any, low: float, high: float = math.inf) -> float:
    """Read a finite number in [low, high] from a scheduler's config.

    Args:
        default: used when the key is missing.
    Raises:
        NoiseLevelError: the value is not such a number.
    """
    value = config.get(key, default)
    if isinstance(value, bool) or not is_number(value) or not (low <= value <= high and math.isfinite(value)):
        bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise NoiseLevelError(f"{key}={shown(value)} must be a number {bounds} (a scheduler setting).")
    return float(value)


def _whole(config: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    """Read an integer in [low, high] from a scheduler's config; 1000.0 counts as 1000."""
    value = config_number(config, key, default, low, high)
    if value != int(value):
        raise NoiseLevelError(f"{key}={value} must be an integer (a scheduler setting).")
    return int(value)


def _train_count(config: Mapping[str, Any]) -> int:
    return _whole(config, "num_train_timesteps", 1000, 1, 10**6)


def _check_steps(steps: SupportsIndex, train_count: int) -> int:
    hint = f"the model was trained on {train_count} levels"
    if is_integer(steps) and int(steps) > train_count:
        hint += f"; shorten a preset with with_budget(name, steps={train_count}), or --steps {train_count} in the shell"
    return whole_number("steps", steps, 1, train_count, error=NoiseLevelError, hint=hint)


def _check_rising(levels: list[Level]) -> None:
    """Check that noise increases from level to level; a step between equal levels would divide by zero.

    Raises:
        NoiseLevelError: sigma / alpha does not increase, or is not finite (after an extreme shift or rho).
    """
    for i, (a, b) in enumerate(pairwise((CLEAN, *levels))):
        if not (a.alpha * b.sigma > b.alpha * a.sigma and math.isfinite(b.sigma)):  # also catches NaN
            raise NoiseLevelError(
                f"Noise must increase from level to level, but levels {i} and {i + 1} of {len(levels)} have "
                f"alpha {a.alpha:.6g} and {b.alpha:.6g}, sigma {a.sigma:.6g} and {b.sigma:.6g}. Correct the "
                "scheduler's config, or use fewer steps."
            )


def _check_unchanged(scheduler: Any, expected: Array) -> None:
    """Check that a scheduler's `alphas_cumprod` equal those of its config.

    They differ after a manual edit, and for schedulers that compute them by a rule this module does not implement.

    Raises:
        NoiseLevelError: they differ.
    """
    own = getattr(scheduler, "alphas_cumprod", None)
    if own is None:
        return
    # Through a list, because numpy cannot read a GPU tensor (diffusers' add_noise leaves alphas_cumprod on the GPU).
    found = np.asarray(own.tolist() if hasattr(own, "tolist") else own, dtype=np.float64)
    # The rounding of a product of 1000 floats is below 1e-4; some schedulers also raise a final 0 to 2^-24.
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=1e-4):
        raise NoiseLevelError(
            f"alphas_cumprod of this {type(scheduler).__name__} must equal those of its config (only the config is "
            "read). Pass the betas you mean as trained_betas."
        )


def train_alphas_cumprod(config: Mapping[str, Any]) -> Array:
    """Compute abar_t for t = 0 ... T - 1 from a VP config.

    Returns:
        (T,) float64 in [0, 1), strictly decreasing.
    Raises:
        NoiseLevelError: unusable betas, or an unknown beta schedule.
    """
    trained = config.get("trained_betas")
    if trained is not None:
        try:
            betas = np.asarray(trained, dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise NoiseLevelError(f"trained_betas={shown(trained)} must be numbers ({error}).") from error
        if betas.ndim != 1 or not len(betas):
            raise NoiseLevelError(f"trained_betas must be a non-empty 1-D list, but has shape {betas.shape}.")
    else:
        kind = str(config["beta_schedule"])
        if kind not in _BETAS:
            raise NoiseLevelError(f"beta_schedule={kind!r} must be one of {', '.join(_BETAS)}.{nearest(kind, _BETAS)}")
        ends = config_number(config, "beta_start", 1e-4, 0, 1), config_number(config, "beta_end", 0.02, 0, 1)
        betas = _BETAS[kind](*ends, _train_count(config))
    alphas_cumprod = np.cumprod(1 - betas)
    if "snr_shift_scale" in config:  # divides the signal-to-noise ratio (CogView 3+)
        scale = config_number(config, "snr_shift_scale", None, 1e-6, 1e6)
        alphas_cumprod = alphas_cumprod / (scale + (1 - scale) * alphas_cumprod)
    falls = np.diff(alphas_cumprod, prepend=1.0) < 0  # False for NaN
    if not (falls.all() and alphas_cumprod[-1] >= 0):
        right = (betas > 0) & (betas < np.append(np.ones(len(betas) - 1), math.inf)) & (betas <= 1)
        i = int(falls.argmin() if right.all() else right.argmin())
        raise NoiseLevelError(
            f"beta[{i}]={betas[i]:.4g} of {len(betas)} must lie in (0, 1) and leave some signal; only the last may be "
            f"1 (alphas_cumprod is {alphas_cumprod[i]:.4g} there). Correct trained_betas, or beta_start and beta_end."
        )
    if config.get("rescale_betas_zero_snr"):
        # arXiv 2305.08891, Alg. 1: shift sqrt(abar) to end at 0, then scale it to keep its start.
        if len(betas) == 1:
            raise NoiseLevelError("rescale_betas_zero_snr must be off for a single training level.")
        root = np.sqrt(alphas_cumprod)
        alphas_cumprod = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return np.asarray(alphas_cumprod, dtype=np.float64)


def _cosine_betas(_start: float, _end: float, count: int) -> Array:
    """Compute the betas of Nichol & Dhariwal 2021 (arXiv 2102.09672), eq. 17; beta_start and beta_end are ignored."""
    abar = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * math.pi / 2) ** 2
    return np.asarray(np.minimum(1 - abar[1:] / abar[:-1], 0.999))


_BETAS: dict[str, Callable[[float, float, int], Array]] = {
    "linear": np.linspace,
    "scaled_linear": lambda start, end, count: np.linspace(start**0.5, end**0.5, count) ** 2,
    "squaredcos_cap_v2": _cosine_betas,
    "sigmoid": lambda start, end, count: (end - start) / (1 + np.exp(-np.linspace(-6, 6, count))) + start,
}


def _vp_levels(abar: Array, config: Mapping[str, Any], steps: int, spacing: str | NoiseSpacing) -> list[Level]:
    if isinstance(spacing, str):
        timesteps = _timesteps(len(abar), steps, spacing, _whole(config, "steps_offset", 0, 0, len(abar) - 1))
        return [Level(math.sqrt(abar[t]), math.sqrt(1 - abar[t]), float(t)) for t in timesteps]
    with np.errstate(divide="ignore"):
        trained = np.sqrt((1 - abar) / abar)
    finite = trained[np.isfinite(trained)]
    levels = []
    for ratio in _ratios(spacing, trained, steps):
        if math.isinf(ratio):
            levels.append(Level(0.0, 1.0, float(len(abar) - 1)))
        else:
            t = np.interp(math.log(ratio), np.log(finite), np.arange(len(finite))) if len(finite) else 0.0
            levels.append(Level(1 / math.hypot(1, ratio), ratio / math.hypot(1, ratio), float(t)))
    return levels


def _ratios(spacing: NoiseSpacing, trained: Array, steps: int) -> list[float]:
    """Choose `steps` rising values of sigma / alpha within what a model was trained on.

    Args:
        trained: sigma / alpha of the training levels, rising; the last may be inf (pure noise). Then a spacing without
            a top ends at inf, and spreads the other levels up to the last finite one.
    Raises:
        NoiseLevelError: the spacing's top lies below the model's least noise.
    """
    finite = trained[np.isfinite(trained)]
    if not len(finite):
        return [math.inf]
    least, last = float(finite[0]), float(finite[-1])
    if math.isinf(spacing.top) and len(finite) < len(trained):
        before = spacing.ratios(least, last, steps - 1).tolist() if steps > 1 else []
        return [*before, math.inf]
    most = min(last, spacing.top)
    if most < least:
        raise NoiseLevelError(
            f"top={spacing.top:g} must be at least {least:.4g} (this model's least sigma / alpha). Raise it."
        )
    return [float(ratio) for ratio in spacing.ratios(least, most, steps)]


def _timesteps(count: int, steps: int, spacing: str, offset: int) -> NDArray[np.int64]:
    """Choose (steps,) strictly increasing indices out of `count`."""
    _check_steps(steps, count)
    i = np.arange(1, steps + 1)
    if spacing == "leading":
        wanted = (i - 1) * count / steps + offset
    elif spacing == "trailing":
        wanted = np.round(i * count / steps) - 1
    elif spacing == "linspace":
        wanted = evenly(0, count - 1, steps)
    elif spacing == "root":
        wanted = np.maximum(count - 1 - np.floor(count * np.sqrt(1 - evenly(0, 1, steps))), 0)
    else:
        wanted = count * (i / steps) ** 2 - 1  # quadratic
    return _strictly_rising(wanted, count)


def _flow_levels(
    config: Mapping[str, Any], count: int, steps: int, spacing: str | NoiseSpacing, shift: float | None
) -> list[Level]:
    if shift is None:
        if config.get("use_dynamic_shifting"):
            raise NoiseLevelError(
                "shift=None must be given (this scheduler's shift depends on the image size: exp(mu))."
            )
        key = next((key for key in ("shift", "flow_shift") if config.get(key) is not None), None)
        shift = 1.0 if key is None else config_number(config, key, None, 1e-6, 1e6)
    else:
        shift = config_number({"shift": shift}, "shift", None, 1e-6, 1e6)

    def shifted(u: Array) -> Array:
        return np.asarray(shift * u / (shift * u + (1 - u)))  # this form maps 1 to exactly 1, where alpha is 0

    i = np.arange(1, steps + 1)
    if isinstance(spacing, NoiseSpacing):
        ends = [s / (1 - s) for s in (float(shifted(np.array(1 / count))), 1 - 1 / count) if 0 < s < 1]
        ratios = np.array(_ratios(spacing, np.array([*sorted(ends), math.inf]), steps))
        s = 1 / (1 + 1 / ratios)
    elif spacing == "leading":
        s = shifted((i - 1) / steps + 1 / count)
    elif spacing == "linspace":
        # From the ends of the training grid, which is already shifted, as in FlowMatchEulerDiscreteScheduler.
        first = 1.0 / count if config.get("use_dynamic_shifting") else float(shifted(np.array(1 / count)))
        s = shifted(evenly(first, 1.0, steps))
    elif spacing == "quadratic":
        s = shifted((i / steps) ** 2)
    elif spacing == "root":
        s = shifted(_root(steps + 1)[1:])
    else:
        s = shifted(i / steps)
    times = 1 - s if config.get("invert_sigmas") else s  # a clock that runs from noise (0) to data
    end = _train_count(config)
    return [Level(1 - float(sigma), float(sigma), end * float(t)) for sigma, t in zip(s, times, strict=True)]


def _ve_levels(config: Mapping[str, Any], steps: int, spacing: str | NoiseSpacing) -> list[Level]:
    low = config_number(config, "sigma_min", None, 1e-9, 1e9)
    high = config_number(config, "sigma_max", None, low, 1e9)
    if isinstance(spacing, NoiseSpacing):
        return [Level(1.0, ratio, ratio) for ratio in _ratios(spacing, np.array([low, high]), steps)]
    i = np.arange(1, steps + 1)
    if spacing == "leading":
        u = (i - 1) / steps
    elif spacing == "quadratic":
        u = (i / steps) ** 2
    elif spacing == "root":
        u = _root(steps)
    elif spacing == "trailing":
        u = i / steps
    else:
        u = evenly(0.0, 1.0, steps)
    if "rho" in config and config.get("sigma_schedule") != "exponential":
        rho = config_number(config, "rho", None, 0.1, 1000)  # Karras et al. 2022 (arXiv 2206.00364), eq. 5
        sigmas = (low ** (1 / rho) + u * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    else:
        sigmas = low * (high / low) ** u  # Song et al. 2021 (arXiv 2011.13456), App. C: geometric
    return [Level(1.0, float(sigma), float(sigma)) for sigma in sigmas]


def _consistency_levels(config: Mapping[str, Any], steps: int, spacing: str | NoiseSpacing) -> list[Level]:
    """Choose among the training levels, because consistency models accept no others (arXiv 2303.01469, Sec. 4)."""
    trained = _ve_levels(config, _train_count(config), "linspace")
    _check_rising(trained)
    if isinstance(spacing, str):
        return [trained[t] for t in _timesteps(len(trained), steps, spacing, 0)]
    sigmas = np.array([level.sigma for level in trained])
    wanted = np.interp(np.log(_ratios(spacing, sigmas, steps)), np.log(sigmas), np.arange(len(trained)))
    return [trained[t] for t in _strictly_rising(wanted, len(trained))]


def _root(count: int) -> Array:
    """Return points rising from 0 to 1: 1 minus the root of a falling even grid, a long step and then shorter ones."""
    return np.asarray(1 - np.sqrt(1 - evenly(0, 1, count)))


def _strictly_rising(wanted: Array, count: int) -> NDArray[np.int64]:
    """Round to strictly increasing integers in [0, count); points that would coincide are moved apart."""
    steps = len(wanted)
    i = np.arange(steps)
    rising = np.maximum.accumulate(np.maximum(np.round(wanted), 0).astype(np.int64) - i) + i
    return np.minimum(rising, count - steps + i)
