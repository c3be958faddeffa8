"""A small quantizer that keeps every promise: one scale a row, whole numbers from -127 to 127. The kit mixes others with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from transept.quantization import PackedLinear, QuantizationConfig, Quantizer
from transept_hookspecs import QuantizerSpec, hookimpl

__all__ = ["KEY", "RowsLinear", "StandIn", "StandInConfig", "StandInPlugin", "make_stand_in"]

KEY = "conformance-rows"


class StandInConfig(QuantizationConfig):
    """Nothing to set."""

    quant_method: str = KEY


class RowsLinear(PackedLinear):
    """A linear layer on whole numbers with one scale a row."""

    packing = "rows"

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None) -> None:
        super().__init__(in_features, out_features, bias)
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("scale", torch.empty(out_features, 1))

    def unpack(self, rows: Any) -> Tensor:
        weight: Tensor = self.get_buffer("weight")[rows]
        return weight.float() * self.get_buffer("scale")[rows]


class StandIn(Quantizer):
    """Largest value of a row to 127."""

    key = KEY
    why = "a quantizer of the conformance kit"

    def build(self, module: Any, path: str) -> nn.Module:
        return RowsLinear(module.in_features, module.out_features, module.bias)

    def convert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        weight = tensors["weight"].float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        return {"weight": (weight / scale).round().to(torch.int8), "scale": scale}

    def revert(self, tensors: dict[str, Tensor], built: nn.Module) -> dict[str, Tensor]:
        return {"weight": tensors["weight"].float() * tensors["scale"]}


def make_stand_in(config: StandInConfig, model_config: Any) -> StandIn:
    """What the record names."""
    return StandIn(config)


class StandInPlugin:
    """`registry.register(StandInPlugin(), "conformance-rows")` offers it, in this process."""

    @hookimpl
    def provide_quantizers(self) -> Iterable[QuantizerSpec]:
        where = "transept_testing.quantizers.stand_in"
        return [
            QuantizerSpec(key=KEY, config=f"{where}:StandInConfig", rewrite=f"{where}:make_stand_in", training=True),
        ]
