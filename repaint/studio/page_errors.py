"""Errors of the library as messages on the page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from repaint.errors import RepaintError

__all__ = ["errors_on_page"]


def errors_on_page(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors of the library as one line on the page, which stays unchanged."""

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except RepaintError as error:
            raise gr.Error(escape(str(error)), duration=15, print_exception=False) from error

    return wrapped
