"""Class-conditional diffusion transformers: diffusers' `DiTTransformer2DModel` over an autoencoder's latents."""

from __future__ import annotations

from repaint.errors import PriorError
from repaint.priors.latent import LatentPrior
from repaint.sampling.prior import Conditions

__all__ = ["DiTPrior"]


class DiTPrior(LatentPrior):
    """A `DiTTransformer2DModel`: DiT (Peebles & Xie 2023, arXiv 2212.09748), with classifier-free guidance.

    One class more than those of its data means "no class". Its positions are those of one size of images; smaller ones
    are padded to it.

    Args:
        unet: the transformer, which takes and gives what a `UNet2DModel` does.
        scheduler, class_names: see `PixelPrior`.
        vae: see `LatentCodec`.
    Raises:
        PriorError: see `LatentPrior`.
    """

    default_guidance_scale = 4.0

    @property
    def multiple_of(self) -> int:
        """Height and width of the one size that it draws, in pixels."""
        return int(self.codec.factor * self.unet.config.sample_size)

    @property
    def null_class(self) -> int:
        """The label that means "no class": the last."""
        return int(self.unet.config.num_embeds_ada_norm)

    @property
    def num_classes(self) -> int:
        """Classes that the model embeds, the null class among them."""
        return self.null_class + 1

    def conditioned(self, count: int, conditions: Conditions) -> DiTPrior:
        """This prior for `count` images of given classes; see `Prior.conditioned`.

        Raises:
            PriorError: images, padded, of another size than the model's.
        """
        side = self.multiple_of
        if conditions.size not in (None, (side, side)):
            raise PriorError(
                f"An image that is padded to {conditions.size[0]} x {conditions.size[1]} pixels: this DiT draws "
                f"{side} x {side}, the size that its positions were trained for. Leave crop at 'auto'."
            )
        bound = super().conditioned(count, conditions)
        assert isinstance(bound, DiTPrior)
        return bound
