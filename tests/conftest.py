"""Shared setup: type annotations enforced at run time, one thread, and fixtures of several files."""

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
    """Check a function's annotations at run time. An int is accepted for a float, as in PEP 484.

    In Python 3.10 the default None turns `X | None` into Optional[X], which beartype treats as another type and then
    rejects. So all unions are rewritten with `|`.
    """
    hints = function.__annotations__
    hints.update({name: reduce(or_, get_args(hint)) for name, hint in hints.items() if get_origin(hint) is Union})
    return beartype(conf=BeartypeConf(is_pep484_tower=True))(function)


# Checks the annotated shapes and types of every `repaint` function. This must precede the first import of repaint.
install_import_hook("repaint", "conftest.checked")

torch.set_num_threads(1)  # the tensors are small, so more threads would be slower


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a GPU where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="module")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that prints a line past pytest's capture, for figures measured by long tests."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def write(text: str) -> None:
        if reporter is not None and capture is not None:  # None in xdist workers
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"\n{text}")

    return write


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which diffusers computes in float64.

    Its schedulers use float32 by name. Inside the context that name means float64, so that agreement with diffusers'
    formulas is limited by double rounding.
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
    """Disable the type checks, as for users, to test the errors for values of a wrong type."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def pickles() -> None:
    """Skip a test that reads pickled weights if this torch is too old to read them safely."""
    from repaint.priors.safe_folder import PICKLES, pickles_are_safe

    if not pickles_are_safe():
        pytest.skip(f"pickled weights need torch {PICKLES}")


@pytest.fixture
def two_pixels() -> GaussianMixturePrior:
    """Return a prior of two pixels: variance 1, correlation 0.9. Given one is 1.5, the other is N(1.350, 0.436^2)."""
    from repaint.priors.gaussian import GaussianMixturePrior

    return GaussianMixturePrior([1.0], [[0.0, 0.0]], [[[1.0, 0.9], [0.9, 1.0]]])
