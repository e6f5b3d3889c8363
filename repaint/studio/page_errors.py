"""Errors and warnings of the library as messages on the page, and errors of the endpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from repaint.errors import RepaintError, collected_warnings

__all__ = ["errors_of_endpoint", "errors_on_page"]


def errors_on_page(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors of the library as one line on the page, which stays unchanged, and its warnings beside the result."""

    @functools.wraps(handler)
    def warned(*args: Any) -> Any:
        with collected_warnings() as found:
            result = handler(*args)
        for message in dict.fromkeys(found):
            gr.Warning(escape(message), duration=15)
        return result

    return _shown(warned, escape)


def errors_of_endpoint(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Send errors of the library to other programs as one line of plain text."""
    return _shown(handler, str)


def _shown(handler: Callable[..., Any], form: Callable[[str], str]) -> Callable[..., Any]:

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        try:
            return handler(*args)
        except RepaintError as error:
            raise gr.Error(form(str(error)), duration=15, print_exception=False) from error

    return wrapped
