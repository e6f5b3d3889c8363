"""The layout of a guided-diffusion UNet, read from its tensors, and the settings that the tensors do not show.

Three settings leave no trace in the names and shapes of the tensors: the noise schedule, the number of attention heads,
and the order of queries, keys and values. They are known for the published models; for other models they must be given.

Source: Dhariwal & Nichol 2021 (arXiv 2105.05233), Sec. 3 and App. I; the flags listed with the published checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from repaint.checks import nearest
from repaint.errors import PriorError

__all__ = ["BETAS", "Layout", "Settings", "State", "first_few"]

State = Mapping[str, Tensor]

BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # name in the papers -> name in diffusers
# A module numbered above 0, as in "output_blocks.3.1.in_layers.0.weight", may change the resolution.
UP_BLOCK = re.compile(r"output_blocks\.(\d+)\.(\d+)\.(?:in_layers\.0|conv)\.weight")


@dataclass(frozen=True)
class Layout:
    """The layout of a UNet, as the tensors of its checkpoint show it.

    Attributes:
        in_channels, out_channels: channels of the UNet; with a learned variance, twice as many come out as go in.
        widths: channels of each level, from full resolution down; each level halves the resolution.
        layers: residual blocks per level on the way down; on the way up there is one more.
        attention: for each level, whether attention follows each residual block. The bottom always has attention.
        scale_shift: the time embedding scales and shifts the normalised features (Sec. 3.1); otherwise it is added.
        resnet_resampling: residual blocks change the resolution; otherwise plain convolutions do.
        classes: number of embedded classes; 0 for an unconditional model.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    layers: int
    attention: tuple[bool, ...]
    scale_shift: bool
    resnet_resampling: bool
    classes: int

    @classmethod
    def read(cls, state: State) -> Layout:
        """Read the layout of a state dict.

        Args:
            state: tensors by their names in guided-diffusion.
        Raises:
            PriorError: a classifier, an upsampler, another kind of file, or a UNet that `UNet2DModel` cannot express.
        """
        found = [(int(hit[1]), int(hit[2])) for hit in map(UP_BLOCK.fullmatch, state) if hit]
        if not found:
            raise PriorError(_no_unet(state))
        # Widths may repeat, so levels are separated by the upsampling modules at their ends.
        ends = sorted({block for block, module in found if module})
        last = max(block for block, _ in found)
        depth = 1 + (ends[0] if ends else last)
        if depth < 2 or [*ends, last] != [(level + 1) * depth - 1 for level in range(len(ends) + 1)]:
            raise PriorError(
                f"This checkpoint cannot be converted: of its {last + 1} upward blocks, those numbered {ends} end a "
                "level, but a UNet2DModel needs the same number of blocks, at least two, on each level."
            )
        levels = range(len(ends) + 1)
        widths = tuple(_shape(state, f"output_blocks.{depth * i}.0.out_layers.3.weight")[0] for i in reversed(levels))
        layout = cls(
            in_channels=_shape(state, "input_blocks.0.0.weight")[1],
            out_channels=_shape(state, "out.2.weight")[0],
            widths=widths,
            layers=depth - 1,
            attention=tuple(f"input_blocks.{1 + depth * i}.1.qkv.weight" in state for i in levels),
            scale_shift=_shape(state, "middle_block.0.emb_layers.1.weight")[0] == 2 * widths[-1],
            resnet_resampling=f"input_blocks.{depth}.0.op.weight" not in state,
            classes=_shape(state, "label_emb.weight")[0] if "label_emb.weight" in state else 0,
        )
        layout._check(clock=_shape(state, "time_embed.0.weight")[1])
        return layout

    def _check(self, clock: int) -> None:
        if self.in_channels not in (1, 3):
            raise PriorError(
                f"This checkpoint cannot be converted: its UNet takes {self.in_channels} channels, but images have 1 "
                "or 3 (upsamplers also take a small image). Use the diffusion model of the size you want."
            )
        if clock != self.widths[0]:
            raise PriorError(
                f"This checkpoint cannot be converted: its time embedding has {clock} channels and its first level "
                f"{self.widths[0]} (as in the published 512 x 512 model), but in a UNet2DModel both are equal."
            )
        if any(width % 32 for width in self.widths):
            raise PriorError(
                f"This is not a guided-diffusion checkpoint: its levels have {self.widths} channels, but "
                "guided-diffusion normalises in 32 groups, so that 32 divides the channels of each level."
            )

    @property
    def attention_widths(self) -> set[int]:
        """Channels of the levels that have attention, including the bottom."""
        return {width for width, attends in zip(self.widths, self.attention, strict=True) if attends} | {
            self.widths[-1]
        }

    def __str__(self) -> str:
        places = [f"1/{2**level}" for level, attends in enumerate(self.attention) if attends]
        blocks = f"{self.layers} residual block{'s' if self.layers > 1 else ''}"
        return (
            f"{blocks} on each of {len(self.widths)} levels, of {', '.join(map(str, self.widths))} channels; attention "
            f"{'at ' + ', '.join(places) + ' of the size' if places else 'at the bottom'}; "
            f"{f'{self.classes} classes' if self.classes else 'unconditional'}; "
            f"{'learned' if self.out_channels > self.in_channels else 'fixed'} variance"
        )


@dataclass(frozen=True)
class Settings:
    """The settings that the tensors of a checkpoint do not show; None: not given. See the model's training flags.

    Attributes:
        noise_schedule: "linear" (Ho et al. 2020, Sec. 4) or "cosine" (Nichol & Dhariwal 2021, eq. 17); 1000 steps.
        head_channels: channels of an attention head, the same on each level (`num_head_channels`). Or set heads.
        heads: attention heads, the same number on each level (`num_heads`).
        new_attention_order: whether all queries precede all keys and all values (`use_new_attention_order`); otherwise
            each head has its queries, keys and values together.
    """

    noise_schedule: str | None = None
    head_channels: int | None = None
    heads: int | None = None
    new_attention_order: bool | None = None

    def completed(self, layout: Layout) -> Settings:
        """Return these settings, completed by those of the published model that has this layout.

        Raises:
            PriorError: a missing setting of a model that was not published, or a value out of range.
        """
        given = {name: value for name, value in vars(self).items() if value is not None}
        if {"heads", "head_channels"} <= set(given):
            raise PriorError(
                f"heads={self.heads} and head_channels={self.head_channels} exclude each other. Pass one of them."
            )
        usual = vars(PUBLISHED.get((layout.widths, layout.layers, layout.attention), Settings()))
        if {"heads", "head_channels"} & set(given):
            usual = usual | {"heads": None, "head_channels": None}
        settings = Settings(**(usual | given))
        missing = [name for name in ("noise_schedule", "new_attention_order") if getattr(settings, name) is None]
        if settings.heads is None and settings.head_channels is None:
            missing.append("head_channels (or heads)")
        if missing:
            raise PriorError(
                f"Settings are missing: {', '.join(missing)}. Pass those that the model was trained with; they cannot "
                f"be read from its tensors, and no published model has {layout}."
            )
        settings._check(layout)
        return settings

    def _check(self, layout: Layout) -> None:
        if self.noise_schedule not in BETAS:
            likely = nearest(str(self.noise_schedule), BETAS)
            raise PriorError(f"noise_schedule={self.noise_schedule!r} must be one of {', '.join(BETAS)}.{likely}")
        name, count = ("heads", self.heads) if self.heads is not None else ("head_channels", self.head_channels)
        for width in sorted(layout.attention_widths):
            if not count or count < 1 or width % count:
                raise PriorError(
                    f"{name}={count} must divide the {width} channels of an attention layer (pass the value that the "
                    "model was trained with)."
                )

    def heads_of(self, width: int) -> int:
        """Return the number of attention heads on a level of `width` channels."""
        return self.heads or width // int(self.head_channels or width)

    def __str__(self) -> str:
        cut = f"{self.heads} heads" if self.heads else f"heads of {self.head_channels} channels"
        order = "new" if self.new_attention_order else "legacy"
        return f"{self.noise_schedule} noise schedule, {cut}, {order} attention order"


# The flags of the published models: 64 x 64; 128 x 128; 256 x 256 (conditional, unconditional, and LSUN).
PUBLISHED = {
    ((192, 384, 576, 768), 3, (False, True, True, True)): Settings("cosine", 64, None, True),
    ((256, 256, 512, 768, 1024), 2, (False, False, True, True, True)): Settings("linear", None, 4, False),
    ((256, 256, 512, 512, 1024, 1024), 2, (False,) * 3 + (True,) * 3): Settings("linear", 64, None, False),
}


def _no_unet(state: State) -> str:
    if any(name.startswith("input_blocks.") for name in state):
        return (
            "This checkpoint is a classifier: it has input_blocks but no output_blocks. Convert the diffusion model "
            "that it guides."
        )
    return (
        f"This is not a guided-diffusion checkpoint: no tensor is named output_blocks.*, but {first_few(state)}. "
        "If its names have a prefix, save it without the prefix."
    )


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state or state[name].ndim < 2:
        fault = "is missing from the checkpoint" if name not in state else f"has only {state[name].ndim} axes"
        raise PriorError(f"{name}, a weight of every guided-diffusion UNet, {fault}. Download the checkpoint again.")
    return tuple(state[name].shape)


def first_few(names: Iterable[str], most: int = 5) -> str:
    """Return the first names of many, for an error message."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more if listed else "nothing"
