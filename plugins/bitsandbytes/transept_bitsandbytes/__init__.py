"""Linear layers in 4 and 8 bits for transept, on the modules of the bitsandbytes library."""

__version__ = "0.1.0"
