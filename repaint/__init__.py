"""Fill a hole in an image with a pretrained diffusion model, and train nothing."""

from repaint.errors import RepaintError
from repaint.method import Method
from repaint.noise import NoiseSchedule
from repaint.pipeline import RePaintOutput, RePaintPipeline, inpaint
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.schedule import JumpSchedule
from repaint.version import __version__ as __version__

__all__ = [
    "GaussianMixturePrior",
    "JumpSchedule",
    "Method",
    "NoiseSchedule",
    "RePaintOutput",
    "RePaintPipeline",
    "RepaintError",
    "inpaint",
]
