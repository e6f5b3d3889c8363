"""The command `repaint`. Each of its commands only reads its arguments, calls the library, and prints.

Exit status: 0 on success and for a command without arguments, which shows its help; 2 on bad input, with one clear
line and nothing written.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any

import typer
from rich.markup import escape

from repaint.cli.audit_files import file
from repaint.cli.audit_radius import radius
from repaint.cli.audit_strength import strength
from repaint.cli.bench import bench_app
from repaint.cli.calibrate import calibrate
from repaint.cli.console import err, say, show_warning, visible
from repaint.cli.demo import demo
from repaint.cli.doctor import doctor
from repaint.cli.exactness import exactness
from repaint.cli.habits import habit
from repaint.cli.inpaint import inpaint
from repaint.cli.mask import mask
from repaint.cli.options import group_with_default
from repaint.cli.outpaint import outpaint
from repaint.cli.priors_convert import priors_convert
from repaint.cli.priors_list import priors_list
from repaint.cli.remove import remove
from repaint.cli.restore import restore
from repaint.cli.schedule_import import schedule_import
from repaint.cli.schedule_list import schedule_list
from repaint.cli.schedule_plot import schedule_plot
from repaint.cli.schedule_record import schedule_record
from repaint.cli.schedule_show import schedule_show
from repaint.cli.studio import studio
from repaint.cli.sweep import sweep
from repaint.cpu_memory import keep_freed_memory
from repaint.errors import InputError, RepaintError, joined_lines
from repaint.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Fill holes in images with a pretrained diffusion model.",
)
for command in (demo, inpaint, outpaint, restore, remove, mask, exactness, calibrate, sweep, doctor, studio):
    app.command()(command)

audit = typer.Typer(
    cls=group_with_default("file"),
    no_args_is_help=True,
    help="Show what changed outside the hole: repaint audit RESULT IMAGE MASK. The default subcommand is file.",
)
audit.command()(file)
audit.command()(strength)
audit.command()(radius)

schedules = typer.Typer(no_args_is_help=True, help="List, show, plot, import and record resampling schedules.")
schedules.command("list")(schedule_list)
schedules.command("show")(schedule_show)
schedules.command("plot")(schedule_plot)
schedules.command("import")(schedule_import)
schedules.command("record")(schedule_record)

priors = typer.Typer(no_args_is_help=True, help="List the bundled priors and convert others.")
priors.command("list")(priors_list)
priors.command("convert")(priors_convert)

app.add_typer(audit, name="audit")
app.add_typer(bench_app, name="bench")
app.add_typer(schedules, name="schedule")
app.add_typer(priors, name="priors")


def _version(show: bool | None) -> None:
    if show:
        say(f"repaint {__version__}")
        raise typer.Exit


# The error of typer for a wrong command line: click's class, or that of typer's own copy of click, which is not public.
UsageError: Any = typer.BadParameter.__base__


@app.callback()
def version(
    _show: Annotated[
        bool | None, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = None,
) -> None:
    """Fill holes in images with a pretrained diffusion model."""


def main() -> None:
    """Run the command line; print errors on one line and exit with status 2."""
    keep_freed_memory()
    _print_any_name()
    with warnings.catch_warnings():
        warnings.showwarning = partial(show_warning, set())
        _run()


def _print_any_name() -> None:
    """Escape characters that stdout or stderr cannot encode, such as those of file names; do not raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _run() -> None:
    try:
        _refuse_empty(sys.argv[1:])
        sys.exit(app(prog_name="repaint", standalone_mode=False))
    except RepaintError as error:
        _fail(str(error))
    except OSError as error:  # a full disk or a vanished folder; no half-written file stays (files.atomic_path)
        _fail(f"{error}. Check the disk and the path.")
    except UsageError as error:
        if text := error.format_message().strip():  # empty where the help was printed instead
            _fail(_wrong_line(error, text))
        sys.exit(0)
    except typer.Abort:
        sys.exit(1)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, as an unset variable of a shell gives; as a path it would be the current folder."""
    for before, text in pairwise(["", *arguments]):
        if not text and not before.startswith("-"):  # --prompt "" is a prompt
            raise InputError("An argument is empty, as an unset variable of the shell is. Pass a name or a path.")


def _wrong_line(error: Any, text: str) -> str:
    """Explain what is wrong in a command line, and what to type instead.

    Args:
        error: what typer raised.
        text: its message.
    """
    if error.ctx is None:
        return f"{text.rstrip('.')}. See repaint --help."
    command, params = error.ctx.command_path, error.ctx.command.params
    arguments = {each.name: each.nargs for each in params if each.param_type_name == "argument"}
    usage = " ".join([command, *(f"{name.upper()}{'...' * (nargs == -1)}" for name, nargs in arguments.items())])
    wrong, options = getattr(error, "option_name", ""), [name for each in params for name in each.opts]
    if hint := habit(wrong, options, arguments, f"{usage} [OPTIONS]"):
        text = f"No such option: {wrong}"
    if text.startswith("Missing argument"):  # click names only the first, of several images and a mask
        text = f"An argument is missing: {usage} [OPTIONS]"
    text = text.rstrip(".")
    return f"{text}{'' if text.endswith('?') else '.'}{hint} See {command} --help."


def _fail(message: str) -> None:
    err.print(f"[red]repaint:[/red] {escape(visible(joined_lines(message)))}", highlight=False, soft_wrap=True)
    sys.exit(2)
