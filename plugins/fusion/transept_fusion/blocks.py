"""The blocks of `transept.nn` with their projections fused. Everything but the projections is the block's own."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from transept.nn import GatedMLP, SelfAttention

__all__ = ["FusedGatedMLP", "FusedSelfAttention"]


def _fuse(block: nn.Module, fused: nn.Module, parts: tuple[str, ...]) -> tuple[nn.Linear, tuple[int, ...]]:
    """Give `fused` all of the block's attributes and modules except the parts, and return the linear that replaces these."""
    nn.Module.__init__(fused)
    for name, value in vars(block).items():
        if not name.startswith("_"):
            setattr(fused, name, value)
    for name, child in block._modules.items():
        if name not in parts:
            fused.add_module(name, child)
    linears = [block.get_submodule(part) for part in parts]
    sizes = tuple(int(linear.out_features) for linear in linears)  # type: ignore[arg-type]
    first = linears[0]
    assert isinstance(first, nn.Linear)
    return nn.Linear(first.in_features, sum(sizes), bias=first.bias is not None, dtype=first.weight.dtype), sizes


class FusedSelfAttention(SelfAttention):
    """`SelfAttention` whose queries, keys and values come from one product: `qkv_proj`."""

    fused: ClassVar[str] = "qkv_proj"
    parts: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj")

    def __init__(self, block: SelfAttention) -> None:
        self.qkv_proj, self.sizes = _fuse(block, self, self.parts)

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.qkv_proj(hidden_states).split(self.sizes, dim=-1)
        return self.split_heads(query), self.split_heads(key), self.split_heads(value)


class FusedGatedMLP(GatedMLP):
    """`GatedMLP` whose gate and up projections are one product: `gate_up_proj`."""

    fused: ClassVar[str] = "gate_up_proj"
    parts: ClassVar[tuple[str, ...]] = ("gate_proj", "up_proj")

    def __init__(self, block: GatedMLP) -> None:
        self.gate_up_proj, self.sizes = _fuse(block, self, self.parts)

    def forward(self, hidden_states: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(hidden_states).split(self.sizes, dim=-1)
        return self.down_proj(self.act_fn(gate) * up)
