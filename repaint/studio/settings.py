"""Settings from the fields of the page: conditions, seeds and the schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from repaint.errors import InputError
from repaint.sampling.method import Method
from repaint.sampling.presets import JumpRule
from repaint.sampling.prior import Prior
from repaint.sampling.rng import seeds_for
from repaint.sampling.schedule import JumpSchedule

__all__ = ["chosen_conditions", "chosen_method", "chosen_seeds", "takes"]


def takes(prior: Prior) -> dict[str, Any]:
    """Return the conditions that a prior supports: whether it takes a prompt, and its class names or numbers."""
    classes = list(prior.class_names.values()) or [str(number) for number in range(prior.num_classes)]
    return {"prompt": "prompt" in prior.serves, "classes": classes}


def chosen_seeds(seed: Any, seeds: Any) -> tuple[int, ...]:
    """Return one seed for each image, from the first seed and the number of images.

    Raises:
        InputError: not whole numbers.
    """
    if seed is None or seed != int(seed) or seeds is None:
        raise InputError(f"seed={seed} and images={seeds} must be whole numbers.")
    return tuple(seeds_for(int(seeds), int(seed)))


def chosen_conditions(takes_prompt: bool, prompt: str | None, class_label: str | None, guidance: Any) -> dict[str, Any]:
    """Convert the condition fields to arguments of the pipeline; empty fields are left out.

    Args:
        takes_prompt: whether the prior does; it then gets an empty prompt where none is written.
        prompt: kept even if the prior takes none, so that `Runner.submit` rejects it.
        class_label: a number or a name.
        guidance: a number; 0 or None is the prior's own.
    """
    conditions: dict[str, Any] = {"prompt": prompt or ""} if takes_prompt or prompt else {}
    if class_label:
        conditions["class_labels"] = int(class_label) if class_label.isdecimal() else class_label
    if guidance:
        conditions["guidance_scale"] = float(guidance)
    return conditions


def chosen_method(
    preset: str, own: bool, steps: Any, length: Any, samples: Any, start: Any, stop: Any
) -> tuple[Method, str | None]:
    """Return (method, name of the preset or None) for the schedule settings.

    A custom walk keeps the other parts of the preset.

    Raises:
        RepaintError: an invalid walk.
    """
    method = Method.from_preset(preset)
    if not own:
        return method, preset
    if any(value is None or value != int(value) for value in (steps, length, samples)):
        raise InputError("steps, jump_length and jump_n_sample in the schedule editor must be whole numbers.")
    walk = JumpSchedule.from_rules(int(steps), [])
    if int(samples) != 1:
        try:
            rule = JumpRule(
                jump_length=int(length),
                jump_n_sample=int(samples),
                start_resampling=None if start is None else int(start),
                stop_resampling=int(stop or 0),
            )
        except ValueError as error:
            raise InputError(
                f"jump_length={length} and jump_n_sample={samples} must be at least 1, and the levels of the window "
                f"({start} to {stop}) at least 0."
            ) from error
        walk = JumpSchedule.from_rules(int(steps), [rule])
    return replace(method, schedule=walk, name="own walk", about="", source=""), None
