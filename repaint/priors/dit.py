"""Class-conditional diffusion transformers over an autoencoder's latents: diffusers' `DiTTransformer2DModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from repaint.errors import PriorError
from repaint.priors.latent import LatentPrior
from repaint.sampling.prior import Conditions

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

__all__ = ["DiTPrior"]


class DiTPrior(LatentPrior):
    """Wrap a `DiTTransformer2DModel`: DiT (Peebles & Xie 2023, arXiv 2212.09748), with classifier-free guidance.

    The last class means "no class". The position embeddings fit images of one size; smaller images are padded to it.

    Args:
        unet: the transformer, which has the interface of a `UNet2DModel`.
        scheduler, class_names: see `PixelPrior`.
        vae: see `LatentCodec`.
    Raises:
        PriorError: see `LatentPrior`.
    """

    default_guidance_scale = 4.0

    def __init__(
        self, unet: Any, scheduler: SchedulerMixin, vae: Any, class_names: Mapping[int, str] | None = None
    ) -> None:
        super().__init__(unet, scheduler, vae, class_names)
        self.num_classes = self.null_class + 1

    @property
    def multiple_of(self) -> int:
        """Side in pixels of the only image size that the model supports."""
        return int(self.codec.factor * self.unet.config.sample_size)

    @property
    def null_class(self) -> int:
        """The label that means "no class", which is the last."""
        return int(self.unet.config.num_embeds_ada_norm)

    def conditioned(self, count: int, conditions: Conditions) -> DiTPrior:
        """Return this prior for `count` images of given classes; see `PixelPrior.conditioned`.

        Raises:
            PriorError: padded images of another size than the model's.
        """
        side = self.multiple_of
        if conditions.size not in (None, (side, side)):
            raise PriorError(
                f"The padded image has {conditions.size[0]} x {conditions.size[1]} pixels, but this DiT supports only "
                f"{side} x {side}. Leave crop at 'auto'."
            )
        bound = super().conditioned(count, conditions)
        assert isinstance(bound, DiTPrior)
        return bound
