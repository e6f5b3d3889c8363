"""What fuzz tests share: two lengths of every test, a deadline for each case, and the one error that may come out."""

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
CASES: Counter[str] = Counter()  # cases run in this session, by test
DEADLINE = 30  # seconds a case: a thousand times what one takes, for machines that do other things too
LONGEST = 3000  # characters of an error: what is wrong is shown, not poured out


def fuzzed(short: int, long: int) -> Callable[[Check], Any]:
    """A test of `short` cases, the same each time, and a slow one of `long` cases, others each time."""

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
    """A block that ends well or in one RepaintError, told in a line; the list then holds it."""
    refusals: list[RepaintError] = []
    try:
        yield refusals
    except RepaintError as error:
        said = str(error)
        assert said, "an error without a word"
        assert "\n" not in said, f"an error of several lines: {said!r}"
        assert len(said) < LONGEST, f"an error of {len(said)} characters: {said[:200]!r}"
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
