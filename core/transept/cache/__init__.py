"""Keys and values of the tokens before: what a decoder keeps between steps."""

from .base import Cache, CacheLayer, mask_sizes
from .dynamic import DynamicCache, DynamicLayer, SlidingLayer, make_dynamic
from .encoder_decoder import EncoderDecoderCache
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
]
