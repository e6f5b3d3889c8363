"""What tests of kills share: processes that begin with everything imported, killed at moments that a seed names."""

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
SEED = os.environ.get("PYTEST_SEED", "0")  # names all the moments
KILLS: Counter[str] = Counter()  # that struck a process at work in this session, by the kind of work
PATIENCE = 300  # seconds until work in which nothing moves counts as stuck

Target = tuple[Callable[..., None], tuple[Any, ...]]  # of a process: a function and its arguments


@cache
def forks() -> ForkServerContext:
    """Processes that begin with everything imported: torch alone takes seconds."""
    context = multiprocessing.get_context("forkserver")
    slow = ["diffusers.pipelines.ddpm", "diffusers.models.unets.unet_2d", "lpips", "torchvision", "skimage.metrics"]
    ours = ["repaint.cli", "repaint.lab.sweep.runner", "repaint.folders", "tiny_priors"]
    context.set_forkserver_preload(["pytest", "accelerate", "torch.distributed", "scipy.ndimage", *slow, *ours])
    ensure_running()  # it imports while the caller goes on
    return context


def command(environment: Mapping[str, str], told: Path, arguments: Sequence[str]) -> None:
    """What such a process runs to be one `repaint` command; what it prints goes to a file."""
    import torch

    from repaint import cli

    torch.set_num_threads(1)
    os.environ.update(environment, OMP_NUM_THREADS="1")
    sys.argv = ["repaint", *arguments]
    with told.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    cli.main()


def ranks(count: int) -> list[dict[str, str]]:
    """What `accelerate launch` tells each of its processes; nothing where there is one."""
    if count == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{name: str(value) for name, value in (job | {"RANK": i, "LOCAL_RANK": i}).items()} for i in range(count)]


def launched(*arguments: object, processes: int | None = None) -> subprocess.Popen[str]:
    """A `repaint` command in a process of its own; with a number, in so many under `accelerate launch`."""
    # With --cpu accelerate starts one process, however many are asked for; with --multi_gpu that many, without any GPU.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    line = [sys.executable, *(launch if processes else []), "-m", "repaint", *map(str, arguments), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(launcher: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """The processes that `launched` asked accelerate for, once there are as many."""
    found: list[psutil.Process] = []
    until = time.monotonic() + PATIENCE
    while len(found) < count:
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < until, f"{len(found)} processes in place of {count}"
        time.sleep(0.01)
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(launcher.pid).children(recursive=True)
            found = [one for one in children if "repaint" in one.cmdline()]
    return found


@dataclass
class Work:
    """Something that processes do on a disk, and that goes on where it was when they are started again.

    Attributes:
        name: what the count of kills calls it.
        targets: of a new set of processes, which all must run.
        done: how much is on the disk; quick, for it is asked all the time.
        total: `done` at the end.
        kept: name and content of all that is on the disk for good. It asserts that nothing there is broken.
    """

    name: str
    targets: Callable[[], Sequence[Target]]
    done: Callable[[], int]
    total: int
    kept: Callable[[], dict[str, Any]]

    def start(self) -> list[ForkServerProcess]:
        """All its processes."""
        processes = [forks().Process(target=target, args=arguments) for target, arguments in self.targets()]
        for process in processes:
            process.start()
        return processes

    def reach(self, processes: Sequence[ForkServerProcess], goal: float) -> None:
        """Wait until more than that is done, or a process has ended."""
        until = time.monotonic() + PATIENCE
        while self.done() <= goal and all(process.is_alive() for process in processes):
            assert time.monotonic() < until, f"{self.name}: {self.done()} of {self.total} done, and nothing moves"
            time.sleep(0.002)

    def finish(self) -> dict[str, Any]:
        """What it keeps, once it was let alone."""
        processes = self.start()
        assert ended(processes) == [0] * len(processes)
        assert self.done() == self.total
        return self.kept()


def dying(step: str, number: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """What a process runs to die by itself, of SIGKILL, within the writing of a file that is whole or not there.

    Args:
        step: "half written", "written" or "renamed".
        number: of the file, from 1.
        target, arguments: what it runs otherwise.
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
    """SIGKILL, if there is still something to kill."""
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)


def ended(processes: Sequence[ForkServerProcess]) -> list[int | None]:
    """The exit codes, once all have ended."""
    for process in processes:
        process.join(PATIENCE)
    return [process.exitcode for process in processes]


def killed_until_done(work: Work, whole: Mapping[str, Any], kills: int, seed: object) -> None:
    """Start a work and kill all of it, `kills` times over; then let it end.

    Each kill must strike processes at work, and what is kept after it must be part of `whole`.

    Args:
        whole: what the work keeps where nobody kills it.
        seed: names the moments, spread over the work; each some milliseconds after so much was done.
    """
    chance = random.Random(f"{SEED} {work.name} {seed}")
    for i in range(kills):
        processes = work.start()
        work.reach(processes, 0.8 * work.total * (i + chance.random()) / kills)
        time.sleep(chance.random() * 0.02)
        for process in processes:
            strike(process)
        assert ended(processes) == [-signal.SIGKILL] * len(processes), "it had ended before: give it more to do"
        assert work.done() < work.total, "it was done before the kill: give it more to do"
        KILLS[work.name] += 1
        assert work.kept().items() <= whole.items()
    assert work.finish() == whole
