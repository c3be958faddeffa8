"""Quantizing a model that is alive, and taking that back."""

from __future__ import annotations

from typing import Any

from ..errors import QuantizationError
from ..rewrite import applied_to, apply_live, undo
from .choice import chosen_quantizers

__all__ = ["dequantize", "quantize"]


def quantize(model: Any, asked: Any) -> None:
    """Quantize a live model: settings, the name of a method or preset, or a table by pattern.

    Raises:
        QuantizationError: it is quantized already, or cannot be.
    """
    before = model.config.quantization_config
    if before is not None:
        raise QuantizationError("The model is quantized already: `dequantize()` it first, or load it anew.")
    try:
        for rewrite in chosen_quantizers(asked, model.config):
            apply_live(model, rewrite)
    except BaseException:
        model.config.quantization_config = before
        raise


def dequantize(model: Any) -> None:
    """Unpack every quantized module: ordinary layers with the values that the packed weights stood for.

    Raises:
        QuantizationError: the model is not quantized. RewriteError: its quantizer cannot unpack.
    """
    packed = [(applied.key, applied.path) for applied in applied_to(model) if applied.rewrite.packs]
    if not packed:
        raise QuantizationError("The model is not quantized, so there is nothing to dequantize.")
    dtype = model.dtype
    for key in reversed(list(dict.fromkeys(key for key, _ in packed))):
        undo(model, key)
    for _, path in packed:  # packed weights may know the dtype that they were made from, and not the model's
        model.get_submodule(path).to(dtype)
    model.config.quantization_config = None
