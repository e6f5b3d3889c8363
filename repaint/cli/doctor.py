"""repaint doctor: check the installation."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, Literal

import typer
from packaging.requirements import Requirement
from rich.markup import escape
from rich.table import Table

from repaint.cli.console import out, print_json, say
from repaint.cli.options import AsJson
from repaint.errors import RepaintError, joined_lines
from repaint.threads import trial_seconds
from repaint.version import DISTRIBUTION

__all__ = ["Finding", "doctor", "findings"]

EXTRAS = ("app", "bench", "heif", "metrics", "notebooks")
SLOW = 2  # report threads that take this many times as long as one thread
SIGNS = {
    "ok": "[green]ok[/green]",
    "missing": "[yellow]missing[/yellow]",
    "slow": "[yellow]slow[/yellow]",
    "broken": "[red]broken[/red]",
}


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes:
        part: "packages", "extras", "devices", "priors", "weights" or "self-test".
        name: name of the package, device, prior, ...
        state: "ok", "missing" (optional parts only), "slow" or "broken".
        found: version, size or result.
        cure: how to fix it, or "".
    """

    part: str
    name: str
    state: Literal["ok", "missing", "slow", "broken"]
    found: str
    cure: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Check versions, devices, threads, priors, weights and extras, and fill a small hole.

    The exit status is 1 if something is broken. Optional parts may be missing.

    Example: repaint doctor

    Example: repaint doctor --json
    """
    found = list(findings())
    if as_json:
        print_json({"healthy": _healthy(found), "findings": [asdict(finding) for finding in found]})
    else:
        table = Table("part", "name", "", "found", box=None, header_style="bold")
        for finding in found:
            table.add_row(finding.part, escape(finding.name), SIGNS[finding.state], escape(finding.found))
        out.print(table)
        cures = {finding.cure: finding.name for finding in reversed(found) if finding.cure}
        for cure, name in reversed(cures.items()):
            say(f"{name}: {cure}")
    if not _healthy(found):
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """Check each part of the installation."""
    yield Finding("packages", "python", "ok", f"{platform.python_version()} on {platform.system()}")
    yield from _packages()
    yield from _devices()
    yield _threads()
    yield from _priors()
    yield from _weights()
    yield _self_test()


def _healthy(found: list[Finding]) -> bool:
    return all(finding.state != "broken" for finding in found)


def _packages() -> Iterator[Finding]:
    """Compare each dependency with the bounds of the installed package. Extras may be missing."""
    for extra in ("", *EXTRAS):
        for text in _requirements():
            need = Requirement(text)
            if need.marker is not None and not need.marker.evaluate({"extra": extra}):
                continue
            if extra and (need.marker is None or need.marker.evaluate({"extra": ""})):
                continue  # a required package
            part, cure = "extras" if extra else "packages", f"pip install '{need.name}{need.specifier}'"
            try:
                version = metadata.version(need.name)
            except metadata.PackageNotFoundError:
                yield Finding(part, need.name, "missing" if extra else "broken", "not installed", cure)
                continue
            if need.specifier.contains(version, prereleases=True):
                yield Finding(part, need.name, "ok", version)
            else:
                yield Finding(part, need.name, "broken", f"{version}, but {need.specifier} is required", cure)


def _requirements() -> list[str]:
    """List the requirements of the installed package, which older checkouts installed as "repaint"."""
    for name in (DISTRIBUTION, "repaint"):
        try:
            return metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
    return []


def _devices() -> Iterator[Finding]:
    import torch

    vectors = torch.backends.cpu.get_cpu_capability()
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    yield Finding("devices", "cpu", "ok", f"{threads}, {vectors}; bfloat16")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(i)
            kinds = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
            yield Finding("devices", f"cuda:{i}", "ok", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB; {kinds}")
    else:
        built = f"PyTorch has CUDA {torch.version.cuda} but finds no GPU" if torch.version.cuda else "not in PyTorch"
        yield Finding("devices", "cuda", "missing", built)
    mps = torch.backends.mps.is_available()
    yield Finding("devices", "mps", "ok" if mps else "missing", "Apple GPU" if mps else "no Apple GPU")


def _threads() -> Finding:
    """Compare one thread with many. Many can be far slower while other programs use the cores."""
    import torch

    many = torch.get_num_threads() if torch.get_num_threads() > 1 else os.cpu_count() or 1
    if many == 1:
        return Finding("devices", "threads", "ok", "1 core")
    single, multiple = trial_seconds(1), trial_seconds(many)
    ratio = multiple / single
    found = f"{many} threads take {ratio:.{0 if ratio >= 10 else 1}f} times as long as 1"
    if multiple < SLOW * single:
        return Finding("devices", "threads", "ok", found)
    cure = "Other programs use the cores. Commands then use 1 thread; in Python, call torch.set_num_threads(1)"
    return Finding("devices", "threads", "slow", found, cure)


def _priors() -> Iterator[Finding]:
    from repaint.priors.load import BUNDLED, bundled

    for name in bundled():
        weights = list((BUNDLED / name).rglob("*.safetensors"))
        size = sum(path.stat().st_size for path in weights) / 2**20
        try:
            json.loads((BUNDLED / name / "card.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            yield Finding("priors", name, "broken", str(error), f"Reinstall {DISTRIBUTION}")
            continue
        if size < 0.1:  # a checkout without Git LFS has pointers of a few hundred bytes
            yield Finding(
                "priors", name, "broken", "weights are missing", f"Reinstall {DISTRIBUTION}, or run git lfs pull"
            )
        else:
            yield Finding("priors", name, "ok", f"{size:.1f} MiB")
    if not bundled():
        yield Finding("priors", "bundled", "broken", "no prior found", f"Reinstall {DISTRIBUTION}")


def _weights() -> Iterator[Finding]:
    from repaint.measure.metrics import LPIPS_NETS, lpips_backbone

    for net in LPIPS_NETS:
        file, command = lpips_backbone(net)
        if file.is_file():
            yield Finding("weights", f"LPIPS {net}", "ok", f"{file.stat().st_size / 2**20:.0f} MiB")
        else:
            yield Finding("weights", f"LPIPS {net}", "missing", "backbone not downloaded", command)


def _self_test() -> Finding:
    """Fill a hole of 8 x 8 pixels in three steps. Check that it changed, and that kept pixels did not."""
    import numpy as np

    from repaint.pipeline import RePaintPipeline
    from repaint.sampling.schedule import JumpSchedule

    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    hole = np.zeros((32, 32), bool)
    hole[12:20, 12:20] = True
    walk = JumpSchedule.from_levels([3, 2, 1, 0])
    try:
        pipe = RePaintPipeline.from_pretrained("photos")
        pipe.set_progress_bar_config(disable=True)
        result: Any = pipe(image, hole, schedule=walk, generator=0, output_type="np").images[0]
    except (RepaintError, RuntimeError, OSError) as error:
        return Finding("self-test", "photos", "broken", joined_lines(error), f"Reinstall torch and {DISTRIBUTION}")
    if not np.array_equal(result[~hole], image[~hole]):
        return Finding("self-test", "photos", "broken", "kept pixels changed", "Please report this")
    if np.array_equal(result[hole], image[hole]):
        return Finding("self-test", "photos", "broken", "the hole was not filled", "Please report this")
    return Finding("self-test", "photos", "ok", "a hole filled in 3 model calls, every kept pixel bit-equal")
