"""The version of the library, recorded in results."""

__all__ = ["DISTRIBUTION", "__version__"]

__version__ = "0.1.0"
# The name for pip. On PyPI, "repaint" is another project, with the same import name and command.
DISTRIBUTION = "repaint-diffusers"
