"""Options, and how their values are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import typer
import typer.core

from repaint.checks import nearest
from repaint.errors import InputError
from repaint.threads import parse_threads

__all__ = [
    "AsJson",
    "DType",
    "PriorName",
    "ScheduleName",
    "Seed",
    "Threads",
    "Threshold",
    "chosen",
    "group_with_default",
    "torch_dtype",
]

T = TypeVar("T")


def _check_threads(text: str) -> str:
    """Refuse a wrong --threads before any work."""
    parse_threads(text)
    return text


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PriorName = Annotated[str, typer.Option(help="Bundled name, folder or Hub id.")]
ScheduleName = Annotated[str, typer.Option(help="Preset name or YAML file.")]
DType = Annotated[str, typer.Option(help="Data type of the model: float32, bfloat16, float16, or auto.")]
Seed = Annotated[int, typer.Option(help="Seed of the first image, at least 0.")]
Threshold = Annotated[
    float | None,
    typer.Option(help="Read masks without soft edges: at least this share of white, in (0, 1], is white. Try 0.5."),
]
Threads = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        callback=_check_threads,
        help="CPU threads. auto times 1 thread and PyTorch's default, and takes the faster; OMP_NUM_THREADS overrides "
        "auto. Results can differ in the last bit between thread counts.",
    ),
]


def group_with_default(name: str, instead: Mapping[str, str] | None = None) -> type[typer.core.TyperGroup]:
    """Make a group of commands with a default: without a subcommand, the arguments go to `name`.

    With one of the options in `instead`, they go to the subcommand of that option.
    """

    class Group(typer.core.TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            bare = not args and self.no_args_is_help
            if not bare and (not args or args[0] not in {*self.commands, *ctx.help_option_names}):
                given = {arg.partition("=")[0] for arg in args}
                args = [next((other for option, other in (instead or {}).items() if option in given), name), *args]
            return super().parse_args(ctx, args)

    return Group


def chosen(option: str, name: str, table: Mapping[str, T]) -> T:
    """Return the entry of a table that an option names."""
    if name not in table:
        raise InputError(f"{option} {name} must be one of {', '.join(table)}.{nearest(name, table)}")
    return table[name]


def torch_dtype(name: str, device: str = "cpu") -> Any:
    """Return the floating type that --dtype names; "auto" is the fastest of the device."""
    import torch

    from repaint.precision import fastest_dtype

    kinds = {str(kind)[6:]: kind for kind in (torch.float32, torch.bfloat16, torch.float16)}
    return chosen("--dtype", name, {"auto": fastest_dtype(device), **kinds})
