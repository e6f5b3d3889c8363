"""The command `repaint`: thin. Each command reads its arguments, calls the library, and prints.

Exit status: 0 on success, 2 on bad input with one clear line and nothing written.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from repaint.cli import priors, schedules
from repaint.cli.audit import audit_app
from repaint.cli.common import err, say
from repaint.cli.doctor import doctor
from repaint.cli.exactness import exactness
from repaint.cli.fill import demo, mask
from repaint.cli.inpaint import inpaint
from repaint.cli.measure import bench_app
from repaint.cli.studio import studio
from repaint.cli.sweep import sweep
from repaint.errors import RepaintError
from repaint.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Fill holes in images with a pretrained diffusion model."
)
for command in (demo, inpaint, mask, exactness, sweep, doctor, studio):
    app.command()(command)
app.add_typer(audit_app, name="audit")
app.add_typer(bench_app, name="bench")
app.add_typer(schedules.app, name="schedule")
app.add_typer(priors.app, name="priors")


def _version(show: bool | None) -> None:
    if show:
        say(f"repaint {__version__}")
        raise typer.Exit


# What typer raises for a wrong command line: click's class, or that of typer's own copy of click, which has no name.
UsageError: Any = typer.BadParameter.__base__


@app.callback()
def version(
    _show: Annotated[
        bool | None, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = None,
) -> None:
    """Fill holes in images with a pretrained diffusion model."""


def main() -> None:
    """Entry point: errors of the command line and of the library become one line and exit status 2."""
    try:
        sys.exit(app(prog_name="repaint", standalone_mode=False))
    except RepaintError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder that vanished: nothing half-written stays (files.atomic_path)
        _fail(f"{error}. Check the disk and the path.")
    except UsageError as error:
        if text := error.format_message().strip():  # empty where the help was printed instead
            command = error.ctx.command_path if error.ctx else "repaint"
            _fail(f"{text.rstrip('.')}. See {command} --help.")
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)


def _fail(message: str) -> None:
    line = " ".join(message.split())
    err.print(f"[red]repaint:[/red] {escape(line)}", highlight=False, soft_wrap=True)
    sys.exit(2)
