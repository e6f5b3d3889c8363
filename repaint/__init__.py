"""Fill a hole in an image with a pretrained diffusion model, and train nothing."""

from repaint.errors import RepaintError
from repaint.pictures.crop import Crop
from repaint.pictures.detection import detect_damage
from repaint.pipeline import RePaintOutput, RePaintPipeline, inpaint
from repaint.priors.gaussian import GaussianMixturePrior
from repaint.removal import remove
from repaint.restoring import restore
from repaint.sampling.method import Method
from repaint.sampling.noise import NoiseSchedule
from repaint.sampling.prior import Prior
from repaint.sampling.schedule import JumpSchedule
from repaint.version import __version__ as __version__

__all__ = [
    "Crop",
    "GaussianMixturePrior",
    "JumpSchedule",
    "Method",
    "NoiseSchedule",
    "Prior",
    "RePaintOutput",
    "RePaintPipeline",
    "RepaintError",
    "detect_damage",
    "inpaint",
    "remove",
    "restore",
]
