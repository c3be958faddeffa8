"""Keys and values in 4 or 8 bits: the cache `quantized`."""

from .cache import QuantizedCache, make_quantized
from .layers import QuantizedLayer, QuantizedSlidingLayer

__all__ = ["QuantizedCache", "QuantizedLayer", "QuantizedSlidingLayer", "make_quantized"]
__version__ = "0.1.0"
