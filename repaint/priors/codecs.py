"""The maps between images and the latents of a pipeline, chosen by its autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import PriorError
from repaint.priors.latent import LatentCodec, per_channel
from repaint.priors.networks import kind_of
from repaint.priors.pipeline_prior import SPACES

__all__ = ["CODECS", "PixelCodec", "codec_of"]


class PixelCodec:
    """The codec of a pipeline without an autoencoder: its samples are images in [-1, 1]."""

    vae = None
    factor = 1

    def __init__(self, channels: int) -> None:
        self.channels = self.latent_channels = channels

    def encode(
        self, image: Float[Tensor, "b c h w"], known: Bool[Tensor, "b 1 h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Bool[Tensor, "b 1 h w"]]:
        """Return both as they are."""
        return image, known

    def decode(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return x."""
        return x


class MovqCodec(LatentCodec):
    """The codec of Kandinsky: latents as they are, without a scale, and not quantised when decoded."""

    kinds = ("VQModel",)

    def _scales(self) -> tuple[Tensor, Tensor]:
        return per_channel([0.0]), per_channel([1.0])

    def _decoded(self, z: Tensor) -> Tensor:
        image: Tensor = self.vae.decode(z, force_not_quantize=True).sample
        return image


class DirectCodec(LatentCodec):
    """The codec of Hunyuan-Image: the usual one, for its own class of autoencoder."""

    kinds = ("AutoencoderKLHunyuanImage",)


class DeepCodec(LatentCodec):
    """The codec of deep-compression autoencoders (Sana, PRX), whose encoder has no posterior."""

    kinds = ("AutoencoderDC",)

    def _encoded(self, image: Tensor) -> Tensor:
        latent: Tensor = self.vae.encode(image).latent
        return latent


class FrameCodec(LatentCodec):
    """The codec of autoencoders for videos, for a video of one frame (Qwen-Image)."""

    kinds: tuple[str, ...] = ("AutoencoderKLQwenImage", "AutoencoderKLWan")

    def _encoded(self, image: Tensor) -> Tensor:
        return super()._encoded(image.unsqueeze(2)).squeeze(2)

    def _decoded(self, z: Tensor) -> Tensor:
        return super()._decoded(z.unsqueeze(2)).squeeze(2)


class PatchCodec(LatentCodec):
    """The codec of Flux.2: latents in blocks of 2 x 2, normalised by the statistics of a batch norm."""

    kinds = ("AutoencoderKLFlux2",)

    def __init__(self, vae: Any) -> None:
        super().__init__(vae)
        self.factor, self.latent_channels = 2 * self.factor, 4 * self.latent_channels

    def _scales(self) -> tuple[Tensor, Tensor]:
        norm = self.vae.bn
        std = (norm.running_var + self.vae.config.batch_norm_eps).sqrt()
        return per_channel(norm.running_mean), per_channel(1 / std)

    def _encoded(self, image: Tensor) -> Tensor:
        return torch.nn.functional.pixel_unshuffle(super()._encoded(image), 2)

    def _decoded(self, z: Tensor) -> Tensor:
        return super()._decoded(torch.nn.functional.pixel_shuffle(z, 2))


class CellCodec(PatchCodec):
    """The codec of Bria Fibo 2: latents normalised in blocks like those of Flux.2, then unpacked to cells."""

    def __init__(self, vae: Any) -> None:
        super().__init__(vae)
        self.factor, self.latent_channels = self.factor // 2, self.latent_channels // 4
        self._of_block = self._mean, self._gain
        self._mean, self._gain = per_channel([0.0]), per_channel([1.0])

    def _encoded(self, image: Tensor) -> Tensor:
        blocks = super()._encoded(image)
        mean, gain = (part.to(blocks) for part in self._of_block)
        return torch.nn.functional.pixel_shuffle((blocks - mean) * gain, 2)

    def _decoded(self, z: Tensor) -> Tensor:
        blocks = torch.nn.functional.pixel_unshuffle(z, 2)
        mean, gain = (part.to(blocks) for part in self._of_block)
        return super()._decoded(blocks / gain + mean)


class AlphaCodec(FrameCodec):
    """The codec of Qwen-Image 2.1, whose images have alpha: opaque when encoded, composited over white when decoded."""

    kinds = ("AutoencoderKLQwenImage21",)

    def __init__(self, vae: Any) -> None:
        super().__init__(vae)
        self.channels -= 1

    def _encoded(self, image: Tensor) -> Tensor:
        return super()._encoded(torch.cat([image, torch.ones_like(image[:, :1])], dim=1))

    def _decoded(self, z: Tensor) -> Tensor:
        image = super()._decoded(z)
        opacity = (image[:, -1:] / 2 + 0.5).clamp(0, 1)
        return torch.lerp(torch.ones_like(image[:, :-1]), image[:, :-1], opacity)


CODECS: dict[str, type[LatentCodec]] = {
    kind: codec
    for codec in (LatentCodec, DeepCodec, FrameCodec, AlphaCodec, PatchCodec, DirectCodec)
    for kind in codec.kinds
}


def codec_of(pipeline: Any) -> LatentCodec | PixelCodec:
    """Return the codec of a pipeline.

    Raises:
        PriorError: an autoencoder that is not supported.
    """
    part = next((name for name in SPACES if getattr(pipeline, name, None) is not None), None)
    network = getattr(pipeline, "transformer", None) or pipeline.unet
    if part is None:
        return PixelCodec(int(network.config.in_channels))
    autoencoder = getattr(pipeline, part)
    kind = kind_of(autoencoder)
    if part == "movq":
        return MovqCodec(autoencoder)
    if kind not in CODECS:
        raise PriorError(f"A {kind} is not a supported autoencoder. Use a model with one of {', '.join(CODECS)}.")
    codec = CODECS[kind](autoencoder)
    if isinstance(codec, PatchCodec) and network.config.get("in_channels") == codec.latent_channels // 4:
        return CellCodec(autoencoder)
    return codec
