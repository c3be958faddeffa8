"""The Gemma 2 family for transept."""

__version__ = "0.1.0"
