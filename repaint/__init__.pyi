from .errors import RepaintError as RepaintError
from .pictures.crop import Crop as Crop
from .pictures.detection import detect_damage as detect_damage
from .pipeline import RePaintOutput as RePaintOutput
from .pipeline import RePaintPipeline as RePaintPipeline
from .pipeline import inpaint as inpaint
from .priors.gaussian import GaussianMixturePrior as GaussianMixturePrior
from .removal import remove as remove
from .restoring import restore as restore
from .sampling.method import Method as Method
from .sampling.noise import NoiseSchedule as NoiseSchedule
from .sampling.prior import Prior as Prior
from .sampling.schedule import JumpSchedule as JumpSchedule

__version__: str
