"""A run at one point of its walk: everything needed to continue, as one immutable value to keep, save or branch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repaint.checks import is_integer, shown
from repaint.errors import InputError, StateError
from repaint.files import atomic_path
from repaint.sampling.rng import NoiseStreams, derived_seed, seeds_for
from repaint.version import __version__

__all__ = ["Carry", "SamplerState", "number"]

FORMAT = "repaint-state-2"
Carry = Mapping[str, Tensor]  # what a part keeps between its steps: batches (B, ...), and 0-dimensional numbers


def number(value: float) -> Tensor:
    """Return a number for a `Carry`: 0-dimensional, float64, and on the CPU on every device.

    >>> number(0.5)
    tensor(0.5000, dtype=torch.float64)
    """
    return torch.tensor(value, dtype=torch.float64, device="cpu")


@dataclass(frozen=True, eq=False)
class SamplerState:
    """A batch at one point of its walk. Nothing in it is changed in place, so any state of a run may be kept.

    Attributes:
        x: (B, ...) the sample at `level`.
        x0: (B, ...) the known sample; 0 where it is known at no level.
        known: (B, ...) True where the input is kept.
        free_from: (B, ...) the highest level at which an unknown entry may change; above it the input is kept there
            too. None: unknown entries are free at every level.
        level: the noise level of x, 0 when the run is done.
        position: moves made of the walk.
        model_calls: denoiser calls so far, per image.
        seeds: one per image.
        streams: the random stream of each image.
        x0_hat: (B, ...) the last prediction of the clean sample; None before the first.
        carry: what the parts of the method keep, under "merge/...", "solver/...", "corrector/..." and "kernel/...". Its
            meaning is private to the part. Tensors are (B, ...), or 0-dimensional numbers.
        walk: the digest of the moves, noise levels and parts of the method that this state belongs to; "" for a branch.
        scales: the digest of the noise levels alone, which a branch keeps.
        gradient_calls: backward passes through the denoiser so far, per image.
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
    free_from: Float[Tensor, "b *shape"] | None = None
    carry: Mapping[str, Tensor] = field(default_factory=dict)
    walk: str = ""
    scales: str = ""
    gradient_calls: int = 0

    def __repr__(self) -> str:
        return (
            f"SamplerState(x={tuple(self.x.shape)}, level={self.level}, position={self.position}, "
            f"model_calls={self.model_calls}, seeds={self.seeds})"
        )

    def known_at(self, level: int) -> Bool[Tensor, "b *shape"]:
        """Return the mask of the entries that are kept at a level; at the clean level it is `known`."""
        if self.free_from is None or level == 0:
            return self.known
        return self.known | (self.free_from < level)

    def carried(self, part: str) -> Carry:
        """Return what "merge", "solver", "corrector" or "kernel" carries, without the prefix."""
        prefix = f"{part}/"
        return {name.removeprefix(prefix): value for name, value in self.carry.items() if name.startswith(prefix)}

    def branch(self, seeds: Sequence[int]) -> SamplerState:
        """Fork into continuations, each with its own randomness from here on.

        A state of one image becomes as many continuations as there are seeds; a batch takes one seed per image. The
        branch may be run with any walk that begins at `level` and keeps the noise levels. Its noise is new also for the
        seed of the run.

        Args:
            seeds: see `repaint.sampling.rng.seeds_for`; at least one.
        Raises:
            InputError: no seeds, a seed out of range, or a number that does not fit the batch.
        """
        count = len(self.x)
        if is_integer(seeds) or not isinstance(seeds, Iterable):
            raise InputError(f"seeds={shown(seeds)} must be a list, with a seed for each continuation.")
        each = list(seeds)
        each = seeds_for(len(each), each)
        if not each or (count > 1 and len(each) != count):
            raise InputError(
                f"branch() got {len(each)} seeds for a state of {count} images. Pass one seed per image, or branch a "
                "state of one image."
            )
        copies = len(each) // count
        copied = self._with(
            {name: t if t.ndim == 0 else t.repeat_interleave(copies, dim=0) for name, t in self._tensors().items()}
        )
        # The run's own seed would repeat the noise that x was made of. The 1 keeps apart other derived seeds.
        streams = NoiseStreams.from_seeds([derived_seed(seed, self.level, self.model_calls, 1) for seed in each])
        return replace(copied, seeds=tuple(each), streams=streams, position=0, walk="")

    def to(self, device: torch.device | str) -> SamplerState:
        """Move the tensors to another device; random streams and 0-dimensional numbers stay on the CPU."""
        return self._with({name: t if t.ndim == 0 else t.to(device) for name, t in self._tensors().items()})

    def save(self, path: str | Path) -> None:
        """Write everything to a safetensors file, atomically, with a checksum.

        Raises:
            InputError: the folder is missing or cannot be written.
        """
        from safetensors.torch import save

        # Copies, because safetensors refuses tensors that share memory, as x0_hat and the solver's carry do.
        tensors = {
            name: tensor.cpu().clone(memory_format=torch.contiguous_format) for name, tensor in self._tensors().items()
        }
        tensors["streams"] = self.streams.states
        facts = json.dumps({"version": __version__, **{name: getattr(self, name) for name in _FACTS}})
        metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(tensors, facts)}
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(save(tensors, metadata))

    @classmethod
    def load(cls, path: str | Path) -> SamplerState:
        """Read a state that `save` wrote.

        Raises:
            StateError: another kind of file, a state of another format, or a damaged one.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                metadata: dict[str, str] = file.metadata() or {}
                tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            # A damaged header names types and shapes that torch rejects in its own ways.
            raise StateError(
                f"{path}: cannot be read as a saved state ({error}). Pass a file that SamplerState.save wrote."
            ) from error
        _check_format(path, metadata)
        if metadata.get("sha256") != _digest(tensors, metadata.get("facts", "")):
            raise StateError(f"{path}: the checksum does not match, so the file is damaged. Use another copy.")
        try:
            facts = json.loads(metadata["facts"])
            facts.pop("version", None)  # for versions that cannot read this format
            facts["seeds"] = tuple(facts["seeds"])
            streams = NoiseStreams.at(tensors.pop("streams"), facts["seeds"])
            own = {name: tensors.pop(name) for name in ("x", "x0", "known", "x0_hat", "free_from") if name in tensors}
            state = cls(streams=streams, carry=tensors, **own, **facts)
            state._check()
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{path}: its parts do not fit together ({error!r}). Pass a file that SamplerState.save wrote."
            ) from error
        return state

    def _check(self) -> None:
        """Refuse a state that no run can have saved. The checksum detects damage, but not a state of another program.

        Raises:
            ValueError: what is wrong.
        """
        counts = (self.level, self.position, self.model_calls, self.gradient_calls, *self.seeds)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("level, position, model_calls, gradient_calls and seeds must be counts")
        if not (isinstance(self.walk, str) and isinstance(self.scales, str)):
            raise ValueError("walk and scales must be digests")
        for name, tensor in self._tensors().items():
            whole = tensor.shape == self.x.shape and tensor.dtype == (torch.bool if name == "known" else self.x.dtype)
            number = "/" in name and tensor.ndim == 0
            particles = name.startswith("kernel/") and tensor.ndim > 0 and len(tensor) == len(self.x)
            if not (whole or number or particles):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
        own, streams = torch.Generator().get_state(), self.streams.states
        rows = len(self.seeds)
        if streams.dtype != own.dtype or streams.shape != (rows, len(own)) or not rows or len(self.x) % rows:
            raise ValueError(f"streams are {streams.dtype} {tuple(streams.shape)}")

    def _tensors(self) -> dict[str, Tensor]:
        pairs = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {name: value for name, value in pairs if isinstance(value, Tensor)} | dict(self.carry)

    def _with(self, tensors: Mapping[str, Tensor]) -> SamplerState:
        """Return the same state with other tensors, named as by `_tensors`."""
        own: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if "/" not in name}
        return replace(self, **own, carry={name: tensor for name, tensor in tensors.items() if "/" in name})


_FACTS = ("level", "position", "model_calls", "gradient_calls", "seeds", "walk", "scales")


def _check_format(path: str | Path, metadata: Mapping[str, str]) -> None:
    """Refuse a file that is not a state of this format, and name the version that wrote it.

    Raises:
        StateError: such a file.
    """
    found = metadata.get("format", "")
    if found == FORMAT:
        return
    if not found.startswith("repaint-state-"):
        raise StateError(f"{path}: not a saved state. Pass a file that SamplerState.save wrote.")
    try:
        writer = json.loads(metadata["facts"])["version"]
    except (KeyError, TypeError, ValueError):
        writer = "0.1.0.dev0"  # the first format did not record it
    raise StateError(
        f"{path}: saved by repaint {writer} in format {found}, but version {__version__} reads {FORMAT}. Run it again "
        "from the start, or resume it with that version."
    )


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """Compute the SHA-256 over the facts and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
