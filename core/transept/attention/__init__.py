"""Attention: the mask that says which keys a query sees, and the dispatch to the kernel that serves a request."""

from .dispatch import Attention, Explanation
from .mask import MaskSpec

__all__ = ["Attention", "Explanation", "MaskSpec"]
