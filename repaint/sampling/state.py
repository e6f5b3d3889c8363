"""Where a run stands: everything needed to go on, as one immutable value that can be kept, saved and branched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.errors import InputError, StateError
from repaint.files import atomic_path
from repaint.sampling.rng import NoiseStreams

__all__ = ["SamplerState"]

FORMAT = "repaint-state-1"


@dataclass(frozen=True, eq=False)
class SamplerState:
    """A batch somewhere on its walk. Nothing in it is ever changed in place, so any state of a run may be kept.

    Attributes:
        x: (B, ...) the sample at `level`.
        x0: (B, ...) the known sample; 0 where unknown.
        known: (B, ...) True where the input is kept.
        level: the noise level of x, 0 when the run is done.
        position: moves made of the walk.
        model_calls: denoiser calls so far, per image.
        seeds: one per image.
        streams: what is left of each image's randomness.
        x0_hat: (B, ...) the last prediction of the clean sample; None before the first.
        path: (B, ...) the replayed noise of the `trajectory` merge.
        history: (B, ...) x0_hat of the step before, for multistep solvers, and
        history_level: the level that it was predicted at.
        z_before: (B, ...) the corrector's last draw at this level.
        walk: the digest of the moves and noise levels that this state belongs to; "" for a branch.
        scales: the digest of the noise levels alone, which a branch keeps.
        unchecked: (level, sum of x0_hat) of predictions that nobody has looked at, on devices where a look makes the
            host wait. Not saved.
    """

    x: Float[Tensor, "b *shape"]
    x0: Float[Tensor, "b *shape"]
    known: Bool[Tensor, "b *shape"]
    level: int
    position: int
    model_calls: int
    seeds: tuple[int, ...]
    streams: NoiseStreams
    x0_hat: Float[Tensor, "b *shape"] | None = None
    path: Float[Tensor, "b *shape"] | None = None
    history: Float[Tensor, "b *shape"] | None = None
    history_level: int | None = None
    z_before: Float[Tensor, "b *shape"] | None = None
    walk: str = ""
    scales: str = ""
    unchecked: tuple[tuple[int, Tensor], ...] = ()

    def branch(self, seeds: Sequence[int]) -> SamplerState:
        """Continuations of this state, each with its own randomness from here on.

        A state of one image fans out to as many continuations as there are seeds; a batch takes one seed per image.
        The branch stands at the start of whatever walk it is run with next, which must begin at `level` and keep the
        noise levels.

        Raises:
            InputError: no seeds, or a number that does not fit the batch.
        """
        count = len(self.x)
        if not seeds or (count > 1 and len(seeds) != count):
            raise InputError(
                f"{len(seeds)} seeds for a state of {count} images: give one per image, or branch one image."
            )
        copies = len(seeds) // count
        tensors: dict[str, Any] = {n: t.repeat_interleave(copies, dim=0) for n, t in self._tensors().items()}
        return replace(
            self,
            **tensors,
            seeds=tuple(seeds),
            streams=NoiseStreams.from_seeds(seeds),
            position=0,
            walk="",
            z_before=None,
        )

    def to(self, device: torch.device | str) -> SamplerState:
        """The same state with its tensors on another device; random streams stay on the CPU."""
        tensors: dict[str, Any] = {name: tensor.to(device) for name, tensor in self._tensors().items()}
        return replace(self, **tensors)

    def save(self, path: str | Path) -> None:
        """Write everything to a safetensors file, atomically, with a checksum."""
        from safetensors.torch import save

        # Copies: safetensors refuses tensors that share memory, as x0_hat and history do after a step down.
        tensors = {
            name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors().items()
        }
        tensors["streams"] = self.streams.states
        facts = {name: getattr(self, name) for name in _FACTS}
        metadata = {"format": FORMAT, "facts": json.dumps(facts)}
        metadata["sha256"] = _digest(tensors, metadata["facts"])
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> SamplerState:
        """Read a state that `save` wrote.

        Raises:
            StateError: not such a file, or damaged (the checksum tells).
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            # A header that was damaged names types and shapes that torch stumbles over in its own ways.
            raise StateError(
                f"Cannot read the state {path}: {error}. Give a file that SamplerState.save wrote."
            ) from error
        if metadata.get("format") != FORMAT:
            raise StateError(
                f"{path} has format {metadata.get('format')!r}: a saved state has {FORMAT!r}. Use another file."
            )
        if metadata.get("sha256") != _digest(tensors, metadata.get("facts", "")):
            raise StateError(f"The state {path} is damaged: its checksum does not match. Use an undamaged copy.")
        try:
            facts = json.loads(metadata["facts"])
            facts["seeds"] = tuple(facts["seeds"])
            state = cls(streams=NoiseStreams(tensors.pop("streams")), **tensors, **facts)
            state._check()
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"The state {path} has parts that do not belong together ({error!r}): another program wrote it. Use a "
                "file that SamplerState.save wrote."
            ) from error
        return state

    def _check(self) -> None:
        """Refuse what no run can have saved; a checksum tells damage, and not who wrote it.

        Raises:
            ValueError: what is wrong.
        """
        counts = (self.level, self.position, self.model_calls, *self.seeds)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("level, position, model_calls and seeds are counts")
        if self.history_level is not None and not (type(self.history_level) is int and self.history is not None):
            raise ValueError("history_level has no history")
        if not (isinstance(self.walk, str) and isinstance(self.scales, str)):
            raise ValueError("walk and scales are digests")
        for name, tensor in self._tensors().items():
            if tensor.shape != self.x.shape or tensor.dtype != (torch.bool if name == "known" else self.x.dtype):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
        own, streams = torch.Generator().get_state(), self.streams.states
        rows = len(self.seeds)
        if streams.dtype != own.dtype or streams.shape != (rows, len(own)) or not rows or len(self.x) % rows:
            raise ValueError(f"streams are {streams.dtype} {tuple(streams.shape)}")

    def _tensors(self) -> dict[str, Tensor]:
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if isinstance(value, Tensor)}


_FACTS = ("level", "position", "model_calls", "seeds", "history_level", "walk", "scales")


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """SHA-256 over the facts and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
