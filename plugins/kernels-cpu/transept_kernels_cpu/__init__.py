"""Native products of packed weights on a CPU for transept."""

__version__ = "0.1.0"
