"""The quantizer: which layers are packed, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transept.errors import QuantizationError
from transept.quantization import Quantizer

from .config import GPTQConfig
from .linear import GPTQLinear

__all__ = ["GPTQ", "gptq"]

_ZERO_OFFSETS = {"gptq": 1, "gptq_v2": 0}


class GPTQ(Quantizer):
    """Layers that the checkpoint holds packed become `GPTQLinear`s; with data, those that the settings take."""

    key = "gptq"
    why = "few bits a weight, chosen with data"
    marker = "qweight"
    config: GPTQConfig

    def look_at(self, tensors: Mapping[str, Any]) -> None:
        super().look_at(tensors)
        if not self.found:
            raise QuantizationError(_NEEDS_DATA.format("The checkpoint holds floats"))

    def prepare(self, model: nn.Module) -> None:
        super().prepare(model)
        if not self.found and not any(self.select(path, module) for path, module in model.named_modules()):
            raise QuantizationError(
                f"`{type(model).__name__}` has no layer to quantize whose rows and columns are multiples of {self._step()}, as "
                f"`bits={self.config.bits}` of GPTQ needs."
            )

    def fits(self, module: nn.Module) -> bool:
        """What does not fill words, such as a classifier of three rows, stays as it is."""
        if not super().fits(module) or self.found:
            return super().fits(module)
        assert isinstance(module, nn.Linear)
        return module.in_features % self._step() == 0 and module.out_features % self._step() == 0

    def _step(self) -> int:
        """The fewest integers that fill words."""
        return 32 if self.config.bits == 3 else 32 // self.config.bits

    def build(self, module: nn.Module, path: str) -> nn.Module:
        assert isinstance(module, nn.Linear)
        bits, columns, rows = self.config.bits, module.in_features, module.out_features
        if columns * bits % 32 or rows * bits % 32:
            raise QuantizationError(
                f"`{path}` is {rows} x {columns}: GPTQ with {bits} bits packs multiples of {self._step()}, so `quantization_config` is not "
                "that of these weights.",
                path=path,
            )
        size = columns if self.config.group_size == -1 else self.config.group_size
        return GPTQLinear(
            columns,
            rows,
            module.bias,
            bits=bits,
            groups=-(-columns // size),
            zero_offset=_ZERO_OFFSETS[self.config.format],
            path=path,
        )

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        raise QuantizationError(_NEEDS_DATA.format(f"`{built.path}` holds floats"), path=built.path)

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        return {"weight": built.dequantize()}

    def restore(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        """As the file has them; where the group of each column is not stored, columns are grouped in their order."""
        size = built.in_features if self.config.group_size == -1 else self.config.group_size
        if "g_idx" not in tensors:
            columns = torch.arange(built.in_features, dtype=torch.int32, device=tensors["qweight"].device)
            tensors = {**tensors, "g_idx": columns // size}
        made = super().restore(tensors, built)
        groups = made["g_idx"]
        if not groups.is_meta and bool(((groups < 0) | (groups >= built.scales.shape[0])).any()):
            raise QuantizationError(
                f"`g_idx` of `{built.path}` names groups beyond the {built.scales.shape[0]} that it has: the file is damaged.",
                path=built.path,
            )
        return made


_NEEDS_DATA = (
    "{}, and GPTQ quantizes with data: `transept quantize MODEL OUT --method gptq --data FILE` does that; or load a checkpoint that is "
    "quantized."
)


def gptq(config: GPTQConfig, model_config: Any) -> GPTQ:
    """The quantizer with these settings.

    Raises:
        QuantizationError: they are of a layout that this dist does not read.
    """
    extra = config.model_extra or {}
    if config.format not in _ZERO_OFFSETS:
        raise QuantizationError(f"`format={config.format!r}` of GPTQ is not read here; {' and '.join(_ZERO_OFFSETS)} are.")
    if extra.get("is_marlin_format"):
        raise QuantizationError("The weights are in Marlin's order, which is not read here: take the plain GPTQ checkpoint.")
    if extra.get("pack_dtype", "int32") not in ("int32", "torch.int32"):
        raise QuantizationError(f"`pack_dtype={extra['pack_dtype']!r}` is not read here: weights are packed in int32.")
    if extra.get("dynamic"):
        raise QuantizationError("`dynamic` settings by layer are regular expressions, which transept does not run.")
    return GPTQ(config)
