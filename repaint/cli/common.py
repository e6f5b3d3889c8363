"""What the commands share: consoles, options, the progress bar, and how a result is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from repaint.checks import nearest
from repaint.errors import InputError, RepaintError

if TYPE_CHECKING:
    from repaint.pipeline import StepCallback
    from repaint.sampling.state import SamplerState

__all__ = [
    "AsJson",
    "PriorName",
    "ScheduleName",
    "Seed",
    "calls_bar",
    "err",
    "group_with_default",
    "out",
    "print_json",
    "progress_bar",
    "say",
    "tell",
    "together",
]

T = TypeVar("T")
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PriorName = Annotated[str, typer.Option(help="Bundled name, folder or Hub id.")]
ScheduleName = Annotated[str, typer.Option(help="Preset name or YAML file.")]
DType = Annotated[str, typer.Option(help="The model's type: float32, bfloat16 or float16.")]
Seed = Annotated[int, typer.Option(help="Seed of the first image, from 0.")]


def group_with_default(name: str) -> type[typer.core.TyperGroup]:
    """A group of commands in which one may go unnamed: what follows the group's name is then its own."""

    class Group(typer.core.TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            bare = not args and self.no_args_is_help
            if not bare and (not args or args[0] not in {*self.commands, "--help"}):
                args = [name, *args]
            return super().parse_args(ctx, args)

    return Group


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A progress bar of units done of units planned; what it yields is told how many more are done."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err)
    task = bar.add_task(title, total=total)
    bar.start()
    try:
        yield lambda more: bar.update(task, advance=more)
    except BaseException:
        # An error stands alone: without a bar that will never fill, or the empty line that bar.stop() adds.
        bar.live.transient = True
        bar.live.stop()
        raise
    bar.stop()


@contextmanager
def calls_bar(title: str, total: int, inherited: int = 0) -> Iterator[StepCallback]:
    """A progress bar of model calls done of model calls planned, as a pipeline callback.

    Args:
        inherited: calls that stand behind the state that the run begins with.
    """
    with progress_bar(title, total, "calls") as advance:
        before = inherited

        def step(_pipe: object, moves: int, _level: int, kwargs: dict[str, Any]) -> None:
            nonlocal before
            state: SamplerState = kwargs["state"]
            advance(state.model_calls - (inherited if moves == 1 else before))
            before = state.model_calls

        yield step


@contextmanager
def together(kept: str) -> Iterator[None]:
    """Where the processes of a job wait for one another.

    Args:
        kept: what was done so far, and is not lost.
    Raises:
        RepaintError: one of them has died, which others learn only as a connection that is closed.
    """
    try:
        yield
    except RuntimeError as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise RepaintError(
            f"Another process of this job has ended before its work was done ({said}). {kept} so far are safe: see "
            "what that process said, if anything, and give the same command again."
        ) from error


def chosen(option: str, name: str, table: Mapping[str, T]) -> T:
    """The entry of a table that an option names."""
    if name not in table:
        raise InputError(f"{option} {name}: it is one of {', '.join(table)}. Choose one.{nearest(name, table)}")
    return table[name]


def torch_dtype(name: str) -> Any:
    """The floating type that --dtype names."""
    import torch

    return chosen("--dtype", name, {str(kind)[6:]: kind for kind in (torch.float32, torch.bfloat16, torch.float16)})


def print_json(data: Any) -> None:
    """Plain, for other programs: no colours, no wrapping."""
    print(json.dumps(data, indent=2))


def tell(data: dict[str, Any], as_json: bool, text: str) -> None:
    if as_json:
        print_json(data)
    else:
        say(text)


def say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)
