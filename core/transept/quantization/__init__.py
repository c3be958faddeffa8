"""Quantization: how a model is asked for with smaller weights, and what every quantizer plugin is made of.

A quantizer is a rewrite that packs (`Quantizer`), made from a `QuantizationConfig`. It converts while the model loads, one tensor at
a time; what it made is saved as plain tensors, and read back as it is.
"""

from .choice import MixedConfig, chosen_quantizers, mixed_rewrites, quantization_from
from .config import QuantizationConfig
from .live import dequantize, quantize
from .packed import PackedEmbedding, PackedLinear, PackedModule
from .packing import pack_bits, packed_words, unpack_bits
from .quantizer import Quantizer

__all__ = [
    "MixedConfig",
    "PackedEmbedding",
    "PackedLinear",
    "PackedModule",
    "QuantizationConfig",
    "Quantizer",
    "chosen_quantizers",
    "dequantize",
    "mixed_rewrites",
    "pack_bits",
    "packed_words",
    "quantization_from",
    "quantize",
    "unpack_bits",
]
