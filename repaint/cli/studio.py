"""repaint studio: the browser app."""

from __future__ import annotations

from typing import Annotated

import typer

from repaint.cli.common import DType, say, torch_dtype
from repaint.errors import InputError

__all__ = ["studio"]


def studio(
    host: Annotated[str, typer.Option(help="Where to listen; elsewhere than here it needs --password.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="The first free one from 7860 without it.")] = None,
    prior: Annotated[
        str | None, typer.Option(help="Folder or Hub id beside the bundled ones, or one of these.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(help="Asked of the user 'repaint'.", envvar="REPAINT_PASSWORD")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser, too.")] = True,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: DType = "float32",
) -> None:
    """Paint masks, watch runs, branch them and audit them in a browser, on this machine.

    Example: repaint studio --prior textures
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise InputError("The studio needs gradio, which is not installed: pip install 'repaint[app]'.")
    from repaint.pipeline import RePaintPipeline
    from repaint.studio.server import serve

    kind = torch_dtype(dtype)

    def load(name: str) -> RePaintPipeline:
        return RePaintPipeline.from_pretrained(name, torch_dtype=kind).to(device)

    if prior is not None:
        load(prior)  # a wrong name is told before a page opens
    app, does, address = serve(
        load,
        [prior] if prior else [],
        host=host,
        port=port,
        password=password,
        browser=browser,
        device=device,
        dtype=dtype,
    )
    say(f"repaint studio: {address} (Ctrl+C ends it)")
    try:
        app.block_thread()
    finally:
        does.close()
