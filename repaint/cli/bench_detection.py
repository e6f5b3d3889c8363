"""repaint bench detection: precision and recall of the damage detector."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import print_json, print_table, say
from repaint.cli.options import AsJson
from repaint.cli.restore import MaxWidth, Sensitivity, ToneOption
from repaint.defaults import MAX_WIDTH, SENSITIVITY, TONE

__all__ = ["detection"]


def detection(
    images: Annotated[
        Path | None, typer.Option(help="Folder of photographs. Default: the three of `repaint demo`.")
    ] = None,
    longest: Annotated[int, typer.Option(help="Longer photographs are shrunk to this many pixels.", min=64)] = 512,
    repeats: Annotated[int, typer.Option(help="Damaged copies of each photograph and kind of damage.", min=1)] = 2,
    sensitivity: Sensitivity = SENSITIVITY,
    max_width: MaxWidth = MAX_WIDTH,
    tone: ToneOption = TONE,
    as_json: AsJson = False,
) -> None:
    """Damage photographs on purpose, and measure what the detector of `repaint restore` finds.

    recall: share of the damaged pixels that were found. precision: share of the found pixels that lie within 2 pixels
    of damage. found: share of the picture; in the row "none", which has no damage, all of it is a false alarm.

    Example: repaint bench detection --images photographs/held_out
    """
    import numpy as np
    from PIL import Image

    from repaint.lab.quality.detector_scores import score_detector
    from repaint.pictures.decoding import read_upright
    from repaint.pictures.pairs import picture_files
    from repaint.pictures.samples import UNSEEN, unseen

    if images is None:
        photographs = {name: unseen(name) for name in UNSEEN}
    else:
        photographs = {}
        for name, path in picture_files(images).items():
            picture = Image.fromarray(read_upright(path))
            picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
            photographs[name] = np.asarray(picture)
    scores = score_detector(photographs, repeats=repeats, sensitivity=sensitivity, max_width=max_width, tone=tone)
    if as_json:
        print_json([asdict(score) for score in scores])
        return
    table = Table("damage", "recall", "precision", "found", "photographs", box=None, header_style="bold")
    for score in scores:
        shares = (score.recall, score.precision, score.found)
        table.add_row(score.damage, *("n/a" if math.isnan(v) else f"{v:.1%}" for v in shares), str(score.cases))
    print_table(table)
    wide = [
        text for text, pixels in (("spots of 16 pixels", 16), ("the missing piece of 40", 40)) if pixels > max_width
    ]
    if wide:
        say(f"Not searched for, because they are wider than --max-width: {' and '.join(wide)}.")
