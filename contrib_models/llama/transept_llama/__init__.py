"""The Llama family."""

__version__ = "0.1.0"
