"""Image + mask + prior + schedule -> result. What most people import."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL.Image import Image
from torch import Tensor

from repaint.checks import is_number, nearest, shown
from repaint.errors import InputError, StateError
from repaint.pictures.crop import CropLike, as_crop
from repaint.pictures.images import ImageLike, read_images, side_by_side
from repaint.pictures.masks import MaskLike
from repaint.placement import BatchSize, Placed, check_batch_size, in_batches
from repaint.plan import Job, batches, bound, check_latents, collect, cut, encode, finish, results_for, same_problem
from repaint.priors.load import load, prior_from_pipe
from repaint.sampling.corrector import Langevin
from repaint.sampling.guidance import Guidance
from repaint.sampling.merge import Merge
from repaint.sampling.method import Method, as_method
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.rng import Seedable
from repaint.sampling.sampler import Sampler
from repaint.sampling.schedule import JumpSchedule
from repaint.sampling.solvers import Solver
from repaint.sampling.state import SamplerState

__all__ = ["RePaintOutput", "RePaintPipeline", "inpaint"]

OutputType = Literal["pil", "np", "pt", "latent"]
StepCallback = Callable[["RePaintPipeline", int, int, dict[str, Any]], "dict[str, Any] | None"]
ScheduleLike = str | Path | JumpSchedule | Method
# A state is that of its whole batch, and of the windows that it began with.
UNCUT = "Resume it where there is more memory, with torch_dtype=torch.bfloat16, or with enable_model_cpu_offload()."


@dataclass(frozen=True)
class RePaintOutput:
    """What a pipeline call returns.

    Attributes:
        images: one result per image and repetition, in the order of the input. "pil": a list. "np", "pt": an array or
            tensor with a batch axis where all have one size, else a list. "latent": the sampler's own x, a list.
        model_calls: denoiser calls that each image with a hole cost; of a cropped image, each of its windows.
        seeds: the seed of each result; `generator=seeds[i]` with image i alone makes it again.
    """

    images: Any
    model_calls: int
    seeds: list[int]

    def _repr_png_(self) -> bytes | None:
        """The first eight images in a row, which a notebook shows; None where they are no PIL images."""
        if not isinstance(self.images, list) or not all(isinstance(image, Image) for image in self.images):
            return None
        file = io.BytesIO()
        side_by_side(self.images[:8]).save(file, "png")
        return file.getvalue()


class RePaintPipeline(Placed):
    """Fills holes with a pretrained prior. It holds a `Prior` and nothing else that matters.

    Args:
        prior: any object of the `Prior` protocol.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = prior
        self._progress: dict[str, Any] = {}

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        torch_dtype: torch.dtype = torch.float32,
        variant: str | None = None,
        **hub: Any,
    ) -> RePaintPipeline:
        """Load a prior by bundled name, folder in diffusers layout, or Hub id. See `repaint.priors.load.load`."""
        return cls(load(name, torch_dtype=torch_dtype, variant=variant, **hub))

    @classmethod
    def from_pipe(cls, pipe: Any, class_names: Mapping[int, str] | None = None) -> RePaintPipeline:
        """Wrap a live diffusers pipeline: its components are shared, not copied.

        Args:
            pipe: the pipeline.
            class_names: class number to name, for class-conditional models; None takes the pipeline's `id2label`. A
                model with one class more than names has a null class, which most pipelines forget when they load.
        Raises:
            PriorError: a pipeline without a supported model or without a scheduler.
        """
        if not hasattr(pipe, "components"):
            raise InputError(
                f"A {type(pipe).__name__} is no diffusers pipeline: pass one, or a Prior to the constructor."
            )
        return cls(prior_from_pipe(pipe, class_names))

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Keyword arguments for tqdm, such as disable=True or desc="filling"."""
        self._progress = kwargs

    def __call__(
        self,
        image: ImageLike,
        mask_image: MaskLike | None = None,
        *,
        keep_mask: MaskLike | None = None,
        prompt: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        prompt_embeds: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        pooled_prompt_embeds: Tensor | None = None,
        negative_pooled_prompt_embeds: Tensor | None = None,
        class_labels: int | str | Sequence[int | str] | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float | None = None,
        guidance_interval: tuple[float, float] | None = None,
        guidance: Guidance | None = None,
        schedule: ScheduleLike = "fast",
        merge: str | Merge | None = None,
        solver: str | Solver | None = None,
        corrector: str | Langevin | None = None,
        num_images_per_prompt: int = 1,
        strength: float = 1.0,
        latent_margin: int = 0,
        feather: float = 0.0,
        generator: Seedable = None,
        crop: CropLike = "auto",
        batch_size: BatchSize = None,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
    ) -> RePaintOutput:
        """Fill the hole of each image.

        Kept pixels are bit-equal to the input. What stands under the hole is never read, unless strength < 1.

        Args:
            image: PIL image, path, numpy (H, W), (H, W, C) or (B, H, W, C), tensor (C, H, W) or (B, C, H, W), or a list
                of these. Floats are in [0, 1]. Sizes may differ.
            mask_image: white (1) is repainted. One mask for all images, or one for each; grey is a soft edge: such
                pixels are repainted, then blended with the input.
            keep_mask: the other polarity, white (1) is kept. One of the two masks must be given.
            prompt, negative_prompt: a text for all images, or one for each; for text-conditioned priors, which need a
                prompt ("" describes nothing).
            prompt_embeds, negative_prompt_embeds: (B, tokens, width) embeddings instead of texts, with B = 1 for all
                images or one for each; and pooled ones, (B, width), where the model wants them.
            class_labels: a class number or name for all images, or one for each; for class-conditional priors.
            guidance_scale: weight of classifier-free guidance, >= 0; 1 is none; None is the prior's usual one (7.5 for
                Stable Diffusion, 7 for 3, 3.5 for Flux, 4 for DiT, 1 for other classes).
            guidance_rescale: share in [0, 1] of the guided prediction's std that is put back to the conditional one's.
            guidance_interval: (low, high) of sigma / alpha between which guidance acts; elsewhere the condition alone
                is asked, at half the cost. None guides everywhere.
            guidance: (x, level) -> gradient of log p(y | x) with respect to x, for guidance by a classifier.
            schedule: a preset's name, a YAML file, a JumpSchedule or a whole Method.
            merge, solver, corrector: replace that part of the preset, as an object or as text ("predicted(8)").
            num_images_per_prompt: results per image.
            strength: in (0, 1]; below 1 the hole starts from the input, noised to that share of the levels.
            latent_margin: for priors over an autoencoder, how many latent cells around the hole the model paints too,
                because they were encoded together with some of the hole's smooth fill. Their kept pixels stay kept.
                0 is usually best: a cell that is a little wrong tells the model more than none.
            feather: how many pixels of the hole, from its rim inwards, meet the kept pixels smoothly: an autoencoder
                returns kept pixels a little changed, and where the hole begins that shows. See `repaint.pictures.rim.meet_rim`;
                2 is a good width. Pixel-space priors return kept pixels as they are, and nothing changes.
            generator: an int, a `torch.Generator`, or one of these per result. See `repaint.sampling.rng.seeds_for`.
            crop: "auto" fills windows around the holes of an image that is larger than the prior was trained for, and
                stitches them in; a `repaint.pictures.crop.Crop` says how large they are; None or "off" gives the prior whole
                images. The first window takes the result's seed, others seeds derived from it and their number.
            batch_size: how many images of one size, or windows, run at once. None is all; "auto" halves it where memory
                runs out, and does that batch again. Noise is each image's own, so that results differ by the rounding
                of another batch alone.
            output_type: "pil", "np", "pt" or "latent"; an image that is cropped has no latents.
            callback_on_step_end: called after each move with (pipeline, moves made, level, {"state": SamplerState});
                it may return a dict with another "state" to go on from. A state is that of a batch, and can be saved,
                see `resume`. Batches run one after the other, each from its first move; again where memory ran out.
        Raises:
            RepaintError: every misuse, with one clear line; see `repaint.errors`.
        """
        if (
            isinstance(num_images_per_prompt, bool)
            or not isinstance(num_images_per_prompt, int)
            or num_images_per_prompt < 1
        ):
            raise InputError(f"num_images_per_prompt {shown(num_images_per_prompt)}: it is a whole number from 1.")
        _check_output_type(output_type)
        check_batch_size(batch_size)
        self._check_seam(latent_margin, feather, output_type)
        method = _weakened(as_method(schedule, merge=merge, solver=solver, corrector=corrector), strength)
        asked = Conditions(
            class_labels=class_labels,
            prompt=prompt,
            negative_prompt=negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            pooled_prompt_embeds=pooled_prompt_embeds,
            negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            guidance_interval=guidance_interval,
        )
        pictures, cropping = read_images(image), as_crop(crop)
        parts = cut(pictures, mask_image, keep_mask, cropping, self.prior)
        results = results_for(pictures, parts, num_images_per_prompt, generator, asked)
        if output_type == "latent":
            check_latents(results)
        jobs = [job for result in results for job in result.jobs]

        def paint(batch: Sequence[Job]) -> None:
            sampler, seen = Sampler(bound(self.prior, batch, cropping), method, guidance), [job.part for job in batch]
            x0, mask = encode(self.prior, seen, latent_margin)
            init = None if strength == 1 else encode(self.prior, seen, whole=True)[0]
            state = sampler.start(x0, mask, [job.seed for job in batch], init)
            self._finish(batch, self._walk(sampler, state, callback_on_step_end), feather, output_type)

        for batch in batches(jobs):
            in_batches(batch, batch_size, paint)
        images = collect(results, output_type, self.prior)
        return RePaintOutput(images, method.model_calls if jobs else 0, [result.seed for result in results])

    def resume(
        self,
        state: SamplerState | str | Path,
        image: ImageLike,
        mask_image: MaskLike | None = None,
        *,
        keep_mask: MaskLike | None = None,
        guidance: Guidance | None = None,
        schedule: ScheduleLike = "fast",
        merge: str | Merge | None = None,
        solver: str | Solver | None = None,
        corrector: str | Langevin | None = None,
        strength: float = 1.0,
        latent_margin: int = 0,
        feather: float = 0.0,
        crop: CropLike = "auto",
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
        **conditions: Any,
    ) -> RePaintOutput:
        """Go on from a saved state, to the bit; or from a branch of it, with other seeds and another walk.

        Give the image, mask, crop, conditions, method, strength and margin of the run that the state came from. For a
        branch (`state.branch(seeds)`), the schedule must begin at its level: `JumpSchedule.capped(level)` makes one.

        Args:
            state: a `SamplerState`, or the path of a saved one.
            **conditions: prompt, class_labels, guidance_scale and their kin.
            The other arguments are those of `__call__`.
        Raises:
            StateError: a damaged state, another walk, or another image.
            OutOfMemory: its batch does not fit; the state stays as it is.
        """
        _check_output_type(output_type)
        self._check_seam(latent_margin, feather, output_type)
        saved = state if isinstance(state, SamplerState) else SamplerState.load(state)
        method = _weakened(as_method(schedule, merge=merge, solver=solver, corrector=corrector), strength)
        pictures, cropping = read_images(image), as_crop(crop)
        parts = cut(pictures, mask_image, keep_mask, cropping, self.prior)
        copies = max(1, len(saved.seeds) // max(1, sum(map(len, parts))))
        results = results_for(pictures, parts, copies, 0, Conditions(**conditions))  # the state has its own seeds
        if output_type == "latent":
            check_latents(results)
        jobs = [job for result in results for job in result.jobs]
        if len(batches(jobs)) != 1:
            raise _stranger(saved)
        calls = 0

        def go_on(batch: Sequence[Job]) -> None:
            nonlocal calls
            here = saved.to(self.device)
            if not same_problem(here, *encode(self.prior, [job.part for job in batch], latent_margin)):
                raise _stranger(saved)
            sampler = Sampler(bound(self.prior, batch, cropping), method, guidance)
            last = self._walk(sampler, here, callback_on_step_end)
            self._finish(batch, last, feather, output_type)
            calls = last.model_calls - here.model_calls

        in_batches(jobs, None, go_on, cure=UNCUT)
        seed_of = dict(zip(map(id, jobs), saved.seeds, strict=True))
        seeds = [seed_of[id(result.jobs[0])] if result.jobs else result.seed for result in results]
        return RePaintOutput(collect(results, output_type, self.prior), calls, seeds)

    def _check_seam(self, margin: int, feather: float, output_type: OutputType) -> None:
        if isinstance(margin, bool) or not isinstance(margin, Integral) or margin < 0:
            raise InputError(f"latent_margin {shown(margin)}: it is a whole number of latent cells from 0.")
        if margin and not hasattr(self.prior, "codec"):
            raise InputError(
                f"latent_margin {margin} for a {type(self.prior).__name__}: it has no autoencoder, whose cells would "
                "see some of the hole. Leave it out; masks.grow makes a hole larger."
            )
        if not (is_number(feather) and feather >= 0):
            raise InputError(f"feather {shown(feather)}: it is a width in pixels from 0, and 0 is none. Raise it.")
        if feather and output_type == "latent":
            raise InputError(f"feather {feather} for latents: only pixels are feathered. Leave one of the two out.")

    def _walk(self, sampler: Sampler, state: SamplerState, callback: StepCallback | None) -> SamplerState:
        """Run to the end with a progress bar; returns the last state."""
        from tqdm.auto import tqdm

        left = sum(move.kind != "renoise" for move in sampler.moves[state.position :])
        with tqdm(**{"total": left, "unit": "call", **self._progress}) as bar:
            state = sampler.adopt(state)
            while state.position < len(sampler.moves):
                calls = state.model_calls
                state = sampler.advance(state)
                bar.update(state.model_calls - calls)
                if callback is not None:
                    changed = callback(self, state.position, state.level, {"state": state})
                    state = sampler.adopt((changed or {}).get("state", state))
        return state

    def _finish(self, jobs: Sequence[Job], state: SamplerState, feather: float, output_type: OutputType) -> None:
        if output_type != "latent":
            finish(self.prior, jobs, state.x, feather)
            return
        for job, x in zip(jobs, state.x, strict=True):
            job.painted = x


def inpaint(image: ImageLike, mask_image: MaskLike, prior: str | Path = "textures", **kwargs: Any) -> RePaintOutput:
    """Load a prior, fill the hole, in one line. For more than one call keep a `RePaintPipeline`.

    Args:
        image, mask_image: see `RePaintPipeline.__call__`; white (1) is repainted.
        prior: bundled name, folder or Hub id.
        **kwargs: see `RePaintPipeline.__call__`.
    """
    return RePaintPipeline.from_pretrained(prior)(image, mask_image, **kwargs)


def _weakened(method: Method, strength: float) -> Method:
    """The method begun at that share of its levels: at the nearest level that its walk visits."""
    if not (is_number(strength) and 0 < strength <= 1):
        raise InputError(f"strength {shown(strength)}: it lies in (0, 1]; 1 starts from pure noise. Choose one there.")
    if strength == 1:
        return method
    visited = {level for level in method.schedule.levels if level > 0}
    level = min(visited, key=lambda visited: abs(visited - strength * method.schedule.steps))
    return replace(method, schedule=method.schedule.capped(level))


def _stranger(state: SamplerState) -> StateError:
    return StateError(
        f"The state holds {len(state.x)} samples of shape {tuple(state.x.shape[1:])} with a known part that "
        "is not this image's under this mask. Give the image, mask, crop and latent_margin that the run was "
        "started with; where batch_size cut it, the images of that batch alone, all of whose windows it held."
    )


def _check_output_type(output_type: str) -> None:
    if not isinstance(output_type, str) or output_type not in get_args(OutputType):
        known = ", ".join(get_args(OutputType))
        raise InputError(
            f"output_type {shown(output_type)}: it is one of {known}.{nearest(output_type, get_args(OutputType))}"
        )
