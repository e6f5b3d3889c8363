"""Output of the commands: consoles, progress bars, text and JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from repaint.errors import RepaintError, joined_lines
from repaint.files import as_json

if TYPE_CHECKING:
    from repaint.pipeline import StepCallback
    from repaint.sampling.state import SamplerState

__all__ = [
    "about",
    "calls_bar",
    "err",
    "out",
    "print_json",
    "print_table",
    "progress_bar",
    "say",
    "say_aside",
    "show_warning",
    "tell",
    "together",
    "visible",
]

WIDEST = 1000  # columns of a table
out, err = Console(emoji=False), Console(stderr=True, emoji=False)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Escape control characters but line ends and tabs: in the name of a file, they would command the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar of `total` units; yield a function that adds units."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn(unit)
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=err)
    task = bar.add_task(visible(title), total=total)
    bar.start()

    def advance(more: int) -> None:
        bar.update(task, advance=more)
        if bar.tasks[0].completed > total:  # windows of several sizes are filled one after the other
            bar.tasks[0].total = None  # `update` takes None for "as before"

    try:
        yield advance
    except BaseException:
        # Print the error alone: no unfinished bar, and no empty line of bar.stop().
        bar.live.transient = True
        bar.live.stop()
        raise
    bar.stop()


_about: list[tuple[str, ...]] = []


@contextmanager
def about(*names: str) -> Iterator[None]:
    """Name the files that warnings may be about. Warnings that name none of them begin with the first one."""
    _about.append(names)
    try:
        yield
    finally:
        _about.pop()


def show_warning(printed: set[str], message: Warning | str, *_where: object, **_more: object) -> None:
    """Print a warning on one line, without the place in the source. Replaces `warnings.showwarning`.

    Args:
        printed: the lines of this command so far. A warning that is repeated when an image is read again is dropped.
        message: the warning.
    """
    text = joined_lines(message)
    if _about and not any(name in text for name in _about[-1]):
        text = f"{_about[-1][0]}: {text}"
    if text in printed:
        return
    printed.add(text)
    err.print(f"[yellow]repaint:[/yellow] warning: {escape(visible(text))}", highlight=False, soft_wrap=True)


@contextmanager
def calls_bar(title: str, total: int, inherited: int = 0) -> Iterator[StepCallback]:
    """Show a progress bar of `total` model calls; yield the pipeline callback that advances it.

    Args:
        inherited: model calls already made by the state that the run starts from.
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
    """Report the death of another process while the processes of a job wait for one another.

    Args:
        kept: name of the work that is safe so far.
    Raises:
        RepaintError: another process has died, which closes the connection.
    """
    try:
        yield
    except RuntimeError as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise RepaintError(
            f"Another process of this job ended early ({said}). {kept} so far are saved: read its output, and run the "
            "same command again."
        ) from error


def print_table(table: Table) -> None:
    """Print a table as wide as it is: a narrower terminal wraps its lines, but no figure is cut off."""
    needed = Measurement.get(out, out.options.update(max_width=WIDEST), table).maximum
    if needed > out.width:
        table.width = needed
    out.print(table, crop=False)


def print_json(data: Any) -> None:
    """Print JSON without colours or wrapping; NaN and infinity become null."""
    print(as_json(data))


def tell(data: dict[str, Any], json: bool, text: str) -> None:
    if json:
        print_json(data)
    else:
        say(text)


def say(text: str) -> None:
    out.print(visible(text), highlight=False, markup=False, soft_wrap=True)


def say_aside(text: str) -> None:
    """Print a line on stderr, beside a progress bar."""
    err.print(visible(text), highlight=False, markup=False, soft_wrap=True)
