"""The exactness bench gives the same numbers on every CPU and with any number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import repaint

CODE = """
import json
from repaint.lab.exactness.measurement import FLOOR, exact, measure, with_method
from repaint.lab.exactness.problems import field_problem, mixture_problem
from repaint.sampling.method import Method

problems = [
    mixture_problem("separated", 16, 0.5, 2),
    mixture_problem("overlapping", 8, 0.5, 1),
    field_problem("half", 8, 9),
    field_problem("sparse", 8, 10),
]
ways = {FLOOR: exact}
ways |= {name: with_method(Method.from_preset(name)) for name in ("quick", "fast", "balanced", "ding")}
rows = [vars(row) for row in measure(problems, ways, count=128)]
print(json.dumps([[row[name] for name in ("error", "sliced", "modes")] for row in rows]))
"""
FOUND = ["default", "avx2", *(["avx512"] if "AVX512" in torch.backends.cpu.get_cpu_capability() else [])]


def rows(capability: str, threads: int) -> list[list[float]]:
    variables = {
        "ATEN_CPU_CAPABILITY": capability,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # MKL chooses its kernels by itself; its portable ones stand for another CPU.
        **({"MKL_CBWR": "COMPATIBLE"} if capability == "default" else {}),
    }
    root = str(Path(repaint.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | variables | {"PYTHONPATH": root},
    )
    found: list[list[float]] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_errors_are_equal_on_every_cpu() -> None:
    """If this fails, a published error depends on the CPU or on the number of threads that measured it.

    Sums in another order differ by 1e-16 and a walk magnifies that: 5e-8 is the largest difference that was found.
    """
    expected = rows("default", 1)
    assert len(expected) == 20
    for capability in FOUND:
        for threads in (1, 2):
            for ours, theirs in zip(rows(capability, threads), expected, strict=True):
                assert ours == pytest.approx(theirs, rel=1e-6, abs=0), (capability, threads)
