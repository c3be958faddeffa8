"""Quantized weights of the torchao library for transept."""

__version__ = "0.1.0"
