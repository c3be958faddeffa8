"""Several devices, and offload to CPU and disk, through accelerate."""

__version__ = "0.1.0"
