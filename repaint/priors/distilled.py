"""Models that were distilled to predict a sample instead of the mean of all samples, and the preset that they need."""

from __future__ import annotations

from repaint.sampling.prior import PriorDefaults

__all__ = ["DISTILLED", "usual_schedule"]

# The schedulers of latent, trajectory and other consistency models; other distilled models have ordinary schedulers.
DISTILLED = ("LCMScheduler", "FlowMatchLCMScheduler", "TCDScheduler", "CMStochasticIterativeScheduler")


def usual_schedule(scheduler: object) -> str:
    """Return the preset for models of a scheduler: "turbo" for those that predict samples, "fast" for others."""
    distilled = any(kind.__name__ in DISTILLED for kind in type(scheduler).__mro__)
    return "turbo" if distilled else PriorDefaults.default_schedule
