"""The number of CPU threads: the choice of "auto", and the values that are accepted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from repaint import threads
from repaint.errors import InputError


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    threads._measured.cache_clear()
    yield
    threads._measured.cache_clear()
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("default", "seconds", "expected"),
    [
        (4, {1: 0.1, 4: 3.0}, 1),  # another program uses the cores
        (4, {1: 0.1, 4: 0.03}, 4),
        (4, {1: 0.095, 4: 0.1}, 4),  # within the noise of a timing
        (1, {}, 1),  # nothing is timed
    ],
)
def test_the_faster_is_chosen(default: int, seconds: dict[int, float], expected: int) -> None:
    """If this fails, auto picks the slower number of threads, or flips between equal ones."""
    assert threads.choose_threads(default, seconds.__getitem__) == expected


def test_auto_times_once_and_sets_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, auto ignores its own timing, or repeats it at each call."""
    timed: list[int] = []

    def seconds(count: int) -> float:
        timed.append(count)
        return float(count)

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "trial_seconds", seconds)
    for _ in range(2):
        torch.set_num_threads(2)
        assert threads.set_threads("auto") == torch.get_num_threads() == 1
    assert sorted(timed) == [1, 2]


def test_the_environment_overrides_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, a user's OMP_NUM_THREADS is replaced by a measurement."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(threads, "trial_seconds", lambda count: float(count))
    torch.set_num_threads(3)
    assert threads.set_threads("auto") == 3
    assert threads.set_threads("2") == 2


def test_a_trial_restores_the_threads() -> None:
    """If this fails, measuring a number of threads changes how everything after it computes."""
    torch.set_num_threads(2)
    assert threads.trial_seconds(1) > 0
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_wrong_values(text: str) -> None:
    """If this fails, a wrong number of threads reaches PyTorch, which aborts or ignores it."""
    with pytest.raises(InputError, match="must be a whole number of at least 1, or auto"):
        threads.set_threads(text)
