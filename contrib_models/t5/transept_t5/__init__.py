"""The T5 family for transept."""

__version__ = "0.1.0"
