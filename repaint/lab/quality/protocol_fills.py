"""The filled pictures of a protocol: a row for each in a file, the picture itself in the folder beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from repaint.arguments import ScheduleLike
from repaint.checks import whole_number
from repaint.errors import InputError
from repaint.files import atomic_path
from repaint.lab.calibration.truths import fingerprint, sample_shape
from repaint.lab.quality.cases import Hole
from repaint.lab.quality.protocol_inputs import chosen_masks, noisy, protocol_holes
from repaint.lab.quality.protocols import TestProtocol
from repaint.lab.sweep.rows import Rows, config_key
from repaint.pictures.decoding import open_image
from repaint.pipeline import RePaintPipeline, StepCallback
from repaint.sampling.method import Method, as_method
from repaint.version import __version__

__all__ = ["ProtocolCell", "ProtocolFills"]

Image = NDArray[np.uint8]
APART = 1_000_000  # seeds between the samples of one picture


@dataclass(frozen=True)
class ProtocolCell:
    """One filled picture of a protocol.

    Attributes:
        hole: with the true picture.
        mask, method: names.
        how: the method itself.
        number: of the picture.
        sample: number of the result for this picture.
        facts: what else the result depends on, as JSON-able data.
    """

    hole: Hole
    mask: str
    method: str
    how: Method
    number: int
    sample: int
    facts: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """Of the result."""
        seed: int = self.facts["seed"]
        return seed + self.number + APART * self.sample

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that decides the result."""
        levels = np.asarray(self.how.schedule.levels, dtype=np.int64)
        return {
            **{name: value for name, value in self.facts.items() if name != "seed"},
            "schedule": self.method,
            "method": {**self.how.describe(), "name": self.method, "levels": _digest(levels)},
            "mask": {"name": self.mask, "sha256": _digest(self.hole.mask)},
            "picture": {"name": self.hole.name, "number": self.number, "sha256": _digest(self.hole.image)},
            "sample": self.sample,
            "seed": self.seed,
        }

    @cached_property
    def key(self) -> str:
        """See `config_key`."""
        return config_key(self.config)


class ProtocolFills:
    """All fills of a protocol. `fill` computes those that the file lacks; `images` reads those of a mask and method.

    Only fills are kept, not their measures, so that weights for further metrics can be passed later.

    Args:
        pipe: with a prior for the data of the protocol. The model gets whole pictures, without crops.
        protocol: to run.
        pictures: see `protocol_pictures`.
        out: where a row for each fill is appended: JSON lines, .jsonl. Pictures are saved beside it, in a folder with
            its name and the suffix .fills.
        methods: name to `schedule` argument of the pipeline, instead of those of the protocol.
        only: names of masks to fill; None: all. The file may hold others.
        masks: see `protocol_holes`.
        samples: fills of each picture.
        seed: sample k of picture i has seed + i + 1,000,000 k.
    Attributes:
        cells: to fill, masks outermost, then methods, pictures and samples.
        rows: of the file.
    Raises:
        InputError: see `chosen_masks` and `protocol_holes`; or `out` holds rows of another run.
    """

    def __init__(
        self,
        pipe: RePaintPipeline,
        protocol: TestProtocol,
        pictures: Mapping[str, Image],
        out: Path,
        *,
        methods: Mapping[str, ScheduleLike] | None = None,
        only: Sequence[str] | None = None,
        masks: Path | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> None:
        self.pipe, self.protocol, self.out = pipe, protocol, out
        self.samples = whole_number("samples", samples, 1)
        self.masks = chosen_masks(protocol, only, masks)
        self.methods = {name: as_method(schedule) for name, schedule in (methods or protocol.methods).items()}
        facts = {
            "protocol": protocol.name,
            "prior": fingerprint(pipe.prior, sample_shape(pipe.prior, protocol.side)),
            "dtype": str(pipe.prior.dtype),
            "noise": protocol.noise,
            "seed": seed,
        }
        every = [
            ProtocolCell(hole, mask, name, how, number, sample, facts)
            for mask in chosen_masks(protocol, None, masks)
            for holes in [protocol_holes(protocol, pictures, mask, masks)]
            for name, how in self.methods.items()
            for number, hole in enumerate(holes)
            for sample in range(samples)
        ]
        self.cells = [cell for cell in every if cell.mask in self.masks]
        self.rows = Rows(out, {cell.key: cell.config for cell in every})

    def calls(self, batch: int) -> int:
        """Return the number of model calls that `fill` still makes."""
        return sum(each[0].how.model_calls for each in self._todo(batch))

    def fill(self, batch: int = 4, *, on_call: StepCallback | None = None) -> None:
        """Fill the pictures whose rows are missing, and append their rows.

        A batch with a missing row is computed whole, so that results are bit-equal to those of an uninterrupted run.

        Args:
            batch: pictures at once.
            on_call: the `callback_on_step_end` of the pipeline.
        """
        for cells in self._todo(batch):
            result = self.pipe(
                [noisy(cell.hole, self.protocol.noise, cell.number) for cell in cells],
                [cell.hole.mask for cell in cells],
                schedule=cells[0].how,
                generator=[cell.seed for cell in cells],
                output_type="np",
                callback_on_step_end=on_call,
                crop=None,
            )
            facts = {"model_calls": result.model_calls, "versions": {"repaint": __version__}}
            rows = []
            for cell, image in zip(cells, result.images, strict=True):
                if cell.key in self.rows.found:
                    continue
                self._save(cell, image)
                filled = {"filled": _digest(image), **facts}
                rows.append({"key": cell.key, "format": Rows.FORMAT, **cell.config, **filled})
            self.rows.append(rows)

    def images(self, mask: str, method: str) -> list[tuple[Hole, list[Image]]]:
        """Read the fills of a mask and method: (hole with the true picture, its samples) of each picture.

        Raises:
            InputError: a picture is missing, or is not the one that was saved.
        """
        found: dict[str, tuple[Hole, list[Image]]] = {}
        for cell in self.cells:
            if (cell.mask, cell.method) == (mask, method):
                found.setdefault(cell.hole.name, (cell.hole, []))[1].append(self._read(cell))
        return list(found.values())

    def _todo(self, batch: int) -> list[list[ProtocolCell]]:
        groups: dict[tuple[str, str], list[ProtocolCell]] = {}
        for cell in self.cells:
            groups.setdefault((cell.mask, cell.method), []).append(cell)
        batches = [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]
        return [cells for cells in batches if self.rows.lacks(cells)]

    def _file(self, cell: ProtocolCell) -> Path:
        return self.out.with_suffix(".fills") / cell.mask / cell.method / f"{cell.hole.name}-{cell.sample}.png"

    def _save(self, cell: ProtocolCell, image: Image) -> None:
        file = self._file(cell)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{file.parent}: cannot be created ({error}). Pass another --out.") from error
        with atomic_path(file) as temporary:
            Pillow.fromarray(image).save(temporary, format="png")

    def _read(self, cell: ProtocolCell) -> Image:
        file = self._file(cell)
        image = np.asarray(open_image(file)) if file.is_file() else None
        if image is None or _digest(image) != self.rows.found[cell.key]["filled"]:
            seen = "is missing" if image is None else "is not the picture that was saved"
            raise InputError(
                f"{file}: {seen}. Remove the line with {cell.key} from {self.out}, and it is filled again."
            )
        return image


def _digest(values: NDArray[Any]) -> str:
    """Compute 16 digits of the SHA-256 of shape and values."""
    return hashlib.sha256(f"{values.shape}".encode() + np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
