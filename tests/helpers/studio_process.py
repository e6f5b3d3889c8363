"""`repaint studio` in a process of its own, as people start it: there annotations are not enforced, which gradio's
look for generators would not survive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["studio"]


@contextmanager
def studio(*options: object) -> Iterator[str]:
    """Start the command, yield the address that it prints, and end it."""
    words = [sys.executable, "-m", "repaint", "studio", "--no-browser", *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"repaint studio: (http://127\.0\.0\.1:\d+) \(Ctrl\+C ends it\)\n", line)
            assert found, line
            yield found[1]
        finally:
            process.terminate()
            process.wait(20)
