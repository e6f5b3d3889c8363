"""Calibrate methods on any prior: draw the truth, fill its holes, append the rows, and summarise them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from repaint.errors import InputError, NonFiniteError
from repaint.lab.calibration.calibration_summary import Calibration, calibrations
from repaint.lab.calibration.hole_kinds import HOLE_KINDS
from repaint.lab.calibration.scored_fills import fill_batches, fill_cells, score_batch
from repaint.lab.calibration.truths import (
    DRAWING,
    fingerprint,
    folder_fingerprint,
    picture_names,
    picture_truths,
    prior_truths,
    sample_shape,
)
from repaint.lab.sweep.rows import CellRow, Rows
from repaint.sampling.method import Method, as_methods
from repaint.sampling.prior import Prior
from repaint.shards import share_of

__all__ = ["CalibrationRun", "silent"]

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def silent(_title: str, _calls: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show no progress bar."""
    return nullcontext(lambda _calls: None)


@dataclass
class CalibrationRun:
    """Methods on a prior, and the file of their rows. `fill` computes what is missing, and `summary` reads all.

    Attributes:
        prior: the model, under no conditions yet.
        methods: with different names.
        out: where the rows are appended: JSON lines, .jsonl.
        kinds: keys of `HOLE_KINDS`; None: all.
        count: number of true samples, each with one hole.
        samples: fills of each hole, at least 2.
        side: of the true samples in pixels; None: the prior's preferred size.
        truth: folder of held-out pictures; None: samples drawn from the prior.
        cache: a .npz file for the drawn samples; None: they are drawn again in each run.
        prompt: for a prior that takes texts; None: the empty one.
        seed: of samples, holes and fills.
        facts: more that the results depend on, such as the dtype; part of every row.
        diverged: methods whose samples became NaN or infinite in this run: name to reason. Their other holes are not
            filled, and `summary` leaves them out.
    Raises:
        InputError: fewer than 2 samples, two methods of one name, a side that the prior does not take, or `out` holds
            rows of another run, such as of other pictures.
    """

    prior: Prior
    methods: Sequence[Method]
    out: Path
    kinds: Sequence[str] | None = None
    count: int = 100
    samples: int = 4
    side: int | None = None
    truth: Path | None = None
    cache: Path | None = None
    prompt: str | None = None
    seed: int = 0
    facts: Mapping[str, str] | None = None
    diverged: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        as_methods(self.methods)
        self._side = self.side or self.prior.preferred_size or self.prior.multiple_of
        if self._side % self.prior.multiple_of:
            raise InputError(
                f"The side of the samples is {self._side}, but must be a multiple of {self.prior.multiple_of} pixels "
                "for this prior. Change --size (side=)."
            )
        self._shape = sample_shape(self.prior, self._side)
        self._truths: Tensor | None = None
        facts = {
            "prior": fingerprint(self.prior, self._shape),
            "side": self._side,
            "truth": "draws" if self.truth is None else folder_fingerprint(self.truth),
            "prompt": self.prompt,
            **(self.facts or {}),
        }
        kinds = list(HOLE_KINDS) if self.kinds is None else list(self.kinds)
        self.cells = fill_cells(self.methods, kinds, self.count, self.samples, seed=self.seed, facts=facts)
        self.rows = Rows(self.out, {cell.key: cell.config for cell in self.cells})

    def fill(
        self,
        batch: int = 8,
        *,
        shard: str | None = None,
        process: int = 0,
        processes: int = 1,
        progress: Progress = silent,
    ) -> None:
        """Fill the holes whose rows are missing, and append the rows.

        Args:
            batch: holes filled at once.
            shard: "i/n" computes the i-th of n parts.
            process, processes: number of this process, and of all that share the work.
            progress: opens a progress bar with a title and a number of model calls, and yields a function that
                advances it.
        """
        own = share_of(fill_batches(self.cells, batch), shard, process, processes)
        todo = [each for each in own if self.rows.lacks(each)]
        truths = self.draw(progress) if todo else None
        if truths is None:
            return
        calls = sum(each[0].method.model_calls * len(each) * self.samples for each in todo)
        pictures = None if self.truth is None else picture_names(self.truth, self.count)
        with progress(f"filling {sum(map(len, todo))} holes", calls) as advance:
            for each in todo:
                name = each[0].method.name
                if name in self.diverged:
                    continue
                try:
                    rows = score_batch(self.prior, truths, each, prompt=self.prompt, pictures=pictures, on_call=advance)
                except NonFiniteError as error:
                    self.diverged[name] = str(error)
                else:
                    self.rows.append(rows)

    def draw(self, progress: Progress = silent) -> Tensor | None:
        """Draw or read the true samples, unless all rows are there. Later calls return the same samples."""
        if self._truths is None and self.rows.lacks(self.cells):
            if self.truth is not None:
                self._truths = picture_truths(self.prior, self.truth, self._side, self.count, seed=self.seed)
            else:
                with progress(f"drawing {self.count} samples", DRAWING.model_calls * self.count) as advance:
                    self._truths = prior_truths(
                        self.prior,
                        self._shape,
                        self.count,
                        seed=self.seed,
                        prompt=self.prompt,
                        cache=self.cache,
                        on_call=advance,
                    )
        return self._truths

    def summary(self, against: str | None = None) -> list[Calibration]:
        """Summarise the rows of the file; see `calibrations`.

        Args:
            against: the method that others are compared with; None: the first.
        """
        self.rows.refresh()
        return calibrations([row for row in self._found() if row["schedule"] not in self.diverged], against)

    @property
    def done(self) -> int:
        """Number of rows that the file holds."""
        return len(self._found())

    def _found(self) -> list[CellRow]:
        return [self.rows.found[cell.key] for cell in self.cells if cell.key in self.rows.found]
