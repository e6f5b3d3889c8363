"""repaint studio: the browser app."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer

from repaint.cli.console import say
from repaint.cli.loading import Device, load_pipe, place_of
from repaint.cli.options import DType, Threads, torch_dtype
from repaint.errors import InputError

__all__ = ["studio"]


def studio(
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines reach needs --password.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Port. Default: the first free one from 7860.")] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id to offer besides the bundled priors."),
    ] = None,
    password: Annotated[
        str | None, typer.Option(help="Password of the user 'repaint'.", envvar="REPAINT_PASSWORD")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
    device: Device = "auto",
    dtype: DType = "auto",
    threads: Threads = "auto",
) -> None:
    """Serve a browser app to paint masks, and to watch, branch and audit runs.

    Example: repaint studio --prior FOLDER
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise InputError(
            "The studio needs gradio, which is not installed: pip install gradio or, in a clone of the repository, "
            "pip install -e '.[app]'."
        )
    from repaint.placement import check_device
    from repaint.studio.server import serve

    place = place_of(device)
    check_device(place)
    kind = torch_dtype(dtype, place)
    load = partial(load_pipe, device=place, dtype=dtype, threads=threads)
    if prior is not None:
        load(prior)  # report a wrong name before a page opens
    app, does, address = serve(
        load,
        [prior] if prior else [],
        host=host,
        port=port,
        password=password,
        browser=browser,
        device=place,
        dtype=str(kind)[6:],
    )
    try:
        with _ended_by_signals():
            say(f"repaint studio: {address} (Ctrl+C ends it)")
            app.block_thread()
    finally:
        does.close()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End as Ctrl+C does when a service manager or a closed terminal ends the process, so that uploads are removed."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    signals = [
        getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]  # Windows has no SIGHUP
    before = [(each, signal.getsignal(each)) for each in signals]
    for each, handler in before:
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(each, leave)
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)
