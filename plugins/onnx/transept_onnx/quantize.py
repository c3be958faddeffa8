"""8-bit weights, through onnxruntime's dynamic quantization."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx

__all__ = ["quantize_file"]


def quantize_file(source: Path, target: Path) -> int:
    """Write a copy of a graph whose matrix products and embeddings have int8 weights; returns its bytes.

    Weights are rounded once, each output channel with a scale and an offset of its own; activations are rounded as they come, each tensor with one
    scale (https://arxiv.org/abs/1712.05877).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    beside = target.with_name(f"{target.name}.data")
    for old in (target, beside):
        old.unlink(missing_ok=True)
    large = source.with_name(f"{source.name}.data").exists()
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it recommends a preparation that exported graphs have had
    try:
        quantize_dynamic(
            onnx.load(str(source)),
            str(target),
            weight_type=QuantType.QInt8,
            per_channel=True,
            # a scale and an offset: weights that lie on one side of zero, as embeddings' may, keep all 256 steps
            extra_options={"WeightSymmetric": False},
            use_external_data_format=large,
        )
    finally:
        logging.disable(before)
    return sum(each.stat().st_size for each in (target, beside) if each.exists())
