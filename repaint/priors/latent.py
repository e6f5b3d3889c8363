"""Latent-space priors: a diffusion model whose samples are an autoencoder's latents.

Each latent cell depends on pixels around it, so pixels under the hole could affect known cells. Three measures prevent
this: the hole is replaced by a smooth fill from its rim before encoding, a cell is known only if all its pixels are,
and the encoding is the posterior's mean, without noise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError, NonFiniteError, PriorError, warn
from repaint.pictures.push_pull import smooth_fill
from repaint.priors.networks import kind_of
from repaint.priors.pixel import PixelPrior

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import SchedulerMixin, UNet2DModel

__all__ = ["AUTOENCODERS", "LatentCodec", "LatentPrior", "per_channel", "widen"]

AUTOENCODERS = ("AutoencoderKL", "VQModel", "AutoencoderTiny")


def widen(cells: Bool[Tensor, "b 1 hz wz"], margin: int) -> Bool[Tensor, "b 1 hz wz"]:
    """Mark the known cells within `margin` cells of a hole, diagonals included, as unknown.

    Cells at the rim of a hole are encoded together with part of its smooth fill; with a margin the model paints them.
    For the autoencoder of the `emoji` prior (`python examples/seam.py`), cells beside a box are wrong by 0.25 standard
    deviations. Cells farther away are wrong by 0.12 at any distance, because normalisation spans the whole image, so a
    margin above 1 gains nothing, and even the first cell is lost for an error of a sixteenth of its variance.

    Args:
        cells: True where the latent is known.
        margin: in cells, at least 0; 0 changes nothing. The image's border does not count as a hole.
    Returns:
        The cells that remain known.
    Raises:
        InputError: an image that had known cells has none left.
    """
    left = F.max_pool2d((~cells).float(), 2 * margin + 1, stride=1, padding=margin) == 0
    before, after = cells.flatten(1).sum(1), left.flatten(1).sum(1)
    if bool(((before > 0) & (after == 0)).any()):
        raise InputError(
            f"latent_margin={margin} must leave at least one known latent cell (it removes all "
            f"{int(before[(before > 0) & (after == 0)][0])} of them). Lower it, or use a smaller hole."
        )
    return left


class LatentCodec:
    """Map images in [-1, 1] to a model's latents and back, with one of diffusers' image autoencoders.

    Latents are (z - mean) * gain. Mean and gain are the config's shift factor and scaling factor or, if it has them,
    `latents_mean` and scaling factor / `latents_std`.

    Args:
        vae: an autoencoder of one of `kinds`.
    Raises:
        PriorError: another class.
    """

    kinds: tuple[str, ...] = AUTOENCODERS

    def __init__(self, vae: Any) -> None:
        kind = kind_of(vae)
        if kind not in self.kinds:
            raise PriorError(
                f"A {kind} is not a supported autoencoder. Use a model with one of {', '.join(self.kinds)}."
            )
        self.vae = vae.eval()
        self.factor, self.latent_channels = _factor(vae), int(_first(vae, LATENTS))
        self.channels = int(_first(vae, IMAGES) or 3)
        self._mean, self._gain = self._scales()

    def _scales(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the gain of the latents, (1, C, 1, 1) or for all channels (1, 1, 1, 1)."""
        config = self.vae.config
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = [config.get("shift_factor") or 0.0], [1.0]
        gain = float(config.get("scaling_factor") or 1.0)
        return per_channel(mean), gain / per_channel(std)

    def _encoded(self, image: Tensor) -> Tensor:
        """Return the autoencoder's own latents of an image."""
        return _mean_of(self.vae.encode(image))

    def _decoded(self, z: Tensor) -> Tensor:
        """Return the image of the autoencoder's own latents."""
        image: Tensor = self.vae.decode(z).sample
        return image

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """Return (latents, known cells). Unknown cells hold the latents of the smooth fill.

        Raises:
            InputError: an image has known pixels, but no cell whose pixels are all known.
            NonFiniteError: NaN or infinity, also in float32.
        """
        cells = F.max_pool2d((~known).float(), self.factor) == 0
        if bool((known.flatten(1).any(1) & ~cells.flatten(1).any(1)).any()):
            raise InputError(
                "The mask leaves no known latent cell (a cell is known only if all its "
                f"{self.factor} x {self.factor} pixels are). Use a coarser mask, a larger image or a pixel-space prior."
            )
        filled = smooth_fill(image, known)
        with torch.no_grad():
            latents = self._run(self._encoded, filled, "encoded")
        return (latents - self._mean.to(latents)) * self._gain.to(latents), cells

    def decode(self, latents: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """Return images in [-1, 1]. The decoder may exceed that range slightly.

        Raises:
            NonFiniteError: NaN or infinity, also in float32.
        """
        scaled = latents / self._gain.to(latents) + self._mean.to(latents)
        return self._run(self._decoded, scaled, "decoded")

    def _run(self, half: Callable[[Tensor], Tensor], x: Tensor, did: str) -> Tensor:
        """Run the encoder or decoder on x, in float32 where its config requires that or float16 overflows."""
        with LOCKS.setdefault(self.vae, threading.Lock()):
            in_half = self.vae.dtype == torch.float16
            if not (in_half and self.vae.config.get("force_upcast")):
                result = half(x.to(self.vae.dtype)).to(x.dtype)
                if bool(torch.isfinite(result).all()):
                    return result
                if in_half:
                    warn(f"The autoencoder {did} infinity in float16: repeating in float32.")
            if in_half:
                with _upcast(self.vae):
                    result = half(x.float()).to(x.dtype)
        if not bool(torch.isfinite(result).all()):
            raise NonFiniteError(
                f"The {type(self.vae).__name__} {did} NaN or infinity: its weights are damaged or its input is far "
                "from its training data. Load the prior again and check the image."
            )
        return result


def per_channel(values: Sequence[float] | Tensor) -> Float[Tensor, "1 c 1 1"]:
    """Return one number for each channel, or one for all, to be combined with latents; float32 on the CPU."""
    return torch.as_tensor(values, dtype=torch.float32, device="cpu").reshape(1, -1, 1, 1)


# Config entries of the autoencoders: one number per resolution, the ratio itself, and the channels.
RESOLUTIONS = ("encoder_block_out_channels", "block_out_channels", "dim_mult")
RATIOS = ("spatial_compression_ratio", "scale_factor_spatial")
LATENTS = ("latent_channels", "z_dim")
IMAGES = ("in_channels", "input_channels")


def _first(vae: Any, names: Sequence[str]) -> Any:
    """Return the first of these entries that a config has."""
    return next((vae.config[name] for name in names if vae.config.get(name) is not None), None)


def _factor(vae: Any) -> int:
    """Return the pixels per latent cell."""
    if ratio := _first(vae, RATIOS):
        return int(ratio)
    return int(2 ** (len(_first(vae, RESOLUTIONS)) - 1))


# For each autoencoder, because the type of its weights changes while it runs in float32.
LOCKS: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()


@contextmanager
def _upcast(vae: Any) -> Iterator[None]:
    """Keep an autoencoder in float32 inside the block."""
    before = vae.dtype
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(before)


def _mean_of(encoded: Any) -> Tensor:
    """Return the posterior's mean, or the latents of an encoder without a posterior."""
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return latents


class LatentPrior(PixelPrior):
    """Wrap a `UNet2DModel` over an autoencoder's latents: latent diffusion (Rombach et al. 2022, arXiv 2112.10752).

    Args:
        unet, scheduler, class_names: see `PixelPrior`; samples are latents.
        vae: see `LatentCodec`.
    Raises:
        PriorError: see both; or a model whose channels differ from those of the autoencoder's latents.
    """

    memory_format = torch.contiguous_format  # channels_last is not faster on so few cells

    def __init__(
        self, unet: UNet2DModel, scheduler: SchedulerMixin, vae: Any, class_names: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(unet, scheduler, class_names)
        self.codec = LatentCodec(vae)
        if unet.config.in_channels != self.codec.latent_channels:
            raise PriorError(
                f"A {type(unet).__name__} with {unet.config.in_channels} channels in does not fit a "
                f"{type(vae).__name__} with {self.codec.latent_channels} latent channels: both must be equal."
            )
        self.autoencoder, self.latent_factor = self.codec.vae, self.codec.factor
        side = self.preferred_size
        self.preferred_size = None if side is None else side * self.latent_factor

    @property
    def channels(self) -> int:
        return self.codec.channels

    @property
    def multiple_of(self) -> int:
        return self.codec.factor * super().multiple_of

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LatentPrior:
        """Move the model and its autoencoder in place. Returns this prior."""
        super().to(device, dtype)
        if device is not None:
            self.codec.vae.to(device)
        if dtype is not None:
            self.codec.vae.to(dtype)
        return self

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b z hz wz"], Bool[Tensor, "b 1 hz wz"]]:
        """Return (latents, known cells); see `LatentCodec.encode`."""
        return self.codec.encode(image, known)

    def decode(self, x: Float[Tensor, "b z hz wz"]) -> Float[Tensor, "b c h w"]:
        """Return images; see `LatentCodec.decode`."""
        return self.codec.decode(x)
