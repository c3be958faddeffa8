"""Checkpoints of compressed-tensors, integers and 8-bit floats, for transept."""

__version__ = "0.1.0"
