"""Serves the app: address, password, and no connections to other hosts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from repaint.errors import InputError
from repaint.pipeline import RePaintPipeline
from repaint.priors.load import bundled
from repaint.studio.inputs import MAX_BYTES
from repaint.studio.run import Runner

__all__ = ["FIRST_PORT", "free_port", "serve"]

FIRST_PORT = 7860
MOST_QUEUED = 256  # requests; more get an error
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def free_port(host: str, port: int | None) -> int:
    """Return the port to listen on: the given one, or the first free one from 7860.

    Raises:
        InputError: the port is in use or invalid, or the host is not an address of this machine.
    """
    for candidate in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + 100):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, candidate))
                return candidate
        except (OSError, OverflowError) as error:
            if port is not None:
                raise InputError(
                    f"Cannot listen on {host}, port {port}: {str(error).rstrip('.')}. Pass another --port, or omit it."
                ) from error
    raise InputError(f"No port from {FIRST_PORT} to {FIRST_PORT + 99} is free on {host}. Pass another --port.")


def _on_free_port(launch: Callable[..., object], host: str, port: int | None) -> int:
    """Launch on the given port, or on the first free one: the next if another program takes it meanwhile."""
    while True:
        chosen = free_port(host, port)
        try:
            launch(server_port=chosen)
        except OSError:
            if free_port(host, port) == chosen:  # not the port's fault
                raise
        else:
            return chosen


def serve(
    load: Callable[[str], RePaintPipeline],
    names: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    browser: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[Any, Any, str]:
    """Start the app and return at once.

    Args:
        load: returns the pipeline of a prior by name.
        names: priors on offer besides the bundled ones; the first is selected when the page opens.
        host, port: address to listen on; port None: the first free one from 7860.
        password: of the user "repaint"; required unless the host is loopback.
        browser: open a browser.
        device, dtype: of the pipelines that `load` returns, for recipes.
    Returns:
        (the gradio app, its handlers, its URL).
    Raises:
        InputError: a port in use, or a host other than loopback without a password.
    """
    if host not in LOOPBACK and not password:
        raise InputError(
            f"--host {host} needs --password: otherwise anyone who reaches this address could run the studio."
        )
    free_port(host, port)  # fail before the imports
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from starlette.middleware import Middleware

    from repaint.studio.app import CSS, build, theme
    from repaint.studio.guard import Guard
    from repaint.studio.handlers import Handlers

    runner = Runner(load, list(dict.fromkeys([*names, "photos", *bundled()])), device, dtype)
    does = Handlers(runner)
    os.environ["GRADIO_TEMP_DIR"] = str(does.cache)
    app = build(does)
    app.queue(max_size=MOST_QUEUED, api_open=False, default_concurrency_limit=8)
    launch = partial(
        app.launch,
        server_name=host,
        inbrowser=browser,
        quiet=True,
        share=False,
        prevent_thread_lock=True,
        show_error=True,
        max_file_size=MAX_BYTES,
        allowed_paths=[],
        auth=None if password is None else ("repaint", password),
        footer_links=[],
        ssr_mode=False,
        theme=theme(),
        css=CSS,
        app_kwargs={"middleware": [Middleware(Guard, hosts=LOOPBACK if host in LOOPBACK else None)]},
    )
    port = _on_free_port(launch, host, port)
    shown = f"[{host}]" if ":" in host else host
    return app, does, f"http://{shown}:{port}"
