"""Helpers of the fault tests: processes started with everything imported, and killed at moments drawn from a seed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

import psutil

__all__ = [
    "KILLS",
    "SEED",
    "Target",
    "Work",
    "command",
    "ended",
    "forks",
    "killed_until_done",
    "launched",
    "ranks",
    "strike",
    "workers",
]

ROOT = Path(__file__).resolve().parents[2]
SEED = os.environ.get("PYTEST_SEED", "0")  # determines all moments of kills
KILLS: Counter[str] = Counter()  # kills of running processes so far, by kind of work
PATIENCE = 300  # seconds without progress until a process counts as stuck

Target = tuple[Callable[..., None], tuple[Any, ...]]  # a process's function and arguments


@cache
def forks() -> ForkServerContext:
    """Return a context whose processes start with everything imported (importing torch takes seconds)."""
    context = multiprocessing.get_context("forkserver")
    slow = ["diffusers.pipelines.ddpm", "diffusers.models.unets.unet_2d", "lpips", "torchvision", "skimage.metrics"]
    ours = ["repaint.cli", "repaint.lab.sweep.runner", "repaint.folders.filling", "helpers.tiny_priors"]
    context.set_forkserver_preload(["pytest", "accelerate", "torch.distributed", "scipy.ndimage", *slow, *ours])
    ensure_running()  # imports in the background
    return context


def command(environment: Mapping[str, str], log: Path, arguments: Sequence[str]) -> None:
    """Run a `repaint` command in this process, with its output appended to a file."""
    import torch

    from repaint import cli

    torch.set_num_threads(1)
    os.environ.update(environment, OMP_NUM_THREADS="1")
    sys.argv = ["repaint", *arguments]
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    cli.main()


def ranks(count: int) -> list[dict[str, str]]:
    """Return the environment variables that `accelerate launch` sets in each process; none for one process."""
    if count == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{name: str(value) for name, value in (job | {"RANK": i, "LOCAL_RANK": i}).items()} for i in range(count)]


def launched(*arguments: object, processes: int | None = None) -> subprocess.Popen[str]:
    """Start a `repaint` command in its own process, or in several under `accelerate launch`."""
    # With --cpu accelerate always starts one process; with --multi_gpu it starts them all, even without a GPU.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    line = [sys.executable, *(launch if processes else []), "-m", "repaint", *map(str, arguments), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(launcher: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Wait until the launcher has `count` worker processes, and return them."""
    found: list[psutil.Process] = []
    until = time.monotonic() + PATIENCE
    while len(found) < count:
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < until, f"{len(found)} processes instead of {count}"
        time.sleep(0.01)
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(launcher.pid).children(recursive=True)
            found = [one for one in children if "repaint" in one.cmdline()]
    return found


@dataclass
class Work:
    """Work of one or more processes that resumes from its files when it is started again.

    Attributes:
        name: its key in KILLS.
        targets: returns the targets of a new set of processes.
        done: returns the progress read from the disk; called often, so it must be fast.
        total: the value of `done` at the end.
        kept: returns the final files so far by name, after checking that none is broken.
    """

    name: str
    targets: Callable[[], Sequence[Target]]
    done: Callable[[], int]
    total: int
    kept: Callable[[], dict[str, Any]]

    def start(self) -> list[ForkServerProcess]:
        """Start all processes."""
        processes = [forks().Process(target=target, args=arguments) for target, arguments in self.targets()]
        for process in processes:
            process.start()
        return processes

    def reach(self, processes: Sequence[ForkServerProcess], goal: float) -> None:
        """Wait until `done` exceeds the goal, or a process has ended."""
        until = time.monotonic() + PATIENCE
        while self.done() <= goal and all(process.is_alive() for process in processes):
            assert time.monotonic() < until, f"{self.name}: {self.done()} of {self.total} done, no progress"
            time.sleep(0.002)

    def finish(self) -> dict[str, Any]:
        """Run to the end without a kill, and return `kept`."""
        processes = self.start()
        assert ended(processes) == [0] * len(processes)
        assert self.done() == self.total
        return self.kept()


def dying(step: str, number: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """Run a target that kills itself with SIGKILL while it writes a file atomically.

    Args:
        step: "half written", "written" or "renamed".
        number: which file, from 1.
        target, arguments: the function to run.
    """
    rename, count = Path.replace, 0

    def die(draft: Path, path: Path) -> Path:
        nonlocal count
        count += 1
        if count == number:
            if step == "half written":
                os.truncate(draft, draft.stat().st_size // 2)
            if step == "renamed":
                rename(draft, path)
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(draft, path)

    Path.replace = die  # type: ignore[method-assign, assignment]
    target(*arguments)


def strike(process: ForkServerProcess) -> None:
    """Kill a process with SIGKILL if it is still running."""
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)


def ended(processes: Sequence[ForkServerProcess]) -> list[int | None]:
    """Wait for all processes to end, and return their exit codes."""
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def killed_until_done(work: Work, whole: Mapping[str, Any], kills: int, seed: object) -> None:
    """Start a work and kill all its processes, `kills` times; then run it to the end.

    Each kill must hit running processes, and the files kept after it must be a subset of `whole`.

    Args:
        whole: what the work keeps without kills.
        seed: determines the moments of the kills, spread over the work.
    """
    chance = random.Random(f"{SEED} {work.name} {seed}")
    for i in range(kills):
        processes = work.start()
        work.reach(processes, 0.8 * work.total * (i + chance.random()) / kills)
        time.sleep(chance.random() * 0.02)
        for process in processes:
            strike(process)
        assert ended(processes) == [-signal.SIGKILL] * len(processes), "it ended before the kill: the work is too short"
        assert work.done() < work.total, "it was done before the kill: the work is too short"
        KILLS[work.name] += 1
        assert work.kept().items() <= whole.items()
    assert work.finish() == whole
