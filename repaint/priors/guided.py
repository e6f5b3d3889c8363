"""OpenAI's guided-diffusion checkpoints (.pt) as diffusers' `UNet2DModel`, with the scheduler that belongs to them.

Both compute the same, so tensors need only new names, and the queries, keys and values of attention to be taken apart;
every tensor must find its place. `tests/guided_reference.py` is the network as its papers describe it, and the one made
here agrees with it to the rounding of float64.
"""

from __future__ import annotations

import pickle  # for its error alone # nosec B403
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from repaint.errors import PriorError
from repaint.files import atomic_folder
from repaint.priors.guided_anatomy import BETAS, Anatomy, Settings, State, some
from repaint.priors.pixel import PixelPrior
from repaint.priors.safe_folder import check_pickle

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DModel

__all__ = ["Anatomy", "GuidedCheckpoint", "Settings", "convert", "fixed_heads", "set_heads"]


@dataclass(frozen=True)
class GuidedCheckpoint:
    """A checkpoint, understood.

    Attributes:
        state: its tensors by guided-diffusion's names.
        anatomy, settings: what they tell, and what they do not.
    """

    state: State
    anatomy: Anatomy
    settings: Settings

    @classmethod
    def read(cls, path: str | Path, told: Settings | None = None) -> GuidedCheckpoint:
        """Read a .pt file; code that it may bring is not run.

        Args:
            path: a state dict as `torch.save` writes it.
            told: what its tensors do not tell; may be left out for the published models.
        Raises:
            PriorError: see `Anatomy.read` and `Settings.completed`; no such file, or one that is more than tensors.
        """
        state = _load(Path(path))
        anatomy = Anatomy.read(state)
        return cls(state, anatomy, (told or Settings()).completed(anatomy))

    def unet(self, torch_dtype: torch.dtype = torch.float32) -> UNet2DModel:
        """The same network in diffusers' class.

        Raises:
            PriorError: a tensor that is missing, left over, or of another shape.
        """
        from diffusers import UNet2DModel

        with torch.device("meta"):
            unet = UNet2DModel(**self._unet_config())
        targets, places = unet.state_dict(), _places(self.anatomy)
        sources = {}
        for name in targets:
            module, _, leaf = name.rpartition(".")
            sources[name] = f"{places[module]}.{leaf}"
        _check_names(self.state, set(sources.values()))
        weights = {name: self._fitted(name, source, targets[name].shape) for name, source in sources.items()}
        weights = {name: tensor.to(torch_dtype) for name, tensor in weights.items()}
        unet.load_state_dict(weights, assign=True)
        if self.head_width is None:
            set_heads(unet, int(self.settings.heads or 1))
        return unet.eval()

    def scheduler(self) -> DDPMScheduler:
        """Its noise levels; fewer than 1000 are spaced evenly with both ends (arXiv 2102.09672, Sec. 4)."""
        from diffusers import DDPMScheduler

        return DDPMScheduler(
            beta_schedule=BETAS[str(self.settings.noise_schedule)],
            variance_type="learned_range" if self.anatomy.out_channels > self.anatomy.in_channels else "fixed_large",
            clip_sample=True,
            timestep_spacing="linspace",
        )

    def prior(self, torch_dtype: torch.dtype = torch.float32) -> PixelPrior:
        """A prior around both; classes go by number, for their names are not in the checkpoint."""
        return PixelPrior(self.unet(torch_dtype), self.scheduler())

    @property
    def parameters(self) -> int:
        """Weights of the network."""
        return sum(tensor.numel() for tensor in self.state.values())

    @property
    def head_width(self) -> int | None:
        """Channels of an attention head; None where they differ between levels."""
        found = {width // self.settings.heads_of(width) for width in self.anatomy.attention_widths}
        return found.pop() if len(found) == 1 else None

    def _unet_config(self) -> dict[str, Any]:
        anatomy = self.anatomy
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        plain = plain if anatomy.resnet_resampling else ("DownBlock2D", "UpBlock2D")
        down = ["AttnDownBlock2D" if attends else plain[0] for attends in anatomy.attention]
        up = ["AttnUpBlock2D" if attends else plain[1] for attends in reversed(anatomy.attention)]
        resampling = "resnet" if anatomy.resnet_resampling else "conv"
        return {
            # The published models end at 8 x 8. Only diffusers' own pipelines read it, for the size they draw.
            "sample_size": 8 * 2 ** (len(anatomy.widths) - 1),
            "in_channels": anatomy.in_channels,
            "out_channels": anatomy.out_channels,
            "block_out_channels": anatomy.widths,
            "layers_per_block": anatomy.layers,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "downsample_type": resampling,
            "upsample_type": resampling,
            "resnet_time_scale_shift": "scale_shift" if anatomy.scale_shift else "default",
            "attention_head_dim": self.head_width or 1,
            "attn_norm_num_groups": 32,  # else the attention at the bottom has no normalisation
            "num_class_embeds": anatomy.classes or None,
        }

    def _fitted(self, name: str, source: str, shape: torch.Size) -> Tensor:
        """A tensor of the checkpoint as one of the UNet: 1x1 convolutions become linear, qkv is taken apart."""
        tensor = self.state[source]
        part = next((i for i, each in enumerate(QKV) if f".{each}." in name), None)
        flat = tensor.flatten(1) if len(shape) == 2 and tensor.ndim > 2 else tensor
        wanted = shape if part is None else (3 * shape[0], *shape[1:])
        if flat.shape != wanted:
            raise PriorError(
                f"{source} is {_by(tensor.shape)}: in a UNet with {self.anatomy} it is {_by(wanted)}. "
                "The checkpoint is of another model, or damaged."
            )
        if part is None:
            return flat
        heads = self.settings.heads_of(shape[0])
        order = (1, 3, -1) if self.settings.new_attention_order else (heads, 3, -1)
        return flat.reshape(*order, *flat.shape[1:])[:, part].flatten(0, 1)


# Modules of diffusers: those of guided-diffusion.
ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "class_embedding": "label_emb",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "qkv", "to_k": "qkv", "to_v": "qkv", "to_out.0": "proj_out"}
QKV = ("to_q", "to_k", "to_v")


def convert(
    path: str | Path,
    folder: str | Path,
    told: Settings | None = None,
    *,
    torch_dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> GuidedCheckpoint:
    """Write a checkpoint as a folder that `RePaintPipeline.from_pretrained` and diffusers' `DDPMPipeline` load.

    A model with the same number of heads on levels of different widths (the published 128 x 128) is the exception:
    no config of diffusers says so, its own classes refuse the folder, and `RePaintPipeline` alone loads it.

    Args:
        path, told: see `GuidedCheckpoint.read`.
        folder: where the prior goes, whole or not at all.
        torch_dtype: the type of the weights in it.
        overwrite: replace a prior that is there.
    Raises:
        InputError: a folder that exists or cannot be written.
        PriorError: see `GuidedCheckpoint.read` and `GuidedCheckpoint.unet`.
    """
    from diffusers import DDPMPipeline

    with atomic_folder(folder, replaces="model_index.json" if overwrite else None) as draft:
        checkpoint = GuidedCheckpoint.read(path, told)
        DDPMPipeline(checkpoint.unet(torch_dtype), checkpoint.scheduler()).save_pretrained(draft)
    return checkpoint


def fixed_heads(config: Mapping[str, Any]) -> int | None:
    """The number of heads on every level, where a UNet's config was saved by `convert` and says so."""
    told = config.get("attention_head_dim")
    heads = told.get("heads") if isinstance(told, Mapping) else None
    return heads if isinstance(heads, int) and heads > 0 else None


def set_heads(unet: UNet2DModel, heads: int) -> None:
    """The same number of attention heads on every level, in place; heads then are wider where the level is.

    diffusers' own config has one width of heads for all levels. A mapping in its place makes its classes stop on this
    UNet's config, which they would otherwise read as another network.
    """
    from diffusers.models.attention_processor import Attention

    for module in unet.modules():
        if isinstance(module, Attention):
            module.heads = module.sliceable_head_dim = heads
            module.scale = (module.inner_dim // heads) ** -0.5
    unet.register_to_config(attention_head_dim={"heads": heads})


def _places(anatomy: Anatomy) -> dict[str, str]:
    """Module of the UNet2DModel -> module of the checkpoint, for all that may have tensors."""
    return ENDS | {
        f"{ours}.{part}": f"{theirs}.{place}"
        for ours, theirs, parts in _blocks(anatomy)
        for part, place in parts.items()
    }


def _blocks(anatomy: Anatomy) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(block of the UNet2DModel, block of the checkpoint, what is in them)."""
    depth = anatomy.layers + 1
    for level, attends in enumerate(anatomy.attention):
        for layer in range(depth - 1):
            block = f"input_blocks.{depth * level + layer + 1}"
            yield f"down_blocks.{level}.resnets.{layer}", f"{block}.0", RESIDUAL
            if attends:
                yield f"down_blocks.{level}.attentions.{layer}", f"{block}.1", ATTENTION
        yield f"down_blocks.{level}.downsamplers.0", f"input_blocks.{depth * (level + 1)}.0", RESIDUAL | {"conv": "op"}
    yield "mid_block.resnets.0", "middle_block.0", RESIDUAL
    yield "mid_block.attentions.0", "middle_block.1", ATTENTION
    yield "mid_block.resnets.1", "middle_block.2", RESIDUAL
    for level, attends in enumerate(reversed(anatomy.attention)):
        for layer in range(depth):
            block = f"output_blocks.{depth * level + layer}"
            yield f"up_blocks.{level}.resnets.{layer}", f"{block}.0", RESIDUAL
            if attends:
                yield f"up_blocks.{level}.attentions.{layer}", f"{block}.1", ATTENTION
        yield f"up_blocks.{level}.upsamplers.0", f"{block}.{1 + attends}", RESIDUAL | {"conv": "conv"}


def _load(path: Path) -> State:
    check_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of an old pickle protocol, where the error says more
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PriorError(f"Cannot read {path}: {error}. Check the path.") from error
    except pickle.UnpicklingError as error:
        brought = re.search(r"GLOBAL (\S+)", str(error))
        what = f"brings Python objects ({brought[1]})" if brought else "is damaged or brings Python objects"
        raise PriorError(
            f"{path} {what}: only tensors are read, for other objects can run any code. Get the plain state dict; or, "
            "where you trust its source, load it with weights_only=False and torch.save the dict of its tensors alone."
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... for damaged files
        raise PriorError(f"{path} is no whole checkpoint of torch.save ({error!r:.100}). Download it again.") from error
    named = isinstance(content, dict)
    if not named or not all(isinstance(name, str) and isinstance(part, Tensor) for name, part in content.items()):
        inside = f"a dict with {some(map(str, content))}" if named else f"a {type(content).__name__}"
        raise PriorError(
            f"{path} holds {inside}: a guided-diffusion checkpoint is a dict from names to tensors. torch.save that "
            "part of it alone."
        )
    return dict(content)


def _check_names(state: State, wanted: set[str]) -> None:
    missing, extra = wanted - set(state), set(state) - wanted
    if missing or extra:
        lacks = f"lacks {some(sorted(missing))}" if missing else ""
        has = f"has no use for {some(sorted(extra))}" if extra else ""
        raise PriorError(
            f"The checkpoint's UNet {' and '.join(filter(None, (lacks, has)))}: every tensor must find its place. "
            "It is of another model, or damaged."
        )


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
