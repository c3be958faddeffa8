"""Keys and values of the first tokens and of a window of the last: the cache `sink`, for text without end."""

from .cache import SinkCache, SinkLayer, make_sink

__all__ = ["SinkCache", "SinkLayer", "make_sink"]
__version__ = "0.1.0"
