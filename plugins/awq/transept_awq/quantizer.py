"""The quantizer: which layers are packed, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer

from .config import AwqConfig
from .linear import AWQGemmLinear, AWQGemvLinear, AWQLinear

__all__ = ["AWQ", "awq"]

_LINEARS: dict[str, type[AWQLinear]] = {"gemm": AWQGemmLinear, "gemv": AWQGemvLinear}
_EIGHTS = -0x77777778
"""A word of eight zeros that are 8 each, as int32."""


class AWQ(Quantizer):
    """Layers that the checkpoint holds packed become `AWQLinear`s."""

    key = "awq"
    why = "4 bits a weight, scaled by what is active before it was packed"
    marker = "qweight"
    config: AwqConfig

    def look_at(self, tensors: Mapping[str, Any]) -> None:
        super().look_at(tensors)
        if not self.found:
            raise QuantizationError(_NEEDS_SCALES.format("The checkpoint holds floats"))
        if any(name.endswith(".act.scales") for name in tensors):
            raise QuantizationError(
                "AWQ scaled the activations of this checkpoint as well (`act.scales`), which is not read here."
            )

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        columns, rows = module.in_features, module.out_features
        size = columns if self.config.group_size == -1 else self.config.group_size
        packed = columns if self.config.format == "gemv" else rows
        if columns % size or packed % 8:
            raise QuantizationError(
                f"`{path}` is {rows} x {columns}, which groups of {size} and words of 8 do not divide: `quantization_config` is not "
                "that of these weights.",
                path=path,
            )
        return _LINEARS[self.config.format](columns, rows, module.bias, size, path)

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        raise QuantizationError(_NEEDS_SCALES.format(f"`{built.path}` holds floats"), path=built.path)

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.dequantize()}

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        """As the file has them; without zeros of its own each group's is 8."""
        if "qzeros" not in tensors and not self.config.zero_point:
            tensors = {**tensors, "qzeros": torch.full_like(built.qzeros, _EIGHTS, device=tensors["qweight"].device)}
        return super().restore(tensors, built)


_NEEDS_SCALES = (
    "{}, and AWQ scales layers by what the ones before them give, with data: transept does not do that, it reads checkpoints that AWQ "
    "packed. To quantize with data, `transept quantize MODEL OUT --method gptq --data FILE`."
)


def awq(config: AwqConfig, model_config: Any) -> AWQ:
    """The quantizer with these settings.

    Raises:
        QuantizationError: they are of a layout that this dist does not read.
    """
    if config.bits != 4:
        raise QuantizationError(f"`bits={config.bits}` of AWQ is not read here: its layouts have 4.")
    if config.format not in _LINEARS:
        raise QuantizationError(f"`version={config.format!r}` of AWQ is not read here; {' and '.join(_LINEARS)} are.")
    return AWQ(config)
