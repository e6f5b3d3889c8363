"""Errors of the library as messages on the page, and of the endpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from repaint.errors import RepaintError

__all__ = ["errors_of_endpoint", "errors_on_page"]


def errors_on_page(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors of the library as one line on the page, which stays unchanged."""
    return _shown(handler, escape)


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
