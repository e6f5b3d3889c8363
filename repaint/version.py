"""The version of the library, recorded in results."""

__all__ = ["__version__"]

__version__ = "0.1.0"
