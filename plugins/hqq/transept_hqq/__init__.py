"""Half-quadratic quantization in 1 to 8 bits without data, for transept."""

__version__ = "0.1.0"
