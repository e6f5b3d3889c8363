"""The files that `repaint inpaint` writes for a single image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repaint.errors import InputError, collected_warnings

if TYPE_CHECKING:
    from repaint.pipeline import RePaintOutput
    from repaint.sampling.method import Method

__all__ = ["SampleFiles"]


@dataclass(frozen=True)
class SampleFiles:
    """The files to write for a single image: samples, or their mean, and a map of their uncertainty."""

    samples: int
    mean: bool
    uncertainty: Path | None

    def check(self, out_file: Path, branch: Path | None) -> None:
        """Refuse options that do not fit together."""
        if self.samples == 1 and (self.mean or self.uncertainty):
            option = "--mean" if self.mean else "--uncertainty"
            raise InputError(f"{option} needs several samples, but --samples is 1. Add --samples 8.")
        if self.samples == 2 and self.mean and self.uncertainty:
            raise InputError("--mean with --uncertainty needs at least 2 pairs, but --samples is 2. Add --samples 8.")
        if self.samples > 1 and branch is not None:
            raise InputError(f"--samples {self.samples} cannot be used with --branch: a state continues to one result.")
        if self.uncertainty is not None and self.uncertainty.absolute() == out_file.absolute():
            raise InputError(f"--uncertainty {self.uncertainty} must be another file than --out.")

    def check_map(self, size: tuple[int, int]) -> None:
        """Refuse a map of this (height, width) that cannot be written."""
        if self.uncertainty is not None:
            from PIL import Image

            from repaint.pictures.encoding import check_writable

            with collected_warnings():  # JPEG changes pixels, but a map has none to keep
                check_writable(self.uncertainty, Image.new("RGB", size[::-1]))

    def named(self, out_file: Path, seeds: Sequence[int]) -> list[Path]:
        """Return the paths of the files, without the map."""
        if self.samples == 1 or self.mean:
            return [out_file]
        return [out_file.with_name(f"{out_file.stem}-{seed}{out_file.suffix}") for seed in seeds]

    def save(self, result: RePaintOutput, out_file: Path) -> list[Path]:
        """Write the files and return their paths, without the map."""
        from repaint.measure.plots import heat_map
        from repaint.pictures.encoding import keep_result

        files, images = self.named(out_file, result.seeds), result.mean() if self.mean else result.images
        # A branch has only the first of several samples.
        files = [keep_result(picture, file) for file, picture in zip(files, images, strict=False)]
        if self.uncertainty is not None:
            keep_result(heat_map(result.uncertainty()[0]), self.uncertainty)
        return files

    def report(self, result: RePaintOutput, files: list[Path]) -> dict[str, Any]:
        """Return the entries of --json that a single result does not have."""
        if self.samples == 1:
            return {}
        entries: dict[str, Any] = {"samples": self.samples, "mean": self.mean, "files": [str(file) for file in files]}
        if self.uncertainty is not None:
            fills = result.fills[0]
            mean, largest = fills.in_hole("pil")
            scale = {"mean": mean, "largest": largest, "white": fills.picture.white_of("pil")}
            entries["uncertainty"] = {"out": str(self.uncertainty), **scale}
        return entries

    def text(self, result: RePaintOutput, files: list[Path], method: Method) -> str:
        """Format the line that is printed without --json."""
        first, last = result.seeds[0], result.seeds[::2][-1] if self.mean else result.seeds[-1]
        seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
        if self.mean:
            seeds += " with the noise of both signs"
        what = "Mean" if self.mean else "Result" if self.samples == 1 else "Results"
        where = f"{files[0]}{'' if len(files) == 1 else f' to {files[-1]}'}"
        line = f"{result.model_calls} model calls with schedule {method.name}, {seeds}. {what}: {where}"
        if self.uncertainty is not None:
            line += f". Map: {self.uncertainty}\nuncertainty: {result.fills[0].summary('pil')}"
        return line
