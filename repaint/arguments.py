"""Reads the arguments of a call before any model runs: conditions, strength and rim; unknown names are refused."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, SupportsFloat, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repaint.checks import is_number, nearest, shown, whole_number
from repaint.errors import InputError, MaskWarning, warn
from repaint.pictures.images import Picture
from repaint.pictures.masks import MaskLike, known, read_keep, read_map
from repaint.priors.driven import OURS
from repaint.sampling.method import Method, as_method
from repaint.sampling.prior import NAMES, Conditions, Prior
from repaint.sampling.schedule import JumpSchedule

__all__ = [
    "OutputType",
    "ScheduleLike",
    "calls_at",
    "check_copies",
    "check_output",
    "method_for",
    "read_conditions",
    "read_strength",
    "weakened",
]

OutputType = Literal["pil", "np", "pt", "latent"]
ScheduleLike = str | Path | JumpSchedule | Method

# Arguments of other libraries, and their names here.
_STEPS = (
    "The schedule sets the steps: schedule='fast' (25), 'balanced' (100) or 'best' (250), or another number with "
    "schedule=repaint.sampling.budget.with_budget('fast', steps=50)."
)
_MASK = "Pass mask_image= (white is repainted) or keep_mask= (white is kept)."
_JUMPS = "Pass schedule=repaint.JumpSchedule.paper(steps=250, jump_length=10, jump_n_sample=10)."
HABITS = {
    **dict.fromkeys(("num_inference_steps", "steps", "num_steps", "ddim_steps", "timesteps"), _STEPS),
    **dict.fromkeys(("mask", "masks", "mask_img", "inpaint_mask", "mask_images"), _MASK),
    **dict.fromkeys(("jump_length", "jump_n_sample", "num_resample_steps", "resampling_steps"), _JUMPS),
    **dict.fromkeys(
        ("init_image", "input_image", "images", "img", "original_image"), "Pass image=, the first argument."
    ),
    **dict.fromkeys(("seed", "seeds", "random_seed"), "Pass generator=, an int or a torch.Generator."),
    **dict.fromkeys(
        ("height", "width"), "A result has the size of its image: leave it out, or resize the image before."
    ),
    **dict.fromkeys(("num_images", "num_samples", "n_samples"), "Pass num_images_per_prompt=."),
    "eta": "The solver sets it: pass solver='ddim(0.5)', with eta from 0 to 1.",
    "padding_mask_crop": "Holes are cropped by themselves; pass crop= to change it.",
    "cfg_scale": "Pass guidance_scale=.",
    "scheduler": "The sampler has its own: pass schedule=, solver= or a prior with another noise schedule.",
    **dict.fromkeys(("dtype", "torch_dtype", "device"), "Call .to(device, dtype) on the pipeline before."),
    **dict.fromkeys(
        ("control_image", "controlnet_conditioning_scale", "adapter_conditioning_scale"),
        "Wrap a pipeline with a ControlNet or an adapter, such as StableDiffusionControlNetPipeline.",
    ),
    **dict.fromkeys(
        ("ip_adapter_image", "ip_adapter_image_embeds"),
        "Load an IP-Adapter into a pipeline before wrapping it: pipe.load_ip_adapter(...).",
    ),
    "image_embeds": "Wrap a pipeline that takes embeddings of images, such as KandinskyV22Pipeline.",
    "reference_image": "Wrap a pipeline that takes an image beside the prompt, such as FluxKontextPipeline.",
    "callback": "Pass callback_on_step_end=.",
    "prior": "The pipeline has one: RePaintPipeline.from_pretrained(prior), or repaint.inpaint(image, mask, prior).",
    "return_dict": "A result has names: out.images, out.seeds, out.model_calls.",
    "invert_mask": "Pass the mask as keep_mask= if white is kept.",
}


def read_conditions(given: Mapping[str, Any], prior: Prior, others: Collection[str]) -> Conditions:
    """Collect the conditions of a call from its keyword arguments.

    Args:
        given: the arguments.
        prior: the model, whose `serves` lists further arguments.
        others: the names of the call's other arguments, for the suggestion of an error.

    Raises:
        InputError: an argument that neither the pipeline nor the prior has.
    """
    own = {name: value for name, value in given.items() if name in NAMES}
    further = {name: value for name, value in given.items() if name not in NAMES}
    for name, value in further.items():
        if name not in prior.serves:  # whatever its value: None could be a default of another library
            if name in HABITS:
                raise InputError(f"{name}={shown(value)} is not an argument of the pipeline. {HABITS[name]}")
            cure = _driven(name, prior) or nearest(name, [*others, *NAMES, *prior.serves])
            raise InputError(f"{name}={shown(value)} is not an argument of the pipeline.{cure}")
    return Conditions(**own, arguments={name: value for name, value in further.items() if value is not None})


def _driven(name: str, prior: Prior) -> str:
    """Return how to use an argument that the diffusers pipeline of a prior has, or "" where it has none."""
    if prior.pipeline is None or name in OURS or name not in inspect.signature(prior.pipeline.__call__).parameters:
        return ""
    return " To use it, drive the diffusers pipeline: RePaintPipeline(repaint.priors.driven.DrivenPrior(pipe))."


def method_for(prior: Prior, schedule: ScheduleLike | None, **changes: Any) -> Method:
    """Return the given schedule, or the prior's default one, with changes; see `as_method`."""
    return as_method(prior.default_schedule if schedule is None else schedule, **changes)


def check_copies(method: Method, copies: int, name: str = "num_images_per_prompt") -> None:
    """Check that several results of one image would differ.

    Raises:
        InputError: they would not.
    """
    if copies > 1 and method.temperature == 0:
        raise InputError(
            f"{name}={copies} at temperature=0 would give equal results: no noise is drawn. Use "
            "another temperature or schedule, or draw one."
        )


def check_output(prior: Prior, output_type: OutputType, margin: int, blend_rim: float) -> None:
    """Check `output_type`, `latent_margin` and `blend_rim`.

    Raises:
        InputError: an invalid value.
    """
    if not isinstance(output_type, str) or output_type not in get_args(OutputType):
        raise InputError(
            f"output_type={shown(output_type)} must be one of {', '.join(get_args(OutputType))}."
            f"{nearest(output_type, get_args(OutputType))}"
        )
    if whole_number("latent_margin", margin, 0, hint="cells of the latent grid") and prior.latent_factor == 1:
        raise InputError(
            f"latent_margin={margin} needs a latent prior, and {type(prior).__name__} works on pixels. Leave it out; "
            "repaint.pictures.masks.grow enlarges a hole."
        )
    if not (is_number(blend_rim) and blend_rim >= 0):
        raise InputError(f"blend_rim={shown(blend_rim)} must be a width in pixels of at least 0 (0 disables it).")
    if blend_rim and output_type == "latent":
        raise InputError(f"blend_rim={blend_rim} cannot be used with output_type='latent': only pixels are blended.")


def read_strength(
    strength: float | MaskLike, mask_image: MaskLike | None, keep_mask: MaskLike | None, pictures: Sequence[Picture]
) -> tuple[list[Float[Tensor, "1 h w"]], list[Float[Tensor, "1 h w"]] | None, float]:
    """Read the masks of a call, and its strength: a number, or a map of how much each pixel may change.

    Returns:
        (keep masks, maps in which the largest value is 1, or None for a number, the number or largest value).
    Raises:
        InputError: an invalid mask or map, no mask, or maps with different largest values.
    """
    seen: dict[str, Any] = {
        "sizes": [picture.size for picture in pictures],
        "turns": [picture.orientation for picture in pictures],
    }
    if isinstance(strength, (np.ndarray, Tensor)) and strength.ndim == 0:
        strength = strength.item()
    if isinstance(strength, (list, tuple)) and strength and all(map(is_number, strength)):
        raise InputError(
            f"strength={shown(strength)} must be one number for all images, or a map for each: they share the "
            "schedule. Use one call for each number."
        )
    if is_number(strength):
        assert isinstance(strength, SupportsFloat)
        return read_keep(mask_image, keep_mask, **seen), None, float(strength)
    return _graded(read_map("strength", strength, **seen), mask_image, keep_mask, seen)


def _graded(
    maps: Sequence[Float[Tensor, "1 h w"]],
    mask_image: MaskLike | None,
    keep_mask: MaskLike | None,
    seen: Mapping[str, Any],
) -> tuple[list[Float[Tensor, "1 h w"]], list[Float[Tensor, "1 h w"]], float]:
    """Derive keep masks and the strength from maps of how much each pixel may change.

    Without a mask, the hole is every pixel that may change. The walk begins at the level of the largest value, where
    pixels of that value are free.

    Returns:
        (keep masks, maps in which the largest value is 1, the largest value).
    Raises:
        InputError: maps with different largest values, which would need different walks.
    """
    if not all(share.any() for share in maps):
        warn("A map of strength is black (0) everywhere: nothing is repainted. White (1) changes most.", MaskWarning)
    keeps = [(share == 0).float() for share in maps]
    if mask_image is not None or keep_mask is not None:
        given = read_keep(mask_image, keep_mask, **seen)
        keeps = [torch.maximum(keep, own) for keep, own in zip(given, keeps, strict=True)]
    holes = [share[~known(keep)] for share, keep in zip(maps, keeps, strict=True)]
    largest = {float(hole.max()) for hole in holes if hole.numel()} or {1.0}
    if len(largest) > 1:
        raise InputError(
            f"The maps of strength have the largest values {', '.join(f'{most:g}' for most in sorted(largest))}: all "
            "maps of a call must have the same one, because they share the schedule. Use one call for each."
        )
    (most,) = largest
    return keeps, [torch.where(share >= most, 1, share) for share in maps], most


def calls_at(method: Method, strength: Any) -> int:
    """Return the model calls of one image at a strength; with a map of strength, which may take fewer, all of them."""
    return (weakened(method, strength) if is_number(strength) else method).model_calls


def weakened(method: Method, strength: float) -> Method:
    """Start a method at a share of its levels: at the nearest level of its walk. A lower walk stays as it is.

    Args:
        method: the method.
        strength: the share, in (0, 1]; 1 starts from pure noise.
    Raises:
        InputError: another strength.
    """
    if not (is_number(strength) and 0 < strength <= 1):
        raise InputError(f"strength={shown(strength)} must be in (0, 1] (1 starts from pure noise).")
    most = round(strength * method.schedule.steps, 4)  # so that a float32 map gives the level of the same number
    if method.schedule.levels[0] <= most:  # also the walk of a branch, which may jump up
        return method
    visited = sorted({level for level in method.schedule.levels if level > 0})
    level = min(visited, key=lambda visited: abs(visited - most))
    return replace(method, schedule=method.schedule.capped(level))
