"""The rewrite that fuses projections with the same input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.nn import GatedMLP, SelfAttention
from transept.rewrite import Rewrite

from .blocks import FusedGatedMLP, FusedSelfAttention

__all__ = ["FuseProjections", "fuse_projections"]

_FUSED: dict[type[nn.Module], Any] = {SelfAttention: FusedSelfAttention, GatedMLP: FusedGatedMLP}


class FuseProjections(Rewrite):
    """One linear for query, key and value, and one for gate and up, in the blocks of `transept.nn`.

    Blocks of other classes, also subclasses, are left alone, and so are blocks whose projections are no plain `nn.Linear`
    (quantized, adapted) or differ in input, bias or dtype.
    """

    key = "fuse_projections"
    why = "projections with the same input become one matrix product"
    order = 50
    undoable = True
    ties = "keep"

    def select(self, path: str, module: nn.Module) -> bool:
        fused = _FUSED.get(type(module))
        if fused is None:
            return False
        linears = [module.get_submodule(part) for part in fused.parts]
        if any(type(linear) is not nn.Linear for linear in linears):
            return False
        kinds = {(one.in_features, one.bias is None, one.weight.dtype, one.weight.device) for one in linears}
        return len(kinds) == 1

    def build(self, module: nn.Module, path: str) -> nn.Module:
        built: nn.Module = _FUSED[type(module)](module)
        return built

    def convert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        kinds = {name.rpartition(".")[2] for name in tensors}
        return {f"{built.fused}.{kind}": torch.cat([tensors[f"{part}.{kind}"] for part in built.parts]) for kind in kinds}

    def revert(self, tensors: dict[str, Tensor], built: Any) -> dict[str, Tensor]:
        made: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            kind = name.rpartition(".")[2]
            made.update(zip([f"{part}.{kind}" for part in built.parts], tensor.split(built.sizes), strict=True))
        return made


def fuse_projections(config: Any) -> FuseProjections:
    """The rewrite for a model of this configuration; it takes no options."""
    return FuseProjections()
