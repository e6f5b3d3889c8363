"""Checks of priors and parts: of a prior's attributes, and of what methods that a caller wrote return.

Without them, a mistake in such an object is an error deep in the sampler, or a wrong result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from repaint.checks import lacking, shown, whole_number
from repaint.errors import InputError, PriorError, RepaintError
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Prediction
from repaint.sampling.prior import Prior

__all__ = [
    "check_attributes",
    "checked_conditioned",
    "checked_decoded",
    "checked_encoded",
    "checked_guided",
    "checked_schedule",
    "checked_step",
    "predicted",
]


def check_attributes(prior: Prior) -> None:
    """Check that an object has the members of a prior, and the attributes that everything else relies on.

    Raises:
        PriorError: a member is missing, or an attribute is of another type or out of range.
    """
    if missing := lacking(prior, Prior):
        raise PriorError(
            f"{type(prior).__name__} lacks {', '.join(missing)}, which a prior must have. PriorDefaults supplies the "
            "optional ones."
        )
    owner = type(prior).__name__
    needed = {"channels": prior.channels, "multiple_of": prior.multiple_of, "latent_factor": prior.latent_factor}
    optional = {
        "preferred_size": prior.preferred_size,
        "smallest_size": prior.smallest_size,
        "largest_hole": prior.largest_hole,
    }
    for name, value in (needed | {name: value for name, value in optional.items() if value is not None}).items():
        whole_number(f"{owner}.{name}", value, 1, error=PriorError)
    if not isinstance(prior.device, torch.device):
        raise PriorError(f"{owner}.device={shown(prior.device)} must be a torch.device, such as torch.device('cpu').")
    if prior.dtype not in (torch.float32, torch.float64):
        raise PriorError(
            f"{owner}.dtype={shown(prior.dtype)} must be torch.float32 or torch.float64: the type of x. A model in "
            "half precision converts x in denoise()."
        )


def check_tensor(value: object, what: str, like: Tensor, error: type[RepaintError] = InputError) -> None:
    """Check that a value is a tensor of the shape, type and device of another.

    Args:
        value: what was returned.
        what: the method that returned it, for the error.
        like: the tensor that it must be like.
        error: the class to raise.
    Raises:
        error: it is not.
    """
    if isinstance(value, Tensor) and _kind(value) == _kind(like):
        return
    raise error(f"{what} returned {_found(value)}, but must return a tensor like x: {_described(like)}.")


def predicted(prior: Prior, x: Tensor, level: Level) -> Prediction:
    """Call `Prior.denoise`, and check what it returned.

    Args:
        prior: under the conditions of the batch.
        x: (B, ...) at `level`.
        level: see `Prior.denoise`.
    Raises:
        PriorError: not a prediction of the shape, type and device of x, or x was changed in place.
    """
    tracked = not x.is_inference()
    version = x._version if tracked else 0
    value = prior.denoise(x, level)
    what = f"{type(prior).__name__}.denoise()"
    if tracked and x._version != version:
        raise PriorError(f"{what} changed x in place, but must leave it as it is: the sampler reads it again. Copy it.")
    if not isinstance(value, Prediction):
        raise PriorError(f"{what} returned {_found(value)}, but must return a repaint.sampling.prediction.Prediction.")
    computed = vars(value)  # eps_hat may be computed on first use, from x and x0_hat
    for name in (entry.name for entry in fields(Prediction)):
        optional = name in ("variance", "unguided")
        if name in computed and not (optional and computed[name] is None):
            check_tensor(computed[name], f"{what}, in {name},", x, PriorError)
    return value


def checked_step(value: object, part: object, call: str, like: Tensor, *, optional: bool = False) -> tuple[Any, Any]:
    """Return what a part returned, once it is checked: a pair of a tensor like x and what the part remembers.

    Args:
        value: what was returned.
        part: the merge, solver, corrector or kernel.
        call: its method.
        like: (B, ...) x.
        optional: None is allowed in place of the tensor.
    Raises:
        InputError: something else.
    """
    what = f"{type(part).__name__}.{call}()"
    if not (isinstance(value, tuple) and len(value) == 2):
        raise InputError(f"{what} returned {_found(value)}, but must return a pair: a tensor like x, and a dict.")
    sample, carry = value
    if not (optional and sample is None):
        check_tensor(sample, what, like)
    if not (isinstance(carry, Mapping) and all(isinstance(kept, Tensor) for kept in carry.values())):
        raise InputError(
            f"{what} returned {_found(carry)} as what it remembers, but must return a dict of tensors ({{}} for "
            "nothing)."
        )
    return sample, carry


def checked_guided(value: object, rule: object, x: Tensor) -> tuple[Prediction, Tensor | None]:
    """Return what the method `guide` of a guidance rule returned for x, once it is checked.

    Raises:
        InputError: not a prediction and a shift.
    """
    what = f"{type(rule).__name__}.guide()"
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Prediction)):
        raise InputError(f"{what} returned {_found(value)}, but must return a pair: a Prediction, and a shift or None.")
    prediction, shift = value
    if shift is not None:
        check_tensor(shift, what, x)
    return prediction, shift


def checked_schedule(value: object, prior: Prior, steps: int) -> NoiseSchedule:
    """Return what `Prior.schedule` returned, once it is checked.

    Raises:
        PriorError: not a schedule of so many steps.
    """
    what = f"{type(prior).__name__}.schedule({steps})"
    if not isinstance(value, NoiseSchedule):
        raise PriorError(f"{what} returned {_found(value)}, but must return a NoiseSchedule.")
    if value.steps != steps:
        raise PriorError(f"{what} returned {value.steps} levels, but must return {steps}.")
    return value


def checked_conditioned(value: object, prior: Prior) -> Prior:
    """Return what `Prior.conditioned` returned, once it is checked.

    Raises:
        PriorError: not a prior.
    """
    if isinstance(value, type) or not isinstance(value, Prior):
        raise PriorError(
            f"{type(prior).__name__}.conditioned() returned {_found(value)}, but must return a prior (without "
            "conditions, itself)."
        )
    return value


def checked_encoded(value: object, prior: Prior, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `Prior.encode` returned for a batch of images, once it is checked.

    Raises:
        PriorError: not a sample and the mask of its known part.
    """
    what = f"{type(prior).__name__}.encode()"
    if not (isinstance(value, tuple) and len(value) == 2 and all(isinstance(each, Tensor) for each in value)):
        raise PriorError(f"{what} returned {_found(value)}, but must return a pair of tensors: x0 and known.")
    x0, known = value
    if (x0.dtype, x0.device) != (image.dtype, image.device) or len(x0) != len(image):
        raise PriorError(
            f"{what} returned x0 of {_described(x0)}, but must return {len(image)} samples of {image.dtype} on "
            f"{image.device}."
        )
    broadcasts = known.ndim == x0.ndim and all(a in (1, b) for a, b in zip(known.shape, x0.shape, strict=True))
    if known.dtype != torch.bool or not broadcasts:
        raise PriorError(
            f"{what} returned known of {_described(known)}, but must return a boolean mask that broadcasts to x0, "
            f"{tuple(x0.shape)}."
        )
    return x0, known


def checked_decoded(value: object, prior: Prior, shape: tuple[int, ...]) -> Tensor:
    """Return what `Prior.decode` returned, once it is checked.

    Args:
        value: what was returned.
        prior: whose method it is.
        shape: (B, C, H, W) of the padded images.
    Raises:
        PriorError: not floating-point images of this shape.
    """
    if isinstance(value, Tensor) and value.shape == shape and value.is_floating_point():
        return value
    raise PriorError(
        f"{type(prior).__name__}.decode() returned {_found(value)}, but must return images in [-1, 1] of shape {shape}."
    )


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device


def _described(tensor: Tensor) -> str:
    return f"shape {tuple(tensor.shape)}, {tensor.dtype} on {tensor.device}"


def _found(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {_described(value)}"
    return "None" if value is None else f"a {type(value).__name__}"
