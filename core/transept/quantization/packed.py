"""Layers whose weight stays packed: what they share, whoever packed it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PackedEmbedding", "PackedLinear", "PackedModule"]

_TILE = 1 << 22
"""Weights that are unpacked at a time in a product: 16 MiB of float32."""


class PackedModule(nn.Module):
    """A weight in packed form. A subclass holds its tensors, and unpacks rows of them."""

    packing: str
    """How the weight is packed, as those call it who have a product for it: `Q4_1`, `int8`, …"""
    compute_dtype: torch.dtype | None = None
    """Of what `unpack` gives where nothing else says so; None: float32."""

    @abstractmethod
    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight as floats: a slice of them, or those that a tensor of ids of any shape names: (…, columns)."""

    def dequantize(self) -> Tensor:
        """The whole weight: (rows, columns)."""
        return self.unpack(slice(None))

    def compute_in(self, dtype: torch.dtype) -> None:
        """What a load says at its end: the dtype of the model around, for a module that does not know better."""
        self.compute_dtype = self.compute_dtype or dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """`model.to(dtype)` passes over packed tensors, scales among them; what they unpack to follows it."""
        held = {name: one for name, one in self._buffers.items() if one is not None and one.is_floating_point()}
        super()._apply(fn, recurse)
        for name, one in held.items():  # rounded scales would be other weights
            moved = self._buffers[name]
            if moved is not None and moved.dtype != one.dtype:
                self._buffers[name] = one.to(moved.device)
        before = self.compute_dtype or torch.float32
        after = fn(torch.empty(0, dtype=before)).dtype
        self.compute_dtype = self.compute_dtype if after == before else after
        return self


class PackedLinear(PackedModule):
    """A linear layer on a packed weight: each product unpacks rows on the way, and so does its gradient by the input."""

    def __init__(self, in_features: int, out_features: int, bias: Tensor | None) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """(…, in_features) to (…, out_features), in the input's dtype."""
        recorded = torch.is_grad_enabled() and input.requires_grad
        product = _Product.apply(input, self) if recorded else _product(input, self)
        return product if self.bias is None else product + self.bias.to(product.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, packing={self.packing}"

    def tiles(self) -> list[slice]:
        step = max(1, _TILE // max(1, self.in_features))
        return [slice(start, min(start + step, self.out_features)) for start in range(0, self.out_features, step)]


def _product(input: Tensor, linear: PackedLinear) -> Tensor:  # noqa: A002
    parts = [F.linear(input, linear.unpack(rows).to(input.dtype)) for rows in linear.tiles()]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class _Product(torch.autograd.Function):
    """input @ weight.T. The weight is unpacked again in the backward pass: nothing of its size is kept."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, linear: PackedLinear) -> Tensor:  # noqa: A002
        ctx.linear = linear
        return _product(input, linear)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        linear: PackedLinear = ctx.linear
        parts = [grad[..., rows] @ linear.unpack(rows).to(grad.dtype) for rows in linear.tiles()]
        return sum(parts[1:], parts[0]), None


class PackedEmbedding(PackedModule):
    """An embedding on a packed weight: rows are gathered, then unpacked."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim, self.padding_idx = num_embeddings, embedding_dim, padding_idx

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Ids of any shape to (…, embedding_dim)."""
        return self.unpack(input)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, packing={self.packing}"
