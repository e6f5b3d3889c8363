"""Defaults of restoring and removing, shared by the functions, the commands and the studio. Imports nothing."""

from __future__ import annotations

from typing import Final

__all__ = ["CANDIDATES", "GROW", "MARGIN", "MAX_WIDTH", "RESTORE_SCHEDULE", "SAMPLES", "SENSITIVITY", "TONE"]

# Restore: detection, then the mean of an antithetic pair.
SENSITIVITY: Final = 0.5
MAX_WIDTH: Final = 8  # pixels
TONE: Final = "both"
GROW: Final = 2  # pixels
RESTORE_SCHEDULE: Final = "thin"
SAMPLES: Final = 2

# Remove: the mask grows, and several results are ranked. The schedule is the prior's own.
MARGIN: Final = 4  # pixels
CANDIDATES: Final = 4
