"""Fill a hole in an image with a pretrained diffusion model, without training.

`__init__.pyi` lists the public names. Each is imported at its first use, so that `repaint --help` does not wait for
PyTorch.
"""

import lazy_loader

from repaint.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
