"""What all tests share: annotations enforced, one thread, diffusers in float64, and the two-pixel problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import config, install_import_hook

if TYPE_CHECKING:
    from repaint.priors.gaussian import GaussianMixturePrior


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that refuses what its annotations forbid. By the numeric tower of PEP 484 an int stands for a float.

    In Python 3.10 a default of None makes of `X | None` an Optional[X], which beartype confuses with the former: it
    refuses whichever comes second. So all are written with a bar.
    """
    hints = function.__annotations__
    hints.update({name: reduce(or_, get_args(hint)) for name, hint in hints.items() if get_origin(hint) is Union})
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)


# Shapes and types that `repaint` declares are checked whenever a test calls it. This must precede its first import.
install_import_hook("repaint", "conftest.checked")

torch.set_num_threads(1)  # the tensors here are small: threads would only wait for one another


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line, whatever is captured: figures that a long test has found."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def write(text: str) -> None:
        if reporter is not None and capture is not None:  # a worker of xdist has none
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"\n{text}")

    return write


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """A block in which diffusers computes in float64.

    Its schedulers name float32 throughout; there the name means float64, so that its own formulas run unchanged and
    agreement is limited by double rounding, not by single.
    """

    @contextmanager
    def block() -> Iterator[None]:
        single = torch.get_default_dtype()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "float32", torch.float64)
            patch.setattr(np, "float32", np.float64)
            torch.set_default_dtype(torch.float64)
            try:
                yield
            finally:
                torch.set_default_dtype(single)

    return block


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations are not enforced, as for users: for tests of the errors that values of a wrong type give."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def pickles() -> None:
    """For tests that read pickled weights: skipped where none is read, as this torch can be made to run code by one."""
    from repaint.priors.safe_folder import PICKLES, pickles_are_safe

    if not pickles_are_safe():
        pytest.skip(f"pickled weights need torch {PICKLES}")


@pytest.fixture
def two_pixels() -> GaussianMixturePrior:
    """Two pixels of unit variance and correlation 0.9. If one is 1.5, the other is N(1.350, 0.436^2), exactly."""
    from repaint.priors.gaussian import GaussianMixturePrior

    return GaussianMixturePrior([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]])
