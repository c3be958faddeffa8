"""Key/value caches: what a decoder keeps of the tokens that it has seen."""

from .base import Cache, CacheLayer, mask_sizes
from .dynamic import DynamicCache, make_dynamic, refuse_options
from .encoder_decoder import EncoderDecoderCache
from .layers import DynamicLayer, SlidingLayer
from .static import StaticCache, StaticLayer, make_static

__all__ = [
    "Cache",
    "CacheLayer",
    "DynamicCache",
    "DynamicLayer",
    "EncoderDecoderCache",
    "SlidingLayer",
    "StaticCache",
    "StaticLayer",
    "make_dynamic",
    "make_static",
    "mask_sizes",
    "refuse_options",
]
