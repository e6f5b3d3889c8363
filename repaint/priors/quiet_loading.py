"""Load with diffusers and transformers without their logs, from several threads, and without global random numbers."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["LOADING", "SILENCES", "PrivateRandomness", "Silence", "quiet"]

# diffusers and transformers patch torch's modules while they load, for all threads.
LOADING = threading.Lock()


class PrivateRandomness(TorchFunctionMode):
    """Let this thread draw random numbers, such as initial weights, without torch's global generator.

    They come from a generator of its own with a fixed seed. `torch.random.fork_rng` would also restore the global
    generator, but other threads could draw from it in the meantime.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generator = torch.Generator()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM and kwargs.get("generator") is None:
            device = args[0].device if args and isinstance(args[0], torch.Tensor) else torch.empty(0).device
            device = torch.device(kwargs.get("device") or device)
            if device.type == "cpu":
                kwargs = {**kwargs, "generator": self._generator}
            elif "device" in kwargs:
                return func(*args, **{**kwargs, "generator": self._generator, "device": "cpu"}).to(device)
        return func(*args, **kwargs)


RANDOM = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "normal", "rand", "randn", "randint"}


class Silence:
    """Silence the log and progress bars of a library while any thread loads with it.

    The libraries log the same errors that they raise.
    """

    def __init__(self, library: str) -> None:
        self._library, self._lock, self._threads = library, threading.Lock(), 0
        self._verbosity, self._bars = 0, True

    def __enter__(self) -> None:
        logging: Any = import_module(f"{self._library}.utils.logging")
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._verbosity, self._bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
                logging.set_verbosity(logging.CRITICAL)
                logging.disable_progress_bar()

    def __exit__(self, *_error: object) -> None:
        logging: Any = import_module(f"{self._library}.utils.logging")
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                logging.set_verbosity(self._verbosity)
                if self._bars:
                    logging.enable_progress_bar()


SILENCES = {library: Silence(library) for library in ("diffusers", "transformers")}


@contextmanager
def quiet(library: str) -> Iterator[None]:
    """Silence a library's log, its progress bars, and its warnings of renamed arguments."""
    with SILENCES[library], warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch_dtype, which newer releases call dtype
        yield
