"""A function that is suspended wherever it hands a value over, and continues with the value that it gets back.

It runs in a greenlet: a second call stack of the same thread. There is no other thread to wait for, so nothing can
hang; fake tensors, FLOP counters and the current CUDA stream stay in force; and an exception on either side is raised
at once where it belongs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

__all__ = ["Finished", "Handover", "hand_over"]


# PyTorch takes a backtrace of 65 frames in C for each error. One that went beyond the first frame of a suspended
# function would read memory that holds something else by now, and crash. A level of `_nested` is at least 4 frames.
NESTING = 25


class Finished(Exception):
    """The function returned."""


class Handover:
    """A suspended function. It ends at the latest when this object is no longer referenced.

    The function must not refer to this object: the reference on its stack would keep it alive forever.

    Args:
        function: called without arguments at the first `resume`.

    >>> def double() -> None:
    ...     given = hand_over("ready")
    ...     while True:
    ...         given = hand_over(2 * given)
    >>> handover = Handover(double)
    >>> handover.resume(), handover.resume(3), handover.resume(4)
    ('ready', 6, 8)
    >>> handover.close()
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        from greenlet import greenlet

        self._greenlet = greenlet(partial(_nested, NESTING, function))
        self._thread = threading.get_ident()
        self._grad = torch.is_grad_enabled()

    @property
    def usable(self) -> bool:
        """Whether it can be resumed: it has not ended, and belongs to this thread."""
        return not self._greenlet.dead and self._thread == threading.get_ident()

    def resume(self, value: Any = None) -> Any:
        """Run the function up to where it hands a value over, and return that value.

        Gradient mode is a state of the thread, which a suspended `with torch.no_grad()` would leave switched off. Each
        side gets its own back.

        Args:
            value: what `hand_over` returns inside the function; ignored at the first call.
        Raises:
            Finished: the function returned.
            Exception: whatever the function raised.
        """
        from greenlet import getcurrent

        outside = torch.is_grad_enabled()
        self._greenlet.parent = getcurrent()
        torch.set_grad_enabled(self._grad)
        try:
            given = self._greenlet.switch(value) if self._greenlet else self._greenlet.switch()  # True once it runs
        finally:
            self._grad = torch.is_grad_enabled()
            torch.set_grad_enabled(outside)
        if self._greenlet.dead:
            raise Finished
        return given

    def close(self) -> None:
        """End the function: `hand_over` raises GreenletExit inside it, so that its `finally` blocks run.

        Called from another thread, it ends the function as soon as the function's own thread runs again.
        """
        if not self._greenlet or not self.usable:
            return
        outside = torch.is_grad_enabled()
        torch.set_grad_enabled(self._grad)
        try:
            self._greenlet.throw()
        finally:
            torch.set_grad_enabled(outside)


def _nested(levels: int, function: Callable[[], Any]) -> Any:
    """Call a function below many frames of C: `next` calls `map`, which calls this function again."""
    return next(map(partial(_nested, levels - 1), [function])) if levels else function()


def hand_over(value: Any) -> Any:
    """Suspend the function that calls this, inside a `Handover`, and return what its next `resume` gets.

    Args:
        value: what that `Handover.resume` returns.
    """
    from greenlet import getcurrent

    return getcurrent().parent.switch(value)
