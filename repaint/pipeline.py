"""The pipeline: image + mask + prior + method -> result."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from repaint.arguments import OutputType, ScheduleLike, check_copies, method_for, read_conditions
from repaint.checks import left_out, shown, whole_number
from repaint.cutouts import warn_if_large
from repaint.errors import InputError
from repaint.outpainting import outpaint_in_steps, step_width
from repaint.pictures.crop import Crop, CropLike
from repaint.pictures.fills import Fills
from repaint.pictures.images import ImageLike, read_images, side_by_side
from repaint.pictures.margins import as_margins, extended
from repaint.pictures.masks import MaskLike
from repaint.placement import BatchSize, Placed, check_batch_size, in_batches
from repaint.plan import ARGUMENTS, Filling, Plan
from repaint.precision import fastest_dtype
from repaint.priors.load import load, prior_from_pipe
from repaint.priors.lora import load_lora
from repaint.sampling.contract import check_attributes
from repaint.sampling.corrector import Corrector
from repaint.sampling.guidance import Guidance, GuidanceRule
from repaint.sampling.merge import Merge
from repaint.sampling.prior import Conditions, Prior, PriorDefaults
from repaint.sampling.rng import Seedable, are_pairs, seeds_for
from repaint.sampling.solvers import Solver
from repaint.sampling.state import SamplerState

__all__ = ["RePaintOutput", "RePaintPipeline", "inpaint"]

P = ParamSpec("P")
R = TypeVar("R")
StepCallback = Callable[["RePaintPipeline", int, int, dict[str, Any]], "dict[str, Any] | None"]
# A state holds its whole batch, so it cannot be resumed in smaller ones.
SAME_BATCH = "A state keeps its batch: resume it with more memory, torch_dtype=torch.bfloat16, or offloading."


def _without_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function outside of the caller's `torch.inference_mode`, in the caller's gradient mode.

    Tensors made in it can never be differentiated or changed in place: methods with gradients would fail, and so would
    a state or a model that is used outside of it later.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return call


@dataclass(frozen=True, eq=False)
class RePaintOutput:
    """The result of a pipeline call.

    Attributes:
        images: one result per image and repetition, in the order of the input. "pil": a list. "np", "pt": an array or
            tensor with a batch axis if all sizes agree, else a list. "latent": a list of latents.
        model_calls: denoiser calls of each image with a hole; of a cropped image, of each of its windows.
        seeds: the seed of each result; `generator=seeds[i]` with image i alone reproduces it.
        output_type: "pil", "np", "pt" or "latent".
        fills: the unrounded fills of each input image; empty with one result per image, and for latents.
    """

    images: Any
    model_calls: int
    seeds: list[int]
    output_type: OutputType = "pil"
    fills: list[Fills] = field(default_factory=list, repr=False)

    def mean(self) -> list[Any]:
        """Compute the mean of the results of each input image.

        It minimises the squared error, so use it for measurements. It is blurrier than any result, and not a sample of
        the prior. Results in pairs (`antithetic=True`) give a better mean for the same calls. It is computed in float
        from the results before they are rounded, and rounded once if the image has an integer type. Kept pixels are
        bit-equal to the input.

        Returns:
            One image per input image, in the output type of the call.
        Raises:
            InputError: one result per image, or latents.

        >>> import numpy as np
        >>> from repaint.testing import PixelByPixelPrior
        >>> image, hole = np.full((8, 8), 90, np.uint8), np.eye(8, dtype=bool)
        >>> pipe = RePaintPipeline(PixelByPixelPrior(channels=1))
        >>> out = pipe(image, hole, num_images_per_prompt=8, generator=0, output_type="np")
        >>> out.mean()[0].shape, out.uncertainty()[0].shape, bool((out.mean()[0][~hole] == 90).all())
        ((8, 8), (8, 8), True)
        """
        return [fills.mean().output(self.output_type) for fills in self._several("mean")]

    def uncertainty(self) -> list[NDArray[np.float64]]:
        """Compute the standard deviation of the results of each input image at each pixel.

        Its square is unbiased (divisor m - 1 for m results) and computed from the results before they are rounded. Its
        unit is that of the output: of 255 for 8-bit images, of 1 for tensors and float arrays. Antithetic results give
        a rougher estimate, about that of half as many independent ones. At a temperature below 1 (see `Method`) results
        differ less than what the model finds likely: their deviations are divided by the temperature.

        Returns:
            One (H, W) array per input image, as displayed (upright, like the mask): the root mean square over the
            colour channels; 0 at kept pixels.
        Raises:
            InputError: one result per image, one antithetic pair per image, or latents.
        """
        return [fills.deviation(self.output_type) for fills in self._several("uncertainty")]

    def interval(self, coverage: float = 0.9) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Compute the interval that holds the central share of the results of each input image, at each pixel.

        Its ends are quantiles of the results before they are rounded, interpolated linearly as in `numpy.quantile`.
        As for `uncertainty`, deviations from the mean are first divided by the temperature of the method.

        Args:
            coverage: the share, in (0, 1].
        Returns:
            One pair (lower, upper) of images per input image: (H, W) or (H, W, C), as displayed, in the unit of
            `uncertainty`. Palette and CMYK images as RGB. Kept pixels have the value of the input.
        Raises:
            InputError: one result per image, latents, or a coverage out of range.
        """
        return [fills.interval(coverage, self.output_type) for fills in self._several("interval")]

    def _several(self, name: str) -> list[Fills]:
        """Return the fills, or raise an error that explains why there are none."""
        if self.output_type == "latent":
            raise InputError(f"{name}() needs images, but output_type='latent' gave latents. Pass 'pil', 'np' or 'pt'.")
        if not self.fills:
            raise InputError(
                f"{name}() needs at least 2 results of each image, but this call drew one. Pass "
                "num_images_per_prompt=8."
            )
        return self.fills

    def _repr_png_(self) -> bytes | None:
        """Render the first eight images in a row, for notebooks; None if they are not PIL images."""
        if not isinstance(self.images, list) or not all(isinstance(image, Image) for image in self.images):
            return None
        file = io.BytesIO()
        side_by_side(self.images[:8]).save(file, "png")
        return file.getvalue()


class RePaintPipeline(Placed):
    """Fill holes with a pretrained prior.

    Args:
        prior: any object of the `Prior` protocol.
    Raises:
        InputError: another object, such as a diffusers pipeline or a name.

    >>> import numpy as np
    >>> from repaint.testing import PixelByPixelPrior
    >>> pipe = RePaintPipeline(PixelByPixelPrior())
    >>> pipe.set_progress_bar_config(disable=True)
    >>> image, mask = np.zeros((8, 8, 3), np.uint8), np.eye(8, dtype=bool)
    >>> out = pipe(image, mask, schedule="fast", generator=0, output_type="np")
    >>> out.images.shape, out.model_calls, out.seeds
    ((1, 8, 8, 3), 25, [0])
    """

    def __init__(self, prior: Prior) -> None:
        if isinstance(prior, type) or not (isinstance(prior, PriorDefaults) or hasattr(prior, "denoise")):
            named = isinstance(prior, (str, Path))
            way = "RePaintPipeline.from_pretrained" if named else "RePaintPipeline.from_pipe for a diffusers pipeline"
            raise InputError(f"prior={shown(prior)} must be a Prior. Use {way}.")
        check_attributes(prior)
        self.prior = prior
        self._progress: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"RePaintPipeline({type(self.prior).__name__}, {self.dtype}, device={str(self.device)!r})"

    @classmethod
    @_without_inference_mode
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        torch_dtype: torch.dtype | str = torch.float32,
        variant: str | None = None,
        **hub: Any,
    ) -> RePaintPipeline:
        """Load a prior by bundled name, folder in diffusers layout, or Hub id. See `repaint.priors.load.load`.

        Args:
            name: a bundled name, a folder, a Hub id, or a checkpoint in one `.safetensors` file.
            torch_dtype: type of the model. "auto": float16 if CUDA is present, to be moved there; else bfloat16
                if the processor has instructions for it; else float32.
            variant, hub: see `load`.
        Raises:
            PriorError, InputError: see `load`.
        """
        if torch_dtype == "auto":
            torch_dtype = fastest_dtype("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load(name, torch_dtype=torch_dtype, variant=variant, **hub))

    @classmethod
    def from_pipe(cls, pipe: Any, class_names: Mapping[int, str] | None = None, **unknown: Any) -> RePaintPipeline:
        """Wrap a diffusers pipeline. Its components are shared, not copied.

        Args:
            pipe: the pipeline.
            class_names: class number to name, for class-conditional models; None: the `id2label` of the pipeline. A
                model with one more class than names has a null class.
        Raises:
            PriorError: a pipeline without a supported model or without a scheduler.
            InputError: not a pipeline, or other arguments.
        """
        for name, value in unknown.items():
            raise InputError(
                f"{name}={shown(value)} is not an argument of from_pipe, which takes class_names. Change the pipeline "
                "before, such as with pipe.to(torch.float16)."
            )
        if not hasattr(pipe, "components") or isinstance(pipe, type):
            raise InputError(
                f"from_pipe() got a {type(pipe).__name__}, which is not a diffusers pipeline. Pass a pipeline, or a "
                "Prior to the constructor."
            )
        return cls(prior_from_pipe(pipe, class_names))

    def load_lora_weights(self, path: str | Path, **options: Any) -> None:
        """Load LoRA weights into the wrapped diffusers pipeline.

        Args:
            path: a file, a folder or a Hub id.
            **options: passed to diffusers' `load_lora_weights`, such as weight_name and adapter_name.
        Raises:
            PriorError: weights of another model, or a prior that takes none.
            InputError: an option that diffusers does not have.
        """
        load_lora(self.prior, path, **options)

    def set_progress_bar_config(self, **kwargs: Any) -> None:
        """Set keyword arguments of tqdm, such as disable=True or desc="filling"."""
        self._progress = kwargs

    @_without_inference_mode
    def __call__(
        self,
        image: ImageLike | None = None,
        mask_image: MaskLike | None = None,
        *,
        keep_mask: MaskLike | None = None,
        schedule: ScheduleLike | None = None,
        merge: str | Merge | None = None,
        solver: str | Solver | None = None,
        corrector: str | Corrector | None = None,
        temperature: float | None = None,
        guidance: Guidance | str | GuidanceRule | None = None,
        strength: float | MaskLike = 1.0,
        latent_margin: int = 0,
        blend_rim: float = 0.0,
        crop: CropLike = "auto",
        output_type: OutputType = "pil",
        num_images_per_prompt: int = 1,
        antithetic: bool = False,
        generator: Seedable = None,
        batch_size: BatchSize = None,
        callback_on_step_end: StepCallback | None = None,
        **conditions: Any,
    ) -> RePaintOutput:
        """Fill the hole of each image.

        Kept pixels are bit-equal to the input. Pixels under the hole are never read, unless strength < 1.

        Args:
            image: PIL image, path, numpy (H, W), (H, W, C) or (B, H, W, C), tensor (C, H, W) or (B, C, H, W), or a list
                of these. Floats are in [0, 1]. Sizes may differ.
            mask_image: white (1) is repainted. One mask for all images, or one for each. Grey is a soft edge: such
                pixels are repainted, then blended with the input.
            keep_mask: a mask of the opposite polarity, white (1) is kept. Pass exactly one of the two.
            schedule: preset name, YAML file, JumpSchedule or Method; None: the default preset of the prior.
            merge, solver, corrector: replace that part of the preset, as an object or as text ("predicted(8)").
            temperature: replaces that of the preset, in [0, 1]: the factor of all noise. 1 samples what the model finds
                likely; lower values are nearer to the mean of all such samples, and smoother; 0 estimates the mean.
            guidance: (x, level) -> gradient of log p(y | x) with respect to x, for guidance by a classifier, called
                with autograd on; or a rule that replaces that of the preset, as an object or as text ("dps(1)"), see
                `repaint.sampling.reconstruction`.
            strength: in (0, 1]; below 1 the hole starts from the input, noised to that share of the levels. Or a map,
                in any form of a mask, of how much each pixel may change, from black (0, bit-equal) over grey to white
                (1, never read), as in differential diffusion (arXiv 2306.00950). Without a mask, the hole is where the
                map is above 0. A constant map equals the number.
            latent_margin: for latent priors, number of latent cells around the hole that are repainted too, because
                they encode part of the smooth fill. Kept pixels stay bit-equal. 0 is usually best: a slightly wrong
                cell helps the model more than none.
            blend_rim: width in pixels of the rim of the hole that is blended into the kept pixels. It reduces the seam
                of autoencoders, which change kept pixels a little; 2 is a good width. It changes nothing for
                pixel-space priors. See `repaint.pictures.rim.meet_rim`.
            crop: "auto" fills windows around the holes of an image larger than the training size of the prior; a `Crop`
                sets their size; None or "off" passes whole images to the prior. The first window uses the seed of the
                result, and each other one a seed derived from it.
            output_type: "pil", "np", "pt" or "latent"; a cropped image has no latents.
            num_images_per_prompt: results per image. With several, see `RePaintOutput.mean` and `uncertainty`.
            antithetic: draw the results of an image in pairs with opposite noise: each is a sample as before, but the
                mean of one pair is nearer to the mean of all samples than that of several independent results. Use it
                for `RePaintOutput.mean`; see `repaint.sampling.rng`. A single result, or an odd last one, has no
                partner.
            generator: an int, a `torch.Generator`, or one of these per result, or per pair of results. See
                `repaint.sampling.rng.seeds_for`.
            batch_size: maximum number of images of one size, or windows, in a batch; None: all; "auto": halve the batch
                and compute it again when memory runs out. The noise of an image does not depend on its batch, so that
                results differ only by rounding.
            callback_on_step_end: called after each move with (pipeline, moves made, level, {"state": SamplerState}).
                It may return a dict with another "state" to continue from. A state contains a whole batch and can be
                saved; see `resume`. Batches run one after the other, and start again if memory ran out.
            **conditions: conditions of the prior, see `repaint.sampling.prior.Conditions`: prompt,
                negative_prompt, prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds,
                negative_pooled_prompt_embeds, class_labels, guidance_scale, guidance_rescale, guidance_interval.
        Raises:
            RepaintError: invalid arguments, in one line; see `repaint.errors`.
        Warns:
            LargeHoleWarning: a hole is thicker than the prior's `largest_hole`; once per call.
        """
        check_batch_size(batch_size)
        _check_callback(callback_on_step_end)
        plan = Plan.of(
            self.prior,
            None,
            image,
            mask_image,
            keep_mask=keep_mask,
            schedule=schedule,
            merge=merge,
            solver=solver,
            corrector=corrector,
            temperature=temperature,
            guidance=guidance,
            strength=strength,
            latent_margin=latent_margin,
            blend_rim=blend_rim,
            crop=crop,
            output_type=output_type,
            num_images_per_prompt=num_images_per_prompt,
            antithetic=antithetic,
            generator=generator,
            **conditions,
        )

        calls = 0

        def painted(batch: Sequence[Filling]) -> None:
            nonlocal calls
            calls = self._paint(plan, batch, None, callback_on_step_end).model_calls

        particles = 1 if plan.method.kernel is None else plan.method.kernel.particles
        cure = None if particles == 1 else f"Each image has {particles} particles: use fewer, or a smaller batch_size."
        for batch in plan.batches():
            in_batches(batch, batch_size, painted, cure=cure)
        return _output(plan, calls)

    def outpaint(
        self,
        image: ImageLike,
        *,
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        aspect: str | float | None = None,
        overlap: int | None = None,
        num_images_per_prompt: int = 1,
        antithetic: bool = False,
        generator: Seedable = None,
        output_type: OutputType = "pil",
        **options: Any,
    ) -> RePaintOutput:
        """Extend an image beyond its borders. Its own pixels are bit-equal in the result.

        The new space is painted from the image outwards, in steps whose size suits the model: each window holds new
        pixels and some that are already there, and reads what previous steps have painted.

        Args:
            image: one image; see `__call__`.
            left, right, top, bottom: pixels to add.
            aspect: width over height of the result, such as "16:9" or 1.5; what is missing is added evenly on both
                sides. Together with sides, these are added first.
            overlap: the least number of pixels of the picture in each window of new ones. Smaller values need fewer
                steps, with less context. None: half the training size of the model, or more for models of small holes.
            num_images_per_prompt, antithetic, generator, output_type: see `__call__`.
            **options: other arguments of `__call__`, except masks and strength.
        Returns:
            As `__call__`; `model_calls` is the sum over the steps.
        Raises:
            InputError: nothing to add, a ratio or overlap out of range, or several images.
        Warns:
            LargeHoleWarning: more on a side than the prior's `largest_hole`.

        >>> import numpy as np
        >>> from repaint.testing import PixelByPixelPrior
        >>> pipe = RePaintPipeline(PixelByPixelPrior(channels=1))
        >>> pipe.set_progress_bar_config(disable=True)
        >>> wide = pipe.outpaint(np.full((9, 8), 90, np.uint8), aspect="16:9", generator=0, output_type="np").images[0]
        >>> wide.shape, bool((wide[:, 4:12] == 90).all())
        ((9, 16), True)
        """
        left_out(options, ("mask_image", "keep_mask"), "outpaint() makes the mask. Call the pipeline to fill holes.")
        left_out(options, ("strength",), "the new space holds nothing to start from.")
        pictures = read_images(image)
        margins = as_margins(pictures[0].size, left, right, top, bottom, aspect)
        warn_if_large(self.prior, margins.largest, f"The new space is {margins.largest} pixels wide")
        steps = margins.steps(step_width(self.prior, overlap))
        copies = whole_number("num_images_per_prompt", num_images_per_prompt, 1)
        seeds = seeds_for(1, generator, copies=copies, antithetic=antithetic)
        if self.prior.preferred_size is not None and overlap is not None:
            options = {"crop": Crop(context=overlap / max(1, self.prior.preferred_size - overlap)), **options}
        method = method_for(self.prior, options.get("schedule"), temperature=options.get("temperature"))
        check_copies(method, copies)
        conditions = {name: options.pop(name) for name in list(options) if name not in ARGUMENTS}
        each = read_conditions(conditions, self.prior, ARGUMENTS).split(1) * len(seeds)
        paint = partial(self, **options, **Conditions.join(each, None).given())
        results = outpaint_in_steps(paint, image, steps, seeds, output_type)
        calls, images, fills = sum(result.model_calls for result in results), results[-1].images, []
        if len(seeds) > 1 and output_type != "latent":
            hole, paired = extended(image, margins)[1], are_pairs(seeds)
            fills = [Fills.from_images(list(images), hole, paired=paired, temperature=method.temperature)]
        return RePaintOutput(images, calls, list(seeds), output_type, fills)

    @_without_inference_mode
    def resume(
        self,
        state: SamplerState | str | Path,
        image: ImageLike,
        mask_image: MaskLike | None = None,
        *,
        callback_on_step_end: StepCallback | None = None,
        **options: Any,
    ) -> RePaintOutput:
        """Continue from a saved state, bit-equal, or from a branch of it, with other seeds and another walk.

        Pass the image, mask, crop, conditions, method, strength and margin of the run that saved the state. For a
        branch (`state.branch(seeds)`), the schedule must start at its level; see `JumpSchedule.capped(level)`.

        Args:
            state: a `SamplerState`, or the path of a saved one.
            image, mask_image, callback_on_step_end: see `__call__`.
            **options: the other arguments of `__call__`, except num_images_per_prompt, antithetic, generator and
                batch_size, which the state sets.
        Raises:
            StateError: a damaged state, another method, or another image. Model and conditions are not compared.
            OutOfMemory: the batch of the state does not fit; the state is unchanged.
        """
        left_out(
            options, ("num_images_per_prompt", "antithetic", "generator", "batch_size"), "the saved state sets it."
        )
        _check_callback(callback_on_step_end)
        if not isinstance(state, (SamplerState, str, Path)):
            raise InputError(f"state is a {type(state).__name__}: pass a SamplerState, or the path of a saved one.")
        saved = state if isinstance(state, SamplerState) else SamplerState.load(state)
        plan = Plan.of(self.prior, saved, image, mask_image, **options)
        calls = 0

        def continued(batch: Sequence[Filling]) -> None:
            nonlocal calls
            last = self._paint(plan, batch, saved.to(self.device), callback_on_step_end)
            calls = last.model_calls - saved.model_calls

        in_batches(plan.fillings, None, continued, cure=SAME_BATCH)
        return _output(plan, calls)

    def _paint(
        self, plan: Plan, batch: Sequence[Filling], state: SamplerState | None, callback: StepCallback | None
    ) -> SamplerState:
        """Paint a batch with a progress bar, and return the last state."""
        from tqdm.auto import tqdm

        position, calls = (0, 0) if state is None else (state.position, state.model_calls)
        left = plan.method.calls_after(position)
        with tqdm(**{"total": left, "unit": "call", **self._progress}) as bar:

            def on_move(state: SamplerState) -> SamplerState | None:
                nonlocal calls
                bar.update(state.model_calls - calls)
                calls = state.model_calls
                if callback is None:
                    return None
                changed = _changed(callback(self, state.position, state.level, {"state": state}))
                calls = calls if changed is None else changed.model_calls
                return changed

            return plan.paint(batch, state, on_move)


def _check_callback(callback: object) -> None:
    """Check the callback before the first model call.

    Raises:
        InputError: it cannot be called.
    """
    if callback is not None and not callable(callback):
        raise InputError(
            f"callback_on_step_end={shown(callback)} must be a function (pipeline, moves, level, {{'state': state}})."
        )


def _changed(returned: Any) -> SamplerState | None:
    """Return the state that a callback returned, or None.

    Raises:
        InputError: it returned something else, such as the latents of a callback of diffusers, which nothing reads.
    """
    if returned is None:
        return None
    state = returned.get("state") if isinstance(returned, Mapping) else None
    known = isinstance(returned, Mapping) and returned.keys() <= {"state"}
    if not known or not (state is None or isinstance(state, SamplerState)):
        names = f" with {', '.join(map(repr, returned))}" if isinstance(returned, Mapping) else ""
        raise InputError(
            f"callback_on_step_end returned a {type(returned).__name__}{names}, but only {{'state': SamplerState}} is "
            "read. Return that, or None."
        )
    return state


def _output(plan: Plan, calls: int) -> RePaintOutput:
    seeds = [canvas.seed for canvas in plan.canvases]
    return RePaintOutput(plan.images(), calls, seeds, plan.output_type, plan.fills())


def inpaint(
    image: ImageLike, mask_image: MaskLike | None = None, prior: str | Path | RePaintPipeline = "photos", **kwargs: Any
) -> RePaintOutput:
    """Load a prior and fill the hole. For several calls, create a `RePaintPipeline` once.

    Args:
        image, mask_image: see `RePaintPipeline.__call__`; white (1) is repainted. Or pass keep_mask=.
        prior: bundled name, folder or Hub id, or a pipeline.
        **kwargs: see `RePaintPipeline.__call__`.
    Raises:
        RepaintError: see `RePaintPipeline.from_pretrained` and `RePaintPipeline.__call__`.
    """
    pipe = prior if isinstance(prior, RePaintPipeline) else RePaintPipeline.from_pretrained(prior)
    return pipe(image, mask_image, **kwargs)
