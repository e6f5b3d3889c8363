"""repaint bench: how good what a method paints is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.common import AsJson, Seed, calls_bar, finite, out, print_json

__all__ = ["bench"]


def bench(
    schedule: Annotated[list[str] | None, typer.Option(help="Preset or YAML file; may be repeated.")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write the first three holes of each photograph, a PNG.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Are painted patches like real ones? 65 holes in photographs that the `textures` prior never saw.

    Beside each schedule stand the floor (the true content) and biharmonic inpainting.

    Example: repaint bench --schedule predicted --schedule quick
    """
    from repaint.files import check_writable
    from repaint.images import save_image
    from repaint.lab.quality import held_out_holes, score_textures
    from repaint.method import as_method
    from repaint.pipeline import RePaintPipeline
    from repaint.plots import holes_sheet

    if sheet is not None:
        check_writable(sheet, "RGB")
    methods = {method.name: method for method in map(as_method, schedule or ["predicted", "corrected", "quick"])}
    holes, batch = held_out_holes(), 16
    pipe = RePaintPipeline.from_pretrained("textures")
    pipe.set_progress_bar_config(disable=True)
    total = sum(method.model_calls for method in methods.values()) * -(-len(holes) // batch)
    with calls_bar(f"filling {len(holes)} holes, {batch} at a time", total) as step:
        results = score_textures(pipe, methods, holes=holes, seed=seed, batch=batch, on_call=step)
    if sheet is not None:
        save_image(holes_sheet(holes, {name: images for name, (_, images) in results.items()}), sheet)
    if as_json:
        rows = {name: vars(score) | {"psnr": finite(score.psnr)} for name, (score, _) in results.items()}
        print_json(rows)
        return
    table = Table("fills with", "patch distance", "gradient distance", "PSNR in hole", "model calls", "seconds")
    for name, (score, _) in results.items():
        cells = f"{score.patches:.4f}", f"{score.gradients:.4f}", f"{score.psnr:.2f}", str(score.model_calls)
        table.add_row(name, *cells, f"{score.seconds:.1f}")
    out.print(table)
