"""Any text-to-image pipeline of diffusers as a prior: its own `__call__` runs, with all of its own arguments.

Every pipeline gets times from its scheduler, calls its network, passes the guided output to `scheduler.step` and
continues with the x that this returns. Here the scheduler is replaced, in a shallow copy of the pipeline: the sampler
of this library chooses each x and level, and the pipeline only predicts. So ControlNet, IP-Adapter, PAG, LoRA and
everything else that a pipeline does between two steps work as in diffusers. The original pipeline and its scheduler are
never changed.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.codecs import codec_of
from repaint.priors.driven_scheduler import Output, Ready, Request, driven
from repaint.priors.foreign_errors import explained
from repaint.priors.handover import Finished, Handover
from repaint.priors.networks import has_ip_adapter, side_of
from repaint.priors.passes import Passes
from repaint.priors.pipeline_prior import PipelinePrior
from repaint.priors.preconditioning import EDM, Plain, Preconditioning, ScaledFlow, preconditioning_of
from repaint.priors.private_randomness import PrivateRandomness
from repaint.priors.text import ENCODING, texts_of, warn_of_guidance
from repaint.sampling.levels import Level
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prediction import Clip, Prediction, from_output, split_variance
from repaint.sampling.prior import Conditions
from repaint.sampling.spacing import Spacing
from repaint.warning_filters import without_future_warnings

__all__ = ["OURS", "DrivenPrior"]

# Arguments of pipelines that the driver sets itself or that have no meaning here.
OURS = {
    "self", "args", "kwargs", "height", "width", "num_inference_steps", "prior_num_inference_steps", "timesteps",
    "sigmas", "num_images_per_prompt", "generator", "latents", "output_type", "return_dict", "callback",
    "callback_steps", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "eta", "strength", "mask_image",
    "denoising_start", "denoising_end", "use_resolution_binning", "max_area", "_auto_resize",
}  # fmt: skip
ALIGNED = ("control_image", "control_mask")
UNION = "ControlNetUnionModel"
MULTI = re.compile("Multi(?!.*Union)")  # classes of several ControlNets or adapters
STACKED = "MultiControlNetModel"  # whose pipelines take no lists of lists for a batch (XL)
PROGRESS = (  # given as shares of a run, which pipelines count in steps
    "control_guidance_start", "control_guidance_end", "adapter_conditioning_factor", "cfg_trunc_ratio",
    "skip_guidance_layers", "sld_warmup_steps",
)  # fmt: skip
CALLS = 1000  # predictions in one run of a pipeline if the length of the walk is unknown
STARTS = 2


class DrivenPrior(PipelinePrior):
    """Wrap a diffusers pipeline that generates images, by driving it through its scheduler.

    Its arguments (`serves`) are those of the pipeline's `__call__`, with the same names, except for two: `image` is
    called `control_image` here if the pipeline has a ControlNet or an adapter, else `reference_image`; and `mask` (of
    that image) is called `reference_mask`.

    Args:
        pipeline: the pipeline. Its components are shared; neither it nor its scheduler is changed.
    Raises:
        PriorError: an autoencoder or a scheduler that is not supported, or a network with other inputs.
    """

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.codec = codec_of(pipeline)
        self.autoencoder, self.latent_factor = self.codec.vae, self.codec.factor
        self._read_scheduler()
        self._parameters = dict(inspect.signature(pipeline.__call__).parameters)
        renamed = {"image": "control_image" if self._has("controlnet", "adapter") else "reference_image"}
        renamed["mask"] = "reference_mask"
        self._names = {renamed.get(name, name): name for name in self._parameters if name not in OURS}
        self.serves = tuple(self._names)
        self.aligned = tuple(name for name in ALIGNED if name in self._names)
        self._conditions, self._count = Conditions(), 0
        self._ready: Ready | None = None
        self._live: _Run | None = None
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()

    def _read_scheduler(self) -> None:
        """Read preconditioning and clipping from the pipeline's current scheduler, which users may have replaced.

        A scheduler of another kind than the pipeline's own would run, but with noise levels that the model was not
        trained on.
        """
        scheduler = self.pipeline.scheduler
        found = preconditioning_of(scheduler)
        named = inspect.signature(type(self.pipeline).__init__).parameters["scheduler"].annotation
        flows = NoiseSchedule.from_scheduler(scheduler, 1, shift=1.0).family == "flow"
        flow_model = "FlowMatch" in str(named)
        wrong = flow_model and not flows
        called = inspect.unwrap(type(self.pipeline).__call__).__code__.co_names
        scales = hasattr(self.pipeline, "unet") or "scale_model_input" in called
        wrong |= not flow_model and scales and not hasattr(scheduler, "scale_model_input")
        steps = isinstance(found, (Plain, EDM)) and "sample" in list(inspect.signature(scheduler.step).parameters)[:3]
        if wrong or not steps:
            raise PriorError(
                f"A {type(self.pipeline).__name__} with a {type(self.pipeline.scheduler).__name__} is not supported. "
                "Use the scheduler that its model was trained with."
            )
        self.preconditioning: Preconditioning = found
        if self._noise_scale != 1:
            self.preconditioning = ScaledFlow(self._noise_scale, float(scheduler.config.num_train_timesteps))
        self.clip = Clip.from_config(scheduler.config)

    @property
    def _noise_scale(self) -> float:
        """Ratio of the model's noise to its scheduler's."""
        return float(self.pipeline.config.get("noise_scale") or 1.0)

    def _has(self, *parts: str) -> bool:
        return any(getattr(self.pipeline, part, None) is not None for part in parts)

    @property
    def network(self) -> Any:  # type: ignore[override]
        """The denoiser, read from the pipeline at each access because users may replace it there."""
        return getattr(self.pipeline, "transformer", None) or self.pipeline.unet

    @property
    def multiple_of(self) -> int:
        """Side in pixels of the network's smallest unit, a latent cell or a patch of cells, or a multiple of it."""
        patch = self.network.config.get("patch_size")
        patch = max(patch) if isinstance(patch, (list, tuple)) else patch
        packed = self.network.config.get("in_channels") == 4 * self.codec.latent_channels
        packed |= type(self.pipeline).__name__ in SLOTS
        side = 2 if packed else 1 if hasattr(self.pipeline, "unet") else int(patch or 2)
        if hasattr(self.pipeline, "movq"):
            side = self.codec.factor  # Kandinsky rounds to the square of the autoencoder's factor
        return math.lcm(self.codec.factor * side, 8)  # pipelines of UNets require multiples of 8

    @property
    def preferred_size(self) -> int | None:  # type: ignore[override]
        """The size that the pipeline generates by default."""
        side = getattr(self.pipeline, "default_sample_size", None)
        side = int(side) if isinstance(side, int) else side_of(self.network.config)
        return None if side is None else side * self.codec.factor

    def schedule(self, steps: int, spacing: Spacing | None = None) -> NoiseSchedule:
        """Return the noise levels of the pipeline: its scheduler's, shifted as the pipeline shifts them for a size.

        Raises:
            PriorError: the shift depends on the image size, and this prior has no conditions yet.
        """
        config = self.pipeline.scheduler.config
        shift = None
        if config.get("use_dynamic_shifting"):
            if self._ready is None or self._ready.shift is None:
                raise PriorError(
                    "size must be given, because this prior's noise levels depend on it: "
                    "prior.conditioned(count, Conditions(prompt=..., size=(height, width))).schedule(steps)."
                )
            mu = self._ready.shift
            shift = mu if config.get("time_shift_type") == "linear" else math.exp(mu)
        if spacing is None and self._ready is not None:
            spacing = self._ready.spacing
        grid = NoiseSchedule.from_scheduler(self.pipeline.scheduler, steps, spacing, shift=shift)
        if self._noise_scale != 1:
            stronger = [replace(level, sigma=self._noise_scale * level.sigma) for level in grid.levels]
            grid = replace(grid, levels=tuple(stronger))
        if self._ready is None or not self._ready.unshifted or shift is None:
            return grid
        # sigma = shift u / (shift u + 1 - u), solved for u
        levels = [replace(level, t=1000 * level.sigma / (level.sigma + shift * level.alpha)) for level in grid.levels]
        return replace(grid, levels=tuple(levels))

    def conditioned(self, count: int, conditions: Conditions) -> DrivenPrior:
        """Return this prior for `count` images. The pipeline runs up to its first prediction; see `Prior.conditioned`.

        Raises:
            PriorError: an argument that the pipeline does not have or does not accept, or no prompt.
        """
        name = type(self.pipeline).__name__
        self.check_parts()
        conditions.refuse_beyond(self.serves, f"a {name}")
        given = conditions.given()
        if "prompt" in self._parameters and not any(map(_describes, given)):
            raise PriorError(
                f"A {name} needs either prompt or prompt_embeds. Pass prompt='' to fill without a description."
            )
        if name in WORDS_ONLY and "prompt" not in given:
            raise PriorError(f"A {name} takes no prompt_embeds alone, which fail in diffusers. Pass prompt.")
        for text in ("prompt", "negative_prompt"):
            if given.get(text) is not None:
                texts_of(text, given[text], count)
        for missing in self._missing(given):
            size = " (an image of the size of the image)" if missing in self.aligned else ""
            raise PriorError(f"{missing} must be given for a {name}{size}.")
        self._check_controls(given.get("control_image"), count)
        adapted = has_ip_adapter(self.network)
        if adapted and not any(map(_adapts, given)):
            raise PriorError(
                "ip_adapter_image or ip_adapter_image_embeds must be given, because the model has an IP-Adapter. To "
                "fill without one, call unload_ip_adapter() of the pipeline."
            )
        if not adapted and (unused := next(filter(_adapts, given), None)):
            raise PriorError(
                f"{unused} needs an IP-Adapter in the model. Call load_ip_adapter() of the pipeline first."
            )
        for progress in PROGRESS:
            if not conditions.in_order and progress in given and given[progress] != self._default(progress):
                raise PriorError(
                    f"{progress}={given[progress]} depends on the progress of a run, which is unknown in windows and "
                    "in a run that is resumed. Leave it out."
                )
        if conditions.size is None:
            raise PriorError(f"size must be given for a {name}: Conditions(size=(height, width)).")
        bound = copy.copy(self)
        bound._count, bound._conditions = count, conditions
        bound._live, bound._ready = None, None
        bound._read_scheduler()
        bound._start()
        return bound

    def _check_controls(self, value: Any, count: int) -> None:
        """Raise an error for a control image that is not a list of several, where the pipeline takes several."""
        controls = self._several()
        if value is not None and controls and not all(isinstance(one, (list, tuple)) for one in _each(value, count)):
            raise PriorError(
                f"control_image must be a list of {controls} images for each image for a {type(self.pipeline).__name__}"
                f" with {controls} controls: [[a for 1, a for 2], [b for 1, b for 2]]. For one image, pass [1, 2]."
            )

    def _several(self) -> int:
        """Return the number of ControlNets or adapters if they are in a class for several, or 0."""
        part: Any = getattr(self.pipeline, "controlnet", None) or getattr(self.pipeline, "adapter", None)
        if not MULTI.search(type(part).__name__):
            return 0
        return len(getattr(part, "nets", None) or part.adapters)

    def _default(self, name: str) -> Any:
        return self._parameters[name].default if name in self._parameters else None

    def _missing(self, given: Mapping[str, Any]) -> list[str]:
        """List the required arguments of the pipeline's `__call__`, and its control image, that were not given."""
        needed = {own for own, entry in self._parameters.items() if entry.default is entry.empty}
        names = [name for name, own in self._names.items() if own in needed or name == "control_image"]
        return [name for name in names if given.get(name) is None and name != "prompt"]

    def denoise(self, x: Float[Tensor, "b c h w"], level: Level) -> Prediction:
        """Return the prediction; see `Prior.denoise`. The pipeline runs from its last `scheduler.step` to the next."""
        scales = self.preconditioning.at(level)
        output, unguided = self._predict(Request(scales.scaled(x), scales.c_noise, level.sigma))
        variance = None
        if output.shape[1] == 2 * x.shape[1]:
            output, variance = split_variance(output, self.pipeline.scheduler.config.get("variance_type"))
        output = scales.denoised(x, output.to(x.dtype))
        if unguided is not None:
            unguided = scales.denoised(x, unguided.to(x.dtype))
        kind = self.preconditioning.predicts
        return from_output(kind, output, x, level, clip=self.clip, variance=variance, unguided=unguided)

    def release(self) -> None:
        """End the run of the pipeline. It also ends when this prior is no longer referenced."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def _predict(self, request: Request) -> tuple[Tensor, Tensor | None]:
        for _ in range(STARTS):
            if self._live is None or not self._live.usable:
                self._start()
            live = self._live
            assert live is not None
            try:
                return live.predict(request)
            except Finished:  # all of its calls are used up: the next run continues with this request
                self.release()
        raise PriorError(
            f"The {type(self.pipeline).__name__} ended before its first prediction: it was interrupted, or its loop "
            "does not follow the times of its scheduler, which the driver does not support."
        )

    def _start(self) -> None:
        """Run the pipeline up to where its prompts are encoded and its noise levels are known."""
        self.release()
        self._live = _Run(self.pipeline, self._arguments(), self._latents(), self._conditions.calls or CALLS)
        with ENCODING:
            self._ready = self._live.start()

    def _arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the pipeline's `__call__`."""
        assert self._conditions.size is not None
        height, width = self._conditions.size
        ours = {"height": height, "width": width, "output_type": "latent", "num_images_per_prompt": 1}
        arguments = {name: value for name, value in ours.items() if name in self._parameters}
        fixed = {"use_resolution_binning": False, "max_area": height * width, "_auto_resize": False}
        arguments |= {name: value for name, value in fixed.items() if name in self._parameters}  # keep the size
        if self.codec.vae is None and "output_type" in arguments:
            arguments["output_type"] = "pt"
        if "generator" in self._parameters:  # never the global one
            arguments["generator"] = torch.Generator().manual_seed(0)
        given = self._conditions.given()
        if not self._conditions.guided and "guidance_scale" in self._parameters and not self._takes_scale:
            if "guidance_scale" in given:
                warn_of_guidance(given["guidance_scale"])
            given = {"guidance_scale": 0.0} | given  # below every pipeline's threshold
        if any(map(_describes, given)) and "prompt" not in given:  # embeddings, which a default text would contradict
            arguments |= dict.fromkeys({"prompt", "negative_prompt"} & set(self._parameters))
            arguments |= dict.fromkeys({"enable_prompt_rewrite"} & set(self._parameters), False)
        for name, value in given.items():
            if name in ("prompt", "negative_prompt"):
                value = texts_of(name, value, self._count)
                if "text_images" in given and self._count == 1:  # these images belong to one caption, not to a list
                    (value,) = value
            own = self._names[name]
            if name == "control_image":
                value = self._controls(value)
            if name == "reference_image":
                value = self._references(value)
            if isinstance(value, Tensor) and str(self._parameters[own].annotation).startswith("list"):
                value = list(value)
            arguments[own] = value
        return arguments

    def _controls(self, value: Any) -> Any:
        """Return control images in the order of the pipeline."""
        kind = type(getattr(self.pipeline, "controlnet", None)).__name__
        if kind != UNION and not self._several():
            return value
        controls = _by_control(value, self._count)
        return [_stacked(images) for images in controls] if kind == STACKED else controls

    def _references(self, value: Any) -> Any:
        """Return reference images as the pipeline takes them: one for each prompt, or the same ones for all.

        Raises:
            PriorError: several where it takes one, or others for each image where it takes the same ones.
        """
        name = type(self.pipeline).__name__
        each, several = _each(value, self._count), _lists(value, self._count)
        if name in ONE_REFERENCE:
            if any(len(images) != 1 for images in several):
                raise PriorError(f"reference_image must be one image for each image for a {name}, not several.")
            singles = [images[0] for images in several]
            return singles * (self._count // len(singles)) if self._count > 1 else singles[0]
        if any(list(map(id, images)) != list(map(id, several[0])) for images in several):
            raise PriorError(
                f"reference_image must be the same for all images of a batch for a {name}. Pass batch_size=1."
            )
        return list(each[0]) if isinstance(each[0], tuple) else each[0]

    @property
    def _takes_scale(self) -> bool:
        """Whether the network takes the guidance scale as an input, which needs no second pass."""
        config = self.network.config
        return bool(config.get("guidance_embeds") or config.get("time_cond_proj_dim"))

    def _latents(self) -> Tensor | None:
        """Return memory for the latents of a pipeline that takes them: cells, or tokens if it packs them."""
        own = CHANNELS_LAST in self.network.config or hasattr(self.pipeline, OWN_TOKENS)
        if own or "latents" not in self._parameters:
            return None
        assert self._conditions.size is not None
        height, width = (side // self.codec.factor for side in self._conditions.size)
        dtype = torch.float32 if type(self.pipeline).__name__.startswith(WIDE) else self.network.dtype
        cells = torch.zeros(self._count, self.codec.latent_channels, height, width, device=self.device, dtype=dtype)
        packs = getattr(self.pipeline, "_pack_latents", None)
        if packs is None:
            return cells
        if len(inspect.signature(packs).parameters) != PACKS:
            return None
        packed: Tensor = packs(cells, *cells.shape)
        return packed.contiguous()


def _each(value: Any, count: int) -> list[Any]:
    """Return the control or reference image of each image, or the only one for all.

    Args:
        value: an image for all, or a list with one for each. In place of an image, several: a tuple or, in a list of
            them or for one image, a list.
        count: images in the batch.
    """
    return list(value) if isinstance(value, list) and count > 1 else [value]


def _lists(value: Any, count: int) -> list[list[Any]]:
    """Return what `_each` returns, with a list in place of each image, or of several."""
    return [list(one) if isinstance(one, (list, tuple)) else [one] for one in _each(value, count)]


def _by_control(value: Any, count: int) -> list[list[Any]]:
    """Return the images of each control, one for each image of the batch; see `_each`."""
    each = _lists(value, count)
    return [list(kind) for kind in zip(*(each * count if len(each) == 1 else each), strict=True)]


def _stacked(images: Sequence[Any]) -> Any:
    """Return PIL images as one tensor (B, 3, H, W) in [0, 1], and anything else as it is."""
    if not all(isinstance(one, Image) for one in images):
        return images
    arrays = np.stack([np.asarray(one.convert("RGB")) for one in images])
    return torch.from_numpy(arrays).movedim(-1, 1).float() / 255


def _describes(name: str) -> bool:
    """Return whether an argument describes what to paint."""
    return not name.startswith("negative") and (name == "prompt" or "embeds" in name)


def _adapts(name: str) -> bool:
    """Return whether an argument is an IP-Adapter's."""
    return name.startswith(("ip_adapter_image", "negative_ip_adapter_image"))


ONE_REFERENCE = (  # take one reference image for each prompt; others take several for all prompts
    "FluxKontextPipeline", "QwenImageEditPipeline", "StableUnCLIPImg2ImgPipeline", "Kandinsky5I2IPipeline",
    "StableDiffusionImageVariationPipeline",
)  # fmt: skip
WORDS_ONLY = ("LongCatImagePipeline",)
SLOTS = ("QwenImage21Pipeline",)  # whose text has one slot for four cells
CHANNELS_LAST = "in_visual_dim"  # an entry of Kandinsky 5, whose samples are (B, 1, H, W, C)
OWN_TOKENS = "_pack_latents_no_patch"  # of Bria Fibo, whose tokens are one cell, or four on request
WIDE = ("ZImage", "Sana", "CogView4", "OmniGen", "BriaFibo2")  # whose latents are float32, whatever their network is
PACKS = 5  # (latents, batch, channels, height, width), as in Flux; with others, the pipeline makes its own latents


class _Run:
    """One run of a pipeline's `__call__` in a handover, on a shallow copy of the pipeline."""

    def __init__(self, pipeline: Any, arguments: dict[str, Any], latents: Tensor | None, calls: int) -> None:
        self._name = type(pipeline).__name__
        clone = copy.copy(pipeline)
        # The first prediction may be for the pipeline's own noise. Otherwise there is one step for each call, because
        # shares of a run are counted in steps.
        steps = calls + (latents is None)
        self._left = calls
        vars(clone)["scheduler"] = driven(pipeline.scheduler, steps, latents)
        vars(clone)["_progress_bar_config"] = {"disable": True}
        if {"height", "width"} <= arguments.keys() and isinstance(getattr(clone, "vae_scale_factor", None), int):
            # Some pipelines (HiDream) scale every size to their default area.
            side = math.sqrt(arguments["height"] * arguments["width"]) / clone.vae_scale_factor
            vars(clone)["default_sample_size"] = side * (1 + 1e-9)
        if hasattr(clone, "resolutions"):  # Kandinsky 5 replaces any other size
            vars(clone)["resolutions"] = [(arguments["width"], arguments["height"])]
        arguments = arguments | {"num_inference_steps": calls}  # noise levels of some pipelines depend on it
        if latents is not None:
            arguments["latents"] = latents

        def call() -> None:
            clone(**arguments)

        self._handover = Handover(call)
        self._randomness, self._begun = PrivateRandomness(per_row=True), False
        self._clone = clone
        self._network = getattr(clone, "transformer", None) or clone.unet
        taken = inspect.signature(pipeline.__call__).parameters.values()
        defaults = {entry.name: entry.default for entry in taken if entry.default is not entry.empty}
        self._passes = Passes(self._network, defaults | arguments)
        self._replaces_attention = hasattr(clone, "_set_pag_attn_processor")
        self._attention: dict[str, Any] | None = None

    @property
    def usable(self) -> bool:
        return self._handover.usable

    def start(self) -> Ready:
        ready = self._resume(None)
        if not isinstance(ready, Ready):
            raise PriorError(f"A {self._name} predicts before it sets its times, which the driver does not support.")
        return ready

    def predict(self, request: Request) -> tuple[Tensor, Tensor | None]:
        if not self._left:
            raise Finished
        self._left -= 1
        with self._passes.watched(request.x):
            output = self._resume(request)
        if not isinstance(output, Output):
            raise PriorError(f"A {self._name} sets its times twice, which the driver does not support.")
        if self._clone.scheduler.wasted:
            self._passes.forget_half()
            self._clone.scheduler.wasted = False
        return output.layout.unpack(output.output), self._passes.unguided(output)

    def close(self) -> None:
        if self._handover.usable:
            with self._own_attention():
                self._handover.close()
            self._clone.maybe_free_model_hooks()

    @contextmanager
    def _own_attention(self) -> Iterator[None]:
        """Put the run's attention processors into the network inside the block, if the pipeline has its own (PAG)."""
        if not self._replaces_attention:
            yield
            return
        outside = dict(self._network.attn_processors)
        if self._attention is not None:
            self._network.set_attn_processor(dict(self._attention))
        try:
            yield
        finally:
            self._attention = dict(self._network.attn_processors)
            self._network.set_attn_processor(outside)

    def _resume(self, value: Request | None) -> Any:
        """Continue the pipeline, and convert its errors to those of this library."""
        with explained(self._name, Finished), self._own_attention(), without_future_warnings():
            if self._begun:
                return self._handover.resume(value)
            self._begun = value is not None
            with self._randomness:  # some pipelines draw latents of their images from the global generator
                return self._handover.resume(value)
