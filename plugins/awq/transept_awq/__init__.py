"""Weights that AWQ packed in 4 bits, for transept: reads, runs and writes them."""

__version__ = "0.1.0"
