"""Attention: a symbolic mask, one call, and the kernel that serves it."""

from .dispatch import Attention, Choice
from .mask import MaskSpec

__all__ = ["Attention", "Choice", "MaskSpec"]
