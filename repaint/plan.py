"""Plans one call: from the arguments to the batches that a sampler runs, and back to images.

An image is cut into windows, or taken whole. Windows of one size share a batch, and each has its own seed and
conditions, so no result depends on the batch that it is computed in.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from repaint.arguments import (
    OutputType,
    ScheduleLike,
    check_copies,
    check_output,
    method_for,
    read_conditions,
    read_strength,
    weakened,
)
from repaint.checks import shown, whole_number
from repaint.cutouts import (
    Cutout,
    cut,
    cut_aligned,
    encode,
    read_aligned,
    strengths,
    warn_of_large_holes,
    window_seed,
)
from repaint.errors import InputError, NonFiniteError, PriorError, StateError
from repaint.pictures.crop import Crop, CropLike, Window, as_crop, padded_size
from repaint.pictures.fills import Fills
from repaint.pictures.images import COLOURS, ImageLike, Picture, read_images
from repaint.pictures.masks import MaskLike, known
from repaint.pictures.rim import meet_rim
from repaint.priors.windowed import Windowed
from repaint.sampling.contract import checked_conditioned, checked_decoded
from repaint.sampling.corrector import Corrector
from repaint.sampling.guidance import Guidance, GuidanceRule
from repaint.sampling.merge import Merge
from repaint.sampling.method import Method
from repaint.sampling.population import spread
from repaint.sampling.prior import Conditions, Prior
from repaint.sampling.rng import Seedable, are_pairs, derived_seed, seeds_for
from repaint.sampling.sampler import Sampler
from repaint.sampling.solvers import Solver
from repaint.sampling.state import SamplerState

__all__ = ["ARGUMENTS", "Canvas", "Filling", "Plan"]

BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
AGAIN = (0, 2)  # keeps the noise of strengths below 1 apart from that of windows and of steps of outpainting
LATENT_TOLERANCE = 0.125  # an image encoded on another device or in another type; bfloat16 changes latents by 0.03


@dataclass
class Filling:
    """One result for a cutout.

    Attributes:
        painted: the painted cutout, or its latent; None until painted.
        unrounded: (n, C) in [0, 1], what was painted at the window's own pixels; None unless the plan keeps it.
    """

    cutout: Cutout
    seed: int
    conditions: Conditions
    painted: Any = None
    unrounded: Any = None


@dataclass
class Canvas:
    """A result: a picture and its fillings, one per window; none for a picture without a hole."""

    picture: Picture
    fillings: list[Filling]
    seed: int


@dataclass
class Plan:
    """The plan of one pipeline call. Make one with `Plan.of`, `paint` each of its `batches`, and read `images`.

    Attributes:
        prior, method, guidance: what the sampler runs.
        canvases: the results, in the order of the input; repetitions of an image follow one another.
        copies: repetitions of each image.
        keeps: the mask of each image.
        strength: share of the levels that the hole is renoised to; 1 starts from pure noise.
        latent_margin, blend_rim, output_type: see `RePaintPipeline.__call__`.
    """

    prior: Prior
    method: Method
    guidance: Guidance | None
    canvases: list[Canvas]
    copies: int
    keeps: list[Any]
    strength: float
    latent_margin: int
    blend_rim: float
    output_type: OutputType

    @classmethod
    def of(
        cls,
        prior: Prior,
        saved: SamplerState | None,
        /,
        image: ImageLike | None,
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
        **named: Any,
    ) -> Plan:
        """Check all arguments and cut the images, before anything is computed.

        Args:
            prior: the model.
            saved: a state to continue from, which sets the number of results and their seeds; or None.
            **named: see `Conditions`.
            The other arguments are those of `RePaintPipeline.__call__`.
        Raises:
            RepaintError: see `RePaintPipeline.__call__`.
        """
        copies = whole_number("num_images_per_prompt", num_images_per_prompt, 1)
        check_output(prior, output_type, latent_margin, blend_rim)
        if prior.network is not None and prior.network.training:
            raise PriorError(
                "The network is in training mode, in which dropout makes results differ: call .eval() on it, or "
                "on pipe.prior.network."
            )
        rule = guidance if isinstance(guidance, (str, GuidanceRule)) else None
        hook: Guidance | None = None if rule is not None else guidance  # type: ignore[assignment]
        if hook is not None and not callable(hook):
            raise InputError(f"guidance={shown(hook)} must be a function (x, level) -> gradient, a rule, or its text.")
        parts = {"merge": merge, "solver": solver, "corrector": corrector, "guidance": rule}
        method = method_for(prior, schedule, **parts, temperature=temperature)
        check_copies(method, copies)
        given = replace(read_conditions(named, prior, ARGUMENTS), guided=method.guided)
        if image is None:
            raise InputError("image is missing: pass an image and a mask, such as pipe('photo.png', 'mask.png').")
        pictures = read_images(image)
        keeps, maps, most = read_strength(strength, mask_image, keep_mask, pictures)
        method = weakened(method, most)
        aligned = {
            name: read_aligned(name, given.arguments[name], pictures)
            for name in prior.aligned
            if name in given.arguments
        }
        given = replace(given, arguments={name: v for name, v in given.arguments.items() if name not in aligned})
        cutouts = _cutouts(prior, pictures, keeps, maps, as_crop(crop))
        if aligned:  # windows inside of a batch would each need their own part of these images
            cutouts = [[replace(cutout, cover=None) for cutout in each] for each in cutouts]
        warn_of_large_holes(prior, [cutout for each in cutouts for cutout in each])
        if saved is not None:
            copies = max(1, len(saved.seeds) // max(1, sum(map(len, cutouts))))
            generator, antithetic = 0, False  # replaced by the seeds of the state
        seeds = seeds_for(len(pictures), generator, copies=copies, antithetic=antithetic)
        canvases = []
        for k, conditions in enumerate(given.split(len(pictures))):
            own = [_with_aligned(conditions, aligned, k, cutout, prior.multiple_of) for cutout in cutouts[k]]
            for seed in seeds[k * copies : (k + 1) * copies]:
                pairs = enumerate(zip(cutouts[k], own, strict=True))
                fillings = [Filling(cutout, window_seed(seed, n), each) for n, (cutout, each) in pairs]
                canvases.append(Canvas(pictures[k], fillings, seed))
        rim = int(latent_margin), float(blend_rim)
        plan = cls(prior, method, hook, canvases, copies, keeps, most, *rim, output_type)
        if output_type == "latent":
            plan._check_latents()
        if saved is not None:
            plan._take_seeds(saved)
        return plan

    @cached_property
    def fillings(self) -> list[Filling]:
        """All fillings of all canvases, in order."""
        return [filling for canvas in self.canvases for filling in canvas.fillings]

    def batches(self) -> list[list[Filling]]:
        """Group fillings that can share a batch: those whose cutouts have one size and one kind of cover."""
        groups: dict[Any, list[Filling]] = {}
        for filling in self.fillings:
            groups.setdefault((filling.cutout.size, filling.cutout.cover), []).append(filling)
        return list(groups.values())

    def paint(
        self,
        batch: Sequence[Filling],
        state: SamplerState | None = None,
        on_move: Callable[[SamplerState], SamplerState | None] | None = None,
    ) -> SamplerState:
        """Paint fillings of one size, from the start or from a state, and return the last state.

        Args:
            batch: fillings of one size; sets their `painted`.
            state: to continue from, on the prior's device.
            on_move: see `Sampler.run`.
        Raises:
            StateError: a state of other images or masks, or of another walk.
        """
        prior = self.bound(batch, resumed=state is not None)
        try:
            state = self._sampled(prior, batch, state, on_move)
        finally:
            prior.release()
        self._finish(batch, state.x)
        return state

    def _sampled(
        self,
        prior: Prior,
        batch: Sequence[Filling],
        state: SamplerState | None,
        on_move: Callable[[SamplerState], SamplerState | None] | None,
    ) -> SamplerState:
        cutouts = [filling.cutout for filling in batch]
        sampler = Sampler(prior, self.method, self.guidance)
        x0, mask = encode(self.prior, cutouts, self.latent_margin)
        shares = strengths(self.prior, cutouts, self.latent_margin)
        if state is None:
            seeds = [self._noise_seed(filling) for filling in batch]
            state = sampler.start(x0, mask, seeds, self._init(cutouts), shares)
            state = replace(state, seeds=tuple(filling.seed for filling in batch))
        else:
            tolerance = 0.0 if self.prior.latent_factor == 1 else LATENT_TOLERANCE
            if not _same_problem(state, sampler.problem(x0, mask, shares), tolerance):
                raise _foreign(state)
        del x0, mask  # the state has its own, and a large picture has no memory to spare
        if isinstance(prior, Windowed):
            parts = (spread(state.x0, self._particles), spread(state.known, self._particles))
            sampler.prior = prior.covering(*parts)
        for moved in sampler.run(state, on_move):
            state = moved
        return state

    def _noise_seed(self, filling: Filling) -> int:
        """Return the seed of all noise. A hole that is read may hold a result of the same seed, and thus its noise."""
        return derived_seed(filling.seed, *AGAIN) if self.strength < 1 else filling.seed

    def _init(self, cutouts: Sequence[Cutout]) -> Float[Tensor, "b *shape"] | None:
        """Return what the holes start from: the image for a strength below 1, a smooth fill, or None for pure noise."""
        if self.strength < 1:
            return encode(self.prior, cutouts, whole=True)[0]
        return encode(self.prior, cutouts, smooth=True)[0] if self.method.init == "smooth" else None

    def images(self) -> Any:
        """Return the results as a list, or as one array or tensor if the output type and the sizes allow it.

        Raises:
            NonFiniteError: latents with NaN or infinity. For pixels, `Picture.compose` raises it earlier.
        """
        outputs = [self._output(canvas) for canvas in self.canvases]
        if self.output_type in ("np", "pt") and len({(each.shape, each.dtype) for each in outputs}) == 1:
            # Without dtype, numpy would change the byte order of big-endian images.
            return np.stack(outputs, dtype=outputs[0].dtype) if self.output_type == "np" else torch.stack(outputs)
        return outputs

    def fills(self) -> list[Fills]:
        """Return the fills of each image before rounding; none for a single result per image, or for latents."""
        if self.copies == 1 or self.output_type == "latent":
            return []
        groups = [self.canvases[i : i + self.copies] for i in range(0, len(self.canvases), self.copies)]
        return [self._fills(group, keep) for group, keep in zip(groups, self.keeps, strict=True)]

    def _fills(self, group: Sequence[Canvas], keep: Float[Tensor, "1 h w"]) -> Fills:
        picture, hole = group[0].picture, ~known(keep)[0].numpy()
        channels = picture.channels_last.shape[2]
        number = np.full(hole.shape, -1)  # of each pixel in the hole, in row order
        number[hole] = np.arange(np.count_nonzero(hole))
        values = np.empty((len(group), np.count_nonzero(hole), channels), picture.precision)
        for into, canvas in zip(values, group, strict=True):
            for one in canvas.fillings:
                window = one.cutout.window
                into[number[window.place][window.own]] = one.unrounded
        colours = channels if channels == self.prior.channels else COLOURS[channels]
        return Fills(
            picture, hole, values, colours, are_pairs([canvas.seed for canvas in group]), self.method.temperature
        )

    def bound(self, batch: Sequence[Filling], resumed: bool = False) -> Prior:
        """Return the prior with the conditions of a batch, in windows if they cover the holes."""
        prior, size = self.prior, batch[0].cutout.cover
        if size is not None:
            prior = Windowed(prior, size)
        # Particles of an image follow one another, under its conditions.
        each = [filling.conditions for filling in batch for _ in range(self._particles)]
        calls = self.method.model_calls // self._particles  # all particles are predicted at once
        joined = Conditions.join(each, self._padded(batch), calls)
        return checked_conditioned(prior.conditioned(len(each), replace(joined, in_order=not resumed)), prior)

    @property
    def _particles(self) -> int:
        return 1 if self.method.kernel is None else self.method.kernel.particles

    def _padded(self, batch: Sequence[Filling]) -> tuple[int, int]:
        """Return the height and width of a batch in pixels, padded to what the prior accepts."""
        return padded_size(batch[0].cutout.size, self.prior.multiple_of)

    def _finish(self, batch: Sequence[Filling], x: Float[Tensor, "b *shape"]) -> None:
        """Decode, remove the padding, blend at the rim, and restore the kept pixels bit for bit."""
        if self.output_type == "latent":
            for filling, latent in zip(batch, x, strict=True):
                filling.painted = latent
            return
        with torch.no_grad():
            shape = len(x), self.prior.channels, *self._padded(batch)
            decoded = checked_decoded(self.prior.decode(x), self.prior, shape)
        for filling, image in zip(batch, decoded.cpu(), strict=True):
            cutout = filling.cutout
            height, width = cutout.size
            filled = image[:, :height, :width]
            if cutout.window.scale > 1:
                filled = F.avg_pool2d(filled, cutout.window.scale)
            if self.blend_rim:
                kept = cutout.picture.tensor(self.prior.channels)
                filled = meet_rim(filled, kept, known(cutout.keep), self.blend_rim)
            hole, values = cutout.keep[0].numpy() < 1, cutout.picture.blended(filled, cutout.keep)
            filling.painted = cutout.picture.filled(hole, values)
            if self.copies > 1:
                filling.unrounded = values[cutout.window.own[hole]].astype(cutout.picture.precision)

    def _output(self, canvas: Canvas) -> Any:
        if self.output_type != "latent":
            windows = [(f.cutout.window.place, f.cutout.window.own, f.painted) for f in canvas.fillings]
            return (canvas.picture.stitched(windows) if windows else canvas.picture).output(self.output_type)
        if not canvas.fillings:
            nowhere = Window(0, 0, np.zeros(canvas.picture.size, dtype=bool))
            return encode(
                self.prior, [Cutout(nowhere, canvas.picture, torch.ones(1, *canvas.picture.size, device="cpu"))]
            )[0][0]
        latents = canvas.fillings[0].painted
        if not bool(torch.isfinite(latents).all()):
            raise NonFiniteError(
                "The latents hold NaN or infinity, although every prediction was finite: the solver's last step made "
                "them. Use another solver."
            )
        return latents

    def _check_latents(self) -> None:
        for canvas in self.canvases:
            size = canvas.picture.size
            if any(f.cutout.picture.size != size or f.cutout.window.scale > 1 for f in canvas.fillings):
                raise InputError(
                    f"output_type='latent' needs whole images, but a {canvas.picture} is cut into "
                    f"{len(canvas.fillings)} windows. Pass crop='off', or another output_type."
                )

    def _take_seeds(self, saved: SamplerState) -> None:
        """Set the seeds of the fillings to those of a saved state."""
        if len(self.batches()) != 1 or len(self.fillings) != len(saved.seeds):
            raise _foreign(saved)
        for filling, seed in zip(self.fillings, saved.seeds, strict=True):
            filling.seed = seed
        for canvas in self.canvases:
            canvas.seed = canvas.fillings[0].seed if canvas.fillings else canvas.seed


def _cutouts(
    prior: Prior,
    pictures: Sequence[Picture],
    keeps: Sequence[Float[Tensor, "1 _h _w"]],
    maps: Sequence[Float[Tensor, "1 _h _w"]] | None,
    crop: Crop | None,
) -> list[list[Cutout]]:
    """Cut out each picture, with its parts of the map of strength."""
    cutouts = [cut(*pair, crop, prior) for pair in zip(pictures, keeps, strict=True)]
    if maps is None:
        return cutouts
    return [
        [replace(cutout, strength=share[(slice(None), *cutout.window.place)]) for cutout in each]
        for each, share in zip(cutouts, maps, strict=True)
    ]


def _with_aligned(
    conditions: Conditions, aligned: Mapping[str, Sequence[Any]], number: int, cutout: Cutout, multiple_of: int
) -> Conditions:
    """Add the parts of images aligned with picture `number` to the conditions of its cutout."""
    parts = {name: cut_aligned(each[number], cutout, multiple_of) for name, each in aligned.items()}
    return replace(conditions, arguments={**conditions.arguments, **parts})


def _same_problem(state: SamplerState, problem: tuple[Tensor, Tensor, Tensor | None], tolerance: float) -> bool:
    """Test whether a state has the known part (up to a tolerance), mask and strengths of `Sampler.problem`."""
    x0, mask, expected = problem
    if state.x0.shape != x0.shape or (state.free_from is None) != (expected is None):
        return False
    if state.free_from is not None and expected is not None and not torch.equal(state.free_from, expected):
        return False
    return torch.equal(state.known, mask) and bool(((state.x0 - x0).abs() <= tolerance).all())


def _foreign(state: SamplerState) -> StateError:
    return StateError(
        f"This state ({len(state.x)} samples of shape {tuple(state.x.shape[1:])}) was saved for another image or mask. "
        "Pass the original image, mask, crop and latent_margin. If batch_size split the run, pass the images of that "
        "batch."
    )


# What a caller may pass by name, besides conditions.
ARGUMENTS = [
    *(entry.name for entry in inspect.signature(Plan.of).parameters.values() if entry.kind in BY_NAME),
    "batch_size",
    "callback_on_step_end",
]
