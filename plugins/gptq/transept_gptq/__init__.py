"""Weights that GPTQ packed in 2, 3, 4 or 8 bits, for transept: reads, runs and writes them, and quantizes with data."""

__version__ = "0.1.0"
