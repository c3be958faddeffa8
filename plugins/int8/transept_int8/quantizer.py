"""The quantizer: which layers are packed, and how."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer

from .config import Int8Config
from .linear import Int8Linear, pack

__all__ = ["Int8", "int8"]


class Int8(Quantizer):
    """Every linear layer that the settings take becomes an `Int8Linear`."""

    key = "int8"
    why = "8-bit weights: a quarter of the memory of float32"
    config: Int8Config

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        columns = module.in_features
        size = columns if self.config.group_size == -1 else self.config.group_size
        if not columns or columns % size:
            divisors = [one for one in (128, 64, 32, 16, 8) if columns and columns % one == 0]
            other = f"`group_size={divisors[0]}`" if divisors else "`group_size=-1`"
            raise QuantizationError(
                f"`{path}` has {columns} input features, which groups of {size} do not divide: use {other}, or name it in "
                "`modules_to_not_convert`.",
                path=path,
            )
        return Int8Linear(columns, module.out_features, module.bias, size, path)

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        weight = tensors["weight"]
        try:
            qweight, scales = pack(weight, built.group_size)
        except ValueError as error:
            raise QuantizationError(
                f"`{built.path}` cannot be packed in 8 bits: {error}. Name it in `modules_to_not_convert`, or mend the checkpoint.",
                path=built.path,
            ) from None
        return {"qweight": qweight, "scales": scales}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.dequantize()}


def int8(config: Int8Config, model_config: Any) -> Int8:
    """The quantizer with these settings."""
    return Int8(config)
