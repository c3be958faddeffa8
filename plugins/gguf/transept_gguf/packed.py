"""Layers whose weight stays in GGUF's blocks, as the file has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transept.quantization import PackedEmbedding, PackedLinear

from .blocks import BlockType, dequantize, kind_of

__all__ = ["GGUFEmbedding", "GGUFLinear", "unpacked"]


class GGUFLinear(PackedLinear):
    """A linear layer on blocks.

    Attributes:
        weight: (out_features, bytes of a row), uint8: each row's blocks one after another, as in a file.
        packing: ggml's name of the block type: `Q4_1`.
    """

    def __init__(self, kind: BlockType, in_features: int, out_features: int, bias: Tensor | None) -> None:
        super().__init__(in_features, out_features, bias)
        self.packing = kind.name
        self.weight = _blocks(kind, out_features, in_features)

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, in_features)."""
        return unpacked(self, self.weight[rows], self.in_features)


class GGUFEmbedding(PackedEmbedding):
    """An embedding on blocks; `scale` multiplies what is looked up, as `transept.nn.ScaledEmbedding` does.

    Attributes:
        weight: (num_embeddings, bytes of a row), uint8.
        packing: ggml's name of the block type.
    """

    def __init__(
        self, kind: BlockType, num_embeddings: int, embedding_dim: int, padding_idx: int | None, scale: float | None = None
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.packing = kind.name
        self.scale = scale
        self.weight = _blocks(kind, num_embeddings, embedding_dim)

    def unpack(self, rows: slice | Tensor) -> Tensor:
        """Rows of the weight: (…, embedding_dim)."""
        return unpacked(self, self.weight[rows], self.embedding_dim)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's own name)
        """Ids of any shape to (…, embedding_dim)."""
        rows = super().forward(input)
        return rows if self.scale is None else rows * torch.tensor(self.scale, dtype=rows.dtype, device="cpu")


def unpacked(module: Any, blocks: Tensor, columns: int) -> Tensor:
    """The weights that rows of a module's blocks stand for, in the dtype that it computes in: (…, bytes) to (…, columns)."""
    kind = kind_of(module.packing)
    return dequantize(blocks.contiguous(), kind, (*blocks.shape[:-1], columns), module.compute_dtype or torch.float32)


def _blocks(kind: BlockType, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, kind.row_bytes(columns), dtype=torch.uint8), requires_grad=False)
