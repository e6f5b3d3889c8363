"""What a guided-diffusion checkpoint tells of its UNet by the names and shapes of its tensors, and what it does not.

Three things leave no trace there: the noise schedule, into how many heads attention is cut, and the order of its
queries, keys and values. They are known of the published models, and asked for with any other.

Source: Dhariwal & Nichol 2021 (arXiv 2105.05233), Sec. 3 and App. I; the flags listed with the published checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from repaint.checks import nearest
from repaint.errors import PriorError

__all__ = ["BETAS", "Anatomy", "Settings", "State", "some"]

State = Mapping[str, Tensor]

BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}  # the papers' names: those of diffusers
# Block 3 of "output_blocks.3.1.in_layers.0.weight" holds a second module that changes the resolution.
UP_BLOCK = re.compile(r"output_blocks\.(\d+)\.(\d+)\.(?:in_layers\.0|conv)\.weight")


@dataclass(frozen=True)
class Anatomy:
    """What the tensors of a checkpoint tell.

    Attributes:
        in_channels, out_channels: of the UNet; twice as many come out with a learned variance.
        widths: channels of each level, from the full resolution down; each halves it.
        layers: residual blocks of a level on the way down; on the way up there is one more.
        attention: whether a level has attention after each of them. At the bottom there always is one.
        scale_shift: the time embedding scales and shifts what is normalised (Sec. 3.1); else it is added.
        resnet_resampling: residual blocks change the resolution; else plain convolutions do.
        classes: classes that are embedded; 0 for an unconditional model.
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
    def read(cls, state: State) -> Anatomy:
        """The anatomy of a state dict.

        Raises:
            PriorError: a classifier, an upsampler, another kind of file, or a UNet that `UNet2DModel` cannot express.
        """
        found = [(int(hit[1]), int(hit[2])) for hit in map(UP_BLOCK.fullmatch, state) if hit]
        if not found:
            raise PriorError(_no_unet(state))
        # Widths may repeat, so levels are told apart by their ends, which are plain to see on the way up.
        ends = sorted({block for block, module in found if module})
        last = max(block for block, _ in found)
        depth = 1 + (ends[0] if ends else last)
        if depth < 2 or [*ends, last] != [(level + 1) * depth - 1 for level in range(len(ends) + 1)]:
            raise PriorError(
                f"{last + 1} blocks on the way up, of which those numbered {ends} end a level: a UNet2DModel has the "
                "same number on each level, two or more. This checkpoint cannot be converted."
            )
        levels = range(len(ends) + 1)
        widths = tuple(_shape(state, f"output_blocks.{depth * i}.0.out_layers.3.weight")[0] for i in reversed(levels))
        anatomy = cls(
            in_channels=_shape(state, "input_blocks.0.0.weight")[1],
            out_channels=_shape(state, "out.2.weight")[0],
            widths=widths,
            layers=depth - 1,
            attention=tuple(f"input_blocks.{1 + depth * i}.1.qkv.weight" in state for i in levels),
            scale_shift=_shape(state, "middle_block.0.emb_layers.1.weight")[0] == 2 * widths[-1],
            resnet_resampling=f"input_blocks.{depth}.0.op.weight" not in state,
            classes=_shape(state, "label_emb.weight")[0] if "label_emb.weight" in state else 0,
        )
        anatomy._check(clock=_shape(state, "time_embed.0.weight")[1])
        return anatomy

    def _check(self, clock: int) -> None:
        if self.in_channels not in (1, 3):
            raise PriorError(
                f"A UNet that takes {self.in_channels} channels: a prior's images have 1 or 3, while an upsampler "
                "takes a small image beside the noisy one. Use the diffusion model of the size you want."
            )
        if clock != self.widths[0]:
            raise PriorError(
                f"A time embedding of {clock} channels over a first level of {self.widths[0]}, as in the published "
                "512 x 512 model: in a UNet2DModel both are the same. This checkpoint cannot be converted."
            )
        if any(width % 32 for width in self.widths):
            raise PriorError(
                f"Levels of {self.widths} channels: guided-diffusion normalises in 32 groups, which must divide them. "
                "This checkpoint is of another model."
            )

    @property
    def attention_widths(self) -> set[int]:
        """Channels of the levels where attention is, the bottom among them."""
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
    """What the tensors of a checkpoint do not tell; None is not told. See the flags that it was trained with.

    Attributes:
        noise_schedule: "linear" (Ho et al. 2020, Sec. 4) or "cosine" (Nichol & Dhariwal 2021, eq. 17); 1000 steps.
        head_channels: channels of an attention head, the same on each level (`num_head_channels`).
        heads: attention heads, the same number on each level (`num_heads`); one of the two.
        new_attention_order: all queries, then all keys, then all values (`use_new_attention_order`); else head after
            head, each with its own.
    """

    noise_schedule: str | None = None
    head_channels: int | None = None
    heads: int | None = None
    new_attention_order: bool | None = None

    def completed(self, anatomy: Anatomy) -> Settings:
        """These settings with what is not told as in the published model of that anatomy.

        Raises:
            PriorError: too little is told of a model that is none of them, or a value that cannot be.
        """
        told = {name: value for name, value in vars(self).items() if value is not None}
        if {"heads", "head_channels"} <= set(told):
            raise PriorError(
                f"heads {self.heads} and head_channels {self.head_channels}: each gives the other. Pass one of them."
            )
        usual = vars(PUBLISHED.get((anatomy.widths, anatomy.layers, anatomy.attention), Settings()))
        if {"heads", "head_channels"} & set(told):
            usual = usual | {"heads": None, "head_channels": None}
        settings = Settings(**(usual | told))
        lacking = [name for name in ("noise_schedule", "new_attention_order") if getattr(settings, name) is None]
        if settings.heads is None and settings.head_channels is None:
            lacking.append("head_channels (or heads)")
        if lacking:
            raise PriorError(
                f"None of the published models has {anatomy}, and the tensors of others do not tell "
                f"{', '.join(lacking)}. Pass them as the model was trained."
            )
        settings._check(anatomy)
        return settings

    def _check(self, anatomy: Anatomy) -> None:
        if self.noise_schedule not in BETAS:
            likely = nearest(str(self.noise_schedule), BETAS)
            raise PriorError(f"noise_schedule {self.noise_schedule!r}: known are {', '.join(BETAS)}.{likely}")
        name, count = ("heads", self.heads) if self.heads is not None else ("head_channels", self.head_channels)
        for width in sorted(anatomy.attention_widths):
            if not count or count < 1 or width % count:
                raise PriorError(
                    f"{name} {count} for attention over {width} channels: it must divide them. Pass what the model was "
                    "trained with."
                )

    def heads_of(self, width: int) -> int:
        """Attention heads on a level of that many channels."""
        return self.heads or width // int(self.head_channels or width)

    def __str__(self) -> str:
        cut = f"{self.heads} heads" if self.heads else f"heads of {self.head_channels} channels"
        order = "new" if self.new_attention_order else "legacy"
        return f"{self.noise_schedule} noise schedule, {cut}, {order} attention order"


# The flags of the published models: 64 x 64; 128 x 128; 256 x 256, by class and not, and LSUN.
PUBLISHED = {
    ((192, 384, 576, 768), 3, (False, True, True, True)): Settings("cosine", 64, None, True),
    ((256, 256, 512, 768, 1024), 2, (False, False, True, True, True)): Settings("linear", None, 4, False),
    ((256, 256, 512, 512, 1024, 1024), 2, (False,) * 3 + (True,) * 3): Settings("linear", 64, None, False),
}


def _no_unet(state: State) -> str:
    if any(name.startswith("input_blocks.") for name in state):
        return (
            "This is a classifier: it has input_blocks and no output_blocks. A prior is a diffusion model; convert the "
            "checkpoint that the classifier guides."
        )
    return (
        f"No tensor named output_blocks.*, but {some(state)}: this is no checkpoint of guided-diffusion. "
        "If its names carry a prefix, save it without."
    )


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state or state[name].ndim < 2:
        lack = "lacks" if name not in state else f"has {state[name].ndim} axes in"
        raise PriorError(f"The checkpoint {lack} {name}, a weight of every such UNet. Download it again.")
    return tuple(state[name].shape)


def some(names: Iterable[str], most: int = 5) -> str:
    """The first names of many, for an error."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more if listed else "nothing"
