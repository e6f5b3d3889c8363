"""Defaults of restoring and removing, shared by the functions, the commands and the studio. Imports nothing."""

from __future__ import annotations

from typing import Final

__all__ = ["CANDIDATES", "GROW", "MARGIN", "MAX_WIDTH", "SAMPLES", "SENSITIVITY", "TONE", "restore_schedule"]

# Restore: detection, then one result without noise; or the mean of several with noise, in antithetic pairs.
SENSITIVITY: Final = 0.5
MAX_WIDTH: Final = 8  # pixels
TONE: Final = "both"
GROW: Final = 2  # pixels
SAMPLES: Final = 1

# Remove: the mask grows, and several results are ranked. The schedule is the prior's own.
MARGIN: Final = 4  # pixels
CANDIDATES: Final = 4


def restore_schedule(samples: int) -> str:
    """Return the name of the preset for a restoration with this many samples."""
    return "mean" if samples == 1 else "thin"
