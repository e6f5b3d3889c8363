"""Helpers of the fuzz tests: a short and a long form of each test, a deadline per case, and checks of errors."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from repaint.errors import RepaintError

__all__ = ["CASES", "DEADLINE", "LONGEST", "Check", "answered", "fuzzed"]

Check = Callable[[st.DataObject], None]
CASES: Counter[str] = Counter()  # cases run so far, by test
DEADLINE = 30  # seconds per case, a thousand times the usual, for busy machines
LONGEST = 3000  # characters of an error message


def fuzzed(short: int, long: int) -> Callable[[Check], Any]:
    """Make a test of `short` fixed cases, and a slow test of `long` random cases."""

    def wrap(check: Check) -> Any:
        @pytest.mark.parametrize(
            "cases", [pytest.param(short, id="short"), pytest.param(long, id="long", marks=pytest.mark.slow)]
        )
        def test(cases: int) -> None:
            @settings(
                max_examples=cases,
                derandomize=cases == short,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            )
            @given(st.data())
            def run(data: st.DataObject) -> None:
                CASES[check.__name__] += 1
                with _deadline():
                    check(data)

            run()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return wrap


@contextmanager
def answered() -> Iterator[list[RepaintError]]:
    """Run a block that may raise a RepaintError with a short one-line message; the yielded list then holds it."""
    refusals: list[RepaintError] = []
    try:
        yield refusals
    except RepaintError as error:
        message = str(error)
        assert message, "an error without a message"
        assert "\n" not in message, f"an error of several lines: {message!r}"
        assert len(message) < LONGEST, f"an error of {len(message)} characters: {message[:200]!r}"
        refusals.append(error)


@contextmanager
def _deadline() -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"a case took longer than {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(DEADLINE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
