"""Latent-space priors: a diffusion model whose samples are an autoencoder's latents.

An encoder sees pixels around each latent cell, so what lies under the hole would leak into known cells. Three things
keep it out: the hole is replaced by a smooth continuation of its rim before encoding, a cell is known only if all its
pixels are, and the encoding is the posterior's mean, without noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError, NonFiniteError, PriorError
from repaint.pictures.push_pull import smooth_fill
from repaint.priors.pixel import PixelPrior

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import SchedulerMixin, UNet2DModel

__all__ = ["AUTOENCODERS", "LatentCodec", "LatentPrior", "widen"]

# Class name -> the config entry with one number per resolution.
AUTOENCODERS = {
    "AutoencoderKL": "block_out_channels",
    "VQModel": "block_out_channels",
    "AutoencoderTiny": "encoder_block_out_channels",
}


def widen(cells: Bool[Tensor, "b 1 hz wz"], margin: int) -> Bool[Tensor, "b 1 hz wz"]:
    """Known cells without those that lie within `margin` cells of a hole, diagonals included.

    Cells at the rim of a hole are encoded together with some of its smooth fill: a margin leaves them to the model.
    With the autoencoder of the `emoji` prior (`python examples/seam.py`) cells beside a box are wrong by 0.25 standard
    deviations, those farther away by 0.12 wherever they lie, as its normalisation sees the whole picture: a second
    cell wins nothing, and the first gives away a cell whose error is a sixteenth of its variance.

    Args:
        cells: True where the latent is known.
        margin: in cells, >= 0; 0 changes nothing. The image's border is no hole.
    Raises:
        InputError: an image that had known cells has none left.
    """
    left = F.max_pool2d((~cells).float(), 2 * margin + 1, stride=1, padding=margin) == 0
    before, after = cells.flatten(1).sum(1), left.flatten(1).sum(1)
    if bool(((before > 0) & (after == 0)).any()):
        raise InputError(
            f"latent_margin {margin} leaves no known latent cell of {int(before[(before > 0) & (after == 0)][0])}: "
            "some must stay, or the image is replaced by an unrelated one. Lower it, or use a smaller hole."
        )
    return left


class LatentCodec:
    """The way between images in [-1, 1] and a model's latents, through any of diffusers' image autoencoders.

    Latents are (z - mean) * gain, with the shift and scaling factor of the config as mean and gain, or its
    `latents_mean` and scaling factor / `latents_std`.

    Args:
        vae: an `AutoencoderKL`, `VQModel` or `AutoencoderTiny`.
    Raises:
        PriorError: another class.
    """

    def __init__(self, vae: Any) -> None:
        kind = type(vae).__name__
        if kind not in AUTOENCODERS:
            raise PriorError(
                f"A latent space of {kind} is not supported: supported are {', '.join(AUTOENCODERS)}. Use such a model."
            )
        self.vae = vae.eval()
        config = vae.config
        self.factor = int(2 ** (len(config[AUTOENCODERS[kind]]) - 1))
        self.channels = int(config.in_channels)
        self.latent_channels = int(config.latent_channels)
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = [config.get("shift_factor") or 0.0], [1.0]
        self._mean = torch.tensor(mean).reshape(1, -1, 1, 1)
        self._gain = float(config.scaling_factor) / torch.tensor(std).reshape(1, -1, 1, 1)

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """(latents, known cells); the latents of unknown cells are those of the smooth fill.

        Raises:
            InputError: some pixel is known, yet no cell is wholly known.
            NonFiniteError: NaN or infinity, in float32 too.
        """
        cells = F.max_pool2d((~known).float(), self.factor) == 0
        if bool((known.flatten(1).any(1) & ~cells.flatten(1).any(1)).any()):
            raise InputError(
                "The mask leaves no known latent cell: a cell is known only if all its "
                f"{self.factor} x {self.factor} pixels are. Use a coarser mask, a larger image, or a pixel-space prior."
            )
        filled = smooth_fill(image, known)
        with torch.no_grad():
            latents = self._run(lambda x: _mean_of(self.vae.encode(x)), filled, "encoded")
        return (latents - self._mean.to(latents)) * self._gain.to(latents), cells

    def decode(self, latents: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """Images in [-1, 1]; the decoder may overshoot a little.

        Raises:
            NonFiniteError: NaN or infinity, in float32 too.
        """
        scaled = latents / self._gain.to(latents) + self._mean.to(latents)
        return self._run(lambda z: self.vae.decode(z).sample, scaled, "decoded")

    def _run(self, half: Callable[[Tensor], Tensor], x: Tensor, did: str) -> Tensor:
        """One half of the autoencoder on x; in float32 where its config asks for that or float16 overflowed."""
        in_half = self.vae.dtype == torch.float16
        if not (in_half and self.vae.config.get("force_upcast")):
            result = half(x.to(self.vae.dtype)).to(x.dtype)
            if bool(torch.isfinite(result).all()):
                return result
            if in_half:
                warnings.warn(f"The autoencoder overflowed in float16 as it {did}: again in float32.", stacklevel=3)
        if in_half:
            with _upcast(self.vae):
                result = half(x.float()).to(x.dtype)
        if not bool(torch.isfinite(result).all()):
            raise NonFiniteError(
                f"The {type(self.vae).__name__} {did} NaN or infinity: its weights are damaged, or what it was given "
                "is far from its data. Load the prior again; check the image."
            )
        return result


@contextmanager
def _upcast(vae: Any) -> Iterator[None]:
    """An autoencoder in float32 for a while."""
    before = vae.dtype
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(before)


def _mean_of(encoded: Any) -> Tensor:
    """The posterior's mean, or the latents of an encoder that has no posterior."""
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents


class LatentPrior(PixelPrior):
    """A `UNet2DModel` over an autoencoder's latents: latent diffusion (Rombach et al. 2022, arXiv 2112.10752).

    Args:
        unet, scheduler, class_names: see `PixelPrior`; samples are latents.
        vae: see `LatentCodec`.
    Raises:
        PriorError: see both; or a model of other latents than the autoencoder's.
    """

    memory_format = torch.contiguous_format  # on so few cells the other is no faster

    def __init__(
        self, unet: UNet2DModel, scheduler: SchedulerMixin, vae: Any, class_names: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(unet, scheduler, class_names)
        self.codec = LatentCodec(vae)
        if unet.config.in_channels != self.codec.latent_channels:
            raise PriorError(
                f"A {type(unet).__name__} of {unet.config.in_channels} channels over latents of "
                f"{self.codec.latent_channels}: they must be the same. Check the checkpoint."
            )

    @property
    def channels(self) -> int:
        return self.codec.channels

    @property
    def multiple_of(self) -> int:
        return self.codec.factor * super().multiple_of

    @property
    def preferred_size(self) -> int | None:
        side = super().preferred_size
        return None if side is None else self.codec.factor * side

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LatentPrior:
        """Move the model and its autoencoder, in place; returns this prior."""
        super().to(device, dtype)
        if device is not None:
            self.codec.vae.to(device)
        if dtype is not None:
            self.codec.vae.to(dtype)
        return self

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """See `LatentCodec.encode`."""
        return self.codec.encode(image, known)

    def decode(self, x: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """See `LatentCodec.decode`."""
        return self.codec.decode(x)
