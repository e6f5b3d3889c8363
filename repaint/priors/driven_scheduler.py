"""A scheduler that takes no steps itself: it hands the network's output over, and continues with the x that it gets.

In place of a pipeline's own scheduler, it turns the pipeline into a denoiser. It keeps the class and the config of the
scheduler that it replaces, because pipelines read both.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.handover import hand_over
from repaint.priors.sample_layout import SampleLayout

__all__ = ["Output", "Ready", "Request", "driven"]


@dataclass(frozen=True)
class Request:
    """A request for a prediction of the pipeline.

    Attributes:
        x: (B, C, H, W) the network's input as cells, already scaled for its level.
        t: the time on the network's clock.
        sigma: of the level.
    """

    x: Tensor
    t: float
    sigma: float


@dataclass(frozen=True)
class Ready:
    """What a pipeline hands over before its first prediction.

    Attributes:
        shift: the shift of the noise levels for this image size, in the scheduler's own form (mu); None: not given.
        spacing: of the levels (sigmas) that the pipeline passes; None: the scheduler's own.
        unshifted: whether its network takes the times before the shift (CogView 4): 1000 u and not 1000 sigma.
    """

    shift: float | None
    spacing: str | None
    unshifted: bool


@dataclass(frozen=True)
class Output:
    """What a pipeline hands over with each prediction.

    Attributes:
        output: in the layout of the pipeline; with a learned variance it has twice the channels of x.
        layout: how the pipeline lays samples out.
    """

    output: Tensor
    layout: SampleLayout


class Stepped(tuple[Tensor, Tensor]):
    """What `step` returns: a pair for unpacking, with the names of diffusers' scheduler outputs."""

    @property
    def prev_sample(self) -> Tensor:
        return self[0]

    @property
    def pred_original_sample(self) -> Tensor:
        return self[1]


class Driven:
    """The methods that replace those of a scheduler. See `driven`.

    A pipeline is suspended in `set_timesteps`, where its prompts are encoded and its sizes are known, and then in each
    `step`. The prediction before the first `step` is for the pipeline's own noise and useless, unless x reached the
    pipeline earlier: through `scale_model_input`, or in the memory of its latents.
    """

    order = 1
    init_noise_sigma = 1.0
    calls: int
    latents: Tensor | None
    config: Any
    wasted = False
    _given: Tensor | None = None

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
        **_options: Any,
    ) -> None:
        """Set up the calls of the walk. Their times are written in place once they are known, because pipelines iterate
        over views of this tensor. Until then they fall evenly, for what a pipeline derives from all of them."""
        last = float(self.config.get("num_train_timesteps") or 1000) - 1
        self.timesteps = torch.linspace(last, 0.0, self.calls, device=device, dtype=torch.float32)
        self.sigmas = torch.linspace(1.0, 0.0, self.calls + 1, device=device, dtype=torch.float32)
        self.num_inference_steps = self.calls
        self._number, self._injected = 0, False
        shift = None if mu is None else float(mu)
        self._take(hand_over(Ready(shift, _spacing(sigmas), sigmas is not None and timesteps is not None)))

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Do nothing: the index of a step has no meaning here."""

    def scale_model_input(self, sample: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return x for the network, repeated as often as in the sample."""
        x = self._request.x
        copies, rest = divmod(len(sample), len(x))
        if not rest and sample.ndim == 3:  # as tokens
            x = SampleLayout.of(x.shape, (len(x), *sample.shape[1:])).pack(x)
        if rest or sample.shape[1:] != x.shape[1:]:
            raise PriorError(
                f"This pipeline passes {tuple(sample.shape)} of a sample of {tuple(x.shape)} to its network, which the "
                "driver does not support. Use the pipeline without tiles or panoramas."
            )
        self._injected = True
        return torch.cat([x.to(sample.dtype)] * copies)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *_args: Any, **_kwargs: Any) -> Stepped:
        """Hand the output over, and return the next x in the layout and type of the sample."""
        layout = SampleLayout.of(self._request.x.shape, sample.shape)
        if self._injected or self._is_ours(sample):
            self._check_clock(timestep)
            request = hand_over(Output(model_output, layout))
        else:
            if self._number:
                raise PriorError(
                    "This pipeline changes the sample between two steps, which the driver does not support."
                )
            request, self.wasted = self._request, True
        self._number += 1
        self._injected = False
        if self._number < self.calls:
            self._take(request)
        self._given = layout.pack(request.x).to(sample.dtype)
        return Stepped((self._given, self._given))

    def add_noise(self, original_samples: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the sample unchanged: x already has its noise."""
        return original_samples

    def scale_noise(self, sample: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the sample unchanged: x already has its noise."""
        return sample

    def _take(self, request: Request) -> None:
        """Write the time of the next prediction and, before the first one, its x into the pipeline's latents."""
        self._request = request
        self.timesteps[self._number] = request.t
        self.sigmas[self._number] = request.sigma
        self._given = None
        if self._number == 0 and self.latents is not None:
            self.latents.copy_(SampleLayout.of(request.x.shape, self.latents.shape).pack(request.x))
            self._given = self.latents

    def _is_ours(self, sample: Tensor) -> bool:
        """Test whether the network got the x of the request."""
        given = self._given
        if given is None or given.shape != sample.shape:
            return False
        if given.untyped_storage()._cdata == sample.untyped_storage()._cdata:
            return True
        return bool(torch.equal(given.to(sample.dtype), sample))

    def _check_clock(self, timestep: Any) -> None:
        """Check that the pipeline reads the time of the request, and not a copy from before it was known."""
        if isinstance(timestep, Tensor):
            if timestep.untyped_storage()._cdata == self.timesteps.untyped_storage()._cdata:
                return
            timestep = timestep.flatten()[0]
        expected = float(torch.tensor(self._request.t, dtype=torch.float32, device="cpu"))
        if abs(float(timestep) - expected) > 1e-3 * max(1.0, abs(expected)):
            raise PriorError(
                f"This pipeline passes time {float(timestep):g} to its scheduler in place of {expected:g}: it copies "
                "all times before its first step, which the driver does not support."
            )


def _spacing(sigmas: Any) -> str | None:
    """Name the spacing of n even levels from 1 down to 1 / n, or to the end of the training clock."""
    if sigmas is None:
        return None
    return "trailing" if abs(float(sigmas[-1]) * len(sigmas) - 1) < 1e-3 else "linspace"


def driven(scheduler: Any, calls: int, latents: Tensor | None = None) -> Any:
    """Return a copy of a scheduler that hands over instead of stepping. The scheduler itself is not changed.

    Args:
        scheduler: a diffusers scheduler.
        calls: predictions until the pipeline's loop ends.
        latents: the memory that the pipeline gets as its `latents`; x is written there before the first prediction.
    """
    made = copy.copy(scheduler)
    made.__class__ = type(type(scheduler).__name__, (Driven, type(scheduler)), {})
    made.calls, made.latents = calls, latents
    return made
