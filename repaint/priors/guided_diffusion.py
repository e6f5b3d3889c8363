"""Convert OpenAI's guided-diffusion checkpoints (.pt) to diffusers' `UNet2DModel` and its scheduler.

Both classes compute the same function. Tensors are renamed, and the queries, keys and values of attention are split;
every tensor must be used. `tests/helpers/guided_reference.py` computes the network as its papers describe it, and the
converted network agrees with it to float64 rounding.
"""

from __future__ import annotations

import pickle  # only for its exception class # nosec B403
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from repaint.checks import is_integer
from repaint.errors import PriorError
from repaint.files import atomic_folder
from repaint.priors.guided_layout import BETAS, Layout, Settings, State, first_few
from repaint.priors.pixel import PixelPrior
from repaint.priors.safe_folder import check_pickle
from repaint.warning_filters import filtered

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DModel

__all__ = ["GuidedCheckpoint", "Layout", "Settings", "convert", "fixed_heads", "set_heads"]


@dataclass(frozen=True)
class GuidedCheckpoint:
    """A checkpoint with the layout and settings of its UNet.

    Attributes:
        state: tensors by their names in guided-diffusion.
        layout: the part of the architecture that the tensors show.
        settings: the part that they do not show.
    """

    state: State
    layout: Layout
    settings: Settings

    @classmethod
    def read(cls, path: str | Path, settings: Settings | None = None) -> GuidedCheckpoint:
        """Read a .pt file. Code inside it is never run.

        Args:
            path: a state dict written by `torch.save`.
            settings: the settings that the tensors do not show; not needed for the published models.
        Raises:
            PriorError: see `Layout.read` and `Settings.completed`; or a missing file, or one with other objects than
                tensors.
        """
        state = _load(Path(path))
        layout = Layout.read(state)
        return cls(state, layout, (settings or Settings()).completed(layout))

    def unet(self, torch_dtype: torch.dtype = torch.float32) -> UNet2DModel:
        """Return the network as diffusers' class.

        Raises:
            PriorError: a tensor that is missing, unused, or of another shape.
        """
        from diffusers import UNet2DModel

        with torch.device("meta"):
            unet = UNet2DModel(**self._unet_config())
        targets, places = unet.state_dict(), _places(self.layout)
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
        """Return the scheduler of its noise levels.

        Fewer than 1000 steps are spaced evenly and include both ends (arXiv 2102.09672, Sec. 4).
        """
        from diffusers import DDPMScheduler

        return DDPMScheduler(
            beta_schedule=BETAS[str(self.settings.noise_schedule)],
            variance_type="learned_range" if self.layout.out_channels > self.layout.in_channels else "fixed_large",
            clip_sample=True,
            timestep_spacing="linspace",
        )

    def prior(self, torch_dtype: torch.dtype = torch.float32) -> PixelPrior:
        """Return a prior of network and scheduler. Classes have only numbers, because the checkpoint has no names."""
        return PixelPrior(self.unet(torch_dtype), self.scheduler())

    @property
    def parameters(self) -> int:
        """Number of weights of the network."""
        return sum(tensor.numel() for tensor in self.state.values())

    @property
    def head_width(self) -> int | None:
        """Channels of an attention head, or None where they differ between levels."""
        found = {width // self.settings.heads_of(width) for width in self.layout.attention_widths}
        return found.pop() if len(found) == 1 else None

    def _unet_config(self) -> dict[str, Any]:
        layout = self.layout
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        plain = plain if layout.resnet_resampling else ("DownBlock2D", "UpBlock2D")
        down = ["AttnDownBlock2D" if attends else plain[0] for attends in layout.attention]
        up = ["AttnUpBlock2D" if attends else plain[1] for attends in reversed(layout.attention)]
        resampling = "resnet" if layout.resnet_resampling else "conv"
        return {
            # The published models end at 8 x 8. diffusers' own pipelines and Prior.preferred_size read this size.
            "sample_size": 8 * 2 ** (len(layout.widths) - 1),
            "in_channels": layout.in_channels,
            "out_channels": layout.out_channels,
            "block_out_channels": layout.widths,
            "layers_per_block": layout.layers,
            "down_block_types": tuple(down),
            "up_block_types": tuple(up),
            "downsample_type": resampling,
            "upsample_type": resampling,
            "resnet_time_scale_shift": "scale_shift" if layout.scale_shift else "default",
            "attention_head_dim": self.head_width or 1,
            "attn_norm_num_groups": 32,  # without it, the attention at the bottom has no normalisation
            "num_class_embeds": layout.classes or None,
        }

    def _fitted(self, name: str, source: str, shape: torch.Size) -> Tensor:
        """Return a tensor of the checkpoint in the UNet's shape: 1 x 1 convolutions become linear, qkv is split."""
        tensor = self.state[source]
        part = next((i for i, each in enumerate(QKV) if f".{each}." in name), None)
        flat = tensor.flatten(1) if len(shape) == 2 and tensor.ndim > 2 else tensor
        wanted = shape if part is None else (3 * shape[0], *shape[1:])
        if flat.shape != wanted:
            raise PriorError(
                f"{source} has shape {_by(tensor.shape)} but must be {_by(wanted)} in a UNet with {self.layout}. "
                "The checkpoint is damaged or of another model."
            )
        if part is None:
            return flat
        heads = self.settings.heads_of(shape[0])
        order = (1, 3, -1) if self.settings.new_attention_order else (heads, 3, -1)
        return flat.reshape(*order, *flat.shape[1:])[:, part].flatten(0, 1)


# Module in diffusers -> module in guided-diffusion.
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
    settings: Settings | None = None,
    *,
    torch_dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> GuidedCheckpoint:
    """Convert a checkpoint to a folder that `RePaintPipeline.from_pretrained` and diffusers' `DDPMPipeline` load.

    Models with the same number of heads on levels of different widths (the published 128 x 128) load only in
    `RePaintPipeline`: diffusers' config cannot express them.

    Args:
        path, settings: see `GuidedCheckpoint.read`.
        folder: the folder to write. It is written completely or not at all.
        torch_dtype: floating type of the written weights.
        overwrite: whether to replace an existing prior.
    Raises:
        InputError: the folder exists or cannot be written.
        PriorError: see `GuidedCheckpoint.read` and `GuidedCheckpoint.unet`.
    """
    from diffusers import DDPMPipeline

    with atomic_folder(folder, replaces="model_index.json" if overwrite else None) as draft:
        checkpoint = GuidedCheckpoint.read(path, settings)
        DDPMPipeline(checkpoint.unet(torch_dtype), checkpoint.scheduler()).save_pretrained(draft)
    return checkpoint


def fixed_heads(config: Mapping[str, Any]) -> int | None:
    """Return the number of heads on every level that `convert` saved in a UNet's config, or None."""
    saved = config.get("attention_head_dim")
    heads = saved.get("heads") if isinstance(saved, Mapping) else None
    return heads if is_integer(heads) and heads > 0 else None  # type: ignore[operator]


def set_heads(unet: UNet2DModel, heads: int) -> None:
    """Set the same number of attention heads on every level, in place. Heads are then wider on wider levels.

    diffusers' config has one head width for all levels. The mapping written in its place makes diffusers' own classes
    raise an error instead of building another network from this config.
    """
    from diffusers.models.attention_processor import Attention

    for module in unet.modules():
        if isinstance(module, Attention):
            module.heads = module.sliceable_head_dim = heads
            module.scale = (module.inner_dim // heads) ** -0.5
    unet.register_to_config(attention_head_dim={"heads": heads})


def _places(layout: Layout) -> dict[str, str]:
    """Map each module of the UNet2DModel that may have tensors to its module in the checkpoint."""
    return ENDS | {
        f"{ours}.{part}": f"{theirs}.{place}"
        for ours, theirs, parts in _blocks(layout)
        for part, place in parts.items()
    }


def _blocks(layout: Layout) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (block of the UNet2DModel, block of the checkpoint, their modules)."""
    depth = layout.layers + 1
    for level, attends in enumerate(layout.attention):
        for layer in range(depth - 1):
            block = f"input_blocks.{depth * level + layer + 1}"
            yield f"down_blocks.{level}.resnets.{layer}", f"{block}.0", RESIDUAL
            if attends:
                yield f"down_blocks.{level}.attentions.{layer}", f"{block}.1", ATTENTION
        yield f"down_blocks.{level}.downsamplers.0", f"input_blocks.{depth * (level + 1)}.0", RESIDUAL | {"conv": "op"}
    yield "mid_block.resnets.0", "middle_block.0", RESIDUAL
    yield "mid_block.attentions.0", "middle_block.1", ATTENTION
    yield "mid_block.resnets.1", "middle_block.2", RESIDUAL
    for level, attends in enumerate(reversed(layout.attention)):
        for layer in range(depth):
            block = f"output_blocks.{depth * level + layer}"
            yield f"up_blocks.{level}.resnets.{layer}", f"{block}.0", RESIDUAL
            if attends:
                yield f"up_blocks.{level}.attentions.{layer}", f"{block}.1", ATTENTION
        yield f"up_blocks.{level}.upsamplers.0", f"{block}.{1 + attends}", RESIDUAL | {"conv": "conv"}


def _load(path: Path) -> State:
    check_pickle(path)
    try:
        with filtered("ignore", UserWarning):  # old pickle protocols; the error below says more
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PriorError(f"{path}: cannot be read ({error}). Check the path.") from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"contains Python objects ({found[1]})" if found else "is damaged or contains Python objects"
        raise PriorError(
            f"{path} {what}; only tensors are read, because other objects can run code. Get the plain state dict or, "
            "if you trust the file, load it with weights_only=False and torch.save only the dict of its tensors."
        ) from error
    except Exception as error:  # torch raises RuntimeError, EOFError, KeyError, ... for damaged files
        raise PriorError(f"{path}: not a complete torch.save file ({error!r:.100}). Download it again.") from error
    named = isinstance(content, dict)
    if not named or not all(isinstance(name, str) and isinstance(part, Tensor) for name, part in content.items()):
        inside = f"a dict with {first_few(map(str, content))}" if named else f"a {type(content).__name__}"
        raise PriorError(
            f"{path} contains {inside} instead of a dict from names to tensors. torch.save only the state dict of the "
            "UNet."
        )
    for name, tensor in content.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            kind = tensor.dtype if tensor.layout == torch.strided else tensor.layout
            raise PriorError(f"{path}: {name} is {kind}, but weights must be dense floating-point tensors.")
    return dict(content)


def _check_names(state: State, wanted: set[str]) -> None:
    missing, extra = wanted - set(state), set(state) - wanted
    if missing or extra:
        lacks = f"lacks {first_few(sorted(missing))}" if missing else ""
        has = f"has unknown tensors {first_few(sorted(extra))}" if extra else ""
        raise PriorError(
            f"The checkpoint {' and '.join(filter(None, (lacks, has)))}. It is damaged or of another model."
        )


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))
