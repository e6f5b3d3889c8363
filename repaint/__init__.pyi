from .errors import RepaintError
from .pictures.crop import Crop
from .pictures.detection import detect_damage
from .pipeline import RePaintOutput, RePaintPipeline, inpaint
from .priors.gaussian import GaussianMixturePrior
from .removal import remove
from .restoring import restore
from .sampling.method import Method
from .sampling.noise import NoiseSchedule
from .sampling.prior import Prior
from .sampling.schedule import JumpSchedule

__version__: str

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
