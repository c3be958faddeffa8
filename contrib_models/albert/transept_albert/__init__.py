"""The ALBERT family for transept."""

__version__ = "0.1.0"
