"""repaint bench --protocol NAME: tests of the literature, with their published figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from repaint.cli.console import calls_bar, print_json, print_table, say
from repaint.cli.loading import Device, load_pipe
from repaint.cli.options import AsJson, DType, PriorName, Threads, chosen

__all__ = ["protocol"]


def protocol(
    name: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="repaint-table1, repaint-table2, lanpaint-bench, copaint, daps-box or diffpir-box.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder with exactly the pictures of the protocol, at its size.")],
    prior: PriorName,
    out_file: Annotated[
        Path,
        typer.Option("--out", help="Where a row for each fill is appended: JSON lines, .jsonl; pictures are beside."),
    ],
    samples: Annotated[
        int, typer.Option(help="Fills of each picture; 2 or more also measure CRPS and diversity.", min=1)
    ] = 1,
    limit: Annotated[int | None, typer.Option(help="Use only the first N pictures, for a trial.", min=1)] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder of published masks for each mask: MASK/NAME.png, white is kept."),
    ] = None,
    mask: Annotated[list[str] | None, typer.Option(help="Only this mask; may be repeated.")] = None,
    schedule: Annotated[
        list[str] | None, typer.Option(help="Preset or YAML file instead of the published methods; may be repeated.")
    ] = None,
    lpips_backbone: Annotated[
        Path | None, typer.Option(help="File with the ImageNet weights of the LPIPS network; its SHA-256 is checked.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="File with torch-fidelity's Inception weights; its SHA-256 is checked.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Pictures in a batch.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first picture, at least 0.", min=0)] = 0,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = "auto",
    as_json: AsJson = False,
) -> None:
    """Run a test of the literature as published, and print its published figures beside the measured ones.

    You provide pictures and weights; docs/protocols.md lists what each protocol needs. Interrupted runs resume.

    Example: repaint bench --protocol repaint-table1 --data celeba-hq-100 --prior celeba-hq-256 --out rows.jsonl
    """
    from repaint.lab.quality.protocol_fills import ProtocolFills
    from repaint.lab.quality.protocol_inputs import chosen_masks, protocol_pictures
    from repaint.lab.quality.protocol_run import Backbones, measured_fills
    from repaint.lab.quality.protocols import PROTOCOLS
    from repaint.sampling.method import as_method, as_methods

    wanted = chosen("--protocol", name, PROTOCOLS)
    given = as_methods(schedule or [])
    methods = given or {key: as_method(value) for key, value in wanted.methods.items()}
    backbones = Backbones(lpips_backbone, inception)
    missing = backbones.missing(wanted, samples)
    makeable = chosen_masks(wanted, mask, masks)
    pictures = protocol_pictures(wanted, data, limit=limit)
    pipe = load_pipe(prior, device, dtype, threads)
    fills = ProtocolFills(
        pipe,
        wanted,
        pictures,
        out_file,
        methods=methods,
        only=makeable,
        masks=masks,
        samples=samples,
        seed=seed,
    )
    with calls_bar(f"{name}: {len(pictures)} pictures", fills.calls(batch)) as step:
        fills.fill(batch, on_call=step)
    found = list(measured_fills(fills, backbones))
    if as_json:
        about = {"protocol": name, "source": wanted.source, "assumed": wanted.assumed, "missing": missing}
        print_json({**about, "rows": [asdict(row) for row in found]})
        return
    table = Table("mask", "method", "metric", "measured", "95 % interval", "pictures", box=None, header_style="bold")
    for row in found:
        value = "n/a" if row.value is None else f"{row.value:.4g}"
        interval = "" if row.low is None else f"{row.low:.4g} to {row.high:.4g}"
        table.add_row(row.mask, row.method, row.metric, value, interval, str(row.pictures))
    print_table(table)
    for row in found:
        published = ", ".join(f"{each.value:g} ({each.data})" for each in row.published) or "not known here"
        say(f"Published, {row.mask}, {row.method}, {row.metric}: {published}")
    say(f"Source: {wanted.source}.")
    say(f"Assumed: {wanted.assumed}")
    for left in [each for each in mask or wanted.masks if each not in makeable]:
        say(f"mask {left}: left out, it exists only as files; pass --masks.")
    for metric, reason in missing.items():
        say(f"{metric} n/a: {reason}")
    if wanted.pictures is not None and len(pictures) != wanted.pictures:
        say(f"A trial: {len(pictures)} of {wanted.pictures} pictures are not comparable with published figures.")
