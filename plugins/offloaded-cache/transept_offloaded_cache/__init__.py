"""Keys and values that live on the CPU, or on another device, and come to the computing one a layer ahead: `offloaded`."""

from .cache import OffloadedCache, OffloadedLayer, make_offloaded

__all__ = ["OffloadedCache", "OffloadedLayer", "make_offloaded"]
__version__ = "0.1.0"
