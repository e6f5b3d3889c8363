"""repaint audit: changes outside the hole of a saved result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repaint.cli.console import tell
from repaint.cli.options import AsJson, Threshold

__all__ = ["file"]


def file(
    result: Annotated[Path, typer.Argument(help="Result of an inpainting.")],
    image: Annotated[Path, typer.Argument(help="Its input image, of the same size and mode.")],
    mask: Annotated[Path, typer.Argument(help="Its mask; white is repainted.")],
    keep_mask: Annotated[
        bool, typer.Option("--keep-mask", help="White in the mask is kept instead of repainted.")
    ] = False,
    threshold: Threshold = None,
    most: Annotated[
        float | None,
        typer.Option("--max-change", min=0, help="Exit with status 1 if a kept pixel changed by more, such as 0."),
    ] = None,
    heatmap: Annotated[Path | None, typer.Option(help="Also draw where pixels changed: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a saved result, of any program, changed pixels outside the hole.

    The change is in the unit of the files: of 255 for 8-bit images.

    Example: repaint audit filled.png photo.png mask.png --heatmap changed.png --max-change 0
    """
    from repaint.files import check_unread
    from repaint.measure.audit import audit_files
    from repaint.measure.plots import check_plot, heatmaps, save_plot

    check_unread([heatmap], [result, image, mask])
    if heatmap is not None:
        check_plot(heatmap)
    found = audit_files(result, image, mask, keep_mask=keep_mask, threshold=threshold)
    if heatmap is not None:
        save_plot(heatmaps({result.name: found}), heatmap)
    lines = [f"{result}: none of {found.kept} kept pixels changed."]
    if found.max_change > 0:
        profile = found.profile
        lines = [
            f"{result}: {round(found.changed * found.kept)} of {found.kept} kept pixels changed ({found.changed:.1%}).",
            f"MSE {found.mse:.4g}, largest change {found.max_change:g}.",
            f"Mean change {profile[0]:.3g} at 1 pixel from the hole, {profile[-1]:.3g} at {len(profile)}.",
        ]
    about = {"result": str(result), "image": str(image), "mask": str(mask)}
    tell(about | found.as_dict(), as_json, "\n".join(lines))
    if most is not None and found.max_change > most:
        raise typer.Exit(1)
